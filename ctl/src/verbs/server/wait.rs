//! `ggen mcp server wait`: returns when the daemon runs and every upstream is ready or known not to
//! be, so that other services can be ordered after it.

use crate::{
    client::Client,
    context::Context,
    failed::{Exit, Failed},
};
use ggen_wire::{
    control::{Body, Call},
    status::{Phase, UpstreamState},
};
use std::time::{Duration, Instant};

/// Waits at most `--timeout`, 60 s without it: for the socket, then for the daemon's own answer.
pub(crate) fn run(context: &mut Context) -> Result<Exit, Failed> {
    let deadline = Instant::now() + context.timeout(Duration::from_secs(60));
    let left = || deadline.saturating_duration_since(Instant::now());
    let mut client = loop {
        // The daemon keeps to the time it is given; a little more is for its answer to arrive.
        let answer_within = left() + Duration::from_secs(2);
        match Client::connect(&context.socket, answer_within, context.client_options()) {
            Err(failed) if failed.is_not_running() && !left().is_zero() => {
                crate::verbs::pause(Duration::from_millis(20))
            }
            other => break other?,
        }
    };
    let timeout_ms = left().as_millis() as u64;
    let status = match client.call(&Call::Wait { timeout_ms })? {
        Body::Status(status) => status,
        other => return Err(client.unexpected(&other)),
    };
    context.out.value(&status)?;
    let starting: Vec<&str> = status
        .upstreams
        .iter()
        .filter(|upstream| upstream.state == UpstreamState::Starting)
        .map(|upstream| upstream.name.as_str())
        .collect();
    let ready = status.phase == Phase::Running && starting.is_empty();
    let mut line = format!(
        "MCP server is {}",
        if ready {
            "ready"
        } else {
            status.phase.as_str()
        }
    );
    if !starting.is_empty() {
        line.push_str(&format!("; still starting: {}", starting.join(", ")));
    }
    context.out.say(&line)?;
    Ok(if ready { Exit::Ok } else { Exit::Bad })
}
