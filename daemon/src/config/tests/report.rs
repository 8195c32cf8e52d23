//! What `ggend check` prints.

use super::Host;
use crate::check::Report;
use serde_json::Value;
use std::{net::TcpListener, os::unix::fs::PermissionsExt};

fn human(host: &Host) -> String {
    Report::of(&host.options)
        .human(false)
        .replace(&format!("{}/", host.dir.path().display()), "")
}

#[test]
fn a_valid_configuration() {
    let host = Host::with(
        "{\"transports\": {\"http\": {\"port\": 0}}, \"metrics\": {\"enabled\": false}, \"mcpServers\": {\"b\": {\"url\": \"https://u:p@h.example/mcp\"}, \"a\": {\"command\": \"x\", \"disabled\": true}}}",
    );
    assert_eq!(
        human(&host),
        "Validating MCP configuration: ./.mcp.json

Validation Results:
  Config version: 1.0
  HTTP: 127.0.0.1:0
    ✓ Port chosen by the system
  Server: b
    ✓ URL (https://***@h.example/mcp)
    ✓ Enabled
  Server: a
    - Disabled

Configuration is valid!
"
    );
    assert_eq!(Report::of(&host.options).errors(), 0);
}

#[test]
fn errors_of_entries_and_warnings() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let host = Host::with(&format!(
        "{{\"transports\": {{\"http\": {{\"port\": {port}, \"timeout_ms\": 30}}}}, \"metrics\": {{\"enabled\": false}}, \"mcpServers\": {{\n\
         \"good\": {{\"command\": \"tool\"}},\n\"old\": {{\"command\": \"absent\"}},\n\"plain\": {{\"command\": \"./data\"}},\n\"lost\": {{\"command\": \"tool\", \"cwd\": \"nowhere\"}},\n\
         \"var\": {{\"command\": \"tool\", \"args\": [\"${{UNSET}}\"]}}}}}}"
    ));
    host.write("cwd/data", "");
    let bin = host.write("etc/tool", "");
    std::fs::set_permissions(&bin, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = host.dir.path().join("etc");
    let host = host.env(&[("PATH", path.to_str().unwrap())]);
    assert_eq!(
        human(&host),
        format!(
            "Validating MCP configuration: ./.mcp.json

Validation Results:
  Config version: 1.0
  HTTP: 127.0.0.1:{port}
    ! Port in use now (by a running ggend, or by another program)
  Server: good
    ✓ Command found (etc/tool)
    ✓ Enabled
  Server: old
    ✗ Command not found: absent  [GGEN-E2103]
      at cwd/.mcp.json:3:1
      help: ggen mcp config set mcpServers.old.command=/full/path/to/absent
  Server: plain
    ✗ Command is not executable: cwd/./data  [GGEN-E2103]
      at cwd/.mcp.json:4:1
      help: chmod +x cwd/./data
  Server: lost
    ✗ cwd: No such directory: cwd/nowhere  [GGEN-E1004]
      at cwd/.mcp.json:5:1
      help: mkdir -p cwd/nowhere
  Server: var
    ✗ args[0]: environment variable UNSET is not set and ${{UNSET}} has no default  [GGEN-E1006]
      at cwd/.mcp.json:6:37
      help: export UNSET=…   (where the daemon starts; or write ${{UNSET:-default}})
  ! Warning: transports.http.timeout_ms is very low: 30 ms (milliseconds, not seconds)  [GGEN-E1004]
    at cwd/.mcp.json:1:{}
    help: ggen mcp config set transports.http.timeout_ms=10000

Configuration has errors: 4 errors, 1 warning
",
            50 + port.to_string().len()
        )
    );
    assert_eq!(Report::of(&host.options).errors(), 4);
}

#[test]
fn a_refused_configuration_shows_every_problem() {
    let host = Host::with(
        "{\n  \"transports\": {\"http\": {\"prot\": 1, \"host\": \"0.0.0.0\"}},\n  \"mcpServers\": {\"a\": {}}\n}",
    );
    assert_eq!(
        human(&host),
        "Validating MCP configuration: ./.mcp.json

Validation Results:
  ✗ transports.http.prot: unknown key; did you mean `port`?  [GGEN-E1002]
    at cwd/.mcp.json:2:27
    help: ggen mcp config unset transports.http.prot
  ✗ transports.http.host: 0.0.0.0 is reachable from other hosts, and there is no key that anybody could be known by  [GGEN-E1103]
    at cwd/.mcp.json:2:46
    help: ggen mcp auth generate-api-key
    help: ggen mcp config set transports.http.host=127.0.0.1
  ✗ mcpServers.a needs `command` (a program) or `url` (a remote server)  [GGEN-E1004]
    at cwd/.mcp.json:3:23
    help: ggen mcp explain GGEN-E1004

Configuration has errors: 3 errors, 0 warnings
"
    );
    let json = Report::of(&host.options).json();
    assert_eq!(json["valid"], Value::Bool(false));
    assert_eq!(json["errors"], 3);
    assert_eq!(json["problems"][0]["code"], "GGEN-E1002");
    assert_eq!(
        (&json["problems"][0]["line"], &json["problems"][0]["column"]),
        (&2.into(), &27.into())
    );
    assert_eq!(json["problems"][0]["suggestion"], "port");
}

#[test]
fn without_a_file_the_defaults_are_judged_and_marks_are_coloured_only_on_a_terminal() {
    let host = Host::new().env(&[
        ("GGEN_MCP_TRANSPORTS_HTTP_PORT", "0"),
        ("GGEN_MCP_METRICS_PORT", "0"),
    ]);
    assert!(
        human(&host).starts_with("Validating MCP configuration: none found, built-in defaults\n"),
        "{}",
        human(&host)
    );
    assert!(!human(&host).contains('\x1b'));
    assert!(
        Report::of(&host.options)
            .human(true)
            .contains("\x1b[32m✓\x1b[0m")
    );
}

#[test]
fn the_help_names_the_place_of_the_value() {
    let host = Host::new().env(&[("GGEN_MCP_TRANSPORTS_HTTP_HOST", "0.0.0.0")]);
    assert_eq!(
        host.load().unwrap_err()[0].help[1],
        "unset GGEN_MCP_TRANSPORTS_HTTP_HOST"
    );
}
