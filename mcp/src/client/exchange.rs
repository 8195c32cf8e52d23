//! One client exchange: whether its answer is one JSON body or an event stream, and how much of it
//! the client has taken.

use crate::api::{Micros, Output, StreamKey};
use crate::edge::Reply;
use crate::edge::frame::WINDOW;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::sync::Arc;

/// An exchange that is not over.
#[derive(Debug)]
pub struct Exchange {
    /// The legacy session it belongs to; modern exchanges have none.
    pub session: Option<Arc<str>>,
    /// The stream of the session that its events are kept in.
    pub buffer: Option<u64>,
    accepts_json: bool,
    accepts_events: bool,
    /// Requests in it that have no answer yet; a stream without requests stays open.
    pub left: usize,
    /// Calls that it waits for.
    pub calls: Vec<u64>,
    /// Answers of a batch, for a client that takes no event stream.
    batch: Option<Vec<Bytes>>,
    /// When it began.
    pub began: Micros,
    /// The client is still there.
    pub connected: bool,
    /// It came on a socket.
    pub socket: bool,
    streaming: bool,
    closing: bool,
    credit: u32,
    queue: VecDeque<Reply>,
    queued: usize,
}

/// What waits for a slow client, at most: events, and bytes. What may be dropped is dropped beyond
/// it.
const QUEUE: (usize, usize) = (256, 1 << 20);

impl Exchange {
    /// A new exchange.
    #[must_use]
    pub fn new(request: &crate::edge::Request, session: Option<Arc<str>>, began: Micros) -> Self {
        Self {
            session,
            buffer: None,
            accepts_json: request.accept_json,
            accepts_events: request.accept_sse,
            left: 1,
            calls: Vec::new(),
            batch: None,
            began,
            connected: true,
            socket: request.verb.is_socket(),
            streaming: false,
            closing: false,
            credit: WINDOW,
            queue: VecDeque::new(),
            queued: 0,
        }
    }

    /// Makes it the exchange of a batch with so many requests.
    pub fn batch(&mut self, requests: usize) {
        self.left = requests;
        self.batch = Some(Vec::new());
    }

    /// Whether it has become an event stream.
    #[must_use]
    pub const fn is_streaming(&self) -> bool {
        self.streaming
    }

    /// Whether it may become one.
    #[must_use]
    pub const fn may_stream(&self) -> bool {
        self.accepts_events
    }

    /// Whether it is a batch.
    #[must_use]
    pub const fn is_batch(&self) -> bool {
        self.batch.is_some()
    }

    /// Whether nothing more will be sent on it.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.closing && (self.queue.is_empty() || !self.connected)
    }

    /// Turns it into an event stream.
    pub fn start(&mut self, key: StreamKey, out: &mut Vec<Output>) {
        if !self.streaming {
            self.streaming = true;
            send(self.connected, key, Reply::Start { session: None }, out);
            // What was collected for one JSON array goes out as events now.
            for body in self.batch.as_mut().map(std::mem::take).unwrap_or_default() {
                self.event(key, None, None, body, false, out);
            }
        }
    }

    /// Sends an event. False: it was dropped, because it may be and the client is too slow.
    pub fn event(
        &mut self,
        key: StreamKey,
        id: Option<Box<str>>,
        retry_ms: Option<u32>,
        data: Bytes,
        droppable: bool,
        out: &mut Vec<Output>,
    ) -> bool {
        if !self.connected || self.closing {
            return true;
        }
        self.start(key, out);
        if droppable && (self.queue.len() >= QUEUE.0 || self.queued + data.len() > QUEUE.1) {
            return false;
        }
        self.queued += data.len();
        self.queue.push_back(Reply::Event { id, retry_ms, data });
        self.flush(key, out);
        true
    }

    /// The client takes so many more events.
    pub fn credit(&mut self, key: StreamKey, events: u32, out: &mut Vec<Output>) {
        self.credit = self.credit.saturating_add(events);
        self.flush(key, out);
    }

    /// The answer to one request of it. After the last one it is over.
    pub fn answer(
        &mut self,
        key: StreamKey,
        id: Option<Box<str>>,
        status: u16,
        retry_after: Option<u32>,
        body: Bytes,
        out: &mut Vec<Output>,
    ) {
        self.left = self.left.saturating_sub(1);
        if self.streaming || !self.accepts_json && self.accepts_events {
            self.event(key, id, None, body, false, out);
        } else if let Some(batch) = &mut self.batch {
            batch.push(body);
            if self.left > 0 {
                return;
            }
            let body = join(batch);
            send(
                self.connected,
                key,
                Reply::Full {
                    status: 200,
                    session: None,
                    retry_after,
                    body,
                },
                out,
            );
            self.closing = true;
            return;
        } else {
            send(
                self.connected,
                key,
                Reply::Full {
                    status,
                    session: None,
                    retry_after,
                    body,
                },
                out,
            );
            self.closing = true;
            return;
        }
        if self.left == 0 {
            self.close(key, out);
        }
    }

    /// Ends it: a stream after what is queued, anything else without a body.
    pub fn close(&mut self, key: StreamKey, out: &mut Vec<Output>) {
        if self.closing {
            return;
        }
        self.closing = true;
        if !self.streaming {
            let body = self
                .batch
                .as_deref()
                .filter(|batch| !batch.is_empty())
                .map(join)
                .unwrap_or_default();
            let status = if body.is_empty() { 202 } else { 200 };
            return send(
                self.connected,
                key,
                Reply::Full {
                    status,
                    session: None,
                    retry_after: None,
                    body,
                },
                out,
            );
        }
        if self.queue.is_empty() {
            send(self.connected, key, Reply::End, out);
        }
    }

    /// Ends the client's stream although answers are missing; the client comes back for them.
    pub fn suspend(&mut self, key: StreamKey, out: &mut Vec<Output>) {
        send(self.connected, key, Reply::End, out);
        self.connected = false;
    }

    fn flush(&mut self, key: StreamKey, out: &mut Vec<Output>) {
        while self.credit > 0
            && let Some(reply) = self.queue.pop_front()
        {
            self.credit -= 1;
            if let Reply::Event { data, .. } = &reply {
                self.queued -= data.len();
            }
            send(self.connected, key, reply, out);
            if self.closing && self.queue.is_empty() {
                send(self.connected, key, Reply::End, out);
            }
        }
    }
}

fn send(connected: bool, key: StreamKey, reply: Reply, out: &mut Vec<Output>) {
    if connected {
        out.push(Output::Reply(key, reply));
    }
}

fn join(batch: impl AsRef<[Bytes]>) -> Bytes {
    let mut text = BytesMut::from(&b"["[..]);
    for (at, body) in batch.as_ref().iter().enumerate() {
        if at > 0 {
            text.extend_from_slice(b",");
        }
        text.extend_from_slice(body);
    }
    text.extend_from_slice(b"]");
    text.freeze()
}
