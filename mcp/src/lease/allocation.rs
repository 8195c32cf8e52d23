//! Children of a stdio server beside the shared one: nothing on a pipe says which call a question
//! of the server belongs to, and a legacy server is told once what its client can be asked. So a
//! call whose client can be asked for something gets a child whose handshake said exactly that, and
//! that no other client uses meanwhile. Which child a call gets is decided here; what happens to
//! the children, in `leased`. ARCHITECTURE.md gives the reasons.

use crate::api::{Isolation, Micros, Output, UpId};
use crate::call::record::{ClientCall, Purpose};
use crate::gateway::Gateway;
use crate::protocol::method::Method;
use crate::protocol::refusal::{Refusal, rpc};
use crate::upstream::{Caps, Conn, Lent, Phase, UpEra};
use ggen_wire::{Code, log::Level};
use std::sync::Arc;

/// What kind of child a call needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Want {
    caps: Caps,
    lent: Lent,
    session: Option<Arc<str>>,
}

impl Gateway {
    /// The connection of a call for a stdio server: the shared child, or the place where calls wait
    /// for one of their own.
    pub(crate) fn child_for(&mut self, up: UpId, call: &ClientCall) -> usize {
        if self.want(up, call).is_none() {
            return 0;
        }
        self.touch(up);
        self.lobby(up)
    }

    /// What kind of child a call needs; `None`: the shared one.
    pub(crate) fn want(&self, up: UpId, call: &ClientCall) -> Option<Want> {
        let upstream = self.up_ref(up);
        // What the protocol does not name goes to the child that the session has had, which may
        // know of it.
        let had =
            |conn: &Conn| conn.is_leased() && conn.user.is_some() && conn.user == call.session;
        let asks = matches!(
            call.method,
            Method::ToolsCall | Method::PromptsGet | Method::ResourcesRead
        ) || call.method == Method::Other && upstream.conns.iter().any(had);
        // A modern server is told with each request what its client can be asked.
        let caps = if matches!(upstream.era, Some(UpEra::Legacy(_))) {
            call.caps
        } else {
            Caps::default()
        };
        let session = call.session.clone();
        match upstream.settings.isolation {
            Isolation::PerCall if asks => Some(Want {
                caps,
                lent: Lent::Once,
                session: None,
            }),
            Isolation::PerSession if session.is_some() => {
                let controls = matches!(call.method, Method::Subscribe | Method::Unsubscribe);
                (!controls).then_some(Want {
                    caps,
                    lent: Lent::Session,
                    session,
                })
            }
            Isolation::Shared | Isolation::PerSession if asks && caps != Caps::default() => {
                Some(Want {
                    caps,
                    lent: Lent::Pooled,
                    session,
                })
            }
            _ => None,
        }
    }

    /// Where calls wait for a child of their own.
    fn lobby(&mut self, up: UpId) -> usize {
        let conns = &mut self.up_mut(up).conns;
        conns
            .iter()
            .position(|conn| conn.lent == Lent::Lobby)
            .unwrap_or_else(|| {
                conns.push(Conn {
                    lent: Lent::Lobby,
                    ..Conn::new(Caps::default())
                });
                conns.len() - 1
            })
    }

    /// Something has changed for those who wait for a child of this upstream.
    pub(crate) fn touch(&mut self, up: UpId) {
        if !self.lending.contains(&up) {
            self.lending.push(up);
        }
    }

    /// Gives children to the calls that wait for one, in the order of their arrival.
    pub(crate) fn lend_all(&mut self) {
        while let Some(up) = self.lending.pop() {
            self.end_spent(up);
            let waiting = self
                .up_ref(up)
                .conns
                .iter()
                .find(|conn| conn.lent == Lent::Lobby)
                .map(|conn| conn.queue.clone());
            let mut promised = Vec::new();
            for number in waiting.unwrap_or_default() {
                self.serve(up, number, &mut promised);
            }
        }
    }

    /// Gives a waiting call a child that is free, or sees to it that there will be one.
    fn serve(&mut self, up: UpId, number: u64, promised: &mut Vec<usize>) {
        let Some(Purpose::Client(client)) = self.calls.get(&number).map(|call| &call.purpose)
        else {
            return;
        };
        let Some(want) = self.want(up, client) else {
            return self.assign(up, number, 0);
        };
        if let Some(at) = self.find_child(up, &want) {
            return self.assign(up, number, at);
        }
        if let Some(at) = self.coming_child(up, &want, promised) {
            // The calls of one session share their child; others need one each.
            if want.session.is_none() {
                promised.push(at);
            }
            return;
        }
        if self
            .up_ref(up)
            .no_leases
            .as_ref()
            .is_some_and(|(until, ..)| *until > self.cx.now)
        {
            return self.do_without(up, number, &want);
        }
        let has_room = self
            .up_ref(up)
            .conns
            .iter()
            .filter(|conn| conn.is_leased())
            .count()
            < self.up_ref(up).settings.pool;
        if has_room || self.make_room(up) {
            let at = self.start_child(up, &want);
            promised.push(at);
        }
    }

    /// A child that can take the call now. The session's own one comes first: what a server keeps
    /// in its memory stays with who caused it.
    fn find_child(&self, up: UpId, want: &Want) -> Option<usize> {
        let (conns, busy) = (
            self.up_ref(up).conns.iter().enumerate(),
            self.leases_at_work(up),
        );
        let fit = conns.filter(|(_, conn)| {
            conn.is_leased()
                && conn.phase == Phase::Ready
                && conn.lent == want.lent
                && conn.caps == want.caps
        });
        let rank = |conn: &Conn| {
            let own = want.session.is_some() && conn.user == want.session;
            // What a task that is at work asks or logs is its client's.
            let free = conn.calls.is_empty() && conn.late.is_empty() && !busy.contains(&conn.lease);
            match want.lent {
                Lent::Session => own.then_some(0),
                Lent::Once => (free && !conn.spent).then_some(0),
                _ if own => Some(0),
                _ if free => Some(if conn.user.is_none() { 1 } else { 2 }),
                _ => None,
            }
        };
        let ranked =
            fit.filter_map(|(at, conn)| Some((rank(conn)?, std::cmp::Reverse(conn.used), at)));
        ranked.min().map(|(.., at)| at)
    }

    /// A child that is being started for such a call, and is not meant for another one.
    fn coming_child(&self, up: UpId, want: &Want, promised: &[usize]) -> Option<usize> {
        let fits = |conn: &Conn| {
            conn.is_leased()
                && conn.phase != Phase::Ready
                && conn.lent == want.lent
                && conn.caps == want.caps
        };
        let mut found = self
            .up_ref(up)
            .conns
            .iter()
            .enumerate()
            .filter(|(_, conn)| fits(conn) && conn.user == want.session);
        found
            .find(|(at, _)| want.session.is_some() || !promised.contains(at))
            .map(|(at, _)| at)
    }

    /// Whether a child for such a call is being started.
    pub(crate) fn is_coming(&self, up: UpId, want: &Want) -> bool {
        self.coming_child(up, want, &[]).is_some()
    }

    /// Ends the child that has been idle for longest, if there is one.
    fn make_room(&mut self, up: UpId) -> bool {
        let (now, busy) = (self.cx.now, self.leases_asked_for(up));
        let idle = |conn: &Conn| {
            let settled = conn.late.iter().all(|(_, until)| *until <= now);
            conn.lent == Lent::Pooled
                && conn.phase == Phase::Ready
                && conn.calls.is_empty()
                && settled
                && !busy.contains(&conn.lease)
        };
        let conns = self
            .up_ref(up)
            .conns
            .iter()
            .enumerate()
            .filter(|(_, conn)| idle(conn));
        let Some((_, at)) = conns.map(|(at, conn)| (conn.used, at)).min() else {
            return false;
        };
        let kill = !self.up_ref(up).conns[at].late.is_empty() || self.works_at(up, at);
        self.end_child(up, at, kill);
        true
    }

    /// Has one more child started.
    fn start_child(&mut self, up: UpId, want: &Want) -> usize {
        let now = self.cx.now;
        let upstream = self.up_mut(up);
        upstream.next_lease += 1;
        let lease = upstream.next_lease;
        let conn = Conn {
            lease,
            lent: want.lent,
            user: want.session.clone(),
            used: now,
            ..Conn::new(want.caps)
        };
        // The first place is the shared child's; a place that became free is used again.
        let free = upstream
            .conns
            .iter()
            .skip(1)
            .position(|conn| !conn.is_leased() && conn.lent == Lent::No)
            .map(|at| at + 1);
        let at = free.unwrap_or(upstream.conns.len());
        if at == upstream.conns.len() {
            upstream.conns.push(conn);
        } else {
            upstream.conns[at] = conn;
        }
        self.cx.emit(Output::Lease(up, lease));
        at
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
        let (session, timeout) = (client.session.clone(), client.timeout);
        let from = std::mem::replace(&mut call.conn, at);
        (call.began, call.deadline) = (now, now + timeout);
        let conns = &mut self.up_mut(up).conns;
        conns[from].queue.retain(|queued| *queued != number);
        let conn = &mut conns[at];
        if conn.is_leased() {
            (conn.used, conn.user, conn.spent) = (now, session, true);
        }
        self.dispatch(number);
    }

    /// No more children can be had. Where calls only share children for want of a reason not to,
    /// the shared one takes the call: its handshake said that nobody can be asked, so that the
    /// server does not ask. What is configured to be kept apart fails instead.
    fn do_without(&mut self, up: UpId, number: u64, want: &Want) {
        let exists =
            |conn: &Conn| conn.is_leased() && conn.lent == want.lent && conn.caps == want.caps;
        if want.lent == Lent::Pooled {
            // Those that run are waited for.
            if !self.up_ref(up).conns.iter().any(exists) {
                self.assign(up, number, 0);
            }
            return;
        }
        let Some((_, code, why)) = self.up_ref(up).no_leases.clone() else {
            return;
        };
        let refusal = Refusal::new(
            200,
            rpc::INTERNAL,
            code,
            &format!("{}: {why}", self.up_ref(up).settings.name),
        );
        if let Some((_, call)) = self.take_call(up, number)
            && let Purpose::Client(client) = &call.purpose
        {
            self.give_up(&call, client, &refusal, "error");
        }
    }

    /// A call that waits for a child has waited long enough. True: it waits on, because its child
    /// is on its way.
    pub(crate) fn waits_on(&mut self, number: u64, up: UpId) -> bool {
        let Some(call) = self
            .calls
            .get(&number)
            .filter(|call| self.up_ref(up).conns[call.conn].lent == Lent::Lobby)
        else {
            return false;
        };
        let Purpose::Client(client) = &call.purpose else {
            return false;
        };
        if self
            .want(up, client)
            .is_some_and(|want| self.is_coming(up, &want))
        {
            let later = self.cx.now + crate::lease::allocation::AGAIN;
            if let Some(call) = self.calls.get_mut(&number) {
                call.deadline = later;
            }
            return true;
        }
        let (name, pool) = (
            &self.up_ref(up).settings.name,
            self.up_ref(up).settings.pool,
        );
        let detail = format!(
            "{name}: all of its {pool} children for calls that may ask their client are in use (server.connection_pool)"
        );
        let refusal = Refusal::new(503, rpc::INTERNAL, Code::UpstreamBusy, &detail).retry(1);
        self.cx.note(
            Level::Warn,
            "tools",
            Some(up),
            Some(Code::UpstreamBusy),
            detail,
        );
        if let Some((_, call)) = self.take_call(up, number)
            && let Purpose::Client(client) = &call.purpose
        {
            self.give_up(&call, client, &refusal, "error");
        }
        true
    }
}

/// A call whose child is being started is looked at again after this time.
const AGAIN: Micros = 1_000_000;
