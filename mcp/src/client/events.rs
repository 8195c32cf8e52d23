//! What clients get: answers, events on their streams, and streams that are suspended and resumed.

use crate::api::{Micros, Output, StreamKey};
use crate::client::exchange::Exchange;
use crate::client::session::{EventBuffer, Session};
use crate::client::{Clients, session};
use crate::context::Context;
use crate::edge::Reply;
use crate::observation::DropReason;
use crate::protocol::method::Legacy;
use crate::protocol::refusal::Refusal;
use bytes::Bytes;
use ggen_wire::Code;
use ggen_wire::log::Level;
use std::sync::Arc;

/// After this time a client comes back for the rest of a stream that has lasted long enough, in
/// milliseconds.
const COME_BACK: u32 = 500;

impl Clients {
    /// The answer to one request of an exchange, kept for a legacy client that comes back for it.
    pub(crate) fn answer(&mut self, cx: &mut Context, key: StreamKey, status: u16, body: Bytes) {
        let Some(exchange) = self.exchanges.get_mut(&key) else {
            return;
        };
        let Some(buffer) = exchange.buffer else {
            exchange.answer(key, None, status, None, body, cx.outputs());
            return self.sweep(key);
        };
        exchange.left = exchange.left.saturating_sub(1);
        let (last, session) = (exchange.left == 0, exchange.session.clone());
        self.buffer_event(cx, session.as_ref(), buffer, body, false);
        if last {
            let reader = self.ring_done(cx, session.as_ref(), buffer);
            // Its own reader may still have to take what is queued.
            if reader != Some(key) {
                self.exchanges.remove(&key);
            }
        }
    }

    /// Adds an event to a stream of a session, and sends it to whoever reads the stream now.
    pub(crate) fn buffer_event(
        &mut self,
        cx: &mut Context,
        session: Option<&Arc<str>>,
        buffer: u64,
        data: Bytes,
        droppable: bool,
    ) {
        let Some(stream) = session
            .and_then(|id| self.sessions.get_mut(id))
            .and_then(|session| session.buffers.get_mut(&buffer))
        else {
            return;
        };
        let (before, id) = (
            stream.bytes(),
            session::event_id(buffer, stream.push(data.clone(), cx.limits.buffer)),
        );
        self.ring_bytes += stream.bytes().saturating_sub(before);
        if let Some(reader) = stream.attached
            && let Some(exchange) = self.exchanges.get_mut(&reader)
            && !exchange.event(reader, Some(id), None, data, droppable, cx.outputs())
        {
            cx.dropped(None, DropReason::SlowClient);
        }
        if self.ring_bytes > cx.limits.ring_bytes {
            self.shed_rings(cx);
        }
    }

    /// All streams together keep too much for clients that come back: those that are complete for
    /// the longest time are forgotten first, then those of which everything was sent.
    fn shed_rings(&mut self, cx: &mut Context) {
        let bytes =
            |session: &Session| -> usize { session.buffers.values().map(EventBuffer::bytes).sum() };
        // It was only added up; what sessions took with them when they ended is not in it any more.
        self.ring_bytes = self.sessions.values().map(bytes).sum();
        let most = cx.limits.ring_bytes;
        if self.ring_bytes <= most {
            return;
        }
        let mut rings: Vec<_> = self
            .sessions
            .iter()
            .flat_map(|(id, session)| {
                session.buffers.iter().map(|(number, buffer)| {
                    let last = (buffer.done.is_none(), buffer.attached.is_none());
                    (last, buffer.done, session.used, id.clone(), *number)
                })
            })
            .collect();
        rings.sort_unstable();
        let mut forgotten = 0_usize;
        for (.., id, number) in rings {
            if self.ring_bytes <= most / 4 * 3 {
                break;
            }
            let ring = self
                .sessions
                .get_mut(&id)
                .and_then(|session| session.buffers.get_mut(&number));
            let freed = ring.map_or(0, EventBuffer::forget);
            self.ring_bytes -= freed;
            forgotten += usize::from(freed > 0);
        }
        let text = format!(
            "streams keep more than {} MiB for clients that come back: {forgotten} of them are forgotten",
            most >> 20
        );
        cx.note(Level::Warn, "protocol", None, Some(Code::Overloaded), text);
    }

    /// Ends a stream of a session: its reader, who is returned, is told; its events are kept for a
    /// while.
    fn ring_done(
        &mut self,
        cx: &mut Context,
        session: Option<&Arc<str>>,
        buffer: u64,
    ) -> Option<StreamKey> {
        let now = cx.now;
        let session = session.and_then(|id| self.sessions.get_mut(id))?;
        let stream = session.buffers.get_mut(&buffer)?;
        stream.done = Some(now);
        let reader = stream.attached.take();
        session.forget_oldest();
        let reader = reader?;
        self.exchanges.get_mut(&reader)?.close(reader, cx.outputs());
        self.sweep(reader);
        Some(reader)
    }

    /// Something for the GET stream of a session; kept until there is one, and told only once.
    pub(crate) fn session_event(&mut self, cx: &mut Context, session: &Arc<str>, data: Bytes) {
        let waiting = self
            .sessions
            .get(session)
            .and_then(|session| session.buffers.get(&0))
            .is_some_and(|buffer| buffer.is_waiting(&data));
        if !waiting {
            self.buffer_event(cx, Some(session), 0, data, true);
        }
    }

    /// An event on the stream of a client's exchange, which becomes an event stream now if it was
    /// none.
    pub(crate) fn stream_event(
        &mut self,
        cx: &mut Context,
        key: StreamKey,
        data: Bytes,
        droppable: bool,
    ) {
        self.begin_stream(cx, key);
        let Some(exchange) = self.exchanges.get_mut(&key) else {
            return;
        };
        if !exchange.may_stream() {
            return;
        }
        match (exchange.buffer, exchange.session.clone()) {
            (Some(buffer), session) => {
                self.buffer_event(cx, session.as_ref(), buffer, data, droppable)
            }
            (None, _) => {
                if !exchange.event(key, None, None, data, droppable, cx.outputs()) {
                    cx.dropped(None, DropReason::SlowClient);
                }
            }
        }
    }

    /// Turns an exchange into an event stream; in a legacy session it can be resumed, and since
    /// 2025-11-25 from its very beginning.
    pub(crate) fn begin_stream(&mut self, cx: &mut Context, key: StreamKey) {
        let Some(exchange) = self.exchanges.get_mut(&key) else {
            return;
        };
        if exchange.is_streaming() || !exchange.may_stream() || !exchange.connected {
            return;
        }
        exchange.start(key, cx.outputs());
        // A socket's client cannot come back for what it missed, so nothing is kept for it.
        let session = exchange
            .session
            .clone()
            .filter(|_| !exchange.is_batch() && !exchange.socket);
        let Some(session) = session.and_then(|id| self.sessions.get_mut(&id)) else {
            return;
        };
        let buffer = session.next_buffer;
        session.next_buffer += 1;
        session.buffers.insert(buffer, EventBuffer::read_by(key));
        exchange.buffer = Some(buffer);
        if session.version >= Legacy::L2025_11_25 {
            exchange.event(
                key,
                Some(session::event_id(buffer, 0)),
                None,
                Bytes::new(),
                false,
                cx.outputs(),
            );
        }
    }

    /// A refusal of a whole exchange, which has a record if its call is being sent once more.
    pub(crate) fn refuse_whole(
        &mut self,
        cx: &mut Context,
        key: StreamKey,
        refusal: &Refusal,
        id: Option<&str>,
    ) {
        let body = refusal.body(id);
        if self.exchanges.contains_key(&key) {
            return self.answer(cx, key, refusal.status, body);
        }
        let (status, retry_after) = (refusal.status, refusal.retry_after);
        cx.emit(Output::Reply(
            key,
            Reply::Full {
                status,
                session: None,
                retry_after,
                body,
            },
        ));
    }

    /// The client reads a stream elsewhere now: its old exchange ends, the calls behind it go on.
    pub(crate) fn let_go(&mut self, cx: &mut Context, reader: StreamKey) {
        let Some(exchange) = self.exchanges.get_mut(&reader) else {
            return;
        };
        exchange.suspend(reader, cx.outputs());
        if exchange.left == 0 {
            self.exchanges.remove(&reader);
        }
    }

    /// One answer less on an exchange; the last one ends it.
    pub(crate) fn drop_answer(&mut self, cx: &mut Context, key: StreamKey) {
        let Some(exchange) = self.exchanges.get_mut(&key) else {
            return;
        };
        exchange.left = exchange.left.saturating_sub(1);
        if exchange.left > 0 {
            return;
        }
        if exchange.may_stream() && !exchange.is_batch() {
            exchange.start(key, cx.outputs());
        }
        let (buffer, session) = (exchange.buffer, exchange.session.clone());
        exchange.close(key, cx.outputs());
        self.sweep(key);
        if let (Some(buffer), Some(session)) =
            (buffer, session.and_then(|id| self.sessions.get_mut(&id)))
        {
            let reader = session
                .buffers
                .remove(&buffer)
                .and_then(|buffer| buffer.attached);
            if let Some(reader) = reader.filter(|reader| *reader != key)
                && let Some(exchange) = self.exchanges.get_mut(&reader)
            {
                exchange.close(reader, cx.outputs());
                self.sweep(reader);
            }
        }
    }

    /// The server lets go of its stream and wants to be asked again later: so does the client's, if
    /// it can resume.
    pub(crate) fn suspend_stream(
        &mut self,
        cx: &mut Context,
        key: StreamKey,
        retry_ms: Option<u32>,
    ) {
        let Some(exchange) = self.exchanges.get(&key).filter(|_| retry_ms.is_some()) else {
            return;
        };
        let (Some(number), Some(session)) = (
            exchange.buffer,
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
        let Some(buffer) = session.buffers.get_mut(&number) else {
            return;
        };
        let (last, Some(reader)) = (buffer.last(), buffer.attached.take()) else {
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
            cx.outputs(),
        );
        if reader == key {
            exchange.suspend(key, cx.outputs());
        } else {
            exchange.close(reader, cx.outputs());
            self.sweep(reader);
        }
    }

    /// Streams that have lasted as long as one may: their clients come back for the rest
    /// (2025-11-25, Streamable HTTP, "Sending Messages to the Server" 6).
    pub(crate) fn suspend_long_streams(&mut self, cx: &mut Context, limit: Micros) {
        let now = cx.now;
        if limit == 0 {
            return;
        }
        // Who reads it: the exchange of the call itself, or one that came back for it.
        let reader = |key: &StreamKey, exchange: &Exchange| match exchange.buffer {
            Some(buffer) => {
                self.sessions
                    .get(exchange.session.as_ref()?)?
                    .buffers
                    .get(&buffer)?
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
            self.begin_stream(cx, key);
            self.suspend_stream(cx, key, Some(COME_BACK));
        }
    }

    /// Forgets an exchange that is over.
    pub(crate) fn sweep(&mut self, key: StreamKey) {
        if self.exchanges.get(&key).is_some_and(Exchange::is_over) {
            self.exchanges.remove(&key);
        }
    }

    pub(crate) fn credit(&mut self, cx: &mut Context, key: StreamKey, events: u32) {
        if let Some(exchange) = self.exchanges.get_mut(&key) {
            exchange.credit(key, events, cx.outputs());
            self.sweep(key);
        }
    }
}
