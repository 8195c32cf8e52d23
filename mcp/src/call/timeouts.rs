//! What time does: calls that take too long, requests that have waited enough, sessions that are
//! idle, servers to try again.

use crate::api::{Micros, Output, UpId};
use crate::gateway::Gateway;
use crate::in_flight::record::{Call, ClientCall, Purpose};
use crate::protocol::refusal::{Refusal, rpc};
use crate::upstream::list::ListKind;
use crate::upstream::{ConnState, UpEra};
use ggen_wire::Code;

/// The lists of a server that is down are served this long.
const KEEP_LISTS: Micros = 600_000_000;
/// A connection that was made for clients of one kind is closed after this time without calls.
const KEEP_CONN: Micros = 600_000_000;
/// How often sessions are looked at.
const SCAN: Micros = 5_000_000;
impl Gateway {
    pub(crate) fn tick(&mut self) {
        self.calls_due();
        self.clients
            .suspend_long_streams(&mut self.cx, self.access.stream_limit());
        self.pending_due();
        self.rounds_due();
        self.say_due();
        self.resume_due();
        for up in self.ups.ids() {
            self.upstream_due(up);
        }
        if self.cx.now >= self.scanned + SCAN || self.cx.now < self.scanned {
            self.scanned = self.cx.now;
            self.sessions_due();
            self.tasks_due();
        }
        self.wake_expired();
        self.refreshed();
    }

    /// Tries the waiting requests again: something has changed.
    pub(crate) fn wake(&mut self) {
        for waiting in self.clients.take_waiting() {
            self.open(waiting.key, waiting.request, waiting.attempt.next());
        }
    }

    /// Tries those requests again that have waited long enough.
    fn wake_expired(&mut self) {
        for waiting in self.clients.take_expired(&self.cx) {
            self.open(waiting.key, waiting.request, waiting.attempt.next());
        }
    }

    fn calls_due(&mut self) {
        let now = self.cx.now;
        let slow = now.saturating_sub(self.cx.limits.stream_after);
        for key in self.calls.waiting_since(slow) {
            self.clients.begin_stream(&mut self.cx, key);
        }
        for (number, up) in self.calls.overdue(now) {
            self.call_due(number, up);
        }
    }

    fn call_due(&mut self, number: u64, up: UpId) {
        let name = self.up_ref(up).settings.name.clone();
        let limit = self.cx.limits.handshake / 1_000_000;
        if let Some(call) = self.calls.get_mut(&number)
            && matches!(call.purpose, Purpose::Discover)
            && self.ups.get(up).settings.transport == crate::api::Transport::Stdio
            && self.ups.get(up).settings.era != crate::api::EraSetting::Modern
        {
            // Silence is no answer yet: the server may be slow to start, or know nothing of the
            // probe. Whichever answer comes first counts.
            call.deadline = self.cx.now + self.cx.limits.handshake;
            return self.initialize_upstream(up, 0);
        }
        if self.waits_on(number, up) {
            return;
        }
        let Some((_, call)) = self.take_call(up, number) else {
            return;
        };
        if self.up_ref(up).is_http() && !matches!(call.purpose, Purpose::Client(_)) {
            self.cx.emit(Output::Abort(up, number));
        }
        match &call.purpose {
            Purpose::Client(client) => self.client_call_due(number, &call, client, &name),
            Purpose::Discover | Purpose::Initialize => {
                let detail = format!(
                    "no answer to {} within {limit} s",
                    if matches!(call.purpose, Purpose::Discover) {
                        "server/discover"
                    } else {
                        "initialize"
                    }
                );
                self.calls.retain(|_, other| {
                    other.up != up
                        || other.conn != call.conn
                        || !matches!(other.purpose, Purpose::Discover)
                });
                self.handshake_failed(up, call.conn, Code::UpstreamSilent, detail);
            }
            Purpose::List(kind) => self.list_failed(up, *kind),
            Purpose::Watch(name) => self.tasks.watch_over(name),
            Purpose::Listen | Purpose::Stream | Purpose::Told(..) | Purpose::Untracked => {}
        }
    }

    fn client_call_due(&mut self, number: u64, call: &Call, client: &ClientCall, name: &str) {
        let seconds = client.timeout / 1_000_000;
        let refusal = if client.is_asked() {
            Refusal::new(200, rpc::INTERNAL, Code::AnswerLate, name)
        } else {
            Refusal::new(
                200,
                rpc::INTERNAL,
                Code::UpstreamTimeout,
                &format!("{name}: no answer within {seconds} s"),
            )
        };
        let refusal = refusal.with("server", &crate::protocol::json::quote(name));
        if call.tries > 0 {
            self.cancel_upstream(call.up, call.conn, number);
            self.cancel_task(call.up, call.conn, client);
        }
        self.give_up(call, client, &refusal, "timeout");
    }

    fn upstream_due(&mut self, up: UpId) {
        let now = self.cx.now;
        if self.up_ref(up).retry_at.is_some_and(|at| at <= now) {
            self.begin_handshake(up);
        }
        for kind in ListKind::ALL {
            let due = self.up_ref(up).refresh_at[kind as usize].is_some_and(|at| at <= now);
            if due && self.up_ref(up).conns[0].phase == ConnState::Ready {
                self.up_mut(up).refresh_at[kind as usize] = None;
                self.fetch(up, kind);
            }
        }
        if self.up_ref(up).listen_at.is_some_and(|at| at <= now)
            && self.up_ref(up).conns[0].phase == ConnState::Ready
        {
            self.up_mut(up).listen_at = None;
            self.listen_upstream(up);
        }
        if !self.up_ref(up).is_http() {
            self.children_due(up);
        }
        let legacy =
            self.up_ref(up).is_http() && matches!(self.up_ref(up).era, Some(UpEra::Legacy(_)));
        for conn in 0..self.up_ref(up).conns.len() {
            let member = &self.up_ref(up).conns[conn];
            if member.phase != ConnState::Ready || !legacy {
                continue;
            }
            if member.awaits_stream.is_some_and(|until| until <= now) {
                self.send_queued(up, conn);
            }
            let member = &self.up_ref(up).conns[conn];
            if member.stream_at.is_some_and(|at| at <= now) {
                self.open_stream(up, conn);
            } else if conn > 0 && member.calls.is_empty() && now >= member.used + KEEP_CONN {
                self.close_conn(up, conn);
            }
        }
        if self
            .up_ref(up)
            .down_since
            .is_some_and(|since| now >= since + KEEP_LISTS)
            && self
                .up_ref(up)
                .lists
                .iter()
                .any(|list| !list.items.is_empty())
        {
            self.forget_lists(up);
        }
    }

    fn sessions_due(&mut self) {
        for name in self.clients.idle_sessions(&mut self.cx) {
            self.end_session(&name);
        }
        self.clients.forget_done_streams(self.cx.now);
    }
}
