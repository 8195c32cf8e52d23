//! `ggen mcp server log-level [CATEGORY=]LEVEL [--for TIME]`: changes what a running daemon logs.

use crate::{
    args::{LogLevel, parse_level},
    context::Context,
    failed::{Exit, Failed},
};
use ggen_wire::control::{Body, Call};
use serde_json::json;

/// Asks for the change; the daemon takes it back by itself.
pub(crate) fn run(context: &mut Context, wanted: &LogLevel) -> Result<Exit, Failed> {
    let (category, word) = match wanted.spec.split_once('=') {
        Some(("all", word)) => (None, word),
        Some((category, word)) => (Some(category.to_owned()), word),
        None => (None, wanted.spec.as_str()),
    };
    let level = parse_level(word);
    if level.is_none() && word != "default" {
        let message =
            format!("`{word}` is no level: expected error, warn, info, debug, trace, or default");
        return Err(Failed::plain(
            Exit::Usage,
            message,
            "ggen mcp server log-level tools=debug --for 10m",
        ));
    }
    let for_ms = wanted
        .time
        .map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    let mut client = context.client()?;
    match client.call(&Call::SetLogLevel {
        category,
        level,
        for_ms,
    })? {
        Body::Done(outcome) => {
            context.out.value(&json!({ "outcome": outcome }))?;
            context.out.say(&outcome)?;
            Ok(Exit::Ok)
        }
        other => Err(client.unexpected(&other)),
    }
}
