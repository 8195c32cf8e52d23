//! Calls that take a while: the daemon sends lines of progress, and the last one is the outcome.

use crate::{
    client::{Client, Next},
    context::Context,
    failed::{Exit, Failed},
};
use ggen_wire::{
    control::{Body, Call},
    plan::Plan,
};
use serde_json::json;
use std::time::Duration;

/// What came before the end of the call.
#[derive(Default)]
pub(super) struct Progress {
    /// Lines; the last one is the outcome.
    pub(super) lines: Vec<String>,
    /// What a reload changes.
    pub(super) plan: Option<Plan>,
}

/// Calls, and collects what comes. Lines and plans are printed as they come; `silent`: lines are not.
pub(super) fn collect(
    client: &mut Client,
    context: &mut Context,
    call: &Call,
    silent: bool,
) -> Result<Progress, Failed> {
    let timeout = context.timeout(Duration::from_secs(90));
    let mut progress = Progress::default();
    let mut unexpected = None;
    let out = &mut context.out;
    client.stream(call, Some(timeout), &mut |body, _| {
        match body {
            Body::Plan(plan) => {
                for line in plan_lines(&plan) {
                    out.say(&format!("  {line}"))?;
                }
                progress.plan = Some(plan);
            }
            Body::Done(line) => {
                if !line.is_empty() && !silent {
                    out.say(&format!("  {line}"))?;
                }
                progress.lines.push(line);
            }
            other => unexpected = Some(other),
        }
        Ok(Next::More)
    })?;
    match unexpected {
        Some(body) => Err(client.unexpected(&body)),
        None => Ok(progress),
    }
}

/// Calls, prints progress as it comes, and ends with `done`.
pub(super) fn follow(
    mut client: Client,
    context: &mut Context,
    heading: &str,
    call: &Call,
    done: &str,
) -> Result<Exit, Failed> {
    context.out.say(heading)?;
    let Progress { mut lines, plan } = collect(&mut client, context, call, false)?;
    if let Some(plan) = plan {
        return Err(client.unexpected(&Body::Plan(plan)));
    }
    let outcome = lines.pop().unwrap_or_default();
    context
        .out
        .value(&json!({ "outcome": outcome, "progress": lines }))?;
    context.out.say(done)?;
    Ok(Exit::Ok)
}

fn plan_lines(plan: &Plan) -> Vec<String> {
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
