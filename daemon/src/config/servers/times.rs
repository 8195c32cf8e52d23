//! The times of an entry. Each spelling has its own unit: `timeout` is in milliseconds as in Claude
//! Code and Gemini CLI, `tool_timeout_sec` in seconds as in Codex.

use super::{MAX_TIME, entry::Fields};
use crate::config::{check::LOW_TIMEOUT, files::position::Tree, problem::Severity};
use ggen_wire::Code;
use serde_json::Value;

/// Milliseconds in a second.
const SECOND: u64 = 1000;
/// More than anybody means in seconds: two hours and three quarters.
const HIGH_SECONDS: f64 = 10_000.0;

/// Spellings in milliseconds, then those in seconds.
type Spellings = (&'static [&'static str], &'static [&'static str]);

const CALL: Spellings = (
    &["timeout", "timeout_ms", "timeoutMs", "tool_timeout_ms"],
    &[
        "timeout_sec",
        "timeout_seconds",
        "timeoutSeconds",
        "tool_timeout_sec",
    ],
);
const STARTUP: Spellings = (
    &[
        "startup_timeout",
        "startup_timeout_ms",
        "startupTimeout",
        "startupTimeoutMs",
    ],
    &[
        "startup_timeout_sec",
        "startup_timeout_seconds",
        "startupTimeoutSeconds",
    ],
);

/// Time for one call, in milliseconds.
pub(super) fn call(fields: &mut Fields<'_>) -> Option<u64> {
    time(fields, CALL)
}

/// Time for the start, in milliseconds.
pub(super) fn startup(fields: &mut Fields<'_>) -> Option<u64> {
    time(fields, STARTUP)
}

fn time(fields: &mut Fields<'_>, (milliseconds, seconds): Spellings) -> Option<u64> {
    let all = [milliseconds, seconds].concat();
    let key = fields.spelt(&all);
    if seconds.contains(&key) {
        return in_seconds(fields, key);
    }
    let time = fields.number(key, 1, MAX_TIME)?;
    if time < LOW_TIMEOUT {
        let what = format!("is very low: {time} ms (milliseconds, not seconds)");
        let at = fields.at(key);
        fields.problem(Severity::Warning, Code::ConfigValue, key, at, what);
    }
    Some(time)
}

/// A number of seconds, which may have a fraction.
fn in_seconds(fields: &mut Fields<'_>, key: &'static str) -> Option<u64> {
    let member = fields.member(key)?;
    let at = member.node.at;
    let seconds = match &member.node.tree {
        Tree::Scalar(Value::Number(number)) => number.as_f64(),
        _ => None,
    };
    let most = (MAX_TIME / SECOND) as f64;
    let Some(seconds) = seconds.filter(|seconds| *seconds > 0.0 && *seconds <= most) else {
        let what = format!("expected a number of seconds up to {most}");
        fields.problem(Severity::Entry, Code::ConfigValue, key, at, what);
        return None;
    };
    if seconds >= HIGH_SECONDS {
        let what = format!("is very high: {seconds} s (seconds, not milliseconds)");
        fields.problem(Severity::Warning, Code::ConfigValue, key, at, what);
    }
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and a day"
    )]
    let time = (seconds * SECOND as f64).ceil() as u64;
    Some(time)
}
