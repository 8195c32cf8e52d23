//! The end of a worker process, and when its slot gets another one.

use crate::{
    ipc::messages::Role,
    platform::Ended,
    supervisor::{
        Supervisor, event::ProcId, metrics::WorkerExit, processes::restart_backoff::Next,
        workers::Stage,
    },
};
use ggen_wire::Code;

impl Supervisor {
    /// A worker process has been reaped.
    pub(crate) fn worker_ended(&mut self, id: ProcId, ended: Ended) {
        let Some(proc) = self.workers.procs.remove(&id) else {
            return;
        };
        let asked = matches!(proc.stage, Stage::Draining(_)) || self.stop.is_stopping();
        let reason = match (proc.stage, ended) {
            (Stage::Aborted(_) | Stage::Killed, _) if !asked => format!("sent no beats, {ended}"),
            _ => ended.to_string(),
        };
        self.metrics
            .worker_exit(proc.role, exit_of(proc.stage, ended));
        self.fail_questions_of(id);
        self.reconfigured(id, None);
        self.end_leases_of(id);
        let (mut was_current, mut was_successor) = (false, false);
        if let Some(slot) = self.workers.slot_mut(&proc.name) {
            was_current = slot.current == Some(id);
            was_successor = slot.successor == Some(id);
            slot.current = slot.current.filter(|current| *current != id);
            slot.successor = slot.successor.filter(|successor| *successor != id);
        }
        if asked {
            tracing::info!(target: "mcp_server", worker = %proc.name, pid = proc.pid, "worker has gone: {reason}");
        } else {
            tracing::error!(target: "mcp_server", code = %Code::WorkerDied, worker = %proc.name, pid = proc.pid, "worker died: {reason}");
        }
        if !self.stop.is_stopping() {
            if was_current {
                let status = if let Ended::Exited(status) = ended {
                    Some(status)
                } else {
                    None
                };
                let successor = self
                    .workers
                    .slot_mut(&proc.name)
                    .and_then(|slot| slot.successor.take());
                match successor {
                    // It died while its successor was loading: that one is the one now.
                    Some(successor) => {
                        if let Some(slot) = self.workers.slot_mut(&proc.name) {
                            slot.current = Some(successor);
                            slot.life.started();
                        }
                    }
                    None => self.plan_restart(&proc.name, &reason, status),
                }
            } else if was_successor {
                self.rolling_failed(&proc.name, &reason);
            }
        }
        if proc.role == Role::Quic {
            self.workers.steer(self.listeners.quic_port());
        }
        if proc.role == Role::Gateway {
            if was_current {
                // Its calls are lost, and its successor knows only the new entries.
                self.release_all();
            }
            self.deliver_children();
            if !self.stop.is_stopping() {
                self.roll_on();
            }
        }
    }

    /// Decides when a slot is started again.
    pub(crate) fn plan_restart(&mut self, name: &str, reason: &str, status: Option<i32>) {
        let (now, jitter) = (self.now(), self.jitter());
        let Some(slot) = self.workers.slot_mut(name) else {
            return;
        };
        if slot.prospective {
            return self.reload_failed(name, reason);
        }
        slot.last_exit = Some(reason.to_owned());
        let role = slot.role;
        match slot.life.died(now, status, jitter) {
            Next::Now => slot.start_at = Some(now),
            Next::After(delay) => slot.start_at = Some(now + delay),
            Next::AtReload => slot.failed = true,
        }
        if slot.life.is_unwell(now) {
            tracing::error!(target: "transport", code = %Code::TransportDegraded, worker = name, "worker dies again and again; still tried");
        }
        let failed = slot.failed;
        self.metrics.worker_restart(role);
        if failed
            && self
                .workers
                .rolling
                .front()
                .is_some_and(|front| front == name)
        {
            self.rolling_failed(name, reason);
        }
        self.workers_on_time(now);
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
