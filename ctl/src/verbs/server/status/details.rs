//! What `ggen mcp server status --verbose` adds: versions, upstreams, limits, slow operations.

use super::{optional, plain};
use crate::render::Out;
use ggen_wire::{
    status::{Cgroups, Phase, Status, Upstream},
    text,
};
use std::io;

/// Prints the details.
pub(super) fn show(out: &mut Out, status: &Status) -> io::Result<()> {
    out.line("\nDetails:")?;
    out.line(&format!("  Version: {}", status.version))?;
    let file = status
        .config_file
        .as_deref()
        .unwrap_or("none, built-in defaults");
    out.line(&format!(
        "  Config file: {file} (version {}, generation {})",
        status.config_version, status.generation
    ))?;
    out.line(&format!("  Tools: {}", status.tools))?;
    out.line(&format!("  Sessions: {}", status.sessions))?;
    out.line(&format!("  Calls in flight: {}", status.in_flight))?;
    for worker in &status.workers {
        let sandbox = worker
            .sandbox
            .as_ref()
            .map_or_else(String::new, |standing| format!(", sandbox {standing}"));
        out.line(&format!(
            "  Last beat of {}: {} ago{sandbox}",
            worker.name,
            text::duration_ms(worker.beat_age_ms)
        ))?;
    }
    for one in &status.upstreams {
        upstream(out, one)?;
    }
    if let Some(groups) = &status.cgroups {
        cgroups(out, groups)?;
    }
    log_levels(out, status)?;
    draining(out, status)?;
    if !status.limits.is_empty() {
        out.line("\nLimits:")?;
        for limit in &status.limits {
            out.line(&format!("  {}: {}", limit.name, limit.value))?;
        }
    }
    slow(out, status)
}

fn upstream(out: &mut Out, upstream: &Upstream) -> io::Result<()> {
    let server = upstream.server.as_deref().unwrap_or("unknown server");
    let protocol = upstream.protocol.as_deref().unwrap_or("no protocol yet");
    let next = upstream.next_start_ms.map_or_else(String::new, |ms| {
        format!(", next start in {}", text::duration_ms(ms))
    });
    let given = [
        (upstream.tools, "tool"),
        (upstream.prompts, "prompt"),
        (upstream.resources, "resource"),
    ];
    let given = given
        .map(|(number, noun)| text::count(number as usize, noun))
        .join(", ");
    let mut used = String::new();
    if upstream.processes > 0 {
        used = format!(
            ", {} process{}",
            upstream.processes,
            if upstream.processes == 1 { "" } else { "es" }
        );
    }
    if let Some(bytes) = upstream.memory_bytes {
        used.push_str(&format!(", {} in its control group", text::size(bytes)));
    }
    out.line(&format!(
        "  Upstream {}: {server}, {}, {protocol}, {given}, {} in flight{used}{next}",
        upstream.name, upstream.transport, upstream.in_flight
    ))
}

fn cgroups(out: &mut Out, cgroups: &Cgroups) -> io::Result<()> {
    let reason = cgroups
        .reason
        .as_deref()
        .unwrap_or("the daemon does not tell why");
    out.line(&match &cgroups.place {
        None => format!("  Control groups of servers: none, {reason}"),
        Some(place) if cgroups.controllers.is_empty() => {
            format!("  Control groups of servers: below {place}, without controllers")
        }
        Some(place) => format!(
            "  Control groups of servers: below {place}, with {}",
            cgroups.controllers.join(", ")
        ),
    })
}

fn log_levels(out: &mut Out, status: &Status) -> io::Result<()> {
    for held in &status.log_levels {
        let left = held.left_ms.map_or_else(
            || "while the daemon runs".to_owned(),
            |ms| format!("for another {}", text::duration_ms(ms)),
        );
        let level = format!("{:?}", held.level).to_lowercase();
        out.line(&format!(
            "  Log level of {}: {level}, {left}",
            held.category
        ))?;
    }
    Ok(())
}

fn draining(out: &mut Out, status: &Status) -> io::Result<()> {
    let draining: Vec<_> = status
        .workers
        .iter()
        .filter(|worker| worker.phase == Phase::Draining)
        .collect();
    if draining.is_empty() {
        out.line("  Draining generations: none")?;
    }
    for worker in draining {
        let connections = text::count(
            usize::try_from(worker.connections).unwrap_or(usize::MAX),
            "connection",
        );
        out.line(&format!(
            "  Draining generation {}: {} (pid {}), {connections}",
            worker.generation,
            worker.name,
            optional(worker.pid)
        ))?;
    }
    Ok(())
}

fn slow(out: &mut Out, status: &Status) -> io::Result<()> {
    let Some(slowest) = status.slow.first() else {
        return out.line("\nSlow operations: none");
    };
    let time = text::duration_ms(slowest.duration_ms);
    out.line(&format!(
        "\nSlow operations: {} (slowest: {} {time})",
        status.slow.len(),
        slowest.what
    ))?;
    let rows: Vec<_> = status
        .slow
        .iter()
        .map(|call| {
            vec![
                plain(&text::duration_ms(call.duration_ms)),
                plain(&call.what),
                plain(&call.upstream),
                plain(&text::time(call.ended_ms)),
            ]
        })
        .collect();
    out.table(&["DURATION", "CALL", "UPSTREAM", "ENDED"], &rows)
}
