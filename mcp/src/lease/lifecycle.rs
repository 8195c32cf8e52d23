//! The life of a leased child: started, ready, in use, idle, ended. Which call it serves is decided
//! in [`crate::lease::allocation`]. Its lists, changes and subscriptions count for nothing: those
//! are the shared child's. Pure: what ends is named here and ended by the caller.

use crate::api::{Lease, Limits, Micros};
use crate::upstream::{Conn, ConnState, Lent, Upstream};
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

/// A session is over: its child is nobody's. True: the child is not needed any more.
pub(crate) fn session_leaves(conn: &mut Conn, session: &Arc<str>) -> bool {
    if !conn.is_leased() || conn.user.as_ref() != Some(session) {
        return false;
    }
    conn.user = None;
    conn.lent == Lent::Session
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
    } else if is_over(&upstream.conns, conn, lives, limits.lease_idle, now) {
        Due::End {
            kill: !conn.late.is_empty(),
        }
    } else {
        Due::Nothing
    }
}

/// Whether an idle child has served its time.
fn is_over(
    conns: &[Conn],
    conn: &Conn,
    lives: impl FnOnce(&Arc<str>) -> bool,
    lease_idle: Micros,
    now: Micros,
) -> bool {
    let idle = now >= conn.used + lease_idle;
    let lives = conn.user.as_ref().is_some_and(lives);
    match conn.lent {
        // A server need not answer what was cancelled, so that it has to be asked: nobody else gets
        // a child that may still be at it.
        _ if !lives && conn.late.iter().any(|(_, until)| *until <= now) => true,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::Caps;

    fn child(lent: Lent) -> Conn {
        Conn {
            lease: 1,
            lent,
            phase: ConnState::Ready,
            user: Some("s".into()),
            ..Conn::new(Caps::default())
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
    fn a_sessions_child_ends_with_it() {
        let mut conn = child(Lent::Session);
        assert!(!session_leaves(&mut conn, &"other".into()));
        assert!(session_leaves(&mut conn, &"s".into()) && conn.user.is_none());
        assert!(!session_leaves(&mut child(Lent::Pooled), &"s".into()));
    }

    #[test]
    fn the_child_that_was_used_last_stays_for_its_session() {
        let (mut older, newer) = (child(Lent::Pooled), child(Lent::Pooled));
        older.used = 5;
        let newer = Conn { used: 6, ..newer };
        let both = [older, newer];
        assert!(is_over(&both, &both[0], |_| true, 10, 20));
        assert!(!is_over(&both, &both[1], |_| true, 10, 20));
        assert!(is_over(&both, &both[1], |_| false, 10, 20));
        assert!(!is_over(&both, &both[0], |_| true, 10, 14));
    }
}
