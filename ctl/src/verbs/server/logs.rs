//! `ggen mcp server logs`: the log lines of all processes; when the daemon is down, what a detached
//! one last wrote.

use crate::{
    args::Logs,
    client::{Client, Next},
    context::Context,
    daemon,
    failed::{Exit, Failed},
    render::{Out, Tone, note},
};
use ggen_wire::text;
use ggen_wire::{
    control::{Body, Call, LogQuery},
    log::{Level, LogLine},
    paths::Host,
};
use serde_json::json;
use std::io;

/// How many earlier lines `--follow` begins with.
const FOLLOW_TAIL: u32 = 10;

/// Asks the daemon, or reads the file.
pub(crate) fn run(context: &mut Context, logs: &Logs) -> Result<Exit, Failed> {
    match context.client() {
        Ok(client) => ask(context, client, logs),
        Err(failed) if failed.is_not_running() => read_file(context, logs, failed),
        Err(failed) => Err(failed),
    }
}

fn ask(context: &mut Context, mut client: Client, logs: &Logs) -> Result<Exit, Failed> {
    let query = LogQuery {
        tail: logs.tail.or(logs.follow.then_some(FOLLOW_TAIL)),
        follow: logs.follow,
        level: logs.level,
        category: logs.category.clone(),
        upstream: logs.upstream.clone(),
        call: logs.call.clone(),
        grep: logs.grep.clone(),
        since_ms: logs.since.map(|time| time.as_millis() as u64),
    };
    let call = Call::GetLogs(query);
    if !logs.follow {
        return match client.call(&call)? {
            Body::Lines(lines) => print(&mut context.out, &lines)
                .map(|()| Exit::Ok)
                .map_err(Into::into),
            other => Err(client.unexpected(&other)),
        };
    }
    let mut wrong = None;
    let out = &mut context.out;
    client.stream(&call, None, &mut |body, _| {
        match body {
            Body::Lines(lines) => print(out, &lines)?,
            other => {
                wrong = Some(other);
                return Ok(Next::Enough);
            }
        }
        Ok(Next::More)
    })?;
    wrong.map_or(Ok(Exit::Ok), |body| Err(client.unexpected(&body)))
}

fn print(out: &mut Out, lines: &[LogLine]) -> io::Result<()> {
    for line in lines {
        if out.json {
            out.record(line)?;
        } else {
            let shown = show(out, line);
            out.line(&shown)?;
        }
    }
    out.flush()
}

fn show(out: &Out, line: &LogLine) -> String {
    let (tone, level) = match line.level {
        Level::Error => (Tone::Bad, "ERROR"),
        Level::Warn => (Tone::Warn, " WARN"),
        Level::Info => (Tone::Good, " INFO"),
        Level::Debug => (Tone::Faint, "DEBUG"),
        Level::Trace => (Tone::Faint, "TRACE"),
    };
    let time = text::timestamp(line.at_us);
    let mut shown = format!(
        "{} {} {} {}: {}",
        out.tone(Tone::Faint, &time),
        out.tone(tone, level),
        line.category,
        line.source,
        line.message
    );
    if let Some(code) = line.code {
        shown.push_str(&format!(" [{code}]"));
    }
    for (name, value) in &line.fields {
        shown.push_str(&format!(" {name}={value}"));
    }
    shown
}

fn read_file(context: &mut Context, logs: &Logs, not_running: Failed) -> Result<Exit, Failed> {
    let path = Host::detached_log(&context.socket);
    if !path.is_file() {
        let message = format!(
            "{}; no log of an earlier detached start either ({})",
            not_running.message,
            path.display()
        );
        return Err(Failed {
            message,
            ..not_running
        });
    }
    if !context.out.quiet {
        note(&format!(
            "note: the daemon is not running; this is what it last wrote to {}",
            path.display()
        ));
        if logs.since.is_some() || logs.follow {
            note("note: --since and --follow do not apply to that file");
        }
    }
    let mut lines = daemon::written_since(&path, 0);
    lines.retain(|line| wanted(line, logs));
    let skipped = logs
        .tail
        .map_or(0, |tail| lines.len().saturating_sub(tail as usize));
    for line in &lines[skipped..] {
        if context.out.json {
            context
                .out
                .record(&json!({ "source": path, "message": line }))?;
        } else {
            context.out.line(line)?;
        }
    }
    Ok(Exit::Ok)
}

// A line of the daemon's console form is `TIME LEVEL CATEGORY SOURCE: …`; any other one has no
// level, so that only --grep applies to it.
fn wanted(line: &str, logs: &Logs) -> bool {
    let mut words = line.split_whitespace().skip(1);
    let level = words.next().and_then(crate::args::parse_level);
    let (category, source) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default().trim_end_matches(':'),
    );
    let by_head = level.is_none_or(|level| {
        logs.level.is_none_or(|most| level <= most)
            && logs
                .category
                .as_ref()
                .is_none_or(|wanted| category == wanted)
            && logs.upstream.as_ref().is_none_or(|wanted| source == wanted)
    });
    // Fields stand at the end of the line.
    let of_call = |id: &String| {
        ["request_id", "request", "trace_id"]
            .iter()
            .any(|field| line.split(' ').any(|word| word == format!("{field}={id}")))
    };
    by_head
        && logs.call.as_ref().is_none_or(of_call)
        && logs
            .grep
            .as_ref()
            .is_none_or(|part| line.to_lowercase().contains(&part.to_lowercase()))
}
