//! Hosts that treat their sessions oddly: they begin one before each call, never end one, or never
//! name one.

use crate::support::{Relay, Server};
use ggen_mcp::access::rules::Rules;
use ggen_mcp::api::{Input, Limits, Settings};
use ggen_mcp::edge::{Principal, Reply, Verb};
use serde_json::{Value, json};

const PLAIN: Server = |_, _| None;
const SECOND: u64 = 1_000_000;

fn relay(limits: Limits) -> Relay {
    let servers: [(&str, bool, Server); 2] = [("old", false, PLAIN), ("new", true, PLAIN)];
    let mut relay = Relay::idle(
        &servers,
        Settings {
            incarnation: 1,
            limits,
            ..Settings::default()
        },
    );
    relay.begin();
    relay
}

fn pass(relay: &mut Relay, seconds: u64) {
    for _ in 0..seconds {
        relay.now += SECOND;
        relay.input(Input::Tick);
    }
}

fn message(id: u32, method: &str, params: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string()
}

/// The status of a ping in a session.
fn ping(relay: &mut Relay, session: &str) -> u16 {
    let body = message(1, "ping", &json!({}));
    relay.post("", &[("mcp-session-id", session)], &body).0
}

fn who(name: &str) -> Principal {
    name.into()
}

#[test]
fn a_session_in_which_nothing_is_asked_lives_shortly() {
    let mut relay = relay(Limits::default());
    let (unused, used, read) = (
        relay.session("", "2025-11-25"),
        relay.session("", "2025-11-25"),
        relay.session("", "2025-11-25"),
    );
    // What ends the handshake is no use.
    let end = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    assert_eq!(relay.post("", &[("mcp-session-id", &unused)], end).0, 202);
    assert_eq!(ping(&mut relay, &used), 200);
    relay.send(Verb::Get, "", &[("mcp-session-id", &read)], "");
    pass(&mut relay, 110);
    assert_eq!(relay.gateway.counts().sessions, 3);
    pass(&mut relay, 20);
    assert_eq!(relay.gateway.counts().sessions, 2);
    assert_eq!(
        [&unused, &used, &read].map(|session| ping(&mut relay, session)),
        [404, 200, 200]
    );
    pass(&mut relay, 3500);
    assert_eq!(ping(&mut relay, &used), 200);
}

#[test]
fn over_the_limit_the_oldest_idle_session_ends() {
    // One principal has half of them at most.
    let mut relay = relay(Limits {
        sessions: 6,
        ..Limits::default()
    });
    relay.principal = who("one");
    let mut sessions = Vec::new();
    for _ in 0..3 {
        let session = relay.session("", "2025-11-25");
        assert_eq!(ping(&mut relay, &session), 200);
        sessions.push(session);
        pass(&mut relay, 1);
    }
    // The first one is read, so the second one is the oldest that is idle.
    relay.send(Verb::Get, "", &[("mcp-session-id", &sessions[0])], "");
    sessions.push(relay.session("", "2025-11-25"));
    assert_eq!(relay.gateway.counts().sessions, 3);
    let status: Vec<_> = sessions
        .iter()
        .map(|session| ping(&mut relay, session))
        .collect();
    assert_eq!(status, [200, 404, 200, 200]);
    // One that was never used goes first.
    pass(&mut relay, 1);
    let unused = relay.session("", "2025-11-25");
    relay.session("", "2025-11-25");
    assert_eq!(ping(&mut relay, &unused), 404);
    assert_eq!(ping(&mut relay, &sessions[0]), 200);
}

#[test]
fn sessions_that_are_in_use_end_for_nobody() {
    let mut relay = relay(Limits {
        sessions: 4,
        ..Limits::default()
    });
    relay.principal = who("one");
    for _ in 0..2 {
        let session = relay.session("", "2025-11-25");
        relay.send(Verb::Get, "", &[("mcp-session-id", &session)], "");
    }
    let body = message(
        0,
        "initialize",
        &json!({"protocolVersion": "2025-11-25", "capabilities": {}}),
    );
    assert_eq!(relay.post("", &[], &body).0, 429);
    // Who has none takes the place of who has most of them.
    let mut relay = self::relay(Limits {
        sessions: 3,
        ..Limits::default()
    });
    relay.input(Input::Rules(Box::new(Rules {
        sessions: 3,
        ..Rules::default()
    })));
    relay.principal = who("hoards");
    let hoarded: Vec<_> = (0..3).map(|_| relay.session("", "2025-11-25")).collect();
    relay.principal = who("other");
    let other = relay.session("", "2025-11-25");
    assert_eq!(ping(&mut relay, &other), 200);
    relay.principal = who("hoards");
    let left = hoarded
        .iter()
        .filter(|session| ping(&mut relay, session) == 200)
        .count();
    assert_eq!(left, 2);
    // The limit of one principal costs that one alone.
    relay.input(Input::Rules(Box::new(Rules {
        sessions: 2,
        ..Rules::default()
    })));
    relay.session("", "2025-11-25");
    relay.principal = who("other");
    assert_eq!(ping(&mut relay, &other), 200);
}

#[test]
fn requests_without_a_session_are_served_where_nothing_has_to_be_asked() {
    let mut relay = relay(Limits::default());
    let version = ("mcp-protocol-version", "2025-11-25");
    for view in ["", "old", "new"] {
        let prefix = if view.is_empty() { "old__" } else { "" };
        for (method, params, member) in [
            ("ping", json!({}), ""),
            ("tools/list", json!({}), "tools"),
            ("prompts/list", json!({}), "prompts"),
            ("resources/list", json!({}), "resources"),
            (
                "tools/call",
                json!({"name": format!("{prefix}t")}),
                "content",
            ),
            (
                "prompts/get",
                json!({"name": format!("{prefix}p")}),
                "content",
            ),
        ] {
            for headers in [&[][..], &[version]] {
                let (status, body) = relay.post(view, headers, &message(7, method, &params));
                let answer: Value = serde_json::from_str(&body).unwrap();
                assert_eq!((status, &answer["id"]), (200, &json!(7)), "{view} {body}");
                assert!(answer["result"].is_object(), "{view} {body}");
                assert!(answer["result"].get("resultType").is_none(), "{body}");
                assert!(
                    member.is_empty() || answer["result"][member].is_array(),
                    "{view} {method} {body}"
                );
            }
        }
        for name in ["notifications/initialized", "notifications/x"] {
            let body = json!({"jsonrpc": "2.0", "method": name}).to_string();
            assert_eq!(relay.post(view, &[], &body), (202, String::new()));
        }
        for method in [
            "resources/subscribe",
            "logging/setLevel",
            "tasks/list",
            "x/y",
        ] {
            let (status, body) = relay.post(view, &[], &message(7, method, &json!({})));
            assert_eq!(status, 400, "{method}");
            assert!(body.contains("GGEN-E3023"), "{body}");
        }
        let answer = r#"{"jsonrpc":"2.0","id":"g-1","result":{}}"#;
        assert_eq!(relay.post(view, &[], answer).0, 400);
    }
    let unknown = [("mcp-protocol-version", "2031-01-01")];
    let list = message(7, "tools/list", &json!({}));
    assert_eq!(relay.post("", &unknown, &list).0, 400);
    assert_eq!(relay.gateway.counts().sessions, 0);
    assert_eq!(relay.gateway.leftovers(), Default::default());
}

#[test]
fn answers_without_sessions_do_not_cross_and_end_with_their_clients() {
    const SILENT: Server = |_, message| (message["method"] == "tools/call").then(String::new);
    let mut relay = Relay::new(&[("s", false, SILENT)]);
    let call = message(1, "tools/call", &json!({"name": "t"}));
    let keys = [0, 1].map(|_| relay.send(Verb::Post, "s", &[], call.clone()).0);
    let ids: Vec<Value> = relay
        .written
        .iter()
        .rev()
        .take(2)
        .map(|(_, line)| serde_json::from_str::<Value>(line).unwrap()["id"].clone())
        .collect();
    let line = json!({"jsonrpc": "2.0", "id": ids[0], "result": {"content": [], "of": 1}});
    relay.up(0, ggen_mcp::api::UpInput::Line(line.to_string().into()));
    assert!(relay.of(keys[0]).is_empty());
    match &relay.of(keys[1])[..] {
        [
            Reply::Full {
                status: 200, body, ..
            },
        ] => {
            let answer: Value = serde_json::from_slice(body).unwrap();
            assert_eq!(
                (&answer["id"], &answer["result"]["of"]),
                (&json!(1), &json!(1))
            );
        }
        other => panic!("{other:?}"),
    }
    relay.input(Input::Gone(keys[0]));
    assert!(relay.last_written().contains("notifications/cancelled"));
    assert_eq!(relay.gateway.leftovers(), Default::default());
}

#[test]
fn a_modern_server_cannot_ask_a_client_without_a_session() {
    const ASKS: Server = |_, message| {
        (message["method"] == "tools/call").then(|| {
            r#""result":{"resultType":"input_required","inputRequests":{"a":{"method":"elicitation/create","params":{"message":"m","requestedSchema":{"type":"object","properties":{}}}}}}"#.to_owned()
        })
    };
    let mut relay = Relay::new(&[("s", true, ASKS)]);
    let call = message(1, "tools/call", &json!({"name": "t"}));
    let (status, body) = relay.post("s", &[], &call);
    assert_eq!(status, 200);
    assert!(body.contains("GGEN-E3021"), "{body}");
    assert_eq!(relay.gateway.leftovers(), Default::default());
}
