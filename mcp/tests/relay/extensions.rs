//! Extensions: what servers and clients know beyond the protocol, through views and eras.

use crate::support::{MODERN, Relay, Server};
use ggen_mcp::edge::Verb;
use serde_json::{Value, json};

fn message(id: u32, method: &str, params: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string()
}

const OLD: Server = |_, message| {
    (message["method"] == "initialize").then(|| {
        r#""result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{},"extensions":{"io.modelcontextprotocol/ui":{"old":1},"com.example/a":{}}},"serverInfo":{"name":"s","version":"1"}}"#.to_owned()
    })
};
const NEW: Server = |_, message| {
    (message["method"] == "server/discover").then(|| {
        format!(r#""result":{{"supportedVersions":["{MODERN}"],"capabilities":{{"tools":{{}},"extensions":{{"io.modelcontextprotocol/ui":{{"new":1}},"com.example/b":{{"x":[1]}},"io.modelcontextprotocol/tasks":{{}}}}}},"resultType":"complete"}}"#)
    })
};

#[test]
fn extensions_of_all_servers_are_offered_in_every_pair_of_eras() {
    let mut relay = Relay::new(&[("old", false, OLD), ("new", true, NEW)]);
    let tasks = "io.modelcontextprotocol/tasks";
    let ui = "io.modelcontextprotocol/ui";
    for (view, legacy, both) in [
        (
            "",
            json!({ui: {"old": 1}, "com.example/a": {}, "com.example/b": {"x": [1]}}),
            json!({ui: {"old": 1}, "com.example/a": {}, "com.example/b": {"x": [1]}, tasks: {}}),
        ),
        (
            "old",
            json!({ui: {"old": 1}, "com.example/a": {}}),
            json!({ui: {"old": 1}, "com.example/a": {}}),
        ),
        (
            "new",
            json!({ui: {"new": 1}, "com.example/b": {"x": [1]}}),
            json!({ui: {"new": 1}, "com.example/b": {"x": [1]}, tasks: {}}),
        ),
    ] {
        let body = message(
            0,
            "initialize",
            &json!({"protocolVersion": "2025-11-25", "capabilities": {}}),
        );
        let answer: Value = serde_json::from_str(&relay.post(view, &[], &body).1).unwrap();
        assert_eq!(
            answer["result"]["capabilities"]["extensions"], legacy,
            "{view}"
        );
        let (_, answer) = relay.ask(view, None, "server/discover", &json!({}), &json!({}));
        assert_eq!(
            answer["result"]["capabilities"]["extensions"], both,
            "{view}"
        );
    }
}

#[test]
fn what_a_client_knows_is_told_to_modern_servers() {
    let mut relay = Relay::new(&[("old", false, OLD), ("new", true, NEW)]);
    let ui = json!({"mimeTypes": ["text/html;profile=mcp-app"]});
    let capabilities = json!({"extensions": {"io.modelcontextprotocol/ui": ui, "io.modelcontextprotocol/tasks": {}}, "roots": {}});
    let told = |relay: &Relay| {
        let line: Value = serde_json::from_str(relay.last_written()).unwrap();
        line["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"]["extensions"].clone()
    };
    let session = relay.session_with("new", "2025-11-25", &capabilities);
    let call = message(1, "tools/call", &json!({"name": "t"}));
    relay.send(
        Verb::Post,
        "new",
        &[("mcp-session-id", &session)],
        call.clone(),
    );
    // Tasks are bridged, and declared where they are.
    assert_eq!(told(&relay), json!({"io.modelcontextprotocol/ui": ui}));
    let params = json!({"name": "t", "_meta": {"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": capabilities}});
    let headers = [
        ("mcp-protocol-version", MODERN),
        ("mcp-method", "tools/call"),
        ("mcp-name", "t"),
    ];
    relay.send(
        Verb::Post,
        "new",
        &headers,
        message(2, "tools/call", &params),
    );
    assert_eq!(told(&relay), capabilities["extensions"]);
    // One that declares none declares none.
    let session = relay.session("new", "2025-11-25");
    relay.post("new", &[("mcp-session-id", &session)], &call);
    assert_eq!(told(&relay), Value::Null);
}
