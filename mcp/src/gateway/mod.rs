//! The relay itself: one state machine behind [`Gateway::input`]. The way of a request through the
//! files: `post` (what is it, may it) → `local` (answered here) or `relay` (written to an upstream)
//! → `answer` (back to the client); `upstream`, `greet` and `lists` keep the servers' connections
//! alive and their lists fresh, `notify` carries what nobody asked for, `ask` what servers ask of
//! clients: `park` and `retry` bring the questions of legacy servers to modern clients, `rounds`
//! those of modern servers to legacy clients; `lease` and `leased` are about the children that such
//! calls need, `tasks` and `owned` about the tasks of servers and whose they are, `task`, `bridged`
//! and `driven` about tasks between the eras, `spans` about the relay's part in traces.

mod leftovers;
mod rules;

use crate::access::AccessControl;
use crate::api::{Input, Micros, Output, Settings, StreamKey, UpId};
use crate::call::record::Call;
use crate::client::exchange::Exchange;
use crate::client::session::Session;
use crate::client::waiting::{Attempt, Waiting};
use crate::context::Context;
pub use crate::context::Random;
use crate::edge::Reply;
use crate::interactive::request_state::{Key, Sealer};
use crate::trace::Spans;
use crate::upstream::list::ListKind;
use crate::upstream::view::View;
use crate::upstream::{Upstream, Upstreams};
use bytes::Bytes;
#[doc(hidden)]
pub use leftovers::Leftovers;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The relay.
pub struct Gateway {
    pub(crate) cx: Context,
    pub(crate) ups: Upstreams,
    pub(crate) sessions: HashMap<Arc<str>, Session>,
    pub(crate) exchanges: HashMap<StreamKey, Exchange>,
    /// Requests to upstreams that have no answer yet, by the id that they were sent with.
    pub(crate) calls: HashMap<u64, Call>,
    /// Client requests that wait for an upstream to become ready.
    pub(crate) waiting: Vec<Waiting>,
    /// `subscriptions/listen` of modern clients.
    pub(crate) listens: HashMap<StreamKey, crate::client::listen::Listen>,
    /// Built-in tool calls and `/health` requests that wait for the supervisor.
    pub(crate) questions: HashMap<u64, crate::client::builtin::Pending>,
    /// `/refresh` requests that wait for the lists.
    pub(crate) refreshing: Vec<StreamKey>,
    /// Requests of upstreams that legacy clients were asked, by the id that the client sees.
    pub(crate) asked: HashMap<u64, crate::interactive::server_requests::Asked>,
    /// Calls of modern clients that wait, or waited, for answers.
    pub(crate) parked: HashMap<u128, crate::interactive::pending_input::Parked>,
    /// Tasks of servers that clients made.
    pub(crate) tasks: BTreeMap<crate::tasks::registry::Name, crate::tasks::registry::Owned>,
    /// Those of legacy servers whose modern client is, or may be, wanted for something.
    pub(crate) watches:
        BTreeMap<crate::tasks::registry::Name, crate::tasks::legacy_to_modern::Watch>,
    /// Calls of legacy clients that are to be made again: when, and which.
    pub(crate) paced: Vec<(Micros, u64)>,
    pub(crate) sealer: Sealer,
    /// See [`Settings::epoch`].
    pub(crate) epoch: u64,
    /// Sessions by what they are stored under.
    pub(crate) digests: HashMap<Box<str>, Arc<str>>,
    /// Answers that wait for their session to be stored, by ticket: until when, and what.
    pub(crate) unsaid: BTreeMap<u64, (Micros, crate::client::session_store::Unsaid)>,
    pub(crate) tickets: u64,
    /// Upstreams where something has changed for calls that wait for a child.
    pub(crate) lending: Vec<UpId>,
    pub(crate) started: bool,
    pub(crate) scanned: Micros,
    pub(crate) woken: Micros,
    pub(crate) access: AccessControl,
    pub(crate) spans: Spans,
}

/// Figures for the worker's beat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Legacy sessions.
    pub sessions: u64,
    /// Client requests without an answer, waiting ones included.
    pub in_flight: u64,
    /// Tools in the view of all.
    pub tools: u32,
}

impl Gateway {
    /// A relay without clients. `input` must be called with [`Input::Tick`] once to make it reach
    /// for its upstreams.
    #[must_use]
    pub fn new(settings: Settings, mut random: Random) -> Self {
        let key = settings.key.unwrap_or_else(|| {
            let mut key = Key([0; 32]);
            random(&mut key.0);
            key
        });
        Self {
            cx: Context::new(
                settings.limits,
                settings.keeps,
                settings.incarnation,
                random,
            ),
            ups: Upstreams::new(settings.upstreams, crate::client::builtin::items()),
            sessions: HashMap::new(),
            exchanges: HashMap::new(),
            calls: HashMap::new(),
            waiting: Vec::new(),
            listens: HashMap::new(),
            questions: HashMap::new(),
            refreshing: Vec::new(),
            asked: HashMap::new(),
            parked: HashMap::new(),
            tasks: BTreeMap::new(),
            watches: BTreeMap::new(),
            paced: Vec::new(),
            sealer: Sealer::new(&key),
            epoch: settings.epoch,
            digests: HashMap::new(),
            unsaid: BTreeMap::new(),
            tickets: 0,
            lending: Vec::new(),
            started: false,
            scanned: 0,
            woken: 0,
            access: AccessControl::default(),
            spans: Spans::default(),
        }
    }

    /// Takes an event and appends what is to be done, in an order that depends on nothing but the
    /// events before.
    pub fn input(&mut self, now: Micros, input: Input, out: &mut Vec<Output>) {
        self.cx.swap_outputs(out);
        self.cx.now = now;
        if !self.started {
            self.started = true;
            self.reach_for_all();
        }
        match input {
            Input::Open(key, request) => self.open(key, request, Attempt::first(now)),
            Input::Gone(key) => self.gone(key),
            Input::Credit(key, events) => self.credit(key, events),
            Input::EdgeLost(edge) => self.edge_lost(edge),
            Input::Up(up, event) if self.ups.contains(up) => self.up(up, event),
            Input::Leased(up, lease, event) if self.ups.contains(up) => {
                self.leased(up, lease, event)
            }
            Input::Up(..) | Input::Leased(..) => {}
            Input::Answer(id, answer) => self.answered(id, answer),
            Input::Reconfigure(list) => self.reconfigure(list),
            Input::Rules(rules) => self.enforce(*rules),
            Input::Hold(ups) => self.hold_back(&ups),
            Input::Restore(sessions) => self.restore(sessions),
            Input::Recall(catalogue) => {
                self.ups.recall(&catalogue);
                self.wake();
            }
            Input::Kept(ticket) => self.say(ticket),
            Input::Drain => {
                self.cx.draining = true;
                self.end_streams();
            }
            Input::Tick => self.tick(),
        }
        self.lend_all();
        self.cx.swap_outputs(out);
    }

    /// When [`Input::Tick`] is due, if sooner than the next one after [`crate::api::TICK`].
    #[must_use]
    pub fn next_due(&self) -> Option<Micros> {
        self.cx.next_timer()
    }

    /// Figures for the beat.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            sessions: self.sessions.len() as u64,
            in_flight: (self.answers_due()
                + self.waiting.len()
                + self.questions.len()
                + self.unsaid.len()) as u64,
            tools: u32::try_from(self.ups.table(View::All, ListKind::Tools).entries.len())
                .unwrap_or(u32::MAX),
        }
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

    /// Upstreams with calls in flight or waiting for a connection, with their number.
    #[must_use]
    pub fn busy(&self) -> Vec<(String, u32)> {
        let each = self.ups.configured().map(|up| {
            (
                up.settings.name.clone(),
                u32::try_from(up.in_flight()).unwrap_or(u32::MAX),
            )
        });
        each.filter(|(_, calls)| *calls > 0).collect()
    }

    /// Requests of clients that an upstream has not answered yet; 0 for an unknown one.
    #[must_use]
    pub fn in_flight_of(&self, up: UpId) -> usize {
        self.calls
            .values()
            .filter(|call| {
                call.up == up && matches!(call.purpose, crate::call::record::Purpose::Client(_))
            })
            .count()
    }

    pub(crate) fn up_ref(&self, up: UpId) -> &Upstream {
        self.ups.get(up)
    }

    pub(crate) fn up_mut(&mut self, up: UpId) -> &mut Upstream {
        self.ups.get_mut(up)
    }

    /// A refusal of a whole exchange, which has a record if its call is being sent once more.
    pub(crate) fn refuse_whole(
        &mut self,
        key: StreamKey,
        refusal: &crate::protocol::refusal::Refusal,
        id: Option<&str>,
    ) {
        let body = refusal.body(id);
        if self.exchanges.contains_key(&key) {
            return self.answer(key, refusal.status, body);
        }
        let (status, retry_after) = (refusal.status, refusal.retry_after);
        self.cx.emit(Output::Reply(
            key,
            Reply::Full {
                status,
                session: None,
                retry_after,
                body,
            },
        ));
    }

    /// The whole answer to an exchange that has no record.
    pub(crate) fn full(&mut self, key: StreamKey, status: u16, body: Bytes) {
        self.cx.emit(Output::Reply(
            key,
            Reply::Full {
                status,
                session: None,
                retry_after: None,
                body,
            },
        ));
    }

    /// Forgets an exchange that is over.
    pub(crate) fn sweep(&mut self, key: StreamKey) {
        if self.exchanges.get(&key).is_some_and(Exchange::is_over) {
            self.exchanges.remove(&key);
        }
    }

    pub(crate) fn credit(&mut self, key: StreamKey, events: u32) {
        if let Some(exchange) = self.exchanges.get_mut(&key) {
            exchange.credit(key, events, self.cx.outputs());
            self.sweep(key);
        }
    }

    pub(crate) fn edge_lost(&mut self, edge: u32) {
        let mut lost: Vec<_> = self
            .exchanges
            .keys()
            .copied()
            .filter(|key| key.edge == edge)
            .collect();
        lost.extend(
            self.waiting
                .iter()
                .map(|waiting| waiting.key)
                .filter(|key| key.edge == edge),
        );
        lost.extend(
            self.questions
                .values()
                .map(crate::client::builtin::Pending::key)
                .filter(|key| key.edge == edge),
        );
        lost.extend(
            self.unsaid
                .values()
                .map(|(_, unsaid)| unsaid.key)
                .filter(|key| key.edge == edge),
        );
        lost.sort_unstable();
        for key in lost {
            self.gone(key);
        }
    }
}
