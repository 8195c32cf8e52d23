//! Each kind of mistake with its exact place and text.

use super::Host;

/// File, and the problems exactly as shown.
const TABLE: &[(&str, &str)] = &[
    // syntax
    ("", "Error 1:1: the file is empty [GGEN-E1001]\n"),
    (
        "{\n  \"server\": {\n    \"workers\": 2, // ü\n  },\n  /* \n */ \"x\": 1\n}",
        "Error 6:5: x: unknown key [GGEN-E1002]\n",
    ),
    (
        "{\n  \"version\": \"1.0\"\n  \"server\": {}\n}",
        "Error 3:3: expected `,` or `}` [GGEN-E1001]\n",
    ),
    (
        "{\n  /* mine */ 5\n}",
        "Error 2:14: key must be a string [GGEN-E1001]\n",
    ),
    (
        "{\n  /* ü */ \"servr\": 1 }",
        "Error 2:11: servr: unknown key; did you mean `server`? [GGEN-E1002]\n",
    ),
    (
        "{\n  / mine\n}",
        "Error 2:3: key must be a string [GGEN-E1001]\n",
    ),
    (
        "{\"server\": {\"workers\": 2,,}}",
        "Error 1:26: key must be a string [GGEN-E1001]\n",
    ),
    (
        "{\"description\": \"äöü\", 'x': 1}",
        "Error 1:24: key must be a string; JSON texts stand in double quotes [GGEN-E1001]\n",
    ),
    (
        "{\"server\": {",
        "Error 1:12: EOF while parsing an object [GGEN-E1001]\n",
    ),
    (
        "[]",
        "Error 1:1: the file must hold one JSON object, `{ … }` [GGEN-E1003]\n",
    ),
    (
        "{\"server\": {\"workers\": 2,\n \"workers\": 3}}",
        "Error 2:2: server.workers: duplicate key; it stands already at 1:13 [GGEN-E1001]\n",
    ),
    (
        "{\"mcpServers\": {\"a\": {\"command\": \"x\"},\n\"a\": {\"command\": \"y\"}}}",
        "Error 2:1: mcpServers.a: duplicate key; it stands already at 1:17 [GGEN-E1001]\n",
    ),
    // unknown keys
    (
        "{\n  \"servr\": {}\n}",
        "Error 2:3: servr: unknown key; did you mean `server`? [GGEN-E1002]\n",
    ),
    (
        "{\n  \"transports\": {\n    \"http\": {\n      \"prot\": 3000\n    }\n  }\n}",
        "Error 4:7: transports.http.prot: unknown key; did you mean `port`? [GGEN-E1002]\n",
    ),
    (
        "{\"max_body\": 1}",
        "Error 1:2: max_body: unknown key; did you mean `transports.http.max_body`? [GGEN-E1002]\n",
    ),
    (
        "{\"qqqqqq\": 1}",
        "Error 1:2: qqqqqq: unknown key [GGEN-E1002]\n",
    ),
    (
        "{\"__order\": [\"a\"]}",
        "Warning 1:2: __order belongs to another MCP client; not used [GGEN-E1002]\n",
    ),
    (
        "{\"logging\": {\"modules\": {\"tool\": \"debug\"}}}",
        "Error 1:26: logging.modules.tool: unknown key; did you mean `tools`? [GGEN-E1002]\n",
    ),
    ("{\"servers\": {}, \"$schema\": \"x\", \"inputs\": []}", ""),
    (
        "{\"mcpServers\": {\"a\": {\"command\": \"x\"}},\n \"servers\": {\"a\": {\"command\": \"y\"}}}",
        "Warning 2:14: servers.a: not used: a server of that name stands already at 1:17 [GGEN-E1002]\n",
    ),
    (
        "{\"projects\": {}}",
        "Warning 1:2: projects belongs to another MCP client; not used [GGEN-E1002]\n",
    ),
    (
        "{\"mcpServers\": {}, \"mcp_servers\": {}}",
        "Error 1:20: mcp_servers stands beside `mcpServers`, which means the same; keep one of them [GGEN-E1002]\n",
    ),
    // types
    (
        "{\"server\": 5}",
        "Error 1:12: server: expected an object, `{ … }` [GGEN-E1003]\n",
    ),
    (
        "{\"transports\": {\"http\": {\"port\": \"3000\"}}}",
        "Error 1:34: transports.http.port: expected a whole number from 0 to 65535, found the text \"3000\" [GGEN-E1003]\n",
    ),
    (
        "{\"transports\": {\"http\": {\"port\": 70000}}}",
        "Error 1:34: transports.http.port: expected a whole number from 0 to 65535, found the number 70000 [GGEN-E1004]\n",
    ),
    (
        "{\"transports\": {\"http\": {\"port\": 3000.5}}}",
        "Error 1:34: transports.http.port: expected a whole number from 0 to 65535, found the number 3000.5 [GGEN-E1003]\n",
    ),
    (
        "{\"transports\": {\"http\": {\"enabled\": \"yes\"}}}",
        "Error 1:37: transports.http.enabled: expected true or false, found the text \"yes\" [GGEN-E1003]\n",
    ),
    (
        "{\"transports\": {\"http\": {\"host\": \"example.org\"}}}",
        "Error 1:34: transports.http.host: expected an IP address such as \"127.0.0.1\" or \"::1\", or \"localhost\", found the text \"example.org\" [GGEN-E1004]\n",
    ),
    (
        "{\"server\": {\"buffer_size\": \"8 pounds\"}}",
        "Error 1:28: server.buffer_size: expected a size such as 65536, \"64KB\" or \"4MB\", found the text \"8 pounds\" [GGEN-E1004]\n",
    ),
    (
        "{\"server\": {\"buffer_size\": -1}}",
        "Error 1:28: server.buffer_size: expected a size such as 65536, \"64KB\" or \"4MB\", found the number -1 [GGEN-E1004]\n",
    ),
    (
        "{\"logging\": {\"level\": \"debg\"}}",
        "Error 1:23: logging.level: expected one of \"error\", \"warn\", \"info\", \"debug\", \"trace\", found the text \"debg\"; did you mean `debug`? [GGEN-E1004]\n",
    ),
    (
        "{\"version\": null}",
        "Error 1:13: version: expected text, found null [GGEN-E1003]\n",
    ),
    (
        "{\"transports\": {\"http\": {\"allowed_hosts\": \"a\"}}}",
        "Error 1:43: transports.http.allowed_hosts: expected a list of texts, found the text \"a\" [GGEN-E1003]\n",
    ),
    (
        "{\"mcpServers\": []}",
        "Error 1:16: mcpServers: expected an object, `{ \"name\": { … } }` [GGEN-E1003]\n",
    ),
    // ranges
    (
        "{\"server\": {\"workers\": 0}}",
        "Error 1:24: server.workers must be from 1 to 64, is 0 [GGEN-E1004]\n",
    ),
    (
        "{\"server\": {\"workers\": 65}}",
        "Error 1:24: server.workers must be from 1 to 64, is 65 [GGEN-E1004]\n",
    ),
    (
        "{\"transports\": {\"http\": {\"timeout_ms\": 0}}}",
        "Error 1:40: transports.http.timeout_ms must be from 1 to 86400000, is 0 [GGEN-E1004]\n",
    ),
    (
        "{\"transports\": {\"http\": {\"timeout_ms\": 30}}}",
        "Warning 1:40: transports.http.timeout_ms is very low: 30 ms (milliseconds, not seconds) [GGEN-E1004]\n",
    ),
    (
        "{\"version\": \"2.0\"}",
        "Error 1:13: version: this version of ggend reads file format 1.0, found \"2.0\" [GGEN-E1004]\n",
    ),
    (
        "{\"metrics\": {\"port\": 3000}}",
        "Error 1:22: metrics.port: 3000 is also transports.http.port [GGEN-E1004]\n",
    ),
    (
        "{\"transports\": {\"http\": {\"allowed_origins\": [\"https://a.example\", \"*\"]}}}",
        "Error 1:45: transports.http.allowed_origins: expected `https://host[:port]`, found \"*\" [GGEN-E1004]\n",
    ),
    (
        "{\"transports\": {\"http\": {\"host\": \"0.0.0.0\"}}}",
        "Error 1:34: transports.http.host: 0.0.0.0 is reachable from other hosts, and there is no key that anybody could be known by [GGEN-E1103]\n",
    ),
    (
        "{\"transports\": {\"http\": {\"host\": \"0.0.0.0\", \"enabled\": false}}}",
        "",
    ),
    (
        "{\"transports\": {\"http\": {\"host\": \"::ffff:127.0.0.1\"}}}",
        "",
    ),
    (
        "{\"metrics\": {\"host\": \"::\"}}",
        "Warning 1:22: metrics.host: :: is reachable from other hosts, and nobody could show who they are to read the metrics [GGEN-E1103]\n",
    ),
    // who may be asked for what
    (
        "{\"auth\": {\"required\": false, \"api_key\": \"0123456789012345678901234\"}, \"transports\": {\"http\": {\"host\": \"0.0.0.0\"}}}",
        "Error 1:103: transports.http.host: 0.0.0.0 is reachable from other hosts, and auth.required is false [GGEN-E1103]\n",
    ),
    (
        "{\"auth\": {\"api_key\": \"0123456789012345678901234\"}, \"transports\": {\"http\": {\"host\": \"0.0.0.0\"}}}",
        "",
    ),
    (
        "{\"auth\": {\"jwt\": {\"secret\": \"short\"}}}",
        "Error 1:29: auth.jwt.secret must have at least 32 bytes [GGEN-E1004]\n",
    ),
    (
        "{\"auth\": {\"oauth2\": {\"issuer\": \"http://as.example\", \"audience\": \"x\"}}}",
        "Error 1:32: auth.oauth2.issuer must be an https address without user, query and fragment; http on loopback only [GGEN-E1004]\n",
    ),
    (
        "{\"auth\": {\"oauth2\": {\"issuer\": \"http://127.0.0.1:1\"}}}",
        "Error default: auth.oauth2.audience must be set beside auth.oauth2.issuer: without it, tokens that were made for other services would be taken [GGEN-E1004]\n",
    ),
    (
        "{\"auth\": {\"api_key_file\": \"key\"}}",
        "Error 1:27: auth.api_key_file must be an absolute path [GGEN-E1004]\n",
    ),
    (
        "{\"auth\": {\"required\": \"yes\"}}",
        "Error 1:23: auth.required: expected true, false or \"auto\", found the text \"yes\" [GGEN-E1004]\n",
    ),
    (
        "{\"policy\": {}, \"transports\": {\"http\": {\"ssl\": {\"enabled\": false, \"port\": 1}}}}",
        "",
    ),
    (
        "{\"auth\": {\"mtls\": {\"enabled\": true}}}",
        "Error 1:31: auth.mtls.enabled needs auth.mtls.ca_cert, the authorities whose client certificates are taken [GGEN-E1004]\n",
    ),
    (
        "{\"rate_limit\": {\"burst\": 5}, \"policy\": {\"allow\": [\"*\"]}}",
        "Error 1:41: policy.allow: unknown key [GGEN-E1002]\n",
    ),
    (
        "{\"tools\": {\"a__b\": {\"max_retries\": 1}, \"a.b\": {}}}",
        "Error 1:40: tools.a.b: unknown key [GGEN-E1002]\n",
    ),
    (
        "{\"transports\": {\"quic\": {\"enable_zero_rtt\": true}}}",
        "Error 1:45: transports.quic.enable_zero_rtt: 0-RTT cannot be served: the QUIC library has none, and a replayed first packet would run a tool twice [GGEN-E1004]\n",
    ),
    (
        "{\"transports\": {\"websocket\": {\"compression\": true, \"path\": \"/mcp/x\"}}}",
        "Error 1:46: transports.websocket.compression: WebSocket messages are not compressed: the library that ggend keeps has no permessage-deflate \
         (RFC 7692) [GGEN-E1008]\n\
         Error 1:60: transports.websocket.path: expected a path such as \"/ws\", which is served already: \"/mcp/x\" [GGEN-E1004]\n",
    ),
    // several at once, in the order of the file
    (
        "{\n  \"a\": 1,\n  \"server\": {\"workers\": \"x\", \"connection_pool\": 0},\n  \"mcpServers\": {\"b\": {}}\n}",
        "Error 2:3: a: unknown key [GGEN-E1002]\n\
         Error 3:25: server.workers: expected a whole number from 0 to 65535, found the text \"x\" [GGEN-E1003]\n\
         Error 3:49: server.connection_pool must be from 1 to 1000, is 0 [GGEN-E1004]\n\
         Entry 4:23: mcpServers.b needs `command` (a program) or `url` (a remote server) [GGEN-E1004]\n",
    ),
];

#[test]
fn every_mistake_is_named_at_its_place() {
    for (file, expected) in TABLE {
        assert_eq!(Host::with(file).problems(), *expected, "of {file}");
    }
}

#[test]
fn every_error_outside_an_entry_refuses_the_configuration() {
    for (file, expected) in TABLE {
        assert_eq!(
            Host::with(file).load().is_err(),
            expected.contains("Error "),
            "of {file}"
        );
    }
}

#[test]
fn an_open_address_is_refused_with_the_commands_that_fix_it() {
    let host = Host::with("{\"transports\": {\"http\": {\"host\": \"0.0.0.0\", \"port\": 3001}}}");
    let problems = host.load().unwrap_err();
    assert_eq!(
        problems[0].help,
        [
            "ggen mcp auth generate-api-key",
            "ggen mcp config set transports.http.host=127.0.0.1"
        ]
    );
    // A key store is enough: then everybody is asked.
    let mut host = host;
    host.options.state = Some(host.write("auth.sqlite", "").parent().unwrap().into());
    assert!(host.loaded().asks_strangers);
}

#[test]
fn files_that_cannot_be_read_are_errors_only_where_they_matter() {
    let mut host = Host::new();
    host.options.config_path = Some("absent.json".into());
    assert_eq!(
        host.problems(),
        "Error /cwd/absent.json: no such file [GGEN-E1005]\n"
    );
    host.options.config_path = Some(".".into());
    assert_eq!(
        host.problems(),
        "Error /cwd/.: not a regular file [GGEN-E1005]\n"
    );
    host.options.config_path = None;
    assert_eq!(host.problems(), "");
    host.write("cwd/.mcp.json", b"{\n \"description\": \"\xff\"}");
    assert_eq!(host.problems(), "Error 2:18: not UTF-8 [GGEN-E1001]\n");
    host.write("cwd/.mcp.json", "\u{feff}{\"server\": 1}");
    assert_eq!(
        host.problems(),
        "Error 1:12: server: expected an object, `{ … }` [GGEN-E1003]\n"
    );
    host.write("cwd/.mcp.json", "[".repeat(100_000));
    assert!(
        host.problems()
            .contains("recursion limit exceeded [GGEN-E1001]"),
        "{}",
        host.problems()
    );
    host.write("cwd/.mcp.json", " ".repeat(5 << 20));
    assert_eq!(
        host.problems(),
        "Error cwd/.mcp.json: larger than 4 MB [GGEN-E1005]\n".replace("cwd/.mcp.json:", "")
    );
}

#[test]
fn modes_that_let_others_in() {
    let mut host = Host::with(
        "{\"mcpServers\": {\"a\": {\"command\": \"x\", \"env\": {\"A_TOKEN\": \"hush\"}}}}",
    );
    let file = host.dir.path().join("cwd/.mcp.json");
    host.mode(&file, 0o644);
    assert_eq!(
        host.problems(),
        "Warning 1:58: mcpServers.a.env.A_TOKEN holds a secret, and every user of this host may read the file [GGEN-E1009]\n"
    );
    std::fs::write(
        &file,
        "{\"mcpServers\": {\"a\": {\"command\": \"x\", \"env\": {\"A_TOKEN\": \"${A:-}\"}}}}",
    )
    .unwrap();
    assert_eq!(host.problems(), "");
    host.mode(&file, 0o602);
    assert_eq!(
        host.problems(),
        "Warning  every user of this host may write it, and so have the daemon run any program [GGEN-E1009]\n"
    );
    host.options.user_mode = false;
    host.options.config_path = Some(file);
    assert!(host.load().is_err());
}

#[test]
fn a_readable_file_without_a_sure_secret_is_no_alarm() {
    let host = Host::with(
        r#"{"mcpServers": {"a": {"command": "x", "args": ["--key-file", "/etc/key.pem", "--auth", "none", "--token", "${T:-}"],
            "env": {"SSH_AUTH_SOCK": "/run/agent", "API_KEY": "", "LOG_LEVEL": "debug"}}, "b": {"url": "http://h.example/mcp?view=all"}}}"#,
    );
    let file = host.dir.path().join("cwd/.mcp.json");
    host.mode(&file, 0o644);
    assert_eq!(host.problems(), "");
    for secret in [
        r#"{"command": "x", "args": ["--token", "abcd"]}"#,
        r#"{"command": "x", "args": ["--api-key=abcd"]}"#,
        r#"{"command": "x", "args": ["ghp_0123456789ab"]}"#,
        r#"{"url": "https://u:p@h.example/"}"#,
        r#"{"url": "https://h.example/", "headers": {"Authorization": "Bearer x"}}"#,
    ] {
        std::fs::write(&file, format!("{{\"mcpServers\": {{\"a\": {secret}}}}}")).unwrap();
        assert!(host.problems().contains("GGEN-E1009"), "of {secret}");
    }
}

#[test]
fn a_folder_that_everybody_may_write_is_a_finding_and_an_error_for_a_service() {
    use crate::config::Severity;
    use std::os::unix::fs::PermissionsExt;
    let mut host = Host::new();
    let file = host.write("etc/mcp.json", "{}");
    let folder = file.parent().unwrap().to_path_buf();
    let chmod = |mode| {
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let found = |host: &Host| {
        let problems = match host.load() {
            Ok(loaded) => loaded.warnings,
            Err(problems) => problems,
        };
        problems
            .into_iter()
            .find(|problem| problem.what.contains("in this folder"))
            .map(|problem| (problem.severity, problem.commands()[0].clone()))
    };
    let help = format!("chmod o-w {}", folder.display());
    for (user_mode, severity) in [(true, Severity::Warning), (false, Severity::Error)] {
        host.options.user_mode = user_mode;
        chmod(0o777);
        assert_eq!(found(&host), Some((severity, help.clone())));
        // In a folder like /tmp nobody replaces what is somebody else's.
        for mode in [0o1777, 0o755] {
            chmod(mode);
            assert_eq!(found(&host), None, "{mode:o}");
        }
    }
}
