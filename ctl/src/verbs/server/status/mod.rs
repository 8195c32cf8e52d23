//! `ggen mcp server status`: whether the daemon runs, where, and the state of its parts. The exit
//! code is the answer: 0 running, 1 not well, 3 stopped.

mod details;

use crate::{
    context::Context,
    failed::{Exit, Failed},
    metrics,
    render::{Out, Tone, error_value},
};
use ggen_wire::text;
use ggen_wire::{
    control::{Body, Call},
    status::{Issue, Phase, Status, UpstreamState},
};
use serde_json::json;
use std::io;

/// The status itself.
pub(crate) fn run(context: &mut Context) -> Result<Exit, Failed> {
    let status = match context.client().and_then(|mut client| client.status()) {
        Err(failed) if failed.is_not_running() => return stopped(context, &failed),
        other => other?,
    };
    let exit = if status.phase == Phase::Running {
        Exit::Ok
    } else {
        Exit::Bad
    };
    context.out.value(&status)?;
    if !context.out.quiet && !context.out.json {
        head(&mut context.out, &status)?;
        parts(&mut context.out, &status)?;
        if context.out.verbose {
            details::show(&mut context.out, &status)?;
        }
        issues(&mut context.out, &status)?;
    }
    Ok(exit)
}

/// `--metrics`: JSON into a pipe, a table on a terminal.
pub(crate) fn metrics(context: &mut Context) -> Result<Exit, Failed> {
    let mut client = context.client()?;
    let families = match client.call(&Call::GetMetrics {})? {
        Body::Text(text) => metrics::parse(&text),
        other => return Err(client.unexpected(&other)),
    };
    let out = &mut context.out;
    if out.json || !out.terminal {
        out.raw(&json!({ "metrics": families }))?;
        return Ok(Exit::Ok);
    }
    let mut rows = Vec::new();
    for sample in families
        .iter()
        .flat_map(|family| &family.samples)
        .filter(|sample| !sample.name.ends_with("_bucket"))
    {
        let labels: Vec<String> = sample
            .labels
            .iter()
            .map(|(label, value)| format!("{label}={value}"))
            .collect();
        rows.push(vec![
            plain(&sample.name),
            plain(&labels.join(" ")),
            plain(&sample.value.to_string()),
        ]);
    }
    out.table(&["METRIC", "LABELS", "VALUE"], &rows)?;
    Ok(Exit::Ok)
}

fn stopped(context: &mut Context, failed: &Failed) -> Result<Exit, Failed> {
    let mut value = error_value(failed);
    value["phase"] = json!("stopped");
    value["socket"] = json!(context.socket);
    let out = &mut context.out;
    out.value(&value)?;
    out.say(&format!(
        "MCP Server Status: {}",
        out.tone(Tone::Bad, "Stopped")
    ))?;
    out.say(&format!("  Socket: {}", context.socket.display()))?;
    out.say(&format!("\nStart it with: {}", failed.help))?;
    Ok(Exit::NotRunning)
}

fn head(out: &mut Out, status: &Status) -> io::Result<()> {
    let (tone, word) = phase(status.phase);
    let listener = crate::verbs::front(status);
    let mut capital = word.to_owned();
    capital[..1].make_ascii_uppercase();
    out.line(&format!("MCP Server Status: {}", out.tone(tone, &capital)))?;
    out.line(&format!("  PID: {}", status.pid))?;
    out.line(&format!("  Uptime: {}", text::uptime(status.uptime_ms)))?;
    out.line(&format!(
        "  Address: {}",
        crate::verbs::front_addresses(status).unwrap_or_else(|| "none".to_owned())
    ))?;
    out.line(&format!(
        "  Port: {}",
        listener.map_or_else(|| "none".to_owned(), |listener| listener.port.to_string())
    ))?;
    out.line(&format!("  Started: {}", text::time(status.started_ms)))
}

/// Tables of transports, workers and upstreams.
fn parts(out: &mut Out, status: &Status) -> io::Result<()> {
    if !status.listeners.is_empty() {
        transports(out, status)?;
    }
    if !status.workers.is_empty() {
        workers(out, status)?;
    }
    if !status.upstreams.is_empty() {
        upstreams(out, status)?;
    }
    Ok(())
}

fn transports(out: &mut Out, status: &Status) -> io::Result<()> {
    out.line("\nTransports:")?;
    let mut rows: Vec<_> = status
        .listeners
        .iter()
        .map(|one| {
            vec![
                plain(&one.transport),
                plain(&one.address),
                plain(&one.origin),
            ]
        })
        .collect();
    let away = status.transports.iter().filter(|one| {
        matches!(one.phase, Phase::Stopped | Phase::Degraded) && one.address.is_none()
    });
    rows.extend(away.map(|one| {
        vec![
            plain(&one.name),
            plain("-"),
            (phase(one.phase).0, one.phase.as_str().to_owned()),
        ]
    }));
    out.table(&["NAME", "ADDRESS", "SOCKET"], &rows)
}

fn workers(out: &mut Out, status: &Status) -> io::Result<()> {
    out.line("\nWorkers:")?;
    let row = |worker: &ggen_wire::status::Worker| {
        let (tone, word) = phase(worker.phase);
        vec![
            plain(&worker.name),
            plain(&optional(worker.pid)),
            (tone, word.to_owned()),
            plain(&worker.generation.to_string()),
            plain(&worker.restarts.to_string()),
            plain(&worker.connections.to_string()),
            plain(&text::size(worker.rss_bytes)),
            (Tone::Faint, worker.last_exit.clone().unwrap_or_default()),
        ]
    };
    let rows: Vec<_> = status.workers.iter().map(row).collect();
    out.table(
        &[
            "NAME",
            "PID",
            "STATE",
            "GENERATION",
            "RESTARTS",
            "CONNECTIONS",
            "MEMORY",
            "LAST EXIT",
        ],
        &rows,
    )
}

fn upstreams(out: &mut Out, status: &Status) -> io::Result<()> {
    out.line("\nUpstreams:")?;
    let row = |upstream: &ggen_wire::status::Upstream| {
        vec![
            plain(&upstream.name),
            (state_tone(upstream.state), upstream.state_text()),
            plain(&match upstream.children {
                0 => optional(upstream.pid),
                children => format!("{} +{children}", optional(upstream.pid)),
            }),
            plain(upstream.era.as_deref().unwrap_or("-")),
            plain(&upstream.tools.to_string()),
            plain(&upstream.restarts.to_string()),
            plain(&text::size(upstream.rss_bytes)),
            (
                Tone::Faint,
                said(upstream).map_or_else(String::new, text::line),
            ),
        ]
    };
    let rows: Vec<_> = status.upstreams.iter().map(row).collect();
    out.table(
        &[
            "NAME",
            "STATE",
            "PID",
            "ERA",
            "TOOLS",
            "RESTARTS",
            "MEMORY",
            "LAST EXIT",
        ],
        &rows,
    )
}

/// While it starts, what it says of that; otherwise why it ended last.
fn said(upstream: &ggen_wire::status::Upstream) -> Option<&str> {
    let line = upstream.last_line.as_ref();
    line.filter(|_| upstream.starting_ms.is_some())
        .or(upstream.last_exit.as_ref())
        .map(String::as_str)
}

fn issues(out: &mut Out, status: &Status) -> io::Result<()> {
    findings(out, "Issues", Tone::Bad, &status.issues)?;
    findings(out, "Warnings", Tone::Warn, &status.warnings)
}

fn findings(out: &mut Out, title: &str, tone: Tone, found: &[Issue]) -> io::Result<()> {
    if found.is_empty() {
        return Ok(());
    }
    out.line(&format!("\n{title}:"))?;
    for issue in found {
        out.line(&format!(
            "  {} {}: {}",
            out.tone(tone, tone.mark()),
            issue.code,
            issue.message
        ))?;
        if !issue.help.is_empty() {
            out.line(&format!("    help: {}", issue.help))?;
        }
    }
    Ok(())
}

const fn phase(phase: Phase) -> (Tone, &'static str) {
    let tone = match phase {
        Phase::Running => Tone::Good,
        Phase::Starting | Phase::Degraded | Phase::Draining => Tone::Warn,
        Phase::Backoff | Phase::Failed | Phase::Stopped => Tone::Bad,
    };
    (tone, phase.as_str())
}

const fn state_tone(state: UpstreamState) -> Tone {
    match state {
        UpstreamState::Ready => Tone::Good,
        UpstreamState::Starting | UpstreamState::Degraded => Tone::Warn,
        UpstreamState::CrashLoop | UpstreamState::Stopped => Tone::Bad,
        UpstreamState::Disabled => Tone::Faint,
    }
}

fn plain(text: &str) -> (Tone, String) {
    (Tone::Plain, text.to_owned())
}

fn optional(number: Option<u32>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}
