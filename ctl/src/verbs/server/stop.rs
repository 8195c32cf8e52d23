//! `ggen mcp server stop`: asks the daemon to drain and exit, prints progress, and returns when its
//! process is gone.

use crate::{
    client::Next,
    context::Context,
    failed::{Exit, Failed},
};
use ggen_wire::text;
use ggen_wire::{
    Code,
    control::{Body, Call},
};
use nix::{errno::Errno, sys::signal::kill, unistd::Pid};
use serde_json::json;
use std::time::{Duration, Instant};

/// Stops. A daemon that does not run is stopped already: exit code 0.
pub(crate) fn run(context: &mut Context, force: bool) -> Result<Exit, Failed> {
    let mut client = match context.client() {
        Err(failed) if failed.is_not_running() => {
            context
                .out
                .value(&json!({ "phase": "stopped", "was_running": false }))?;
            context.out.say("MCP server is not running")?;
            return Ok(Exit::Ok);
        }
        other => other?,
    };
    let pid = client.status()?.pid;
    context.out.say("Stopping MCP server...")?;
    let timeout = context.timeout(Duration::from_secs(if force { 15 } else { 90 }));
    let deadline = Instant::now() + timeout;
    let mut progress = Vec::new();
    let out = &mut context.out;
    let outcome = client.stream(
        &Call::Stop {
            force,
            target: None,
        },
        Some(timeout),
        &mut |body, continues| {
            if let (Body::Done(line), true) = (body, continues) {
                out.say(&format!("  {line}"))?;
                progress.push(line);
            }
            Ok(Next::More)
        },
    );
    // A daemon that exits closes the connection; whether it is gone decides, unless it said no.
    if let Err(failed) = outcome
        && (failed.code.as_deref() != Some(Code::ControlProtocol.as_str()) || failed.silent)
    {
        return Err(failed);
    }
    while alive(pid) {
        if Instant::now() >= deadline {
            let message = format!(
                "the daemon (pid {pid}) is still running after {}",
                text::duration_ms(timeout.as_millis() as u64)
            );
            let help = if force {
                format!("kill -9 {pid}")
            } else {
                "ggen mcp server stop --force".to_owned()
            };
            return Err(Failed::plain(Exit::Bad, message, help));
        }
        crate::verbs::pause(Duration::from_millis(5));
    }
    context.out.value(
        &json!({ "phase": "stopped", "was_running": true, "pid": pid, "progress": progress }),
    )?;
    context.out.say("Stopped successfully")?;
    Ok(Exit::Ok)
}

/// Stops one transport or upstream of a daemon that goes on.
pub(crate) fn one(context: &mut Context, name: String) -> Result<Exit, Failed> {
    let heading = format!("Stopping {name}...");
    super::progress::follow(
        context.client()?,
        context,
        &heading,
        &Call::Stop {
            force: false,
            target: Some(name),
        },
        "Stopped successfully",
    )
}

// A dead process that nobody has reaped yet is gone as far as its work goes.
fn alive(pid: u32) -> bool {
    let Some(pid) = i32::try_from(pid).ok().filter(|pid| *pid > 0) else {
        return false;
    };
    if kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH) {
        return false;
    }
    // The state follows the name, which is in parentheses and may hold anything (proc_pid_stat(5)).
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat
        .rsplit_once(')')
        .is_some_and(|(_, rest)| rest.trim_start().starts_with(['Z', 'X']))
}
