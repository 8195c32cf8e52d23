//! The way out: edges drain, then the gateway, then the servers end; nothing is left behind, and
//! the whole of it is bounded in time.

use super::{Supervisor, reload::Input, reply::Reply};
use crate::ipc::messages::Role;
use ggen_wire::{control::Body, text};
use std::time::Duration;

/// On top of the drain's time-out, for the servers.
const ON_TOP: Duration = Duration::from_secs(5);
/// What the kernel may need to end what was killed.
const LAST: Duration = Duration::from_secs(3);

/// The gateway has at least so long, also when the edge workers took all the time.
const SHORTEST: Duration = Duration::from_millis(500);

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

    /// Tells those who have asked for the stop that it is over.
    pub(super) fn finish(&mut self) {
        for watcher in self.watchers.drain(..) {
            watcher.last(Ok(Body::Done("stopped".to_owned())));
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
    pub(super) fn begin_stop(&mut self, force: bool, watcher: Option<Reply>) {
        let now = self.now();
        self.lifecycle.stop.watchers.extend(watcher);
        if force || self.lifecycle.is_stopping() {
            tracing::warn!(target: "mcp_server", "stopping at once");
            self.kill_everything();
        } else {
            tracing::info!(target: "mcp_server", event = "stopping", "stopping: draining");
            let limit = self.settings.drain_limit();
            (self.lifecycle.stop.drained_by, self.lifecycle.stop.ended_by) =
                (now + limit, now + limit + ON_TOP);
            self.lifecycle.stop.step = Step::Edges;
            self.service_manager.stopping(now);
            self.reload(Input::Stop);
            let edges = Role::ALL.into_iter().filter(|role| role.is_edge());
            edges.for_each(|role| self.workers.drain_role(role, limit, now));
        }
        self.go_on_stopping();
    }

    /// Takes the next step if the one before is finished, or its time is up.
    pub(super) fn go_on_stopping(&mut self) {
        let now = self.now();
        if self.lifecycle.stop.step == Step::Edges {
            self.drain_edges(now);
        }
        if self.lifecycle.stop.step == Step::Gateway {
            self.drain_gateway(now);
        }
        if self.lifecycle.stop.step == Step::Upstreams {
            let servers = self.upstreams.running();
            if servers == 0 {
                self.kill_everything();
            } else {
                self.lifecycle
                    .stop
                    .say(format!("{} ending", text::count(servers, "server")));
            }
        }
        self.service_manager
            .draining(&self.lifecycle.stop.told, now);
        let drains = matches!(
            self.lifecycle.stop.step,
            Step::Edges | Step::Gateway | Step::Upstreams
        );
        if drains && now >= self.lifecycle.stop.ended_by {
            tracing::warn!(target: "mcp_server", "drain time is up");
            self.kill_everything();
        }
        if self.lifecycle.stop.step == Step::Killing {
            self.children.begin_sweep(now);
            let is_nothing_left = self.workers.is_empty()
                && self.upstreams.running() == 0
                && self.children.remaining() == 0
                && self.upstreams.are_cgroups_quiet();
            if now >= self.lifecycle.stop.ended_by || is_nothing_left {
                self.lifecycle.stop.step = Step::Done;
                tracing::info!(target: "mcp_server", event = "stopped", "stopped");
            }
        }
    }

    /// Waits for the edge workers, then drains the gateway.
    fn drain_edges(&mut self, now: Duration) {
        if self.workers.count(Role::is_edge) > 0 {
            let connections = self.workers.connections(|_| true);
            return self.lifecycle.stop.say(if connections == 1 {
                "1 connection draining".to_owned()
            } else {
                format!("{connections} connections draining")
            });
        }
        self.lifecycle.stop.step = Step::Gateway;
        let left = self
            .lifecycle
            .stop
            .drained_by
            .saturating_sub(now)
            .max(SHORTEST);
        self.workers.drain_role(Role::Gateway, left, now);
        self.workers.drain_role(Role::Admin, left, now);
    }

    /// Waits for the gateway, then ends the servers.
    fn drain_gateway(&mut self, now: Duration) {
        if self.workers.count(|role| !role.is_edge()) > 0 {
            return self
                .lifecycle
                .stop
                .say("calls in flight finishing".to_owned());
        }
        self.lifecycle.stop.step = Step::Upstreams;
        self.upstreams.end_all(now);
    }

    fn kill_everything(&mut self) {
        let now = self.now();
        if self.lifecycle.stop.step != Step::Killing {
            self.lifecycle.stop.step = Step::Killing;
            self.lifecycle.stop.ended_by = now + LAST;
            self.workers.kill_all();
            self.upstreams.kill_all(now);
        }
    }
}
