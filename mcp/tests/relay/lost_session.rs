//! A legacy HTTP server that forgets our session: a new one is begun with what the client can be
//! asked for, and the call is sent once more.

use crate::support::remote::{Got, Remote};
use serde_json::json;

#[test]
fn a_forgotten_session_is_begun_anew_however_often() {
    let caps = json!({"elicitation": {}, "roots": {}});
    for caps in [json!({}), caps] {
        let mut relay = Remote::new(false);
        let session = relay.session("2025-11-25", &caps);
        let own = usize::from(caps != json!({}));
        for round in 1..5u32 {
            let call = json!({"jsonrpc": "2.0", "id": round, "method": "tools/call", "params": {"name": "t", "arguments": {"n": round}}});
            let key = relay.legacy(&session, &call);
            let first = relay.last();
            // As the specification says it, and as many servers do.
            let (status, text) = match round % 3 {
                0 => (404, ""),
                1 => (
                    404,
                    r#"{"jsonrpc":"2.0","error":{"code":-32001,"message":"Session not found"},"id":null}"#,
                ),
                _ => (
                    400,
                    r#"{"jsonrpc":"2.0","error":{"code":-32000,"message":"Bad Request: No valid session ID provided"},"id":null}"#,
                ),
            };
            relay.forgets(first.exchange, status, text);
            let again = relay.last();
            assert_eq!(
                again.body["params"]["arguments"],
                json!({"n": round}),
                "the call is sent once more"
            );
            let named = |got: &Got| {
                got.headers
                    .iter()
                    .find(|(name, _)| name == "mcp-session-id")
                    .map(|(_, id)| id.clone())
            };
            assert!(named(&again) != named(&first) && named(&again).is_some());
            assert_eq!(relay.greeted.len(), 1 + own + round as usize);
            assert_eq!(
                relay.greeted.last(),
                Some(&caps),
                "with what the client can be asked for"
            );
            relay.answers(again.exchange, &json!({"content": []}));
            assert_eq!(relay.answer(key)["result"], json!({"content": []}));
        }
        relay.assert_clean();
    }
}

#[test]
fn a_server_that_knows_no_session_at_all_is_not_asked_for_ever() {
    let mut relay = Remote::new(false);
    let session = relay.session("2025-11-25", &json!({}));
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "t", "arguments": {}}});
    let key = relay.legacy(&session, &call);
    for _ in 0..2 {
        let got = relay.last();
        relay.forgets(got.exchange, 404, "");
    }
    assert_eq!(
        relay
            .got
            .iter()
            .filter(|got| got.body["method"] == "tools/call")
            .count(),
        2
    );
    assert_eq!(
        relay.answer(key)["error"]["data"]["code"],
        "GGEN-E2111",
        "{}",
        relay.answer(key)
    );
    // Another 400 is the call's own affair.
    let key = relay.legacy(&session, &json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "t", "arguments": {}}}));
    let (greeted, got) = (relay.greeted.len(), relay.last());
    relay.forgets(
        got.exchange,
        400,
        &json!({"jsonrpc": "2.0", "id": got.exchange, "error": {"code": -1, "message": "no session here"}}).to_string(),
    );
    assert_eq!(
        (
            relay.greeted.len(),
            relay.answer(key)["error"]["code"].clone()
        ),
        (greeted, json!(-1))
    );
}
