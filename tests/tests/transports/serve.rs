//! What clients see of a daemon that is well: every client era against every server era, over stdio
//! and over HTTP.

use ggend_tests::*;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const ERAS: [Era; 2] = [Era::Legacy, Era::Modern];
/// The upstreams of [`House`]: name, era, whether they are reached over HTTP.
const UPSTREAMS: [(&str, Era, bool); 5] = [
    ("legacy-stdio", Era::Legacy, false),
    ("modern-stdio", Era::Modern, false),
    ("legacy-http", Era::Legacy, true),
    ("modern-http", Era::Modern, true),
    // For the relay a channel like a pair of pipes.
    ("legacy-sse", Era::Legacy, false),
];

/// A daemon with a server of each era on each transport, the deprecated one included.
struct House {
    daemon: Daemon,
    _remotes: [RemoteFixture; 3],
}

impl House {
    fn new(arguments: &[&str]) -> Self {
        let with = |era: &'static str| [&["--era", era], arguments].concat();
        let remotes = [
            RemoteFixture::start(&with("legacy")),
            RemoteFixture::start(&with("modern")),
            RemoteFixture::sse(&with("legacy")[2..]),
        ];
        let config = json!({ "mcpServers": {
            "legacy-stdio": fixture(&with("legacy")), "modern-stdio": fixture(&with("modern")),
            "legacy-http": remotes[0].entry(), "modern-http": remotes[1].entry(),
            "legacy-sse": remotes[2].sse_entry(),
        }});
        let daemon = daemon(config).start();
        daemon.until_ready(&UPSTREAMS.map(|(name, ..)| name));
        Self {
            daemon,
            _remotes: remotes,
        }
    }

    /// Runs `test` for the ten pairs of client and server.
    fn each(self, test: impl Fn(&mut Client, Era, (&str, Era, bool))) {
        for upstream in UPSTREAMS {
            for era in ERAS {
                // Shown when the test fails.
                println!("{era:?} client, {}", upstream.0);
                test(&mut self.client(upstream.0, era), era, upstream);
            }
        }
        self.daemon.stop();
    }

    fn client(&self, server: &str, era: Era) -> Client {
        Client::new(self.daemon.http, server, era)
    }
}

#[test]
fn without_any_configuration_the_built_in_tools_answer() {
    let daemon = daemon(Value::Null).start();
    let line = until("the line on stdout", || {
        Some(daemon.output("stdout")).filter(|text| text.ends_with('\n'))
    });
    let expected = format!(
        "serving MCP on http://{}/mcp (pid {}, control ",
        daemon.http, daemon.pid
    );
    assert!(
        line.contains(&expected) && line.lines().count() == 1,
        "{line}"
    );
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
            assert_eq!(
                reply.result()["isError"] == json!(true),
                original == "upstream-status",
                "{name}: {text}"
            );
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

#[test]
fn views_have_plain_names_and_the_view_of_all_has_prefixed_ones() {
    let house = House::new(&["--page-size", "7", "--tools", "20"]);
    let mut everything = BTreeSet::new();
    let original = house
        .client("legacy-stdio", Era::Legacy)
        .names("tools/list");
    assert!(
        original.contains(&"echo".to_owned()) && original.contains(&"extra_tool_20".to_owned())
    );
    for (server, ..) in UPSTREAMS {
        for era in ERAS {
            let names = house.client(server, era).names("tools/list");
            // Tools whose header annotations are invalid are not offered; the fixture has none
            // here.
            assert_eq!(names, original, "{server} to a {era:?} client");
        }
        everything.extend(original.iter().map(|name| format!("{server}__{name}")));
    }
    for era in ERAS {
        let mut client = house.client("", era);
        let names = client.names("tools/list");
        assert_eq!(client.names("tools/list"), names, "the order stays");
        assert!(names.iter().all(|name| name.len() <= 64), "{names:?}");
        let upstream: BTreeSet<_> = names
            .iter()
            .filter(|name| !name.starts_with("core"))
            .cloned()
            .collect();
        let short: BTreeSet<_> = everything
            .iter()
            .filter(|name| name.len() <= 56)
            .cloned()
            .collect();
        assert!(
            upstream.is_superset(&short),
            "{:?}",
            short.difference(&upstream)
        );
        assert_eq!(names.len(), everything.len() + 9);
        for (server, ..) in UPSTREAMS {
            assert_eq!(
                client
                    .tool(&format!("{server}__echo"), json!({ "message": server }))
                    .text(),
                server
            );
        }
        // A name that had to be shortened reaches its tool all the same.
        let long = names.iter().find(|name| {
            name.contains("__test_input_required_result_mul") && !everything.contains(*name)
        });
        if let Some(long) = long {
            assert_ne!(
                client
                    .request("tools/call", json!({ "name": long }))
                    .error()
                    .1,
                "GGEN-E3012",
                "{long}"
            );
        }
        assert_eq!(client.names("prompts/list").len(), UPSTREAMS.len() * 5);
        assert_eq!(client.names("resources/list").len(), UPSTREAMS.len() * 3);
    }
    house.daemon.stop();
}

#[test]
fn lists_calls_prompts_resources_and_completion_work_in_every_cell() {
    House::new(&[]).each(|client, _, _| {
        assert_eq!(client.tool("echo", json!({ "message": "grüße \u{1F600}\u{0}\"" })).text(), "grüße \u{1F600}\u{0}\"");
        assert_eq!(
            client.tool("add", json!({ "a": 9_007_199_254_740_993_i64, "b": -1 })).result()["structuredContent"]["sum"],
            json!(9_007_199_254_740_992_i64)
        );
        assert_eq!(client.tool("test_error_handling", json!({})).result()["isError"], json!(true));
        let prompt =
            client.request("prompts/get", json!({ "name": "test_prompt_with_arguments", "arguments": { "arg1": "x", "arg2": "y" } }));
        assert!(prompt.result()["messages"][0]["content"]["text"].as_str().unwrap().contains('x'));
        assert_eq!(client.names("prompts/list").len(), 5);
        assert_eq!(client.names("resources/list"), ["test://static-text", "test://static-binary", "test://watched-resource"]);
        assert_eq!(client.names("resources/templates/list"), ["test://template/{id}/data"]);
        for uri in ["test://static-text", "test://template/7/data"] {
            let read = client.request("resources/read", json!({ "uri": uri }));
            assert_eq!(read.result()["contents"][0]["uri"], json!(uri));
        }
        let reference = json!({ "type": "ref/prompt", "name": "test_prompt_with_arguments" });
        let complete = client.request("completion/complete", json!({ "ref": reference, "argument": { "name": "arg1", "value": "par" } }));
        assert_eq!(complete.result()["completion"]["values"], json!(["paris", "park", "party"]));
        let image = client.tool("test_multiple_content_types", json!({}));
        assert_eq!(image.result()["content"].as_array().unwrap().len(), 3);
        let big = client.tool("big", json!({ "bytes": 3_000_000 }));
        assert_eq!(big.text().len(), 3_000_000);
    });
}

#[test]
fn progress_arrives_with_the_clients_token_and_the_servers_numbers() {
    House::new(&[]).each(|client, _, _| {
        for token in [json!("a token"), json!(7)] {
            let params = json!({ "name": "progress", "arguments": { "steps": 3, "ms": 5 }, "_meta": { "progressToken": token } });
            let reply = client.request("tools/call", params);
            assert_eq!(reply.text(), "Made 3 steps");
            let steps: Vec<_> = reply.messages.iter().filter(|message| message.method() == "notifications/progress").collect();
            assert_eq!(steps.len(), 3, "{:?}", reply.messages);
            for (step, message) in steps.iter().enumerate() {
                assert_eq!(message.value["params"]["progressToken"], token);
                assert!(
                    message.raw.contains(&format!("\"progress\":{}", step + 1)) && message.raw.contains("\"total\":3.0"),
                    "{}",
                    message.raw
                );
            }
        }
        let silent = client.tool("progress", json!({ "steps": 2, "ms": 1 }));
        assert_eq!(silent.messages.len(), 1, "no progress without a token");
    });
}

#[test]
fn cancellation_reaches_the_server_as_its_clients_era_says() {
    House::new(&[]).each(|client, era, _| {
        let counter = |client: &mut Client| {
            client.tool("counter", json!({})).result()["structuredContent"].clone()
        };
        let before = counter(client);
        let call = json!({ "name": "slow", "arguments": { "ms": 30_000 } });
        let connection = client.send_only("tools/call", call).unwrap();
        let id = client.last_id();
        until("the call is at the server", || {
            (counter(client)["calls"].as_u64() > before["calls"].as_u64()).then_some(())
        });
        match era {
            Era::Modern => drop(connection),
            Era::Legacy => client
                .notify(
                    "notifications/cancelled",
                    json!({ "requestId": id, "reason": "test" }),
                )
                .unwrap(),
        }
        until("the server sees the cancellation", || {
            (counter(client)["cancelled"].as_u64() > before["cancelled"].as_u64()).then_some(())
        });
    });
}

#[test]
fn log_messages_reach_who_asked_for_them() {
    House::new(&[]).each(|client, era, _| {
        let mut params = json!({ "name": "test_tool_with_logging", "arguments": {} });
        match era {
            Era::Modern => params["_meta"]["io.modelcontextprotocol/logLevel"] = json!("info"),
            Era::Legacy => drop(
                client
                    .request("logging/setLevel", json!({ "level": "info" }))
                    .result(),
            ),
        }
        let reply = client.request("tools/call", params.clone());
        let logs = reply
            .messages
            .iter()
            .filter(|message| message.method() == "notifications/message")
            .count();
        assert_eq!(logs, 3, "{:?}", reply.messages);
        if era == Era::Modern {
            params["_meta"] = json!({});
            assert_eq!(
                client.request("tools/call", params).messages.len(),
                1,
                "nobody asked for log messages"
            );
        }
    });
}

#[test]
fn changes_of_lists_and_resources_are_pushed() {
    const WATCHED: &str = "test://watched-resource";
    let changes = [
        (
            "test_trigger_tool_change",
            "notifications/tools/list_changed",
        ),
        (
            "test_trigger_prompt_change",
            "notifications/prompts/list_changed",
        ),
        (
            "test_trigger_resource_change",
            "notifications/resources/list_changed",
        ),
        (
            "test_trigger_resource_update",
            "notifications/resources/updated",
        ),
    ];
    House::new(&[]).each(|client, era, _| {
        let mut stream = match era {
            Era::Legacy => {
                assert_eq!(client.request("resources/subscribe", json!({ "uri": WATCHED })).head.status, 200);
                client.listen(None).unwrap()
            }
            Era::Modern => {
                let wanted =
                    json!({ "toolsListChanged": true, "promptsListChanged": true, "resourcesListChanged": true, "resourceSubscriptions": [WATCHED] });
                let mut stream = client.start("subscriptions/listen", json!({ "notifications": wanted })).unwrap();
                let first = stream.message();
                assert_eq!(first.method(), "notifications/subscriptions/acknowledged", "{}", first.raw);
                assert_eq!(first.value["params"]["notifications"], wanted, "{}", first.raw);
                stream
            }
        };
        assert_eq!(stream.head.header("x-accel-buffering"), Some("no"));
        let id = client.last_id();
        for (tool, method) in changes {
            assert_eq!(client.tool(tool, json!({})).text(), "Announced");
            let message = stream.until(method);
            if era == Era::Modern {
                assert_eq!(message.value["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], json!(id), "{}", message.raw);
            }
            if method.ends_with("updated") {
                assert_eq!(message.value["params"]["uri"], json!(WATCHED));
            }
        }
    });
}

#[test]
fn json_passes_byte_for_byte() {
    let odd = r#""zeta":1.0,"content":[{"x-unknown":{"b":[],"a":{}},"type":"text","text":"\u00e9\ud83d\ude00 \/ \u0022 é","annotations":{"priority":1.0}}],"alpha":9007199254740993,"huge":123456789012345678901234567890,"negative":-0.0,"exponent":1.50e+2,"nothing":null, "spaced" : [ 1 , 2 ],"structuredContent":{"z":1,"a":18446744073709551615,"\u006dixed":"\u006b\u0065y"}"#;
    let arguments = r#"{"z":1.0,"a":9007199254740993,"huge":123456789012345678901234567890,"e":1.50e+2,"s":"\u00e9\/","n":null, "x" : [ 1 , 2 ]}"#;
    // Between eras a member may be taken out or put in; blanks around the members beside it are the
    // relay's then, their values never are.
    let translated = odd
        .replace("\"spaced\" : [", "\"spaced\":[")
        .replace("null, ", "null,");
    House::new(&[]).each(|client, era, (_, server, _)| {
        let reply = client.tool("odd", json!({}));
        let expected = if era == server { odd } else { &translated };
        let raw = if era == server {
            reply.response().raw.clone()
        } else {
            reply
                .response()
                .raw
                .replace("\"spaced\" : [", "\"spaced\":[")
                .replace("null, ", "null,")
        };
        assert!(raw.contains(expected), "{raw}");
        assert!(
            reply
                .response()
                .raw
                .contains(r#""example.org/odd":[1e2,-1]"#),
            "{}",
            reply.response().raw
        );
        let mirrored = client.raw_tool("mirror", arguments);
        assert!(mirrored.text().contains(arguments), "{}", mirrored.text());
    });
}

#[test]
fn a_legacy_session_lives_until_it_is_deleted_and_belongs_to_its_view() {
    let house = House::new(&[]);
    for version in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        let mut client = Client::unconnected(house.daemon.http, "modern-stdio", Era::Legacy);
        client.version = version.to_owned();
        client.initialize().unwrap();
        assert_eq!(client.version, version);
        assert_eq!(client.tool("echo", json!({ "message": "x" })).text(), "x");
        assert_eq!(client.request("ping", json!({})).result(), &json!({}));
        let mut elsewhere = Client::unconnected(house.daemon.http, "legacy-stdio", Era::Legacy);
        elsewhere.session.clone_from(&client.session);
        assert_eq!(
            elsewhere.request("ping", json!({})).error(),
            (-32600, "GGEN-E3013")
        );
        assert!((200..300).contains(&client.delete().unwrap()));
        let after = client.request("ping", json!({}));
        assert_eq!(
            (after.head.status, after.error()),
            (404, (-32600, "GGEN-E3013"))
        );
    }
    house.daemon.stop();
}

#[test]
fn answers_do_not_cross_when_every_client_numbers_from_one() {
    let house = House::new(&[]);
    let traffics: Vec<_> = UPSTREAMS
        .iter()
        .map(|(server, ..)| traffic::Traffic::start(house.daemon.http, server, &ERAS, 3))
        .collect();
    for traffic in &traffics {
        traffic.until_answered(200);
    }
    for traffic in traffics {
        let ledger = traffic.finish();
        assert_eq!(
            ledger.count(|outcome| *outcome != traffic::Outcome::Answered),
            0,
            "{:?}",
            ledger.counts()
        );
    }
    house.daemon.stop();
}
