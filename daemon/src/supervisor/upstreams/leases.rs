//! Children of stdio servers beside the shared ones, which a gateway worker asks for and uses for
//! itself: at most `server.connection_pool` of them per server, the ending ones included. They are
//! never started again, and end with the worker that asked for them: nobody else knows what was
//! going on in them.

use crate::{
    config::UpstreamTransport,
    ipc::messages::{Child, ChildGone, ToWorker},
    platform::Usage,
    supervisor::{
        Supervisor,
        event::ProcId,
        metrics::UpstreamExit,
        upstreams::{Pipes, shims::ShimId},
    },
};
use ggen_wire::{Code, status::UpstreamState};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What a server may do after its stdin has closed, before SIGTERM.
const PATIENCE: Duration = Duration::from_secs(2);

/// How far one is.
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

/// A leased child.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Leased {
    upstream: String,
    lease: u32,
    /// The gateway worker that asked for it.
    owner: ProcId,
    /// As it was when it was asked for.
    transport: UpstreamTransport,
    phase: Phase,
    /// Until the gateway worker has them: with its death they are to be closed.
    #[serde(skip)]
    pub(crate) pipes: Option<Pipes>,
    usage: Usage,
}

impl Leased {
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
}

impl Supervisor {
    /// A gateway worker asks for one more child.
    pub(crate) fn lease(&mut self, owner: ProcId, name: &str, lease: u32) {
        let entry = self
            .loaded
            .config
            .mcp_servers
            .get(name)
            .filter(|entry| entry.enabled && !entry.is_self);
        let leaving = self.leaving_names().iter().any(|leaving| leaving == name);
        let entry = entry.filter(|_| {
            !leaving && !self.stop.is_stopping() && !self.loaded.blocked.contains_key(name)
        });
        let Some(transport) = entry.map(|entry| entry.transport.clone()) else {
            return self.tell_lease_gone(
                owner,
                name,
                lease,
                Code::UpstreamDisabled,
                "its entry has changed",
            );
        };
        let (upstream, phase) = (name.to_owned(), Phase::Waiting);
        self.leased.push(Leased {
            upstream,
            lease,
            owner,
            transport,
            phase,
            pipes: None,
            usage: Usage::default(),
        });
        self.start_leases();
    }

    /// Starts those for which there is room.
    pub(crate) fn start_leases(&mut self) {
        if self.stop.is_stopping() {
            return;
        }
        let server = &self.loaded.config.server;
        let (pool, at_once) = (
            usize::from(server.connection_pool),
            usize::from(server.start_concurrency.max(1)),
        );
        for at in 0..self.leased.len() {
            let starting = self
                .leased
                .iter()
                .filter(|leased| matches!(leased.phase, Phase::Starting(_)))
                .count();
            let leased = &self.leased[at];
            let siblings = self
                .leased
                .iter()
                .filter(|other| other.upstream == leased.upstream && other.phase != Phase::Waiting);
            if leased.phase == Phase::Waiting && starting < at_once && siblings.count() < pool {
                self.start_lease(at);
            }
        }
        self.leased
            .retain(|leased| leased.phase != Phase::Waiting || leased.owner != GONE);
    }

    fn start_lease(&mut self, at: usize) {
        let (name, lease, owner) = (
            self.leased[at].upstream.clone(),
            self.leased[at].lease,
            self.leased[at].owner,
        );
        let launch = self
            .loaded
            .config
            .mcp_servers
            .get(&name)
            .and_then(crate::supervisor::processes::environment::launch);
        let life = format!("call-{}", self.shims.last + 1);
        let started = launch.map(|launch| self.start_shim(&name, &life, launch));
        match started {
            Some(Ok((shim, pipes))) => {
                (self.leased[at].phase, self.leased[at].pipes) =
                    (Phase::Starting(shim), Some(pipes))
            }
            failed => {
                self.leased[at].owner = GONE;
                let failed = failed.and_then(Result::err);
                let code = failed
                    .as_ref()
                    .map_or(Code::Internal, |error| error.verdict().0);
                let why = failed.map_or_else(
                    || "it is no stdio server".to_owned(),
                    |error| error.to_string(),
                );
                self.tell_lease_gone(
                    owner,
                    &name,
                    lease,
                    code,
                    &format!("cannot be started: {why}"),
                );
            }
        }
    }

    /// The server runs: its gateway worker gets the pipes, of which none is kept.
    pub(crate) fn lease_started(&mut self, shim: ShimId, pid: u32) {
        let Some(leased) = self
            .leased
            .iter_mut()
            .find(|leased| leased.shim() == Some(shim))
        else {
            return;
        };
        let pipes = leased.pipes.take();
        match (leased.phase, pipes) {
            (Phase::Starting(_), Some(pipes)) => {
                leased.phase = Phase::Running(shim, pid);
                tracing::info!(target: "tools", upstream = %leased.upstream, pid, "one more child started");
                let (owner, upstream, lease) =
                    (leased.owner, leased.upstream.clone(), leased.lease);
                let child = ToWorker::Child(Child {
                    upstream,
                    lease,
                    incarnation: 1,
                    pid,
                    handoff: None,
                });
                self.tell(owner, child, vec![pipes.stdin, pipes.stdout]);
            }
            _ => leased.phase = Phase::Ending(shim, Some(pid)),
        }
        self.start_leases();
    }

    /// A gateway worker needs a child no more.
    pub(crate) fn unlease(&mut self, owner: ProcId, name: &str, lease: u32, kill: bool) {
        let patience = if kill { Duration::ZERO } else { PATIENCE };
        self.end_leased(patience, |leased| {
            leased.owner == owner && leased.upstream == name && leased.lease == lease
        });
    }

    /// A gateway worker is gone, and its calls with it.
    pub(crate) fn end_leases_of(&mut self, owner: ProcId) {
        self.end_leased(PATIENCE, |leased| leased.owner == owner);
    }

    /// The children of a server whose entry has changed or is gone.
    pub(crate) fn end_leases_for(&mut self, name: &str) {
        self.tell_ended(|leased| leased.upstream == name);
        self.end_leased(PATIENCE, |leased| leased.upstream == name);
    }

    /// The children of servers whose entry has changed while no other child of theirs runs, so that
    /// nobody waits for calls there.
    pub(crate) fn end_stale_leases(&mut self) {
        let leaving = self.leaving_names();
        let is_stale = |leased: &Leased| {
            let entry = self
                .loaded
                .config
                .mcp_servers
                .get(&leased.upstream)
                .filter(|entry| entry.enabled);
            !leaving.contains(&leased.upstream)
                && entry.is_none_or(|entry| entry.transport != leased.transport)
        };
        let stale: Vec<_> = self
            .leased
            .iter()
            .filter(|leased| is_stale(leased))
            .map(|leased| leased.upstream.clone())
            .collect();
        stale.iter().for_each(|name| self.end_leases_for(name));
    }

    fn tell_ended(&mut self, which: impl Fn(&Leased) -> bool) {
        let waited_for =
            |leased: &&Leased| which(leased) && !matches!(leased.phase, Phase::Ending(..));
        let ended: Vec<_> = self
            .leased
            .iter()
            .filter(waited_for)
            .map(|leased| (leased.owner, leased.upstream.clone(), leased.lease))
            .collect();
        for (owner, name, lease) in ended {
            self.tell_lease_gone(
                owner,
                &name,
                lease,
                Code::UpstreamExited,
                "its entry has changed",
            );
        }
    }

    fn end_leased(&mut self, patience: Duration, which: impl Fn(&Leased) -> bool) {
        let now = self.now();
        self.leased
            .retain(|leased| leased.phase != Phase::Waiting || !which(leased));
        for leased in self.leased.iter_mut().filter(|leased| which(leased)) {
            if let Some(shim) = leased.shim() {
                (leased.phase, leased.pipes) = (Phase::Ending(shim, leased.pid()), None);
                self.shims.end(shim, patience, now);
            }
        }
        self.start_leases();
    }

    /// A child's life is over, and nothing of it is left. False: the shim was none of these.
    pub(crate) fn lease_ended(&mut self, shim: ShimId, code: Code, reason: &str) -> bool {
        let Some(at) = self
            .leased
            .iter()
            .position(|leased| leased.shim() == Some(shim))
        else {
            return false;
        };
        let leased = self.leased.remove(at);
        self.metrics
            .cpu_of_leased_child(&leased.upstream, leased.usage.cpu_ms);
        if matches!(leased.phase, Phase::Ending(..)) || self.stop.is_stopping() {
            tracing::debug!(target: "tools", upstream = %leased.upstream, "a child has ended: {reason}");
        } else {
            self.metrics
                .upstream_exit(&leased.upstream, UpstreamExit::of(code));
            tracing::warn!(target: "tools", upstream = %leased.upstream, code = %code, "a child of single calls ended: {reason}");
            self.tell_lease_gone(leased.owner, &leased.upstream, leased.lease, code, reason);
        }
        self.start_leases();
        true
    }

    fn tell_lease_gone(&mut self, owner: ProcId, name: &str, lease: u32, code: Code, reason: &str) {
        let gone = ChildGone {
            upstream: name.to_owned(),
            lease,
            incarnation: 1,
            state: UpstreamState::Degraded,
            code,
            reason: reason.to_owned(),
            next_start_ms: None,
        };
        self.tell(owner, ToWorker::ChildGone(gone), Vec::new());
    }

    /// Processes of leased children.
    pub(crate) fn lease_pids(&self) -> impl Iterator<Item = u32> {
        self.leased.iter().filter_map(Leased::pid)
    }

    /// Keeps what a look at `/proc` has found.
    pub(crate) fn put_lease_usage(&mut self, mut find: impl FnMut(ShimId, u32) -> Option<Usage>) {
        for leased in &mut self.leased {
            // What it had at the last look counts on when it has just gone.
            leased.usage = leased
                .shim()
                .zip(leased.pid())
                .and_then(|(shim, pid)| find(shim, pid))
                .unwrap_or_else(|| leased.usage.ended());
        }
    }

    /// Processor time of leased children, in milliseconds by upstream.
    pub(crate) fn leased_cpu_ms(&self) -> std::collections::BTreeMap<&str, u64> {
        let mut all = std::collections::BTreeMap::new();
        let started = self.leased.iter();
        for leased in started.filter(|leased| leased.phase != Phase::Waiting) {
            *all.entry(leased.upstream.as_str()).or_default() += leased.usage.cpu_ms;
        }
        all
    }

    /// Number and use of the leased children of a server.
    pub(crate) fn leased_of(&self, name: &str) -> (u32, Usage) {
        let mine = self
            .leased
            .iter()
            .filter(|leased| leased.upstream == name && leased.phase != Phase::Waiting);
        mine.fold((0, Usage::default()), |(count, sum), leased| {
            (count + 1, sum.and(leased.usage))
        })
    }

    /// All the processor time that a child has used which is over.
    pub(crate) fn last_lease_usage(&mut self, shim: ShimId, cpu_ms: u64) {
        if let Some(leased) = self
            .leased
            .iter_mut()
            .find(|leased| leased.shim() == Some(shim))
        {
            leased.usage = Usage {
                cpu_ms,
                ..leased.usage.ended()
            };
        }
    }
}

/// The owner of what could not be started; no process has this number.
const GONE: ProcId = ProcId::MAX;
