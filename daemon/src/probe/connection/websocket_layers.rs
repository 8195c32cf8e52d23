//! The layers of a WebSocket connection.

use super::{Outcome, connect};
use crate::probe::client::{http::Target, mcp, websocket};
use ggen_wire::text;
use std::time::{Duration, Instant};

/// A WebSocket, from the name on.
pub(super) fn run(outcome: &mut Outcome, target: &Target, limit: Duration) {
    if connect(outcome, target, limit).is_some() {
        above_connection(outcome, target, limit);
    }
}

/// What is above the connection.
pub(super) fn above_connection(outcome: &mut Outcome, target: &Target, limit: Duration) {
    let path = target.path.clone();
    let opened = outcome.run(
        "WebSocket",
        |_: &websocket::Client| format!("opened at {path}, subprotocol mcp"),
        || {
            let (address, _) = mcp::connect(
                target,
                &mcp::resolve(target, limit)?,
                Instant::now() + limit,
            )?;
            websocket::Client::open(target, address, Instant::now() + limit)
        },
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
