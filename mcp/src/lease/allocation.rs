//! Which child of a stdio server a call gets, and which session of a legacy HTTP server. The rule of
//! affinity: **what declares nothing shares one child with everybody; all else that a legacy session
//! asks of a server before 2026-07-28 goes to one child for as long as the session lives, and so does
//! all that requests without a session ask that have the same principal and declare the same.** A
//! server that is configured to have state is shared by nobody, and `isolation` may say otherwise. A
//! server of 2026-07-28 is told with each request what its client declares, and keeps nothing of a
//! connection, so that everybody shares its child. Load decides nothing, with one exception: a legacy
//! server does not say on a pipe which call a question belongs to, so that calls without a session
//! that it may ask something have its child one at a time, and another one while it is taken. Pure:
//! decides and changes the upstream's connections; messages are the caller's.

use crate::api::{Isolation, Lease, Micros};
use crate::in_flight::record::ClientCall;
use crate::protocol::capabilities::{Caps, Declared};
use crate::protocol::method::Method;
use crate::upstream::{Conn, ConnState, Lent, UpEra, Upstream, User};
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Who asks for something.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller<'a> {
    /// Its legacy session.
    pub(crate) session: Option<&'a Arc<str>>,
    pub(crate) principal: &'a Arc<str>,
    /// What it declares; `None`: nothing.
    pub(crate) declared: Option<&'a Arc<Declared>>,
    pub(crate) is_modern: bool,
    pub(crate) method: Method,
}

/// What kind of child a call needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Want {
    declared: Arc<Declared>,
    lent: Lent,
    user: Option<User>,
    principal: Arc<str>,
    /// The era that is spoken with it, if it is not the server's.
    era: Option<UpEra>,
    /// Its user's calls may meet in it.
    shares: bool,
}

/// What to do with a call that waits for a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Allocation {
    /// It is written to this connection.
    Assign(usize),
    /// It waits: for a child that is on its way, or for one to become free.
    Wait,
    /// It fails: no more children can be had, and it may not share one.
    Fail,
    /// A new child is started for it, if there is room or room can be made.
    Start,
}

impl<'a> Caller<'a> {
    pub(crate) fn of(call: &'a ClientCall) -> Self {
        Self {
            session: call.session.as_ref(),
            principal: &call.principal,
            declared: call.declared.as_ref(),
            is_modern: call.modern,
            method: call.method,
        }
    }

    /// Whose child it has for itself. A principal is one user only where it may be.
    fn user(&self, isolation: Isolation) -> User {
        match self.session {
            Some(session) if isolation != Isolation::PerPrincipal => User::Session(session.clone()),
            _ => User::Principal(self.principal.clone()),
        }
    }

    /// Whether it has a child for itself.
    fn is_apart(&self, upstream: &Upstream) -> bool {
        match upstream.settings.isolation {
            Isolation::Auto => self.declared.is_some() || upstream.has_state(),
            Isolation::Shared => self.declared.is_some(),
            Isolation::PerSession | Isolation::PerPrincipal => true,
            Isolation::Single | Isolation::PerCall => false,
        }
    }
}

impl Want {
    /// What kind of child a caller needs; `None`: the shared one.
    pub(crate) fn of(upstream: &Upstream, caller: &Caller<'_>) -> Option<Self> {
        let isolation = upstream.settings.isolation;
        let asks = matches!(
            caller.method,
            Method::ToolsCall | Method::PromptsGet | Method::ResourcesRead
        );
        let (lent, user) = match isolation {
            Isolation::PerCall if asks => (Lent::Once, None),
            _ if caller.is_apart(upstream) => (Lent::Kept, Some(caller.user(isolation))),
            _ => return None,
        };
        // A server that speaks both eras is spoken to in the client's own.
        let legacy = upstream.speaks_legacy.filter(|_| !caller.is_modern);
        let era = legacy.filter(|_| lent == Lent::Kept).map(UpEra::Legacy);
        let is_told = era.is_some() || matches!(upstream.era, Some(UpEra::Legacy(_)));
        let is_chosen = matches!(isolation, Isolation::Auto | Isolation::Shared);
        if !is_told && lent == Lent::Kept && is_chosen && !upstream.has_state() {
            return None;
        }
        let declared = caller.declared.filter(|_| is_told || lent == Lent::Kept);
        let declared = declared.cloned().unwrap_or_default();
        let is_sessions = user.as_ref().is_some_and(|user| user.session().is_some());
        let is_asked = is_told && !is_sessions && declared.caps != Caps::default();
        Some(Self {
            shares: lent == Lent::Kept && !is_asked,
            declared,
            lent,
            user,
            principal: caller.principal.clone(),
            era,
        })
    }

    /// The era that is spoken with it, if it is not the server's.
    pub(crate) const fn era(&self) -> Option<UpEra> {
        self.era
    }

    /// Whether the calls that need such a child share it. Others need one each.
    pub(crate) const fn is_shared(&self) -> bool {
        self.shares
    }

    fn fits(&self, conn: &Conn) -> bool {
        conn.lent == self.lent
            && conn.declared == self.declared
            && conn.era.is_some() == self.era.is_some()
    }

    /// Whether a connection is this user's own, and takes the call now. `busy`: the children that
    /// work on tasks.
    pub(crate) fn owns(&self, conn: &Conn, busy: &BTreeSet<Lease>) -> bool {
        let is_own = self.user.is_some() && conn.user == self.user && self.fits(conn);
        is_own && (self.shares || is_free(conn, busy))
    }

    /// Whether a connection was another user's of the same principal, and is nobody's now.
    pub(crate) fn inherits(&self, conn: &Conn, busy: &BTreeSet<Lease>) -> bool {
        let is_nobodys = self.user.is_some() && conn.user.is_none();
        is_nobodys
            && conn.principal.as_ref() == Some(&self.principal)
            && is_free(conn, busy)
            && self.fits(conn)
    }

    /// Gives a connection to the user: one that was nobody's as it stands, a closed one anew.
    pub(crate) fn take_over(&self, conn: &mut Conn, now: Micros) {
        if conn.phase == ConnState::Down {
            *conn = self.conn(now);
        }
        (conn.user, conn.principal) = (self.user.clone(), Some(self.principal.clone()));
    }

    /// A connection for such calls that is not there yet.
    pub(crate) fn conn(&self, now: Micros) -> Conn {
        Conn {
            lent: self.lent,
            era: self.era,
            user: self.user.clone(),
            principal: Some(self.principal.clone()),
            used: now,
            ..Conn::new(self.declared.clone())
        }
    }
}

/// Whether nothing of anybody is at work on a connection. `busy`: the children that work on tasks.
fn is_free(conn: &Conn, busy: &BTreeSet<Lease>) -> bool {
    conn.calls.is_empty()
        && conn.queue.is_empty()
        && conn.late.is_empty()
        && !(conn.is_leased() && busy.contains(&conn.lease))
}

/// Where calls wait for a child of their own.
pub(crate) fn waiting_place(upstream: &mut Upstream) -> usize {
    let conns = &mut upstream.conns;
    let found = conns.iter().position(|conn| conn.lent == Lent::Waiting);
    found.unwrap_or_else(|| {
        conns.push(Conn {
            lent: Lent::Waiting,
            ..Conn::empty()
        });
        conns.len() - 1
    })
}

/// The calls that wait for a child, in the order of their arrival.
pub(crate) fn waiting_calls(upstream: &Upstream) -> &[u64] {
    let mut conns = upstream.conns.iter();
    conns
        .find(|conn| conn.lent == Lent::Waiting)
        .map_or(&[], |conn| conn.queue.as_slice())
}

/// What becomes of a waiting call. `busy`: the children that work on tasks. `promised`: children on
/// their way that are meant for other calls; the one for this call is added.
pub(crate) fn allocate(
    upstream: &Upstream,
    want: Option<&Want>,
    busy: &BTreeSet<Lease>,
    promised: &mut Vec<usize>,
    now: Micros,
) -> Allocation {
    let Some(want) = want else {
        return Allocation::Assign(0);
    };
    if let Some(at) = find(upstream, want, busy) {
        return Allocation::Assign(at);
    }
    if let Some(at) = coming(upstream, want, promised) {
        if !want.is_shared() {
            promised.push(at);
        }
        return Allocation::Wait;
    }
    let barred = upstream.no_leases.as_ref();
    if barred.is_some_and(|(until, ..)| *until > now) {
        return without_more(upstream, want);
    }
    Allocation::Start
}

/// Whether one more child may run.
pub(crate) fn has_room(upstream: &Upstream) -> bool {
    let leased = upstream.conns.iter().filter(|conn| conn.is_leased());
    leased.count() < upstream.settings.pool
}

/// A child that can take the call now: its user's own one, or one that is nobody's any more.
fn find(upstream: &Upstream, want: &Want, busy: &BTreeSet<Lease>) -> Option<usize> {
    let rank = |conn: &Conn| match want.lent {
        Lent::Once => {
            let is_fresh = conn.calls.is_empty() && !conn.spent && want.fits(conn);
            is_fresh.then_some(0)
        }
        _ if want.owns(conn, busy) => Some(0),
        _ => want.inherits(conn, busy).then_some(1),
    };
    let conns = upstream.conns.iter().enumerate();
    let ready = conns.filter(|(_, conn)| conn.is_leased() && conn.phase == ConnState::Ready);
    let ranked = ready.filter_map(|(at, conn)| Some((rank(conn)?, Reverse(conn.used), at)));
    ranked.min().map(|(.., at)| at)
}

/// A child that is being started for such a call, and is not meant for another one.
fn coming(upstream: &Upstream, want: &Want, promised: &[usize]) -> Option<usize> {
    let mut conns = upstream.conns.iter().enumerate();
    let found = conns.find(|(at, conn)| {
        conn.is_leased()
            && want.fits(conn)
            && conn.phase != ConnState::Ready
            && conn.user == want.user
            && (want.is_shared() || !promised.contains(at))
    });
    found.map(|(at, _)| at)
}

/// Whether a child for such a call is being started.
pub(crate) fn is_coming(upstream: &Upstream, want: &Want) -> bool {
    coming(upstream, want, &[]).is_some()
}

/// No more children can be had. Where calls are kept apart only because of what their client
/// declares, the shared child takes them: its handshake said that nobody can be asked, so that the
/// server does not ask. What is configured to be kept apart fails instead.
fn without_more(upstream: &Upstream, want: &Want) -> Allocation {
    let isolation = upstream.settings.isolation;
    let may_share = matches!(isolation, Isolation::Auto | Isolation::Shared)
        && !upstream.has_state()
        && want.era.is_none();
    if may_share {
        Allocation::Assign(0)
    } else {
        Allocation::Fail
    }
}

/// The child to end where there is no room for another: of those that are idle, one that is nobody's,
/// and of these the one that has been idle for longest. `busy`: the children whose tasks somebody has
/// asked about lately.
pub(crate) fn idlest(upstream: &Upstream, busy: &BTreeSet<Lease>, now: Micros) -> Option<usize> {
    let idle = |conn: &Conn| {
        conn.lent == Lent::Kept
            && conn.is_leased()
            && conn.phase == ConnState::Ready
            && conn.calls.is_empty()
            && conn.late.iter().all(|(_, until)| *until <= now)
            && !busy.contains(&conn.lease)
    };
    let conns = upstream.conns.iter().enumerate();
    let idle = conns.filter(|(_, conn)| idle(conn));
    idle.min_by_key(|(at, conn)| (conn.user.is_some(), conn.used, *at))
        .map(|(at, _)| at)
}

/// A connection for one more child, which is to be started.
pub(crate) fn start(upstream: &mut Upstream, want: &Want, now: Micros) -> (usize, Lease) {
    upstream.next_lease += 1;
    let lease = upstream.next_lease;
    let conn = Conn {
        lease,
        ..want.conn(now)
    };
    // The first place is the shared child's; a place that became free is used again.
    let mut others = upstream.conns.iter().skip(1);
    let free = others.position(|conn| !conn.is_leased() && conn.lent == Lent::No);
    let at = free.map_or(upstream.conns.len(), |at| at + 1);
    if at == upstream.conns.len() {
        upstream.conns.push(conn);
    } else {
        upstream.conns[at] = conn;
    }
    (at, lease)
}

/// A call leaves the place where it waited, and is written to this child.
pub(crate) fn assign(
    upstream: &mut Upstream,
    number: u64,
    (from, to): (usize, usize),
    want: Option<&Want>,
    now: Micros,
) {
    upstream.conns[from]
        .queue
        .retain(|queued| *queued != number);
    let conn = &mut upstream.conns[to];
    if let Some(want) = want.filter(|_| conn.is_leased()) {
        (conn.used, conn.spent) = (now, true);
        want.take_over(conn, now);
    }
}
