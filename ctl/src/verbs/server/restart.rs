//! `ggen mcp server restart`: the daemon does it and says how it goes.

use crate::{
    client::{Client, Next},
    context::Context,
    failed::{Exit, Failed},
};
use ggen_wire::control::{Body, Call};
use serde_json::json;
use std::time::Duration;

/// Replaces all workers, those of one role, or one upstream.
pub(crate) fn run(context: &mut Context, target: Option<String>) -> Result<Exit, Failed> {
    let heading = target.as_ref().map_or_else(
        || "Restarting MCP server...".to_owned(),
        |name| format!("Restarting {name}..."),
    );
    follow(
        context,
        &heading,
        &Call::Restart { target },
        "Restarted successfully",
    )
}

// Prints progress as it comes; the last reply is the outcome.
pub(crate) fn follow(
    context: &mut Context,
    heading: &str,
    call: &Call,
    done: &str,
) -> Result<Exit, Failed> {
    let client = context.client()?;
    follow_with(client, context, heading, call, done)
}

// The same by a client of one's own.
pub(crate) fn follow_with(
    mut client: Client,
    context: &mut Context,
    heading: &str,
    call: &Call,
    done: &str,
) -> Result<Exit, Failed> {
    context.out.say(heading)?;
    let timeout = context.timeout(Duration::from_secs(90));
    let mut progress = Vec::new();
    let mut wrong = None;
    let out = &mut context.out;
    client.stream(call, Some(timeout), &mut |body, _| {
        match body {
            Body::Done(line) => {
                if !line.is_empty() {
                    out.say(&format!("  {line}"))?;
                }
                progress.push(line);
            }
            other => wrong = Some(other),
        }
        Ok(Next::More)
    })?;
    if let Some(body) = wrong {
        return Err(client.unexpected(&body));
    }
    let outcome = progress.pop().unwrap_or_default();
    context
        .out
        .value(&json!({ "outcome": outcome, "progress": progress }))?;
    context.out.say(done)?;
    Ok(Exit::Ok)
}
