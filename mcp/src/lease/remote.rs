//! Which session of a legacy HTTP server takes a call. The rule is that of
//! [`crate::lease::allocation`]; a session costs no process, so that calls never wait for one. Pure:
//! decides only.

use crate::api::Micros;
use crate::lease::allocation::Want;
use crate::upstream::{Conn, ConnState, Upstream};
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// Where a call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// To its user's own session, or to one that is nobody's any more.
    Session(usize),
    /// To a new session, at a place that is free or behind the last one.
    New(usize),
    /// To a new session, in the place of this one, which is ended.
    InsteadOf(usize),
}

/// Where a call goes. `busy`: the sessions of tasks that are at work.
pub(crate) fn place(
    up: &Upstream,
    want: &Want,
    busy: &BTreeSet<Option<String>>,
    now: Micros,
) -> Place {
    let none = BTreeSet::new();
    let rank = |conn: &Conn| {
        let is_free = || now >= conn.unsure && !busy.contains(&conn.session);
        if want.owns(conn, &none) && (want.is_shared() || is_free()) {
            Some(0)
        } else {
            let inherits = conn.phase == ConnState::Ready && want.inherits(conn, &none);
            (inherits && is_free()).then_some(1)
        }
    };
    let others = up.conns.iter().enumerate().skip(1);
    let ranked = others.filter_map(|(at, conn)| Some((rank(conn)?, Reverse(conn.used), at)));
    ranked
        .min()
        .map_or_else(|| new_place(up), |(.., at)| Place::Session(at))
}

/// Where a new session goes: to a closed place, to that of the session that has been idle for longest
/// if `server.connection_pool` of them are open, or behind the last one. Sessions with calls are not
/// ended; the limit of calls in flight bounds their number.
fn new_place(up: &Upstream) -> Place {
    let (pool, conns) = (up.settings.pool, &up.conns);
    let is_idle = |conn: &Conn| conn.calls.is_empty() && conn.queue.is_empty();
    let others = || conns.iter().enumerate().skip(1);
    let closed = others().find(|(_, conn)| conn.phase == ConnState::Down && is_idle(conn));
    if let Some((at, _)) = closed {
        return Place::New(at);
    }
    others()
        .filter(|(_, conn)| conns.len() > pool && is_idle(conn))
        .filter(|(_, conn)| conn.phase == ConnState::Ready)
        .min_by_key(|(at, conn)| (conn.user.is_some(), conn.used, *at))
        .map_or(Place::New(conns.len()), |(at, _)| Place::InsteadOf(at))
}
