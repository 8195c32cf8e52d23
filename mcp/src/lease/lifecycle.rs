//! The life of a leased child: started, ready, in use, idle, ended. Which call it serves is decided
//! in [`crate::lease::allocation`]. Pure: what ends is named here and ended by the caller.

use crate::api::{Lease, Limits, Micros};
use crate::protocol::capabilities::Caps;
use crate::upstream::{Conn, ConnState, Lent, Upstream, User};
use std::sync::Arc;

/// After a child that did not come up, no other one is started for so long.
pub(crate) const PENALTY: Micros = 60_000_000;
/// How long a child may wait for its turn to start, on top of the time for its handshake.
const TURN: Micros = 30_000_000;

/// What time does to a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Nothing,
    /// It has not come up in time.
    Failed,
    /// It has served its time, and is ended once nothing of it is at work. `kill`: it may still be
    /// at a call that was given up.
    End {
        kill: bool,
    },
}

/// Where a child is, if it is known.
pub(crate) fn place(upstream: &Upstream, lease: Lease) -> Option<usize> {
    let is_it = |conn: &Conn| conn.is_leased() && conn.lease == lease;
    upstream.conns.iter().position(is_it)
}

/// The answer to a call that was given up has come. True: it was waited for.
pub(crate) fn late_answer(conn: &mut Conn, number: u64) -> bool {
    let before = conn.late.len();
    conn.late.retain(|(late, _)| *late != number);
    conn.late.len() < before
}

/// Whether a child was for one call, and is done with it.
pub(crate) fn is_spent(conn: &Conn) -> bool {
    conn.is_leased() && conn.lent == Lent::Once && conn.spent && conn.late.is_empty()
}

/// A session is over: its child is nobody's. True: the child is not needed any more, because the
/// next session may not have it, or should not hear of what this one subscribed to.
pub(crate) fn session_leaves(conn: &mut Conn, session: &Arc<str>, may_inherit: bool) -> bool {
    let is_its = conn.user.as_ref().and_then(User::session) == Some(session);
    if !is_its {
        return false;
    }
    conn.user = None;
    !may_inherit || std::mem::take(&mut conn.has_subscribed)
}

/// What time does to a child. `lives`: whether the session that used it last is still there.
pub(crate) fn due(
    upstream: &Upstream,
    at: usize,
    lives: impl FnOnce(&Arc<str>) -> bool,
    limits: &Limits,
    now: Micros,
) -> Due {
    let conn = &upstream.conns[at];
    if !conn.is_leased() {
        Due::Nothing
    } else if conn.phase != ConnState::Ready {
        if now >= conn.used + upstream.settings.startup + TURN {
            Due::Failed
        } else {
            Due::Nothing
        }
    } else if is_over(conn, upstream.is_modern_at(at), lives, limits, now) {
        Due::End {
            kill: !conn.late.is_empty(),
        }
    } else {
        Due::Nothing
    }
}

/// Whether an idle child has served its time. A session's own child stays while the session lives:
/// a server may remember something for it.
fn is_over(
    conn: &Conn,
    is_modern: bool,
    lives: impl FnOnce(&Arc<str>) -> bool,
    limits: &Limits,
    now: Micros,
) -> bool {
    let idle = now.saturating_sub(conn.used);
    // A server need not answer what was cancelled: no other call that may be asked something gets a
    // child that may still be at it.
    let is_at_work = conn.late.iter().any(|(_, until)| *until <= now);
    match &conn.user {
        Some(User::Session(session)) if lives(session) => false,
        Some(User::Principal(_)) => {
            idle >= limits.principal_idle
                || is_at_work && !is_modern && conn.caps() != Caps::default()
        }
        _ => is_at_work || idle >= limits.lease_idle,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn child(lent: Lent) -> Conn {
        Conn {
            lease: 1,
            lent,
            phase: ConnState::Ready,
            user: Some(User::Session("s".into())),
            ..Conn::empty()
        }
    }

    #[test]
    fn a_given_up_call_is_remembered_until_its_answer() {
        let mut conn = child(Lent::Once);
        conn.spent = true;
        assert!(is_spent(&conn));
        conn.answer_may_come(5, 10);
        assert!(!is_spent(&conn) && !late_answer(&mut conn, 6));
        assert!(late_answer(&mut conn, 5) && is_spent(&conn));
        for number in 0..100 {
            conn.answer_may_come(number, 10);
        }
        assert_eq!(conn.late.len(), 64);
    }

    #[test]
    fn a_sessions_child_is_nobodys_after_it() {
        let mut conn = child(Lent::Kept);
        assert!(!session_leaves(&mut conn, &"other".into(), false));
        assert!(!session_leaves(&mut conn, &"s".into(), true) && conn.user.is_none());
        assert!(session_leaves(&mut child(Lent::Kept), &"s".into(), false));
        conn = child(Lent::Kept);
        conn.has_subscribed = true;
        assert!(session_leaves(&mut conn, &"s".into(), true));
    }

    #[test]
    fn a_child_stays_for_its_user() {
        let limits = Limits {
            lease_idle: 10,
            principal_idle: 100,
            ..Limits::default()
        };
        let mut conn = child(Lent::Kept);
        conn.used = 5;
        let over = |conn: &Conn, lives: bool, now| is_over(conn, false, |_| lives, &limits, now);
        assert!(!over(&conn, true, 1000));
        assert!(over(&conn, false, 15) && !over(&conn, false, 14));
        conn.user = Some(User::Principal("p".into()));
        assert!(!over(&conn, false, 104) && over(&conn, true, 105));
        conn.user = None;
        conn.answer_may_come(1, 7);
        assert!(over(&conn, true, 7) && !over(&conn, true, 6));
    }
}
