//! Starting upstreams: as many at once as the configuration allows, in turn.

use super::{Context, Effect, Upstreams, cgroups::NotStarted, shims::Started, upstream::Phase};
use crate::supervisor::{
    event::ShimId,
    processes::{environment, restart_backoff::Life},
};
use std::time::Duration;

/// A start-up that takes longer makes room for the next one: long enough that hosts with many
/// servers do not start them all at once, short enough that servers which hang do not keep the
/// others out.
const START_UP: Duration = Duration::from_secs(3);

/// Why a server cannot be restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoRestart {
    /// There is no upstream of that name.
    Unknown,
    /// It is a remote server.
    Remote,
    /// It is disabled.
    Disabled,
}

impl Upstreams {
    /// Somebody wants a server to be started anew.
    ///
    /// # Errors
    /// [`NoRestart`]
    pub(crate) fn restart(
        &mut self,
        name: &str,
        context: &mut Context<'_>,
    ) -> Result<Vec<Effect>, NoRestart> {
        let upstream = self.get_mut(name).ok_or(NoRestart::Unknown)?;
        match upstream.phase {
            Phase::Remote => return Err(NoRestart::Remote),
            Phase::Disabled => return Err(NoRestart::Disabled),
            Phase::Backoff(_) | Phase::Stopped => {
                (upstream.life, upstream.phase) = (Life::default(), Phase::Queued);
            }
            Phase::Starting(shim, _) | Phase::Running(shim) => {
                upstream.forgive(context.now);
                self.end(shim, Duration::ZERO, context.now);
            }
            Phase::Idle | Phase::Queued | Phase::Ending(_) => {}
        }
        Ok(self.start_queued(context))
    }

    /// Starts those that wait and have room.
    pub(super) fn start_queued(&mut self, context: &mut Context<'_>) -> Vec<Effect> {
        let mut effects = Vec::new();
        if context.stopping {
            return effects;
        }
        let limit = usize::from(context.config().server.start_concurrency.max(1));
        loop {
            let starting = self
                .all
                .iter()
                .filter(|upstream| matches!(upstream.phase, Phase::Starting(..)));
            let busy = starting.count();
            let next = self
                .all
                .iter()
                .position(|upstream| upstream.phase == Phase::Queued);
            match next {
                Some(at) if busy < limit => effects.extend(self.start(at, context)),
                _ => return effects,
            }
        }
    }

    fn start(&mut self, at: usize, context: &mut Context<'_>) -> Vec<Effect> {
        let upstream = &mut self.all[at];
        upstream.restarts += u64::from(upstream.incarnation > 0);
        upstream.incarnation += 1;
        upstream.life.started();
        (upstream.report, upstream.handoff, upstream.complaint) = (None, None, None);
        (upstream.delivered, upstream.pid) = (false, None);
        let life = upstream.incarnation.to_string();
        let Some(launch) = environment::launch(&upstream.config) else {
            upstream.phase = Phase::Remote;
            return Vec::new();
        };
        let started = self
            .shims
            .start(&upstream.name, &life, launch, context.reader);
        self.start_tried(at, started, context)
    }

    fn start_tried(
        &mut self,
        at: usize,
        started: Result<Started, NotStarted>,
        context: &mut Context<'_>,
    ) -> Vec<Effect> {
        match started {
            Ok(Started { shim, pid, pipes }) => {
                let upstream = &mut self.all[at];
                upstream.phase = Phase::Starting(shim, context.now + START_UP);
                upstream.pipes = Some(pipes);
                vec![Effect::Spawned(shim, pid)]
            }
            Err(error) => {
                let (code, status) = error.verdict();
                let reason = format!("cannot be started: {error}");
                self.upstream_ended(at, code, &reason, status, context)
            }
        }
    }

    /// A server runs: the gateway worker gets its pipes.
    pub(super) fn started(
        &mut self,
        shim: ShimId,
        pid: u32,
        context: &mut Context<'_>,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        if let Some(upstream) = self.by_shim(shim) {
            upstream.pid = Some(pid);
            tracing::info!(target: "tools", upstream = %upstream.name, pid, "upstream started");
            effects = self.deliver(context);
        }
        effects.extend(self.leases.started(shim, pid, &mut self.shims, context));
        effects
    }

    /// What is due by now.
    pub(super) fn start_on_time(&mut self, context: &mut Context<'_>) -> Vec<Effect> {
        for upstream in &mut self.all {
            match upstream.phase {
                // A start-up that takes too long only loses its place in the queue; whether the
                // server is any good is the gateway worker's to say.
                Phase::Starting(shim, until) if until <= context.now => {
                    upstream.phase = Phase::Running(shim);
                }
                Phase::Backoff(until) if until <= context.now => upstream.phase = Phase::Queued,
                _ => {}
            }
        }
        self.start_queued(context)
    }

    /// When something has to be done if nothing happens.
    pub(super) fn start_deadline(&self) -> Option<Duration> {
        let due = |phase| match phase {
            Phase::Starting(_, until) | Phase::Backoff(until) => Some(until),
            _ => None,
        };
        self.all
            .iter()
            .filter_map(|upstream| due(upstream.phase))
            .min()
    }
}
