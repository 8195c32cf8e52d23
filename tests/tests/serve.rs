//! What a client sees of a daemon that is well.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails where it stands")]

use ggend_tests::*;
use serde_json::{Value, json};

const ERAS: [Era; 2] = [Era::Legacy, Era::Modern];

#[test]
fn without_any_configuration_the_built_in_tools_answer() {
    let daemon = daemon(Value::Null).start();
    let line = until("the line on stdout", || Some(daemon.output("stdout")).filter(|text| text.ends_with('\n')));
    let expected = format!("serving MCP on http://{}/mcp (pid {}, control ", daemon.http, daemon.pid);
    assert!(line.contains(&expected) && line.lines().count() == 1, "{line}");
    for (era, view) in ERAS.iter().flat_map(|era| [(*era, ""), (*era, "core")]) {
        let mut client = Client::new(daemon.http, view, era);
        let names = client.names("tools/list");
        assert_eq!(names.len(), 9, "{names:?}");
        for name in &names {
            let original = name.rsplit("__").next().unwrap();
            let arguments = match original {
                "explain-code" => json!({ "code": "GGEN-E2103" }),
                "upstream-status" => json!({ "name": "nobody" }),
                "recent-logs" => json!({ "tail": 5, "level": "info" }),
                _ => json!({}),
            };
            let reply = client.tool(name, arguments);
            let text = reply.text();
            assert_eq!(reply.result()["isError"] == json!(true), original == "upstream-status", "{name}: {text}");
            let holds = match original {
                "server-status" => "\"phase\":\"running\"",
                "list-workers" => "gateway-0",
                "metrics-snapshot" => "ggend_build_info",
                "show-config" => "transports",
                "recent-logs" => "worker ready",
                "explain-code" => "Command not found",
                _ => "",
            };
            assert!(text.contains(holds), "{name}: {text}");
        }
    }
    daemon.stop();
}
