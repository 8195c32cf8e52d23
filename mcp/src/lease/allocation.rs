//! Which child of a stdio server a call gets. Nothing on a pipe says which call a question of the
//! server belongs to, and a legacy server is told once, in its handshake, what its client can be
//! asked. So a call whose client can be asked for something gets a child whose handshake said
//! exactly that, and that no other client uses meanwhile. Pure: decides and changes the upstream's
//! connections; messages are the caller's.

use crate::api::{Isolation, Lease, Micros};
use crate::in_flight::record::ClientCall;
use crate::protocol::method::Method;
use crate::upstream::{Caps, Conn, ConnState, Lent, UpEra, Upstream};
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What kind of child a call needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Want {
    caps: Caps,
    lent: Lent,
    session: Option<Arc<str>>,
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

impl Want {
    /// What kind of child a call needs; `None`: the shared one.
    pub(crate) fn of(upstream: &Upstream, call: &ClientCall) -> Option<Self> {
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
        let (lent, session) = match upstream.settings.isolation {
            Isolation::PerCall if asks => (Lent::Once, None),
            Isolation::PerSession if call.session.is_some() => {
                if matches!(call.method, Method::Subscribe | Method::Unsubscribe) {
                    return None;
                }
                (Lent::Session, call.session.clone())
            }
            Isolation::Shared | Isolation::PerSession if asks && caps != Caps::default() => {
                (Lent::Pooled, call.session.clone())
            }
            _ => return None,
        };
        Some(Self {
            caps,
            lent,
            session,
        })
    }

    /// Whether the calls that need such a child share it. Others need one each.
    pub(crate) const fn is_shared(&self) -> bool {
        self.session.is_some()
    }

    fn fits(&self, conn: &Conn) -> bool {
        conn.is_leased() && conn.lent == self.lent && conn.caps == self.caps
    }
}

/// Where calls wait for a child of their own.
pub(crate) fn waiting_place(upstream: &mut Upstream) -> usize {
    let conns = &mut upstream.conns;
    let found = conns.iter().position(|conn| conn.lent == Lent::Waiting);
    found.unwrap_or_else(|| {
        conns.push(Conn {
            lent: Lent::Waiting,
            ..Conn::new(Caps::default())
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

/// A child that can take the call now. The session's own one comes first: what a server keeps in
/// its memory stays with who caused it.
fn find(upstream: &Upstream, want: &Want, busy: &BTreeSet<Lease>) -> Option<usize> {
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
    let conns = upstream.conns.iter().enumerate();
    let ready = conns.filter(|(_, conn)| want.fits(conn) && conn.phase == ConnState::Ready);
    let ranked = ready.filter_map(|(at, conn)| Some((rank(conn)?, Reverse(conn.used), at)));
    ranked.min().map(|(.., at)| at)
}

/// A child that is being started for such a call, and is not meant for another one.
fn coming(upstream: &Upstream, want: &Want, promised: &[usize]) -> Option<usize> {
    let mut conns = upstream.conns.iter().enumerate();
    let found = conns.find(|(at, conn)| {
        want.fits(conn)
            && conn.phase != ConnState::Ready
            && conn.user == want.session
            && (want.is_shared() || !promised.contains(at))
    });
    found.map(|(at, _)| at)
}

/// Whether a child for such a call is being started.
pub(crate) fn is_coming(upstream: &Upstream, want: &Want) -> bool {
    coming(upstream, want, &[]).is_some()
}

/// No more children can be had. Where calls only share children for want of a reason not to, the
/// shared one takes the call: its handshake said that nobody can be asked, so that the server does
/// not ask. What is configured to be kept apart fails instead.
fn without_more(upstream: &Upstream, want: &Want) -> Allocation {
    if want.lent != Lent::Pooled {
        return Allocation::Fail;
    }
    // Those that run are waited for.
    if upstream.conns.iter().any(|conn| want.fits(conn)) {
        Allocation::Wait
    } else {
        Allocation::Assign(0)
    }
}

/// The child that has been idle for longest, to end it. `busy`: the children whose tasks somebody
/// has asked about lately.
pub(crate) fn idlest(upstream: &Upstream, busy: &BTreeSet<Lease>, now: Micros) -> Option<usize> {
    let idle = |conn: &Conn| {
        conn.lent == Lent::Pooled
            && conn.phase == ConnState::Ready
            && conn.calls.is_empty()
            && conn.late.iter().all(|(_, until)| *until <= now)
            && !busy.contains(&conn.lease)
    };
    let conns = upstream.conns.iter().enumerate();
    let idle = conns.filter(|(_, conn)| idle(conn));
    idle.min_by_key(|(at, conn)| (conn.used, *at))
        .map(|(at, _)| at)
}

/// A connection for one more child, which is to be started.
pub(crate) fn start(upstream: &mut Upstream, want: &Want, now: Micros) -> (usize, Lease) {
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

/// A call of that session leaves the place where it waited, and is written to this child.
pub(crate) fn assign(
    upstream: &mut Upstream,
    number: u64,
    (from, to): (usize, usize),
    session: Option<Arc<str>>,
    now: Micros,
) {
    upstream.conns[from]
        .queue
        .retain(|queued| *queued != number);
    let conn = &mut upstream.conns[to];
    if conn.is_leased() {
        (conn.used, conn.user, conn.spent) = (now, session, true);
    }
}
