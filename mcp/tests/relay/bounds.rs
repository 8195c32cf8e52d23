//! What one client or one server can have the relay keep, and how much of a server one principal
//! can have.

use crate::support::{MODERN, Relay, Server, code, modern};
use ggen_mcp::access::rules::Rules;
use ggen_mcp::api::{Input, Limits, Output, Settings, UpInput};
use ggen_mcp::edge::{Reply, Verb};
use ggen_wire::{Code, status::UpstreamState};
use serde_json::{Value, json};

/// Answers no calls.
const SILENT: Server = |_, message| match message["method"].as_str()? {
    "tools/call" => Some(String::new()),
    "resources/subscribe" => Some(r#""result":{}"#.to_owned()),
    _ => None,
};

/// Has a page more whenever it is asked.
const ENDLESS: Server = |_, message| {
    if message["method"] != "tools/list" {
        return None;
    }
    let page: u64 = message["params"]["cursor"]
        .as_str()
        .map_or(0, |cursor| cursor.parse().expect("its own cursor"));
    let text = "x".repeat(100_000);
    let tools: Vec<_> = (0..3)
        .map(|tool| json!({"name": format!("t{page}-{tool}"), "description": text, "inputSchema": {"type": "object"}}))
        .collect();
    let result = json!({"tools": tools, "nextCursor": (page + 1).to_string()});
    Some(format!(r#""result":{result}"#))
};

fn status(replies: &[Reply]) -> Option<u16> {
    replies.iter().find_map(|reply| match reply {
        Reply::Full { status, .. } => Some(*status),
        _ => None,
    })
}

fn call(relay: &mut Relay) -> Vec<Reply> {
    let headers = [
        ("mcp-protocol-version", MODERN),
        ("mcp-method", "tools/call"),
        ("mcp-name", "a__t"),
    ];
    let body = modern("1", "tools/call", r#""name":"a__t""#);
    relay.send(Verb::Post, "", &headers, body).1
}

#[test]
fn what_a_client_says_of_itself_is_cut() {
    let mut relay = Relay::new(&[("a", true, SILENT)]);
    let long = "n".repeat(1 << 20);
    let body = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": {"name": long, "version": "1", "x": long},
    }});
    let (_, replies) = relay.send(Verb::Post, "", &[], body.to_string());
    let Some(Reply::Full {
        session: Some(session),
        ..
    }) = replies.first()
    else {
        panic!("{replies:?}")
    };
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a__t"}}"#;
    let headers = [("mcp-session-id", session.as_ref())];
    relay.send(Verb::Post, "", &headers, body);
    let written = relay.last_written();
    assert!(
        written.contains("nnn") && written.len() < 8 << 10,
        "{}",
        written.len()
    );
}

#[test]
fn subscriptions_are_bounded_in_bytes() {
    let mut relay = Relay::new(&[("a", false, SILENT)]);
    let session = relay.session("", "2025-11-25");
    let uri = |n: u8| format!("a+test://{n}/{}", "u".repeat(40_000));
    let mut subscribe = |n| {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "resources/subscribe", "params": {"uri": uri(n)}});
        code(
            &relay
                .post("", &[("mcp-session-id", &session)], &body.to_string())
                .1,
        )
    };
    assert_eq!([subscribe(1), subscribe(2)], [0, -32603]);
    let filter = json!({"notifications": {"resourceSubscriptions": [uri(1), uri(2)]}}).to_string();
    let headers = [
        ("mcp-protocol-version", MODERN),
        ("mcp-method", "subscriptions/listen"),
    ];
    let body = modern("9", "subscriptions/listen", &filter[1..filter.len() - 1]);
    let (_, replies) = relay.send(Verb::Post, "", &headers, body);
    let acknowledged = replies.iter().find_map(|reply| match reply {
        Reply::Event { data, .. } => Some(String::from_utf8_lossy(data)),
        _ => None,
    });
    let acknowledged = acknowledged.expect("an acknowledgement");
    assert!(acknowledged.contains("test://1/") && !acknowledged.contains("test://2/"));
}

#[test]
fn a_list_without_end_is_cut_and_said() {
    let mut relay = Relay::new(&[("a", true, ENDLESS)]);
    let said = relay.outputs.iter().any(
        |output| matches!(output, Output::Log(note) if note.code == Some(Code::UpstreamTooLarge)),
    );
    assert!(said, "{:?}", relay.outputs);
    let degraded = relay.outputs.iter().any(|output| {
        matches!(output, Output::Report(_, report) if report.state == UpstreamState::Degraded
            && report.detail.as_deref().is_some_and(|why| why.contains("the rest is left out")))
    });
    assert!(degraded, "{:?}", relay.outputs);
    let (mut cursor, mut tools, mut bytes) = (Value::Null, 0, 0);
    loop {
        let members = if cursor.is_null() {
            json!({})
        } else {
            json!({"cursor": cursor})
        };
        let (_, body) = relay.ask("a", None, "tools/list", &members, &json!({}));
        let text = body.to_string();
        assert!(text.len() < 3 << 20, "one page has {} bytes", text.len());
        bytes += text.len();
        tools += body["result"]["tools"].as_array().expect("tools").len();
        cursor = body["result"]["nextCursor"].clone();
        if cursor.is_null() {
            break;
        }
    }
    assert!(
        tools > 70 && bytes < 9 << 20,
        "{tools} tools, {bytes} bytes"
    );
}

#[test]
fn streams_that_are_kept_are_bounded_in_bytes() {
    let limits = Limits {
        ring_bytes: 4_000,
        ..Limits::default()
    };
    let settings = Settings {
        incarnation: 1,
        limits,
        ..Settings::default()
    };
    let mut relay = Relay::idle(&[("a", false, SILENT)], settings);
    relay.begin();
    let mut streams = Vec::new();
    for n in 0..10 {
        let session = relay.session("", "2025-11-25");
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":{n},"method":"tools/call","params":{{"name":"a__t"}}}}"#
        );
        let (key, _) = relay.send(Verb::Post, "", &[("mcp-session-id", &session)], body);
        relay.now += 3_000_000;
        relay.input(Input::Tick);
        relay.input(Input::Gone(key));
        let written: Value = serde_json::from_str(relay.last_written()).expect("JSON");
        let text = "r".repeat(1_000);
        let answer = json!({"jsonrpc": "2.0", "id": written["id"], "result": {"content": [{"type": "text", "text": text}]}});
        relay.up(0, UpInput::Line(answer.to_string().into()));
        streams.push(session);
    }
    let mut kept = 0;
    for session in &streams {
        let headers = [
            ("mcp-session-id", session.as_str()),
            ("last-event-id", "1-0"),
        ];
        let (_, replies) = relay.send(Verb::Get, "", &headers, "");
        kept += replies
            .iter()
            .filter(|reply| matches!(reply, Reply::Event { data, .. } if data.len() > 1_000))
            .count();
    }
    assert!((1..=4).contains(&kept), "{kept} of 10 are kept");
    let headers = [
        ("mcp-session-id", streams[9].as_str()),
        ("last-event-id", "1-0"),
    ];
    let (_, replies) = relay.send(Verb::Get, "", &headers, "");
    assert!(
        replies
            .iter()
            .any(|reply| matches!(reply, Reply::Event { data, .. } if data.len() > 1_000)),
        "the newest is kept"
    );
}

#[test]
fn nobody_alone_has_all_places_of_a_server() {
    let mut relay = Relay::new(&[("a", true, SILENT)]);
    relay.input(Input::Rules(Box::new(Rules {
        calls_per_upstream: 8,
        ..Rules::default()
    })));
    for (who, places) in [("key:1", 4), ("key:2", 4)] {
        relay.principal = who.into();
        let taken = (0..8).take_while(|_| call(&mut relay).is_empty()).count();
        assert_eq!(taken, places, "{who}");
    }
    assert_eq!(status(&call(&mut relay)), Some(503));
    relay.input(Input::EdgeLost(1));
    // Without credentials, all clients are one principal.
    relay.principal = "anonymous".into();
    let taken = (0..9).take_while(|_| call(&mut relay).is_empty()).count();
    assert_eq!(taken, 8);
    relay.input(Input::EdgeLost(1));
    // Three have a third each as soon as the server is half full.
    for (who, places) in [("key:1", 4), ("key:2", 4)] {
        relay.principal = who.into();
        let taken = (0..places / 2)
            .take_while(|_| call(&mut relay).is_empty())
            .count();
        assert_eq!(taken, places / 2, "{who}");
    }
    relay.principal = "key:3".into();
    let taken = (0..8).take_while(|_| call(&mut relay).is_empty()).count();
    assert_eq!(taken, 2);
    relay.input(Input::EdgeLost(1));
    assert_eq!(relay.gateway.leftovers(), Default::default());
}

#[test]
fn nobody_alone_has_all_sessions() {
    let mut relay = Relay::new(&[("a", true, SILENT)]);
    relay.input(Input::Rules(Box::new(Rules {
        sessions_in_all: 4,
        ..Rules::default()
    })));
    let begin = |relay: &mut Relay| {
        let body = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{}}}"#;
        let replies = relay.send(Verb::Post, "", &[], body).1;
        // One that is read is not ended for another.
        if let [
            Reply::Full {
                session: Some(session),
                ..
            },
        ] = &replies[..]
        {
            relay.send(Verb::Get, "", &[("mcp-session-id", session)], "");
        }
        status(&replies)
    };
    for who in ["key:1", "key:2"] {
        relay.principal = who.into();
        assert_eq!(
            [begin(&mut relay), begin(&mut relay)],
            [Some(200); 2],
            "{who}"
        );
    }
    relay.principal = "key:1".into();
    assert_eq!(begin(&mut relay), Some(503), "there are none left");
    relay.input(Input::Rules(Box::new(Rules {
        sessions_in_all: 5,
        ..Rules::default()
    })));
    relay.principal = "key:3".into();
    assert_eq!(begin(&mut relay), Some(200));
    let mut relay = Relay::new(&[("a", true, SILENT)]);
    relay.input(Input::Rules(Box::new(Rules {
        sessions_in_all: 4,
        ..Rules::default()
    })));
    relay.principal = "key:1".into();
    let begun: Vec<_> = (0..3).map(|_| begin(&mut relay)).collect();
    assert_eq!(begun, [Some(200), Some(200), Some(429)]);
    relay.principal = "anonymous".into();
    assert_eq!([begin(&mut relay), begin(&mut relay)], [Some(200); 2]);
}

#[test]
fn calls_of_a_session_whose_clients_left_are_bounded() {
    let mut relay = Relay::new(&[("a", false, SILENT)]);
    let session = relay.session("", "2025-11-25");
    let mut refused = 0;
    for n in 0..1_000 {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":{n},"method":"tools/call","params":{{"name":"a__t"}}}}"#
        );
        let (key, replies) = relay.send(Verb::Post, "", &[("mcp-session-id", &session)], body);
        refused += usize::from(status(&replies) == Some(429));
        // The stream is reset at once, which cancels nothing in this revision.
        relay.input(Input::Gone(key));
    }
    let reached = relay
        .written
        .iter()
        .filter(|(_, text)| text.contains("tools/call"))
        .count();
    assert_eq!((reached, refused), (256, 744));
}
