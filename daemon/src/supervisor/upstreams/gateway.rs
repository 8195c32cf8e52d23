//! What the gateway worker asks for and says of upstreams, and what it is told.

use super::{Context, Effect, Upstreams, upstream::Phase};
use crate::ipc::messages::{ToWorker, UpstreamReport};
use ggen_wire::{Code, status::UpstreamState};
use std::time::Duration;

impl Upstreams {
    /// The gateway worker has been replaced. What it had asked for, its successor asks for anew.
    pub(crate) fn gateway_replaced(&mut self) {
        for upstream in &mut self.all {
            (upstream.wanted, upstream.delivered) = (false, false);
        }
    }

    /// The gateway worker asks for a server.
    pub(crate) fn want(&mut self, name: &str, context: &mut Context<'_>) -> Vec<Effect> {
        let Some(at) = self.all.iter().position(|upstream| upstream.name == name) else {
            return Vec::new();
        };
        let mut effects = Vec::new();
        let upstream = &mut self.all[at];
        upstream.wanted = true;
        match upstream.phase {
            Phase::Idle => upstream.phase = Phase::Queued,
            Phase::Disabled | Phase::Stopped => {
                let code = upstream.code.unwrap_or(Code::UpstreamDisabled);
                let reason = upstream.last_exit.clone();
                let reason = reason.unwrap_or_else(|| "it is disabled".to_owned());
                effects.extend(self.tell_gone(at, code, &reason, None, context));
            }
            Phase::Backoff(until) => {
                let code = upstream.code.unwrap_or(Code::UpstreamExited);
                let reason = upstream.last_exit.clone().unwrap_or_default();
                let wait = until.saturating_sub(context.now);
                effects.extend(self.tell_gone(at, code, &reason, Some(wait), context));
            }
            _ => {}
        }
        effects.extend(self.deliver(context));
        effects.extend(self.start_queued(context));
        effects
    }

    /// Sends the gateway worker each running server that it asked for and does not have yet. Not
    /// while an older one still drains: two readers on one pipe would tear messages apart.
    pub(crate) fn deliver(&mut self, context: &mut Context<'_>) -> Vec<Effect> {
        let mut effects = Vec::new();
        let Some(gateway) = context.gateway.filter(|_| !context.gateway_drains) else {
            return effects;
        };
        for upstream in &mut self.all {
            let is_due = upstream.live_shim().is_some() && upstream.wanted && !upstream.delivered;
            let (Some(pid), Some(pipes), true) = (upstream.pid, upstream.pipes.clone(), is_due)
            else {
                continue;
            };
            upstream.delivered = true;
            let torn = upstream.shim().and_then(|shim| self.shims.torn(shim));
            let descriptors = [pipes.stdin, pipes.stdout].into_iter().chain(torn.cloned());
            let child = ToWorker::Child(upstream.child(pid));
            effects.push(Effect::Tell(gateway, child, descriptors.collect()));
        }
        effects
    }

    /// Tells the gateway worker that an upstream's child is gone. `wait`: when the next one starts.
    pub(super) fn tell_gone(
        &mut self,
        at: usize,
        code: Code,
        reason: &str,
        wait: Option<Duration>,
        context: &mut Context<'_>,
    ) -> Option<Effect> {
        let upstream = &mut self.all[at];
        upstream.delivered = false;
        let gone = upstream.gone(code, reason, wait, context.now);
        let gateway = context.gateway?;
        Some(Effect::Tell(gateway, ToWorker::ChildGone(gone), Vec::new()))
    }

    /// The gateway worker has sent a server the probe of its era and nothing else, or, with
    /// `outstanding: false`, something else or got an answer.
    pub(crate) fn probe(&mut self, name: &str, incarnation: u64, outstanding: bool) {
        if let Some(upstream) = self.get_mut(name)
            && upstream.incarnation == incarnation
            && upstream.live_shim().is_some()
        {
            upstream.probed = outstanding;
        }
    }

    /// The gateway worker says how a server is.
    pub(crate) fn report(
        &mut self,
        report: UpstreamReport,
        context: &mut Context<'_>,
    ) -> Vec<Effect> {
        let Some(upstream) = self.get_mut(&report.upstream) else {
            return Vec::new();
        };
        let is_remote = upstream.phase == Phase::Remote;
        let is_late = report.incarnation != upstream.incarnation || upstream.shim().is_none();
        if !is_remote && is_late {
            return Vec::new();
        }
        if report.handoff.is_some() {
            upstream.handoff.clone_from(&report.handoff);
        }
        upstream.code = report.code;
        if report.state == UpstreamState::Ready {
            upstream.life.ready(context.now);
            (upstream.probed, upstream.spared) = (false, false);
        }
        if let (Phase::Starting(shim, _), UpstreamState::Ready | UpstreamState::Degraded) =
            (upstream.phase, report.state)
        {
            upstream.phase = Phase::Running(shim);
        }
        if is_remote && report.state != UpstreamState::Ready {
            upstream.last_exit.clone_from(&report.detail);
        }
        upstream.report = Some(report);
        let mut effects = self.start_queued(context);
        effects.push(Effect::Changed);
        effects
    }

    /// The gateway worker has given a server's life up: it is ended and started again.
    pub(crate) fn recycle(
        &mut self,
        name: &str,
        incarnation: u64,
        code: Code,
        detail: String,
        context: &mut Context<'_>,
    ) -> Vec<Effect> {
        let upstream = self
            .get_mut(name)
            .filter(|upstream| upstream.incarnation == incarnation);
        let Some(upstream) = upstream else {
            return Vec::new();
        };
        let Some(shim) = upstream.live_shim() else {
            return Vec::new();
        };
        tracing::warn!(target: "tools", upstream = name, code = %code, "upstream is ended and started again: {detail}");
        upstream.complaint = Some((code, detail));
        self.end(shim, Duration::ZERO, context.now);
        self.start_queued(context)
    }
}
