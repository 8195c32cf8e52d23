//! HTTP upstreams: what an exchange brings, and what its end means.

use crate::api::{HttpRequest, Micros, Output, UpId};
use crate::edge::Verb;
use crate::in_flight::record::Purpose;
use crate::protocol::json;
use crate::upstream::{ConnState, Connecting};
use bytes::Bytes;

/// How long calls wait for the stream of a new session.
pub(crate) const STREAM: Micros = 1_000_000;
/// After so many sessions in which nothing was answered, no new one is begun.
const LOST: u32 = 3;
/// How often a call is sent whose server has too much to do.
const CALLS: u8 = 4;
/// How long such a call waits, at least and at most.
const NO_HURRY: Micros = 1_000_000;
const PATIENCE: Micros = 60_000_000;

/// The head of a response.
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) session: Option<String>,
    pub(crate) retry_after: Option<Micros>,
    pub(crate) sse: bool,
}

impl Connecting<'_> {
    pub(crate) fn http_head(&mut self, up: UpId, exchange: u64, head: Head) {
        let Some(call) = self.calls.get_mut(&exchange).filter(|call| call.up == up) else {
            return;
        };
        let is_success = (200..300).contains(&head.status);
        call.status = head.status;
        call.retry_after = head.retry_after;
        let conn = call.conn;
        match call.purpose {
            Purpose::Initialize if is_success => call.session = head.session,
            Purpose::Client(_) | Purpose::List(_) if is_success => {
                self.ups.get_mut(up).conns[conn].lost_sessions = 0;
            }
            Purpose::Stream => {
                // A page or a piece of JSON instead of a stream: there is none.
                if is_success && !head.sse {
                    call.status = 405;
                }
                let member = &mut self.ups.get_mut(up).conns[conn];
                if is_success && head.sse {
                    (member.has_streamed, member.stream_failures) = (true, 0);
                }
                if member.awaits_stream.is_some() {
                    self.send_queued(up, conn);
                }
            }
            _ => {}
        }
    }

    /// Whether an error of that id means that the request of an exchange has failed.
    pub(crate) fn is_failure_of(&self, number: u64, id: Option<&str>) -> bool {
        let own = || id.is_some_and(|id| id.parse() == Ok(number));
        self.calls
            .get(&number)
            .is_some_and(|call| id.is_none() || call.status >= 400 && !own())
    }

    /// How long a call waits that was refused with 429: its server did nothing, and takes it later.
    /// `None`: the refusal is the answer.
    pub(crate) fn call_again_after(&self, exchange: u64) -> Option<Micros> {
        let call = self
            .calls
            .get(&exchange)
            .filter(|call| call.status == 429 && call.tries < CALLS)?;
        let wait = call.retry_after.unwrap_or(NO_HURRY).max(NO_HURRY);
        let is_in_time = self.cx.now.saturating_add(wait) < call.deadline;
        (wait <= PATIENCE && is_in_time).then_some(wait)
    }

    /// Has a call sent again after that time.
    pub(crate) fn call_again(&mut self, up: UpId, exchange: u64, wait: Micros) {
        let due = self.cx.now + wait;
        self.ups.resume_at(self.cx, due, up, exchange);
    }

    /// The server lets its client resume the call: so do we, if the client's era knows of that.
    fn primed(&mut self, exchange: u64) {
        if let Some(Purpose::Client(client)) = self.calls.get(&exchange).map(|call| &call.purpose)
            && !client.modern
        {
            let key = client.key;
            self.clients.begin_stream(self.cx, key);
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
        self.ups.get(up).conns[call.conn].session.is_some()
            && id.is_none_or(|id| id == "null")
            && error.is_some_and(|error| error.to_ascii_lowercase().contains("session"))
    }

    /// Whether an answer says that the server has forgotten our session (2025-11-25, Session
    /// Management 3).
    pub(crate) fn is_session_lost(&self, up: UpId, exchange: u64) -> bool {
        let Some(call) = self.calls.get(&exchange) else {
            return false;
        };
        let upstream = self.ups.get(up);
        let conn = &upstream.conns[call.conn];
        // Where every new session is lost, something else is not found.
        if conn.lost_sessions >= LOST {
            return false;
        }
        // Several calls may learn of it; only the first one finds the old session still on the
        // books.
        let had_session = conn.session.is_some() || matches!(conn.phase, ConnState::Handshake(_));
        call.status == 404 && !upstream.is_modern_at(call.conn) && had_session
    }

    /// The GET stream of a legacy server ended.
    pub(crate) fn stream_ended(&mut self, up: UpId, conn: usize, exchange: u64, status: u16) {
        self.calls.remove(&exchange);
        let now = self.cx.now;
        let member = &mut self.ups.get_mut(up).conns[conn];
        member.stream = None;
        let waited = member.awaits_stream.is_some();
        // A server without such a stream says 405, or something like it; one that was cut off is
        // asked again, one that fails less and less often.
        member.stream_at = ((200..300).contains(&status) || status >= 500 || status == 0)
            .then(|| now + (STREAM << member.stream_failures.min(6)));
        if !(200..300).contains(&status) {
            member.stream_failures += 1;
        }
        // A session that has had a stream is not known any more; without one, there are none here.
        if status == 404
            && member.has_streamed
            && member.session.is_some()
            && member.phase == ConnState::Ready
        {
            self.begin_again(up, conn);
        } else if waited {
            self.send_queued(up, conn);
        }
    }

    /// The server has forgotten the session: begin a new one and send the call again; it was not
    /// executed.
    pub(crate) fn session_lost(&mut self, up: UpId, conn: usize, exchange: u64) {
        if let Some(call) = self.calls.get_mut(&exchange) {
            call.status = 0;
        }
        let member = &mut self.ups.get_mut(up).conns[conn];
        member.calls.remove(&exchange);
        member.queue.push(exchange);
        if member.phase == ConnState::Ready {
            self.begin_again(up, conn);
        }
    }

    /// Begins a new session in the place of one that was lost.
    pub(crate) fn begin_again(&mut self, up: UpId, conn: usize) {
        self.ups.get_mut(up).conns[conn].lost_sessions += 1;
        self.initialize_upstream(up, conn);
    }

    /// Asks for the rest of a stream that ended before its answer (2025-11-25, Resumability).
    pub(crate) fn resume(&mut self, up: UpId, exchange: u64) {
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
        self.ups.resume_at(self.cx, due, up, exchange);
        if let Some(key) = client {
            self.clients.suspend_stream(self.cx, key, retry);
        }
    }

    /// The due resumptions of broken streams.
    pub(crate) fn resume_due(&mut self) {
        for (up, exchange) in self.ups.due_resumes(self.cx.now) {
            let Some(call) = self.calls.get_mut(&exchange) else {
                continue;
            };
            if std::mem::take(&mut call.status) == 429 {
                self.send(exchange);
                continue;
            }
            call.tries += 1;
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
                    repeatable: true,
                },
            ));
        }
    }

    /// An event of an exchange. Gives the message in it, with the connection, and the call that it
    /// belongs to if that is certain.
    pub(crate) fn http_event(
        &mut self,
        up: UpId,
        exchange: u64,
        event_id: Option<String>,
        retry_ms: Option<u32>,
        data: Bytes,
    ) -> Option<(usize, Option<u64>, Bytes)> {
        let call = self.calls.get_mut(&exchange).filter(|call| call.up == up)?;
        let conn = call.conn;
        if let Some(event) = &event_id {
            call.last_event = Some(event.clone());
            if matches!(call.purpose, Purpose::Stream) {
                self.ups.get_mut(up).conns[conn]
                    .last_event
                    .clone_from(&event_id);
            }
        }
        if let (Some(retry), Some(call)) = (retry_ms, self.calls.get_mut(&exchange)) {
            call.retry_ms = Some(retry);
        }
        if data.is_empty() {
            self.primed(exchange);
            return None;
        }
        if self.is_about_session(up, exchange, &data)
            && let Some(call) = self.calls.get_mut(&exchange)
        {
            call.status = 404;
        }
        // The body of a 404 is about the session, not about the call.
        if self.is_session_lost(up, exchange) {
            return None;
        }
        // What comes on the session's own stream says not to which call it belongs.
        let call = self
            .calls
            .get(&exchange)
            .filter(|call| !matches!(call.purpose, Purpose::Stream))
            .map(|_| exchange);
        Some((conn, call, json::one_line(data)))
    }
}
