//! Leased children: children of stdio servers beside the shared ones. A gateway worker asks for one
//! and uses it for itself. There are at most `server.connection_pool` of them per server, the
//! ending ones included. They are never started again, and end with the worker that asked for them:
//! nobody else knows what was going on in them.

use super::{Context, Effect, shims::Shims, upstream::Pipes};
use crate::{
    config::UpstreamTransport,
    ipc::messages::{Child, ChildGone, ToWorker},
    platform::Usage,
    supervisor::{
        event::{ProcId, ShimId},
        metrics::UpstreamExit,
        processes::environment,
    },
};
use ggen_wire::{Code, status::UpstreamState};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

/// What a server may do after its stdin has closed, before SIGTERM.
const PATIENCE: Duration = Duration::from_secs(2);

/// Number of a lease, given by the gateway worker that asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct LeaseId(pub(crate) u32);

/// Where one stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    /// It waits for room.
    Waiting,
    /// The shim has been told to start it.
    Starting(ShimId),
    /// The gateway worker has its pipes.
    Running(ShimId, u32),
    /// It is being ended, and nobody waits for word of it.
    Ending(ShimId, Option<u32>),
}

/// A leased child. Its form is that of the state that one binary hands to the next.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Lease {
    upstream: String,
    lease: LeaseId,
    /// The gateway worker that asked for it.
    owner: ProcId,
    /// The server's entry as it was then.
    transport: UpstreamTransport,
    phase: Phase,
    /// Kept until the gateway worker has them: they are to be closed when it dies.
    #[serde(skip)]
    pub(super) pipes: Option<Pipes>,
    usage: Usage,
}

impl Lease {
    const fn shim(&self) -> Option<ShimId> {
        match self.phase {
            Phase::Waiting => None,
            Phase::Starting(shim) | Phase::Running(shim, _) | Phase::Ending(shim, _) => Some(shim),
        }
    }

    const fn pid(&self) -> Option<u32> {
        match self.phase {
            Phase::Running(_, pid) => Some(pid),
            Phase::Ending(_, pid) => pid,
            Phase::Waiting | Phase::Starting(_) => None,
        }
    }

    /// Tells the owner that it is gone.
    fn gone(&self, code: Code, reason: &str) -> Effect {
        gone(self.owner, &self.upstream, self.lease, code, reason)
    }
}

/// All leased children.
#[derive(Debug, Default)]
pub(super) struct Leases(pub(super) Vec<Lease>);

impl Leases {
    /// A gateway worker asks for one more child. `draining`: the server's entry has changed or is
    /// gone, and its calls are not over yet.
    pub(super) fn lease(
        &mut self,
        owner: ProcId,
        name: &str,
        lease: LeaseId,
        draining: bool,
        shims: &mut Shims,
        context: &mut Context<'_>,
    ) -> Vec<Effect> {
        let entry = context.config().mcp_servers.get(name).filter(|entry| {
            let is_served = entry.enabled && !entry.is_self;
            is_served
                && !draining
                && !context.stopping
                && !context.loaded.blocked.contains_key(name)
        });
        let Some(entry) = entry else {
            let why = "its entry has changed";
            return vec![gone(owner, name, lease, Code::UpstreamDisabled, why)];
        };
        self.0.push(Lease {
            upstream: name.to_owned(),
            lease,
            owner,
            transport: entry.transport.clone(),
            phase: Phase::Waiting,
            pipes: None,
            usage: Usage::default(),
        });
        self.start_waiting(shims, context)
    }

    /// Starts those for which there is room.
    pub(super) fn start_waiting(
        &mut self,
        shims: &mut Shims,
        context: &mut Context<'_>,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        if context.stopping {
            return effects;
        }
        let mut at = 0;
        while at < self.0.len() {
            if !self.has_room(at, context) {
                at += 1;
                continue;
            }
            match self.start(at, shims, context) {
                Ok(spawned) => {
                    effects.push(spawned);
                    at += 1;
                }
                Err(told) => {
                    effects.push(*told);
                    self.0.remove(at);
                }
            }
        }
        effects
    }

    /// Whether one waits and may start.
    fn has_room(&self, at: usize, context: &mut Context<'_>) -> bool {
        let lease = &self.0[at];
        let server = &context.config().server;
        let is_starting = |lease: &&Lease| matches!(lease.phase, Phase::Starting(_));
        let starting = self.0.iter().filter(is_starting).count();
        let is_sibling =
            |other: &&Lease| other.upstream == lease.upstream && other.phase != Phase::Waiting;
        let siblings = self.0.iter().filter(is_sibling).count();
        lease.phase == Phase::Waiting
            && starting < server.starts_at_once()
            && siblings < usize::from(server.connection_pool)
    }

    /// Starts one, or says why it cannot be started.
    fn start(
        &mut self,
        at: usize,
        shims: &mut Shims,
        context: &mut Context<'_>,
    ) -> Result<Effect, Box<Effect>> {
        let lease = &mut self.0[at];
        let entry = context.config().mcp_servers.get(&lease.upstream);
        let Some(launch) = entry.and_then(environment::launch) else {
            let why = "cannot be started: it is no stdio server";
            return Err(Box::new(lease.gone(Code::Internal, why)));
        };
        let life = format!("call-{}", shims.next_id());
        match shims.start(&lease.upstream, &life, launch, context.reader) {
            Ok(started) => {
                lease.phase = Phase::Starting(started.shim);
                lease.pipes = Some(started.pipes);
                Ok(Effect::Spawned(started.shim, started.pid))
            }
            Err(error) => {
                let why = format!("cannot be started: {error}");
                Err(Box::new(lease.gone(error.verdict().0, &why)))
            }
        }
    }

    /// A server runs: its gateway worker gets the pipes, of which none is kept.
    pub(super) fn started(
        &mut self,
        shim: ShimId,
        pid: u32,
        shims: &mut Shims,
        context: &mut Context<'_>,
    ) -> Vec<Effect> {
        let Some(lease) = self.by_shim(shim) else {
            return Vec::new();
        };
        let mut effects = Vec::new();
        match (lease.phase, lease.pipes.take()) {
            (Phase::Starting(_), Some(pipes)) => {
                lease.phase = Phase::Running(shim, pid);
                tracing::info!(target: "tools", upstream = %lease.upstream, pid, "one more child started");
                let child = ToWorker::Child(Child {
                    upstream: lease.upstream.clone(),
                    lease: lease.lease.0,
                    incarnation: 1,
                    pid,
                    handoff: None,
                });
                let pipes = vec![pipes.stdin, pipes.stdout];
                effects.push(Effect::Tell(lease.owner, child, pipes));
            }
            _ => lease.phase = Phase::Ending(shim, Some(pid)),
        }
        effects.extend(self.start_waiting(shims, context));
        effects
    }

    /// A gateway worker needs a child no more.
    pub(super) fn unlease(
        &mut self,
        owner: ProcId,
        name: &str,
        lease: LeaseId,
        kill: bool,
        shims: &mut Shims,
        context: &mut Context<'_>,
    ) -> Vec<Effect> {
        let patience = if kill { Duration::ZERO } else { PATIENCE };
        let is_it = |it: &Lease| it.owner == owner && it.upstream == name && it.lease == lease;
        self.end(patience, is_it, shims, context)
    }

    /// A gateway worker is gone, and its calls with it.
    pub(super) fn end_of_owner(
        &mut self,
        owner: ProcId,
        shims: &mut Shims,
        context: &mut Context<'_>,
    ) -> Vec<Effect> {
        self.end(PATIENCE, |lease| lease.owner == owner, shims, context)
    }

    /// The children of a server end: its entry has changed or is gone.
    pub(super) fn end_of_upstream(
        &mut self,
        name: &str,
        shims: &mut Shims,
        context: &mut Context<'_>,
    ) -> Vec<Effect> {
        let is_awaited =
            |lease: &&Lease| lease.upstream == name && !matches!(lease.phase, Phase::Ending(..));
        let told = self.0.iter().filter(is_awaited);
        let mut effects: Vec<Effect> = told
            .map(|lease| lease.gone(Code::UpstreamExited, "its entry has changed"))
            .collect();
        effects.extend(self.end(PATIENCE, |lease| lease.upstream == name, shims, context));
        effects
    }

    /// The children of servers end whose entry has changed while no other child of theirs runs, so
    /// that nobody waits for calls there.
    pub(super) fn end_stale(
        &mut self,
        draining: &[String],
        shims: &mut Shims,
        context: &mut Context<'_>,
    ) -> Vec<Effect> {
        let is_stale = |lease: &&Lease| {
            let entry = context.config().mcp_servers.get(&lease.upstream);
            !draining.contains(&lease.upstream)
                && entry
                    .filter(|entry| entry.enabled)
                    .is_none_or(|entry| entry.transport != lease.transport)
        };
        let stale = self.0.iter().filter(is_stale);
        let stale: Vec<String> = stale.map(|lease| lease.upstream.clone()).collect();
        stale
            .iter()
            .flat_map(|name| self.end_of_upstream(name, shims, context))
            .collect()
    }

    fn end(
        &mut self,
        patience: Duration,
        which: impl Fn(&Lease) -> bool,
        shims: &mut Shims,
        context: &mut Context<'_>,
    ) -> Vec<Effect> {
        self.0
            .retain(|lease| lease.phase != Phase::Waiting || !which(lease));
        for lease in self.0.iter_mut().filter(|lease| which(lease)) {
            if let Some(shim) = lease.shim() {
                (lease.phase, lease.pipes) = (Phase::Ending(shim, lease.pid()), None);
                shims.end(shim, patience, context.now);
            }
        }
        self.start_waiting(shims, context)
    }

    /// A child's life is over, and nothing of it is left. `cpu_ms`: the processor time that it
    /// used, if it was counted. `None`: the shim was none of these.
    pub(super) fn ended(
        &mut self,
        shim: ShimId,
        cpu_ms: Option<u64>,
        (code, reason): (Code, &str),
        shims: &mut Shims,
        context: &mut Context<'_>,
    ) -> Option<Vec<Effect>> {
        let at = self.0.iter().position(|lease| lease.shim() == Some(shim))?;
        let lease = self.0.remove(at);
        let upstream = lease.upstream.clone();
        let used = cpu_ms.unwrap_or(lease.usage.cpu_ms);
        let mut effects = vec![Effect::CpuOfLeasedChild(upstream.clone(), used)];
        if matches!(lease.phase, Phase::Ending(..)) || context.stopping {
            tracing::debug!(target: "tools", %upstream, "a child has ended: {reason}");
        } else {
            tracing::warn!(target: "tools", %upstream, code = %code, "a child of single calls ended: {reason}");
            effects.push(Effect::Exited(upstream, UpstreamExit::of(code)));
            effects.push(lease.gone(code, reason));
        }
        effects.extend(self.start_waiting(shims, context));
        Some(effects)
    }

    fn by_shim(&mut self, shim: ShimId) -> Option<&mut Lease> {
        self.0.iter_mut().find(|lease| lease.shim() == Some(shim))
    }

    /// Processes of leased children.
    pub(super) fn pids(&self) -> impl Iterator<Item = u32> {
        self.0.iter().filter_map(Lease::pid)
    }

    /// Keeps what a look at `/proc` has found.
    pub(super) fn measured(&mut self, mut find: impl FnMut(ShimId, u32) -> Option<Usage>) {
        for lease in &mut self.0 {
            // What it had at the last look counts on when it has just gone.
            lease.usage = lease
                .shim()
                .zip(lease.pid())
                .and_then(|(shim, pid)| find(shim, pid))
                .unwrap_or_else(|| lease.usage.ended());
        }
    }

    /// Number and usage of the leased children of a server.
    pub(super) fn of(&self, upstream: &str) -> (u32, Usage) {
        let mine = self
            .0
            .iter()
            .filter(|lease| lease.upstream == upstream && lease.phase != Phase::Waiting);
        mine.fold((0, Usage::default()), |(count, sum), lease| {
            (count + 1, sum.and(lease.usage))
        })
    }

    /// Processor time of leased children, in milliseconds by upstream.
    pub(super) fn cpu_ms(&self) -> BTreeMap<&str, u64> {
        let mut all = BTreeMap::new();
        for lease in self.0.iter().filter(|lease| lease.phase != Phase::Waiting) {
            *all.entry(lease.upstream.as_str()).or_default() += lease.usage.cpu_ms;
        }
        all
    }
}

fn gone(owner: ProcId, name: &str, lease: LeaseId, code: Code, reason: &str) -> Effect {
    let gone = ChildGone {
        upstream: name.to_owned(),
        lease: lease.0,
        incarnation: 1,
        state: UpstreamState::Degraded,
        code,
        reason: reason.to_owned(),
        next_start_ms: None,
    };
    Effect::Tell(owner, ToWorker::ChildGone(gone), Vec::new())
}
