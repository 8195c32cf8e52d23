//! HTTP upstreams: what an exchange brings, and what its end means.

use crate::api::{HttpRequest, Micros, Output, UpId};
use crate::edge::Verb;
use crate::gateway::Gateway;
use crate::in_flight::record::{ClientCall, Mismatch, Purpose};
use crate::protocol::refusal::{Refusal, rpc};
use crate::upstream::{Conn, ConnState, UpEra};
use bytes::Bytes;
use ggen_wire::{Code, status::UpstreamState};

/// How often a broken stream is resumed.
const RESUMES: u8 = 5;
/// How long calls wait for the stream of a new session.
pub(crate) const STREAM: Micros = 1_000_000;
/// Connection failures in a row after which a server counts as down.
const FAILURES: u32 = 3;

impl Gateway {
    pub(crate) fn http_head(
        &mut self,
        up: UpId,
        exchange: u64,
        status: u16,
        session: Option<String>,
    ) {
        let Some(call) = self.calls.get_mut(&exchange).filter(|call| call.up == up) else {
            return;
        };
        call.status = status;
        let conn = call.conn;
        let (is_handshake, streams) = (
            matches!(call.purpose, Purpose::Initialize),
            matches!(call.purpose, Purpose::Stream),
        );
        if is_handshake && (200..300).contains(&status) {
            self.up_mut(up).conns[conn].session = session;
        } else if streams && self.up_ref(up).conns[conn].awaits_stream.is_some() {
            self.send_queued(up, conn);
        }
    }

    pub(crate) fn http_message(
        &mut self,
        up: UpId,
        exchange: u64,
        event_id: Option<String>,
        retry_ms: Option<u32>,
        data: Bytes,
    ) {
        let Some(call) = self.calls.get_mut(&exchange).filter(|call| call.up == up) else {
            return;
        };
        let conn = call.conn;
        if let Some(event) = &event_id {
            call.last_event = Some(event.clone());
            if matches!(call.purpose, Purpose::Stream) {
                self.up_mut(up).conns[conn].last_event.clone_from(&event_id);
            }
        }
        if let (Some(retry), Some(call)) = (retry_ms, self.calls.get_mut(&exchange)) {
            call.retry_ms = Some(retry);
        }
        if data.is_empty() {
            return self.primed(exchange);
        }
        if self.is_about_session(up, exchange, &data)
            && let Some(call) = self.calls.get_mut(&exchange)
        {
            call.status = 404;
        }
        // The body of a 404 is about the session, not about the call.
        if !self.is_session_lost(up, exchange) {
            // What comes on the session's own stream says not to which call it belongs.
            let call = self
                .calls
                .get(&exchange)
                .filter(|call| !matches!(call.purpose, Purpose::Stream))
                .map(|_| exchange);
            self.received(up, conn, call, crate::protocol::json::one_line(data));
        }
    }

    /// The session of a legacy server that takes a call whose client can be asked for something:
    /// one whose handshake says so, and that no other client uses meanwhile, as long as
    /// `server.connection_pool` has room. What the server asks outside of a call's stream is then
    /// one client's.
    pub(crate) fn session_for(&mut self, up: UpId, call: &ClientCall) -> usize {
        let (now, caps, pool) = (self.cx.now, call.caps, self.up_ref(up).settings.pool);
        let busy = self.tasks.remotes_at_work(up, self.cx.now);
        let conns = &self.up_ref(up).conns;
        let fit = || {
            conns
                .iter()
                .enumerate()
                .skip(1)
                .filter(|(_, conn)| conn.caps == caps)
        };
        let rank = |conn: &Conn| {
            let own = call.session.is_some() && conn.user == call.session;
            let free = conn.calls.is_empty()
                && conn.queue.is_empty()
                && now >= conn.unsure
                && !busy.contains(&conn.session);
            if own {
                Some(0)
            } else {
                free.then_some(if conn.user.is_none() { 1 } else { 2 })
            }
        };
        let ranked =
            fit().filter_map(|(at, conn)| Some((rank(conn)?, std::cmp::Reverse(conn.used), at)));
        let own = ranked.min().map(|(.., at)| at);
        let shared = || {
            fit()
                .map(|(at, conn)| (conn.calls.len() + conn.queue.len(), at))
                .min()
                .map(|(_, at)| at)
        };
        let closed = || {
            conns
                .iter()
                .skip(1)
                .position(|conn| conn.phase == ConnState::Down && conn.queue.is_empty())
                .map(|at| at + 1)
        };
        let at = match own {
            Some(at) => at,
            None if conns.len() > pool && closed().is_none() => shared().unwrap_or(conns.len()),
            None => closed().unwrap_or(conns.len()),
        };
        let conns = &mut self.up_mut(up).conns;
        if at == conns.len() {
            conns.push(Conn::new(caps));
        } else if conns[at].phase == ConnState::Down {
            conns[at] = Conn::new(caps);
        }
        let conn = &mut conns[at];
        if conn.calls.is_empty() && conn.queue.is_empty() {
            conn.user.clone_from(&call.session);
        }
        conn.used = now;
        if conn.phase == ConnState::Down {
            self.initialize_upstream(up, at);
        }
        at
    }

    /// The server lets its client resume the call: so do we, if the client's era knows of that.
    fn primed(&mut self, exchange: u64) {
        if let Some(Purpose::Client(client)) = self.calls.get(&exchange).map(|call| &call.purpose)
            && !client.modern
        {
            let key = client.key;
            self.clients.begin_stream(&mut self.cx, key);
        }
    }

    /// Whether a server says 400 of a session that it has forgotten, as many do in the place of
    /// 404: the error answers no request, and names sessions.
    fn is_about_session(&self, up: UpId, exchange: u64, data: &[u8]) -> bool {
        let Some(call) = self.calls.get(&exchange).filter(|call| call.status == 400) else {
            return false;
        };
        let text = std::str::from_utf8(data).unwrap_or_default();
        let [id, error] = crate::protocol::json::pick(text, ["id", "error"]).unwrap_or_default();
        self.up_ref(up).conns[call.conn].session.is_some()
            && id.is_none_or(|id| id == "null")
            && error.is_some_and(|error| error.to_ascii_lowercase().contains("session"))
    }

    /// Whether an answer says that the server has forgotten our session (2025-11-25, Session
    /// Management 3).
    fn is_session_lost(&self, up: UpId, exchange: u64) -> bool {
        let Some(call) = self.calls.get(&exchange) else {
            return false;
        };
        let upstream = self.up_ref(up);
        let conn = &upstream.conns[call.conn];
        // Several calls may learn of it; only the first one finds the old session still on the
        // books.
        let had_session = conn.session.is_some() || matches!(conn.phase, ConnState::Handshake(_));
        call.status == 404 && matches!(upstream.era, Some(UpEra::Legacy(_))) && had_session
    }

    pub(crate) fn http_end(&mut self, up: UpId, exchange: u64, error: Option<(Code, String)>) {
        let Some(call) = self.calls.get(&exchange).filter(|call| call.up == up) else {
            return;
        };
        let (conn, status, tries) = (call.conn, call.status, call.tries);
        let failure = error.unwrap_or_else(|| unanswered(status));
        match call.purpose {
            Purpose::Client(_) if call.mismatch == Mismatch::Told => {
                self.mismatch_ended(up, exchange)
            }
            Purpose::Client(_) if self.is_session_lost(up, exchange) && tries < 2 => {
                self.session_lost(up, conn, exchange)
            }
            Purpose::Client(_) | Purpose::Watch(_)
                if call.last_event.is_some() && tries <= RESUMES =>
            {
                self.resume(up, exchange)
            }
            Purpose::Discover => {
                self.calls.remove(&exchange);
                match failure.0 {
                    Code::UpstreamRefused if !matches!(status, 401 | 403) => {
                        self.fall_back(up, &failure.1)
                    }
                    code => self.handshake_failed(up, conn, code, failure.1),
                }
            }
            Purpose::Initialize => {
                self.calls.remove(&exchange);
                self.handshake_failed(up, conn, failure.0, failure.1);
            }
            Purpose::Stream => self.stream_ended(up, conn, exchange, status),
            Purpose::Listen => {
                self.calls.remove(&exchange);
                self.listen_ended(up, exchange);
            }
            Purpose::List(kind) => {
                let lost = self.is_session_lost(up, exchange);
                self.calls.remove(&exchange);
                if lost {
                    self.up_mut(up).lists[kind as usize].loading = None;
                    if self.up_ref(up).conns[conn].phase == ConnState::Ready {
                        self.initialize_upstream(up, conn);
                    }
                } else {
                    self.list_failed(up, kind);
                }
            }
            Purpose::Watch(_) => {
                if let Some(Purpose::Watch(name)) =
                    self.calls.remove(&exchange).map(|call| call.purpose)
                {
                    self.tasks.watch_over(&name);
                }
            }
            Purpose::Told(..) | Purpose::Untracked => drop(self.calls.remove(&exchange)),
            Purpose::Client(_) => self.client_end(up, exchange, &failure.0, &failure.1),
        }
    }

    /// The GET stream of a legacy server ended.
    fn stream_ended(&mut self, up: UpId, conn: usize, exchange: u64, status: u16) {
        self.calls.remove(&exchange);
        let again = self.cx.now + 1_000_000;
        let member = &mut self.up_mut(up).conns[conn];
        member.stream = None;
        let waited = member.awaits_stream.is_some();
        // A server without such a stream says 405; one that was cut off is asked again.
        member.stream_at =
            ((200..300).contains(&status) || status >= 500 || status == 0).then_some(again);
        if status == 404 && member.session.is_some() && member.phase == ConnState::Ready {
            self.initialize_upstream(up, conn);
        } else if waited {
            self.send_queued(up, conn);
        }
    }

    fn client_end(&mut self, up: UpId, exchange: u64, code: &Code, reason: &str) {
        let name = self.up_ref(up).settings.name.clone();
        let refusal = Refusal::new(200, rpc::INTERNAL, *code, &format!("{name}: {reason}"));
        if let Some((_, mut call)) = self.take_call(up, exchange)
            && !(*code == Code::UpstreamUnreachable && self.retry(exchange, &mut call))
            && let Purpose::Client(client) = &call.purpose
        {
            self.give_up(&call, client, &refusal, "error");
        }
        if *code == Code::UpstreamUnreachable {
            let upstream = self.up_mut(up);
            upstream.failures += 1;
            if upstream.failures >= FAILURES && upstream.conns[0].phase == ConnState::Ready {
                upstream.conns[0].phase = ConnState::Down;
                self.ups.retry_later(&mut self.cx, up);
                self.down(up, UpstreamState::Degraded, *code, reason.to_owned(), false);
            }
        }
    }

    /// The server has forgotten the session: begin a new one and send the call again; it was not
    /// executed.
    fn session_lost(&mut self, up: UpId, conn: usize, exchange: u64) {
        if let Some(call) = self.calls.get_mut(&exchange) {
            call.status = 0;
        }
        let member = &mut self.up_mut(up).conns[conn];
        member.calls.remove(&exchange);
        member.queue.push(exchange);
        if member.phase == ConnState::Ready {
            self.initialize_upstream(up, conn);
        }
    }

    /// Asks for the rest of a stream that ended before its answer (2025-11-25, Resumability).
    fn resume(&mut self, up: UpId, exchange: u64) {
        let Some(call) = self.calls.get_mut(&exchange) else {
            return;
        };
        let wait: Micros = u64::from(call.retry_ms.unwrap_or(500).min(30_000)) * 1000;
        let (client, retry) = (
            if let Purpose::Client(client) = &call.purpose {
                Some(client.key)
            } else {
                None
            },
            call.retry_ms,
        );
        let due = self.cx.now + wait;
        self.ups.resume_at(&mut self.cx, due, up, exchange);
        if let Some(key) = client {
            self.clients.suspend_stream(&mut self.cx, key, retry);
        }
    }

    /// The due resumptions of broken streams.
    pub(crate) fn resume_due(&mut self) {
        for (up, exchange) in self.ups.due_resumes(self.cx.now) {
            let Some(call) = self.calls.get_mut(&exchange) else {
                continue;
            };
            call.tries += 1;
            call.status = 0;
            let (conn, event) = (call.conn, call.last_event.clone().unwrap_or_default());
            let mut headers = self.legacy_headers(up, conn);
            headers[0].1 = "text/event-stream".to_owned();
            headers.push(("last-event-id".to_owned(), event));
            self.cx.emit(Output::Http(
                up,
                HttpRequest {
                    exchange,
                    verb: Verb::Get,
                    headers,
                    body: Bytes::new(),
                    timeout: 30_000_000,
                },
            ));
        }
    }
}

/// Why an exchange that ended without an answer failed, by its HTTP status; 0: there was none.
fn unanswered(status: u16) -> (Code, String) {
    let code = if (500..600).contains(&status) {
        Code::UpstreamUnreachable
    } else {
        Code::UpstreamRefused
    };
    let why = match status {
        401 | 403 => format!(
            "HTTP {status}: the server wants other credentials; check its headers in the configuration"
        ),
        status if status >= 400 => format!("HTTP {status}"),
        _ => "the response ended without an answer".to_owned(),
    };
    (code, why)
}
