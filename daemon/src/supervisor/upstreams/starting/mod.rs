//! Starting upstreams: as many at once as the configuration allows, in turn.

mod slots;

use super::{
    Context, Effect, Upstreams,
    cgroups::NotStarted,
    shims::Started,
    upstream::{Phase, Upstream},
};
use crate::supervisor::{
    event::ShimId,
    processes::{environment, restart_backoff::Life},
};
pub(super) use slots::{Standing, Turn};
use std::time::Duration;

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
        let limit = context.config().server.starts_at_once();
        while let Some(at) = slots::next(self.all.iter().map(Upstream::standing), limit) {
            effects.extend(self.start(at, context));
        }
        effects
    }

    fn start(&mut self, at: usize, context: &mut Context<'_>) -> Vec<Effect> {
        let upstream = &mut self.all[at];
        // What ended at the probe of its era has not failed.
        upstream.restarts += u64::from(upstream.incarnation > 0 && !upstream.at_once);
        upstream.incarnation += 1;
        upstream.life.started();
        (upstream.report, upstream.handoff, upstream.complaint) = (None, None, None);
        (upstream.delivered, upstream.pid) = (false, None);
        (upstream.started_at, upstream.at_once) = (Some(context.now), false);
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
                upstream.phase = Phase::Starting(shim, context.now + slots::PROMPT);
                upstream.slow = false;
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
                // A start-up that takes long only loses its slot; whether the server is any good is
                // the gateway worker's to say.
                Phase::Starting(shim, until) if until <= context.now && upstream.slow => {
                    upstream.phase = Phase::Running(shim);
                }
                Phase::Starting(shim, until) if until <= context.now => {
                    upstream.slow = true;
                    let more = slots::LONGEST - slots::PROMPT;
                    upstream.phase = Phase::Starting(shim, until + more);
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
