//! What time does: calls that take too long, requests that have waited enough, sessions that are
//! idle, servers to try again.

use crate::api::{Micros, Output, UpId};
use crate::gateway::Gateway;
use crate::in_flight::record::Purpose;
use ggen_wire::Code;

/// How often sessions are looked at.
const SCAN: Micros = 5_000_000;

impl Gateway {
    pub(crate) fn tick(&mut self) {
        self.calls_due();
        self.clients
            .suspend_long_streams(&mut self.cx, self.access.stream_limit());
        self.questioning().pending_due();
        self.questioning().rounds_due();
        self.held_answers_due();
        self.connecting().resume_due();
        for up in self.ups.ids() {
            self.connecting().due(up);
            if !self.ups.get(up).is_http() {
                self.calling().children_due(up);
            }
        }
        if self.cx.now >= self.scanned + SCAN || self.cx.now < self.scanned {
            self.scanned = self.cx.now;
            self.sessions_due();
            self.calling().tasks_due();
        }
        self.wake_expired();
        self.connecting().refreshed();
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
        let name = self.ups.get(up).settings.name.clone();
        let limit = self.connecting().handshake_limit(up);
        // Silence is no answer yet: the server may be slow to start, or know nothing of what it was
        // asked.
        if self.connecting().handshake_silent(up, number) {
            return;
        }
        if self.calling().waits_on(number, up) {
            return;
        }
        let Some((_, call)) = self.calling().take_call(up, number) else {
            return;
        };
        if self.ups.get(up).is_http() && !matches!(call.purpose, Purpose::Client(_)) {
            self.cx.emit(Output::Abort(up, number));
        }
        match &call.purpose {
            Purpose::Client(client) => self.calling().client_call_due(number, &call, client, &name),
            Purpose::Discover | Purpose::Initialize => {
                let detail = format!(
                    "no answer to {} within {} s",
                    if matches!(call.purpose, Purpose::Discover) {
                        "server/discover"
                    } else {
                        "initialize"
                    },
                    limit / 1_000_000
                );
                let refused = self.ups.get_mut(up).initialize_refused.take();
                let (code, detail) = refused.unwrap_or((Code::UpstreamSilent, detail));
                self.connecting().forget_handshake(up, call.conn);
                self.connecting()
                    .handshake_failed(up, call.conn, code, detail);
            }
            Purpose::List(kind) => {
                let limit = self.ups.get(up).settings.timeout / 1_000_000;
                let reason = format!("no answer within {limit} s");
                self.connecting().list_lost((up, call.conn), *kind, reason);
            }
            Purpose::Watch(name) => self.tasks.watch_over(name),
            Purpose::Listen | Purpose::Stream | Purpose::TaskResult(..) | Purpose::Untracked => {}
        }
    }

    fn sessions_due(&mut self) {
        for name in self.clients.idle_sessions(&mut self.cx) {
            self.end_session(&name);
        }
        self.clients.forget_done_streams(self.cx.now);
    }
}
