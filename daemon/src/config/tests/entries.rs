//! `mcpServers`: one bad entry costs the others nothing.

use super::Host;
use crate::config::{Upstream, UpstreamTransport};
use ggen_wire::Code;

/// An entry, and the problems that it gives as `a` in a file whose entries begin on line 2.
const TABLE: &[(&str, &str)] = &[
    (
        r#"{"command": "x", "args": ["a", 1], "env": {"N": 3, "B": true}, "type": "stdio"}"#,
        "",
    ),
    (
        r#"{"type": "streamable-http", "url": "https://h/mcp", "headers": {"X-A": "b"}}"#,
        "",
    ),
    (r#"{"command": "x", "limits": {}, "sandbox": "none"}"#, ""),
    (
        r#"{"command": "x", "url": null, "cwd": null, "env": null, "timeout": null, "enabled": null}"#,
        "",
    ),
    (
        r#"5"#,
        "Entry 2:7: mcpServers.a: expected an object with `command` or `url` [GGEN-E1003]\n",
    ),
    (
        r#"{}"#,
        "Entry 2:7: mcpServers.a needs `command` (a program) or `url` (a remote server) [GGEN-E1004]\n",
    ),
    (
        r#"{"command": 5}"#,
        "Entry 2:19: mcpServers.a.command: expected text [GGEN-E1003]\n",
    ),
    (
        r#"{"command": ""}"#,
        "Entry 2:19: mcpServers.a.command is empty [GGEN-E1004]\n",
    ),
    (
        r#"{"command": "x", "args": "y"}"#,
        "Entry 2:32: mcpServers.a.args: expected a list of texts [GGEN-E1003]\n",
    ),
    (
        r#"{"command": "x", "args": ["y", null]}"#,
        "Entry 2:38: mcpServers.a.args[1]: expected text [GGEN-E1003]\n",
    ),
    (
        r#"{"command": "x", "env": {"A=B": "y"}}"#,
        "Entry 2:32: mcpServers.a.env.A=B: not a name of an environment variable [GGEN-E1004]\n",
    ),
    (
        r#"{"command": "x", "args": ["\u0000"]}"#,
        "Entry 2:33: mcpServers.a.args[0] holds a NUL character [GGEN-E1004]\n",
    ),
    (
        r#"{"command": "x", "url": "http://h/"}"#,
        "Entry 2:7: mcpServers.a: has both `command` and `url`; keep one of them, or say which by `type` [GGEN-E1004]\n",
    ),
    (
        r#"{"type": "http", "command": "x"}"#,
        "Entry 2:16: mcpServers.a.type needs `url` [GGEN-E1004]\n",
    ),
    (
        r#"{"type": "htpp", "url": "http://h/"}"#,
        "Entry 2:16: mcpServers.a.type: expected \"stdio\", \"http\", \"streamable-http\" or \"sse\", found \"htpp\"; did you mean `http`? [GGEN-E1004]\n",
    ),
    (r#"{"type": "sse", "url": "http://h/"}"#, ""),
    (
        r#"{"url": "ftp://h/"}"#,
        "Entry 2:15: mcpServers.a.url: the URL must begin with http:// or https:// [GGEN-E1004]\n",
    ),
    (
        r#"{"url": "http://h/", "headers": {"A B": "c"}}"#,
        "Entry 2:40: mcpServers.a.headers.A B: not a header name [GGEN-E1004]\n",
    ),
    (
        r#"{"url": "http://h/", "headers": {"A": "c\n"}}"#,
        "Entry 2:40: mcpServers.a.headers.A: the value cannot stand in a header [GGEN-E1004]\n",
    ),
    (
        r#"{"command": "x", "timeout": 60}"#,
        "Warning 2:35: mcpServers.a.timeout is very low: 60 ms (milliseconds, not seconds) [GGEN-E1004]\n",
    ),
    (
        r#"{"command": "x", "timeout": 0}"#,
        "Entry 2:35: mcpServers.a.timeout: expected a whole number from 1 to 86400000, found 0 [GGEN-E1004]\n",
    ),
    (
        r#"{"command": "x", "timeout": 2000, "timeout_ms": 2000}"#,
        "Entry 2:55: mcpServers.a.timeout_ms stands beside `timeout`, which means the same [GGEN-E1002]\n",
    ),
    (
        r#"{"command": "x", "enabled": true, "disabled": true}"#,
        "Entry 2:53: mcpServers.a.disabled contradicts `enabled` [GGEN-E1004]\n",
    ),
    (
        r#"{"url": "http://h/", "protocol_version": "2025-06-81"}"#,
        "Entry 2:48: mcpServers.a.protocol_version: expected one of \"2026-07-28\", \"2025-11-25\", \"2025-06-18\", \"2025-03-26\", \"2024-11-05\", found \"2025-06-81\"; did you mean `2025-06-18`? [GGEN-E1004]\n",
    ),
    (
        r#"{"url": "http://h/", "era": "modern", "protocol_version": "2025-06-18"}"#,
        "Entry 2:65: mcpServers.a.protocol_version contradicts `era` [GGEN-E1004]\n",
    ),
    (
        r#"{"command": "x", "era": "modren"}"#,
        "Entry 2:31: mcpServers.a.era: expected \"auto\", \"legacy\" or \"modern\", found \"modren\"; did you mean `modern`? [GGEN-E1004]\n",
    ),
    (
        r#"{"command": "x", "alwaysAllow": ["y"], "description": "z", "trust": true, "_note": 1}"#,
        "",
    ),
    (
        r#"{"command": "x", "colour": "red"}"#,
        "Warning 2:24: mcpServers.a.colour: unknown key; not used [GGEN-E1002]\n",
    ),
    (
        r#"{"url": "http://h/", "headersHelper": "/opt/token"}"#,
        "Entry 2:28: mcpServers.a.headersHelper: restricts or authenticates, and this version does not support it; the entry is not served without it [GGEN-E1008]\n",
    ),
    (
        r#"{"url": "http://h/", "oauth": {"clientId": "x"}, "authProviderType": ""}"#,
        "Entry 2:28: mcpServers.a.oauth: restricts or authenticates, and this version does not support it; the entry is not served without it [GGEN-E1008]\n\
         Entry 2:56: mcpServers.a.authProviderType: restricts or authenticates, and this version does not support it; the entry is not served without it [GGEN-E1008]\n",
    ),
    (
        r#"{"url": "http://h/", "oauth": false, "sandboxEnabled": false}"#,
        "",
    ),
    (
        r#"{"command": "x", "tools": ["*"], "excludeTools": []}"#,
        "",
    ),
    (
        r#"{"command": "x", "tools": []}"#,
        "Entry 2:24: mcpServers.a.tools: this version does not restrict tools here; the entry is not served without it. Rules can say the same: policy.rules [GGEN-E1008]\n",
    ),
    (
        r#"{"type": "local", "command": ["x", "--flag", "${A:-b}"], "environment": {"N": "1"}}"#,
        "",
    ),
    (
        r#"{"command": "x 'a b", "args": ["c"]}"#,
        "Entry 2:19: mcpServers.a.command: has a quote that is not closed [GGEN-E1004]\n",
    ),
    (
        r#"{"type": "http", "transport": "stdio", "url": "http://h/"}"#,
        "Entry 2:37: mcpServers.a.transport contradicts `type` [GGEN-E1004]\n",
    ),
    (
        r#"{"url": "http://h/", "httpUrl": "http://h/"}"#,
        "Entry 2:39: mcpServers.a.httpUrl stands beside `url`, which means the same [GGEN-E1002]\n",
    ),
    (
        r#"{"command": "x", "tool_timeout_sec": 60000, "startup_timeout_sec": 2.5}"#,
        "Warning 2:44: mcpServers.a.tool_timeout_sec is very high: 60000 s (seconds, not milliseconds) [GGEN-E1004]\n",
    ),
    (
        r#"{"command": "x", "envFile": "none.env"}"#,
        "Entry 2:35: mcpServers.a.envFile: /cwd/none.env: No such file or directory (os error 2) [GGEN-E1005]\n",
    ),
    (
        r#"{"command": "x", "args": ["${command:pick}"]}"#,
        "Entry 2:33: mcpServers.a.args[0]: ${command:pick} is known to an editor alone; write the value, or an environment variable [GGEN-E1006]\n",
    ),
    (
        r#"{"command": "x", "max_restart": 1}"#,
        "Warning 2:24: mcpServers.a.max_restart: unknown key; not used; did you mean `max_restarts`? [GGEN-E1002]\n",
    ),
    (
        r#"{"command": "x", "sandbox": {"network": false, "fs": ["/tmp"]}}"#,
        "Entry 2:24: mcpServers.a.sandbox: unknown field \"fs\", expected one of \"user\", \"read\", \"write\", \"network\", \"unix_sockets\", \"limits\" [GGEN-E1004]\n",
    ),
    (
        r#"{"command": "x", "sandbox": {"limits": {"processes": 5}}}"#,
        "Entry 2:24: mcpServers.a.sandbox: limits.processes counts all processes of a user; name the server's own by \"user\" [GGEN-E1004]\n",
    ),
    (
        r#"{"url": "http://h/", "sandbox": {"network": "none"}}"#,
        "Entry 2:28: mcpServers.a.sandbox is for stdio servers; this one is remote [GGEN-E1004]\n",
    ),
    (
        r#"{"command": "x", "sandbox": {"limits": {"family": {"memory": 5, "cpu_percent": 100001}}}}"#,
        "Entry 2:24: mcpServers.a.sandbox: limits.family.memory: expected at least 1MB [GGEN-E1004]\n\
         Entry 2:24: mcpServers.a.sandbox: limits.family.cpu_percent: expected at most 100000; 100 is one processor [GGEN-E1004]\n",
    ),
    (
        r#"{"command": "x", "sandbox": {"limits": {"family": {"memory": "64MB", "processes": 20, "cpu_percent": 50}}}}"#,
        "",
    ),
    (
        r#"{"command": "x", "sandbox": {"network": "none", "read": ["/usr"], "limits": {"memory": "64MB"}}}"#,
        "",
    ),
    (
        r#"{"command": "x", "disabled": true, "sandbox": {"network": false, "fs": ["/tmp"]}}"#,
        "",
    ),
    (
        r#"{"type": "sse", "url": "http://h/", "disabled": true}"#,
        "",
    ),
    (
        r#"{"command": "x", "excludeTools": ["rm"]}"#,
        "Entry 2:24: mcpServers.a.excludeTools: this version does not restrict tools here; the entry is not served without it. Rules can say the same: policy.rules [GGEN-E1008]\n",
    ),
    (
        r#"{"command": "x", "env": {"T": "${NOT_SET}"}}"#,
        "Entry 2:37: mcpServers.a.env.T: environment variable NOT_SET is not set and ${NOT_SET} has no default [GGEN-E1006]\n",
    ),
    (
        r#"{"command": "x", "disabled": true, "env": {"T": "${NOT_SET}"}}"#,
        "",
    ),
    (
        r#"{"command": "x", "args": ["${input:key}"]}"#,
        "Entry 2:33: mcpServers.a.args[0]: ${input:key} asks a person, which a daemon cannot do; the credential key and the variable KEY are not there [GGEN-E1006]\n",
    ),
];

fn with_entry(entry: &str) -> Host {
    Host::with(&format!(
        "{{\"mcpServers\": {{\n \"a\": {entry},\n \"good\": {{\"command\": \"true\"}}\n}}}}"
    ))
}

#[test]
fn an_empty_list_of_paths_is_a_sandbox() {
    for (sandbox, confined) in [
        (r#"{"write": []}"#, true),
        (r#"{"read": []}"#, true),
        (r#"{"unix_sockets": true, "read": []}"#, true),
        ("{}", false),
        ("null", false),
        ("false", false),
        (r#""none""#, false),
    ] {
        let loaded = with_entry(&format!(r#"{{"command": "x", "sandbox": {sandbox}}}"#)).loaded();
        let entry = &loaded.config.mcp_servers["a"];
        let UpstreamTransport::Stdio { sandbox: found, .. } = &entry.transport else {
            panic!("{entry:?}");
        };
        let found = found.as_ref().is_some_and(|found| found.confines_files());
        assert_eq!(found, confined, "{sandbox}");
    }
}

#[test]
fn no_server_has_the_name_of_the_built_in_tools() {
    for (name, reserved) in [
        ("core", true),
        ("CORE", true),
        ("core!", true),
        ("_core_", true),
        ("core2", false),
        ("score", false),
    ] {
        let host = Host::with(&format!(
            r#"{{"mcpServers": {{"{name}": {{"command": "true"}}}}}}"#
        ));
        assert_eq!(
            host.problems().contains("built-in tools"),
            reserved,
            "{name}"
        );
        assert_eq!(
            host.loaded().config.mcp_servers[name].enabled,
            !reserved,
            "{name}"
        );
    }
}

#[test]
fn a_bad_entry_is_named_and_disabled_and_the_others_are_served() {
    for (entry, expected) in TABLE {
        let host = with_entry(entry);
        assert_eq!(host.problems(), *expected, "of {entry}");
        let loaded = host.loaded();
        assert!(loaded.config.mcp_servers["good"].enabled, "of {entry}");
        assert_eq!(loaded.config.order, ["a", "good"]);
        let off = expected.starts_with("Entry");
        assert_eq!(loaded.blocked.contains_key("a"), off, "of {entry}");
        assert_eq!(
            loaded.config.mcp_servers["a"].enabled,
            !off && !entry.contains("\"disabled\": true"),
            "of {entry}"
        );
    }
}

fn entry(host: &Host) -> Upstream {
    host.loaded().config.mcp_servers["a"].clone()
}

#[test]
fn variables_and_homes_are_expanded() {
    let host = with_entry(
        r#"{"command": "~/bin/${TOOL}", "args": ["${A}-${B:-b}", "${EMPTY:-e}", "${EMPTY}", "${B:-${A}}", "${env:A}", "$A", "$${A}", "${open", "{}"],
            "env": {"K": "${A}"}, "cwd": "~/work"}"#,
    )
    .env(&[("A", "1"), ("EMPTY", ""), ("TOOL", "t")]);
    let home = host.dir.path().join("home");
    let UpstreamTransport::Stdio {
        command,
        args,
        env,
        cwd,
        ..
    } = entry(&host).transport
    else {
        panic!("stdio")
    };
    assert_eq!(command, home.join("bin/t").display().to_string());
    assert_eq!(args, ["1-b", "e", "", "1", "1", "$A", "$1", "${open", "{}"]);
    assert_eq!(env["K"], "1");
    assert_eq!(cwd, Some(home.join("work")));

    let host =
        with_entry(r#"{"url": "https://${H}/mcp", "headers": {"Authorization": "Bearer ${T}"}}"#)
            .env(&[("H", "h.example"), ("T", "t")]);
    let UpstreamTransport::Http { url, headers, .. } = entry(&host).transport else {
        panic!("http")
    };
    assert_eq!(
        (url.as_str(), headers["Authorization"].as_str()),
        ("https://h.example/mcp", "Bearer t")
    );

    let host = with_entry(r#"{"command": "x", "cwd": "below"}"#);
    let UpstreamTransport::Stdio { cwd, .. } = entry(&host).transport else {
        panic!("stdio")
    };
    assert_eq!(
        cwd,
        Some(host.dir.path().join("cwd/below")),
        "from the folder of the file"
    );
}

#[test]
fn all_spellings_of_a_transport_mean_the_same() {
    use crate::config::RemoteKind::{Http, Sse};
    for (text, expected) in [
        (r#"{"type": "http", "url": "http://h/"}"#, Http),
        (r#"{"type": "streamable-http", "url": "http://h/"}"#, Http),
        (r#"{"type": "streamableHttp", "url": "http://h/"}"#, Http),
        (r#"{"type": "remote", "url": "http://h/"}"#, Http),
        (
            r#"{"transport": "streamable_http", "url": "http://h/"}"#,
            Http,
        ),
        (r#"{"httpUrl": "http://h/"}"#, Http),
        (r#"{"serverUrl": "http://h/"}"#, Http),
        (r#"{"transport": "sse", "url": "http://h/"}"#, Sse),
        (r#"{"transportType": "sse", "serverUrl": "http://h/"}"#, Sse),
        (
            r#"{"type": "SSE", "transport": "sse", "url": "http://h/"}"#,
            Sse,
        ),
    ] {
        let host = with_entry(text);
        assert_eq!(host.problems(), "", "of {text}");
        let UpstreamTransport::Http { url, kind, .. } = entry(&host).transport else {
            panic!("{text}")
        };
        assert_eq!((url.as_str(), kind), ("http://h/", expected), "of {text}");
    }
}

#[test]
fn a_command_is_split_as_a_shell_would_and_never_run_by_one() {
    for (text, expected) in [
        (
            r#"{"command": "npx -y 'a b' \"c d\" e\\ f"}"#,
            &["npx", "-y", "a b", "c d", "e f"][..],
        ),
        (
            r#"{"command": "npx -y x", "args": ["z"]}"#,
            &["npx", "-y", "x", "z"],
        ),
        (
            r#"{"command": ["npx", "-y", "a b"], "args": ["z"]}"#,
            &["npx", "-y", "a b", "z"],
        ),
        (
            r#"{"command": "x $(reboot) `y` ; z && ${A}"}"#,
            &["x", "$(reboot)", "`y`", ";", "z", "&&", "1 2"],
        ),
        (
            r#"{"command": {"path": "x", "args": ["y"], "env": null}}"#,
            &["x", "y"],
        ),
        (r#"{"cmd": "x", "type": "stdio"}"#, &["x"]),
    ] {
        let host = with_entry(text).env(&[("A", "1 2")]);
        assert_eq!(host.problems(), "", "of {text}");
        let UpstreamTransport::Stdio { command, args, .. } = entry(&host).transport else {
            panic!("{text}")
        };
        let words: Vec<&str> = std::iter::once(&command)
            .chain(&args)
            .map(String::as_str)
            .collect();
        assert_eq!(words, expected, "of {text}");
    }
    // A program whose path has a space is one word.
    let host = with_entry(r#"{"command": "./my server"}"#);
    host.write("cwd/my server", "");
    let UpstreamTransport::Stdio { command, args, .. } = entry(&host).transport else {
        panic!("stdio")
    };
    assert_eq!((command.as_str(), args.len()), ("./my server", 0));
}

#[test]
fn files_of_editors_are_served() {
    let host = Host::new();
    std::fs::create_dir_all(host.dir.path().join("cwd/.vscode")).unwrap();
    let file = host.write(
        "cwd/.vscode/mcp.json",
        r#"{
  // asked once
  "inputs": [
    { "id": "key", "type": "promptString", "password": true },
    { "id": "level", "type": "pickString", "default": "info" },
  ],
  "servers": {
    "a": {
      "type": "stdio", "command": "${workspaceFolder}/run", "args": ["${input:key}", "${input:level}", "${userHome}"],
      "envFile": "${workspaceFolder}/.env", "env": { "B": "entry" },
    },
  },
}"#,
    );
    let env_file = host.write("cwd/.env", "A='from file'\nB=file\n");
    let mut host = host.env(&[("KEY", "k3y")]);
    host.options.config_path = Some(file);
    assert_eq!(host.problems(), "");
    let UpstreamTransport::Stdio {
        command, args, env, ..
    } = entry(&host).transport
    else {
        panic!("stdio")
    };
    let path = |below: &str| host.dir.path().join(below).display().to_string();
    assert_eq!(command, path("cwd/run"));
    assert_eq!(args, ["k3y", "info", &path("home")]);
    assert_eq!(
        (env["A"].as_str(), env["B"].as_str()),
        ("from file", "entry")
    );
    // Its mode counts as that of the configuration does.
    host.mode(&env_file, 0o644);
    assert!(
        host.problems().contains("may be read by every user"),
        "{}",
        host.problems()
    );
    assert!(entry(&host).enabled);
    host.mode(&env_file, 0o602);
    assert!(
        host.problems()
            .contains("every user of this host may write it [GGEN-E1009]")
    );
    assert!(!entry(&host).enabled);
    // A credential goes before a variable.
    host.mode(&env_file, 0o600);
    host.options
        .env
        .insert("credential:key".to_owned(), "cr3d".to_owned());
    let UpstreamTransport::Stdio { args, .. } = entry(&host).transport else {
        panic!("stdio")
    };
    assert_eq!(args[0], "cr3d");
}

#[test]
fn entries_that_call_the_gateway_itself_are_recognised() {
    let own = [
        r#"{"command": "ggen", "args": ["mcp", "server", "stdio"]}"#,
        r#"{"command": "/usr/bin/ggen", "args": ["--quiet", "mcp", "server", "stdio"]}"#,
        r#"{"command": "/opt/ggend"}"#,
        r#"{"url": "http://127.0.0.1:3000/mcp"}"#,
        r#"{"url": "http://localhost:3000/mcp/github"}"#,
        r#"{"url": "http://[::1]:3000/mcp?x"}"#,
        r#"{"url": "http://LOCALHOST:3000/mcp"}"#,
        r#"{"command": "npx", "args": ["-y", "mcp-remote", "http://localhost:3000/mcp"]}"#,
    ];
    for text in own {
        let host = with_entry(text);
        assert_eq!(
            host.problems(),
            "Warning 2:2: mcpServers.a calls this gateway itself; not served [GGEN-E1007]\n",
            "of {text}"
        );
        let upstream = entry(&host);
        assert!(upstream.is_self && !upstream.enabled, "of {text}");
        assert_eq!(host.loaded().blocked["a"].code, Code::ConfigSelfReference);
    }
    let others = [
        r#"{"command": "ggen", "args": ["lsp"]}"#,
        r#"{"command": "ggendarme"}"#,
        r#"{"url": "http://127.0.0.1:3001/mcp"}"#,
        r#"{"url": "http://127.0.0.1:3000/mcpx"}"#,
        r#"{"url": "http://h.example:3000/mcp"}"#,
        r#"{"command": "npx", "args": ["-y", "mcp-remote", "http://localhost:3001/mcp"]}"#,
    ];
    for text in others {
        assert!(!entry(&with_entry(text)).is_self, "of {text}");
    }
}
