//! GET of legacy sessions: the streams on which clients read notifications, and what they missed.

use crate::api::StreamKey;
use crate::client::exchange::Exchange;
use crate::client::request::{Answer, Flow};
use crate::client::session;
use crate::edge::Request;
use crate::local::Serving;
use crate::protocol::method::MODERN;
use crate::protocol::refusal::{Refusal, rpc};
use ggen_wire::Code;
use std::sync::Arc;

impl Serving<'_> {
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
            .view_for(self.cx, access.as_deref(), request)
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
            .session_of(self.cx, self.access, request, view, id)
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
        let Some(session) = self.clients.session_mut(name) else {
            return;
        };
        let number = resumed
            .map(|(buffer, _)| buffer)
            .filter(|buffer| session.buffers.contains_key(buffer))
            .unwrap_or(0);
        let Some(buffer) = session.buffers.get_mut(&number) else {
            return;
        };
        let events = buffer.replay(
            resumed
                .filter(|(at, _)| *at == number)
                .map(|(_, event)| event),
        );
        let done = buffer.done.is_some();
        let before = std::mem::replace(&mut buffer.attached, (!done).then_some(key));
        if let Some(reader) = before.filter(|_| number > 0) {
            self.clients.let_go(self.cx, reader);
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
        self.clients.add_exchange(key, exchange);
        self.clients.sweep(key);
    }
}
