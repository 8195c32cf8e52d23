//! Tasks that pass through the relay: under which id, to whom, and to nobody else.

use crate::support::{MODERN, Relay, code};
use ggen_mcp::api::{Input, Output, Settings};
use ggen_mcp::edge::{Reply, Verb};
use ggen_mcp::persisted::{Keep, KeptSession};
use serde_json::{Value, json};

const EXTENSION: &str = "io.modelcontextprotocol/tasks";

fn server(_: &str, message: &Value) -> Option<String> {
    let id = &message["params"]["taskId"];
    Some(match message["method"].as_str()? {
        "server/discover" => format!(
            r#""result":{{"supportedVersions":["{MODERN}"],"capabilities":{{"tools":{{}},"extensions":{{"{EXTENSION}":{{}}}}}},"resultType":"complete"}}"#
        ),
        "tools/call" => {
            let id = &message["params"]["arguments"]["id"];
            format!(
                r#""result":{{"resultType":"task","taskId":{id},"status":"working","ttlMs":60000,"_meta":{{"k":1.0}}}}"#
            )
        }
        "tasks/get" => {
            format!(
                r#""result":{{"resultType":"complete","taskId":{id},"status":"completed","result":{{"content":[{{"type":"resource_link","uri":"test://r"}}]}}}}"#
            )
        }
        "tasks/update" | "tasks/cancel" => r#""result":{"resultType":"complete"}"#.to_owned(),
        _ => return None,
    })
}

fn legacy(_: &str, message: &Value) -> Option<String> {
    let (params, id) = (&message["params"], &message["params"]["taskId"]);
    Some(match message["method"].as_str()? {
        "initialize" => r#""result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{},"tasks":{"list":{},"cancel":{},"requests":{"tools":{"call":{}}}}},"serverInfo":{"name":"s","version":"1"}}"#.to_owned(),
        "tools/call" if params["task"].is_object() => {
            format!(r#""result":{{"task":{{"taskId":{},"status":"working","ttl":60000}}}}"#, params["arguments"]["id"])
        }
        "tasks/get" => format!(r#""result":{{"taskId":{id},"status":"working","ttl":60000}}"#),
        "tasks/result" => format!(r#""result":{{"content":[],"_meta":{{"io.modelcontextprotocol/related-task":{{"taskId":{id}}}}}}}"#),
        "tasks/list" if params["cursor"] == "more" => r#""result":{"tasks":[{"taskId":"b","status":"working"},{"taskId":"x","status":"working"}]}"#.to_owned(),
        "tasks/list" => r#""result":{"tasks":[{"taskId":"a","status":"working"},{"taskId":"x","status":"working"}],"nextCursor":"more"}"#.to_owned(),
        _ => return None,
    })
}

/// A modern request of a client that may know tasks: status and body.
fn ask(
    relay: &mut Relay,
    view: &str,
    name: Option<&str>,
    method: &str,
    members: &Value,
    declares: bool,
) -> (u16, Value) {
    let capabilities = if declares {
        json!({"extensions": {EXTENSION: {}}})
    } else {
        json!({})
    };
    relay.ask(view, name, method, members, &capabilities)
}

fn create(relay: &mut Relay, view: &str, tool: &str, id: &str) -> Value {
    ask(
        relay,
        view,
        Some(tool),
        "tools/call",
        &json!({"name": tool, "arguments": {"id": id}}),
        true,
    )
    .1["result"]
        .clone()
}

fn about(relay: &mut Relay, view: &str, method: &str, id: &str) -> (u16, Value) {
    ask(
        relay,
        view,
        Some(id),
        method,
        &json!({"taskId": id, "inputResponses": {}}),
        true,
    )
}

#[test]
fn a_task_is_known_to_the_principal_that_it_was_made_for() {
    let mut relay = Relay::new(&[("s", true, server)]);
    relay.principal = "alice".into();
    assert_eq!(create(&mut relay, "s", "t", "1")["taskId"], "1");
    assert_eq!(
        about(&mut relay, "s", "tasks/get", "1").1["result"]["status"],
        "completed"
    );
    relay.principal = "bob".into();
    relay.written.clear();
    for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
        let (status, body) = about(&mut relay, "s", method, "1");
        assert_eq!(
            (
                status,
                &body["error"]["code"],
                &body["error"]["data"]["code"]
            ),
            (200, &json!(-32602), &json!("GGEN-E3044")),
            "{method}"
        );
    }
    assert!(
        relay.written.is_empty(),
        "the server heard of it: {:?}",
        relay.written
    );
    // A server that numbers tasks anew after a restart gives the id to somebody else: then it is
    // theirs only.
    create(&mut relay, "s", "t", "1");
    assert_eq!(
        about(&mut relay, "s", "tasks/get", "1").1["result"]["taskId"],
        "1"
    );
    relay.principal = "alice".into();
    assert_eq!(
        about(&mut relay, "s", "tasks/get", "1").1["error"]["code"],
        -32602
    );
}

#[test]
fn in_the_view_of_all_a_task_carries_its_server() {
    let mut relay = Relay::new(&[("one", true, server), ("two", true, server)]);
    let made = create(&mut relay, "", "two__t", "7~x");
    assert_eq!(
        (&made["taskId"], &made["_meta"]["k"]),
        (&json!("two~7~x"), &json!(1.0))
    );
    let (_, body) = about(&mut relay, "", "tasks/get", "two~7~x");
    let result = &body["result"];
    assert_eq!(
        (&result["taskId"], &result["result"]["content"][0]["uri"]),
        (&json!("two~7~x"), &json!("two+test://r"))
    );
    let (server, line) = relay.written.last().unwrap();
    assert_eq!(
        (
            *server,
            serde_json::from_str::<Value>(line).unwrap()["params"]["taskId"].clone()
        ),
        (1, json!("7~x"))
    );
    for wrong in ["one~7~x", "7~x", "two~7", "~", "none~7~x"] {
        assert_eq!(
            about(&mut relay, "", "tasks/get", wrong).1["error"]["code"],
            -32602,
            "{wrong}"
        );
    }
    let (_, found) = ask(&mut relay, "", None, "server/discover", &json!({}), true);
    assert!(found["result"]["capabilities"]["extensions"][EXTENSION].is_object());
    // The header says the exposed id, as the body does.
    let (status, body) = ask(
        &mut relay,
        "",
        Some("7~x"),
        "tasks/get",
        &json!({"taskId": "two~7~x"}),
        true,
    );
    assert_eq!((status, &body["error"]["code"]), (400, &json!(-32020)));
}

#[test]
fn who_does_not_declare_the_extension_is_told_so() {
    let mut relay = Relay::new(&[("s", true, server), ("l", false, legacy)]);
    for view in ["", "s"] {
        let (status, body) = ask(
            &mut relay,
            view,
            Some("1"),
            "tasks/get",
            &json!({"taskId": "1"}),
            false,
        );
        let required = &body["error"]["data"]["requiredCapabilities"];
        assert_eq!(
            (status, &body["error"]["code"], required),
            (400, &json!(-32021), &json!({"extensions": {EXTENSION: {}}}))
        );
    }
    // The tasks of a legacy server are none of its either (`task_bridge.rs`).
    assert_eq!(
        ask(
            &mut relay,
            "l",
            Some("1"),
            "tasks/get",
            &json!({"taskId": "1"}),
            true
        )
        .1["error"]["code"],
        -32602
    );
    assert_eq!(
        ask(&mut relay, "", None, "tasks/list", &json!({}), true).0,
        404
    );
}

#[test]
fn news_of_a_task_go_to_its_owner() {
    let mut relay = Relay::new(&[("one", true, server), ("two", true, server)]);
    let listen = |relay: &mut Relay, who: &str, ids: &[&str]| {
        relay.principal = who.into();
        let capabilities = json!({"extensions": {EXTENSION: {}}});
        let meta = json!({"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": capabilities});
        let params = json!({"notifications": {"taskIds": ids}, "_meta": meta});
        let body = json!({"jsonrpc": "2.0", "id": format!("of {who}"), "method": "subscriptions/listen", "params": params}).to_string();
        relay
            .send(
                Verb::Post,
                "",
                &[
                    ("mcp-protocol-version", MODERN),
                    ("mcp-method", "subscriptions/listen"),
                ],
                body,
            )
            .0
    };
    let events = |relay: &Relay, key| {
        let each = relay.of(key).into_iter().filter_map(|reply| match reply {
            Reply::Event { data, .. } if !data.is_empty() => {
                Some(serde_json::from_slice::<Value>(&data).unwrap())
            }
            _ => None,
        });
        each.collect::<Vec<_>>()
    };
    relay.principal = "alice".into();
    create(&mut relay, "", "two__t", "7");
    let alice = listen(&mut relay, "alice", &["two~7", "two~8"]);
    let bob = listen(&mut relay, "bob", &["two~7"]);
    assert_eq!(
        events(&relay, alice)[0]["params"]["notifications"],
        json!({"taskIds": ["two~7"]})
    );
    assert_eq!(
        events(&relay, bob)[0]["params"]["notifications"],
        json!({"taskIds": []})
    );
    let asked: Value = relay
        .written
        .iter()
        .rev()
        .find(|(_, line)| line.contains("subscriptions/listen"))
        .map(|(_, line)| serde_json::from_str(line).unwrap())
        .unwrap();
    assert_eq!(asked["params"]["notifications"]["taskIds"], json!(["7"]));
    assert!(
        asked["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"]["extensions"]
            [EXTENSION]
            .is_object()
    );
    let news = r#"{"jsonrpc":"2.0","method":"notifications/tasks","params":{"taskId":"7","status":"completed","result":{"content":[]},"_meta":{"io.modelcontextprotocol/subscriptionId":9,"more":1.0}}}"#;
    relay.up(1, ggen_mcp::api::UpInput::Line(news.into()));
    // The same id of another server is another task.
    relay.up(0, ggen_mcp::api::UpInput::Line(news.into()));
    let told = events(&relay, alice);
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[1]["params"]["taskId"], "two~7");
    assert_eq!(
        told[1]["params"]["_meta"],
        json!({"more": 1.0, "io.modelcontextprotocol/subscriptionId": "of alice"})
    );
    assert_eq!(events(&relay, bob).len(), 1);
}

/// A request in a legacy session: the body of its answer.
fn say(relay: &mut Relay, view: &str, session: &str, method: &str, params: &Value) -> Value {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
    serde_json::from_str(&relay.post(view, &[("mcp-session-id", session)], &body).1).unwrap()
}

#[test]
fn a_legacy_task_belongs_to_its_session() {
    let mut relay = Relay::new(&[("s", false, legacy)]);
    let (mine, other) = (
        relay.session("s", "2025-11-25"),
        relay.session("s", "2025-11-25"),
    );
    for id in ["a", "b"] {
        let made = say(
            &mut relay,
            "s",
            &mine,
            "tools/call",
            &json!({"name": "t", "arguments": {"id": id}, "task": {}}),
        );
        assert_eq!(made["result"]["task"]["taskId"], id);
    }
    assert_eq!(
        say(&mut relay, "s", &mine, "tasks/get", &json!({"taskId": "a"}))["result"]["status"],
        "working"
    );
    relay.written.clear();
    for method in ["tasks/get", "tasks/result", "tasks/cancel"] {
        assert_eq!(
            say(&mut relay, "s", &other, method, &json!({"taskId": "a"}))["error"]["code"],
            -32602,
            "{method}"
        );
    }
    assert_eq!(
        say(&mut relay, "s", &other, "tasks/list", &json!({}))["result"],
        json!({"tasks": []})
    );
    assert!(relay.written.is_empty(), "{:?}", relay.written);
    let page = say(&mut relay, "s", &mine, "tasks/list", &json!({}))["result"].clone();
    assert_eq!(page["tasks"], json!([{"taskId": "a", "status": "working"}]));
    let page = say(
        &mut relay,
        "s",
        &mine,
        "tasks/list",
        &json!({"cursor": page["nextCursor"]}),
    )["result"]
        .clone();
    assert_eq!(
        page,
        json!({"tasks": [{"taskId": "b", "status": "working"}]})
    );
    assert_eq!(
        say(
            &mut relay,
            "s",
            &mine,
            "tasks/list",
            &json!({"cursor": "x"})
        )["error"]["code"],
        -32602
    );
    // Revisions before 2025-11-25 have no tasks.
    let old = relay.session("s", "2025-06-18");
    assert_eq!(
        say(&mut relay, "s", &old, "tasks/list", &json!({}))["error"]["code"],
        -32601
    );
    // With the session its tasks are gone.
    relay.send(Verb::Delete, "s", &[("mcp-session-id", &mine)], "");
    assert_eq!(
        code(
            &relay
                .post(
                    "s",
                    &[("mcp-session-id", &other)],
                    r#"{"jsonrpc":"2.0","id":1,"method":"tasks/get","params":{"taskId":"a"}}"#
                )
                .1
        ),
        -32602
    );
}

#[test]
fn a_legacy_task_in_the_view_of_all_servers() {
    let mut relay = Relay::new(&[
        ("one", false, legacy),
        ("two", false, legacy),
        ("new", true, server),
    ]);
    let session = relay.session("", "2025-11-25");
    let greeted = relay.of(relay.replies.last().unwrap().0);
    assert!(format!("{greeted:?}").contains("tasks"), "{greeted:?}");
    for tool in ["one__t", "two__t"] {
        let made = say(
            &mut relay,
            "",
            &session,
            "tools/call",
            &json!({"name": tool, "arguments": {"id": "a"}, "task": {}}),
        );
        assert_eq!(made["result"]["task"]["taskId"], tool.replace("__t", "~a"));
    }
    let done = say(
        &mut relay,
        "",
        &session,
        "tasks/result",
        &json!({"taskId": "two~a"}),
    )["result"]
        .clone();
    assert_eq!(
        done["_meta"]["io.modelcontextprotocol/related-task"]["taskId"],
        "two~a"
    );
    let (mut ids, mut cursor) = (Vec::new(), json!(null));
    loop {
        let page = say(
            &mut relay,
            "",
            &session,
            "tasks/list",
            &json!({"cursor": cursor}),
        )["result"]
            .clone();
        ids.extend(
            page["tasks"]
                .as_array()
                .unwrap()
                .iter()
                .map(|task| task["taskId"].clone()),
        );
        cursor = page["nextCursor"].clone();
        if cursor.is_null() {
            break;
        }
    }
    assert_eq!(json!(ids), json!(["one~a", "two~a"]));
    let key = relay
        .send(Verb::Get, "", &[("mcp-session-id", &session)], "")
        .0;
    relay.up(
        0,
        ggen_mcp::api::UpInput::Line(
            r#"{"jsonrpc":"2.0","method":"notifications/tasks/status","params":{"taskId":"a","status":"completed"}}"#.into(),
        ),
    );
    relay.up(
        1,
        ggen_mcp::api::UpInput::Line(
            r#"{"jsonrpc":"2.0","method":"notifications/tasks/status","params":{"taskId":"x","status":"completed"}}"#.into(),
        ),
    );
    let told = format!("{:?}", relay.of(key));
    assert!(told.contains("one~a") && !told.contains("two~"), "{told}");
}

#[test]
fn tasks_outlive_the_relay() {
    let settings = |incarnation| Settings {
        incarnation,
        keeps: true,
        epoch: incarnation,
        ..Settings::default()
    };
    let mut relay = Relay::idle(&[("s", true, server)], settings(1));
    relay.begin();
    relay.principal = "alice".into();
    create(&mut relay, "s", "t", "1");
    let kept: Vec<_> = relay
        .outputs
        .iter()
        .filter_map(|output| match output {
            Output::Keep(Keep::Session { digest, record, .. }) => Some(KeptSession {
                digest: digest.clone(),
                record: record.clone(),
                idle: 1,
            }),
            _ => None,
        })
        .collect();
    assert_eq!(kept.len(), 1);
    let mut next = Relay::idle(&[("s", true, server)], settings(2));
    next.input(Input::Restore(kept));
    next.begin();
    next.principal = "alice".into();
    assert_eq!(
        about(&mut next, "s", "tasks/get", "1").1["result"]["taskId"],
        "1"
    );
    next.principal = "bob".into();
    assert_eq!(
        about(&mut next, "s", "tasks/get", "1").1["error"]["code"],
        -32602
    );
}

#[test]
fn the_registry_is_bounded() {
    let mut relay = Relay::new(&[("s", true, server)]);
    for number in 0..600 {
        relay.now += 1;
        create(&mut relay, "s", "t", &number.to_string());
    }
    assert_eq!(
        about(&mut relay, "s", "tasks/get", "599").1["result"]["taskId"],
        "599"
    );
    assert_eq!(
        about(&mut relay, "s", "tasks/get", "0").1["error"]["code"],
        -32602
    );
    // A minute more than the time to live that the server gave.
    relay.now += 121_000_000;
    relay.input(Input::Tick);
    assert_eq!(
        about(&mut relay, "s", "tasks/get", "598").1["error"]["code"],
        -32602
    );
}
