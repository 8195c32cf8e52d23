//! The life of a leased child: started, greeted, used, idle, ended. Which call it serves is
//! `lease`'s to say. Its lists, changes and subscriptions count for nothing: those are the shared
//! child's.

use crate::api::{Lease, Micros, Output, UpId, UpInput};
use crate::call::record::Purpose;
use crate::gateway::Gateway;
use crate::protocol::refusal::{Refusal, rpc};
use crate::upstream::{Caps, Conn, Lent, Phase, UpEra};
use ggen_wire::{Code, log::Level};
use std::sync::Arc;

/// After a child that did not come up, no other one is started for so long.
const PENALTY: Micros = 60_000_000;
/// How long a child may wait for its turn to start, on top of the time for its handshake.
const TURN: Micros = 30_000_000;
/// Given-up calls of one child that are remembered.
const LATE: usize = 64;

impl Gateway {
    /// Something about a leased child. What is late from one that is not on the books any more is
    /// nobody's.
    pub(crate) fn leased(&mut self, up: UpId, lease: Lease, event: UpInput) {
        let Some(at) = self
            .up_ref(up)
            .conns
            .iter()
            .position(|conn| conn.is_leased() && conn.lease == lease)
        else {
            return;
        };
        match event {
            UpInput::Connected { .. } => {
                self.up_mut(up).conns[at].used = self.cx.now;
                if self.up_ref(up).era == Some(UpEra::Modern) {
                    self.ready(up, at);
                } else {
                    self.initialize_upstream(up, at);
                }
            }
            UpInput::Line(line) => self.received(up, at, None, line),
            UpInput::Overlong(head) => self.overlong(up, at, &head),
            UpInput::Lost { code, reason, .. }
                if self.up_ref(up).conns[at].phase == Phase::Ready =>
            {
                let name = &self.up_ref(up).settings.name;
                let refusal = Refusal::new(200, rpc::INTERNAL, code, &format!("{name}: {reason}"));
                let refusal = refusal.with("server", &crate::protocol::json::quote(name));
                let text = format!("{name}: the child of some calls is gone: {reason}");
                self.cx
                    .note(Level::Warn, "tools", Some(up), Some(code), text);
                self.forget_child(up, at, &refusal);
            }
            UpInput::Lost { code, reason, .. } => self.child_failed(up, at, code, &reason, false),
            UpInput::Head { .. } | UpInput::Message { .. } | UpInput::End { .. } => {}
        }
    }

    /// A child has not come up: no other one is tried for a while. `runs`: there is a process to
    /// end.
    pub(crate) fn child_failed(
        &mut self,
        up: UpId,
        at: usize,
        code: Code,
        reason: &str,
        runs: bool,
    ) {
        let name = self.up_ref(up).settings.name.clone();
        let until = self.cx.now + PENALTY;
        self.up_mut(up).no_leases = Some((until, code, reason.to_owned()));
        let text = format!(
            "{name}: one more child cannot be had ({reason}); for a while its calls cannot ask their clients for anything"
        );
        self.cx
            .note(Level::Warn, "mcp_server", Some(up), Some(code), text);
        if runs {
            let lease = self.up_ref(up).conns[at].lease;
            self.cx.emit(Output::Unlease {
                up,
                lease,
                kill: true,
            });
        }
        self.forget_child(
            up,
            at,
            &Refusal::new(200, rpc::INTERNAL, code, &format!("{name}: {reason}")),
        );
    }

    /// Ends a child that is not needed any more.
    pub(crate) fn end_child(&mut self, up: UpId, at: usize, kill: bool) {
        let lease = self.up_ref(up).conns[at].lease;
        self.cx.emit(Output::Unlease { up, lease, kill });
        let name = self.up_ref(up).settings.name.clone();
        self.forget_child(
            up,
            at,
            &Refusal::new(200, rpc::INTERNAL, Code::UpstreamExited, &name),
        );
    }

    /// A child is gone: its calls fail, its place is free.
    fn forget_child(&mut self, up: UpId, at: usize, refusal: &Refusal) {
        self.fail_calls(up, Some(at), refusal, "lost");
        self.up_mut(up).conns[at] = Conn::new(Caps::default());
        self.touch(up);
    }

    /// A call was given up whose answer may still come: until then, questions and log messages of
    /// that child may be about it.
    pub(crate) fn answer_may_come(&mut self, up: UpId, at: usize, number: u64) {
        let until = self.cx.now + self.cx.limits.lease_grace;
        let late = &mut self.up_mut(up).conns[at].late;
        if late.len() < LATE {
            late.push((number, until));
        }
    }

    /// The answer to a call that was given up: true if it was waited for.
    pub(crate) fn late_answer(&mut self, up: UpId, at: usize, number: u64) -> bool {
        let conn = &mut self.up_mut(up).conns[at];
        let before = conn.late.len();
        conn.late.retain(|(late, _)| *late != number);
        let found = conn.late.len() < before;
        if found {
            self.touch(up);
        }
        found
    }

    /// Children that were for one call, and are done with it.
    pub(crate) fn end_spent(&mut self, up: UpId) {
        for at in 1..self.up_ref(up).conns.len() {
            let conn = &self.up_ref(up).conns[at];
            let spent =
                conn.is_leased() && conn.lent == Lent::Once && conn.spent && conn.late.is_empty();
            if spent && !self.has_calls(up, at) {
                self.end_child(up, at, false);
            }
        }
    }

    /// A session is over: what was kept for it is not needed any more.
    pub(crate) fn session_leaves(&mut self, name: &Arc<str>) {
        for up in self.ups.ids() {
            for at in 1..self.up_ref(up).conns.len() {
                let conn = &mut self.up_mut(up).conns[at];
                if !conn.is_leased() || conn.user.as_ref() != Some(name) {
                    continue;
                }
                conn.user = None;
                if conn.lent == Lent::Session {
                    self.end_child(up, at, false);
                }
            }
        }
    }

    /// What time does to leased children.
    pub(crate) fn children_due(&mut self, up: UpId) {
        for at in 1..self.up_ref(up).conns.len() {
            let conn = &self.up_ref(up).conns[at];
            if !conn.is_leased() {
                continue;
            }
            if conn.phase != Phase::Ready {
                if self.cx.now >= conn.used + self.cx.limits.handshake + TURN {
                    self.calls.retain(|_, call| {
                        call.up != up
                            || call.conn != at
                            || !matches!(call.purpose, Purpose::Initialize)
                    });
                    self.child_failed(
                        up,
                        at,
                        Code::UpstreamSilent,
                        "it is not there in time",
                        true,
                    );
                }
            } else if self.is_over(up, at) && !self.has_calls(up, at) {
                let kill = !self.up_ref(up).conns[at].late.is_empty();
                self.end_child(up, at, kill);
            }
        }
    }

    /// Whether a child is a call's, or a task's: one may be between two rounds, when nothing of it
    /// is in flight.
    fn has_calls(&self, up: UpId, at: usize) -> bool {
        self.works_at(up, at)
            || !self.up_ref(up).conns[at].calls.is_empty()
            || self.calls.values().any(|call| {
                call.up == up && call.conn == at && matches!(call.purpose, Purpose::Client(_))
            })
    }

    /// Whether an idle child has served its time.
    fn is_over(&self, up: UpId, at: usize) -> bool {
        let conns = &self.up_ref(up).conns;
        let conn = &conns[at];
        let idle = self.cx.now >= conn.used + self.cx.limits.lease_idle;
        let lives = conn
            .user
            .as_ref()
            .is_some_and(|session| self.clients.has_session(session));
        match conn.lent {
            // A server need not answer what was cancelled, so that it has to be asked: nobody else
            // gets a child that may still be at it.
            _ if !lives && conn.late.iter().any(|(_, until)| *until <= self.cx.now) => true,
            Lent::Session => !lives,
            Lent::Pooled if idle && lives => {
                // The one that was used last is kept while its session lives: a server may remember
                // something for it.
                let later = |other: &Conn| {
                    other.is_leased() && other.caps == conn.caps && other.used > conn.used
                };
                !conn.late.is_empty() || conns.iter().any(later)
            }
            _ => idle,
        }
    }
}
