//! What time does to upstreams: they are tried again, their lists are read again, idle connections
//! are closed.

use crate::api::{Micros, UpId};
use crate::upstream::list::ListKind;
use crate::upstream::{ConnState, Connecting};

/// The lists of a server that is down are served this long.
const KEEP_LISTS: Micros = 600_000_000;
/// A connection that was made for clients of one kind is closed after this time without calls.
const KEEP_CONN: Micros = 600_000_000;

impl Connecting<'_> {
    /// What time does to an upstream and its connections.
    pub(crate) fn due(&mut self, up: UpId) {
        let now = self.cx.now;
        if self.ups.get(up).retry_at.is_some_and(|at| at <= now) {
            self.begin_handshake(up);
        }
        for kind in ListKind::ALL {
            let due = self.ups.get(up).refresh_at[kind as usize].is_some_and(|at| at <= now);
            if due && self.ups.get(up).conns[0].phase == ConnState::Ready {
                self.ups.get_mut(up).refresh_at[kind as usize] = None;
                self.fetch(up, kind);
            }
        }
        if self.ups.get(up).listen_at.is_some_and(|at| at <= now)
            && self.ups.get(up).conns[0].phase == ConnState::Ready
        {
            self.ups.get_mut(up).listen_at = None;
            self.listen_upstream(up);
        }
        self.child_lists_due(up);
        for conn in 0..self.ups.get(up).conns.len() {
            let member = &self.ups.get(up).conns[conn];
            let has_session = self.ups.get(up).is_http() && !self.ups.get(up).is_modern_at(conn);
            if member.phase != ConnState::Ready || !has_session {
                continue;
            }
            if member.awaits_stream.is_some_and(|until| until <= now) {
                self.send_queued(up, conn);
            }
            let member = &self.ups.get(up).conns[conn];
            if member.stream_at.is_some_and(|at| at <= now) {
                self.open_stream(up, conn);
            } else if conn > 0 && member.calls.is_empty() && now >= member.used + KEEP_CONN {
                self.close_conn(up, conn);
            }
        }
        if self
            .ups
            .get(up)
            .down_since
            .is_some_and(|since| now >= since + KEEP_LISTS)
            && self
                .ups
                .get(up)
                .lists
                .iter()
                .any(|list| !list.items.is_empty())
        {
            self.forget_lists(up);
        }
    }
}
