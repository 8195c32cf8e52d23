//! The end of a worker process, and when its slot gets another one.

use super::{Proc, Stage, Workers};
use crate::{
    ipc::messages::Role,
    platform::Ended,
    supervisor::{event::ProcId, metrics::WorkerExit, processes::restart_backoff::Next},
};
use ggen_wire::Code;
use std::time::Duration;

/// What the end of a worker process was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gone {
    /// Its slot's name.
    pub(crate) name: String,
    /// Its role.
    pub(crate) role: Role,
    /// How it ended, for the metrics.
    pub(crate) exit: WorkerExit,
    /// How it ended, for people.
    pub(crate) reason: String,
    /// What that means for its slot.
    pub(crate) place: Place,
}

/// Which part the process had in its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It served, or was about to; a successor that was loading has taken its place.
    Succeeded,
    /// It served, or was about to, and nobody has taken its place. The exit status, if any.
    Vacant(Option<i32>),
    /// It was to take over.
    Successor,
    /// It had left its slot already.
    Left,
}

/// When a slot gets its next process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Restart {
    /// It is planned.
    Planned,
    /// Not until a reload.
    Failed,
    /// The slot belongs to a configuration that is not in force: that one is refused.
    Refused,
    /// There is no such slot.
    None,
}

impl Workers {
    /// A process has been reaped. `None`: it was no worker.
    pub(crate) fn ended(&mut self, id: ProcId, ended: Ended, stopping: bool) -> Option<Gone> {
        let proc = self.procs.remove(&id)?;
        let asked = proc.is_draining() || stopping;
        let reason = match (proc.stage, ended) {
            (Stage::Aborted(_) | Stage::Killed, _) if !asked => format!("sent no beats, {ended}"),
            _ => ended.to_string(),
        };
        let place = self.vacate(id, &proc, ended, stopping);
        if asked {
            tracing::info!(target: "mcp_server", worker = %proc.name, pid = proc.pid, "worker has gone: {reason}");
        } else {
            tracing::error!(target: "mcp_server", code = %Code::WorkerDied, worker = %proc.name, pid = proc.pid, "worker died: {reason}");
        }
        Some(Gone {
            exit: exit_of(proc.stage, ended),
            name: proc.name,
            role: proc.role,
            reason,
            place,
        })
    }

    fn vacate(&mut self, id: ProcId, proc: &Proc, ended: Ended, stopping: bool) -> Place {
        let Some(slot) = self.slot_mut(&proc.name) else {
            return Place::Left;
        };
        if slot.successor == Some(id) {
            slot.successor = None;
            return Place::Successor;
        }
        if slot.current != Some(id) {
            return Place::Left;
        }
        slot.current = None;
        if !stopping && let Some(successor) = slot.successor.take() {
            // It died while its successor was loading.
            slot.current = Some(successor);
            slot.life.started();
            return Place::Succeeded;
        }
        Place::Vacant(match ended {
            Ended::Exited(status) => Some(status),
            Ended::Killed(_) => None,
        })
    }

    /// Decides when a slot is started again.
    pub(crate) fn plan_restart(
        &mut self,
        name: &str,
        reason: &str,
        status: Option<i32>,
        now: Duration,
        jitter: f64,
    ) -> Restart {
        let Some(slot) = self.slot_mut(name) else {
            return Restart::None;
        };
        if slot.prospective {
            return Restart::Refused;
        }
        slot.last_exit = Some(reason.to_owned());
        match slot.life.died(now, status, jitter) {
            Next::Now => slot.start_at = Some(now),
            Next::After(delay) => slot.start_at = Some(now + delay),
            Next::AtReload => slot.failed = true,
        }
        if slot.life.is_unwell(now) {
            tracing::error!(target: "transport", code = %Code::TransportDegraded, worker = name, "worker dies again and again; still tried");
        }
        if slot.failed {
            Restart::Failed
        } else {
            Restart::Planned
        }
    }
}

const fn exit_of(stage: Stage, ended: Ended) -> WorkerExit {
    match (stage, ended) {
        (Stage::Draining(_), _) => WorkerExit::Drained,
        (Stage::Aborted(_) | Stage::Killed, _) => WorkerExit::Hung,
        (_, Ended::Exited(_)) => WorkerExit::Exit,
        (_, Ended::Killed(_)) => WorkerExit::Signal,
    }
}
