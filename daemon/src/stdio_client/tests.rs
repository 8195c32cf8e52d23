//! What a line is and travels with, and lines out of bytes. The whole relay is tested against a
//! real daemon in `tests/tests/transports/stdio_relay.rs`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use super::{
    address::Endpoint,
    lines,
    message::{self, Declared, Line, Message},
};
use bytes::Bytes;
use std::{cell::Cell, rc::Rc, time::Duration};
use tokio::net::UnixListener;

const CALL: &str = r#"{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"grüße","arguments":{"b":1},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;

fn read(text: &str) -> Message {
    Message::read(Bytes::copy_from_slice(text.as_bytes())).unwrap()
}

#[test]
fn a_modern_request_is_mirrored_in_headers() {
    let mut declared = Declared::new();
    let list = r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"grüße","inputSchema":{"type":"object","properties":{"b":{"type":"integer","x-mcp-header":"B"}}}}]}}"#;
    message::learn(&mut declared, list.as_bytes());
    let call = read(CALL);
    assert!(call.is_modern() && !call.is_handshake());
    let headers = call.mirrored(&declared);
    let header = |name: &str| {
        headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    };
    assert_eq!(header("mcp-protocol-version"), Some("2026-07-28"));
    assert_eq!(
        (header("mcp-method"), header("mcp-name")),
        (Some("tools/call"), Some("=?base64?Z3LDvMOfZQ==?="))
    );
    assert_eq!(header("mcp-param-b"), Some("1"));
    message::learn(&mut declared, br#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"gr\u00fc\u00dfe","inputSchema":{}}]}}"#);
    assert!(declared.is_empty());
}

#[test]
fn legacy_messages_have_no_headers_of_their_own() {
    let handshake = read(
        r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}"#,
    );
    assert!(handshake.is_handshake() && handshake.mirrored(&Declared::new()).is_empty());
    let cancel =
        read(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"a"}}"#);
    assert_eq!(
        (cancel.id.is_none(), cancel.cancels().as_deref()),
        (true, Some("\"a\""))
    );
    assert!(Message::read(Bytes::from_static(b"[1]")).is_err());
}

#[test]
fn an_error_without_an_id_gets_the_requests() {
    let body = br#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"m"}}"#;
    let answer = message::with_id(body, "7").unwrap();
    assert_eq!(
        answer,
        r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32600,"message":"m"}}"#
    );
    assert_eq!(
        message::with_id(br#"{"jsonrpc":"2.0","id":8,"result":{}}"#, "7"),
        None
    );
    assert!(message::answers(
        br#"{"jsonrpc":"2.0","id":"7","result":{}}"#,
        "\"7\""
    ));
}

#[test]
fn lines_are_bounded_and_empty_ones_left_out() {
    let mut input: &[u8] = b"one\n\n \r\n0123456789\ntwo";
    let mut all = Vec::new();
    while let Some(line) = lines::next(&mut input, 8).unwrap() {
        all.push(line);
    }
    assert_eq!(
        all,
        [
            Line::Whole("one".into()),
            Line::TooLong,
            Line::Whole("two".into())
        ]
    );
}

/// A client that begins with a hundred requests is one connection at the control socket at a time.
#[tokio::test]
async fn many_requests_ask_for_the_address_one_after_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("control.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let endpoint = Rc::new(Endpoint::new(socket, None));
    let most = Cell::new(0);
    let refuse = async {
        loop {
            let mut open = vec![listener.accept().await.unwrap()];
            // Who has connected as well by now has not waited for the first.
            let moment = Duration::from_millis(2);
            while let Ok(Ok(another)) = tokio::time::timeout(moment, listener.accept()).await {
                open.push(another);
            }
            most.set(most.get().max(open.len()));
        }
    };
    let ask_all = async {
        let asked: Vec<_> = (0..100)
            .map(|_| {
                let endpoint = Rc::clone(&endpoint);
                tokio::task::spawn_local(async move { endpoint.endpoint().await.is_err() })
            })
            .collect();
        for refused in asked {
            assert!(refused.await.unwrap());
        }
    };
    tokio::task::LocalSet::new()
        .run_until(async {
            tokio::select! {
                () = refuse => {}
                () = ask_all => {}
            }
        })
        .await;
    assert_eq!(most.get(), 1, "connections at a time");
}
