//! Checks the worker processes: all run, send beats, and have descriptors left.

use crate::{
    platform,
    probe::{context::Context, report::finding::Finding},
};
use ggen_wire::text;
use ggen_wire::{
    Code,
    status::{Phase, Worker},
};
use std::time::Duration;

/// A worker that is silent for so long is one that the supervisor is about to replace.
const SILENT: u64 = 3000;
/// Share of the descriptors, in hundredths, that may be in use.
const SHARE: u64 = 80;

pub(super) fn workers(context: &Context) -> Vec<Finding> {
    let Some(status) = context.status() else {
        return vec![Finding::note("not tried: no daemon answers")];
    };
    let mut found: Vec<Finding> = status
        .workers
        .iter()
        .filter(|worker| worker.phase != Phase::Draining)
        .map(judge)
        .collect();
    if found.is_empty() {
        found.push(
            Finding::error(Code::TransportDegraded, "the daemon has no workers")
                .seen(format!("pid {}", status.pid))
                .help("ggen mcp server logs --level error --tail 20"),
        );
    }
    found
}

fn judge(worker: &Worker) -> Finding {
    let name = &worker.name;
    let last = worker
        .last_exit
        .as_ref()
        .map_or_else(String::new, |reason| format!(", last exit: {reason}"));
    let facts = format!(
        "{}, {} restarts{last}",
        worker.phase.as_str(),
        worker.restarts
    );
    let beat = text::took(Duration::from_millis(worker.beat_age_ms));
    let logs = "ggen mcp server logs --level error --tail 20";
    match (worker.phase, worker.pid) {
        (_, Some(pid)) if platform::is_stopped(pid) == Some(true) => {
            Finding::error(Code::WorkerHung, format!("worker {name} is stopped"))
                .seen(format!(
                    "pid {pid} has been stopped by a signal or a debugger, last beat {beat} ago"
                ))
                .help(format!("kill -CONT {pid}"))
        }
        (Phase::Failed, _) => Finding::error(
            Code::TransportDegraded,
            format!("worker {name} does not accept its configuration"),
        )
        .seen(facts)
        .help("ggen mcp server reload"),
        (Phase::Backoff, _) | (_, None) => {
            Finding::error(Code::WorkerDied, format!("worker {name} does not run"))
                .seen(facts)
                .help(logs)
        }
        (Phase::Degraded, _) => Finding::warning(
            Code::TransportDegraded,
            format!("worker {name} dies again and again"),
        )
        .seen(facts)
        .help(logs),
        (Phase::Running, Some(pid)) if worker.beat_age_ms >= SILENT => Finding::warning(
            Code::WorkerHung,
            format!("worker {name} gives no sign of life"),
        )
        .seen(format!("pid {pid}, last beat {beat} ago"))
        .help(format!("ggen mcp server restart --server {}", worker.role)),
        (_, Some(pid)) => {
            Finding::note(format!("{name}: pid {pid}, {facts}, last beat {beat} ago"))
        }
    }
}

pub(super) fn open_files(context: &Context) -> Vec<Finding> {
    let Some(status) = context.status() else {
        return vec![Finding::note("not tried: no daemon answers")];
    };
    let workers = status
        .workers
        .iter()
        .filter_map(|worker| Some((worker.name.as_str(), worker.pid?, worker.open_files)));
    let mut found = Vec::new();
    for (name, pid, told) in std::iter::once(("supervisor", status.pid, None)).chain(workers) {
        // Another user's process, or one that hides: not ours to see.
        let Some((open, most)) = platform::open_files(pid).or(told) else {
            continue;
        };
        if open.saturating_mul(100) >= most.saturating_mul(SHARE) {
            found.push(
                Finding::warning(
                    Code::FilesLimit,
                    format!("{name} has nearly as many files open as it may"),
                )
                .seen(format!("pid {pid}: {open} of {most} (RLIMIT_NOFILE)"))
                .help("ulimit -n 65536 && ggen mcp server stop && ggen mcp server start"),
            );
        } else {
            found.push(Finding::note(format!(
                "{name}: {open} of {most} files open"
            )));
        }
    }
    found
}

/// Whether workers have given up what they do not need.
pub(super) fn sandbox(context: &Context) -> Vec<Finding> {
    let Some(status) = context.status() else {
        return vec![Finding::note("not tried: no daemon answers")];
    };
    let mut found: Vec<Finding> = Vec::new();
    for worker in &status.workers {
        let Some(standing) = worker.sandbox.as_deref() else {
            continue;
        };
        let role = &worker.role;
        let finding = match standing {
            "full" => Finding::note(format!("{}: the sandbox stands", worker.name)),
            "off" => Finding::note(format!(
                "{}: no sandbox, as configured (server.sandbox)",
                worker.name
            )),
            _ => Finding::warning(
                Code::SandboxUnavailable,
                format!("the sandbox of the {role} workers is incomplete"),
            )
            .seen(standing)
            .help("uname -r; cat /sys/kernel/security/lsm"),
        };
        if !found.contains(&finding) {
            found.push(finding);
        }
    }
    if found.is_empty() {
        vec![Finding::note("the daemon does not tell")]
    } else {
        found
    }
}

/// Whether each server has a control group of its own. None is no fault: only a limit for a
/// server's whole family needs one, and such a server says so.
pub(super) fn cgroups(context: &Context) -> Vec<Finding> {
    let Some(status) = context.status() else {
        return vec![Finding::note("not tried: no daemon answers")];
    };
    let Some(found) = &status.cgroups else {
        return vec![Finding::note("the daemon does not tell")];
    };
    let reason = found
        .reason
        .as_deref()
        .unwrap_or("the daemon does not tell why");
    vec![Finding::note(match &found.place {
        None => format!("absent: {reason}"),
        Some(place) if found.controllers.is_empty() => {
            format!("ok: below {place}, without controllers")
        }
        Some(place) => format!("ok: below {place}, with {}", found.controllers.join(", ")),
    })]
}
