//! The relay itself: one state machine behind [`Gateway::input`]. The way of a request through the
//! files: `post` (what is it, may it) → `local` (answered here) or `relay` (written to an upstream)
//! → `answer` (back to the client); `upstream`, `greet` and `lists` keep the servers' connections
//! alive and their lists fresh, `notify` carries what nobody asked for, `ask` what servers ask of
//! clients: `park` and `retry` bring the questions of legacy servers to modern clients, `rounds`
//! those of modern servers to legacy clients; `lease` and `leased` are about the children that such
//! calls need, `tasks` and `owned` about the tasks of servers and whose they are, `task`, `bridged`
//! and `driven` about tasks between the eras, `spans` about the relay's part in traces.

mod access;
mod admit;
mod answer;
mod ask;
mod audit;
mod books;
mod bridged;
mod builtin;
mod call;
mod catalogue;
mod driven;
mod greet;
mod http;
mod inspect;
mod keep;
mod lease;
mod leased;
mod listen;
mod lists;
mod local;
mod mismatch;
mod notify;
mod older;
mod own;
mod owned;
mod park;
mod post;
mod question;
mod receive;
mod reconfigure;
mod relay;
mod retry;
mod rounds;
mod spans;
mod stream;
mod task;
mod tasks;
mod tick;
mod translate;
mod upstream;

use crate::api::{Input, Limits, Micros, Note, Observation, Output, Settings, StreamKey, UpId};
use crate::edge::{Reply, Request};
use crate::exchange::Exchange;
use crate::list::ListKind;
use crate::policy::Policy;
use crate::rules::Rules;
use crate::seal::{Key, Sealer};
use crate::session::Session;
use crate::upstream::Upstream;
use crate::view::{Table, View};
#[doc(hidden)]
pub use books::Leftovers;
use bytes::Bytes;
use call::Call;
use ggen_wire::{Code, log::Level, status::UpstreamState};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::sync::Arc;

/// Fills a buffer with random bytes: the operating system's in the gateway worker, a seeded
/// generator in the simulation.
pub type Random = Box<dyn FnMut(&mut [u8])>;

/// The relay.
pub struct Gateway {
    limits: Limits,
    random: Random,
    now: Micros,
    out: Vec<Output>,
    /// Every upstream that ever was; those that were removed keep their place.
    ups: Vec<Upstream>,
    /// Those that are configured now, in the configuration's order.
    order: Vec<UpId>,
    /// The lists of `/mcp`, of each `/mcp/<server>`, and of `/mcp/core`, by
    /// [`crate::list::ListKind`].
    all: [Table; 4],
    ones: Vec<[Table; 4]>,
    core: [Table; 4],
    sessions: HashMap<Arc<str>, Session>,
    exchanges: HashMap<StreamKey, Exchange>,
    /// Requests to upstreams that have no answer yet, by the id that they were sent with.
    calls: HashMap<u64, Call>,
    /// Client requests that wait for an upstream to become ready.
    waiting: Vec<Waiting>,
    /// `subscriptions/listen` of modern clients.
    listens: HashMap<StreamKey, listen::Listen>,
    /// Built-in tool calls and `/health` requests that wait for the supervisor.
    questions: HashMap<u64, builtin::Pending>,
    /// `/refresh` requests that wait for the lists.
    refreshing: Vec<StreamKey>,
    /// Requests of upstreams that legacy clients were asked, by the id that the client sees.
    asked: HashMap<u64, ask::Asked>,
    /// Calls of modern clients that wait, or waited, for answers.
    parked: HashMap<u128, park::Parked>,
    /// Tasks of servers that clients made.
    tasks: BTreeMap<owned::Name, owned::Owned>,
    /// Those of legacy servers whose modern client is, or may be, wanted for something.
    watches: BTreeMap<owned::Name, bridged::Watch>,
    /// Calls of legacy clients that are to be made again: when, and which.
    paced: Vec<(Micros, u64)>,
    /// Times at which something is to be done sooner than the next tick would come.
    due: BinaryHeap<Reverse<Micros>>,
    sealer: Sealer,
    /// See [`Settings::keeps`] and [`Settings::epoch`].
    keeps: bool,
    epoch: u64,
    /// Sessions by what they are stored under.
    digests: HashMap<Box<str>, Arc<str>>,
    /// Answers that wait for their session to be stored, by ticket: until when, and what.
    unsaid: BTreeMap<u64, (Micros, keep::Unsaid)>,
    tickets: u64,
    draining: bool,
    /// See [`Settings::incarnation`].
    life: u64,
    /// Upstreams where something has changed for calls that wait for a child.
    lending: Vec<UpId>,
    next: u64,
    started: bool,
    scanned: Micros,
    woken: Micros,
    /// Broken streams of HTTP servers: when to resume, whose, which call.
    resumes: Vec<(Micros, UpId, u64)>,
    /// What is enforced, and what is remembered for it.
    rules: Rules,
    policy: Policy,
    admission: admit::Admission,
    /// Lists as restricted principals see them, by what they may do.
    seen: HashMap<(u64, View, ListKind), Arc<Table>>,
    /// The request at hand has just come, and has not waited yet.
    fresh: bool,
    /// How often the request at hand was sent to a server that was lost then.
    tries: u32,
    /// The trace of the request at hand, where the relay takes part in traces.
    at_hand: Option<spans::Tracing>,
    /// Spans that are not over.
    spans: usize,
}

struct Waiting {
    key: StreamKey,
    request: Request,
    arrived: Micros,
    /// How often it was sent to a server that was lost then.
    tries: u32,
    tracing: Option<spans::Tracing>,
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
        let ups: Vec<_> = (0u32..)
            .zip(settings.upstreams)
            .map(|(at, settings)| Upstream::new(UpId(at), settings))
            .collect();
        let mut gateway = Self {
            limits: settings.limits,
            random,
            now: 0,
            out: Vec::new(),
            all: <[Table; 4]>::default(),
            ones: ups.iter().map(|_| <[Table; 4]>::default()).collect(),
            core: builtin::tables(),
            order: ups.iter().map(|up| up.id).collect(),
            ups,
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
            due: BinaryHeap::new(),
            sealer: Sealer::new(&key),
            keeps: settings.keeps,
            epoch: settings.epoch,
            digests: HashMap::new(),
            unsaid: BTreeMap::new(),
            tickets: 0,
            draining: false,
            life: settings.incarnation,
            lending: Vec::new(),
            // Ids of different lives never meet: a late answer to an earlier life's request is not
            // taken for one to ours. 2^53 bounds JSON integers.
            next: (settings.incarnation & 0xf_ffff) << 32,
            started: false,
            scanned: 0,
            woken: 0,
            resumes: Vec::new(),
            rules: Rules::default(),
            policy: Policy::default(),
            admission: admit::Admission::default(),
            seen: HashMap::new(),
            fresh: false,
            tries: 0,
            at_hand: None,
            spans: 0,
        };
        gateway.rebuild_all();
        gateway
    }

    /// Takes an event and appends what is to be done, in an order that depends on nothing but the
    /// events before.
    pub fn input(&mut self, now: Micros, input: Input, out: &mut Vec<Output>) {
        std::mem::swap(&mut self.out, out);
        self.now = now;
        if !self.started {
            self.started = true;
            self.reach_for_all();
        }
        match input {
            Input::Open(key, request) => self.open(key, request, now, 0, true),
            Input::Gone(key) => self.gone(key),
            Input::Credit(key, events) => self.credit(key, events),
            Input::EdgeLost(edge) => self.edge_lost(edge),
            Input::Up(up, event) if (up.0 as usize) < self.ups.len() => self.up(up, event),
            Input::Leased(up, lease, event) if (up.0 as usize) < self.ups.len() => {
                self.leased(up, lease, event)
            }
            Input::Up(..) | Input::Leased(..) => {}
            Input::Answer(id, answer) => self.answered(id, answer),
            Input::Reconfigure(list) => self.reconfigure(list),
            Input::Rules(rules) => self.enforce(*rules),
            Input::Hold(ups) => self.hold_back(&ups),
            Input::Restore(sessions) => self.restore(sessions),
            Input::Recall(catalogue) => self.recall(&catalogue),
            Input::Kept(ticket) => self.say(ticket),
            Input::Drain => {
                self.draining = true;
                self.end_streams();
            }
            Input::Tick => self.tick(),
        }
        self.lend_all();
        std::mem::swap(&mut self.out, out);
    }

    /// When [`Input::Tick`] is due, if sooner than the next one after [`crate::api::TICK`].
    #[must_use]
    pub fn next_due(&self) -> Option<Micros> {
        self.due.peek().map(|Reverse(due)| *due)
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
            tools: u32::try_from(self.all[0].entries.len()).unwrap_or(u32::MAX),
        }
    }

    /// Exchanges that wait for an answer. Streams that only bring what nobody asked for do not
    /// count.
    fn answers_due(&self) -> usize {
        self.exchanges
            .values()
            .filter(|exchange| exchange.left > 0)
            .count()
            .saturating_sub(self.listens.len())
    }

    /// Upstreams with calls in flight or waiting for a connection, with their number.
    #[must_use]
    pub fn busy(&self) -> Vec<(String, u32)> {
        let each = self.configured().map(|up| {
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
            .filter(|call| call.up == up && matches!(call.purpose, call::Purpose::Client(_)))
            .count()
    }

    /// The upstreams that are configured now, in the configuration's order.
    fn configured(&self) -> impl Iterator<Item = &Upstream> {
        self.order.iter().map(|up| self.up_ref(*up))
    }

    fn up_ref(&self, up: UpId) -> &Upstream {
        &self.ups[up.0 as usize]
    }

    fn up_mut(&mut self, up: UpId) -> &mut Upstream {
        &mut self.ups[up.0 as usize]
    }

    fn next_id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn emit(&mut self, output: Output) {
        self.out.push(output);
    }

    fn note(
        &mut self,
        level: Level,
        category: &'static str,
        up: Option<UpId>,
        code: Option<Code>,
        text: String,
    ) {
        self.out.push(Output::Log(Note {
            level,
            category,
            up,
            code,
            about: None,
            text,
        }));
    }

    fn dropped(&mut self, up: Option<UpId>, reason: &'static str) {
        self.out
            .push(Output::Observe(Observation::Dropped { up, reason }));
    }

    /// A refusal of a whole exchange, which has a record if its call is being sent once more.
    fn refuse_whole(
        &mut self,
        key: StreamKey,
        refusal: &crate::refusal::Refusal,
        id: Option<&str>,
    ) {
        let body = refusal.body(id);
        if self.exchanges.contains_key(&key) {
            return self.answer(key, refusal.status, body);
        }
        let (status, retry_after) = (refusal.status, refusal.retry_after);
        self.out.push(Output::Reply(
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
    fn full(&mut self, key: StreamKey, status: u16, body: Bytes) {
        self.out.push(Output::Reply(
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
    fn sweep(&mut self, key: StreamKey) {
        if self.exchanges.get(&key).is_some_and(Exchange::is_over) {
            self.exchanges.remove(&key);
        }
    }

    fn credit(&mut self, key: StreamKey, events: u32) {
        if let Some(exchange) = self.exchanges.get_mut(&key) {
            exchange.credit(key, events, &mut self.out);
            self.sweep(key);
        }
    }

    fn edge_lost(&mut self, edge: u32) {
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
                .map(builtin::Pending::key)
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

    /// Tells the supervisor how an upstream stands, if that changed.
    fn report(&mut self, up: UpId) {
        let report = self.up_ref(up).report();
        if self.up_ref(up).reported.as_ref() != Some(&report) {
            self.up_mut(up).reported = Some(report.clone());
            self.emit(Output::Report(up, report));
        }
    }

    /// Whether an upstream of the view is expected to become ready soon.
    fn is_unsettled(&self, view: crate::view::View) -> bool {
        match view {
            crate::view::View::All => self.configured().any(|up| up.unsettled.is_some()),
            crate::view::View::One(up) => self.up_ref(up).unsettled.is_some(),
            crate::view::View::Core => false,
        }
    }

    /// Whether an upstream of the view is expected to say soon what it gives, and has not said so
    /// in an earlier life either.
    fn is_unknown(&self, view: View) -> bool {
        let unknown = |up: &Upstream| up.unsettled.is_some() && !up.recalled;
        match view {
            View::All => self.configured().any(unknown),
            View::One(up) => unknown(self.up_ref(up)),
            View::Core => false,
        }
    }

    /// Whether an upstream has said who it is, now or before.
    fn is_known(&self, up: UpId) -> bool {
        let up = self.up_ref(up);
        up.era.is_some() && !matches!(up.state, UpstreamState::Disabled)
    }
}
