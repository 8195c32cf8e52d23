//! The upstream servers: who is wanted, who may start now, who runs, who waits, and what gateway
//! workers have to be told of them. Stdio servers are run by shims (`shims.rs`).
//!
//! The room does not know the workers. What it has to know of others is in its [`Context`]; what
//! others have to do comes back as [`Effect`]s.

mod cgroups;
mod draining;
mod ended;
mod gateway;
mod layout;
mod leases;
mod saved;
mod shims;
mod starting;
mod status;
mod stderr;
mod upstream;
mod usage;

use super::{
    channels::Reader,
    event::{ProcId, ShimId},
    metrics::UpstreamExit,
    reload::Outcome,
};
use crate::{
    config::{Config, Loaded},
    ipc::{launch::FromShim, messages::ToWorker},
    log::Sink,
};
use cgroups::Cgroups;
use draining::Draining;
pub(crate) use leases::LeaseId;
use leases::Leases;
pub(crate) use saved::Saved;
use shims::Shims;
pub(crate) use starting::NoRestart;
use std::{os::fd::OwnedFd, sync::Arc, time::Duration};
pub(crate) use upstream::Upstream;

/// What a server may do after its stdin has closed, before SIGTERM.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the room has to know of others, as of now.
pub(crate) struct Context<'a> {
    /// Time since the daemon's start.
    pub(crate) now: Duration,
    /// Gives something between -1 and 1.
    pub(crate) jitter: fn() -> f64,
    /// The configuration in force.
    pub(crate) loaded: &'a Loaded,
    /// The gateway worker that serves, or is about to.
    pub(crate) gateway: Option<ProcId>,
    /// An older gateway worker still drains.
    pub(crate) gateway_drains: bool,
    /// The daemon is stopping: nothing is started any more.
    pub(crate) stopping: bool,
    /// Gives what reads a new shim's channel.
    pub(crate) reader: &'a mut dyn FnMut(ShimId) -> Reader,
}

impl<'a> Context<'a> {
    const fn config(&self) -> &'a Config {
        &self.loaded.config
    }

    /// Until when calls of a server that is to end now may go on.
    fn drain_until(&self) -> Duration {
        let limit = Duration::from_millis(self.config().server.drain_timeout_ms);
        self.now + limit + draining::SLACK
    }
}

/// What others have to do.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Send this to a worker, with these descriptors.
    Tell(ProcId, ToWorker, Vec<Arc<OwnedFd>>),
    /// A shim was started with this process id: it is to be reaped.
    Spawned(ShimId, u32),
    /// A shim that did not end by itself has left this process behind; it is to be killed if it
    /// lives.
    KillShim(u32),
    /// What a killed shim has left behind is to be looked for. Comes last.
    FindLeftovers,
    /// A server has ended, for the metrics.
    Exited(String, UpstreamExit),
    /// The shared child of a server has ended: the processor time that it used, in milliseconds.
    CpuOfSharedChild(String, u64),
    /// The same of a leased child.
    CpuOfLeasedChild(String, u64),
    /// How an upstream stands has changed.
    Changed,
}

/// All upstream servers.
pub(crate) struct Upstreams {
    /// In the order of the configuration.
    all: Vec<Upstream>,
    /// Those that are not configured any more, while their last calls are answered.
    draining: Vec<Draining>,
    leases: Leases,
    shims: Shims,
}

impl Upstreams {
    /// None yet. `log` takes the lines of servers' stderr. `moved`: the previous binary has put this
    /// process into its control group.
    pub(crate) fn new(log: Arc<dyn Sink>, moved: bool) -> Self {
        Self {
            all: Vec::new(),
            draining: Vec::new(),
            leases: Leases::default(),
            shims: Shims::new(log, Cgroups::start(moved)),
        }
    }

    /// One of those that are configured.
    pub(crate) fn get(&self, name: &str) -> Option<&Upstream> {
        self.all.iter().find(|upstream| upstream.name == name)
    }

    fn get_mut(&mut self, name: &str) -> Option<&mut Upstream> {
        self.all.iter_mut().find(|upstream| upstream.name == name)
    }

    fn by_shim(&mut self, shim: ShimId) -> Option<&mut Upstream> {
        self.all
            .iter_mut()
            .find(|upstream| upstream.shim() == Some(shim))
    }

    /// What has become of an upstream after a reload, for a person; `None` while that is not known.
    pub(crate) fn outcome_of(&self, name: &str, now: Duration) -> Option<Outcome> {
        match self.get(name) {
            Some(upstream) => upstream.outcome(now),
            None => Some(Outcome {
                text: "gone".to_owned(),
                is_as_wanted: true,
            }),
        }
    }

    /// Whether it is known of every upstream how it stands.
    pub(crate) fn are_settled(&self) -> bool {
        self.all.iter().all(Upstream::is_settled)
    }

    /// A shim says something.
    pub(crate) fn shim_says(
        &mut self,
        id: ShimId,
        message: FromShim,
        context: &mut Context<'_>,
    ) -> Vec<Effect> {
        match message {
            FromShim::Started { pid } => {
                self.shims.runs(id, pid);
                self.started(id, pid, context)
            }
            verdict @ (FromShim::SpawnFailed { .. } | FromShim::Exited { .. }) => {
                self.shims.says(id, verdict);
                Vec::new()
            }
        }
    }

    /// A gateway worker asks for a child for itself.
    pub(crate) fn lease(
        &mut self,
        owner: ProcId,
        name: &str,
        lease: LeaseId,
        context: &mut Context<'_>,
    ) -> Vec<Effect> {
        let draining = self
            .draining_names()
            .iter()
            .any(|draining| draining == name);
        self.leases
            .lease(owner, name, lease, draining, &mut self.shims, context)
    }

    /// A gateway worker needs a child no more.
    pub(crate) fn unlease(
        &mut self,
        owner: ProcId,
        name: &str,
        lease: LeaseId,
        kill: bool,
        context: &mut Context<'_>,
    ) -> Vec<Effect> {
        self.leases
            .unlease(owner, name, lease, kill, &mut self.shims, context)
    }

    /// A gateway worker is gone, and its calls with it.
    pub(crate) fn owner_gone(&mut self, owner: ProcId, context: &mut Context<'_>) -> Vec<Effect> {
        self.leases.end_of_owner(owner, &mut self.shims, context)
    }

    /// Does what is due by now.
    pub(crate) fn on_time(&mut self, context: &mut Context<'_>) -> Vec<Effect> {
        let mut effects = self.drain_on_time(context);
        effects.extend(self.start_on_time(context));
        self.shims.on_time(context.now);
        effects
    }

    /// The same for control groups, and for shims while the daemon is stopping.
    pub(crate) fn stop_on_time(&mut self, now: Duration) {
        self.shims.on_time(now);
    }

    /// Removes control groups whose servers have ended.
    pub(crate) fn cgroups_on_time(&mut self, now: Duration) {
        self.shims.cgroups.on_time(now);
    }

    /// When something has to be done if nothing happens.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        [
            self.start_deadline(),
            self.drain_deadline(),
            self.shims.deadline(),
            self.shims.cgroups.deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// How many servers run, leased children included.
    pub(crate) fn running(&self) -> usize {
        self.shims.count()
    }

    /// The daemon is stopping: ends all servers.
    pub(crate) fn end_all(&mut self, now: Duration) {
        for shim in self.shims.ids() {
            self.end(shim, PATIENCE, now);
        }
    }

    /// Ends all servers without any grace.
    pub(crate) fn kill_all(&mut self, now: Duration) {
        self.shims.kill_all(now);
    }

    /// Ends the server that a shim runs: its stdin closes, after `patience` SIGTERM follows.
    fn end(&mut self, shim: ShimId, patience: Duration, now: Duration) {
        if let Some(upstream) = self.by_shim(shim) {
            upstream.phase = upstream::Phase::Ending(shim);
            upstream.pipes = None;
        }
        self.shims.end(shim, patience, now);
    }

    /// Logs what control groups there are, and ends those that an earlier life of the daemon has
    /// left. For the start.
    pub(crate) fn begin_cgroups(&mut self, now: Duration) {
        self.shims.cgroups.log_place();
        self.shims.end_old_groups(now);
    }

    /// Whether no control group is still ending.
    pub(crate) fn are_cgroups_quiet(&self) -> bool {
        self.shims.cgroups.is_quiet()
    }

    /// Leaves the hierarchy of control groups as it was found.
    pub(crate) fn leave_cgroups(&mut self) {
        self.shims.cgroups.leave();
    }

    /// Whether this process was put into a control group of its own.
    pub(crate) fn has_moved(&self) -> bool {
        self.shims.cgroups.has_moved()
    }

    /// The control groups, for the status.
    pub(crate) fn cgroups_status(&self) -> ggen_wire::status::Cgroups {
        self.shims.cgroups.status()
    }
}

#[cfg(test)]
mod tests;
