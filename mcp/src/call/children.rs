//! Children of stdio servers that are leased to calls: started, given to calls, and ended, as
//! [`crate::lease`] decides.

use crate::api::{Isolation, Micros, Output, UpId};
use crate::call::Calling;
use crate::in_flight::record::{ClientCall, Purpose};
use crate::lease::allocation::{Allocation, Caller, Want};
use crate::lease::lifecycle::Due;
use crate::lease::remote::Place;
use crate::lease::{allocation, lifecycle, remote};
use crate::observation::CallOutcome;
use crate::protocol::refusal::{Refusal, rpc};
use crate::upstream::{Conn, ConnState, Lent, UpEra};
use ggen_wire::Code;
use ggen_wire::log::Level;
use std::sync::Arc;

/// A call whose child is being started is looked at again after this time.
const AGAIN: Micros = 1_000_000;

impl Calling<'_> {
    /// The connection of a call for a stdio server: the shared child, or the place where calls wait
    /// for one of their own.
    pub(crate) fn child_for(&mut self, up: UpId, call: &ClientCall) -> usize {
        if Want::of(self.ups.get(up), &Caller::of(call)).is_none() {
            return 0;
        }
        self.leases.touch(up);
        allocation::waiting_place(self.ups.get_mut(up))
    }

    /// Gives children to the calls that wait for one at a server where something has changed, in the
    /// order of their arrival. False: there is no such server.
    pub(crate) fn lend(&mut self) -> bool {
        let Some(up) = self.leases.next_changed() else {
            return false;
        };
        self.end_spent(up);
        let mut promised = Vec::new();
        for number in allocation::waiting_calls(self.ups.get(up)).to_vec() {
            self.allocate(up, number, &mut promised);
        }
        true
    }

    /// Gives a waiting call a child that is free, or sees to it that there will be one.
    fn allocate(&mut self, up: UpId, number: u64, promised: &mut Vec<usize>) {
        let Some(Purpose::Client(client)) = self.calls.get(&number).map(|call| &call.purpose)
        else {
            return;
        };
        let upstream = self.ups.get(up);
        let want = Want::of(upstream, &Caller::of(client));
        let busy = self.tasks.leases_at_work(up, self.cx.now);
        match allocation::allocate(upstream, want.as_ref(), &busy, promised, self.cx.now) {
            Allocation::Assign(at) => self.assign(up, number, at),
            Allocation::Wait => {}
            Allocation::Fail => self.fail_without_child(up, number),
            Allocation::Start => {
                if let Some(want) = want
                    && (allocation::has_room(upstream) || self.make_room(up))
                {
                    let now = self.cx.now;
                    let (at, lease) = allocation::start(self.ups.get_mut(up), &want, now);
                    self.cx.emit(Output::Lease(up, lease));
                    promised.push(at);
                }
            }
        }
    }

    /// Ends the child that has been idle for longest, if there is one.
    fn make_room(&mut self, up: UpId) -> bool {
        let mut busy =
            self.tasks
                .leases_asked_for(up, self.cx.limits.pending_input_time, self.cx.now);
        // A call may be between two rounds, when nothing of it is in flight.
        let conns = &self.ups.get(up).conns;
        let calls = self.calls.values().filter(|call| call.up == up);
        let clients = calls.filter(|call| matches!(call.purpose, Purpose::Client(_)));
        busy.extend(clients.filter_map(|call| conns.get(call.conn).map(|conn| conn.lease)));
        let Some(at) = allocation::idlest(self.ups.get(up), &busy, self.cx.now) else {
            return false;
        };
        let conn = &self.ups.get(up).conns[at];
        let (kill, has_user) = (
            !conn.late.is_empty() || self.tasks.works_at(self.ups.get(up), at, self.cx.now),
            conn.user.is_some(),
        );
        if has_user {
            self.connecting().tell_no_room(up);
        }
        self.end_child(up, at, kill);
        true
    }

    /// A call leaves the place where it waited: it is written to that child.
    fn assign(&mut self, up: UpId, number: u64, at: usize) {
        let now = self.cx.now;
        let Some(call) = self.calls.get_mut(&number) else {
            return;
        };
        let Purpose::Client(client) = &call.purpose else {
            return;
        };
        let want = Want::of(self.ups.get(up), &Caller::of(client));
        (call.began, call.deadline) = (now, now + client.timeout);
        let from = std::mem::replace(&mut call.conn, at);
        let was = self.ups.get(up).conns[at].user.clone();
        allocation::assign(self.ups.get_mut(up), number, (from, at), want.as_ref(), now);
        if at > 0 && self.ups.get(up).conns[at].user != was {
            self.connecting().child_passes_on((up, at));
        }
        self.connecting().dispatch(number);
    }

    /// No more children can be had, and the call may not share one.
    fn fail_without_child(&mut self, up: UpId, number: u64) {
        let upstream = self.ups.get(up);
        let Some((_, code, why)) = &upstream.no_leases else {
            return;
        };
        let text = format!("{}: {why}", upstream.settings.name);
        let refusal = Refusal::new(200, rpc::INTERNAL, *code, &text);
        self.refuse_call(up, number, &refusal);
    }

    fn refuse_call(&mut self, up: UpId, number: u64, refusal: &Refusal) {
        if let Some((_, call)) = self.take_call(up, number)
            && let Purpose::Client(client) = &call.purpose
        {
            self.give_up(&call, client, refusal, CallOutcome::Error);
        }
    }

    /// A call that waits for a child has waited long enough. True: it waits on, because its child
    /// is on its way.
    pub(crate) fn waits_on(&mut self, number: u64, up: UpId) -> bool {
        let upstream = &self.ups.get(up);
        let Some(call) = self
            .calls
            .get_mut(&number)
            .filter(|call| upstream.conns[call.conn].lent == Lent::Waiting)
        else {
            return false;
        };
        let Purpose::Client(client) = &call.purpose else {
            return false;
        };
        let want = Want::of(upstream, &Caller::of(client));
        if want.is_some_and(|want| allocation::is_coming(upstream, &want)) {
            call.deadline = self.cx.now + AGAIN;
            return true;
        }
        let (name, pool) = (&upstream.settings.name, upstream.settings.pool);
        let detail = format!(
            "{name}: all of its {pool} children for clients that do not share one are in use (server.connection_pool)"
        );
        let code = Code::UpstreamBusy;
        let refusal = Refusal::new(503, rpc::INTERNAL, code, &detail).retry(1);
        self.cx
            .note(Level::Warn, "tools", Some(up), Some(code), detail);
        self.refuse_call(up, number, &refusal);
        true
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
        let until = self.cx.now + lifecycle::PENALTY;
        let upstream = self.ups.get_mut(up);
        upstream.no_leases = Some((until, code, reason.to_owned()));
        let (name, lease) = (&upstream.settings.name, upstream.conns[at].lease);
        let refusal = Refusal::new(200, rpc::INTERNAL, code, &format!("{name}: {reason}"));
        let text = format!(
            "{name}: one more child cannot be had ({reason}); for a while its clients share one, and cannot be asked for anything"
        );
        self.cx
            .note(Level::Warn, "mcp_server", Some(up), Some(code), text);
        if runs {
            self.cx.emit(Output::Unlease {
                up,
                lease,
                kill: true,
            });
        }
        self.forget_child(up, at, &refusal);
    }

    /// Ends a child that is not needed any more.
    pub(crate) fn end_child(&mut self, up: UpId, at: usize, kill: bool) {
        let upstream = self.ups.get(up);
        let (name, lease) = (&upstream.settings.name, upstream.conns[at].lease);
        let refusal = Refusal::new(200, rpc::INTERNAL, Code::UpstreamExited, name);
        self.cx.emit(Output::Unlease { up, lease, kill });
        self.forget_child(up, at, &refusal);
    }

    /// The answer to a call of a child that was given up has come.
    pub(crate) fn late_answer(&mut self, up: UpId, at: usize, number: u64) {
        if lifecycle::late_answer(&mut self.ups.get_mut(up).conns[at], number) {
            self.leases.touch(up);
        }
    }

    /// A child is gone: its calls fail, its place is free.
    pub(crate) fn forget_child(&mut self, up: UpId, at: usize, refusal: &Refusal) {
        self.fail_calls(up, Some(at), refusal, CallOutcome::Lost);
        self.ups.get_mut(up).conns[at] = Conn::empty();
        self.leases.touch(up);
    }

    /// Ends the children that were for one call, and are done with it.
    fn end_spent(&mut self, up: UpId) {
        for at in 1..self.ups.get(up).conns.len() {
            if lifecycle::is_spent(&self.ups.get(up).conns[at]) && !self.has_calls(up, at) {
                self.end_child(up, at, false);
            }
        }
    }

    /// A session is over: what was kept for it is not needed any more.
    pub(crate) fn session_leaves(&mut self, name: &Arc<str>) {
        for up in self.ups.ids() {
            for at in 1..self.ups.get(up).conns.len() {
                let upstream = self.ups.get_mut(up);
                let may_inherit = upstream.settings.isolation != Isolation::PerSession;
                let is_over = lifecycle::session_leaves(&mut upstream.conns[at], name, may_inherit);
                match is_over {
                    true if self.ups.get(up).is_http() => self.connecting().close_conn(up, at),
                    true => self.end_child(up, at, false),
                    false => {}
                }
            }
        }
    }

    /// What time does to leased children.
    pub(crate) fn children_due(&mut self, up: UpId) {
        for at in 1..self.ups.get(up).conns.len() {
            let lives = |session: &Arc<str>| self.clients.has_session(session);
            match lifecycle::due(self.ups.get(up), at, lives, &self.cx.limits, self.cx.now) {
                Due::End { kill } if !self.has_calls(up, at) => self.end_child(up, at, kill),
                Due::Nothing | Due::End { .. } => {}
                Due::Failed => {
                    self.calls.retain(|_, call| {
                        call.up != up
                            || call.conn != at
                            || !matches!(call.purpose, Purpose::Initialize)
                    });
                    let why = "it is not there in time";
                    self.child_failed(up, at, Code::UpstreamSilent, why, true);
                }
            }
        }
    }

    /// Whether a child is a call's, or a task's: one may be between two rounds, when nothing of it
    /// is in flight.
    fn has_calls(&self, up: UpId, at: usize) -> bool {
        self.tasks.works_at(self.ups.get(up), at, self.cx.now)
            || !self.ups.get(up).conns[at].calls.is_empty()
            || self.calls.values().any(|call| {
                call.up == up && call.conn == at && matches!(call.purpose, Purpose::Client(_))
            })
    }

    /// The connection that takes a call.
    pub(crate) fn conn_for(&mut self, up: UpId, call: &ClientCall) -> usize {
        if !self.ups.get(up).is_http() {
            return self.child_for(up, call);
        }
        match Want::of(self.ups.get(up), &Caller::of(call)) {
            Some(want) if self.ups.get(up).has_sessions(want.era()) => self.session_for(up, &want),
            _ => 0,
        }
    }

    /// The session of a legacy HTTP server that takes such a call: what the server asks or says
    /// outside of a call's stream is then one user's.
    fn session_for(&mut self, up: UpId, want: &Want) -> usize {
        let now = self.cx.now;
        let busy = self.tasks.remotes_at_work(up, now);
        let at = match remote::place(self.ups.get(up), want, &busy, now) {
            Place::Session(at) | Place::New(at) => at,
            Place::InsteadOf(at) => {
                self.connecting().tell_no_room(up);
                self.connecting().close_conn(up, at);
                at
            }
        };
        let conns = &mut self.ups.get_mut(up).conns;
        if at == conns.len() {
            conns.push(want.conn(now));
        }
        let passes_on = conns[at].user.is_none();
        want.take_over(&mut conns[at], now);
        conns[at].used = now;
        if conns[at].phase == ConnState::Down {
            self.connecting().initialize_upstream(up, at);
        } else if passes_on {
            self.connecting().child_passes_on((up, at));
        }
        at
    }

    /// The era in which a request is sent to an upstream of that era.
    pub(crate) fn era_of(&self, up: UpId, era: UpEra, caller: &Caller<'_>) -> UpEra {
        let want = Want::of(self.ups.get(up), caller);
        want.and_then(|want| want.era()).unwrap_or(era)
    }
}
