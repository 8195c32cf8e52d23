//! GET and DELETE of legacy sessions, clients that go away, and calls that are cancelled.

use crate::api::StreamKey;
use crate::client::exchange::Exchange;
use crate::client::request::Flow;
use crate::client::session;
use crate::edge::Request;
use crate::gateway::Gateway;
use crate::protocol::method::MODERN;
use crate::protocol::refusal::{Refusal, rpc};
use bytes::Bytes;
use ggen_wire::Code;
use std::sync::Arc;

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
        let (name, _) = self
            .clients
            .session_of(&self.cx, &mut self.access, request, view, id)
            .map_err(anonymous)?;
        if !request.accept_sse {
            return Err((
                None,
                Refusal::new(406, rpc::INVALID_REQUEST, Code::NotAcceptable, ""),
            ));
        }
        let resumed = request
            .header("last-event-id")
            .and_then(session::parse_event_id);
        self.read_stream(key, request, &name, resumed);
        Ok(Flow::Done)
    }

    /// Has a client read a stream of its session: the one that it names, or that of notifications.
    fn read_stream(
        &mut self,
        key: StreamKey,
        request: &Request,
        name: &Arc<str>,
        resumed: Option<(u64, u64)>,
    ) {
        let Some(session) = self.clients.sessions.get_mut(name) else {
            return;
        };
        let number = resumed
            .map(|(ring, _)| ring)
            .filter(|ring| session.rings.contains_key(ring))
            .unwrap_or(0);
        let Some(ring) = session.rings.get_mut(&number) else {
            return;
        };
        let events = ring.replay(
            resumed
                .filter(|(at, _)| *at == number)
                .map(|(_, event)| event),
        );
        let done = ring.done.is_some();
        let before = std::mem::replace(&mut ring.attached, (!done).then_some(key));
        if let Some(reader) = before.filter(|_| number > 0) {
            self.clients.let_go(&mut self.cx, reader);
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
        self.clients.exchanges.insert(key, exchange);
        self.clients.sweep(key);
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
            .clients
            .session_of(&self.cx, &mut self.access, request, view, id)
            .map_err(|refusal| (None, refusal))?;
        self.end_session(&name);
        self.cx.full(key, 204, Bytes::new());
        Ok(Flow::Done)
    }

    /// Ends a session: its calls are cancelled, its streams closed, its subscriptions given up.
    pub(crate) fn end_session(&mut self, name: &Arc<str>) {
        self.calling().forget_tasks_of(name);
        let Some(session) = self.clients.sessions.remove(name) else {
            return;
        };
        self.clients.forget_session(&mut self.cx, &session);
        let mut calls: Vec<_> = session.calls.into_values().collect();
        calls.sort_unstable();
        for number in calls {
            self.calling().cancel(number);
        }
        self.calling().session_leaves(name);
        let streams =
            self.clients.exchanges.iter().filter(|(_, exchange)| {
                exchange.left == 0 && exchange.session.as_ref() == Some(name)
            });
        let mut streams: Vec<_> = streams.map(|(key, _)| *key).collect();
        streams.sort_unstable();
        for reader in streams {
            if let Some(exchange) = self.clients.exchanges.get_mut(&reader) {
                exchange.close(reader, self.cx.outputs());
            }
            self.clients.sweep(reader);
        }
        for exposed in &session.subscriptions {
            if let Some((up, original)) = self.ups.subscribed_at(session.view, exposed) {
                self.connecting().release_and_tell(up, &original);
            }
        }
    }

    /// The client of an exchange is gone. A modern one cancels with that; a legacy one may come
    /// back for the answer.
    pub(crate) fn gone(&mut self, key: StreamKey) {
        let waiting = self.clients.waiting.len();
        let mut left: Vec<_> = self
            .clients
            .waiting
            .extract_if(.., |waiting| waiting.key == key)
            .filter_map(|waiting| waiting.attempt.take_span())
            .collect();
        let waiting = waiting - self.clients.waiting.len();
        let questions = self.clients.questions.len();
        left.extend(
            self.clients
                .questions
                .extract_if(|_, pending| pending.key() == key)
                .filter_map(|(_, pending)| pending.span()),
        );
        // A request that waits has an exchange only if it is being sent once more.
        let questions = questions - self.clients.questions.len() + waiting;
        self.clients.refreshing.retain(|waiting| *waiting != key);
        left.extend(
            self.clients
                .unsaid
                .extract_if(.., |_, (_, unsaid)| unsaid.key == key)
                .filter_map(|(_, (_, unsaid))| unsaid.span),
        );
        left.sort_unstable_by_key(|span| span.id.0);
        left.into_iter()
            .for_each(|span| self.spans.end(&mut self.cx, Some(span), "cancelled", b""));
        self.unlisten(key);
        let Some(exchange) = self.clients.exchanges.get_mut(&key) else {
            return;
        };
        exchange.connected = false;
        let Some(name) = exchange.session.clone() else {
            for number in std::mem::take(&mut exchange.calls) {
                if !self.questioning().hand_over(number, key) {
                    self.calling().cancel(number);
                }
            }
            self.clients.exchanges.remove(&key);
            return;
        };
        exchange.left = exchange.left.saturating_sub(questions);
        let waits = exchange.left > 0;
        if exchange.socket && exchange.left == 0 {
            // A session on a socket ends with it: nobody can come back for anything.
            self.clients.exchanges.remove(&key);
            return self.end_session(&name);
        }
        if let Some(session) = self.clients.sessions.get_mut(&name) {
            session
                .rings
                .values_mut()
                .filter(|ring| ring.attached == Some(key))
                .for_each(|ring| ring.attached = None);
        }
        if !waits {
            self.clients.exchanges.remove(&key);
        }
    }
}
