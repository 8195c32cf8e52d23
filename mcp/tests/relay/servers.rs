//! The relay as a client of HTTP servers: versions, mirrored headers, sessions that clients can be
//! asked on.

use crate::support::remote::{Got, MODERN, Remote};
use ggen_mcp::api::Limits;
use serde_json::{Value, json};

fn tool(header: Option<&str>) -> Value {
    let mut region = json!({"type": "string"});
    if let Some(header) = header {
        region["x-mcp-header"] = json!(header);
    }
    json!([{"name": "t", "inputSchema": {"type": "object", "properties": {"region": region}}}])
}

fn header<'a>(got: &'a Got, name: &str) -> Option<&'a str> {
    got.headers
        .iter()
        .find(|(header, _)| header == name)
        .map(|(_, value)| value.as_str())
}

fn call(id: u32, name: &str, arguments: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": name, "arguments": arguments}})
}

fn mismatch() -> Value {
    json!({"code": -32020, "message": "Mcp-Param-Zone is missing"})
}

#[test]
fn a_call_whose_headers_are_out_of_date_is_made_once_more() {
    let mut remote = Remote::prepared(true, Limits::default(), |remote| {
        remote.tools = tool(Some("Region"))
    });
    let session = remote.session("2025-11-25", &json!({}));
    let key = remote.legacy(&session, &call(1, "t", &json!({"region": " north"})));
    let first = remote.last();
    assert_eq!(
        header(&first, "mcp-param-region"),
        Some("=?base64?IG5vcnRo?=")
    );
    remote.tools = tool(Some("Zone"));
    remote.fails(first.exchange, &mismatch());
    let second = remote.last();
    assert_eq!(remote.got.len(), 2);
    assert_eq!(
        (
            header(&second, "mcp-param-zone"),
            header(&second, "mcp-param-region")
        ),
        (Some("=?base64?IG5vcnRo?="), None)
    );
    assert_eq!(
        (header(&second, "mcp-name"), &second.text),
        (Some("t"), &first.text)
    );
    remote.answers(
        second.exchange,
        &json!({"resultType": "complete", "content": []}),
    );
    assert_eq!(remote.answer(key)["result"], json!({"content": []}));
    remote.assert_clean();
}

#[test]
fn a_server_that_goes_on_complaining_about_headers_is_asked_no_third_time() {
    let mut remote = Remote::prepared(true, Limits::default(), |remote| {
        remote.tools = tool(Some("Region"))
    });
    let session = remote.session("2025-11-25", &json!({}));
    let keys =
        [1, 2].map(|id| remote.legacy(&session, &call(id, "t", &json!({"region": "north"}))));
    for exchange in [remote.got[0].exchange, remote.got[1].exchange] {
        remote.fails(exchange, &mismatch());
    }
    assert_eq!(remote.got.len(), 4);
    for exchange in [remote.got[2].exchange, remote.got[3].exchange] {
        remote.fails(exchange, &mismatch());
    }
    // The headers are the relay's, not the legacy client's.
    assert!(
        keys.iter()
            .all(|key| remote.answer(*key)["error"]["code"] == -32603),
        "{:?}",
        remote.answer(keys[0])
    );
    // What is no tool has no headers that a list declares.
    let key = remote.legacy(
        &session,
        &json!({"jsonrpc": "2.0", "id": 3, "method": "prompts/get", "params": {"name": "p"}}),
    );
    let exchange = remote.last().exchange;
    remote.fails(exchange, &mismatch());
    assert_eq!(remote.answer(key)["error"]["code"], -32603);
    assert_eq!(remote.got.len(), 5);
    remote.assert_clean();
}

#[test]
fn a_call_that_is_taken_back_while_the_tools_are_read_is_not_made_again() {
    let mut remote = Remote::prepared(true, Limits::default(), |remote| {
        remote.tools = tool(Some("Region"))
    });
    let session = remote.session("2025-11-25", &json!({}));
    remote.legacy(&session, &call(1, "t", &json!({"region": "north"})));
    let exchange = remote.last().exchange;
    remote.says(
        exchange,
        &json!({"jsonrpc": "2.0", "id": exchange, "error": mismatch()}),
    );
    remote.legacy(
        &session,
        &json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}),
    );
    remote.breaks(exchange);
    let calls = remote
        .got
        .iter()
        .filter(|got| got.body["method"] == "tools/call")
        .count();
    assert_eq!(calls, 1);
    remote.assert_clean();
}

#[test]
fn a_tool_with_wrong_declarations_is_neither_listed_nor_called() {
    let bad = json!({"name": "bad", "inputSchema": {"type": "object", "properties": {"a": {"type": "string", "x-mcp-header": "A b"}}}});
    let mut remote = Remote::prepared(true, Limits::default(), |remote| {
        remote.tools = json!([bad, {"name": "t", "inputSchema": {}}])
    });
    let session = remote.session("2025-11-25", &json!({}));
    let key = remote.legacy(
        &session,
        &json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}),
    );
    let tools = remote.answer(key)["result"]["tools"].clone();
    assert_eq!(tools.as_array().map(Vec::len), Some(1), "{tools}");
    let key = remote.legacy(&session, &call(2, "bad", &json!({"a": "x"})));
    assert_eq!(remote.answer(key)["error"]["code"], -32602);
    assert!(remote.got.is_empty());
    // A name that the server does not list at all is its own business.
    remote.legacy(&session, &call(3, "unlisted", &json!({})));
    assert_eq!(remote.last().body["params"]["name"], "unlisted");
}

#[test]
fn a_server_that_refuses_a_revision_which_it_has_is_asked_once_more() {
    let error = |versions: Value| json!({"code": -32022, "message": "no", "data": {"supported": versions, "requested": MODERN}});
    let refusing = |times, versions| {
        let limits = Limits::default();
        Remote::prepared(true, limits, |remote| {
            remote.refuses = (times, error(versions))
        })
    };
    let mut once = refusing(1, json!([MODERN]));
    let key = once.modern(1, "tools/call", "t", &json!({}), &json!({}));
    assert_eq!(once.got.len(), 1);
    let exchange = once.last().exchange;
    // Every result says what it is, also if its server forgot.
    once.answers(exchange, &json!({"content": [], "x": {"resultType": 1}}));
    assert_eq!(
        once.answer(key)["result"],
        json!({"resultType": "complete", "content": [], "x": {"resultType": 1}})
    );
    for (times, versions) in [(2, json!([MODERN])), (1, json!(["2030-01-01"]))] {
        let refused = refusing(times, versions);
        assert_eq!((refused.refuses.0, refused.got.len()), (0, 0));
    }
}

#[test]
fn a_question_on_the_stream_of_a_session_is_one_clients() {
    let mut remote = Remote::prepared(false, Limits::default(), |remote| remote.has_streams = true);
    let caps = json!({"elicitation": {}});
    let sessions = ["2025-11-25", "2025-11-25"].map(|version| remote.session(version, &caps));
    let keys = [0, 1].map(|at| remote.legacy(&sessions[at], &call(7, "t", &json!({}))));
    // Calls wait for the stream of their session: what the server asks before it is there is lost.
    let streams: Vec<_> = remote
        .streams
        .iter()
        .filter(|(_, session)| session != "session-1")
        .cloned()
        .collect();
    assert_eq!((streams.len(), remote.got.len()), (2, 0));
    remote.opens(streams[0].0);
    remote.pass(1_000_000);
    let calls: Vec<_> = remote
        .got
        .iter()
        .map(|got| {
            (
                got.exchange,
                header(got, "mcp-session-id").unwrap().to_owned(),
            )
        })
        .collect();
    assert_eq!(
        calls.iter().map(|(_, session)| session).collect::<Vec<_>>(),
        streams
            .iter()
            .map(|(_, session)| session)
            .collect::<Vec<_>>()
    );
    let schema = json!({"type": "object", "properties": {}});
    let asks = json!({"jsonrpc": "2.0", "id": "q", "method": "elicitation/create", "params": {"message": "m", "requestedSchema": schema}});
    remote.says(streams[1].0, &asks);
    let asked = |remote: &Remote, at: usize| {
        remote
            .messages(keys[at])
            .iter()
            .filter(|message| message.get("method").is_some())
            .count()
    };
    assert_eq!((asked(&remote, 0), asked(&remote, 1)), (0, 1));
    let id = remote.messages(keys[1])[0]["id"].clone();
    remote.legacy(
        &sessions[1],
        &json!({"jsonrpc": "2.0", "id": id, "result": {"action": "accept", "content": {}}}),
    );
    let answer = remote.last();
    assert_eq!(
        (&answer.body["id"], header(&answer, "mcp-session-id")),
        (&json!("q"), Some(&*calls[1].1))
    );
    for ((exchange, _), key) in calls.iter().zip(keys) {
        remote.answers(*exchange, &json!({"content": []}));
        assert_eq!(remote.answer(key)["result"], json!({"content": []}));
    }
}

#[test]
fn a_session_that_is_idle_gives_way_where_there_is_no_room_and_one_with_calls_does_not() {
    let mut remote = Remote::prepared(false, Limits::default(), |remote| remote.has_streams = true);
    let caps = json!({"elicitation": {}});
    for id in 0..6 {
        let session = remote.session("2025-11-25", &caps);
        remote.legacy(&session, &call(id, "t", &json!({})));
    }
    remote.pass(1_000_000);
    let greeted = |remote: &Remote| {
        let asks = remote.greeted.iter();
        asks.filter(|caps| caps.get("elicitation").is_some())
            .count()
    };
    // The settings say four; calls keep theirs.
    assert_eq!((greeted(&remote), remote.got.len()), (6, 6));
    let sessions: std::collections::BTreeSet<_> = remote
        .got
        .iter()
        .map(|request| header(request, "mcp-session-id").unwrap().to_owned())
        .collect();
    assert_eq!(sessions.len(), 6, "each call in its own session");
    assert!(remote.ended.is_empty());
    let first = header(&remote.got[0], "mcp-session-id").unwrap().to_owned();
    remote.answers(remote.got[0].exchange, &json!({"content": []}));
    let session = remote.session("2025-11-25", &caps);
    remote.legacy(&session, &call(7, "t", &json!({})));
    remote.pass(1_000_000);
    assert_eq!(remote.ended, [first], "the idle one");
    assert_eq!(greeted(&remote), 7);
}

#[test]
fn a_modern_client_gets_what_a_task_comes_to() {
    let mut remote = Remote::new(false);
    let key = remote.modern(
        1,
        "tools/call",
        "job",
        &json!({}),
        &json!({"arguments": {"a": 1}, "_meta": {"progressToken": "p"}}),
    );
    let begun = remote.last();
    assert_eq!(
        (
            &begun.body["params"]["task"],
            &begun.body["params"]["arguments"]
        ),
        (&json!({}), &json!({"a": 1}))
    );
    let token = begun.body["params"]["_meta"]["progressToken"].clone();
    remote.answers(
        begun.exchange,
        &json!({"task": {"taskId": "t-1", "status": "working", "ttl": null}}),
    );
    let asked = remote.last();
    assert_eq!(
        (asked.body["method"].as_str(), &asked.body["params"]),
        (Some("tasks/result"), &json!({"taskId": "t-1"}))
    );
    assert_ne!(asked.body["id"], begun.body["id"]);
    // The task goes on reporting under the token that it began with.
    remote.says(
        asked.exchange,
        &json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": token, "progress": 1}}),
    );
    remote.answers(
        asked.exchange,
        &json!({"content": [{"type": "text", "text": "done"}]}),
    );
    assert_eq!(remote.answer(key)["result"]["content"][0]["text"], "done");
    assert!(
        remote
            .messages(key)
            .iter()
            .any(|message| message["params"]["progressToken"] == "p"),
        "{:?}",
        remote.messages(key)
    );
    // Another tool is called as before.
    remote.modern(2, "tools/call", "t", &json!({}), &json!({}));
    assert!(remote.last().body["params"].get("task").is_none());
}

#[test]
fn a_task_whose_client_is_gone_is_cancelled() {
    let mut remote = Remote::new(false);
    let key = remote.modern(1, "tools/call", "job", &json!({}), &json!({}));
    let begun = remote.last().exchange;
    remote.answers(
        begun,
        &json!({"task": {"taskId": "t-1", "status": "working"}}),
    );
    remote.input(ggen_mcp::api::Input::Gone(key));
    let told: Vec<_> = remote
        .got
        .iter()
        .map(|got| got.body["method"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(
        told,
        [
            "tools/call",
            "tasks/result",
            "notifications/cancelled",
            "tasks/cancel"
        ]
    );
    assert_eq!(remote.last().body["params"], json!({"taskId": "t-1"}));
}

#[test]
fn tasks_pass_between_a_client_and_a_server_of_one_era() {
    let mut old = Remote::new(false);
    let session = old.session("2025-11-25", &json!({}));
    // What the client puts in is the client's, and what the server gives is the server's.
    let params = json!({"name": "job", "arguments": {}, "task": {"ttl": 5}});
    let key = old.legacy(
        &session,
        &json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}),
    );
    let begun = old.last();
    assert_eq!(begun.body["params"], params);
    let task = json!({"task": {"taskId": "t-1", "status": "working", "pollInterval": 5, "ttl": 5}});
    old.answers(begun.exchange, &task);
    assert_eq!(old.answer(key)["result"], task);
    for method in ["tasks/get", "tasks/result", "tasks/cancel"] {
        let key = old.legacy(
            &session,
            &json!({"jsonrpc": "2.0", "id": 2, "method": method, "params": {"taskId": "t-1"}}),
        );
        let got = old.last();
        assert_eq!(
            (got.body["method"].as_str(), &got.body["params"]),
            (Some(method), &json!({"taskId": "t-1"}))
        );
        old.answers(
            got.exchange,
            &json!({"taskId": "t-1", "status": "completed", "x": 1.0}),
        );
        assert_eq!(
            old.answer(key)["result"],
            json!({"taskId": "t-1", "status": "completed", "x": 1.0})
        );
    }
    // Of a list, what is the client's.
    let key = old.legacy(
        &session,
        &json!({"jsonrpc": "2.0", "id": 3, "method": "tasks/list", "params": {"y": 1.0}}),
    );
    let got = old.last();
    assert_eq!(
        (got.body["method"].as_str(), &got.body["params"]),
        (Some("tasks/list"), &json!({"y": 1.0}))
    );
    old.answers(
        got.exchange,
        &json!({"tasks": [{"taskId": "t-0"}, {"taskId": "t-1", "z": 1.0}], "x": 1.0}),
    );
    assert_eq!(
        old.answer(key)["result"],
        json!({"x": 1.0, "tasks": [{"taskId": "t-1", "z": 1.0}]})
    );
    let mut new = Remote::new(true);
    let capabilities = json!({"extensions": {"io.modelcontextprotocol/tasks": {}}});
    let meta = json!({"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": capabilities});
    let body = json!({"jsonrpc": "2.0", "id": 0, "method": "tools/call", "params": {"name": "job", "arguments": {}, "_meta": meta}});
    let key = new.post(
        &[
            ("mcp-protocol-version", MODERN),
            ("mcp-method", "tools/call"),
            ("mcp-name", "job"),
        ],
        &body.to_string(),
    );
    let task =
        json!({"resultType": "task", "taskId": "t-1", "status": "working", "ttlMs": 5, "x": 1.0});
    new.answers(new.last().exchange, &task);
    assert_eq!(new.answer(key)["result"], task);
    for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": {"taskId": "t-1", "_meta": meta.clone()}});
        let key = new.post(
            &[
                ("mcp-protocol-version", MODERN),
                ("mcp-method", method),
                ("mcp-name", "t-1"),
            ],
            &body.to_string(),
        );
        let got = new.last();
        assert_eq!(
            (header(&got, "mcp-method"), header(&got, "mcp-name")),
            (Some(method), Some("t-1"))
        );
        new.answers(
            got.exchange,
            &json!({"resultType": "complete", "taskId": "t-1"}),
        );
        assert_eq!(new.answer(key)["result"]["taskId"], "t-1");
    }
}
