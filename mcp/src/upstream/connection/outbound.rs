//! Messages that the relay sends for itself: its own requests, asides, log levels, and the GET
//! stream and end of a legacy HTTP session.

use crate::api::{HttpRequest, Micros, Output, UpId};
use crate::edge::Verb;
use crate::in_flight::record::{Call, Mismatch, Purpose, Sent};
use crate::protocol::method::LogLevel;
use crate::protocol::refusal::{Refusal, error_message, result_message, rpc};
use crate::protocol::task::EXTENSION;
use crate::protocol::{header, json, notification};
use crate::questions::OpenQuestion;
use crate::upstream::connection::handshake::client_info;
use crate::upstream::{Caps, ConnState, Connecting, UpEra};
use bytes::Bytes;
use ggen_wire::Code;

/// How an own request waits for ever (streams).
pub(crate) const NEVER: Micros = Micros::MAX;

impl Connecting<'_> {
    /// A request of ours: `members` of its params beside `_meta`, which modern servers get.
    pub(crate) fn outbound_request(
        &mut self,
        up: UpId,
        conn: usize,
        purpose: Purpose,
        method: &str,
        members: &str,
        limit: Micros,
    ) -> u64 {
        let number = self.cx.next_id();
        let modern = matches!(purpose, Purpose::Discover)
            || self.ups.get(up).is_modern_at(conn) && !matches!(purpose, Purpose::Initialize);
        self.register(
            number,
            up,
            conn,
            purpose,
            request_text(number, method, members, modern),
            limit,
        );
        self.send(number);
        number
    }

    fn register(
        &mut self,
        number: u64,
        up: UpId,
        conn: usize,
        purpose: Purpose,
        request: Sent,
        limit: Micros,
    ) {
        let (began, deadline) = (self.cx.now, self.cx.now.saturating_add(limit));
        let call = Call {
            up,
            conn,
            purpose,
            began,
            deadline,
            bytes: 0,
            request,
            status: 0,
            session: None,
            retry_after: None,
            last_event: None,
            retry_ms: None,
            tries: 0,
            mismatch: Mismatch::No,
        };
        self.calls.insert(number, call);
    }

    /// Writes a line to the child of a stdio server that a connection stands for.
    pub(crate) fn write_line(&mut self, up: UpId, conn: usize, line: Bytes) {
        let lease = self.ups.get(up).conns[conn].lease;
        self.cx.emit(Output::Write(up, lease, line));
    }

    /// A message of ours that has no answer: a notification, or the answer to a request of the
    /// server.
    pub(crate) fn send_untracked(
        &mut self,
        up: UpId,
        conn: usize,
        body: Bytes,
        headers: Vec<(String, String)>,
    ) {
        if !self.ups.get(up).is_http() {
            return self.write_line(up, conn, body);
        }
        let number = self.cx.next_id();
        self.register(
            number,
            up,
            conn,
            Purpose::Untracked,
            Sent { headers, body },
            30_000_000,
        );
        self.send(number);
    }

    /// Raises the verbosity of a legacy server if a client wants more than it was told so far.
    pub(crate) fn set_level(&mut self, up: UpId, conn: usize, level: LogLevel) {
        let upstream = self.ups.get_mut(up);
        let member = &mut upstream.conns[conn];
        // A child that one client has for itself says what that client wants to hear, and no more.
        let is_news = member
            .log_level
            .is_none_or(|now| level < now || member.is_leased() && level != now);
        if member.phase == ConnState::Ready && upstream.info.has("logging") && is_news {
            member.log_level = Some(level);
            self.outbound_request(
                up,
                conn,
                Purpose::Untracked,
                "logging/setLevel",
                &format!("\"level\":\"{}\"", level.as_str()),
                30_000_000,
            );
        }
    }

    /// The headers of a request to a legacy HTTP server.
    pub(crate) fn legacy_headers(&self, up: UpId, conn: usize) -> Vec<(String, String)> {
        let member = &self.ups.get(up).conns[conn];
        let mut headers = vec![(
            "accept".to_owned(),
            "application/json, text/event-stream".to_owned(),
        )];
        if let (Some(UpEra::Legacy(version)), ConnState::Ready) =
            (self.ups.get(up).era_at(conn), member.phase)
        {
            headers.push((
                "mcp-protocol-version".to_owned(),
                version.as_str().to_owned(),
            ));
        }
        if let Some(session) = &member.session {
            headers.push(("mcp-session-id".to_owned(), session.clone()));
        }
        headers
    }

    /// Ends the session of a connection that nobody uses.
    pub(crate) fn close_conn(&mut self, up: UpId, conn: usize) {
        let headers = self.legacy_headers(up, conn);
        let member = &mut self.ups.get_mut(up).conns[conn];
        member.phase = ConnState::Down;
        let (stream, session) = (member.stream.take(), member.session.take());
        if let Some(number) = stream {
            self.calls.remove(&number);
            self.cx.emit(Output::Abort(up, number));
        }
        if session.is_some() {
            let number = self.cx.next_id();
            self.register(
                number,
                up,
                conn,
                Purpose::Untracked,
                Sent::default(),
                30_000_000,
            );
            let request = HttpRequest {
                exchange: number,
                verb: Verb::Delete,
                headers,
                body: Bytes::new(),
                timeout: 30_000_000,
                repeatable: true,
            };
            self.cx.emit(Output::Http(up, request));
        }
    }

    /// Opens the GET stream of a legacy HTTP session.
    pub(crate) fn open_stream(&mut self, up: UpId, conn: usize) {
        if self.ups.get(up).conns[conn].stream.is_some() {
            return;
        }
        let number = self.cx.next_id();
        let mut headers = self.legacy_headers(up, conn);
        headers[0].1 = "text/event-stream".to_owned();
        let member = &mut self.ups.get_mut(up).conns[conn];
        member.stream = Some(number);
        member.stream_at = None;
        if let Some(event) = &member.last_event {
            headers.push(("last-event-id".to_owned(), event.clone()));
        }
        self.register(number, up, conn, Purpose::Stream, Sent::default(), NEVER);
        let request = HttpRequest {
            exchange: number,
            verb: Verb::Get,
            headers,
            body: Bytes::new(),
            timeout: 30_000_000,
            repeatable: true,
        };
        self.cx.emit(Output::Http(up, request));
    }

    /// Tells a server that an answer is not wanted any more.
    pub(crate) fn cancel_upstream(&mut self, up: UpId, conn: usize, number: u64) {
        let modern = self.ups.get(up).is_modern_at(conn);
        if !self.ups.get(up).is_http() {
            if self.ups.get(up).conns[conn].is_leased() {
                let until = self.cx.now + self.cx.limits.lease_grace;
                let conn = &mut self.ups.get_mut(up).conns[conn];
                conn.answer_may_come(number, until);
            } else {
                self.ups.get_mut(up).conns[conn].unsure =
                    self.cx.now + crate::upstream::connection::UNSURE;
            }
            return self.write_line(up, conn, notification::cancelled(number));
        }
        if !modern {
            self.send_untracked(up, conn, notification::cancelled(number), Vec::new());
        }
        self.cx.emit(Output::Abort(up, number));
    }

    /// A question that nobody will answer any more is answered all the same, so that its server
    /// does not wait for ever.
    pub(crate) fn take_back(&mut self, up: UpId, conn: usize, question: &OpenQuestion) {
        let answer = if &*question.method == "elicitation/create" {
            result_message(&question.id, "{\"action\":\"cancel\"}")
        } else {
            let refusal = Refusal::new(200, rpc::INTERNAL, Code::AnswerLate, "");
            error_message(Some(&question.id), &refusal.error())
        };
        self.send_untracked(up, conn, answer, Vec::new());
    }
}

/// A request of ours as it is sent: `members` of its params beside `_meta`, which modern servers
/// get.
pub(crate) fn request_text(number: u64, method: &str, members: &str, modern: bool) -> Sent {
    let mut params = members.to_owned();
    let mut headers = Vec::new();
    if modern {
        // Who wants to hear of tasks says that it knows what they are.
        let [task, tasks] = ["\"taskId\"", "\"taskIds\""].map(|member| members.contains(member));
        let caps = if task || tasks {
            format!("{{\"extensions\":{{\"{EXTENSION}\":{{}}}}}}")
        } else {
            Caps::default().write()
        };
        let comma = if members.is_empty() { "" } else { "," };
        params.push_str(&format!(
            "{comma}\"_meta\":{{{}}}",
            crate::translation::message::own_meta(&client_info(), &caps)
        ));
        let name = header::name_member(method).map(|member| (member, format!("{{{members}}}")));
        let name = name
            .as_ref()
            .and_then(|(member, object)| json::pick(object, [*member])?[0])
            .and_then(json::string);
        headers = header::make(method, name.as_deref());
    }
    let body = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":{number},\"method\":\"{method}\",\"params\":{{{params}}}}}"
    );
    Sent {
        headers,
        body: body.into(),
    }
}
