//! Workers while they run: ready, beats, drains, hangs, and what is due by the clock.

use super::{Stage, Workers};
use crate::{
    ipc::messages::{Beat, Role, ToWorker},
    platform,
    supervisor::event::ProcId,
};
use ggen_wire::Code;
use nix::sys::signal::Signal;
use std::time::Duration;

/// Between SIGABRT and SIGKILL.
const ABORT_GRACE: Duration = Duration::from_secs(2);
/// How long a worker may outlive its drain's deadline.
const DRAIN_SLACK: Duration = Duration::from_secs(1);

/// A worker serves now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NowReady {
    /// Its slot's name.
    pub(crate) name: String,
    /// Its role.
    pub(crate) role: Role,
    /// The process whose place it has taken, and which is to drain.
    pub(crate) replaces: Option<ProcId>,
    /// Its slot belongs to a configuration that is not in force yet.
    pub(crate) prospective: bool,
}

impl Workers {
    /// A worker says that it serves. `None`: that is not news.
    pub(crate) fn ready(&mut self, id: ProcId, now: Duration) -> Option<NowReady> {
        let proc = self
            .procs
            .get_mut(&id)
            .filter(|proc| proc.stage == Stage::Starting)?;
        proc.stage = Stage::Ready;
        proc.heard(now);
        let mut ready = NowReady {
            name: proc.name.clone(),
            role: proc.role,
            replaces: None,
            prospective: false,
        };
        tracing::info!(target: "mcp_server", worker = %proc.name, pid = proc.pid, "worker ready");
        if let Some(slot) = self.slot_mut(&ready.name) {
            ready.prospective = slot.prospective;
            if slot.successor == Some(id) {
                ready.replaces = slot.current.replace(id);
                slot.successor = None;
                slot.life.started();
            }
            slot.life.ready(now);
        }
        Some(ready)
    }

    /// A beat. Its metrics have been taken out.
    pub(crate) fn beat(&mut self, id: ProcId, beat: Beat, now: Duration) {
        if let Some(proc) = self.procs.get_mut(&id) {
            if beat.shed > proc.beat.shed {
                proc.shed_at = Some(now);
            }
            proc.beat = beat;
            proc.heard(now);
        }
    }

    /// The supervisor itself did not run for so long: silence of workers says nothing.
    pub(crate) fn excuse(&mut self, late: Duration) {
        self.procs
            .values_mut()
            .for_each(|proc| proc.silence.excuse(late));
    }

    /// No worker could be heard until now.
    pub(crate) fn begin_listening(&mut self, now: Duration) {
        self.procs.values_mut().for_each(|proc| proc.heard(now));
    }

    /// Tells a worker to finish what it has within `limit`, and to exit.
    pub(crate) fn drain(&mut self, id: ProcId, limit: Duration, now: Duration) {
        let Some(proc) = self.procs.get_mut(&id).filter(|proc| proc.is_current()) else {
            return;
        };
        proc.stage = Stage::Draining(now + limit + DRAIN_SLACK);
        let deadline_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        if !proc.send(ToWorker::Drain { deadline_ms }, Vec::new()) {
            platform::signal_process(proc.pid, Signal::SIGKILL);
        }
    }

    /// Drains every worker of a role.
    pub(crate) fn drain_role(&mut self, role: Role, limit: Duration, now: Duration) {
        for id in self.ids(|proc| proc.role == role) {
            // A worker that does not serve yet has nothing to finish.
            let starting = self
                .proc(id)
                .is_some_and(|proc| proc.stage == Stage::Starting && proc.beat.seq == 0);
            self.drain(id, if starting { Duration::ZERO } else { limit }, now);
        }
    }

    /// Ends a worker that hangs: SIGABRT, because its memory may be of interest, and SIGKILL later.
    /// SIGCONT, because a stopped process would not even see the first.
    pub(crate) fn abort(&mut self, id: ProcId, why: &str, now: Duration) {
        let Some(proc) = self.procs.get_mut(&id).filter(|proc| proc.is_current()) else {
            return;
        };
        proc.stage = Stage::Aborted(now + ABORT_GRACE);
        tracing::error!(target: "mcp_server", code = %Code::WorkerHung, worker = %proc.name, pid = proc.pid, "{why}");
        platform::signal_process(proc.pid, Signal::SIGABRT);
        platform::signal_process(proc.pid, Signal::SIGCONT);
    }

    /// Kills every worker.
    pub(crate) fn kill_all(&self) {
        self.procs
            .values()
            .for_each(|proc| platform::signal_process(proc.pid, Signal::SIGKILL));
    }

    /// When something has to be done if nothing happens.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let procs = self.procs.values().filter_map(|proc| proc.deadline());
        let starts = self.slots.iter().filter_map(|slot| slot.start_at);
        procs.chain(starts).min()
    }

    /// Ends what hangs or is out of time. Returns the slots that are to be started now.
    pub(crate) fn on_time(&mut self, now: Duration) -> Vec<String> {
        let due = self.ids(|proc| proc.deadline().is_some_and(|deadline| deadline <= now));
        for id in due {
            self.end_late(id, now);
        }
        self.slots
            .iter()
            .filter(|slot| slot.start_at.is_some_and(|at| at <= now))
            .map(|slot| slot.name.clone())
            .collect()
    }

    fn end_late(&mut self, id: ProcId, now: Duration) {
        let Some(proc) = self.procs.get_mut(&id) else {
            return;
        };
        if proc.waits_for_processor(now) {
            return;
        }
        match proc.stage {
            Stage::Starting | Stage::Ready if proc.stuck => {
                self.abort(id, "worker does not read its control channel", now);
            }
            Stage::Starting | Stage::Ready => self.abort(id, "worker sends no beats", now),
            Stage::Draining(_) | Stage::Aborted(_) => {
                proc.stage = Stage::Killed;
                platform::signal_process(proc.pid, Signal::SIGKILL);
            }
            Stage::Killed => {}
        }
    }

    /// No slot is started any more.
    pub(crate) fn stop_starting(&mut self) {
        self.slots.iter_mut().for_each(|slot| slot.start_at = None);
    }

    /// A worker says how much of its sandbox is in force. What is missing is logged once, not at
    /// each start.
    pub(crate) fn sandboxed(&mut self, id: ProcId, state: String) {
        let Some(proc) = self.procs.get(&id) else {
            return;
        };
        let known = self
            .procs
            .values()
            .any(|other| other.role == proc.role && other.sandbox == state);
        if state.starts_with("partial") && !known {
            tracing::warn!(target: "mcp_server", code = %Code::SandboxUnavailable, worker = %proc.name, "sandbox of the {} workers is {state}", proc.role.as_str());
        }
        if let Some(proc) = self.procs.get_mut(&id) {
            proc.sandbox = state;
        }
    }
}
