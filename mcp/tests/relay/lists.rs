//! Lists of servers that nobody here wrote: names that look alike, items that break the schema,
//! repeats, and lists that fail at first.

use crate::support::Relay;
use ggen_mcp::api::{Input, Output, TICK, UpInput};
use ggen_wire::{Code, status::UpstreamState};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU32, Ordering};

fn names(relay: &mut Relay, view: &str) -> Vec<String> {
    let (status, body) = relay.ask(view, None, "tools/list", &json!({}), &json!({}));
    assert_eq!(status, 200, "{body}");
    let tools = body["result"]["tools"].as_array().unwrap().clone();
    let names = tools
        .iter()
        .map(|tool| tool["name"].as_str().unwrap().to_owned());
    names
        .filter(|name| name.contains("__") || !view.is_empty())
        .collect()
}

fn lost() -> UpInput {
    UpInput::Lost {
        state: UpstreamState::Degraded,
        code: Code::UpstreamExited,
        reason: "exit status 1".to_owned(),
        next_start: None,
    }
}

#[test]
fn servers_whose_names_look_alike_never_answer_for_each_other() {
    for pair in [
        ["my.server", "my server"],
        ["GitHub", "github"],
        [
            "a-name-of-more-than-thirty-two-characters-one",
            "a-name-of-more-than-thirty-two-characters-two",
        ],
    ] {
        let mut relay = Relay::new(&[(pair[0], true, |_, _| None), (pair[1], true, |_, _| None)]);
        let both = names(&mut relay, "");
        assert_eq!(both.len(), 2, "{both:?}");
        assert_ne!(both[0], both[1]);
        relay.up(0, lost());
        assert_eq!(names(&mut relay, "").len(), 2, "the last good list is kept");
        relay.written.clear();
        for (at, name) in both.iter().enumerate() {
            let call = json!({"name": name, "arguments": {}});
            relay.ask("", Some(name), "tools/call", &call, &json!({}));
            let at = u32::try_from(at).unwrap();
            let calls = relay.written.drain(..);
            let to: Vec<u32> = calls
                .filter(|(_, line)| line.contains("tools/call"))
                .map(|(up, _)| up)
                .collect();
            assert!(to.iter().all(|up| *up == at), "{name} went to {to:?}");
        }
        // The order of the configuration changes no name.
        let mut turned = Relay::new(&[(pair[1], true, |_, _| None), (pair[0], true, |_, _| None)]);
        let mut again = names(&mut turned, "");
        again.reverse();
        assert_eq!(again, both);
    }
}

#[test]
fn one_malformed_item_spoils_no_list() {
    let mut relay = Relay::new(&[("s", false, |_, message| {
        (message["method"] == "tools/list").then(|| {
            let tools = json!([
                {"name": "old", "inputSchema": {"properties": {}}},
                {"name": "none"},
                {"name": "null", "description": null, "inputSchema": null},
                {"name": "twice", "inputSchema": {"type": "object"}},
                {"name": "twice", "inputSchema": {"type": "object", "title": "again"}},
                {"name": "array", "inputSchema": {"type": "array"}},
                {"name": 7, "inputSchema": {"type": "object"}},
                "no object",
                {"name": "right", "inputSchema": {"type": "object"}},
            ]);
            format!(r#""result":{}"#, json!({"tools": tools}))
        })
    })]);
    for view in ["", "s"] {
        let prefix = if view.is_empty() { "s__" } else { "" };
        let expected =
            ["old", "none", "null", "twice", "right"].map(|name| format!("{prefix}{name}"));
        assert_eq!(names(&mut relay, view), expected);
        let (_, body) = relay.ask(view, None, "tools/list", &json!({}), &json!({}));
        for tool in body["result"]["tools"].as_array().unwrap() {
            assert_eq!(tool["inputSchema"]["type"], "object", "{tool}");
            assert!(
                tool.as_object()
                    .unwrap()
                    .values()
                    .all(|value| !value.is_null())
            );
        }
    }
    let left_out = relay
        .outputs
        .iter()
        .filter(|output| matches!(output, Output::Log(note) if note.text.contains("is left out")));
    assert!(left_out.count() >= 1);
}

#[test]
fn addresses_of_apps_are_exposed_in_every_spelling() {
    let mut relay = Relay::new(&[("s", true, |_, message| {
        (message["method"] == "tools/list").then(|| {
            let meta = json!({
                "ui": {"resourceUri": "ui://a"}, "ui/resourceUri": "ui://b",
                "openai/outputTemplate": "ui://c", "other": "ui://d",
            });
            let tools = json!([{"name": "t", "inputSchema": {"type": "object"}, "_meta": meta}]);
            format!(
                r#""result":{}"#,
                json!({"resultType": "complete", "tools": tools})
            )
        })
    })]);
    let (_, body) = relay.ask("", None, "tools/list", &json!({}), &json!({}));
    let tools = body["result"]["tools"].as_array().unwrap();
    let tool = tools.iter().find(|tool| tool["name"] == "s__t").unwrap();
    let expected = json!({
        "ui": {"resourceUri": "ui://s+a"}, "ui/resourceUri": "ui://s+b",
        "openai/outputTemplate": "ui://s+c", "other": "ui://d",
    });
    assert_eq!(tool["_meta"], expected);
}

/// How often the list was asked for.
static ASKED: AtomicU32 = AtomicU32::new(0);

#[test]
fn a_list_that_fails_is_asked_for_again() {
    let fails_twice = |_: &str, message: &Value| {
        (message["method"] == "tools/list" && ASKED.fetch_add(1, Ordering::Relaxed) < 2)
            .then(|| r#""error":{"code":-32603,"message":"not yet"}"#.to_owned())
    };
    let mut relay = Relay::new(&[("s", true, fails_twice)]);
    assert!(names(&mut relay, "s").is_empty());
    let began = relay.now;
    while names(&mut relay, "s").is_empty() && relay.now < began + 30_000_000 {
        relay.now += TICK;
        relay.input(Input::Tick);
    }
    assert_eq!(names(&mut relay, "s"), ["t"]);
    assert_eq!(ASKED.load(Ordering::Relaxed), 3);
    // 2 s, and 4 s more.
    assert!((6_000_000..7_000_000).contains(&(relay.now - began)));
    let told = |output: &&Output| matches!(output, Output::Log(note) if note.text.contains("is asked for again in"));
    assert_eq!(relay.outputs.iter().filter(told).count(), 2);
}

/// Whether the server was sent that method since the last time.
fn was_sent(relay: &mut Relay, method: &str) -> bool {
    let mut lines = relay.written.drain(..).collect::<Vec<_>>().into_iter();
    lines.any(|(_, line)| line.contains(method))
}

#[test]
fn a_server_that_ends_at_the_probe_is_sent_initialize_alone() {
    // It says nothing to the probe: it ends.
    let old = |_: &str, message: &Value| (message["method"] == "server/discover").then(String::new);
    let mut relay = Relay::new(&[("s", false, old)]);
    let is_probe = |output: &Output, on: bool| matches!(output, Output::Probe { outstanding, .. } if *outstanding == on);
    assert!(relay.outputs.iter().any(|output| is_probe(output, true)));
    relay.up(0, lost());
    relay.written.clear();
    let connected = || UpInput::Connected {
        incarnation: 2,
        handoff: None,
    };
    relay.up(0, connected());
    assert!(!was_sent(&mut relay, "server/discover"));
    assert_eq!(names(&mut relay, "s"), ["t"]);
    // It is known to be old when it is started again after it was ready.
    relay.up(0, lost());
    relay.written.clear();
    relay.up(0, connected());
    assert!(!was_sent(&mut relay, "server/discover"));
}

#[test]
fn what_ends_at_initialize_too_is_probed_again() {
    let silent = |_: &str, message: &Value| {
        (message["method"] == "server/discover" || message["method"] == "initialize")
            .then(String::new)
    };
    let mut relay = Relay::new(&[("s", false, silent)]);
    for method in ["initialize", "server/discover", "initialize"] {
        relay.up(0, lost());
        relay.written.clear();
        relay.up(
            0,
            UpInput::Connected {
                incarnation: 2,
                handoff: None,
            },
        );
        assert!(was_sent(&mut relay, method), "{method}");
    }
}
