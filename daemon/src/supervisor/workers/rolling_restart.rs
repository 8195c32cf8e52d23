//! Replacing workers one after another without closing a listener: what `Restart` asks for. A new
//! configuration takes no replacement (`reload/`).

use crate::{
    ipc::messages::Role,
    platform,
    supervisor::{Supervisor, event::Reply},
};
use ggen_wire::{
    Code,
    control::{Body, Failure},
};
use std::time::Duration;

/// Who waits for a rolling replacement.
#[derive(Debug, Default)]
pub(crate) struct RollingRestart {
    watchers: Vec<Reply>,
    outcome: String,
    /// It goes on when no gateway worker drains any more.
    waits: bool,
}

impl Supervisor {
    /// Replaces the workers of these slots, one after another.
    pub(crate) fn roll_through(
        &mut self,
        names: Vec<String>,
        outcome: String,
        watcher: Option<Reply>,
    ) {
        self.rolling.watchers.extend(watcher);
        self.rolling.outcome = outcome;
        let idle = self.workers.rolling.is_empty();
        for name in names {
            if !self.workers.rolling.contains(&name) {
                self.workers.rolling.push_back(name);
            } else if !idle && self.workers.rolling.front() == Some(&name) {
                // The one in turn was started with what was in force before: it comes round once
                // more.
                self.workers.rolling.push_back(name);
            }
        }
        if idle {
            self.roll();
        }
    }

    /// All have been replaced.
    pub(crate) fn rolling_done(&mut self) {
        let outcome = std::mem::take(&mut self.rolling.outcome);
        for watcher in std::mem::take(&mut self.rolling.watchers) {
            watcher.last(Ok(Body::Done(outcome.clone())));
        }
    }

    /// A new process died before it was Ready; a predecessor goes on if there is one, and so do
    /// those that had not had their turn.
    pub(crate) fn rolling_failed(&mut self, name: &str, reason: &str) {
        self.workers.rolling.clear();
        self.rolling.waits = false;
        let message = format!(
            "the new {name} died before it was ready ({reason}); workers that were not replaced yet go on"
        );
        tracing::error!(target: "mcp_server", code = %Code::WorkerDied, "{message}");
        let failure: Failure = crate::supervisor::control::calls::failure(
            Code::WorkerDied,
            &message,
            "ggen mcp server logs --level error",
        );
        for watcher in std::mem::take(&mut self.rolling.watchers) {
            watcher.last(Err(failure.clone()));
        }
    }

    /// A gateway worker is gone, and what waited for its end goes on.
    pub(crate) fn roll_on(&mut self) {
        let drains = self
            .workers
            .procs
            .values()
            .filter(|proc| proc.role == Role::Gateway)
            .count()
            > 1;
        if self.rolling.waits && !drains {
            self.rolling.waits = false;
            self.roll();
        }
    }

    /// Starts the replacement of the next slot in turn.
    pub(crate) fn roll(&mut self) {
        while let Some(name) = self.workers.rolling.front().cloned() {
            let gateway = self.workers.gateway();
            let drains = self
                .workers
                .procs
                .iter()
                .any(|(id, proc)| proc.role == Role::Gateway && Some(*id) != gateway);
            let Some(slot) = self.workers.slot_mut(&name) else {
                self.workers.rolling.pop_front();
                continue;
            };
            slot.failed = false;
            let (role, current) = (slot.role, slot.current);
            if role == Role::Gateway {
                // The one of now has no server's pipes yet while an older one drains, and what
                // waits for them there would be lost.
                if drains {
                    self.rolling.waits = true;
                    return;
                }
                // Two gateways would read from the same pipes: the old one gets only a short time,
                // and the new one gets the children after it.
                slot.current = None;
                self.start_worker(&name, false);
                if let Some(old) = current {
                    self.drain_worker_within(old, Duration::from_secs(5));
                }
            } else if let (Role::Quic, false, Some(old)) = (role, platform::STEERS, current) {
                // There is one socket: its end makes room for the next one.
                self.drain_worker_within(old, Duration::from_secs(5));
            } else {
                self.start_worker(&name, current.is_some());
            }
            return;
        }
        self.rolling_done();
    }
}
