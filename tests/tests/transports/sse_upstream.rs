//! Servers over the deprecated HTTP+SSE of 2024-11-05, when something goes wrong with them. That
//! they serve like all others is held in `serve` and `interactive`.

use ggen_wire::status::UpstreamState;
use ggend_tests::{Client, Daemon, Era, RemoteFixture, daemon, until};
use serde_json::{Value, json};
use std::{io::ErrorKind, net::TcpListener};

fn with(entry: Value) -> Value {
    json!({ "mcpServers": { "old": entry } })
}

fn client(daemon: &Daemon) -> Client {
    Client::new(daemon.http, "old", Era::Legacy)
}

#[test]
fn a_stream_that_is_cut_fails_the_calls_on_it_and_is_opened_again() {
    let far = RemoteFixture::sse(&[]);
    let daemon = daemon(with(far.sse_entry())).start();
    daemon.until_ready(&["old"]);
    let row = daemon.upstream("old");
    assert_eq!(
        (row.transport.as_str(), row.era.as_deref(), row.pid),
        ("sse", Some("legacy"), None)
    );
    let mut client = client(&daemon);
    assert_eq!(client.tool("test_ping_client", json!({})).text(), "pong");
    for _ in 0..2 {
        let mut slow = client
            .start(
                "tools/call",
                json!({ "name": "slow", "arguments": { "ms": 30_000 } }),
            )
            .unwrap();
        until("the call is at the server", || {
            let counted = client.tool("counter", json!({}));
            (counted.result()["structuredContent"]["calls"].as_u64() > Some(0)).then_some(())
        });
        // The tool ends the stream that its own answer would have come on, and with it the session.
        let cut = client.tool("test_reconnection", json!({}));
        assert_eq!(cut.error(), (-32603, "GGEN-E2109"));
        let text = cut.response().value["error"]["message"].to_string();
        assert!(text.contains("the event stream ended"), "{text}");
        let lost = slow.message();
        assert_eq!(
            lost.value["error"]["data"]["code"], "GGEN-E2109",
            "{}",
            lost.raw
        );
        daemon.until_ready(&["old"]);
        assert_eq!(
            client.tool("echo", json!({ "message": "again" })).text(),
            "again"
        );
    }
    daemon.stop();
}

#[test]
fn nothing_is_sent_to_another_origin() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let named = format!("http://{}/messages", other.local_addr().unwrap());
    let far = RemoteFixture::sse(&["--sse-endpoint", &named]);
    let daemon = daemon(with(far.sse_entry())).start();
    let row = daemon.until_upstream("old", |row| row.state == UpstreamState::Degraded);
    assert!(
        row.last_exit
            .as_deref()
            .is_some_and(|why| why.contains("another origin")),
        "{row:#?}"
    );
    let answer = Client::unconnected(daemon.http, "old", Era::Modern)
        .tool("echo", json!({ "message": "x" }));
    assert_eq!(
        answer.error(),
        (-32603, "GGEN-E2111"),
        "{:?}",
        answer.messages
    );
    until("the log says why", || {
        daemon.log().contains("another origin").then_some(())
    });
    other.set_nonblocking(true).unwrap();
    assert_eq!(other.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    daemon.stop();
}

#[test]
fn credentials_come_from_the_configuration_and_a_refusal_says_so() {
    let far = RemoteFixture::sse(&["--token", "open sesame"]);
    let mut daemon = daemon(with(far.sse_entry())).start();
    let row = daemon.until_upstream("old", |row| row.state == UpstreamState::Degraded);
    assert!(
        row.last_exit
            .as_deref()
            .is_some_and(|why| why.contains("HTTP 401") && why.contains("headers")),
        "{row:#?}"
    );
    let mut entry = far.sse_entry();
    entry["headers"] = json!({ "Authorization": "Bearer open sesame" });
    daemon.sandbox.write_config(&with(entry));
    assert_eq!(daemon.ggen(&["mcp", "server", "reload"]).code, 0);
    daemon.until_ready(&["old"]);
    assert_eq!(
        client(&daemon)
            .tool("echo", json!({ "message": "in" }))
            .text(),
        "in"
    );
    assert!(!daemon.log().contains("sesame"), "the log knows the token");
    daemon.stop();
}

#[test]
fn a_server_that_comes_later_or_again_is_found() {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
        .to_string();
    let url = format!("http://127.0.0.1:{port}/sse");
    let daemon = daemon(with(json!({ "type": "sse", "url": url }))).start();
    let row = daemon.until_upstream("old", |row| row.state == UpstreamState::Degraded);
    assert!(row.last_exit.is_some(), "{row:#?}");
    for _ in 0..2 {
        let far = RemoteFixture::sse(&["--port", &port]);
        daemon.until_ready(&["old"]);
        assert_eq!(
            client(&daemon)
                .tool("echo", json!({ "message": "there" }))
                .text(),
            "there"
        );
        drop(far);
        daemon.until_upstream("old", |row| row.state != UpstreamState::Ready);
    }
    daemon.stop();
}

#[test]
fn what_is_no_event_stream_says_which_type_it_may_be() {
    let far = RemoteFixture::start(&["--era", "modern"]);
    let daemon = daemon(with(json!({ "type": "sse", "url": far.url }))).start();
    let row = daemon.until_upstream("old", |row| row.state == UpstreamState::Degraded);
    assert!(
        row.last_exit
            .as_deref()
            .is_some_and(|why| why.contains("HTTP 405") && why.contains("its type is \"http\"")),
        "{row:#?}"
    );
    daemon.stop();
}
