//! Calls whose server asks the client for something, between real processes: clients and servers of
//! both eras, over pipes and HTTP.

use ggend_tests::{
    Daemon, RemoteFixture, daemon, fixture,
    mcp::{Client, Era},
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// What every client of these tests can be asked for.
fn capabilities() -> Value {
    json!({ "elicitation": {}, "sampling": {}, "roots": {} })
}

fn client(daemon: &Daemon, server: &str, era: Era) -> Client {
    let mut client = Client::unconnected(daemon.http, server, era);
    client.capabilities = capabilities();
    client.initialize().unwrap();
    client
}

/// The person, the model and the file system behind a client.
fn answer(question: &Value) -> Value {
    match question["method"].as_str().unwrap() {
        "elicitation/create" => {
            let schema = &question["params"]["requestedSchema"]["properties"];
            let fields = schema.as_object().unwrap().iter().map(|(name, field)| {
                let value = if field["type"] == "boolean" {
                    json!(true)
                } else {
                    json!(format!("my {name}"))
                };
                (name.clone(), value)
            });
            json!({ "action": "accept", "content": fields.collect::<serde_json::Map<_, _>>() })
        }
        "sampling/createMessage" => {
            json!({ "role": "assistant", "model": "m", "content": { "type": "text", "text": "Paris" }, "stopReason": "endTurn" })
        }
        "roots/list" => json!({ "roots": [{ "uri": "file:///tmp/one" }] }),
        other => panic!("asked for {other}"),
    }
}

/// Makes a call and answers every question; gives the result and how many questions there were.
fn play(client: &mut Client, era: Era, method: &str, params: &Value) -> (Value, usize) {
    let mut asked = 0;
    match era {
        Era::Legacy => {
            let mut exchange = client.start(method, params.clone()).unwrap();
            loop {
                let message = exchange.message();
                if message.method().is_empty() {
                    return (message.value, asked);
                }
                if message.value.get("id").is_some() {
                    asked += 1;
                    client.respond(&message, answer(&message.value)).unwrap();
                }
            }
        }
        Era::Modern => {
            let mut params = params.clone();
            loop {
                let reply = client.request(method, params.clone());
                let result = &reply.response().value["result"];
                if result["resultType"] != "input_required" {
                    return (reply.response().value.clone(), asked);
                }
                let questions = result["inputRequests"].as_object().unwrap();
                asked += questions.len();
                let answers: serde_json::Map<_, _> = questions
                    .iter()
                    .map(|(key, question)| (key.clone(), answer(question)))
                    .collect();
                params["inputResponses"] = answers.into();
                params["requestState"] = result["requestState"].clone();
                if params["requestState"].is_null() {
                    params.as_object_mut().unwrap().remove("requestState");
                }
            }
        }
    }
}

/// Every interactive tool of the fixture, for one client at one server.
fn all_tools(daemon: &Daemon, server: &str, era: Era) {
    let mut client = client(daemon, server, era);
    let table: [(&str, usize, &str); 9] = [
        ("test_elicitation", 1, "action=accept"),
        ("test_sampling", 1, "LLM response: Paris"),
        ("test_streaming_elicitation", 1, "action=accept"),
        (
            "test_input_required_result_elicitation",
            1,
            "Hello, my name!",
        ),
        (
            "test_input_required_result_list_roots",
            1,
            "1 root(s): file:///tmp/one",
        ),
        ("test_input_required_result_request_state", 1, "state-ok"),
        (
            "test_input_required_result_multiple_inputs",
            3,
            "Paris my name, 1 root(s)",
        ),
        (
            "test_input_required_result_multi_round",
            2,
            "my name likes my color",
        ),
        ("test_input_required_result_capabilities", 3, "3 answer(s)"),
    ];
    for (tool, questions, text) in table {
        let arguments = json!({ "message": "?", "prompt": "?" });
        let (answer, asked) = play(
            &mut client,
            era,
            "tools/call",
            &json!({ "name": tool, "arguments": arguments }),
        );
        let got = answer["result"]["content"][0]["text"]
            .as_str()
            .unwrap_or_default();
        assert!(
            got.contains(text) && asked == questions,
            "{server} {era:?} {tool}: {asked} questions, {answer}"
        );
    }
    let (answer, asked) = play(
        &mut client,
        era,
        "prompts/get",
        &json!({ "name": "test_input_required_result_prompt" }),
    );
    assert_eq!(asked, 1, "{answer}");
    assert_eq!(
        answer["result"]["messages"][0]["content"]["text"], "Use this context: my context",
        "{server} {era:?}"
    );
}

#[test]
fn every_client_can_be_asked_by_every_server() {
    let (old, new, oldest) = (
        RemoteFixture::start(&["--era", "legacy"]),
        RemoteFixture::start(&["--era", "modern"]),
        RemoteFixture::sse(&[]),
    );
    let daemon = daemon(json!({ "mcpServers": {
        "old": fixture(&["--era", "legacy"]), "new": fixture(&["--era", "modern"]), "old-far": old.entry(), "new-far": new.entry(), "old-sse": oldest.sse_entry(),
    } }))
    .start();
    let servers = ["old", "new", "old-far", "new-far", "old-sse"];
    daemon.until_ready(&servers);
    std::thread::scope(|scope| {
        for server in servers {
            for era in [Era::Legacy, Era::Modern] {
                let daemon = &daemon;
                scope.spawn(move || all_tools(daemon, server, era));
            }
        }
    });
    daemon.stop();
}

#[test]
fn a_state_serves_its_own_call_and_dies_with_the_gateway_worker() {
    let far = RemoteFixture::start(&["--era", "legacy"]);
    let daemon = daemon(json!({ "mcpServers": { "old-far": far.entry() } })).start();
    daemon.until_ready(&["old-far"]);
    let mut client = client(&daemon, "old-far", Era::Modern);
    let call = |arguments: Value, state: &str| json!({ "name": "test_elicitation", "arguments": arguments, "requestState": state, "inputResponses": { "answer": { "action": "decline" } } });
    let first = client.tool("test_elicitation", json!({ "message": "one" }));
    let state = first.result()["requestState"].as_str().unwrap().to_owned();
    let mut tampered = state.clone();
    tampered.replace_range(60..61, if &state[60..61] == "A" { "B" } else { "A" });
    for (arguments, state) in [
        (json!({ "message": "one" }), tampered.as_str()),
        (json!({ "message": "two" }), state.as_str()),
    ] {
        assert_eq!(
            client.request("tools/call", call(arguments, state)).error(),
            (-32602, "GGEN-E3040")
        );
    }
    let pid = daemon.worker_pid("gateway-0").unwrap();
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid.try_into().unwrap()),
        Signal::SIGKILL,
    )
    .unwrap();
    daemon.until_replaced("gateway-0", pid);
    daemon.until_ready(&["old-far"]);
    client.reconnect();
    let late = client.request("tools/call", call(json!({ "message": "one" }), &state));
    assert_eq!(late.error(), (-32602, "GGEN-E3040"));
    assert!(
        late.response().raw.contains("call the tool again"),
        "{}",
        late.response().raw
    );
    let (answer, asked) = play(
        &mut client,
        Era::Modern,
        "tools/call",
        &json!({ "name": "test_elicitation", "arguments": { "message": "?" } }),
    );
    assert_eq!(asked, 1, "{answer}");
    daemon.stop();
}
