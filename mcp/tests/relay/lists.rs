//! Lists of servers that nobody here wrote: names that look alike, items that break the schema,
//! repeats, and lists that fail at first.

use crate::support::{Relay, Server};
use ggen_mcp::api::{EraSetting, Input, Output, Settings, TICK, UpInput, UpstreamSettings};
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
                {"name": "right", "inputSchema": []},
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
    relay.written.clear();
    let call = json!({"name": "right", "arguments": {}});
    relay.ask("s", Some("right"), "tools/call", &call, &json!({}));
    assert!(
        was_sent(&mut relay, "tools/call"),
        "a repeat spoils nothing"
    );
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

/// What the supervisor was told last of the server.
fn reported(relay: &Relay) -> (UpstreamState, Option<(Code, String)>) {
    let last = relay.outputs.iter().rev().find_map(|output| match output {
        Output::Report(_, report) => Some(report),
        _ => None,
    });
    let report = last.expect("a report");
    let trouble = report.code.zip(report.detail.clone());
    (report.state, trouble)
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
    let (state, trouble) = reported(&relay);
    assert_eq!(state, UpstreamState::Degraded);
    let (code, reason) = trouble.expect("a reason");
    assert_eq!(code, Code::UpstreamListFailed);
    assert_eq!(reason, "tools/list: error -32603: not yet");
    // It takes calls all the same.
    relay.written.clear();
    let prompt = json!({"name": "p"});
    let (status, body) = relay.ask("s", Some("p"), "prompts/get", &prompt, &json!({}));
    assert!(status == 200 && body["result"].is_object(), "{body}");
    let began = relay.now;
    while names(&mut relay, "s").is_empty() && relay.now < began + 30_000_000 {
        relay.now += TICK;
        relay.input(Input::Tick);
    }
    assert_eq!(names(&mut relay, "s"), ["t"]);
    assert_eq!(ASKED.load(Ordering::Relaxed), 3);
    assert_eq!(reported(&relay), (UpstreamState::Ready, None));
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

#[test]
fn a_server_is_ready_once_all_its_lists_are_there() {
    /// What is wrong with `prompts/list`, and what is said of it.
    const FAULTS: [(Server, &str); 3] = [
        (
            |_, message| (message["method"] == "prompts/list").then(String::new),
            "prompts/list: no answer within 5 s",
        ),
        (
            |_, message| {
                (message["method"] == "prompts/list").then(|| r#""result":{"tools":[]}"#.to_owned())
            },
            "prompts/list: the result has no list of prompts",
        ),
        (
            |_, message| {
                (message["method"] == "prompts/list")
                    .then(|| r#""error":{"code":1,"message":"gone"}"#.to_owned())
            },
            "prompts/list: error 1: gone",
        ),
    ];
    for (server, expected) in FAULTS {
        let mut relay = Relay::new(&[("s", false, server)]);
        let began = relay.now;
        while relay.now < began + 6_000_000 {
            relay.now += TICK;
            relay.input(Input::Tick);
        }
        let (state, trouble) = reported(&relay);
        assert_eq!(state, UpstreamState::Degraded);
        assert_eq!(
            trouble,
            Some((Code::UpstreamListFailed, expected.to_owned()))
        );
        assert_eq!(names(&mut relay, "s"), ["t"], "its other lists are served");
    }
    // Without the method there is no list, which is no fault.
    let mut relay = Relay::new(&[("s", false, |_, message| {
        (message["method"] == "prompts/list")
            .then(|| r#""error":{"code":-32601,"message":"no"}"#.to_owned())
    })]);
    assert_eq!(reported(&relay), (UpstreamState::Ready, None));
    assert_eq!(names(&mut relay, "s"), ["t"]);
}

/// Another version of the server, which knows the modern era beside the old one.
static UPDATED: AtomicU32 = AtomicU32::new(0);

#[test]
fn a_legacy_server_is_not_probed_again_until_it_is_another_one() {
    let server = |_: &str, message: &Value| {
        let is_new = UPDATED.load(Ordering::Relaxed) > 0;
        let hello = r#""protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"s","version":"2"}"#;
        (message["method"] == "initialize" && is_new).then(|| format!("\"result\":{{{hello}}}"))
    };
    let connected = || UpInput::Connected {
        incarnation: 2,
        handoff: None,
    };
    let mut relay = Relay::new(&[("s", false, server)]);
    for (is_new, is_probed) in [(0, false), (1, false), (1, true), (1, false)] {
        UPDATED.store(is_new, Ordering::Relaxed);
        relay.up(0, lost());
        relay.written.clear();
        relay.up(0, connected());
        assert_eq!(was_sent(&mut relay, "server/discover"), is_probed);
        assert_eq!(names(&mut relay, "s"), ["t"]);
    }
}

/// Whether the slow servers have started.
static AWAKE: AtomicU32 = AtomicU32::new(0);

#[test]
fn servers_that_need_long_to_start_are_served() {
    let slow: Server = |_, _| (AWAKE.load(Ordering::Relaxed) == 0).then(String::new);
    let entries: [fn(&mut UpstreamSettings); 3] = [
        |entry| entry.startup = 120_000_000,
        |entry| (entry.startup, entry.era) = (120_000_000, EraSetting::Modern),
        |entry| (entry.startup, entry.era) = (120_000_000, EraSetting::Legacy),
    ];
    for seconds in [4, 40, 100] {
        for (at, is_modern) in [(0, true), (0, false), (1, true), (2, false)] {
            AWAKE.store(0, Ordering::Relaxed);
            let settings = Settings {
                incarnation: 1,
                ..Settings::default()
            };
            let mut relay = Relay::with_entries(&[("s", is_modern, slow)], settings, entries[at]);
            relay.input(Input::Tick);
            let connected = UpInput::Connected {
                incarnation: 1,
                handoff: None,
            };
            relay.up(0, connected);
            let began = relay.now;
            while relay.now < began + seconds * 1_000_000 {
                relay.now += TICK;
                relay.input(Input::Tick);
            }
            // It reads what waits in its pipe.
            AWAKE.store(1, Ordering::Relaxed);
            let waiting: Vec<String> = relay.written.drain(..).map(|(_, line)| line).collect();
            for line in waiting {
                if let Some(answer) = relay.answer(0, &line) {
                    relay.up(0, UpInput::Line(answer.into()));
                }
            }
            assert_eq!(
                names(&mut relay, "s"),
                ["t"],
                "{seconds} s, entry {at}, modern: {is_modern}"
            );
            assert_eq!(reported(&relay), (UpstreamState::Ready, None));
        }
    }
}

/// It declares nothing, and has tools and resources all the same.
const MODEST: Server = |_, message| {
    match message["method"].as_str()? {
    "initialize" => Some(
        r#""result":{"protocolVersion":"2025-11-25","capabilities":{ },"serverInfo":{"name":"s","version":"1"}}"#.to_owned(),
    ),
    "prompts/list" => Some(r#""error":{"code":-32601,"message":"no"}"#.to_owned()),
    _ => None,
}
};
/// It declares tools and is silent about the rest.
const TERSE: Server = |_, message| {
    match message["method"].as_str()? {
    "initialize" => Some(
        r#""result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"s","version":"1"}}"#.to_owned(),
    ),
    "prompts/list" | "resources/list" => Some(String::new()),
    _ => None,
}
};

#[test]
fn what_is_not_declared_is_asked_for_once() {
    let mut relay = Relay::idle(
        &[("modest", false, MODEST), ("terse", false, TERSE)],
        Settings {
            incarnation: 1,
            ..Settings::default()
        },
    );
    relay.begin();
    relay.now += 4_000_000;
    relay.input(Input::Tick);
    let asked = |relay: &Relay, up: u32, method: &str| {
        let of = |(at, line): &&(u32, String)| *at == up && line.contains(&format!("\"{method}\""));
        relay.written.iter().filter(of).count()
    };
    assert_eq!(asked(&relay, 0, "prompts/list"), 0, "cleared by begin");
    let session = relay.session("modest", "2025-11-25");
    let list = |relay: &mut Relay, view: &str, session: &str, method: &str| {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method}).to_string();
        let (_, body) = relay.post(view, &[("mcp-session-id", session)], &body);
        serde_json::from_str::<Value>(&body).unwrap()
    };
    let tools = list(&mut relay, "modest", &session, "tools/list");
    assert_eq!(tools["result"]["tools"][0]["name"], "t");
    let resources = list(&mut relay, "modest", &session, "resources/list");
    assert_eq!(resources["result"]["resources"][0]["name"], "r");
    let none = list(&mut relay, "modest", &session, "prompts/list");
    assert_eq!(none["error"]["code"], -32601);
    let session = relay.session("terse", "2025-11-25");
    let tools = list(&mut relay, "terse", &session, "tools/list");
    assert_eq!(tools["result"]["tools"][0]["name"], "t");
    for _ in 0..200 {
        relay.now += 1_000_000;
        relay.input(Input::Tick);
    }
    for method in ["prompts/list", "resources/list"] {
        assert_eq!(asked(&relay, 1, method), 0, "{method} again");
    }
}
