//! The end of a server: why it ended, and when it is started again.

use super::{
    Context, Effect, Upstreams,
    shims::Ended,
    upstream::{Phase, Upstream},
};
use crate::{
    ipc::launch::FromShim,
    platform,
    supervisor::{
        event::ShimId,
        metrics::UpstreamExit,
        processes::restart_backoff::{EX_CONFIG, Next},
    },
};
use ggen_wire::Code;
use nix::sys::signal::Signal;
use std::time::Duration;

/// Why a server's life is over.
struct Why {
    code: Code,
    reason: String,
    /// Its exit status, if that says anything.
    status: Option<i32>,
}

impl Upstreams {
    /// A shim has said its last word, or died without one. `last_line` is the line of
    /// its server's stderr that says why.
    pub(crate) fn shim_closed(
        &mut self,
        id: ShimId,
        last_line: &str,
        context: &mut Context<'_>,
    ) -> Vec<Effect> {
        let Some(ended) = self.shims.closed(id, context.now) else {
            return Vec::new();
        };
        let mut effects = Vec::new();
        // What the control group counted goes before anything else is said of this life.
        if let (Some(ms), Some(upstream)) = (ended.cpu_ms, self.by_shim(id)) {
            effects.push(Effect::CpuOfSharedChild(upstream.name.clone(), ms));
        }
        let was_killed = !matches!(
            ended.verdict,
            Some(FromShim::SpawnFailed { .. } | FromShim::Exited { .. })
        );
        if was_killed {
            effects.push(Effect::KillShim(ended.pid));
            if let Some(group) = ended.child {
                platform::signal_group(group, Signal::SIGKILL);
            }
        }
        let cpu_ms = ended.cpu_ms;
        effects.extend(self.gone(id, cpu_ms, why(ended, last_line), context));
        if was_killed {
            // Its server lives on as our child, with whatever it started.
            effects.push(Effect::FindLeftovers);
        }
        effects
    }

    /// A server's life is over, and nothing of it is left.
    fn gone(
        &mut self,
        shim: ShimId,
        cpu_ms: Option<u64>,
        why: Why,
        context: &mut Context<'_>,
    ) -> Vec<Effect> {
        let told = (why.code, why.reason.as_str());
        let leased = self
            .leases
            .ended(shim, cpu_ms, told, &mut self.shims, context);
        if let Some(effects) = leased {
            return effects;
        }
        let mut effects = Vec::new();
        let at = self
            .all
            .iter()
            .position(|upstream| upstream.shim() == Some(shim));
        if let Some(at) = at {
            effects = self.upstream_ended(at, why.code, &why.reason, why.status, context);
        }
        effects.extend(self.start_queued(context));
        effects.push(Effect::Changed);
        effects
    }

    /// The shared child of an upstream has ended, or could not be started.
    pub(super) fn upstream_ended(
        &mut self,
        at: usize,
        code: Code,
        reason: &str,
        status: Option<i32>,
        context: &mut Context<'_>,
    ) -> Vec<Effect> {
        let upstream = &mut self.all[at];
        let (code, reason) = match upstream.complaint.take() {
            Some((code, why)) => (code, format!("{why} ({reason})")),
            None => (code, reason.to_owned()),
        };
        let was_asked = matches!(upstream.phase, Phase::Ending(_)) && context.stopping;
        (upstream.pid, upstream.pipes) = (None, None);
        (upstream.report, upstream.handoff) = (None, None);
        upstream.drain_until = None;
        (upstream.code, upstream.last_exit) = (Some(code), Some(reason.clone()));
        if ended_at_probe(upstream, status, context) {
            tracing::info!(target: "tools", upstream = %upstream.name, "upstream has ended at the probe of its era: it is started again, and greeted with initialize");
            let told = self.tell_gone(at, code, &reason, Some(Duration::ZERO), context);
            return told.into_iter().collect();
        }
        let wait = wait(upstream, status, context);
        upstream.phase = wait.map_or(Phase::Stopped, |wait| Phase::Backoff(context.now + wait));
        log_end(upstream, code, &reason, wait, was_asked, context.now);
        let exited = Effect::Exited(upstream.name.clone(), UpstreamExit::of(code));
        let mut effects = vec![exited];
        effects.extend(self.tell_gone(at, code, &reason, wait, context));
        effects
    }
}

/// Whether an upstream has ended because it does not know the probe, which is no failure. It is
/// started again at once; the next time before it was ready is a failure.
fn ended_at_probe(upstream: &mut Upstream, status: Option<i32>, context: &Context<'_>) -> bool {
    let by_itself = status.is_some() && !context.stopping;
    let ended = std::mem::take(&mut upstream.probed) && !upstream.spared && by_itself;
    if ended {
        upstream.spared = true;
        (upstream.phase, upstream.at_once) = (Phase::Queued, true);
    }
    ended
}

/// In how long an upstream is started again that has just ended; `None`: not before a reload or a
/// request.
fn wait(
    upstream: &mut Upstream,
    status: Option<i32>,
    context: &mut Context<'_>,
) -> Option<Duration> {
    let next = upstream.life.died(context.now, status, (context.jitter)());
    let is_exhausted = upstream
        .config
        .max_restarts
        .is_some_and(|most| upstream.life.quick() > most);
    match next {
        _ if is_exhausted || context.stopping => None,
        Next::Now => Some(Duration::ZERO),
        Next::After(delay) => Some(delay),
        Next::AtReload => None,
    }
}

fn log_end(
    upstream: &Upstream,
    code: Code,
    reason: &str,
    wait: Option<Duration>,
    was_asked: bool,
    now: Duration,
) {
    let name = &upstream.name;
    if was_asked {
        tracing::info!(target: "tools", upstream = %name, "upstream has ended: {reason}");
        return;
    }
    let next = wait.map_or_else(
        || "not started again".to_owned(),
        |wait| format!("next start in {} ms", wait.as_millis()),
    );
    tracing::warn!(target: "tools", upstream = %name, code = %code, "upstream ended: {reason}; {next}");
    if upstream.life.is_unwell(now) {
        tracing::error!(target: "tools", upstream = %name, code = %Code::UpstreamCrashLoop, "upstream dies again and again; still tried");
    }
}

/// Why a server ended, from what its shim said last and the line of its stderr that says why.
fn why(ended: Ended, last_line: &str) -> Why {
    let Ended {
        verdict, starved, ..
    } = ended;
    let code = if starved.is_some() {
        Code::UpstreamOutOfMemory
    } else {
        Code::UpstreamExited
    };
    let (reason, status) = match verdict {
        Some(FromShim::SpawnFailed {
            missing,
            code,
            reason,
        }) => {
            let other = if missing {
                Code::CommandNotFound
            } else {
                Code::UpstreamExited
            };
            return Why {
                // A code of its own: it will not be better at the next try.
                status: code.map(|_| EX_CONFIG),
                code: code.unwrap_or(other),
                reason: format!("cannot be started: {reason}"),
            };
        }
        Some(FromShim::Exited {
            reason,
            status,
            swept,
        }) if swept > 0 => (
            format!("{reason}, {swept} left-over processes killed"),
            status,
        ),
        Some(FromShim::Exited { reason, status, .. }) => (reason, status),
        _ => ("its shim was killed".to_owned(), None),
    };
    let reason = match starved {
        Some(starved) => format!("{reason}; {starved}"),
        None => reason,
    };
    let reason = if last_line.is_empty() {
        reason
    } else {
        format!("{reason}: {last_line}")
    };
    Why {
        code,
        reason,
        status,
    }
}
