//! Every child process that ends is reaped here, and what a killed shim left behind is found and
//! killed.

use crate::{
    platform::{self, Ended},
    supervisor::event::{ProcId, ShimId},
};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// How long after a shim's violent death its descendants are looked for.
const SWEEP: Duration = Duration::from_secs(10);
/// Between two looks while they are looked for.
const SWEEP_EVERY: Duration = Duration::from_millis(100);

/// What a child process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ChildKind {
    /// A worker.
    Worker(ProcId),
    /// A shim.
    Shim(ShimId),
    /// A binary that is to prove that it can take over.
    Check,
}

/// What is known about child processes that the supervisor did not start.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Strangers {
    /// They were children when the supervisor started (a shell's background jobs), or came while
    /// nothing of ours could have left them (the daemon is a container's process 1). They are
    /// reaped, never killed.
    foreign: BTreeSet<u32>,
    /// Until when unknown children are taken for what a shim left behind.
    sweep_until: Duration,
}

/// The child processes that have not been reaped.
#[derive(Debug, Default)]
pub(crate) struct Children {
    pids: BTreeMap<u32, ChildKind>,
    strangers: Strangers,
}

impl Children {
    /// Those that there are before anything is spawned.
    pub(crate) fn at_start() -> Self {
        let strangers = Strangers {
            foreign: platform::children().into_iter().collect(),
            sweep_until: Duration::ZERO,
        };
        Self {
            pids: BTreeMap::new(),
            strangers,
        }
    }

    /// Those of the binary before this one.
    pub(crate) fn restored(pids: Vec<(u32, ChildKind)>, strangers: Strangers) -> Self {
        Self {
            pids: pids.into_iter().collect(),
            strangers,
        }
    }

    /// What the next binary has to know.
    pub(crate) fn saved(&self) -> (Vec<(u32, ChildKind)>, Strangers) {
        let pids = self.pids.iter().map(|(pid, kind)| (*pid, *kind));
        (pids.collect(), self.strangers.clone())
    }

    /// A process has been started.
    pub(crate) fn add(&mut self, pid: u32, kind: ChildKind) {
        self.pids.insert(pid, kind);
    }

    /// Whether it has not been reaped yet.
    pub(crate) fn has(&self, pid: u32) -> bool {
        self.pids.contains_key(&pid)
    }

    /// Reaps what has ended.
    pub(crate) fn reap(&mut self, now: Duration) -> Vec<(ChildKind, Ended)> {
        let mut unknown = false;
        let mut reaped = Vec::new();
        while let Ok(Some((pid, ended))) = platform::reap(false) {
            match self.pids.remove(&pid) {
                Some(kind) => reaped.push((kind, ended)),
                None => unknown |= !self.strangers.foreign.remove(&pid),
            }
        }
        if unknown || now < self.strangers.sweep_until {
            self.sweep(now);
        }
        reaped
    }

    /// Kills children that are neither ours nor foreign, while there is reason to look for them.
    fn sweep(&self, now: Duration) {
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
    pub(crate) fn begin_sweep(&mut self, now: Duration) {
        self.strangers.sweep_until = now + SWEEP;
        self.sweep(now);
    }

    /// When to look again.
    pub(crate) fn deadline(&self, now: Duration) -> Option<Duration> {
        (now < self.strangers.sweep_until).then_some(now + SWEEP_EVERY)
    }

    /// Looks again, while there is reason to.
    pub(crate) fn on_time(&self, now: Duration) {
        self.sweep(now);
    }

    /// Children that appeared while nothing of ours was dying are not ours.
    pub(crate) fn note_foreign(&mut self, now: Duration) {
        if now >= self.strangers.sweep_until {
            let strangers = platform::children()
                .into_iter()
                .filter(|pid| !self.pids.contains_key(pid));
            self.strangers.foreign = strangers.collect();
        }
    }

    /// Number of children that have not ended, foreign ones aside.
    pub(crate) fn remaining(&self) -> usize {
        platform::children()
            .into_iter()
            .filter(|pid| !self.strangers.foreign.contains(pid))
            .count()
    }
}
