//! GET and DELETE of legacy sessions, clients that go away, and calls that are cancelled.

use crate::api::{Observation, Output, StreamKey, UpId};
use crate::call::record::Purpose;
use crate::client::exchange::Exchange;
use crate::client::listen::cancelled;
use crate::client::request::Flow;
use crate::client::session;
use crate::edge::Request;
use crate::gateway::Gateway;
use crate::protocol::method::{Legacy, MODERN};
use crate::protocol::refusal::{Refusal, rpc};
use crate::upstream::view::View;
use bytes::Bytes;
use ggen_wire::Code;
use std::sync::Arc;

/// After this time a client comes back for the rest of a stream that has lasted long enough, in
/// milliseconds.
const COME_BACK: u32 = 500;

type Answer = Result<Flow, (Option<Box<str>>, Refusal)>;

impl Gateway {
    /// The stream on which a legacy client hears what nobody asked for, or the rest of a stream
    /// that broke off.
    pub(crate) fn get(&mut self, key: StreamKey, request: &Request) -> Answer {
        let anonymous = |refusal| (None, refusal);
        let refused = |detail: &str| {
            (
                None,
                Refusal::new(405, rpc::INVALID_REQUEST, Code::MethodNotAllowed, detail),
            )
        };
        let access = self.access.of(key, &request.principal);
        let view = self
            .ups
            .view_for(&mut self.cx, access.as_deref(), request)
            .map_err(anonymous)?;
        if request.header("mcp-protocol-version") == Some(MODERN) {
            return Err(refused(
                "revision 2026-07-28 has no GET; use subscriptions/listen",
            ));
        }
        let id = request
            .header("mcp-session-id")
            .ok_or_else(|| refused("GET needs an Mcp-Session-Id"))?;
        let (name, _) = self.session_of(request, view, id).map_err(anonymous)?;
        if !request.accept_sse {
            return Err((
                None,
                Refusal::new(406, rpc::INVALID_REQUEST, Code::NotAcceptable, ""),
            ));
        }
        let resumed = request
            .header("last-event-id")
            .and_then(session::parse_event_id);
        let Some(session) = self.sessions.get_mut(&name) else {
            return Ok(Flow::Done);
        };
        let number = resumed
            .map(|(ring, _)| ring)
            .filter(|ring| session.rings.contains_key(ring))
            .unwrap_or(0);
        let Some(ring) = session.rings.get_mut(&number) else {
            return Ok(Flow::Done);
        };
        let events = ring.replay(
            resumed
                .filter(|(at, _)| *at == number)
                .map(|(_, event)| event),
        );
        let done = ring.done.is_some();
        let before = std::mem::replace(&mut ring.attached, (!done).then_some(key));
        if let Some(reader) = before.filter(|_| number > 0) {
            self.let_go(reader);
        }
        let mut exchange = Exchange::new(request, Some(name.clone()), self.cx.now);
        exchange.left = 0;
        exchange.start(key, self.cx.outputs());
        for (event, data) in events {
            exchange.event(
                key,
                Some(session::event_id(number, event)),
                None,
                data,
                false,
                self.cx.outputs(),
            );
        }
        if done {
            exchange.close(key, self.cx.outputs());
        }
        self.exchanges.insert(key, exchange);
        self.sweep(key);
        Ok(Flow::Done)
    }

    /// The client reads a stream elsewhere now: its old exchange ends, the calls behind it go on.
    fn let_go(&mut self, reader: StreamKey) {
        let Some(exchange) = self.exchanges.get_mut(&reader) else {
            return;
        };
        exchange.suspend(reader, self.cx.outputs());
        if exchange.left == 0 {
            self.exchanges.remove(&reader);
        }
    }

    /// The end of a legacy session.
    pub(crate) fn delete(&mut self, key: StreamKey, request: &Request) -> Answer {
        let access = self.access.of(key, &request.principal);
        let view = self
            .ups
            .view_for(&mut self.cx, access.as_deref(), request)
            .map_err(|refusal| (None, refusal))?;
        if request.header("mcp-protocol-version") == Some(MODERN) {
            return Err((
                None,
                Refusal::new(
                    405,
                    rpc::INVALID_REQUEST,
                    Code::MethodNotAllowed,
                    "revision 2026-07-28 has no sessions",
                ),
            ));
        }
        let missing = || {
            (
                None,
                Refusal::new(
                    400,
                    rpc::INVALID_REQUEST,
                    Code::SessionMissing,
                    "DELETE needs an Mcp-Session-Id",
                ),
            )
        };
        let id = request.header("mcp-session-id").ok_or_else(missing)?;
        let (name, _) = self
            .session_of(request, view, id)
            .map_err(|refusal| (None, refusal))?;
        self.end_session(&name);
        self.full(key, 204, Bytes::new());
        Ok(Flow::Done)
    }

    /// Ends a session: its calls are cancelled, its streams closed, its subscriptions given up.
    pub(crate) fn end_session(&mut self, name: &Arc<str>) {
        if !self.tasks.is_empty() {
            let owner = self.owner(Some(name), "");
            self.forget_tasks_of(&owner);
        }
        let Some(session) = self.sessions.remove(name) else {
            return;
        };
        self.forget_session(&session);
        let mut calls: Vec<_> = session.calls.into_values().collect();
        calls.sort_unstable();
        for number in calls {
            self.cancel(number);
        }
        self.session_leaves(name);
        let streams = self
            .exchanges
            .iter()
            .filter(|(_, exchange)| exchange.left == 0 && exchange.session.as_ref() == Some(name));
        let mut streams: Vec<_> = streams.map(|(key, _)| *key).collect();
        streams.sort_unstable();
        for reader in streams {
            if let Some(exchange) = self.exchanges.get_mut(&reader) {
                exchange.close(reader, self.cx.outputs());
            }
            self.sweep(reader);
        }
        for exposed in &session.subscriptions {
            if let Some((up, original)) = self.subscribed_at(session.view, exposed) {
                self.release_and_tell(up, &original);
            }
        }
    }

    /// Whose an exposed URI is that a session is subscribed to, and its original.
    pub(crate) fn subscribed_at(&self, view: View, exposed: &str) -> Option<(UpId, Arc<str>)> {
        match view {
            View::One(up) => Some((up, exposed.into())),
            _ => {
                let (key, original) = crate::protocol::name::original_uri(exposed)?;
                self.ups
                    .configured()
                    .find(|up| up.key == key)
                    .map(|up| (up.id, original.into()))
            }
        }
    }

    /// The client of an exchange is gone. A modern one cancels with that; a legacy one may come
    /// back for the answer.
    pub(crate) fn gone(&mut self, key: StreamKey) {
        let waiting = self.waiting.len();
        let mut left: Vec<_> = self
            .waiting
            .extract_if(.., |waiting| waiting.key == key)
            .filter_map(|waiting| waiting.attempt.take_span())
            .collect();
        let waiting = waiting - self.waiting.len();
        let questions = self.questions.len();
        left.extend(
            self.questions
                .extract_if(|_, pending| pending.key() == key)
                .filter_map(|(_, pending)| pending.span()),
        );
        // A request that waits has an exchange only if it is being sent once more.
        let questions = questions - self.questions.len() + waiting;
        self.refreshing.retain(|waiting| *waiting != key);
        left.extend(
            self.unsaid
                .extract_if(.., |_, (_, unsaid)| unsaid.key == key)
                .filter_map(|(_, (_, unsaid))| unsaid.span),
        );
        left.sort_unstable_by_key(|span| span.id.0);
        left.into_iter()
            .for_each(|span| self.spans.end(&mut self.cx, Some(span), "cancelled", b""));
        self.unlisten(key);
        let Some(exchange) = self.exchanges.get_mut(&key) else {
            return;
        };
        exchange.connected = false;
        let Some(name) = exchange.session.clone() else {
            for number in std::mem::take(&mut exchange.calls) {
                if !self.hand_over(number, key) {
                    self.cancel(number);
                }
            }
            self.exchanges.remove(&key);
            return;
        };
        exchange.left = exchange.left.saturating_sub(questions);
        let waits = exchange.left > 0;
        if exchange.socket && exchange.left == 0 {
            // A session on a socket ends with it: nobody can come back for anything.
            self.exchanges.remove(&key);
            return self.end_session(&name);
        }
        if let Some(session) = self.sessions.get_mut(&name) {
            session
                .rings
                .values_mut()
                .filter(|ring| ring.attached == Some(key))
                .for_each(|ring| ring.attached = None);
        }
        if !waits {
            self.exchanges.remove(&key);
        }
    }

    /// Cancels a request of a legacy client that waits for a server to become ready.
    pub(crate) fn cancel_waiting(&mut self, session: &Arc<str>, id: &str) {
        let is_it = |waiting: &mut crate::client::waiting::Waiting| {
            let text = std::str::from_utf8(&waiting.request.body).unwrap_or_default();
            waiting.request.header("mcp-session-id") == Some(session)
                && matches!(crate::protocol::json::Envelope::parse(text).map(|envelope| envelope.kind), Ok(crate::protocol::json::Kind::Request(own, _)) if own == id)
        };
        let cancelled: Vec<_> = self.waiting.extract_if(.., is_it).collect();
        for waiting in cancelled {
            self.spans
                .end(&mut self.cx, waiting.attempt.take_span(), "cancelled", b"");
            if self.exchanges.contains_key(&waiting.key) {
                self.drop_answer(waiting.key);
                continue;
            }
            let mut exchange = Exchange::new(&waiting.request, None, waiting.attempt.arrived);
            if exchange.may_stream() {
                exchange.start(waiting.key, self.cx.outputs());
            }
            exchange.close(waiting.key, self.cx.outputs());
        }
    }

    /// Cancels a client's call: the server is told, the client gets nothing more.
    pub(crate) fn cancel(&mut self, number: u64) {
        let Some(up) = self.calls.get(&number).map(|call| call.up) else {
            return;
        };
        let queued = self
            .calls
            .get(&number)
            .is_some_and(|call| self.up_ref(up).conns[call.conn].queue.contains(&number));
        let Some((_, call)) = self.take_call(up, number) else {
            return;
        };
        let Purpose::Client(client) = &call.purpose else {
            return;
        };
        if let Some(park) = client.park() {
            self.unpark(park);
        }
        // What waits for a connection, or for the client, is unknown to the server.
        if !queued && call.tries > 0 {
            self.cancel_upstream(up, call.conn, number);
            self.cancel_task(up, call.conn, client);
        }
        let era = if client.modern { "modern" } else { "legacy" };
        let duration = self.cx.now.saturating_sub(client.arrived);
        self.cx.emit(Output::Observe(Observation::Request {
            method: client.method.name(),
            era,
            outcome: "cancelled",
            duration,
            trace: client.sampled(),
        }));
        self.cx.emit(Output::Observe(Observation::Call {
            up,
            tool: client.tool.clone(),
            outcome: "cancelled",
            duration,
        }));
        client.audit(&mut self.cx, up, "cancelled", 0);
        self.spans
            .end_call(&mut self.cx, client.sent.as_deref(), "cancelled", b"");
        self.spans
            .end(&mut self.cx, client.span.clone(), "cancelled", b"");
        self.drop_answer(client.key);
    }

    /// Tells a server that an answer is not wanted any more.
    pub(crate) fn cancel_upstream(&mut self, up: UpId, conn: usize, number: u64) {
        let modern = self.up_ref(up).era == Some(crate::upstream::UpEra::Modern);
        if !self.up_ref(up).is_http() {
            if self.up_ref(up).conns[conn].is_leased() {
                self.answer_may_come(up, conn, number);
            } else {
                self.up_mut(up).conns[conn].unsure =
                    self.cx.now + crate::call::notifications::UNSURE;
            }
            return self.write_line(up, conn, cancelled(number));
        }
        if !modern {
            self.aside(up, conn, cancelled(number), Vec::new());
        }
        self.cx.emit(Output::Abort(up, number));
    }

    /// One answer less on an exchange; the last one ends it.
    fn drop_answer(&mut self, key: StreamKey) {
        let Some(exchange) = self.exchanges.get_mut(&key) else {
            return;
        };
        exchange.left = exchange.left.saturating_sub(1);
        if exchange.left > 0 {
            return;
        }
        if exchange.may_stream() && !exchange.is_batch() {
            exchange.start(key, self.cx.outputs());
        }
        let (ring, session) = (exchange.ring, exchange.session.clone());
        exchange.close(key, self.cx.outputs());
        self.sweep(key);
        if let (Some(ring), Some(session)) =
            (ring, session.and_then(|id| self.sessions.get_mut(&id)))
        {
            let reader = session.rings.remove(&ring).and_then(|ring| ring.attached);
            if let Some(reader) = reader.filter(|reader| *reader != key)
                && let Some(exchange) = self.exchanges.get_mut(&reader)
            {
                exchange.close(reader, self.cx.outputs());
                self.sweep(reader);
            }
        }
    }

    /// Streams that have lasted as long as one may: their clients come back for the rest
    /// (2025-11-25, Streamable HTTP, "Sending Messages to the Server" 6).
    pub(crate) fn streams_due(&mut self) {
        let (limit, now) = (self.access.stream_limit(), self.cx.now);
        if limit == 0 {
            return;
        }
        // Who reads it: the exchange of the call itself, or one that came back for it.
        let reader = |key: &StreamKey, exchange: &Exchange| match exchange.ring {
            Some(ring) => {
                self.sessions
                    .get(exchange.session.as_ref()?)?
                    .rings
                    .get(&ring)?
                    .attached
            }
            None => Some(*key).filter(|_| {
                exchange.connected
                    && exchange.may_stream()
                    && !exchange.is_batch()
                    && !exchange.socket
            }),
        };
        let lasts = |key: &StreamKey| {
            self.exchanges
                .get(key)
                .is_some_and(|exchange| exchange.began + limit <= now)
        };
        let resumable = |exchange: &Exchange| {
            let session = exchange
                .session
                .as_ref()
                .and_then(|id| self.sessions.get(id));
            exchange.left > 0
                && session.is_some_and(|session| session.version >= Legacy::L2025_11_25)
        };
        let calls = self
            .exchanges
            .iter()
            .filter(|(_, exchange)| resumable(exchange));
        let mut due: Vec<_> = calls
            .filter(|(key, exchange)| reader(key, exchange).is_some_and(|reader| lasts(&reader)))
            .map(|(key, _)| *key)
            .collect();
        due.sort_unstable();
        for key in due {
            self.begin_stream(key);
            self.suspend_stream(key, Some(COME_BACK));
        }
    }

    /// The server lets go of its stream and wants to be asked again later: so does the client's, if
    /// it can resume.
    pub(crate) fn suspend_stream(&mut self, key: StreamKey, retry_ms: Option<u32>) {
        let Some(exchange) = self.exchanges.get(&key).filter(|_| retry_ms.is_some()) else {
            return;
        };
        let (Some(number), Some(session)) = (
            exchange.ring,
            exchange
                .session
                .as_ref()
                .and_then(|id| self.sessions.get_mut(id)),
        ) else {
            return;
        };
        if session.version < Legacy::L2025_11_25 {
            return;
        }
        let Some(ring) = session.rings.get_mut(&number) else {
            return;
        };
        let (last, Some(reader)) = (ring.last(), ring.attached.take()) else {
            return;
        };
        let Some(exchange) = self.exchanges.get_mut(&reader) else {
            return;
        };
        exchange.event(
            reader,
            Some(session::event_id(number, last)),
            retry_ms,
            Bytes::new(),
            false,
            self.cx.outputs(),
        );
        if reader == key {
            exchange.suspend(key, self.cx.outputs());
        } else {
            exchange.close(reader, self.cx.outputs());
            self.sweep(reader);
        }
    }
}
