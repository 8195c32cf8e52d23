//! Workers while they run: Ready, beats, drains, hangs, and what is due by the clock.

use crate::{
    ipc::messages::{Beat, Role, ToWorker},
    platform,
    supervisor::{Supervisor, event::ProcId, workers::Stage},
};
use ggen_wire::Code;
use nix::sys::signal::Signal;
use std::time::Duration;

/// Between SIGABRT and SIGKILL.
const ABORT_GRACE: Duration = Duration::from_secs(2);
/// How long a worker may outlive its drain's deadline.
const DRAIN_SLACK: Duration = Duration::from_secs(1);

impl Supervisor {
    /// A worker says that it serves.
    pub(crate) fn worker_ready(&mut self, id: ProcId) {
        let now = self.now();
        let Some(proc) = self
            .workers
            .procs
            .get_mut(&id)
            .filter(|proc| proc.stage == Stage::Starting)
        else {
            return;
        };
        (proc.stage, proc.beat_at) = (Stage::Ready, now);
        let (name, pid, role) = (proc.name.clone(), proc.pid, proc.role);
        tracing::info!(target: "mcp_server", worker = %name, pid, "worker ready");
        let (mut old, mut prospective) = (None, false);
        if let Some(slot) = self.workers.slot_mut(&name) {
            prospective = slot.prospective;
            if slot.successor == Some(id) {
                old = slot.current.replace(id);
                slot.successor = None;
                slot.life.started();
            }
            slot.life.ready(now);
        }
        if let Some(old) = old {
            // First nobody new is sent to it, then it refuses who comes.
            self.workers.steer(self.listeners.quic_port());
            self.drain_worker(old);
        }
        if prospective {
            self.prepared(&name);
        }
        if self.workers.rolling.front() == Some(&name) {
            self.workers.rolling.pop_front();
            self.roll();
        }
        match role {
            Role::Gateway => self.deliver_children(),
            Role::Quic => self.workers.steer(self.listeners.quic_port()),
            _ => {}
        }
        self.link_handovers(id);
        self.announce_if_ready();
    }

    /// A beat.
    pub(crate) fn worker_beat(&mut self, id: ProcId, mut beat: Beat) {
        let now = self.now();
        let (metrics, slow) = (&mut beat.metrics, &mut beat.slow);
        self.metrics
            .beat(id, std::mem::take(metrics), std::mem::take(slow));
        self.keys.used(std::mem::take(&mut beat.used));
        if let Some(proc) = self.workers.procs.get_mut(&id) {
            proc.beat = beat;
            proc.beat_at = now;
        }
    }

    /// Tells a worker to finish what it has and go.
    pub(crate) fn drain_worker(&mut self, id: ProcId) {
        self.drain_worker_within(
            id,
            Duration::from_millis(self.loaded.config.server.drain_timeout_ms),
        );
    }

    /// The same with another time limit.
    pub(crate) fn drain_worker_within(&mut self, id: ProcId, limit: Duration) {
        let now = self.now();
        let Some(proc) = self
            .workers
            .procs
            .get_mut(&id)
            .filter(|proc| proc.is_current())
        else {
            return;
        };
        proc.stage = Stage::Draining(now + limit + DRAIN_SLACK);
        let (pid, deadline_ms) = (
            proc.pid,
            u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
        );
        if !self.tell(id, ToWorker::Drain { deadline_ms }, Vec::new()) {
            platform::signal_process(pid, Signal::SIGKILL);
        }
    }

    /// A worker hangs: its memory may be of interest (SIGABRT), its life is over (SIGKILL later).
    /// SIGCONT because a stopped process would not even see the first.
    pub(crate) fn abort_worker(&mut self, id: ProcId, why: &str) {
        let now = self.now();
        let Some(proc) = self
            .workers
            .procs
            .get_mut(&id)
            .filter(|proc| proc.is_current())
        else {
            return;
        };
        proc.stage = Stage::Aborted(now + ABORT_GRACE);
        tracing::error!(target: "mcp_server", code = %Code::WorkerHung, worker = %proc.name, pid = proc.pid, "{why}");
        platform::signal_process(proc.pid, Signal::SIGABRT);
        platform::signal_process(proc.pid, Signal::SIGCONT);
    }

    /// What is due by now.
    pub(crate) fn workers_on_time(&mut self, now: Duration) {
        let due: Vec<(ProcId, Stage)> = self
            .workers
            .procs
            .iter()
            .filter(|(_, proc)| proc.deadline().is_some_and(|deadline| deadline <= now))
            .map(|(id, proc)| (*id, proc.stage))
            .collect();
        for (id, stage) in due {
            match stage {
                Stage::Starting | Stage::Ready => self.abort_worker(id, "worker sends no beats"),
                Stage::Draining(_) | Stage::Aborted(_) => {
                    if let Some(proc) = self.workers.procs.get_mut(&id) {
                        proc.stage = Stage::Killed;
                        platform::signal_process(proc.pid, Signal::SIGKILL);
                    }
                }
                Stage::Killed => {}
            }
        }
        let start: Vec<String> = self
            .workers
            .slots
            .iter()
            .filter(|slot| slot.start_at.is_some_and(|at| at <= now))
            .map(|slot| slot.name.clone())
            .collect();
        for name in start {
            self.start_worker(&name, false);
        }
    }
}
