//! `ggen mcp server stdio`: a client that knows only standard input and output, and everything that
//! the gateway serves.

use ggend_tests::*;
use nix::sys::signal::Signal;
use rmcp::{ServiceExt, model::CallToolRequestParams};
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, Stdio},
    sync::mpsc::{Receiver, sync_channel},
};

/// The relay, as its client sees it.
struct Relay {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<Value>,
}

impl Relay {
    fn start(daemon: &Daemon, arguments: &[&str]) -> Self {
        let mut command = daemon.sandbox.command("ggen");
        command.args(["mcp", "server", "stdio"]).args(arguments);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let (sender, lines) = sync_channel(1024);
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let message =
                    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        Self {
            input: child.stdin.take(),
            child,
            lines,
        }
    }

    fn send(&mut self, message: &Value) {
        let input = self.input.as_mut().expect("an open input");
        input.write_all(format!("{message}\n").as_bytes()).unwrap();
        input.flush().unwrap();
    }

    #[track_caller]
    fn next(&self) -> Value {
        self.lines.recv_timeout(DEADLINE).expect("a line in time")
    }

    /// The answer to a request; what comes before it is given too.
    #[track_caller]
    fn answer(&self, id: u64) -> (Vec<Value>, Value) {
        let mut before = Vec::new();
        loop {
            let message = self.next();
            if message["id"] == json!(id) && message.get("method").is_none() {
                return (before, message);
            }
            before.push(message);
        }
    }

    #[track_caller]
    fn legacy(&mut self, id: u64, method: &str, params: Value) -> Value {
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        self.answer(id).1
    }

    #[track_caller]
    fn modern(&mut self, id: u64, method: &str, params: Value) -> Value {
        self.send(&modern(id, method, params));
        self.answer(id).1
    }

    #[track_caller]
    fn initialize(&mut self, capabilities: Value) -> Value {
        let params = json!({ "protocolVersion": "2025-11-25", "capabilities": capabilities, "clientInfo": { "name": "t", "version": "1" } });
        let answer = self.legacy(0, "initialize", params);
        self.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        answer
    }

    /// Ends the input and waits for the end of the process.
    #[track_caller]
    fn end(mut self) {
        drop(self.input.take());
        let status = until("the relay ends", || self.child.try_wait().unwrap());
        assert!(status.success(), "{status}");
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn modern(id: u64, method: &str, mut params: Value) -> Value {
    params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
    params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

fn text(answer: &Value) -> &str {
    answer["result"]["content"][0]["text"]
        .as_str()
        .unwrap_or_else(|| panic!("no text: {answer}"))
}

fn gateway() -> Daemon {
    let daemon = daemon(json!({ "mcpServers": { "fx": fixture(&[]) } })).start();
    daemon.until_ready(&["fx"]);
    daemon
}

#[test]
fn a_legacy_client_has_a_session_with_everything_in_it() {
    // Questions to clients exist between legacy clients and legacy servers that can have a
    // connection for each kind of client.
    let remote = RemoteFixture::start(&["--era", "legacy"]);
    let servers = json!({ "fx": fixture(&[]), "old": { "type": "http", "url": remote.url } });
    let daemon = daemon(json!({ "mcpServers": servers })).start();
    daemon.until_ready(&["fx", "old"]);
    let mut relay = Relay::start(&daemon, &[]);
    assert_eq!(
        relay.initialize(json!({ "elicitation": {} }))["result"]["serverInfo"]["name"],
        "ggend"
    );
    let tools = relay.legacy(1, "tools/list", json!({}));
    let names: Vec<_> = tools["result"]["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["name"].as_str().unwrap())
        .collect();
    assert!(
        names.contains(&"fx__echo") && names.contains(&"server-status"),
        "{names:?}"
    );
    let answer = relay.legacy(
        2,
        "tools/call",
        json!({ "name": "fx__echo", "arguments": { "message": "grüße" } }),
    );
    assert_eq!(text(&answer), "grüße");

    // What belongs to a call comes before its answer, also when the client is asked something.
    let params = json!({ "name": "fx__progress", "arguments": { "steps": 3, "ms": 5 }, "_meta": { "progressToken": "p" } });
    relay.send(&json!({ "jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": params }));
    let (before, _) = relay.answer(3);
    assert_eq!(
        before
            .iter()
            .filter(|message| message["method"] == "notifications/progress")
            .count(),
        3,
        "{before:?}"
    );
    relay.send(&json!({ "jsonrpc": "2.0", "id": 4, "method": "tools/call", "params": { "name": "old__test_elicitation", "arguments": { "message": "who" } } }));
    let question = relay.next();
    assert_eq!(question["method"], "elicitation/create", "{question}");
    relay.send(&json!({ "jsonrpc": "2.0", "id": question["id"], "result": { "action": "accept", "content": { "response": "me" } } }));
    assert!(text(&relay.answer(4).1).contains("me"));

    // What belongs to no call comes on the stream beside them.
    relay.legacy(
        5,
        "tools/call",
        json!({ "name": "fx__test_trigger_tool_change", "arguments": {} }),
    );
    until("the change is announced", || {
        (relay.next()["method"] == "notifications/tools/list_changed").then_some(())
    });

    assert!(
        until("the session is counted", || Some(daemon.status().sessions)
            .filter(|sessions| *sessions > 0))
            == 1
    );
    relay.end();
    until("the session is closed", || {
        (daemon.status().sessions == 0).then_some(())
    });
    daemon.stop();
}

#[test]
fn a_modern_client_needs_no_session_and_cancels_by_notification() {
    let daemon = gateway();
    let mut relay = Relay::start(&daemon, &[]);
    assert_eq!(
        relay.modern(1, "server/discover", json!({}))["result"]["resultType"],
        "complete"
    );
    let answer = relay.modern(
        2,
        "tools/call",
        json!({ "name": "fx__echo", "arguments": { "message": "one" } }),
    );
    assert_eq!(text(&answer), "one");
    // Parameters that a tool wants mirrored are learnt from the list that passes by.
    let tools = relay.modern(3, "tools/list", json!({}));
    let mirrored = tools["result"]["tools"]
        .as_array()
        .unwrap()
        .iter()
        .find(|tool| tool["name"] == "fx__test_x_mcp_header")
        .unwrap();
    let property = mirrored["inputSchema"]["properties"]
        .as_object()
        .unwrap()
        .iter()
        .find(|(_, schema)| schema["type"] == "string")
        .unwrap()
        .0;
    let answer = relay.modern(
        4,
        "tools/call",
        json!({ "name": "fx__test_x_mcp_header", "arguments": { property: "vä lue" } }),
    );
    assert!(answer.get("error").is_none(), "{answer}");

    relay.send(&modern(
        5,
        "tools/call",
        json!({ "name": "fx__slow", "arguments": { "ms": 30_000 } }),
    ));
    until("the call is in flight", || {
        (daemon.status().in_flight > 0).then_some(())
    });
    relay.send(&json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 5, "reason": "enough" } }));
    let mut id = 6;
    until("the server knows", || {
        id += 1;
        relay.send(&modern(
            id,
            "tools/call",
            json!({ "name": "fx__counter", "arguments": {} }),
        ));
        let (before, answer) = relay.answer(id);
        assert!(
            before.is_empty(),
            "a cancelled request has no answer: {before:?}"
        );
        let counts = text(&answer).to_owned();
        counts
            .to_lowercase()
            .contains("cancelled\":1")
            .then_some(())
            .or_else(|| counts.contains("1 cancelled").then_some(()))
    });
    assert_eq!(daemon.status().sessions, 0);
    relay.end();
    daemon.stop();
}

#[test]
fn many_requests_at_once_and_the_end_of_the_input_wait_for_each_other() {
    let daemon = gateway();
    let mut relay = Relay::start(&daemon, &["--server", "fx"]);
    for id in 1..=100 {
        relay.send(&modern(
            id,
            "tools/call",
            json!({ "name": "echo", "arguments": { "message": id.to_string() } }),
        ));
    }
    // The answers to what was asked come even though the input has ended.
    drop(relay.input.take());
    let mut seen: Vec<u64> = (0..100)
        .map(|_| {
            let message = relay.next();
            assert_eq!(text(&message), message["id"].to_string());
            message["id"].as_u64().unwrap()
        })
        .collect();
    seen.sort_unstable();
    assert_eq!(seen, (1..=100).collect::<Vec<_>>());
    relay.end();
    daemon.stop();
}

#[test]
fn what_is_no_message_gets_an_error_and_the_next_line_its_answer() {
    let daemon = gateway();
    let mut relay = Relay::start(&daemon, &[]);
    relay
        .input
        .as_mut()
        .unwrap()
        .write_all(b"nonsense\n[]\n\n")
        .unwrap();
    assert_eq!(
        (
            relay.next()["error"]["code"].as_i64(),
            relay.next()["error"]["code"].as_i64()
        ),
        (Some(-32700), Some(-32600))
    );
    let answer = relay.modern(
        1,
        "tools/call",
        json!({ "name": "nobody", "arguments": {} }),
    );
    assert_eq!(answer["error"]["data"]["code"], "GGEN-E3012", "{answer}");
    let mut other = Relay::start(&daemon, &["--server", "nobody"]);
    assert_eq!(
        other.modern(1, "tools/list", json!({}))["error"]["data"]["code"],
        "GGEN-E3024"
    );
    other.end();
    relay.end();
    daemon.stop();
}

#[test]
fn a_client_outlives_gateway_workers_and_daemons() {
    let mut daemon = gateway();
    let mut relay = Relay::start(&daemon, &[]);
    relay.initialize(json!({}));
    let echo = |relay: &mut Relay, id: u64| {
        relay.legacy(
            id,
            "tools/call",
            json!({ "name": "fx__echo", "arguments": { "message": "still" } }),
        )
    };
    assert_eq!(text(&echo(&mut relay, 1)), "still");
    // The session dies with the gateway worker; the relay begins another one.
    let old = daemon.worker_pid("gateway-0").unwrap();
    process::signal(old, Signal::SIGKILL);
    daemon.until_replaced("gateway-0", old);
    assert_eq!(text(&echo(&mut relay, 2)), "still");

    daemon.signal(Signal::SIGTERM);
    daemon.wait();
    let answer = echo(&mut relay, 3);
    assert_eq!(answer["error"]["data"]["code"], "GGEN-E6001", "{answer}");
    assert!(
        answer["error"]["message"]
            .as_str()
            .unwrap()
            .contains("not running"),
        "{answer}"
    );
    let config = daemon.sandbox.config();
    let started = daemon.ggen(&[
        "mcp",
        "server",
        "start",
        "--config",
        config.to_str().unwrap(),
    ]);
    assert_eq!(started.code, 0, "{started:?}");
    assert_eq!(daemon.ggen(&["mcp", "server", "wait"]).code, 0);
    assert_eq!(text(&echo(&mut relay, 4)), "still");
    relay.end();
    assert_eq!(daemon.ggen(&["mcp", "server", "stop"]).code, 0);
}

#[tokio::test]
async fn rmcp_reaches_the_gateway_through_a_child_process() {
    let daemon = gateway();
    let mut command = tokio::process::Command::from(daemon.sandbox.command("ggen"));
    command.args(["mcp", "server", "stdio", "--server", "fx"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let streams = (child.stdout.take().unwrap(), child.stdin.take().unwrap());
    let client = ().serve(streams).await.unwrap();
    assert!(
        client
            .list_all_tools()
            .await
            .unwrap()
            .iter()
            .any(|tool| tool.name == "echo")
    );
    let arguments = json!({ "message": "by rmcp" })
        .as_object()
        .cloned()
        .unwrap();
    let result = client
        .call_tool(CallToolRequestParams::new("echo").with_arguments(arguments))
        .await
        .unwrap();
    assert!(serde_json::to_string(&result).unwrap().contains("by rmcp"));
    client.cancel().await.unwrap();
    assert!(child.wait().await.unwrap().success());
    daemon.stop();
}
