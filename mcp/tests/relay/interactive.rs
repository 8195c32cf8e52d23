//! Questions of servers across the eras, rule by rule: calls with pending input of modern clients, and rounds
//! that the relay runs for legacy ones.

use crate::support::remote::{Got, Remote};
use ggen_mcp::api::{Input, Limits, StreamKey};
use serde_json::{Value, json};

fn all() -> Value {
    json!({"elicitation": {}, "sampling": {}, "roots": {}})
}

fn call(relay: &mut Remote, id: u32, more: &Value) -> StreamKey {
    relay.modern(id, "tools/call", "t", &all(), more)
}

/// A call whose server has asked for one thing: the server's exchange, and the state that the
/// client got.
fn with_pending_input(relay: &mut Remote) -> (u64, String) {
    let key = call(relay, 1, &json!({}));
    let exchange = relay.last().exchange;
    relay.asks(
        exchange,
        "ask-1",
        "elicitation/create",
        &json!({"message": "?"}),
    );
    relay.pass(10_000);
    (exchange, state(&relay.answer(key)))
}

fn state(answer: &Value) -> String {
    assert_eq!(answer["result"]["resultType"], "input_required", "{answer}");
    answer["result"]["requestState"]
        .as_str()
        .expect("a state")
        .to_owned()
}

fn keys(answer: &Value) -> Vec<String> {
    answer["result"]["inputRequests"]
        .as_object()
        .expect("questions")
        .keys()
        .cloned()
        .collect()
}

fn accept(value: u32) -> Value {
    json!({"action": "accept", "content": {"n": value}})
}

fn retry(state: &str, value: u32) -> Value {
    json!({"requestState": state, "inputResponses": {"req_1": accept(value)}})
}

/// Answers of the relay to questions, and cancellations, as the server got them.
fn told(relay: &Remote) -> Vec<Value> {
    relay
        .got
        .iter()
        .map(|got| got.body.clone())
        .filter(|body| body["method"] != "tools/call")
        .collect()
}

#[test]
fn a_question_becomes_a_result_and_its_answer_goes_back() {
    let mut relay = Remote::new(false);
    let key = call(&mut relay, 1, &json!({"arguments": {"a": 1.0}}));
    let exchange = relay.last().exchange;
    assert_eq!(
        relay.greeted,
        [json!({}), all()],
        "a session of its own, whose handshake declares what the client does"
    );
    relay.asks(
        exchange,
        "ask-1",
        "elicitation/create",
        &json!({"message": "?", "requestedSchema": {}, "_meta": {"x/y": 1}}),
    );
    assert_eq!(
        relay.answer(key),
        Value::Null,
        "the server may have more to ask"
    );
    assert!(relay.gateway.next_due().is_some());
    relay.pass(10_000);
    let answer = relay.answer(key);
    assert_eq!(
        answer["result"]["inputRequests"],
        json!({"req_1": {"method": "elicitation/create", "params": {"message": "?", "requestedSchema": {}, "_meta": {"x/y": 1}}}})
    );
    assert_eq!(
        answer["result"]["_meta"]["io.modelcontextprotocol/serverInfo"]["name"],
        "s"
    );
    relay.pass(100_000_000);
    let again = call(
        &mut relay,
        2,
        &json!({"arguments": {"a": 1.0}, "requestState": state(&answer), "inputResponses": {"req_1": accept(7)}}),
    );
    assert_eq!(
        relay.last().body,
        json!({"jsonrpc": "2.0", "id": "ask-1", "result": accept(7)})
    );
    assert_eq!(relay.answer(again), Value::Null);
    relay.answers(exchange, &json!({"content": []}));
    assert_eq!(relay.answer(again)["id"], 2);
    assert_eq!(relay.answer(again)["result"]["resultType"], "complete");
    relay.assert_clean();
}

#[test]
fn questions_that_come_together_are_put_together() {
    let mut relay = Remote::new(false);
    let key = call(&mut relay, 1, &json!({}));
    let exchange = relay.last().exchange;
    relay.asks(
        exchange,
        "a",
        "elicitation/create",
        &json!({"message": "?", "_meta": {"vendor/inputKey": "user_name"}}),
    );
    relay.pass(8_000);
    relay.asks(exchange, "b", "roots/list", &json!({}));
    relay.pass(8_000);
    assert_eq!(relay.answer(key), Value::Null);
    relay.asks(
        exchange,
        "c",
        "sampling/createMessage",
        &json!({"messages": [], "includeContext": "thisServer"}),
    );
    relay.pass(10_000);
    let answer = relay.answer(key);
    assert_eq!(keys(&answer), ["req_2", "req_3", "user_name"]);
    assert_eq!(
        answer["result"]["inputRequests"]["req_3"]["params"],
        json!({"messages": []})
    );
    // One that comes while the client is away waits for its return.
    relay.asks(exchange, "d", "roots/list", &json!({}));
    let responses = json!({"user_name": accept(1), "req_2": {"roots": []}, "req_3": {"role": "assistant"}, "req_4": {"roots": [1]}});
    let again = call(
        &mut relay,
        2,
        &json!({"requestState": state(&answer), "inputResponses": responses}),
    );
    let mut ids: Vec<_> = told(&relay)
        .iter()
        .map(|body| body["id"].as_str().unwrap_or_default().to_owned())
        .collect();
    ids.sort();
    assert_eq!(
        ids,
        ["a", "b", "c"],
        "what was not asked for is not answered"
    );
    relay.pass(10_000);
    assert_eq!(keys(&relay.answer(again)), ["req_4"]);
    let state = state(&relay.answer(again));
    let third = call(
        &mut relay,
        3,
        &json!({"requestState": state, "inputResponses": {"req_4": {"roots": []}}}),
    );
    relay.answers(exchange, &json!({"content": []}));
    assert_eq!(relay.answer(third)["result"]["resultType"], "complete");
    relay.assert_clean();
}

#[test]
fn missing_answers_are_asked_for_again() {
    let mut relay = Remote::new(false);
    let (exchange, first) = with_pending_input(&mut relay);
    let mut state_now = first;
    for (id, responses) in [
        (2, json!({})),
        (3, json!({"req_1": "no object", "other": {}})),
        (4, json!({"req_9": accept(1)})),
    ] {
        let key = call(
            &mut relay,
            id,
            &json!({"requestState": state_now, "inputResponses": responses}),
        );
        assert_eq!(keys(&relay.answer(key)), ["req_1"], "{responses}");
        let next = state(&relay.answer(key));
        assert_ne!(next, state_now);
        state_now = next;
    }
    let key = call(&mut relay, 5, &retry(&state_now, 1));
    relay.answers(exchange, &json!({"content": []}));
    assert_eq!(relay.answer(key)["id"], 5);
    relay.assert_clean();
}

#[test]
fn a_state_is_good_for_one_request_of_one_principal_once() {
    let mut relay = Remote::new(false);
    let (exchange, good) = with_pending_input(&mut relay);
    let mut tampered = good.clone();
    tampered.replace_range(40..41, if &good[40..41] == "A" { "B" } else { "A" });
    let responses = json!({"req_1": accept(1)});
    #[rustfmt::skip]
    let wrong = [
        ("tampered", "me", "tools/call", "t", json!({"requestState": tampered, "inputResponses": responses})),
        ("with something appended", "me", "tools/call", "t", json!({"requestState": format!("{good}AA"), "inputResponses": responses})),
        ("none of ours", "me", "tools/call", "t", json!({"requestState": "x", "inputResponses": responses})),
        ("no string", "me", "tools/call", "t", json!({"requestState": 7, "inputResponses": responses})),
        ("another principal's", "other", "tools/call", "t", json!({"requestState": good, "inputResponses": responses})),
        ("another tool's", "me", "tools/call", "u", json!({"requestState": good, "inputResponses": responses})),
        ("another method's", "me", "prompts/get", "t", json!({"requestState": good, "inputResponses": responses})),
        ("with other arguments", "me", "tools/call", "t", json!({"requestState": good, "inputResponses": responses, "arguments": {"a": 1}})),
        ("with answers of another form", "me", "tools/call", "t", json!({"requestState": good, "inputResponses": []})),
    ];
    let before = relay.got.len();
    for (what, principal, method, name, more) in &wrong {
        relay.principal = if *principal == "me" {
            "anonymous"
        } else {
            principal
        };
        let key = relay.modern(9, method, name, &all(), more);
        assert_eq!(
            relay.answer(key)["error"]["code"],
            -32602,
            "{what}: {}",
            relay.answer(key)
        );
    }
    relay.principal = "anonymous";
    assert_eq!(relay.got.len(), before, "nothing of it reached the server");
    let key = call(&mut relay, 2, &retry(&good, 1));
    assert_eq!(relay.got.len(), before + 1);
    let other = call(&mut relay, 3, &retry(&good, 2));
    assert_eq!(
        relay.answer(other)["error"]["code"],
        -32602,
        "used already, with other answers"
    );
    relay.answers(exchange, &json!({"content": []}));
    assert_eq!(relay.answer(key)["id"], 2);
    relay.assert_clean();
}

#[test]
fn a_repeated_retry_gets_the_answer_of_the_first() {
    let mut relay = Remote::new(false);
    let (exchange, first) = with_pending_input(&mut relay);
    let one = call(&mut relay, 2, &retry(&first, 1));
    let two = call(&mut relay, 3, &retry(&first, 1));
    assert_eq!(told(&relay).len(), 1, "the server gets one answer");
    relay.asks(
        exchange,
        "ask-2",
        "elicitation/create",
        &json!({"message": "?"}),
    );
    relay.pass(10_000);
    let second = state(&relay.answer(one));
    assert_eq!(state(&relay.answer(two)), second);
    assert_eq!(
        (&relay.answer(one)["id"], &relay.answer(two)["id"]),
        (&json!(2), &json!(3))
    );
    let late = call(&mut relay, 4, &retry(&first, 1));
    assert_eq!(
        state(&relay.answer(late)),
        second,
        "also after it was answered"
    );
    let more = |state: &str| json!({"requestState": state, "inputResponses": {"req_2": accept(2)}});
    let last = call(&mut relay, 5, &more(&second));
    relay.answers(
        exchange,
        &json!({"content": [{"type": "text", "text": "done"}]}),
    );
    assert_eq!(relay.answer(last)["result"]["content"][0]["text"], "done");
    relay.pass(59_000_000);
    let again = call(&mut relay, 6, &more(&second));
    assert_eq!(relay.answer(again)["result"]["content"][0]["text"], "done");
    let old = call(&mut relay, 7, &retry(&first, 1));
    assert_eq!(
        relay.answer(old)["error"]["code"],
        -32602,
        "of the round before"
    );
    relay.pass(2_000_000);
    let too_late = call(&mut relay, 8, &more(&second));
    assert_eq!(relay.answer(too_late)["error"]["code"], -32602);
    relay.assert_clean();
}

#[test]
fn a_client_that_goes_away_cancels_unless_another_waits_for_the_same() {
    let mut relay = Remote::new(false);
    let (exchange, first) = with_pending_input(&mut relay);
    let one = call(&mut relay, 2, &retry(&first, 1));
    let two = call(&mut relay, 3, &retry(&first, 1));
    relay.input(Input::Gone(one));
    assert!(relay.aborted.is_empty());
    relay.answers(exchange, &json!({"content": []}));
    assert_eq!(relay.answer(two)["id"], 3);
    assert_eq!(relay.answer(one), Value::Null);
    let (exchange, first) = with_pending_input(&mut relay);
    let one = call(&mut relay, 4, &retry(&first, 1));
    relay.input(Input::Gone(one));
    assert!(
        relay.aborted.contains(&exchange),
        "2026-07-28: the end of the stream cancels"
    );
    assert_eq!(relay.last().body["method"], "notifications/cancelled");
    let gone = call(&mut relay, 5, &retry(&first, 1));
    assert_eq!(relay.answer(gone)["error"]["code"], -32602);
    relay.assert_clean();
}

#[test]
fn a_call_that_nobody_comes_back_for_is_given_up() {
    let mut relay = Remote::new(false);
    let key = call(&mut relay, 1, &json!({}));
    let exchange = relay.last().exchange;
    relay.asks(
        exchange,
        "a",
        "elicitation/create",
        &json!({"message": "?"}),
    );
    relay.asks(exchange, "b", "roots/list", &json!({}));
    relay.pass(10_000);
    let state = state(&relay.answer(key));
    relay.pass(299_000_000);
    assert_eq!(relay.gateway.leftovers().pending_inputs, 1);
    relay.pass(1_000_000);
    let told = told(&relay);
    assert_eq!(
        told[0],
        json!({"jsonrpc": "2.0", "id": "a", "result": {"action": "cancel"}})
    );
    assert_eq!(
        (&told[1]["id"], &told[1]["error"]["code"]),
        (&json!("b"), &json!(-32603))
    );
    assert_eq!(
        (&told[2]["method"], &told[2]["params"]["requestId"]),
        (&json!("notifications/cancelled"), &json!(exchange))
    );
    assert!(relay.aborted.contains(&exchange));
    let late = call(&mut relay, 2, &json!({"requestState": state}));
    assert!(
        relay.answer(late)["error"]["message"]
            .as_str()
            .is_some_and(|text| text.contains("call the tool again"))
    );
    relay.assert_clean();
}

#[test]
fn what_a_call_comes_to_meanwhile_is_kept() {
    let mut relay = Remote::new(false);
    let (exchange, first) = with_pending_input(&mut relay);
    relay.answers(
        exchange,
        &json!({"content": [{"type": "text", "text": "gave up waiting"}]}),
    );
    let key = call(&mut relay, 2, &retry(&first, 1));
    assert_eq!(
        relay.answer(key)["result"]["content"][0]["text"],
        "gave up waiting"
    );
    let again = call(&mut relay, 3, &retry(&first, 1));
    assert_eq!(
        relay.answer(again)["result"]["content"][0]["text"],
        "gave up waiting"
    );
    let (exchange, first) = with_pending_input(&mut relay);
    relay.breaks(exchange);
    let key = call(&mut relay, 4, &retry(&first, 1));
    assert_eq!(
        relay.answer(key)["error"]["code"],
        -32603,
        "{}",
        relay.answer(key)
    );
    relay.assert_clean();
}

#[test]
fn questions_that_a_client_cannot_be_asked_are_refused() {
    let mut relay = Remote::new(false);
    #[rustfmt::skip]
    let table = [
        (json!({"elicitation": {}}), "sampling/createMessage", json!({"messages": []})),
        (json!({"elicitation": {}}), "elicitation/create", json!({"mode": "url", "url": "https://x"})),
        (json!({"elicitation": {"url": {}}}), "elicitation/create", json!({"message": "?"})),
        (json!({"sampling": {}}), "sampling/createMessage", json!({"messages": [], "tools": []})),
        (json!({"roots": {}}), "no/such", json!({})),
    ];
    for (caps, method, params) in table {
        let key = relay.modern(1, "tools/call", "t", &caps, &json!({}));
        let exchange = relay.last().exchange;
        relay.asks(exchange, "ask", method, &params);
        assert_eq!(
            relay.last().body["error"]["code"],
            -32601,
            "{caps} {method}"
        );
        relay.answers(exchange, &json!({"content": []}));
        assert_eq!(relay.answer(key)["result"]["resultType"], "complete");
    }
    // A call that fails for want of it says so in the modern way.
    for error in [true, false] {
        let key = relay.modern(1, "tools/call", "t", &json!({}), &json!({}));
        let exchange = relay.last().exchange;
        relay.asks(
            exchange,
            "ask",
            "sampling/createMessage",
            &json!({"messages": []}),
        );
        if error {
            relay.fails(exchange, &json!({"code": -32603, "message": "no"}));
        } else {
            relay.answers(exchange, &json!({"content": [], "isError": true}));
        }
        assert_eq!(
            relay.answer(key)["error"]["code"],
            -32021,
            "{}",
            relay.answer(key)
        );
        assert_eq!(
            relay.answer(key)["error"]["data"]["requiredCapabilities"],
            json!({"sampling": {}})
        );
    }
    // Completion has no rounds.
    let body =
        json!({"ref": {"type": "ref/prompt", "name": "p"}, "argument": {"name": "a", "value": ""}});
    let key = relay.modern(1, "completion/complete", "p", &all(), &body);
    let exchange = relay.last().exchange;
    relay.asks(exchange, "ask", "roots/list", &json!({}));
    assert_eq!(relay.last().body["error"]["code"], -32601);
    relay.answers(exchange, &json!({"completion": {"values": []}}));
    assert!(relay.answer(key)["result"].is_object());
    relay.assert_clean();
}

#[test]
fn calls_with_pending_input_are_bounded() {
    let mut relay = Remote::with(
        false,
        Limits {
            pending_inputs: [2, 3, 4],
            ..Limits::default()
        },
    );
    let ask = |relay: &mut Remote, principal| {
        relay.principal = principal;
        let key = call(relay, 1, &json!({}));
        let exchange = relay.last().exchange;
        relay.asks(exchange, "ask", "roots/list", &json!({}));
        relay.pass(10_000);
        relay.answer(key)
    };
    assert!(ask(&mut relay, "a")["result"].is_object());
    assert!(ask(&mut relay, "a")["result"].is_object());
    let refused = ask(&mut relay, "a");
    assert!(
        refused["error"]["data"]["code"] == "GGEN-E3041",
        "{refused}"
    );
    assert!(
        told(&relay)
            .iter()
            .any(|body| body["id"] == "ask" && body["error"].is_object())
    );
    assert!(ask(&mut relay, "b")["result"].is_object());
    assert!(
        ask(&mut relay, "b")["error"].is_object(),
        "three at one server"
    );
    relay.assert_clean();
}

#[test]
fn answers_may_come_with_the_first_call() {
    let mut relay = Remote::new(false);
    let key = call(
        &mut relay,
        1,
        &json!({"inputResponses": {"user_name": accept(3), "req_1": accept(4)}}),
    );
    let exchange = relay.last().exchange;
    assert!(relay.last().body["params"].get("inputResponses").is_none());
    relay.asks(
        exchange,
        "a",
        "elicitation/create",
        &json!({"message": "?", "_meta": {"ggend/inputKey": "user_name"}}),
    );
    assert_eq!(
        relay.last().body,
        json!({"jsonrpc": "2.0", "id": "a", "result": accept(3)})
    );
    relay.asks(
        exchange,
        "b",
        "elicitation/create",
        &json!({"message": "?"}),
    );
    relay.pass(10_000);
    assert_eq!(
        keys(&relay.answer(key)),
        ["req_1"],
        "a key that the server did not name is no answer"
    );
    relay.assert_clean();
}

#[test]
fn messages_wait_for_a_client_that_is_away() {
    let mut relay = Remote::new(false);
    let meta = |token: &str| json!({"_meta": {"progressToken": token, "io.modelcontextprotocol/logLevel": "info"}});
    let key = call(&mut relay, 1, &meta("one"));
    let Got { exchange, body, .. } = relay.last();
    let token = &body["params"]["_meta"]["progressToken"];
    let progress = |n: u32| json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": token, "progress": n}});
    let log = |level: &str| json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": level, "data": "d"}});
    relay.says(exchange, &progress(1));
    relay.asks(
        exchange,
        "a",
        "elicitation/create",
        &json!({"message": "?"}),
    );
    relay.pass(10_000);
    relay.says(exchange, &progress(2));
    relay.says(exchange, &log("debug"));
    relay.says(exchange, &log("error"));
    assert_eq!(relay.messages(key).len(), 2);
    let mut more = meta("two");
    more["requestState"] = json!(state(&relay.answer(key)));
    more["inputResponses"] = json!({"req_1": accept(1)});
    let again = call(&mut relay, 2, &more);
    let seen = relay.messages(again);
    assert_eq!(
        (
            seen.len(),
            &seen[0]["params"]["progressToken"],
            &seen[0]["params"]["progress"]
        ),
        (2, &json!("two"), &json!(2))
    );
    assert_eq!(seen[1]["params"]["level"], "error");
    relay.answers(exchange, &json!({"content": []}));
    relay.assert_clean();
}

#[test]
fn addresses_to_visit_are_asked_for_and_the_call_is_made_again() {
    let mut relay = Remote::new(false);
    let error = json!({"code": -32042, "message": "visit", "data": {"elicitations": [{"mode": "url", "elicitationId": "7", "url": "https://x", "message": "m"}]}});
    let caps = json!({"elicitation": {"form": {}, "url": {}}});
    let key = relay.modern(1, "tools/call", "t", &caps, &json!({}));
    let exchange = relay.last().exchange;
    relay.fails(exchange, &error);
    let answer = relay.answer(key);
    assert_eq!(
        answer["result"]["inputRequests"]["req_1"]["method"],
        "elicitation/create"
    );
    assert_eq!(
        answer["result"]["inputRequests"]["req_1"]["params"],
        json!({"mode": "url", "url": "https://x", "message": "m"})
    );
    let more =
        json!({"requestState": state(&answer), "inputResponses": {"req_1": {"action": "accept"}}});
    relay.principal = "other";
    let stolen = relay.modern(2, "tools/call", "t", &caps, &more);
    assert_eq!(relay.answer(stolen)["error"]["code"], -32602);
    relay.principal = "anonymous";
    let again = relay.modern(2, "tools/call", "t", &caps, &more);
    let exchange = relay.last().exchange;
    assert!(relay.last().body["params"].get("requestState").is_none());
    relay.answers(exchange, &json!({"content": []}));
    assert_eq!(relay.answer(again)["result"]["resultType"], "complete");
    let key = call(&mut relay, 3, &json!({}));
    let exchange = relay.last().exchange;
    relay.fails(exchange, &error);
    assert_eq!(
        relay.answer(key)["error"]["code"],
        -32021,
        "a client that cannot visit addresses"
    );
    assert_eq!(
        relay.answer(key)["error"]["data"]["requiredCapabilities"],
        json!({"elicitation": {"url": {}}})
    );
    relay.assert_clean();
}

#[test]
fn a_question_can_be_withdrawn() {
    let mut relay = Remote::new(false);
    let (exchange, first) = with_pending_input(&mut relay);
    relay.says(exchange, &json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "ask-1"}}));
    let key = call(&mut relay, 2, &retry(&first, 1));
    assert!(
        told(&relay).is_empty(),
        "no answer to what is not asked any more"
    );
    relay.answers(exchange, &json!({"content": []}));
    assert_eq!(relay.answer(key)["id"], 2);
    relay.assert_clean();
}

// ---- legacy clients of modern servers

fn required(state: Option<&str>, requests: Value) -> Value {
    let mut result = json!({"resultType": "input_required"});
    if let Some(state) = state {
        result["requestState"] = json!(state);
    }
    if !requests.is_null() {
        result["inputRequests"] = requests;
    }
    result
}

fn legacy_call(relay: &mut Remote, session: &str, id: u32, method: &str) -> (StreamKey, Got) {
    let params = match method {
        "resources/read" => json!({"uri": "test://r"}),
        "prompts/get" => json!({"name": "p"}),
        _ => json!({"name": "t", "arguments": {"a": 1.0}, "_meta": {"progressToken": "mine"}}),
    };
    let key = relay.legacy(
        session,
        &json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}),
    );
    (key, relay.last())
}

fn forms(names: &[&str]) -> Value {
    names
        .iter()
        .map(|name| ((*name).to_owned(), json!({"method": "elicitation/create", "params": {"mode": "form", "message": name}})))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// The questions that a client was asked on an exchange, with the ids to answer them by.
fn questions(relay: &Remote, key: StreamKey) -> Vec<Value> {
    relay
        .messages(key)
        .into_iter()
        .filter(|message| message.get("method").is_some() && message.get("id").is_some())
        .collect()
}

#[test]
fn the_relay_runs_the_rounds_of_a_legacy_client() {
    let mut relay = Remote::new(true);
    let session = relay.session("2025-11-25", &all());
    let (key, got) = legacy_call(&mut relay, &session, 1, "tools/call");
    assert_eq!(
        got.body["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"],
        all()
    );
    assert_eq!(
        got.body["params"]["_meta"]["progressToken"],
        json!(got.exchange)
    );
    let odd = "\"st\\u0061te \\\"1\\\"\"";
    relay.says_text(
        got.exchange,
        &format!(
            r#"{{"jsonrpc":"2.0","id":{},"result":{{"resultType":"input_required","requestState":{odd},"inputRequests":{}}}}}"#,
            got.exchange,
            forms(&["a", "b/ü"])
        ),
    );
    let asked = questions(&relay, key);
    assert_eq!(asked.len(), 2, "both at once");
    assert_eq!(
        (&asked[0]["method"], &asked[0]["params"]["message"]),
        (&json!("elicitation/create"), &json!("a"))
    );
    let before = relay.got.len();
    relay.legacy(
        &session,
        &json!({"jsonrpc": "2.0", "id": asked[1]["id"], "result": {"action": "decline"}}),
    );
    assert_eq!(relay.got.len(), before, "one answer is missing");
    relay.pass(100_000_000);
    relay.legacy(
        &session,
        &json!({"jsonrpc": "2.0", "id": asked[0]["id"], "result": accept(1)}),
    );
    let again = relay.last();
    assert!(
        again.text.contains(&format!("\"requestState\":{odd}")),
        "byte for byte: {}",
        again.text
    );
    assert_eq!(
        again.body["params"]["inputResponses"],
        json!({"a": accept(1), "b/ü": {"action": "decline"}})
    );
    assert_ne!(again.exchange, got.exchange);
    assert_eq!(
        (
            &again.body["id"],
            &again.body["params"]["_meta"]["progressToken"]
        ),
        (&json!(again.exchange), &json!(again.exchange))
    );
    assert_eq!(again.body["params"]["arguments"], json!({"a": 1.0}));
    assert_eq!(again.headers, got.headers);
    // The next round has other answers, and no state.
    relay.answers(again.exchange, &required(None, forms(&["c"])));
    let asked = questions(&relay, key);
    relay.legacy(
        &session,
        &json!({"jsonrpc": "2.0", "id": asked[2]["id"], "result": accept(2)}),
    );
    let last = relay.last();
    assert_eq!(
        last.body["params"]["inputResponses"],
        json!({"c": accept(2)})
    );
    assert!(last.body["params"].get("requestState").is_none());
    relay.says(
        last.exchange,
        &json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": last.exchange, "progress": 1}}),
    );
    relay.answers(
        last.exchange,
        &json!({"resultType": "complete", "content": [], "x": 1.0}),
    );
    let messages = relay.messages(key);
    assert_eq!(
        messages[messages.len() - 2]["params"]["progressToken"],
        "mine"
    );
    assert_eq!(
        relay.answer(key),
        json!({"jsonrpc": "2.0", "id": 1, "result": {"content": [], "x": 1.0}})
    );
    relay.assert_clean();
}

#[test]
fn a_state_without_questions_is_tried_again_after_a_while_and_not_for_ever() {
    let mut relay = Remote::new(true);
    let session = relay.session("2025-06-18", &json!({}));
    let (key, mut got) = legacy_call(&mut relay, &session, 1, "tools/call");
    assert_eq!(
        got.body["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"],
        json!({})
    );
    for round in 1..=10 {
        relay.answers(
            got.exchange,
            &required(Some(&format!("s{round}")), Value::Null),
        );
        let before = relay.got.len();
        relay.pass(240_000);
        assert_eq!(relay.got.len(), before);
        assert!(relay.gateway.next_due().is_some());
        relay.pass(10_000);
        got = relay.last();
        assert_eq!(got.body["params"]["requestState"], format!("s{round}"));
        assert!(got.body["params"].get("inputResponses").is_none());
    }
    relay.answers(got.exchange, &required(Some("s11"), Value::Null));
    assert_eq!(
        relay.answer(key)["result"]["isError"],
        true,
        "{}",
        relay.answer(key)
    );
    relay.assert_clean();
}

#[test]
fn what_a_legacy_client_cannot_answer_fails_the_call() {
    let mut relay = Remote::new(true);
    let full = relay.session(
        "2025-11-25",
        &json!({"elicitation": {"form": {}, "url": {}}, "sampling": {}}),
    );
    let old = relay.session(
        "2025-06-18",
        &json!({"elicitation": {"form": {}, "url": {}}, "sampling": {"tools": {}}}),
    );
    let form = json!({"a": {"method": "elicitation/create", "params": {"message": "?"}}});
    let url = json!({"a": {"method": "elicitation/create", "params": {"mode": "url", "url": "https://x", "message": "?"}}});
    let roots = json!({"a": {"method": "roots/list"}});
    for (what, session, requests) in [
        ("no roots", &full, &roots),
        ("an address for an old client", &old, &url),
    ] {
        for method in ["tools/call", "prompts/get", "resources/read"] {
            let (key, got) = legacy_call(&mut relay, session, 1, method);
            relay.answers(got.exchange, &required(None, requests.clone()));
            let answer = relay.answer(key);
            if method == "tools/call" {
                assert_eq!(answer["result"]["isError"], true, "{what}: {answer}");
            } else {
                assert_eq!(answer["error"]["code"], -32603, "{what}: {answer}");
                assert!(
                    answer["error"]["data"]["requiredCapabilities"].is_object(),
                    "{answer}"
                );
            }
        }
    }
    // The server says so itself.
    let error = json!({"code": -32021, "message": "no", "data": {"requiredCapabilities": {"sampling": {}}}});
    let (key, got) = legacy_call(&mut relay, &old, 2, "tools/call");
    relay.fails(got.exchange, &error);
    assert!(
        relay.answer(key)["result"]["content"][0]["text"]
            .as_str()
            .unwrap()
            .contains("sampling")
    );
    let (key, got) = legacy_call(&mut relay, &old, 2, "prompts/get");
    relay.fails(got.exchange, &error);
    assert_eq!(
        relay.answer(key)["error"]["data"]["requiredCapabilities"],
        json!({"sampling": {}})
    );
    // The client answers with an error.
    let (key, got) = legacy_call(&mut relay, &full, 3, "tools/call");
    relay.answers(got.exchange, &required(None, form.clone()));
    let asked = questions(&relay, key);
    relay.legacy(&full, &json!({"jsonrpc": "2.0", "id": asked[0]["id"], "error": {"code": -1, "message": "nobody here"}}));
    assert!(
        relay.answer(key)["result"]["content"][0]["text"]
            .as_str()
            .unwrap()
            .contains("nobody here")
    );
    // An address gets the id that 2025-11-25 wants.
    let (key, got) = legacy_call(&mut relay, &full, 4, "tools/call");
    relay.answers(got.exchange, &required(None, url));
    assert!(questions(&relay, key)[0]["params"]["elicitationId"].is_string());
    relay.legacy(
        &full,
        &json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 4}}),
    );
    // Nobody answers.
    let (key, got) = legacy_call(&mut relay, &full, 5, "tools/call");
    relay.answers(got.exchange, &required(None, form));
    relay.pass(599_000_000);
    assert_eq!(relay.answer(key), Value::Null);
    relay.pass(1_000_000);
    assert_eq!(relay.answer(key)["error"]["data"]["code"], "GGEN-E3042");
    relay.assert_clean();
}

#[test]
fn a_cancelled_round_is_over() {
    let mut relay = Remote::new(true);
    let session = relay.session("2025-11-25", &all());
    let (key, got) = legacy_call(&mut relay, &session, 1, "tools/call");
    relay.answers(got.exchange, &required(Some("s"), forms(&["a"])));
    let asked = questions(&relay, key);
    relay.legacy(
        &session,
        &json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}),
    );
    let before = relay.got.len();
    relay.legacy(
        &session,
        &json!({"jsonrpc": "2.0", "id": asked[0]["id"], "result": accept(1)}),
    );
    assert_eq!(relay.got.len(), before, "the server is not called again");
    assert_eq!(relay.answer(key), Value::Null);
    relay.assert_clean();
}
