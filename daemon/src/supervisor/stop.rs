//! The way out: edges drain, then the gateway, then the servers end; nothing is left behind, and
//! the whole of it is bounded in time.

use crate::{
    ipc::messages::Role,
    platform,
    supervisor::{Supervisor, event::Reply, workers::Stage},
};
use ggen_wire::control::Body;
use nix::sys::signal::Signal;
use std::time::Duration;

/// On top of the drain's time-out, for the servers.
const ON_TOP: Duration = Duration::from_secs(5);
/// What a server may do after its stdin has closed, before SIGTERM.
const PATIENCE: Duration = Duration::from_secs(2);
/// What the kernel may need to end what was killed.
const LAST: Duration = Duration::from_secs(3);

/// How far the stop has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Step {
    /// Not stopping.
    #[default]
    No,
    /// Edge workers finish what is in flight.
    Edges,
    /// The gateway worker does.
    Gateway,
    /// The servers end.
    Upstreams,
    /// Everything is being killed.
    Killing,
    /// Nothing is left.
    Done,
}

/// The state of a stop.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    pub(crate) step: Step,
    drained_by: Duration,
    ended_by: Duration,
    watchers: Vec<Reply>,
    told: String,
}

impl Stop {
    /// Whether the daemon is on its way out.
    pub(crate) fn is_stopping(&self) -> bool {
        self.step != Step::No
    }

    /// Whether nothing is left to do.
    pub(crate) fn is_done(&self) -> bool {
        self.step == Step::Done
    }

    /// When something has to be done if nothing happens.
    pub(crate) fn deadline(&self, now: Duration) -> Option<Duration> {
        match self.step {
            Step::No | Step::Done => None,
            Step::Killing => Some(self.ended_by.min(now + Duration::from_millis(50))),
            // Ends of processes wake the loop; this is for the line of progress.
            _ => Some(self.ended_by.min(now + Duration::from_millis(250))),
        }
    }

    fn say(&mut self, text: String) {
        if text != self.told {
            self.watchers.retain(|watcher| !watcher.is_gone());
            self.watchers
                .iter()
                .for_each(|watcher| watcher.progress(Body::Done(text.clone())));
            self.told = text;
        }
    }
}

impl Supervisor {
    /// Begins the stop; `force`, or a second time: at once.
    pub(crate) fn begin_stop(&mut self, force: bool, watcher: Option<Reply>) {
        let now = self.now();
        self.stop.watchers.extend(watcher);
        if force || self.stop.is_stopping() {
            tracing::warn!(target: "mcp_server", "stopping at once");
            self.kill_everything();
        } else {
            tracing::info!(target: "mcp_server", event = "stopping", "stopping: draining");
            let limit = Duration::from_millis(self.loaded.config.server.drain_timeout_ms);
            (self.stop.drained_by, self.stop.ended_by) = (now + limit, now + limit + ON_TOP);
            self.stop.step = Step::Edges;
            self.service_manager.stopping(now);
            self.drain_edges(limit);
        }
        self.go_on_stopping();
    }

    fn drain_edges(&mut self, limit: Duration) {
        Role::ALL
            .into_iter()
            .filter(|role| role.is_edge())
            .for_each(|role| self.drain_role(role, limit));
    }

    fn drain_role(&mut self, role: Role, limit: Duration) {
        let ids: Vec<_> = self
            .workers
            .procs
            .iter()
            .filter(|(_, proc)| proc.role == role)
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            // One that does not serve yet has nothing to finish.
            let starting = self
                .workers
                .procs
                .get(&id)
                .is_some_and(|proc| proc.stage == Stage::Starting && proc.beat.seq == 0);
            self.drain_worker_within(id, if starting { Duration::ZERO } else { limit });
        }
    }

    /// Takes the next step if the one before is finished, or its time is up.
    pub(crate) fn go_on_stopping(&mut self) {
        let now = self.now();
        let live = |supervisor: &Self, role: Role| {
            supervisor
                .workers
                .procs
                .values()
                .filter(|proc| proc.role == role)
                .count()
        };
        let left = self
            .stop
            .drained_by
            .saturating_sub(now)
            .max(Duration::from_millis(500));
        if self.stop.step == Step::Edges {
            let edges = self
                .workers
                .procs
                .values()
                .filter(|proc| proc.role.is_edge())
                .count();
            let connections: u64 = self
                .workers
                .procs
                .values()
                .map(|proc| proc.beat.connections)
                .sum();
            if edges == 0 {
                self.stop.step = Step::Gateway;
                self.drain_role(Role::Gateway, left);
                self.drain_role(Role::Admin, left);
            } else {
                self.stop.say(if connections == 1 {
                    "1 connection draining".to_owned()
                } else {
                    format!("{connections} connections draining")
                });
            }
        }
        if self.stop.step == Step::Gateway {
            if live(self, Role::Gateway) + live(self, Role::Admin) == 0 {
                self.stop.step = Step::Upstreams;
                let shims: Vec<_> = self.shims.all.keys().copied().collect();
                shims
                    .into_iter()
                    .for_each(|shim| self.end_upstream_of(shim, PATIENCE, now));
            } else {
                self.stop.say("calls in flight finishing".to_owned());
            }
        }
        if self.stop.step == Step::Upstreams {
            let servers = self.shims.all.len();
            if servers == 0 {
                self.kill_everything();
            } else {
                self.stop.say(format!("{servers} servers ending"));
            }
        }
        self.service_manager.draining(&self.stop.told, now);
        if matches!(
            self.stop.step,
            Step::Edges | Step::Gateway | Step::Upstreams
        ) && now >= self.stop.ended_by
        {
            tracing::warn!(target: "mcp_server", "drain time is up");
            self.kill_everything();
        }
        if self.stop.step == Step::Killing {
            self.begin_sweep();
            if now >= self.stop.ended_by
                || (self.workers.procs.is_empty()
                    && self.shims.all.is_empty()
                    && self.remaining() == 0
                    && self.cgroups.is_quiet())
            {
                self.stop.step = Step::Done;
                tracing::info!(target: "mcp_server", event = "stopped", "stopped");
            }
        }
    }

    fn kill_everything(&mut self) {
        let now = self.now();
        if self.stop.step != Step::Killing {
            self.stop.step = Step::Killing;
            self.stop.ended_by = now + LAST;
            self.workers
                .procs
                .values()
                .for_each(|proc| platform::signal_process(proc.pid, Signal::SIGKILL));
            self.shims.kill_all(now);
        }
    }

    /// The last words to who asked for the stop.
    pub(crate) fn finish_stop(&mut self) {
        for watcher in std::mem::take(&mut self.stop.watchers) {
            watcher.last(Ok(Body::Done("stopped".to_owned())));
        }
    }
}
