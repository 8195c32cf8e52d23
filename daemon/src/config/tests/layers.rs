//! Which layer wins, and where a value came from.

use super::Host;
use crate::config::{Flag, LogLevel, Size, UpstreamTransport, leaves, variable};
use serde_json::json;
use std::collections::HashSet;

#[test]
fn without_anything_the_defaults_hold() {
    let loaded = Host::new().loaded();
    assert_eq!(loaded.config, crate::config::Config::default());
    assert_eq!(loaded.file, None);
    assert_eq!(loaded.provenance["transports.http.port"], "default");
}

#[test]
fn each_layer_covers_the_ones_below_it() {
    let mut host = Host::new();
    let port = |host: &Host| {
        let loaded = host.loaded();
        let source = loaded.provenance["transports.http.port"]
            .replace(&format!("{}/", host.dir.path().display()), "");
        format!("{} from {source}", loaded.config.transports.http.port)
    };
    let text = |port: u16| format!("{{\"transports\": {{\n  \"http\": {{\"port\": {port}}}}}}}");
    assert_eq!(port(&host), "3000 from default");
    host.write("etc/mcp.json", text(1001));
    assert_eq!(port(&host), "1001 from etc/mcp.json:2:20");
    host.write("home/.ggen/mcp/config.json", text(1002));
    assert_eq!(port(&host), "1002 from home/.ggen/mcp/config.json:2:20");
    host.write("cwd/.mcp.json", text(1003));
    assert_eq!(port(&host), "1003 from cwd/.mcp.json:2:20");
    host.options.user_mode = false;
    assert_eq!(
        port(&host),
        "1002 from home/.ggen/mcp/config.json:2:20",
        "a service never reads its working directory"
    );
    let named = host.write("etc/named.json", text(1004));
    let mut host = host.env(&[("GGEN_MCP_CONFIG", named.to_str().unwrap())]);
    assert_eq!(port(&host), "1004 from etc/named.json:2:20");
    host.write("cwd/flagged.json", text(1005));
    host.options.config_path = Some("flagged.json".into());
    assert_eq!(port(&host), "1005 from cwd/flagged.json:2:20");
    host.options.env.insert(
        "GGEN_MCP_TRANSPORTS_HTTP_PORT".to_owned(),
        "1006".to_owned(),
    );
    assert_eq!(port(&host), "1006 from GGEN_MCP_TRANSPORTS_HTTP_PORT");
    host.options.flags.push(Flag {
        name: "--port".to_owned(),
        path: "transports.http.port".to_owned(),
        value: json!(1007),
    });
    assert_eq!(port(&host), "1007 from --port");
}

#[test]
fn values_merge_and_lists_are_replaced() {
    let host = Host::with(
        "{\"transports\": {\"http\": {\"allowed_hosts\": [\"b\"]}}, \"logging\": {\"modules\": {\"auth\": \"warn\"}}}",
    );
    host.write(
        "etc/mcp.json",
        "{\"transports\": {\"http\": {\"allowed_hosts\": [\"a\", \"c\"], \"timeout_ms\": 2000}}, \"logging\": {\"modules\": {\"tools\": \"trace\"}}}",
    );
    let config = host.loaded().config;
    assert_eq!(config.transports.http.allowed_hosts, ["b"]);
    assert_eq!(config.transports.http.timeout_ms, 2000);
    assert_eq!(config.logging.modules.len(), 2);
}

#[test]
fn entries_are_taken_whole_by_name_and_keep_the_order_of_the_files() {
    let host = Host::with(
        "{\"mcpServers\": {\"z\": {\"command\": \"z1\"}, \"m\": {\"url\": \"http://h/\"}, \"a\": {\"command\": \"a1\"}}}",
    );
    host.write(
        "etc/mcp.json",
        "{\"mcp_servers\": {\"q\": {\"command\": \"q2\"}, \"z\": {\"command\": \"z2\", \"args\": [\"lost\"]}, \"b\": {\"command\": \"b2\"}}}",
    );
    let loaded = host.loaded();
    assert_eq!(loaded.config.order, ["z", "m", "a", "q", "b"]);
    let UpstreamTransport::Stdio { command, args, .. } = &loaded.config.mcp_servers["z"].transport
    else {
        panic!("stdio")
    };
    assert_eq!((command.as_str(), args.len()), ("z1", 0));
    assert!(
        loaded.provenance["mcpServers.q"].ends_with("etc/mcp.json:1:18"),
        "{:?}",
        loaded.provenance
    );
}

#[test]
fn every_leaf_has_its_own_variable_and_takes_its_own_default() {
    let names: HashSet<_> = leaves().iter().map(|leaf| variable(leaf)).collect();
    assert_eq!(names.len(), leaves().len());
    for name in [
        "GGEN_MCP_TRANSPORTS_HTTP_PORT",
        "GGEN_MCP_METRICS_PORT",
        "GGEN_MCP_SERVER_WORKERS",
        "GGEN_MCP_LOGGING_MODULES_AUTH",
    ] {
        assert!(names.contains(name), "{name}");
    }
    assert!(!names.contains("GGEN_MCP_CONFIG"));
}

#[test]
fn variables_are_typed_by_the_key_that_they_set() {
    let host = Host::new().env(&[
        ("GGEN_MCP_SERVER_BUFFER_SIZE", "64KB"),
        ("GGEN_MCP_SERVER_WORKERS", "4"),
        ("GGEN_MCP_TRANSPORTS_HTTP_COMPRESSION", "1"),
        ("GGEN_MCP_TRANSPORTS_HTTP_HOST", "::1"),
        (
            "GGEN_MCP_TRANSPORTS_HTTP_ALLOWED_HOSTS",
            "a.example, b.example",
        ),
        (
            "GGEN_MCP_TRANSPORTS_HTTP_ALLOWED_ORIGINS",
            "[\"https://a.example\"]",
        ),
        ("GGEN_MCP_LOGGING_LEVEL", "debug"),
        ("GGEN_MCP_LOGGING_MODULES_AUTH", "trace"),
        ("GGEN_MCP_VERSION", "1.0"),
        ("GGEN_MCP_METRICS_PORT", ""),
        ("GGEN_MCP_DESCRIPTION", "1.5"),
    ]);
    let config = host.loaded().config;
    assert_eq!(config.server.buffer_size, Size(65536));
    assert_eq!(config.server.workers, 4);
    assert!(config.transports.http.compression);
    assert_eq!(config.transports.http.host.to_string(), "::1");
    assert_eq!(
        config.transports.http.allowed_hosts,
        ["a.example", "b.example"]
    );
    assert_eq!(
        config.transports.http.allowed_origins,
        ["https://a.example"]
    );
    assert_eq!(config.logging.level, LogLevel::Debug);
    assert_eq!(config.logging.modules["auth"], LogLevel::Trace);
    assert_eq!(config.version, "1.0");
    assert_eq!(config.description.as_deref(), Some("1.5"));
}

#[test]
fn wrong_variables_are_named() {
    let host = Host::new().env(&[
        ("GGEN_MCP_SERVER_WORKERS", "many"),
        ("GGEN_MCP_TRANSPORTS_HTTP_PROT", "1"),
        ("GGEN_MCP_ZZZ", "1"),
        ("GGEN_OTHER", "1"),
    ]);
    assert_eq!(
        host.problems(),
        "Error GGEN_MCP_SERVER_WORKERS: server.workers: expected a whole number from 0 to 65535, found the text \"many\" [GGEN-E1003]\n\
         Warning GGEN_MCP_TRANSPORTS_HTTP_PROT: unknown variable; did you mean `GGEN_MCP_TRANSPORTS_HTTP_PORT`? [GGEN-E1002]\n\
         Warning GGEN_MCP_ZZZ: unknown variable [GGEN-E1002]\nWarning GGEN_OTHER: unknown variable [GGEN-E1002]\n"
    );
    let host = Host::new().env(&[("GGEN_MCP_POLICY_ALLOW", "x")]);
    assert_eq!(
        host.problems(),
        "Warning GGEN_MCP_POLICY_ALLOW: unknown variable; did you mean `GGEN_MCP_POLICY_RULES`? [GGEN-E1002]\n"
    );
    let host = Host::new().env(&[("GGEN_MCP_API_KEY", "0123456789012345678901234")]);
    assert_eq!(
        host.loaded().config.auth.api_key.unwrap().expose(),
        "0123456789012345678901234"
    );
    let host = Host::new().env(&[("GGEN_MCP_SERVER_WORKERS", "65")]);
    assert_eq!(
        host.problems(),
        "Error GGEN_MCP_SERVER_WORKERS: server.workers must be from 1 to 64, is 65 [GGEN-E1004]\n"
    );
}

#[test]
fn wrong_flags_are_named() {
    let mut host = Host::new();
    host.options.flags.push(Flag {
        name: "--port".to_owned(),
        path: "transports.http.port".to_owned(),
        value: json!(70000),
    });
    assert_eq!(
        host.problems(),
        "Error --port: transports.http.port: expected a whole number from 0 to 65535, found the number 70000 [GGEN-E1004]\n"
    );
}

#[test]
fn a_loaded_configuration_survives_the_way_to_a_worker() {
    let host = Host::with(
        "{\"server\": {\"buffer_size\": \"64KB\"}, \"mcpServers\": {\"b\": {\"command\": \"x\", \"args\": [\"1\"], \"cwd\": \"~\"}, \"a\": {\"url\": \"http://h/\"}}}",
    );
    let config = host.loaded().config;
    let text = serde_json::to_string(&config).unwrap();
    assert_eq!(
        serde_json::from_str::<crate::config::Config>(&text).unwrap(),
        config
    );
}

#[test]
fn the_obvious_variables_are_taken_and_others_are_named() {
    let secret = "0123456789abcdef0123456789abcdef";
    let host = Host::new().env(&[
        ("GGEN_MCP_PORT", "3100"),
        ("GGEN_MCP_HOST", "::1"),
        ("GGEN_MCP_TRANSPORT", "http,websocket"),
        ("GGEN_MCP_JWT_SECRET", secret),
        ("GGEN_MCP_PROT", "1"),
        ("GGEN_PORT", "1"),
        ("GGEN_STATE_DIR", "/x"),
    ]);
    let loaded = host.loaded();
    let transports = &loaded.config.transports;
    assert_eq!(
        (transports.http.port, transports.http.host.to_string()),
        (3100, "::1".to_owned())
    );
    assert!(transports.websocket.enabled);
    assert_eq!(
        loaded
            .config
            .auth
            .jwt
            .secret
            .as_ref()
            .map(|secret| secret.expose()),
        Some(secret)
    );
    assert_eq!(loaded.provenance["transports.http.port"], "GGEN_MCP_PORT");
    assert_eq!(
        host.problems(),
        "Warning GGEN_MCP_PROT: unknown variable; did you mean `GGEN_MCP_PORT`? [GGEN-E1002]\n\
         Warning GGEN_PORT: unknown variable; did you mean `GGEN_MCP_PORT`? [GGEN-E1002]\n"
    );
    // The full name says more.
    let host = Host::new().env(&[
        ("GGEN_MCP_PORT", "1"),
        ("GGEN_MCP_TRANSPORTS_HTTP_PORT", "2"),
    ]);
    assert_eq!(host.loaded().config.transports.http.port, 2);
    let host = Host::new().env(&[("GGEN_MCP_TRANSPORT", "stdio")]);
    assert_eq!(host.loaded().warnings[0].help, ["ggen mcp server stdio"]);
    let host = Host::new().env(&[("GGEN_MCP_TRANSPORT", "sse")]);
    assert!(
        host.problems()
            .starts_with("Error GGEN_MCP_TRANSPORT: expected"),
        "{}",
        host.problems()
    );
}
