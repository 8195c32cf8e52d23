//! What the status shows of workers.

use super::{Proc, Slot, Stage, Workers};
use crate::ipc::messages::Role;
use ggen_wire::{
    Code,
    status::{Issue, Phase, Worker},
};
use std::time::Duration;

/// What the workers of one transport are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Service {
    /// Workers that serve.
    pub(crate) ready: u32,
    /// One of them dies again and again, or has been given up.
    pub(crate) unwell: bool,
}

impl Workers {
    /// A row for each process, and for each slot without one. `generation`: the one in force.
    pub(crate) fn rows(&self, generation: u32, now: Duration) -> Vec<Worker> {
        let mut rows = Vec::new();
        for slot in &self.slots {
            let own = || self.procs.values().filter(|proc| proc.name == slot.name);
            rows.extend(own().map(|proc| row(proc, Some(slot), now)));
            if !own().any(Proc::is_current) {
                rows.push(waiting_row(slot, generation));
            }
        }
        // Those whose slot is not configured any more drain.
        let without = self
            .procs
            .values()
            .filter(|proc| self.slot(&proc.name).is_none());
        rows.extend(without.map(|proc| row(proc, None, now)));
        rows
    }

    /// What is wrong with slots.
    pub(crate) fn issues(&self, now: Duration) -> Vec<Issue> {
        let issue = |slot: &Slot| {
            let reason = slot.last_exit.clone().unwrap_or_default();
            let (what, help) = if slot.failed {
                (
                    "does not accept its configuration",
                    "ggen mcp server reload",
                )
            } else if slot.life.is_unwell(now) {
                ("dies again and again", "ggen mcp server logs --level error")
            } else {
                return None;
            };
            Some(Issue {
                code: Code::TransportDegraded,
                message: format!("{} {what}: {reason}", slot.name),
                help: help.to_owned(),
            })
        };
        self.slots.iter().filter_map(issue).collect()
    }

    /// How the workers of a role serve.
    pub(crate) fn service(&self, role: Role, now: Duration) -> Service {
        let slots = || {
            self.slots
                .iter()
                .filter(move |slot| slot.role == role && !slot.prospective)
        };
        let ready = slots().filter(|slot| {
            self.current(slot)
                .is_some_and(|proc| proc.stage == Stage::Ready)
        });
        Service {
            ready: u32::try_from(ready.count()).unwrap_or(u32::MAX),
            unwell: slots().any(|slot| slot.failed || slot.life.is_unwell(now)),
        }
    }

    /// Open connections of all workers.
    pub(crate) fn connections(&self, is_it: impl Fn(&Proc) -> bool) -> u64 {
        self.procs
            .values()
            .filter(|proc| is_it(proc))
            .map(|proc| proc.beat.connections)
            .sum()
    }

    /// Calls in flight, as of the gateway's last beat.
    pub(crate) fn in_flight(&self) -> u32 {
        self.gateway_proc().map_or(0, |proc| {
            u32::try_from(proc.beat.in_flight).unwrap_or(u32::MAX)
        })
    }

    /// Calls in flight to one upstream, as of the gateway's last beat.
    pub(crate) fn calls_of(&self, upstream: &str) -> u32 {
        self.gateway_proc()
            .and_then(|proc| proc.beat.busy.iter().find(|(name, _)| name == upstream))
            .map_or(0, |(_, calls)| *calls)
    }

    /// Tools in the view of all.
    pub(crate) fn tools(&self) -> u32 {
        let tools = self.procs.values().map(|proc| proc.beat.tools);
        tools.max().unwrap_or(0)
    }

    /// Legacy sessions.
    pub(crate) fn sessions(&self) -> u32 {
        let sessions: u64 = self.procs.values().map(|proc| proc.beat.sessions).sum();
        u32::try_from(sessions).unwrap_or(u32::MAX)
    }

    fn gateway_proc(&self) -> Option<&Proc> {
        self.gateway().and_then(|id| self.procs.get(&id))
    }
}

fn row(proc: &Proc, slot: Option<&Slot>, now: Duration) -> Worker {
    let age = now.saturating_sub(proc.silence.since());
    Worker {
        name: proc.name.clone(),
        role: proc.role.as_str().to_owned(),
        pid: Some(proc.pid),
        generation: proc.generation,
        phase: match proc.stage {
            Stage::Starting => Phase::Starting,
            Stage::Ready if slot.is_some_and(|slot| slot.life.is_unwell(now)) => Phase::Degraded,
            Stage::Ready => Phase::Running,
            Stage::Draining(_) => Phase::Draining,
            Stage::Aborted(_) | Stage::Killed => Phase::Degraded,
        },
        restarts: slot.map_or(0, |slot| slot.restarts),
        sandbox: (!proc.sandbox.is_empty()).then(|| proc.sandbox.clone()),
        open_files: proc.beat.files,
        connections: proc.beat.connections,
        rss_bytes: proc.usage.rss_bytes,
        beat_age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
        last_exit: slot.and_then(|slot| slot.last_exit.clone()),
    }
}

fn waiting_row(slot: &Slot, generation: u32) -> Worker {
    Worker {
        name: slot.name.clone(),
        role: slot.role.as_str().to_owned(),
        pid: None,
        generation,
        phase: if slot.failed {
            Phase::Failed
        } else {
            Phase::Backoff
        },
        restarts: slot.restarts,
        sandbox: None,
        open_files: None,
        connections: 0,
        rss_bytes: 0,
        beat_age_ms: 0,
        last_exit: slot.last_exit.clone(),
    }
}
