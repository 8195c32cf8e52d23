//! The layers of a WebSocket connection.

use super::{Outcome, connect, tls_handshake};
use crate::probe::client::{http::Target, mcp, stream::Stream, websocket};
use ggen_wire::text;
use std::time::{Duration, Instant};

/// A WebSocket, from the name on.
pub(super) fn run(outcome: &mut Outcome, target: &Target, limit: Duration) {
    let Some((_, socket)) = connect(outcome, target, limit) else {
        return;
    };
    if !target.tls {
        return above_stream(outcome, target, Stream::Plain(socket), limit);
    }
    let secure = outcome.run(
        "TLS",
        |(_, seen): &(_, String)| seen.clone(),
        || tls_handshake(socket, target, Instant::now() + limit),
    );
    if let Some((stream, _)) = secure {
        above_stream(outcome, target, stream, limit);
    }
}

/// What is above the connection, on a connection of its own.
pub(super) fn above_connection(outcome: &mut Outcome, target: &Target, limit: Duration) {
    let until = Instant::now() + limit;
    let connected = mcp::resolve(target, limit)
        .and_then(|addresses| mcp::connect(target, &addresses, until))
        .and_then(|(address, _)| Stream::open(target, address, until));
    match connected {
        Ok(stream) => above_stream(outcome, target, stream, limit),
        Err(fault) => {
            outcome.run("WebSocket", |(): &()| String::new(), || Err(fault));
        }
    }
}

fn above_stream(outcome: &mut Outcome, target: &Target, stream: Stream, limit: Duration) {
    let path = target.path.clone();
    let opened = outcome.run(
        "WebSocket",
        |_: &websocket::Client| format!("opened at {path}, subprotocol mcp"),
        || websocket::Client::open(target, stream, Instant::now() + limit),
    );
    let Some(mut client) = opened else { return };
    if outcome
        .run(
            "MCP over WebSocket",
            |version: &String| version.clone(),
            || client.handshake(),
        )
        .is_some()
    {
        outcome.run(
            "tools/list",
            |count: &usize| text::count(*count, "tool"),
            || client.tools(),
        );
    }
    client.close();
}
