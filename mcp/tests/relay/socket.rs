//! What differs on a channel without headers: no header is asked for, both eras by message, and a
//! legacy session ends with its socket.

use crate::support::{Relay, Server, code, modern};
use ggen_mcp::{
    api::Input,
    edge::{Reply, Verb},
};

const PLAIN: Server = |_, _| None;
fn message(relay: &mut Relay, headers: &[(&str, &str)], body: &str) -> (u16, String) {
    match &relay.send(Verb::Message, "", headers, body.to_owned()).1[..] {
        [Reply::Full { status, body, .. }] => {
            (*status, String::from_utf8(body.to_vec()).expect("UTF-8"))
        }
        other => panic!("{body} got {other:?}"),
    }
}

#[test]
fn the_era_is_the_messages_own() {
    let mut relay = Relay::new(&[("old", false, PLAIN), ("new", true, PLAIN)]);
    let session = relay.session("", "2025-11-25");
    let held = [("mcp-session-id", session.as_str())];
    let bare = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    let future = modern("1", "tools/list", "").replace("2026-07-28", "2099-01-01");
    type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str, i64);
    let table: [Row<'_>; 7] = [
        (
            "modern needs no header",
            &[],
            &modern("1", "tools/list", ""),
            0,
        ),
        (
            "modern beside a legacy session",
            &held,
            &modern("1", "tools/list", ""),
            0,
        ),
        (
            "a name needs no header",
            &[],
            &modern("1", "prompts/get", r#""name":"old__p""#),
            0,
        ),
        ("legacy in its session", &held, bare, 0),
        ("legacy without a session", &[], bare, -32600),
        ("an unknown revision", &[], &future, -32022),
        ("not JSON", &held, "{", -32700),
    ];
    for (what, headers, body, rpc) in table {
        let (_, answer) = message(&mut relay, headers, body);
        assert_eq!(code(&answer), rpc, "{what}: {answer}");
    }
}

#[test]
fn a_session_ends_with_its_socket() {
    let mut relay = Relay::new(&[("old", false, PLAIN)]);
    let session = relay.session("", "2025-11-25");
    let held = [("mcp-session-id", session.as_str())];
    let (stream, began) = relay.send(Verb::Attach, "", &held, "");
    assert!(matches!(began[..], [Reply::Start { .. }]), "{began:?}");
    relay.input(Input::Gone(stream));
    assert_eq!(relay.gateway.counts().sessions, 0);
    let (status, _) = message(
        &mut relay,
        &held,
        r#"{"jsonrpc":"2.0","id":2,"method":"ping"}"#,
    );
    assert_eq!(status, 404);
}
