//! The life of an upstream: wanted, connected, ready, lost.

use crate::api::Output;
use crate::api::UpId;
use crate::context::{Context, FollowUp};
use crate::upstream::list::ListKind;
use crate::upstream::{ConnState, Connecting, Upstreams};
use ggen_wire::Code;
use ggen_wire::log::Level;
use ggen_wire::status::UpstreamState;

impl Upstreams {
    /// A remote server is tried again after 1 s, 2 s, … 30 s, a quarter of it at random so that
    /// many do not come at once.
    pub(crate) fn retry_later(&mut self, cx: &mut Context, up: UpId) {
        let mut byte = [0u8];
        cx.random(&mut byte);
        let (now, upstream) = (cx.now, self.get_mut(up));
        let base = (1_000_000u64 << upstream.failures.min(5)).min(30_000_000);
        upstream.failures += 1;
        let backoff = now + base - base / 4 + base / 4 * u64::from(byte[0]) / 255;
        let busy = upstream.busy_until.take().unwrap_or_default();
        upstream.retry_at = Some(backoff.max(busy));
    }
}

impl Connecting<'_> {
    /// Asks for every stdio server and begins the handshake with every remote one.
    pub(crate) fn reach_for_all(&mut self) {
        for up in self.ups.order() {
            self.reach_for(up);
        }
    }

    /// A child, or a session, of one client was ended for want of room, and with it what the server
    /// remembered of its user.
    pub(crate) fn tell_no_room(&mut self, up: UpId) {
        let upstream = self.ups.get(up);
        let text = format!(
            "{}: the process or session of one client was ended to make room for another's: more than {} clients that do not share one use it at once (server.connection_pool)",
            upstream.settings.name, upstream.settings.pool
        );
        let code = Some(Code::UpstreamBusy);
        self.cx
            .note(Level::Warn, "mcp_server", Some(up), code, text);
    }

    /// A server is there: it is asked what it speaks, unless that is known of an earlier life.
    pub(crate) fn connected(&mut self, up: UpId, incarnation: u64, handoff: Option<&str>) {
        let now = self.cx.now;
        let upstream = self.ups.get_mut(up);
        upstream.no_leases = None;
        upstream.incarnation = incarnation;
        upstream.held = false;
        upstream.state = UpstreamState::Starting;
        upstream.unsettled = Some(now);
        upstream.probing = false;
        upstream.offer = None;
        upstream.listen = (None, None);
        upstream.patience = 2000.0;
        upstream.refilled = now;
        upstream.conns[0].log_level = None;
        if handoff.is_none() {
            // Another process, perhaps by another entry: what is stored is said anew.
            upstream.stored = 0;
        }
        // Calls of an earlier life of the gateway worker may still be running in a server that it
        // left behind.
        upstream.conns[0].unsure = if handoff.is_some() {
            now + crate::upstream::connection::UNSURE
        } else {
            0
        };
        if handoff.is_some_and(|handoff| upstream.adopt(handoff)) {
            self.ready(up, 0);
        } else {
            self.begin_handshake(up);
        }
    }

    /// An upstream is not there (any more). `soon`: it is expected back in a moment.
    pub(crate) fn down(
        &mut self,
        up: UpId,
        state: UpstreamState,
        code: Code,
        reason: String,
        soon: bool,
    ) {
        let now = self.cx.now;
        let upstream = self.ups.get_mut(up);
        upstream.state = state;
        upstream.trouble = Some((code, reason));
        upstream.down_since.get_or_insert(now);
        upstream.unsettled = soon.then_some(now);
        upstream.listen = (None, None);
        upstream
            .lists
            .iter_mut()
            .for_each(|list| list.loading = None);
        self.ups.report(self.cx, up);
        self.cx.follow_up(FollowUp::TryWaiting);
    }

    /// What waited for a connection goes out.
    pub(crate) fn send_queued(&mut self, up: UpId, conn: usize) {
        let member = &mut self.ups.get_mut(up).conns[conn];
        member.awaits_stream = None;
        for number in std::mem::take(&mut member.queue) {
            self.dispatch(number);
        }
    }

    /// A connection is ready: what waited for it goes out; the first one brings the lists.
    pub(crate) fn ready(&mut self, up: UpId, conn: usize) {
        let now = self.cx.now;
        let upstream = self.ups.get_mut(up);
        let streams = upstream.is_http() && !upstream.is_modern_at(conn);
        upstream.conns[conn].phase = ConnState::Ready;
        if streams && conn > 0 {
            upstream.conns[conn].awaits_stream =
                Some(now + crate::upstream::connection::http::STREAM);
        } else {
            self.send_queued(up, conn);
        }
        if streams {
            self.open_stream(up, conn);
        }
        if conn > 0 {
            self.child_begins((up, conn));
            return self.cx.follow_up(FollowUp::ChildrenChanged(up));
        }
        let upstream = self.ups.get_mut(up);
        upstream.trouble = None;
        upstream.failures = 0;
        for kind in ListKind::ALL {
            let upstream = self.ups.get_mut(up);
            upstream.lists[kind as usize].failure = None;
            if upstream.info.has(kind.capability()) {
                self.fetch(up, kind);
            } else {
                upstream.lists[kind as usize].known = true;
                upstream.lists[kind as usize].items.clear();
                self.ask_undeclared(up, kind);
            }
        }
        self.subscribe_again(up);
        self.settle_up(up);
    }

    /// Asks for a stdio server, or begins the handshake with a remote one.
    pub(crate) fn reach_for(&mut self, up: UpId) {
        let now = self.cx.now;
        let upstream = self.ups.get_mut(up);
        if !upstream.settings.enabled {
            return self.ups.report(self.cx, up);
        }
        upstream.state = UpstreamState::Starting;
        upstream.unsettled = Some(now);
        upstream.conns[0].phase = ConnState::Down;
        if self.ups.get(up).is_http() {
            self.begin_handshake(up);
        } else {
            self.cx.emit(Output::Want(up));
        }
    }
}
