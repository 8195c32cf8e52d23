//! Stdio servers: who is wanted, who may start now, who runs, who waits; and what the gateway
//! worker has to be told. The servers themselves are run by shims (`shims.rs`).

pub(in crate::supervisor) mod cgroups;
pub(in crate::supervisor) mod draining;
pub(in crate::supervisor) mod leases;
pub(in crate::supervisor) mod operator_stops;
pub(in crate::supervisor) mod shims;
pub(in crate::supervisor) mod stderr;
mod usage;

use crate::{
    config::{self, UpstreamTransport},
    ipc::messages::{Child, ChildGone, Role, ToWorker, UpstreamReport},
    platform::Usage,
    supervisor::{
        Supervisor,
        metrics::UpstreamExit,
        processes::restart_backoff::{Life, Next},
        reload::plan::{self, Step},
        upstreams::shims::ShimId,
    },
};
use ggen_wire::{Code, status::UpstreamState};
use serde::{Deserialize, Serialize};
use std::{os::fd::OwnedFd, sync::Arc, time::Duration};

/// A start-up that takes longer makes room for the next one: long enough that hosts with many
/// servers do not start them all at once, short enough that servers which hang do not keep the
/// others out.
const START_UP: Duration = Duration::from_secs(3);

/// Where an upstream stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Phase {
    /// Nobody has asked for it yet.
    Idle,
    /// Waits for its turn to start.
    Queued,
    /// The shim has been told to start it; the start-up ends at that time at the latest.
    Starting(ShimId, Duration),
    /// It runs.
    Running(ShimId),
    /// It is being ended.
    Ending(ShimId),
    /// It waits for its next start.
    Backoff(Duration),
    /// Not started again until a reload or a request.
    Stopped,
    /// Not to be started.
    Disabled,
    /// A remote server: the gateway's own.
    Remote,
}

/// Its pipes, for the gateway.
#[derive(Clone)]
pub(crate) struct Pipes {
    pub(crate) stdin: Arc<OwnedFd>,
    pub(crate) stdout: Arc<OwnedFd>,
}

/// An upstream server.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Upstream {
    pub(crate) name: String,
    pub(crate) config: config::Upstream,
    pub(crate) phase: Phase,
    pub(crate) life: Life,
    /// Number of its life, from 1.
    pub(crate) incarnation: u64,
    pub(crate) restarts: u64,
    pub(crate) pid: Option<u32>,
    #[serde(skip)]
    pub(crate) pipes: Option<Pipes>,
    pub(crate) report: Option<UpstreamReport>,
    pub(crate) handoff: Option<String>,
    pub(crate) last_exit: Option<String>,
    pub(crate) code: Option<Code>,
    pub(crate) usage: Usage,
    /// The gateway of now has asked for it.
    wanted: bool,
    /// It was sent to the gateway of now.
    delivered: bool,
    /// What the gateway had against it, for the reason of its end.
    complaint: Option<(Code, String)>,
    /// It restarts when its calls are answered, by that time at the latest.
    pub(crate) leaving_by: Option<Duration>,
}

impl Upstream {
    /// Gives the reason for its coming end.
    pub(crate) fn complain(&mut self, code: Code, why: &str) {
        self.complaint = Some((code, why.to_owned()));
    }

    fn new(name: &str, config: &config::Upstream) -> Self {
        let phase = match config.transport {
            _ if !config.enabled || config.is_self => Phase::Disabled,
            UpstreamTransport::Stdio { .. } => Phase::Idle,
            UpstreamTransport::Http { .. } => Phase::Remote,
        };
        Self {
            name: name.to_owned(),
            config: config.clone(),
            phase,
            life: Life::default(),
            incarnation: 0,
            restarts: 0,
            pid: None,
            pipes: None,
            report: None,
            handoff: None,
            last_exit: None,
            code: if config.is_self {
                Some(Code::ConfigSelfReference)
            } else {
                None
            },
            usage: Usage::default(),
            wanted: false,
            delivered: false,
            complaint: None,
            leaving_by: None,
        }
    }

    /// The shim that runs it.
    pub(crate) fn shim(&self) -> Option<ShimId> {
        match self.phase {
            Phase::Starting(shim, _) | Phase::Running(shim) | Phase::Ending(shim) => Some(shim),
            _ => None,
        }
    }

    /// Its state, as it is shown.
    pub(crate) fn state(&self, now: Duration) -> UpstreamState {
        let reported = || {
            self.report
                .as_ref()
                .map_or(UpstreamState::Starting, |report| report.state)
        };
        match self.phase {
            Phase::Idle | Phase::Queued | Phase::Starting(..) if !self.life.is_unwell(now) => {
                UpstreamState::Starting
            }
            Phase::Running(_) if !self.life.is_unwell(now) => reported(),
            Phase::Remote => reported(),
            Phase::Stopped => UpstreamState::Stopped,
            Phase::Disabled => UpstreamState::Disabled,
            _ if self.life.is_unwell(now) => UpstreamState::CrashLoop,
            _ => UpstreamState::Degraded,
        }
    }

    /// Whether it is known how it stands: up, or known not to be.
    pub(crate) fn is_settled(&self) -> bool {
        let reported = self
            .report
            .as_ref()
            .is_some_and(|report| report.state != UpstreamState::Starting);
        match self.phase {
            Phase::Idle | Phase::Queued | Phase::Starting(..) => self.life.quick() > 0,
            Phase::Running(_) | Phase::Remote => reported,
            Phase::Ending(_) | Phase::Backoff(_) | Phase::Stopped | Phase::Disabled => true,
        }
    }
}

impl Supervisor {
    /// Makes the upstreams fit the configuration: new ones appear, what vanished or changed ends
    /// once its calls are over, and what has not changed is not touched.
    pub(crate) fn lay_out_upstreams(&mut self) {
        let config = self.loaded.config.clone();
        let leave_by = self.leave_by();
        let mut names: Vec<&String> = config
            .order
            .iter()
            .filter(|name| config.mcp_servers.contains_key(*name))
            .collect();
        names.extend(
            config
                .mcp_servers
                .keys()
                .filter(|name| !config.order.contains(name)),
        );
        let mut old = std::mem::take(&mut self.upstreams);
        for name in names {
            let wanted = &config.mcp_servers[name];
            let known = old
                .iter()
                .position(|upstream| upstream.name == *name)
                .map(|at| old.swap_remove(at));
            let step = plan::step(known.as_ref().map(|known| &known.config), Some(wanted));
            let mut upstream = match (known, step) {
                (Some(mut known), None | Some(Step::InPlace)) => {
                    known.config = wanted.clone();
                    known
                }
                (Some(mut known), Some(Step::Reconnects)) => {
                    (known.config, known.report, known.code) = (wanted.clone(), None, None);
                    known
                }
                (Some(mut known), Some(Step::Restarts)) => {
                    known.config = wanted.clone();
                    match known.phase {
                        Phase::Starting(..) | Phase::Running(_) => {
                            known.leaving_by = Some(leave_by)
                        }
                        Phase::Backoff(_) | Phase::Stopped => {
                            (known.phase, known.life) = (Phase::Queued, Life::default())
                        }
                        _ => {}
                    }
                    known
                }
                (known, _) => self.appear(name, wanted, known, leave_by),
            };
            if let Some(problem) = self.loaded.blocked.get(name) {
                upstream.phase = Phase::Disabled;
                upstream.code = Some(problem.code);
                upstream.last_exit = Some(problem.to_string());
            }
            self.upstreams.push(upstream);
        }
        old.into_iter().for_each(|upstream| self.leave(upstream));
        self.end_stale_leases();
        self.revive_upstreams();
    }

    /// An upstream that is new, or takes the place of another one. Numbers of lives go on, so that
    /// a late word about an old life is not taken for the new one.
    fn appear(
        &mut self,
        name: &str,
        wanted: &config::Upstream,
        known: Option<Upstream>,
        leave_by: Duration,
    ) -> Upstream {
        let mut fresh = Upstream::new(name, wanted);
        fresh.incarnation = known.as_ref().map_or(0, |known| known.incarnation);
        if let Some(at) = self
            .leaving
            .iter()
            .position(|leaving| leaving.upstream.name == name)
        {
            let leaving = self.leaving.swap_remove(at).upstream;
            if fresh.phase == Phase::Idle {
                // Switched off and on again while its last calls are answered: the gateway may not
                // know of the first, so it is a restart.
                return Upstream {
                    config: wanted.clone(),
                    leaving_by: Some(leave_by),
                    ..leaving
                };
            }
            self.leave(leaving);
        }
        known.into_iter().for_each(|known| self.leave(known));
        fresh
    }

    /// Those that had been given up until a reload are tried again.
    pub(crate) fn revive_upstreams(&mut self) {
        for upstream in self
            .upstreams
            .iter_mut()
            .filter(|upstream| upstream.phase == Phase::Stopped)
        {
            let phase = if upstream.wanted {
                Phase::Queued
            } else {
                Phase::Idle
            };
            (upstream.phase, upstream.life, upstream.restarts) = (phase, Life::default(), 0);
        }
        self.start_queued();
    }

    /// The gateway has been replaced: what it had asked for, its successor asks for anew.
    pub(crate) fn forget_wants(&mut self) {
        for upstream in &mut self.upstreams {
            (upstream.wanted, upstream.delivered) = (false, false);
        }
    }

    /// The gateway asks for a server.
    pub(crate) fn want(&mut self, name: &str) {
        let now = self.now();
        let Some(at) = self
            .upstreams
            .iter()
            .position(|upstream| upstream.name == name)
        else {
            return;
        };
        let upstream = &mut self.upstreams[at];
        upstream.wanted = true;
        match upstream.phase {
            Phase::Idle => upstream.phase = Phase::Queued,
            Phase::Disabled | Phase::Stopped => {
                let (code, reason) = (
                    upstream.code.unwrap_or(Code::UpstreamDisabled),
                    upstream.last_exit.clone(),
                );
                self.tell_gone_at(
                    at,
                    code,
                    &reason.unwrap_or_else(|| "it is disabled".to_owned()),
                    None,
                );
            }
            Phase::Backoff(until) => {
                let (code, reason) = (
                    upstream.code.unwrap_or(Code::UpstreamExited),
                    upstream.last_exit.clone(),
                );
                self.tell_gone_at(
                    at,
                    code,
                    &reason.unwrap_or_default(),
                    Some(until.saturating_sub(now)),
                );
            }
            _ => {}
        }
        self.deliver_children();
        self.start_queued();
    }

    /// Starts waiting servers, as many at once as the configuration allows.
    pub(crate) fn start_queued(&mut self) {
        if self.stop.is_stopping() {
            return;
        }
        let limit = usize::from(self.loaded.config.server.start_concurrency.max(1));
        loop {
            let busy = self
                .upstreams
                .iter()
                .filter(|upstream| matches!(upstream.phase, Phase::Starting(..)))
                .count();
            let Some(at) = self
                .upstreams
                .iter()
                .position(|upstream| upstream.phase == Phase::Queued)
            else {
                return;
            };
            if busy >= limit {
                return;
            }
            self.start_upstream(at);
        }
    }

    fn start_upstream(&mut self, at: usize) {
        let now = self.now();
        let upstream = &mut self.upstreams[at];
        upstream.restarts += u64::from(upstream.incarnation > 0);
        upstream.incarnation += 1;
        upstream.life.started();
        (
            upstream.report,
            upstream.handoff,
            upstream.complaint,
            upstream.delivered,
            upstream.pid,
        ) = (None, None, None, false, None);
        let (name, life) = (upstream.name.clone(), upstream.incarnation.to_string());
        let Some(launch) = crate::supervisor::processes::environment::launch(&upstream.config)
        else {
            upstream.phase = Phase::Remote;
            return;
        };
        match self.start_shim(&name, &life, launch) {
            Ok((shim, pipes)) => {
                self.upstreams[at].phase = Phase::Starting(shim, now + START_UP);
                self.upstreams[at].pipes = Some(pipes);
            }
            Err(error) => {
                let (code, status) = error.verdict();
                self.upstream_ended(at, code, &format!("cannot be started: {error}"), status);
            }
        }
    }

    /// The server runs: the gateway gets its pipes.
    pub(crate) fn upstream_started(&mut self, shim: ShimId, pid: u32) {
        let Some(upstream) = self
            .upstreams
            .iter_mut()
            .find(|upstream| upstream.shim() == Some(shim))
        else {
            return;
        };
        upstream.pid = Some(pid);
        tracing::info!(target: "tools", upstream = %upstream.name, pid, "upstream started");
        self.deliver_children();
    }

    /// Sends the gateway each running server that it asked for and does not have yet. Not while an
    /// older gateway still drains: two readers on one pipe would tear messages apart.
    pub(crate) fn deliver_children(&mut self) {
        let Some(gateway) = self.workers.gateway() else {
            return;
        };
        if self
            .workers
            .procs
            .iter()
            .any(|(id, proc)| proc.role == Role::Gateway && *id != gateway)
        {
            return;
        }
        for at in 0..self.upstreams.len() {
            let upstream = &mut self.upstreams[at];
            let runs = matches!(upstream.phase, Phase::Starting(..) | Phase::Running(_));
            let (Some(pid), Some(pipes), true) = (
                upstream.pid,
                upstream.pipes.clone(),
                runs && upstream.wanted && !upstream.delivered,
            ) else {
                continue;
            };
            upstream.delivered = true;
            let (name, incarnation, handoff) = (
                upstream.name.clone(),
                upstream.incarnation,
                upstream.handoff.clone(),
            );
            let child = ToWorker::Child(Child {
                upstream: name,
                lease: 0,
                incarnation,
                pid,
                handoff,
            });
            self.tell(gateway, child, vec![pipes.stdin, pipes.stdout]);
        }
    }

    /// What the gateway thinks of a server.
    pub(crate) fn upstream_report(&mut self, report: UpstreamReport) {
        let now = self.now();
        let Some(upstream) = self
            .upstreams
            .iter_mut()
            .find(|upstream| upstream.name == report.upstream)
        else {
            return;
        };
        let remote = upstream.phase == Phase::Remote;
        if !remote && (report.incarnation != upstream.incarnation || upstream.shim().is_none()) {
            return;
        }
        if report.handoff.is_some() {
            upstream.handoff.clone_from(&report.handoff);
        }
        upstream.code = report.code;
        if report.state == UpstreamState::Ready {
            upstream.life.ready(now);
        }
        if let (Phase::Starting(shim, _), UpstreamState::Ready | UpstreamState::Degraded) =
            (upstream.phase, report.state)
        {
            upstream.phase = Phase::Running(shim);
        }
        if remote && report.state != UpstreamState::Ready {
            upstream.last_exit.clone_from(&report.detail);
        }
        upstream.report = Some(report);
        self.start_queued();
        self.answer_waiters();
    }

    /// The gateway has given a server's life up.
    pub(crate) fn recycle(&mut self, name: &str, incarnation: u64, code: Code, detail: String) {
        let now = self.now();
        let Some(upstream) = self
            .upstreams
            .iter_mut()
            .find(|upstream| upstream.name == name && upstream.incarnation == incarnation)
        else {
            return;
        };
        let (Phase::Starting(shim, _) | Phase::Running(shim)) = upstream.phase else {
            return;
        };
        tracing::warn!(target: "tools", upstream = name, code = %code, "upstream is ended and started again: {detail}");
        upstream.complaint = Some((code, detail));
        self.end_upstream_of(shim, Duration::ZERO, now);
        self.start_queued();
    }

    /// Ends the server that a shim runs: its stdin closes, after `patience` SIGTERM follows.
    pub(crate) fn end_upstream_of(&mut self, shim: ShimId, patience: Duration, now: Duration) {
        if let Some(upstream) = self
            .upstreams
            .iter_mut()
            .find(|upstream| upstream.shim() == Some(shim))
        {
            upstream.phase = Phase::Ending(shim);
            upstream.pipes = None;
        }
        self.shims.end(shim, patience, now);
    }

    /// A server's life is over, and nothing of it is left.
    pub(crate) fn upstream_gone(
        &mut self,
        shim: ShimId,
        code: Code,
        reason: &str,
        status: Option<i32>,
    ) {
        if self.lease_ended(shim, code, reason) {
            return;
        }
        if let Some(at) = self
            .upstreams
            .iter()
            .position(|upstream| upstream.shim() == Some(shim))
        {
            self.upstream_ended(at, code, reason, status);
        }
        self.start_queued();
        self.answer_waiters();
    }

    fn upstream_ended(&mut self, at: usize, code: Code, reason: &str, status: Option<i32>) {
        let (now, jitter, stopping) = (self.now(), self.jitter(), self.stop.is_stopping());
        let upstream = &mut self.upstreams[at];
        let (code, reason) = upstream.complaint.take().map_or_else(
            || (code, reason.to_owned()),
            |(code, why)| (code, format!("{why} ({reason})")),
        );
        (
            upstream.pid,
            upstream.pipes,
            upstream.report,
            upstream.handoff,
            upstream.leaving_by,
        ) = (None, None, None, None, None);
        (upstream.code, upstream.last_exit) = (Some(code), Some(reason.clone()));
        let asked = matches!(upstream.phase, Phase::Ending(_)) && stopping;
        let next = upstream.life.died(now, status, jitter);
        let exhausted = upstream
            .config
            .max_restarts
            .is_some_and(|most| upstream.life.quick() > most);
        let wait = match next {
            Next::Now => Some(Duration::ZERO),
            Next::After(delay) => Some(delay),
            Next::AtReload => None,
        }
        .filter(|_| !exhausted && !stopping);
        upstream.phase = wait.map_or(Phase::Stopped, |wait| Phase::Backoff(now + wait));
        let crash_loop = upstream.life.is_unwell(now);
        let name = upstream.name.clone();
        self.metrics.upstream_exit(&name, UpstreamExit::of(code));
        if asked {
            tracing::info!(target: "tools", upstream = %name, "upstream has ended: {reason}");
        } else {
            let next = wait.map_or_else(
                || "not started again".to_owned(),
                |wait| format!("next start in {} ms", wait.as_millis()),
            );
            tracing::warn!(target: "tools", upstream = %name, code = %code, "upstream ended: {reason}; {next}");
            if crash_loop {
                tracing::error!(target: "tools", upstream = %name, code = %Code::UpstreamCrashLoop, "upstream dies again and again; still tried");
            }
        }
        self.tell_gone_at(at, code, &reason, wait);
    }

    fn tell_gone_at(&mut self, at: usize, code: Code, reason: &str, wait: Option<Duration>) {
        let now = self.now();
        let upstream = &mut self.upstreams[at];
        upstream.delivered = false;
        let state = upstream.state(now);
        let message = gone(upstream, state, code, reason, wait);
        if let Some(gateway) = self.workers.gateway() {
            self.tell(gateway, message, Vec::new());
        }
    }

    /// What is due by now.
    pub(crate) fn upstreams_on_time(&mut self, now: Duration) {
        for upstream in &mut self.upstreams {
            match upstream.phase {
                // A start-up that takes too long only loses its place in the queue; whether the
                // server is any good is the gateway's to say.
                Phase::Starting(shim, until) if until <= now => {
                    upstream.phase = Phase::Running(shim)
                }
                Phase::Backoff(until) if until <= now => upstream.phase = Phase::Queued,
                _ => {}
            }
        }
        self.start_queued();
        self.shims.on_time(now);
    }

    /// When something has to be done about an upstream if nothing happens.
    pub(crate) fn upstreams_deadline(&self) -> Option<Duration> {
        let own = self
            .upstreams
            .iter()
            .filter_map(|upstream| match upstream.phase {
                Phase::Starting(_, until) | Phase::Backoff(until) => Some(until),
                _ => None,
            });
        own.chain(self.shims.deadline()).min()
    }
}

fn gone(
    upstream: &Upstream,
    state: UpstreamState,
    code: Code,
    reason: &str,
    wait: Option<Duration>,
) -> ToWorker {
    ToWorker::ChildGone(ChildGone {
        upstream: upstream.name.clone(),
        lease: 0,
        incarnation: upstream.incarnation,
        state,
        code,
        reason: reason.to_owned(),
        next_start_ms: wait.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
    })
}
