//! Children of stdio servers beside the shared ones: their pipes, by upstream and number. The
//! supervisor runs them; the relay decides which call gets which child.

use super::stdio;
use crate::{
    ipc::messages::{ChildGone, ToSupervisor},
    worker::gateway::driver::{Connection, Core, Driver, ready::Token},
};
use ggen_mcp::api::{Input, Lease, Micros, SHARED, UpId, UpInput};
use ggen_wire::{Code, status::UpstreamState};
use std::{collections::BTreeMap, os::fd::OwnedFd};

/// The leased children that run, by upstream and number.
pub(crate) type Leases = BTreeMap<(u32, Lease), Box<stdio::Child>>;

impl<C: Core> Driver<C> {
    /// A running child of a stdio server.
    pub(crate) fn child(&mut self, up: UpId, lease: Lease) -> Option<&mut stdio::Child> {
        if lease != SHARED {
            return self.leases.get_mut(&(up.0, lease)).map(Box::as_mut);
        }
        match self.upstreams.get_mut(up.0 as usize) {
            Some(Connection::Child(child)) => Some(child),
            _ => None,
        }
    }

    /// The pipes of a leased child are there.
    pub(crate) fn lease_runs(&mut self, up: UpId, lease: Lease, stdin: OwnedFd, stdout: OwnedFd) {
        let waker = self.ready.waker(Token::Child(up.0, lease));
        match stdio::Child::new(1, stdin, stdout, None, waker, self.chunk) {
            Ok(pipes) => {
                self.leases.insert((up.0, lease), Box::new(pipes));
                self.relay.give(Input::Leased(
                    up,
                    lease,
                    UpInput::Connected {
                        incarnation: 1,
                        handoff: None,
                    },
                ));
                self.ready.mark(Token::Child(up.0, lease));
            }
            Err(error) => self.lease_fails(
                up,
                lease,
                Code::Internal,
                &format!("its pipes cannot be taken: {error}"),
            ),
        }
    }

    /// A leased child is gone, or could not be started.
    pub(crate) fn lease_gone(&mut self, up: UpId, gone: ChildGone) {
        if let Some(mut child) = self.leases.remove(&(up.0, gone.lease)) {
            let relay = &mut self.relay;
            let now = relay.now;
            child.last_words(now, &mut |input| {
                relay.give(Input::Leased(up, gone.lease, input))
            });
        }
        self.relay
            .give(Input::Leased(up, gone.lease, lost(gone.code, gone.reason)));
    }

    /// The relay needs a leased child no more.
    pub(crate) fn unlease(&mut self, up: UpId, lease: Lease, kill: bool) {
        if let Some(Connection::Sse(channels)) = self.upstreams.get_mut(up.0 as usize) {
            return channels.close(lease);
        }
        if let Some(mut child) = self.leases.remove(&(up.0, lease)) {
            // What was written in this turn, a last notification perhaps, still goes out.
            child.flush(self.relay.now);
        }
        if let Some(upstream) = self.name(up) {
            self.send(ToSupervisor::Unlease {
                upstream,
                lease,
                kill,
            });
        }
    }

    /// A leased child is no good any more.
    pub(crate) fn lease_fails(&mut self, up: UpId, lease: Lease, code: Code, reason: &str) {
        self.unlease(up, lease, true);
        self.relay
            .give(Input::Leased(up, lease, lost(code, reason.to_owned())));
    }

    /// The children of an upstream end: its entry has changed, or is gone.
    pub(crate) fn end_leases(&mut self, up: UpId) {
        let all: Vec<_> = self
            .leases
            .range((up.0, SHARED)..=(up.0, Lease::MAX))
            .map(|((_, lease), _)| *lease)
            .collect();
        for lease in all {
            self.unlease(up, lease, false);
            self.relay.give(Input::Leased(
                up,
                lease,
                lost(Code::UpstreamExited, "its entry has changed".to_owned()),
            ));
        }
    }

    /// What time does to children: pauses end; those that have closed a pipe and live on are no
    /// good. Returns when to look again.
    pub(crate) fn children_due(&mut self) -> Option<Micros> {
        let (now, mut next, mut stuck) = (self.relay.now, None, Vec::new());
        let shared =
            (0..)
                .zip(&mut self.upstreams)
                .filter_map(|(up, connection)| match connection {
                    Connection::Child(child) => Some(((up, SHARED), child)),
                    _ => None,
                });
        for ((up, lease), child) in
            shared.chain(self.leases.iter_mut().map(|(key, child)| (*key, child)))
        {
            if child.resume(now) {
                self.ready.mark(Token::Child(up, lease));
            }
            let due = child
                .paused_until()
                .map(|until| until.saturating_sub(now))
                .or(child.closing().then_some(ggen_mcp::api::TICK));
            next = next.into_iter().chain(due).min();
            if let Some(what) = child.half_closed(now) {
                stuck.push((UpId(up), lease, child.incarnation, what));
            }
        }
        for (up, lease, incarnation, what) in stuck {
            self.replace(up, lease, incarnation, Code::UpstreamSilent, what);
        }
        next
    }

    /// A child is no good: the supervisor replaces a shared one; a leased one just ends.
    pub(crate) fn replace(
        &mut self,
        up: UpId,
        lease: Lease,
        incarnation: u64,
        code: Code,
        what: &str,
    ) {
        if lease == SHARED {
            self.recycle(up, incarnation, code, what.to_owned());
        } else {
            self.lease_fails(up, lease, code, what);
        }
    }
}

fn lost(code: Code, reason: String) -> UpInput {
    UpInput::Lost {
        state: UpstreamState::Degraded,
        code,
        reason,
        next_start: None,
    }
}
