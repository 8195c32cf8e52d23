//! Streams that may last for a while only: their clients come back for the rest, and nothing is
//! lost.

use crate::support::{MODERN, Relay, Server, modern};
use ggen_mcp::access::rules::Rules;
use ggen_mcp::api::{Input, StreamKey, UpInput};
use ggen_mcp::edge::{Reply, Verb};

/// Calls are answered by the test.
const SLOW: Server = |_, message| (message["method"] == "tools/call").then(String::new);
const CALL: &str =
    r#"{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"t","arguments":{}}}"#;

fn relay() -> Relay {
    let mut relay = Relay::new(&[("old", false, SLOW), ("new", true, SLOW)]);
    relay.input(Input::Rules(Box::new(Rules {
        stream_limit: 1_000_000,
        ..Rules::default()
    })));
    relay
}

fn pass(relay: &mut Relay, time: u64) {
    relay.now += time;
    relay.input(Input::Tick);
}

/// The events of an exchange as `id retry data`, and whether it has ended.
fn heard(relay: &Relay, key: StreamKey) -> (Vec<String>, bool) {
    let replies = relay.of(key);
    let events = replies.iter().filter_map(|reply| match reply {
        Reply::Event { id, retry_ms, data } => Some(format!(
            "{} {} {}",
            id.as_deref().unwrap_or("-"),
            retry_ms.unwrap_or(0),
            String::from_utf8_lossy(data)
        )),
        _ => None,
    });
    (events.collect(), matches!(replies.last(), Some(Reply::End)))
}

/// The answer of a server to the last call.
fn answer(relay: &mut Relay) {
    let (up, line) = relay
        .written
        .iter()
        .rev()
        .find(|(_, line)| line.contains("tools/call"))
        .cloned()
        .unwrap();
    let [id] = ggen_mcp::protocol::json::pick(&line, ["id"]).unwrap();
    relay.up(
        up,
        UpInput::Line(
            format!(
                r#"{{"jsonrpc":"2.0","id":{},"result":{{"content":[]}}}}"#,
                id.unwrap()
            )
            .into(),
        ),
    );
}

#[test]
fn the_rest_of_a_stream_is_there_for_who_comes_back() {
    for view in ["old", "new"] {
        let mut relay = relay();
        let session = relay.session(view, "2025-11-25");
        let key = relay
            .send(Verb::Post, view, &[("mcp-session-id", &session)], CALL)
            .0;
        pass(&mut relay, 999_000);
        assert_eq!(heard(&relay, key), (vec![], false), "{view}");
        pass(&mut relay, 1_000);
        assert_eq!(
            heard(&relay, key),
            (vec!["1-0 0 ".to_owned(), "1-0 500 ".to_owned()], true),
            "{view}"
        );
        // Whoever comes back is asked to again, as often as it takes.
        let back = |relay: &mut Relay| {
            relay
                .send(
                    Verb::Get,
                    view,
                    &[("mcp-session-id", &session), ("last-event-id", "1-0")],
                    "",
                )
                .0
        };
        let second = back(&mut relay);
        pass(&mut relay, 1_000_000);
        assert_eq!(
            heard(&relay, second),
            (vec!["1-0 500 ".to_owned()], true),
            "{view}"
        );
        let third = back(&mut relay);
        answer(&mut relay);
        let (events, over) = heard(&relay, third);
        assert!(
            over && events.len() == 1
                && events[0].starts_with("1-1 0 {")
                && events[0].contains("\"id\":5"),
            "{view}: {events:?}"
        );
        // What came while nobody was there is there as well.
        let key = relay
            .send(Verb::Post, view, &[("mcp-session-id", &session)], CALL)
            .0;
        pass(&mut relay, 1_000_000);
        assert!(heard(&relay, key).1);
        answer(&mut relay);
        let last = relay
            .send(
                Verb::Get,
                view,
                &[("mcp-session-id", &session), ("last-event-id", "2-0")],
                "",
            )
            .0;
        let (events, over) = heard(&relay, last);
        assert!(
            over && events.len() == 1 && events[0].starts_with("2-1 0 {"),
            "{view}: {events:?}"
        );
    }
}

#[test]
fn who_cannot_come_back_is_not_cut_off() {
    let mut relay = relay();
    let session = relay.session("old", "2025-06-18");
    let older = relay
        .send(Verb::Post, "old", &[("mcp-session-id", &session)], CALL)
        .0;
    let headers = [
        ("mcp-protocol-version", MODERN),
        ("mcp-method", "tools/call"),
        ("mcp-name", "t"),
    ];
    let newer = relay
        .send(
            Verb::Post,
            "new",
            &headers,
            modern("5", "tools/call", r#""name":"t","arguments":{}"#),
        )
        .0;
    let session = relay.session("old", "2025-11-25");
    let socket = relay
        .send(Verb::Message, "old", &[("mcp-session-id", &session)], CALL)
        .0;
    let idle = relay
        .send(Verb::Get, "old", &[("mcp-session-id", &session)], "")
        .0;
    pass(&mut relay, 5_000_000 - 10);
    for key in [older, newer, socket, idle] {
        assert!(!heard(&relay, key).1, "{:?}", relay.of(key));
    }
}
