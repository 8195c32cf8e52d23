//! Tasks between the eras: those of legacy servers for modern clients, and those of modern servers
//! for legacy clients.

use crate::support::{MODERN, Relay};
use ggen_mcp::api::{Input, UpInput};
use ggen_mcp::edge::{Reply, Verb};
use serde_json::{Value, json};

const EXTENSION: &str = "io.modelcontextprotocol/tasks";
const RELATED: &str = "io.modelcontextprotocol/related-task";

/// What a legacy task is like is said by its id: the word before the first `-`. Of `test` it is the
/// test that says so.
fn legacy(_: &str, message: &Value) -> Option<String> {
    let (params, id) = (
        &message["params"],
        message["params"]["taskId"].as_str().unwrap_or_default(),
    );
    let task = |status: &str| {
        format!(
            r#""taskId":"{id}","status":"{status}","createdAt":"2026-01-01T00:00:00Z","lastUpdatedAt":"2026-01-01T00:00:01Z","ttl":60000,"pollInterval":250,"more":1.0"#
        )
    };
    Some(match (message["method"].as_str()?, id.split('-').next()?) {
        ("initialize", _) => r#""result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{},"tasks":{"cancel":{},"requests":{"tools":{"call":{}}}}},"serverInfo":{"name":"s","version":"1"}}"#.to_owned(),
        ("tools/list", _) => r#""result":{"tools":[{"name":"must","inputSchema":{"type":"object"},"execution":{"taskSupport":"required"}},{"name":"may","inputSchema":{"type":"object"},"execution":{"taskSupport":"optional"}},{"name":"plain","inputSchema":{"type":"object"}}]}"#.to_owned(),
        ("tools/call", _) if params["task"].is_object() && params["arguments"]["id"] != "test" => {
            let id = params["arguments"]["id"].as_str()?;
            format!(r#""result":{{"task":{{"taskId":"{id}","status":"working","createdAt":"2026-01-01T00:00:00Z","lastUpdatedAt":"2026-01-01T00:00:00Z","ttl":60000,"pollInterval":250}}}}"#)
        }
        ("tools/call" | "tasks/get" | "tasks/result", _) if id.starts_with("test") || params["arguments"]["id"] == "test" => String::new(),
        ("tools/call", _) => r#""result":{"content":[{"type":"text","text":"at once"}]}"#.to_owned(),
        ("tasks/get", "work") => format!(r#""result":{{{}}}"#, task("working")),
        ("tasks/get", "ask") => format!(r#""result":{{{}}}"#, task("input_required")),
        // A tool that failed makes a task that failed, in 2025-11-25.
        ("tasks/get", "bad" | "error") => format!(r#""result":{{{}}}"#, task("failed")),
        ("tasks/get", "done") => format!(r#""result":{{{}}}"#, task("completed")),
        ("tasks/cancel", "work" | "ask") => format!(r#""result":{{{}}}"#, task("cancelled")),
        ("tasks/cancel", _) => r#""error":{"code":-32602,"message":"it is over, or there is none"}"#.to_owned(),
        ("tasks/result", "done" | "bad") => {
            let failed = id.starts_with("bad");
            format!(r#""result":{{"content":[{{"type":"resource_link","uri":"test://r"}}],"isError":{failed},"_meta":{{"{RELATED}":{{"taskId":"{id}"}},"k":1.0}}}}"#)
        }
        ("tasks/result", "error") => r#""error":{"code":-32603,"message":"it broke off","data":1.0}"#.to_owned(),
        // It waits for the end.
        ("tasks/result", _) => String::new(),
        _ => return None,
    })
}

fn declared() -> Value {
    json!({"extensions": {EXTENSION: {}}})
}

fn create(relay: &mut Relay, view: &str, tool: &str, id: &str) -> Value {
    relay
        .ask(
            view,
            Some(tool),
            "tools/call",
            &json!({"name": tool, "arguments": {"id": id}}),
            &declared(),
        )
        .1["result"]
        .clone()
}

fn about(relay: &mut Relay, view: &str, method: &str, id: &str) -> Value {
    relay
        .ask(
            view,
            Some(id),
            method,
            &json!({"taskId": id, "inputResponses": {}}),
            &declared(),
        )
        .1
}

/// The last message to a server with that method.
fn told(relay: &Relay, method: &str) -> Value {
    let line = relay
        .written
        .iter()
        .rev()
        .find(|(_, line)| line.contains(&format!("\"{method}\"")));
    line.map(|(_, line)| serde_json::from_str(line).unwrap())
        .unwrap_or_default()
}

#[test]
fn a_tool_that_can_be_a_task_is_one_for_a_client_that_takes_it() {
    let mut relay = Relay::new(&[("s", false, legacy)]);
    let (_, found) = relay.ask("s", None, "server/discover", &json!({}), &json!({}));
    let capabilities = &found["result"]["capabilities"];
    assert!(
        capabilities["extensions"][EXTENSION].is_object() && capabilities["tasks"].is_null(),
        "{capabilities}"
    );
    for tool in ["must", "may"] {
        let mut made = create(&mut relay, "s", tool, "work-1");
        made.as_object_mut().unwrap().remove("_meta");
        assert_eq!(
            made,
            json!({"resultType": "task", "taskId": "work-1", "status": "working", "createdAt": "2026-01-01T00:00:00Z",
                "lastUpdatedAt": "2026-01-01T00:00:00Z", "ttlMs": 60000, "pollIntervalMs": 250})
        );
    }
    assert_eq!(
        create(&mut relay, "s", "plain", "work-1")["content"][0]["text"],
        "at once"
    );
    // Who takes none gets the answer, also of a tool that can only be a task.
    let call = |relay: &mut Relay, tool: &str| {
        relay
            .ask(
                "s",
                Some(tool),
                "tools/call",
                &json!({"name": tool, "arguments": {"id": "done-1"}}),
                &json!({}),
            )
            .1["result"]
            .clone()
    };
    assert_eq!(call(&mut relay, "may")["content"][0]["text"], "at once");
    assert_eq!(call(&mut relay, "must")["content"][0]["uri"], "test://r");
    // What a legacy client would ask for a task with, means nothing.
    let hint = json!({"name": "plain", "arguments": {}, "task": {"ttl": 1}});
    let (_, body) = relay.ask("s", Some("plain"), "tools/call", &hint, &declared());
    assert_eq!(
        (
            &body["result"]["resultType"],
            &told(&relay, "tools/call")["params"]["task"]
        ),
        (&json!("complete"), &json!(null))
    );
}

#[test]
fn one_answer_says_all_of_a_task() {
    let mut relay = Relay::new(&[("s", false, legacy), ("other", false, legacy)]);
    for id in ["work-1", "done-1", "bad-1", "error-1"] {
        create(&mut relay, "", "s__must", id);
    }
    let get = |relay: &mut Relay, id: &str| {
        about(relay, "", "tasks/get", &format!("s~{id}"))["result"].clone()
    };
    let working = get(&mut relay, "work-1");
    assert_eq!(
        (
            &working["status"],
            &working["taskId"],
            &working["ttlMs"],
            &working["pollIntervalMs"],
            &working["more"],
            &working["resultType"]
        ),
        (
            &json!("working"),
            &json!("s~work-1"),
            &json!(60000),
            &json!(250),
            &json!(1.0),
            &json!("complete")
        )
    );
    assert!(working["ttl"].is_null() && working["pollInterval"].is_null());
    let done = get(&mut relay, "done-1");
    assert_eq!(
        (&done["status"], &done["taskId"]),
        (&json!("completed"), &json!("s~done-1"))
    );
    assert_eq!(
        done["result"],
        json!({"content": [{"type": "resource_link", "uri": "s+test://r"}], "isError": false, "_meta": {"k": 1.0}})
    );
    // A tool that failed is a call that was completed; `failed` is for errors of the protocol.
    let bad = get(&mut relay, "bad-1");
    assert_eq!(
        (&bad["status"], &bad["result"]["isError"]),
        (&json!("completed"), &json!(true))
    );
    let error = get(&mut relay, "error-1");
    let expected = json!({"code": -32603, "message": "it broke off", "data": 1.0});
    assert_eq!(
        (&error["status"], &error["error"], &error["statusMessage"]),
        (&json!("failed"), &expected, &json!("it broke off"))
    );
    assert!(error["result"].is_null());
    // Nobody else's, and no method of the other era.
    relay.principal = "bob".into();
    for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
        assert_eq!(
            about(&mut relay, "", method, "s~done-1")["error"]["code"],
            -32602,
            "{method}"
        );
    }
    assert_eq!(
        about(&mut relay, "", "tasks/result", "s~done-1")["error"]["code"],
        -32601
    );
}

#[test]
fn what_a_task_wants_to_know_is_asked_by_its_status_and_answered_by_an_update() {
    let mut relay = Relay::new(&[("s", false, legacy)]);
    let mut capabilities = declared();
    capabilities["elicitation"] = json!({});
    // A client that can be asked has a child of its own.
    let made = |relay: &mut Relay| {
        let params = json!({"name": "must", "arguments": {"id": "ask-1"},
            "_meta": {"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": capabilities}});
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
            .to_string();
        let headers = [
            ("mcp-protocol-version", MODERN),
            ("mcp-method", "tools/call"),
            ("mcp-name", "must"),
        ];
        let key = relay.send(Verb::Post, "s", &headers, body).0;
        relay.lend(0, 1);
        key
    };
    let key = made(&mut relay);
    assert!(
        format!("{:?}", relay.of(key)).contains("ask-1"),
        "{:?}",
        relay.of(key)
    );
    // The first look opens the request on whose stream the questions come; the task is at work
    // until they are there.
    assert_eq!(
        about(&mut relay, "s", "tasks/get", "ask-1")["result"]["status"],
        "working"
    );
    assert_eq!(told(&relay, "tasks/result")["params"]["taskId"], "ask-1");
    let question = |id: u32, name: &str| {
        let line = json!({"jsonrpc": "2.0", "id": id, "method": "elicitation/create",
            "params": {"message": name, "requestedSchema": {"type": "object", "properties": {}}, "_meta": {RELATED: {"taskId": "ask-1"}}}});
        UpInput::Line(line.to_string().into())
    };
    relay.lent(0, 1, question(7, "first"));
    relay.lent(0, 1, question(8, "second"));
    let asked = about(&mut relay, "s", "tasks/get", "ask-1")["result"].clone();
    assert_eq!(asked["status"], "input_required");
    let requests = asked["inputRequests"].as_object().unwrap().clone();
    let keys: Vec<_> = requests.keys().cloned().collect();
    assert_eq!(
        (keys.len(), &requests[&keys[0]]["method"]),
        (2, &json!("elicitation/create"))
    );
    assert!(
        requests[&keys[0]]["params"]["_meta"].is_null(),
        "the task is named where it is asked for: {requests:?}"
    );
    assert_eq!(
        relay
            .written
            .iter()
            .filter(|(_, line)| line.contains("tasks/result"))
            .count(),
        1,
        "one watch is enough"
    );
    // A part of the answers, with what was never asked and what is no answer.
    let answers = json!({"taskId": "ask-1", "inputResponses": {&keys[1]: {"action": "accept", "content": {}}, &keys[0]: 7, "other": {}}});
    relay.written.clear();
    let (status, body) = relay.ask("s", Some("ask-1"), "tasks/update", &answers, &declared());
    assert_eq!(
        (
            status,
            &body["result"]["resultType"],
            &body["result"]["taskId"]
        ),
        (200, &json!("complete"), &json!(null))
    );
    let said: Vec<Value> = relay
        .written
        .iter()
        .map(|(_, line)| serde_json::from_str(line).unwrap())
        .collect();
    let first_was = if requests[&keys[1]]["params"]["message"] == "first" {
        7
    } else {
        8
    };
    assert_eq!(said.len(), 1);
    assert_eq!(
        (&said[0]["id"], &said[0]["result"]["action"]),
        (&json!(first_was), &json!("accept"))
    );
    assert_eq!(said[0]["result"]["_meta"][RELATED]["taskId"], "ask-1");
    let left = about(&mut relay, "s", "tasks/get", "ask-1")["result"]["inputRequests"].clone();
    assert_eq!(
        left.as_object().unwrap().keys().collect::<Vec<_>>(),
        [&keys[0]]
    );
    // The same answer once more is ignored; a strange principal's is no answer.
    relay.written.clear();
    relay.ask("s", Some("ask-1"), "tasks/update", &answers, &declared());
    relay.principal = "bob".into();
    assert_eq!(
        about(&mut relay, "s", "tasks/update", "ask-1")["error"]["code"],
        -32602
    );
    assert!(relay.written.is_empty(), "{:?}", relay.written);
    relay.principal = "anonymous".into();
    let (_, body) = relay.ask(
        "s",
        Some("ask-1"),
        "tasks/update",
        &json!({"taskId": "ask-1"}),
        &declared(),
    );
    assert_eq!(body["error"]["code"], -32602);
    // The child is the task's until it is over.
    relay.now += 70_000_000;
    relay.input(Input::Tick);
    assert!(
        !format!("{:?}", relay.outputs).contains("Unlease"),
        "{:?}",
        relay.outputs
    );
    // Cancelled: the open question is answered, the request for the result taken back.
    relay.written.clear();
    assert_eq!(
        about(&mut relay, "s", "tasks/cancel", "ask-1")["result"]["resultType"],
        "complete"
    );
    let said = format!("{:?}", relay.written);
    assert!(
        said.contains("tasks/cancel")
            && said.contains(r#"\"action\":\"cancel\""#)
            && said.contains("notifications/cancelled"),
        "{said}"
    );
    relay.now += 601_000_000;
    relay.input(Input::Tick);
    assert!(
        format!("{:?}", relay.outputs).contains("Unlease"),
        "{:?}",
        relay.outputs
    );
}

/// A modern request that is not answered at once.
fn begin(
    relay: &mut Relay,
    method: &str,
    name: &str,
    members: &Value,
    capabilities: &Value,
) -> ggen_mcp::api::StreamKey {
    let mut params = members.clone();
    params["_meta"] = json!({"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": capabilities,
        "io.modelcontextprotocol/logLevel": "debug"});
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
    relay
        .send(
            Verb::Post,
            "s",
            &[
                ("mcp-protocol-version", MODERN),
                ("mcp-method", method),
                ("mcp-name", name),
            ],
            body,
        )
        .0
}

/// The server answers the last request of a method.
fn answer(relay: &mut Relay, lease: u32, method: &str, result: &str) {
    let id = told(relay, method)["id"].clone();
    relay.lent(
        0,
        lease,
        UpInput::Line(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#).into()),
    );
}

#[test]
fn who_looks_at_a_finished_task_hears_nothing_of_who_has_a_child_now() {
    let mut relay = Relay::new(&[("s", false, legacy)]);
    let mut capabilities = declared();
    capabilities["elicitation"] = json!({});
    relay.principal = "alice".into();
    begin(
        &mut relay,
        "tools/call",
        "must",
        &json!({"name": "must", "arguments": {"id": "test-1"}}),
        &capabilities,
    );
    relay.lend(0, 1);
    begin(
        &mut relay,
        "tasks/get",
        "test-1",
        &json!({"taskId": "test-1"}),
        &capabilities,
    );
    answer(
        &mut relay,
        1,
        "tasks/get",
        r#"{"taskId":"test-1","status":"completed","ttl":60000}"#,
    );
    answer(&mut relay, 1, "tasks/result", r#"{"content":[]}"#);
    relay.principal = "bob".into();
    let bobs = begin(
        &mut relay,
        "tools/call",
        "plain",
        &json!({"name": "plain", "arguments": {"id": "test"}}),
        &capabilities,
    );
    relay.lend(0, 2);
    relay.principal = "alice".into();
    let looks = begin(
        &mut relay,
        "tasks/get",
        "test-1",
        &json!({"taskId": "test-1"}),
        &capabilities,
    );
    let said = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","data":"of bob"}}"#;
    relay.lent(0, 2, UpInput::Line(said.into()));
    assert!(
        format!("{:?}", relay.of(bobs)).contains("of bob"),
        "{:?}",
        relay.of(bobs)
    );
    assert!(relay.of(looks).is_empty(), "{:?}", relay.of(looks));
}

#[test]
fn a_call_that_has_asked_and_become_a_task_can_ask_again() {
    let mut relay = Relay::new(&[("s", false, legacy)]);
    // This client takes no tasks, and waits for what the task comes to.
    let capabilities = json!({"elicitation": {}});
    let members = json!({"name": "must", "arguments": {"id": "work-1"}});
    let ask = |relay: &mut Relay, id: u32, meta: &Value| {
        let params = json!({"message": "m", "requestedSchema": {"type": "object", "properties": {}}, "_meta": meta});
        let line =
            json!({"jsonrpc": "2.0", "id": id, "method": "elicitation/create", "params": params});
        relay.lent(0, 1, UpInput::Line(line.to_string().into()));
        relay.now += 20_000;
        relay.input(Input::Tick);
    };
    let again = |relay: &mut Relay, key| {
        let asked = last(relay, key)["result"].clone();
        assert_eq!(asked["resultType"], "input_required", "{asked}");
        let mut members = members.clone();
        members["arguments"]["id"] = json!("test");
        members["requestState"] = asked["requestState"].clone();
        members["inputResponses"] = json!({asked["inputRequests"].as_object().unwrap().keys().next().unwrap(): {"action": "accept", "content": {}}});
        begin(relay, "tools/call", "must", &members, &capabilities)
    };
    // The server asks before there is a task, and when there is one.
    let first = begin(
        &mut relay,
        "tools/call",
        "must",
        &json!({"name": "must", "arguments": {"id": "test"}}),
        &capabilities,
    );
    relay.lend(0, 1);
    ask(&mut relay, 7, &json!({}));
    let second = again(&mut relay, first);
    answer(
        &mut relay,
        1,
        "tools/call",
        r#"{"task":{"taskId":"test-2","status":"working","ttl":60000}}"#,
    );
    assert_eq!(told(&relay, "tasks/result")["params"]["taskId"], "test-2");
    ask(&mut relay, 8, &json!({RELATED: {"taskId": "test-2"}}));
    let third = again(&mut relay, second);
    answer(
        &mut relay,
        1,
        "tasks/result",
        r#"{"content":[{"type":"text","text":"done"}]}"#,
    );
    assert_eq!(last(&relay, third)["result"]["content"][0]["text"], "done");
}

#[test]
fn a_wish_to_cancel_is_heard_whatever_became_of_the_task() {
    let mut relay = Relay::new(&[("s", false, legacy)]);
    for id in ["work-1", "done-1", "gone-1"] {
        create(&mut relay, "s", "must", id);
    }
    for id in ["work-1", "done-1"] {
        let body = about(&mut relay, "s", "tasks/cancel", id);
        let members: Vec<_> = body["result"]
            .as_object()
            .unwrap()
            .keys()
            .filter(|name| *name != "_meta")
            .collect();
        assert_eq!(members, ["resultType"], "{body}");
    }
    assert!(about(&mut relay, "s", "tasks/cancel", "gone-1")["error"]["code"].is_i64());
}

#[test]
fn news_of_a_legacy_task_say_all_of_it() {
    let mut relay = Relay::new(&[("s", false, legacy)]);
    create(&mut relay, "", "s__must", "done-1");
    let meta = json!({"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": declared()});
    let params = json!({"notifications": {"taskIds": ["s~done-1", "s~none"]}, "_meta": meta});
    let body =
        json!({"jsonrpc": "2.0", "id": "mine", "method": "subscriptions/listen", "params": params})
            .to_string();
    let key = relay
        .send(
            Verb::Post,
            "",
            &[
                ("mcp-protocol-version", MODERN),
                ("mcp-method", "subscriptions/listen"),
            ],
            body,
        )
        .0;
    let events = |relay: &Relay| {
        let each = relay.of(key).into_iter().filter_map(|reply| match reply {
            Reply::Event { data, .. } if !data.is_empty() => {
                Some(serde_json::from_slice::<Value>(&data).unwrap()["params"].clone())
            }
            _ => None,
        });
        each.collect::<Vec<_>>()
    };
    assert_eq!(
        events(&relay)[0]["notifications"],
        json!({"taskIds": ["s~done-1"]})
    );
    let news = |id: &str, status: &str| {
        let params = json!({"taskId": id, "status": status, "createdAt": "a", "lastUpdatedAt": "b", "ttl": null});
        UpInput::Line(
            json!({"jsonrpc": "2.0", "method": "notifications/tasks/status", "params": params})
                .to_string()
                .into(),
        )
    };
    relay.up(0, news("done-1", "working"));
    relay.up(0, news("none", "working"));
    relay.up(0, news("done-1", "completed"));
    let heard = events(&relay);
    assert_eq!(heard.len(), 3, "{heard:?}");
    assert_eq!(
        (&heard[1]["status"], &heard[1]["taskId"], &heard[1]["ttlMs"]),
        (&json!("working"), &json!("s~done-1"), &json!(null))
    );
    assert_eq!(
        (
            &heard[2]["status"],
            &heard[2]["result"]["content"][0]["uri"]
        ),
        (&json!("completed"), &json!("s+test://r"))
    );
    assert_eq!(
        heard[2]["_meta"]["io.modelcontextprotocol/subscriptionId"],
        "mine"
    );
}

/// A modern server whose tool is always a task: refused without the extension; the task asks once
/// if its id begins with `ask`.
fn modern(_: &str, message: &Value) -> Option<String> {
    let params = &message["params"];
    let takes = params["_meta"]["io.modelcontextprotocol/clientCapabilities"]["extensions"]
        [EXTENSION]
        .is_object();
    let refused = format!(
        r#""error":{{"code":-32021,"message":"tasks","data":{{"requiredCapabilities":{{"extensions":{{"{EXTENSION}":{{}}}}}}}}}}"#
    );
    Some(match message["method"].as_str()? {
        "server/discover" => format!(
            r#""result":{{"supportedVersions":["{MODERN}"],"capabilities":{{"tools":{{}},"extensions":{{"{EXTENSION}":{{}}}}}},"resultType":"complete"}}"#
        ),
        "tools/call" | "tasks/get" | "tasks/update" | "tasks/cancel" if !takes => refused,
        "tools/call" => {
            let id = params["arguments"]["id"].as_str()?;
            format!(
                r#""result":{{"resultType":"task","taskId":"{id}","status":"working","ttlMs":60000,"pollIntervalMs":200}}"#
            )
        }
        // Answered by the test.
        "tasks/get" => String::new(),
        "tasks/update" | "tasks/cancel" => r#""result":{"resultType":"complete"}"#.to_owned(),
        _ => return None,
    })
}

/// The server's answer to the last question about a task.
fn status(relay: &mut Relay, members: &str) {
    let id = told(relay, "tasks/get")["id"].clone();
    let line = format!(
        r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"complete","taskId":"t",{members}}}}}"#
    );
    relay.up(0, UpInput::Line(line.into()));
}

/// A call of a legacy client, and the time till the next look at its task.
fn call(relay: &mut Relay, session: &str, id: &str) -> ggen_mcp::api::StreamKey {
    let body = json!({"jsonrpc": "2.0", "id": "c", "method": "tools/call", "params": {"name": "t", "arguments": {"id": id}}}).to_string();
    let key = relay
        .send(Verb::Post, "s", &[("mcp-session-id", session)], body)
        .0;
    relay.now += 200_000;
    relay.input(Input::Tick);
    key
}

fn last(relay: &Relay, key: ggen_mcp::api::StreamKey) -> Value {
    let bodies = relay.of(key).into_iter().filter_map(|reply| match reply {
        Reply::Full { body, .. } => Some(body),
        Reply::Event { data, .. } if !data.is_empty() => Some(data),
        _ => None,
    });
    bodies
        .last()
        .map(|body| serde_json::from_slice(&body).unwrap())
        .unwrap_or_default()
}

#[test]
fn a_legacy_client_gets_what_a_modern_task_comes_to() {
    let mut relay = Relay::new(&[("s", true, modern)]);
    for version in ["2025-11-25", "2024-11-05"] {
        let session = relay.session("s", version);
        let key = call(&mut relay, &session, "work");
        status(&mut relay, r#""status":"working","pollIntervalMs":400"#);
        let asked = relay.written.len();
        relay.now += 399_000;
        relay.input(Input::Tick);
        assert_eq!(
            relay.written.len(),
            asked,
            "sooner than the server wants it"
        );
        relay.now += 2_000;
        relay.input(Input::Tick);
        assert_eq!(told(&relay, "tasks/get")["params"]["taskId"], "work");
        status(
            &mut relay,
            r#""status":"completed","result":{"content":[{"type":"text","text":"done"}],"resultType":"complete","k":1.0}"#,
        );
        let answer = last(&relay, key);
        assert_eq!(
            answer,
            json!({"jsonrpc": "2.0", "id": "c", "result": {"content": [{"type": "text", "text": "done"}], "k": 1.0}}),
            "{version}"
        );
        for (members, code, word) in [
            (
                r#""status":"failed","error":{"code":-32000,"message":"broke"}"#,
                -32000,
                "broke",
            ),
            (r#""status":"cancelled""#, -32603, "GGEN-E3045"),
        ] {
            let key = call(&mut relay, &session, "work");
            status(&mut relay, members);
            let answer = last(&relay, key);
            assert_eq!(answer["error"]["code"], code, "{answer}");
            assert!(answer.to_string().contains(word), "{answer}");
        }
    }
}

#[test]
fn what_a_modern_task_wants_to_know_is_asked_on_the_stream_of_the_call() {
    let mut relay = Relay::new(&[("s", true, modern)]);
    let session = relay.session_with("s", "2025-11-25", &json!({"elicitation": {}}));
    let key = call(&mut relay, &session, "ask");
    let wants = r#""status":"input_required","inputRequests":{"a":{"method":"elicitation/create","params":{"message":"m","requestedSchema":{"type":"object","properties":{}}}}}"#;
    status(&mut relay, wants);
    let question = last(&relay, key);
    assert_eq!(question["method"], "elicitation/create", "{question}");
    let answer = json!({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "accept", "content": {}}}).to_string();
    relay.send(Verb::Post, "s", &[("mcp-session-id", &session)], answer);
    let update = told(&relay, "tasks/update");
    assert_eq!(
        update["params"]["inputResponses"],
        json!({"a": {"action": "accept", "content": {}}}),
        "{update}"
    );
    // The server may show the question for a while yet: it is put once.
    relay.now += 1_000_000;
    relay.input(Input::Tick);
    status(&mut relay, wants);
    assert_eq!(last(&relay, key)["id"], question["id"]);
    relay.now += 1_000_000;
    relay.input(Input::Tick);
    status(
        &mut relay,
        r#""status":"completed","result":{"content":[]}"#,
    );
    assert_eq!(last(&relay, key)["result"]["content"], json!([]));
}

#[test]
fn a_call_that_is_given_up_takes_its_task_with_it() {
    let mut relay = Relay::new(&[("s", true, modern)]);
    let session = relay.session("s", "2025-11-25");
    call(&mut relay, &session, "work");
    let cancelled = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "c"}}).to_string();
    relay.send(Verb::Post, "s", &[("mcp-session-id", &session)], cancelled);
    let told = told(&relay, "tasks/cancel");
    assert_eq!(told["params"]["taskId"], "work");
    assert!(
        told["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"]["extensions"]
            [EXTENSION]
            .is_object(),
        "{told}"
    );
}
