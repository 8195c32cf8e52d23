//! Every child that ends is reaped here, whoever started it; and whatever a killed shim left behind
//! is found and killed.

use crate::{
    ipc::launch::FromShim,
    platform,
    supervisor::{Supervisor, event::ProcId, upstreams::shims::ShimId},
};
use ggen_wire::Code;
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// How long after a shim's violent death its descendants are looked for.
const SWEEP: Duration = Duration::from_secs(10);

/// What a child process is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ChildKind {
    /// A worker.
    Worker(ProcId),
    /// A shim.
    Shim(ShimId),
    /// A binary that is to prove that it can take over.
    Check,
}

/// Our children that have not been reaped.
pub(crate) type Pids = BTreeMap<u32, ChildKind>;

/// What is known about processes that are our children without being ours.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Strangers {
    /// They were our children when we started (a shell's background jobs), or came while nothing of
    /// ours could have left them (we are a container's process 1). They are reaped, never killed.
    foreign: BTreeSet<u32>,
    /// Until when unknown children are taken for what a shim left behind.
    sweep_until: Duration,
}

impl Strangers {
    /// To be called before anything is spawned.
    pub(crate) fn at_start() -> Self {
        Self {
            foreign: platform::children().into_iter().collect(),
            sweep_until: Duration::ZERO,
        }
    }

    /// When to look again.
    pub(crate) fn deadline(&self, now: Duration) -> Option<Duration> {
        (now < self.sweep_until).then_some(now + Duration::from_millis(100))
    }
}

impl Supervisor {
    /// Reaps what has ended.
    pub(crate) fn reap(&mut self) {
        let mut unknown = false;
        while let Ok(Some((pid, ended))) = platform::reap(false) {
            match self.pids.remove(&pid) {
                Some(ChildKind::Worker(id)) => self.worker_ended(id, ended),
                // What it means is decided when its channel has been read to the end.
                Some(ChildKind::Shim(_)) => {}
                Some(ChildKind::Check) => self.upgrade_checked(ended),
                None => unknown |= !self.strangers.foreign.remove(&pid),
            }
        }
        if unknown || self.now() < self.strangers.sweep_until {
            self.sweep();
        }
    }

    /// Kills our children that are neither ours nor foreign, while there is reason to look for
    /// them.
    pub(crate) fn sweep(&mut self) {
        let now = self.now();
        if now >= self.strangers.sweep_until {
            return;
        }
        for pid in platform::children() {
            if !self.pids.contains_key(&pid) && !self.strangers.foreign.contains(&pid) {
                tracing::debug!(target: "tools", pid, "killing what an upstream left behind");
                platform::signal_process(pid, Signal::SIGKILL);
            }
        }
    }

    /// Looks for leftovers from now on.
    pub(crate) fn begin_sweep(&mut self) {
        self.strangers.sweep_until = self.now() + SWEEP;
        self.sweep();
    }

    /// Children that appeared while nothing of ours was dying are somebody else's.
    pub(crate) fn note_foreign(&mut self) {
        if self.now() >= self.strangers.sweep_until {
            let strangers = platform::children()
                .into_iter()
                .filter(|pid| !self.pids.contains_key(pid));
            self.strangers.foreign = strangers.collect();
        }
    }

    /// Our children that have not ended, foreign ones aside.
    pub(crate) fn remaining(&self) -> usize {
        platform::children()
            .into_iter()
            .filter(|pid| !self.strangers.foreign.contains(pid))
            .count()
    }

    /// A shim has said its last word, or died without one.
    pub(crate) fn shim_closed(&mut self, id: ShimId, last_line: &str) {
        let Some(mut shim) = self.shims.all.remove(&id) else {
            return;
        };
        let starved = shim
            .group
            .take()
            .and_then(|group| self.end_cgroup(id, group, shim.killed_for_memory));
        let code = if starved.is_some() {
            Code::UpstreamOutOfMemory
        } else {
            Code::UpstreamExited
        };
        let why = |reason: String| {
            starved
                .as_ref()
                .map_or_else(|| reason.clone(), |starved| format!("{reason}; {starved}"))
        };
        let words = |reason: String| {
            if last_line.is_empty() {
                reason
            } else {
                format!("{reason}: {last_line}")
            }
        };
        match shim.verdict {
            Some(FromShim::SpawnFailed {
                missing,
                code,
                reason,
            }) => {
                let status = code.map(|_| crate::supervisor::processes::restart_backoff::EX_CONFIG);
                let code = code.unwrap_or(if missing {
                    Code::CommandNotFound
                } else {
                    Code::UpstreamExited
                });
                self.upstream_gone(id, code, &format!("cannot be started: {reason}"), status);
            }
            Some(FromShim::Exited {
                reason,
                status,
                swept,
            }) => {
                let leftovers = if swept > 0 {
                    format!(", {swept} left-over processes killed")
                } else {
                    String::new()
                };
                self.upstream_gone(
                    id,
                    code,
                    &words(why(format!("{reason}{leftovers}"))),
                    status,
                );
            }
            _ => {
                // It was killed. Its server lives on as our child, with whatever it started.
                if self.pids.contains_key(&shim.pid) {
                    platform::signal_process(shim.pid, Signal::SIGKILL);
                }
                if let Some(group) = shim.child {
                    platform::signal_group(group, Signal::SIGKILL);
                }
                self.begin_sweep();
                self.upstream_gone(
                    id,
                    code,
                    &words(why("its shim was killed".to_owned())),
                    None,
                );
            }
        }
    }
}
