//! `ggen mcp server reload`: the daemon reads its configuration again, says what changes, and reports
//! progress.

use super::progress::{self, Progress};
use crate::{
    context::Context,
    failed::{Exit, Failed},
};
use ggen_wire::{control::Call, plan::not_ready};
use serde_json::json;

/// Reloads, or only checks (`validate`), or only shows what would happen (`plan`).
pub(crate) fn run(context: &mut Context, validate: bool, plan: bool) -> Result<Exit, Failed> {
    let mut client = context.client()?;
    let (heading, done) = match (validate, plan) {
        (true, _) => ("Checking configuration...", "Configuration is valid!"),
        (_, true) => ("Comparing configuration...", ""),
        _ => ("Reloading configuration...", "Reloaded successfully"),
    };
    context.out.say(heading)?;
    let call = Call::Reload {
        plan_only: plan,
        validate_only: validate,
    };
    let Progress {
        mut lines,
        plan: changes,
    } = progress::collect(&mut client, context, &call, validate)?;
    let outcome = lines.pop();
    if validate {
        for warning in &lines {
            context.out.say(&format!("  ! Warning: {warning}"))?;
        }
    }
    if plan {
        context.out.value(&changes.unwrap_or_default())?;
        return Ok(Exit::Ok);
    }
    let outcome = outcome.unwrap_or_default();
    context
        .out
        .value(&json!({ "outcome": outcome, "progress": lines, "plan": changes }))?;
    match not_ready(&outcome) {
        Some(names) => {
            context
                .out
                .say(&format!("Reloaded, but not ready: {names}"))?;
            context.out.say("help: ggen mcp server status --verbose")?;
        }
        None => context.out.say(done)?,
    }
    Ok(Exit::Ok)
}
