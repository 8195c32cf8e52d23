//! `ggen mcp server reload`: the daemon reads its configuration again, says what that takes, and
//! how it went.

use crate::{
    client::Next,
    context::Context,
    failed::{Exit, Failed},
};
use ggen_wire::{
    control::{Body, Call},
    plan::Plan,
};
use serde_json::json;
use std::time::Duration;

/// Reloads, or only checks (`validate`), or only shows what would happen (`plan`).
pub(crate) fn run(context: &mut Context, validate: bool, plan: bool) -> Result<Exit, Failed> {
    let mut client = context.client()?;
    let (heading, done) = match (validate, plan) {
        (true, _) => ("Checking configuration...", "Configuration is valid!"),
        (_, true) => ("Comparing configuration...", ""),
        _ => ("Reloading configuration...", "Reloaded successfully"),
    };
    context.out.say(heading)?;
    let timeout = context.timeout(Duration::from_secs(90));
    let (mut changes, mut progress, mut wrong) = (None, Vec::new(), None);
    let out = &mut context.out;
    client.stream(
        &Call::Reload {
            plan_only: plan,
            validate_only: validate,
        },
        Some(timeout),
        &mut |body, _| {
            match body {
                Body::Plan(found) => {
                    for line in lines(&found) {
                        out.say(&format!("  {line}"))?;
                    }
                    changes = Some(found);
                }
                Body::Done(line) => {
                    if !line.is_empty() && !validate {
                        out.say(&format!("  {line}"))?;
                    }
                    progress.push(line);
                }
                other => wrong = Some(other),
            }
            Ok(Next::More)
        },
    )?;
    if let Some(body) = wrong {
        return Err(client.unexpected(&body));
    }
    let outcome = progress.pop();
    if validate {
        for warning in &progress {
            context.out.say(&format!("  ! Warning: {warning}"))?;
        }
    }
    if plan {
        context.out.value(&changes.unwrap_or_default())?;
        return Ok(Exit::Ok);
    }
    context.out.value(
        &json!({ "outcome": outcome.unwrap_or_default(), "progress": progress, "plan": changes }),
    )?;
    context.out.say(done)?;
    Ok(Exit::Ok)
}

fn lines(plan: &Plan) -> Vec<String> {
    if plan.changes.is_empty() {
        return vec![format!(
            "no change, generation {} stays in force",
            plan.generation
        )];
    }
    plan.changes
        .iter()
        .map(ggen_wire::plan::Change::line)
        .collect()
}
