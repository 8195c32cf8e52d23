//! Legacy sessions (2025-11-25 and earlier): what `initialize` agreed on, the streams of the
//! session, and what can be replayed on them.

use crate::access::policy::Access;
use crate::api::{Micros, StreamKey};
use crate::client::view::View;
use crate::edge::Principal;
use crate::protocol::capabilities::Declared;
use crate::protocol::method::{Legacy, LogLevel};
use bytes::Bytes;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

/// A session.
#[derive(Debug)]
pub struct Session {
    /// The revision agreed on.
    pub version: Legacy,
    /// What it sees.
    pub view: View,
    /// Whose it is; nobody else may use it. Its labels are those of the last request.
    pub principal: Principal,
    /// What that principal may do; `None`: everything.
    pub access: Option<Arc<Access>>,
    /// What the client declares of itself.
    pub declared: Arc<Declared>,
    /// The client's `clientInfo` as it stands.
    pub client: Arc<str>,
    /// The parameters of its `initialize`, as far as they are kept.
    pub params: Box<str>,
    /// What it is stored under; empty where nothing is stored.
    pub digest: Box<str>,
    /// It belongs to a socket.
    pub socket: bool,
    /// The level of `logging/setLevel`.
    pub log_level: Option<LogLevel>,
    /// When it was last used.
    pub used: Micros,
    /// For how long nobody had used it when it was last used in this life: more than nothing only
    /// after it was restored.
    pub idle: Micros,
    /// Nothing has been asked in it since its `initialize`.
    pub is_unused: bool,
    /// When it was last said that it is used.
    pub reported: Micros,
    /// Streams by number; 0 is the one of the GET request.
    pub buffers: HashMap<u64, EventBuffer>,
    /// The number of the next stream.
    pub next_buffer: u64,
    /// Calls in flight, by the client's id as it stands.
    pub calls: HashMap<Box<str>, u64>,
    /// Exposed URIs that it is subscribed to.
    pub subscriptions: BTreeSet<Box<str>>,
}

/// The events of one stream, kept for a client that comes back with `Last-Event-ID`.
#[derive(Debug, Default)]
pub struct EventBuffer {
    events: VecDeque<(u64, Bytes)>,
    next: u64,
    /// Where the stream is being read now.
    pub attached: Option<StreamKey>,
    /// Up to which event a reader has been sent.
    sent: u64,
    /// The stream is complete since then.
    pub done: Option<Micros>,
    /// Bytes of the events.
    bytes: usize,
}

/// Bytes of the events that one stream keeps, unless the newest alone has more.
const RING: usize = 1 << 20;

/// Complete streams that a session keeps for a client that comes back.
const KEPT: usize = 32;

impl Session {
    /// Somebody uses it.
    pub const fn touch(&mut self, now: Micros) {
        (self.used, self.idle) = (now, 0);
    }

    /// For how long nobody has used it.
    #[must_use]
    pub const fn idle_for(&self, now: Micros) -> Micros {
        now.saturating_sub(self.used).saturating_add(self.idle)
    }

    /// Whether its client wants to hear log messages of that level.
    #[must_use]
    pub fn wants(&self, level: LogLevel) -> bool {
        self.log_level.is_none_or(|wanted| level >= wanted)
    }

    /// Whether somebody reads one of its streams.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.buffers
            .values()
            .any(|buffer| buffer.attached.is_some())
    }

    /// Whether somebody reads one of its streams, or a call of it is in flight.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.is_read() || !self.calls.is_empty()
    }

    /// Forgets a complete stream if there are too many: the oldest of those that were read to their
    /// end, or else of those whose client may still come back for the rest.
    pub fn forget_oldest(&mut self) {
        let done = self.buffers.iter().filter_map(|(number, buffer)| {
            let is_unread = buffer.sent < buffer.next;
            buffer.done.map(|at| (is_unread, at, *number))
        });
        if done.clone().count() > KEPT
            && let Some((_, _, oldest)) = done.min()
        {
            self.buffers.remove(&oldest);
        }
    }
}

impl EventBuffer {
    /// An empty stream with a reader.
    #[must_use]
    pub fn read_by(reader: StreamKey) -> Self {
        Self {
            attached: Some(reader),
            ..Self::default()
        }
    }

    /// An empty stream whose events are numbered from there.
    #[must_use]
    pub fn after(number: u64) -> Self {
        Self {
            next: number,
            sent: number,
            ..Self::default()
        }
    }

    /// Adds an event and gives its number. Over `limit` events, the oldest are forgotten.
    pub fn push(&mut self, data: Bytes, limit: usize) -> u64 {
        self.next += 1;
        self.bytes += data.len();
        self.events.push_back((self.next, data));
        while self.events.len() > limit || self.bytes > RING && self.events.len() > 1 {
            self.drop_oldest();
        }
        if self.attached.is_some() {
            self.sent = self.next;
        }
        self.next
    }

    fn drop_oldest(&mut self) {
        if let Some((_, data)) = self.events.pop_front() {
            self.bytes -= data.len();
        }
    }

    /// Bytes of its events.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Forgets its events; gives their bytes. Who comes back goes on with the next one.
    pub fn forget(&mut self) -> usize {
        self.events.clear();
        std::mem::take(&mut self.bytes)
    }

    /// The number of the newest event; 0 before the first.
    #[must_use]
    pub const fn last(&self) -> u64 {
        self.next
    }

    /// Whether the same event is waiting for a reader already (change notifications need not be
    /// told twice).
    #[must_use]
    pub fn is_waiting(&self, data: &[u8]) -> bool {
        self.events
            .iter()
            .rev()
            .take_while(|(number, _)| *number > self.sent)
            .any(|(_, event)| event == data)
    }

    /// Events after number `after`, and marks them as sent.
    pub fn replay(&mut self, after: Option<u64>) -> Vec<(u64, Bytes)> {
        let after = after.unwrap_or(self.sent);
        self.sent = self.next;
        self.events
            .iter()
            .filter(|(number, _)| *number > after)
            .cloned()
            .collect()
    }
}

/// An event id: the stream's number and the event's.
#[must_use]
pub fn event_id(buffer: u64, event: u64) -> Box<str> {
    format!("{buffer}-{event}").into()
}

/// Takes an event id apart.
#[must_use]
pub fn parse_event_id(text: &str) -> Option<(u64, u64)> {
    let (buffer, event) = text.split_once('-')?;
    Some((buffer.parse().ok()?, event.parse().ok()?))
}

/// A new session id: 128 random bits as text (visible ASCII, as the specification wants it).
#[must_use]
pub fn new_id(random: &mut dyn FnMut(&mut [u8])) -> Box<str> {
    let mut bits = [0u8; 16];
    random(&mut bits);
    bits.iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<String>()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_that_nobody_read_to_the_end_are_kept_longest() {
        let mut buffers: HashMap<_, _> = (1..=40)
            .map(|number| {
                (
                    number,
                    EventBuffer::read_by(StreamKey { edge: 1, stream: 1 }),
                )
            })
            .collect();
        for (number, buffer) in &mut buffers {
            buffer.done = Some(*number);
            if *number == 1 {
                buffer.attached = None;
            }
            buffer.push(Bytes::from_static(b"{}"), 8);
        }
        let mut session = Session {
            version: Legacy::LATEST,
            view: View::All,
            principal: Principal {
                id: "p".into(),
                labels: Arc::new([]),
            },
            access: None,
            declared: Arc::default(),
            client: "{}".into(),
            params: Box::default(),
            digest: Box::default(),
            socket: false,
            log_level: None,
            used: 0,
            idle: 0,
            is_unused: false,
            reported: 0,
            buffers,
            next_buffer: 41,
            calls: HashMap::new(),
            subscriptions: BTreeSet::new(),
        };
        for _ in 0..40 {
            session.forget_oldest();
        }
        assert_eq!(session.buffers.len(), KEPT);
        assert!(session.buffers.contains_key(&1) && !session.buffers.contains_key(&2));
    }

    #[test]
    fn a_ring_replays_what_came_after() {
        let mut buffer = EventBuffer::default();
        for n in 0u8..5 {
            buffer.push(Bytes::copy_from_slice(&[n]), 3);
        }
        assert!(buffer.is_waiting(&[4]));
        assert_eq!(
            buffer
                .replay(None)
                .iter()
                .map(|(number, _)| *number)
                .collect::<Vec<_>>(),
            [3, 4, 5]
        );
        assert!(!buffer.is_waiting(&[4]));
        assert_eq!(buffer.replay(Some(4)).len(), 1);
        assert_eq!(parse_event_id(&event_id(7, 9)), Some((7, 9)));
        assert_eq!(parse_event_id("x"), None);
    }
}
