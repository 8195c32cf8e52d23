//! The side of clients: sessions, exchanges, event streams, subscriptions, and requests that wait.

mod events;
pub mod exchange;
pub(crate) mod listen;
pub(crate) mod pending;
mod reply;
pub(crate) mod request;
pub mod session;
pub(crate) mod session_store;
mod sessions;
pub(crate) mod task_name;
pub mod view;
pub(crate) mod waiting;

use crate::api::{Micros, StreamKey};
use crate::client::exchange::Exchange;
use crate::client::listen::Listen;
use crate::client::pending::Pending;
use crate::client::session::Session;
use crate::client::session_store::HeldAnswer;
use crate::client::waiting::Waiting;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// All clients.
#[derive(Default)]
pub(crate) struct Clients {
    /// Sessions of legacy clients.
    sessions: HashMap<Arc<str>, Session>,
    /// Sessions by what they are stored under.
    digests: HashMap<Box<str>, Arc<str>>,
    /// See [`crate::api::Settings::epoch`].
    epoch: u64,
    /// HTTP exchanges, and those of sockets, that are not over.
    exchanges: HashMap<StreamKey, Exchange>,
    /// Requests that wait for an upstream to become ready.
    waiting: Vec<Waiting>,
    /// When it was last looked which of them have waited long enough.
    woken: Micros,
    /// `subscriptions/listen` of modern clients.
    listens: HashMap<StreamKey, Listen>,
    /// Built-in tool calls and `/health` requests that wait for the supervisor.
    questions: HashMap<u64, Pending>,
    /// `/refresh` requests that wait for the lists.
    refreshing: Vec<StreamKey>,
    /// Answers that wait for their session to be stored, by ticket: until when, and what.
    held_answers: BTreeMap<u64, (Micros, HeldAnswer)>,
    tickets: u64,
    /// Bytes of the events that streams keep, at least.
    ring_bytes: usize,
}

impl Clients {
    pub(crate) fn new(epoch: u64) -> Self {
        Self {
            epoch,
            ..Self::default()
        }
    }

    pub(crate) fn exchange(&self, key: StreamKey) -> Option<&Exchange> {
        self.exchanges.get(&key)
    }

    pub(crate) fn exchange_mut(&mut self, key: StreamKey) -> Option<&mut Exchange> {
        self.exchanges.get_mut(&key)
    }

    /// The exchange of that key, which is made if there is none.
    pub(crate) fn exchange_or(
        &mut self,
        key: StreamKey,
        make: impl FnOnce() -> Exchange,
    ) -> &mut Exchange {
        self.exchanges.entry(key).or_insert_with(make)
    }

    pub(crate) fn add_exchange(&mut self, key: StreamKey, exchange: Exchange) {
        self.exchanges.insert(key, exchange);
    }

    /// Whether a client can be sent something on an exchange.
    pub(crate) fn reaches(&self, key: StreamKey) -> bool {
        self.exchange(key).is_some_and(|exchange| {
            exchange.may_stream() && exchange.connected || exchange.buffer.is_some()
        })
    }

    pub(crate) fn remove_exchange(&mut self, key: StreamKey) {
        self.exchanges.remove(&key);
    }

    pub(crate) fn listens(&self) -> impl Iterator<Item = (&StreamKey, &Listen)> {
        self.listens.iter()
    }

    /// Requests without an answer, waiting ones included. Streams that only bring notifications do
    /// not count.
    pub(crate) fn in_flight(&self) -> usize {
        self.answers_due() + self.waiting.len() + self.questions.len() + self.held_answers.len()
    }

    /// Exchanges that wait for an answer. Streams that only bring what nobody asked for do not
    /// count.
    pub(crate) fn answers_due(&self) -> usize {
        self.exchanges
            .values()
            .filter(|exchange| exchange.left > 0)
            .count()
            .saturating_sub(self.listens.len())
    }

    /// Everything that came over a link and is not over, in order.
    pub(crate) fn of_link(&self, link: u32) -> Vec<StreamKey> {
        let mut keys: Vec<_> = self.exchanges.keys().copied().collect();
        keys.extend(self.waiting.iter().map(|waiting| waiting.key));
        keys.extend(self.questions.values().map(Pending::key));
        keys.extend(
            self.held_answers
                .values()
                .map(|(_, held_answers)| held_answers.key),
        );
        keys.retain(|key| key.edge == link);
        keys.sort_unstable();
        keys
    }

    /// What is under way: exchanges, waiting requests, listens, questions, held_answers answers, and
    /// calls of sessions.
    pub(crate) fn counts(&self) -> [usize; 6] {
        let calls = self.sessions.values().map(|session| session.calls.len());
        [
            self.exchanges.len(),
            self.waiting.len(),
            self.listens.len(),
            self.questions.len(),
            self.held_answers.len(),
            calls.sum(),
        ]
    }
}
