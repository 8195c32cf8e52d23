//! The task that owns the relay. In each turn it reads what is ready ([`inputs`]), gives it to the
//! relay, performs the relay's outputs ([`perform`]) and writes. May not: decide anything about MCP.

pub(super) mod events;
mod inputs;
pub(super) mod perform;
pub(super) mod ready;
mod reconfigure;

use super::{
    io::link::Link,
    metrics::{Observer, Shared},
    otlp::Otlp,
    settings::{self, Reach},
    supervisor::questions::Questions,
    upstreams::{
        leases::Leases,
        sse::SseChannels,
        stdio::Child,
        streamable_http::{Clients, Remote},
    },
};
use crate::{
    ipc::messages::ToSupervisor,
    worker::{Context, Outbox},
};
use events::{Event, Sink};
use ggen_mcp::api::{Input, Micros, Output, TICK, Transport, UpId, UpstreamSettings};
use ggen_mcp::gateway::{Counts, Gateway};
use ready::{Ready, Token};
use reconfigure::Configuration;
use std::{
    collections::BTreeMap,
    future::{Future, poll_fn},
    pin::Pin,
    process::ExitCode,
    sync::Arc,
    task::{self, Poll, Waker},
    time::{Duration, Instant},
};
use tokio::{
    sync::mpsc,
    time::{Instant as Deadline, Sleep},
};

/// How long a worker that is being replaced serves what comes from an edge worker that does not
/// know its successor yet.
const LINGER: Micros = 1_000_000;
/// Time between two ticks while nothing happens.
const IDLE_TICK: Micros = 1_000_000;
/// Messages of the supervisor, and reports of tasks, that are taken in one turn.
const BATCH: usize = 64;
/// Messages that may wait for the supervisor.
const OUTBOX: usize = 4096;

/// The relay as the driver sees it; the tests put a scripted one in its place.
pub(crate) trait Core {
    /// See [`Gateway::input`].
    fn input(&mut self, now: Micros, input: Input, out: &mut Vec<Output>);
    /// See [`Gateway::counts`].
    fn counts(&self) -> Counts;
    /// See [`Gateway::next_due`].
    fn next_due(&self) -> Option<Micros> {
        None
    }
    /// See [`Gateway::in_flight_of`].
    fn in_flight_of(&self, up: UpId) -> usize;
    /// See [`Gateway::busy`].
    fn busy(&self) -> Vec<(String, u32)> {
        Vec::new()
    }
}

impl Core for Gateway {
    fn input(&mut self, now: Micros, input: Input, out: &mut Vec<Output>) {
        Gateway::input(self, now, input, out);
    }

    fn counts(&self) -> Counts {
        Gateway::counts(self)
    }

    fn next_due(&self) -> Option<Micros> {
        Gateway::next_due(self)
    }

    fn in_flight_of(&self, up: UpId) -> usize {
        Gateway::in_flight_of(self, up)
    }

    fn busy(&self) -> Vec<(String, u32)> {
        Gateway::busy(self)
    }
}

/// The relay and what it has asked for.
pub(crate) struct RelayHandle<C> {
    pub(crate) core: C,
    began: Instant,
    pub(crate) now: Micros,
    pub(crate) out: Vec<Output>,
    active: bool,
}

impl<C: Core> RelayHandle<C> {
    fn new(core: C) -> Self {
        Self {
            core,
            began: Instant::now(),
            now: 0,
            out: Vec::new(),
            active: false,
        }
    }

    pub(crate) fn give(&mut self, input: Input) {
        self.active = true;
        self.core.input(self.now, input, &mut self.out);
    }

    fn read_clock(&mut self) {
        self.now = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
    }
}

/// An upstream's connection.
pub(crate) enum Connection {
    /// No process now.
    None,
    /// A running stdio server.
    Child(Box<Child>),
    /// A remote server.
    Remote(Remote),
    /// One over HTTP+SSE.
    Sse(SseChannels),
}

/// The connection of an upstream that nothing was sent to.
pub(crate) fn connection(
    up: UpId,
    transport: Transport,
    target: Reach,
    clients: &Arc<Clients>,
    sink: &Sink,
) -> Connection {
    match (target, transport) {
        (None, _) => Connection::None,
        (Some(target), Transport::Events) => Connection::Sse(SseChannels::new(
            up,
            target,
            Arc::clone(clients),
            sink.clone(),
        )),
        (Some(target), _) => {
            Connection::Remote(Remote::new(up, target, Arc::clone(clients), sink.clone()))
        }
    }
}

/// Sends what is queued to the supervisor, in order, in a task of its own.
fn forward(supervisor: Outbox) -> mpsc::Sender<ToSupervisor> {
    let (outbox, mut queued) = mpsc::channel(OUTBOX);
    tokio::spawn(async move {
        while let Some(message) = queued.recv().await {
            if supervisor.send(message).await.is_err() {
                return;
            }
        }
    });
    outbox
}

/// The gateway worker's one busy task.
pub(crate) struct Driver<C> {
    context: Context,
    pub(crate) relay: RelayHandle<C>,
    pub(crate) ready: Ready,
    /// By number; those that are not configured any more keep their place.
    pub(crate) names: Vec<Arc<str>>,
    pub(crate) configuration: Configuration,
    pub(crate) links: BTreeMap<u32, Link>,
    pub(crate) upstreams: Vec<Connection>,
    pub(crate) leases: Leases,
    pub(crate) questions: Questions,
    pub(crate) asked: usize,
    pub(crate) observer: Observer,
    pub(crate) otlp: Otlp,
    pub(crate) sink: Sink,
    pub(crate) dirty: Vec<Token>,
    pub(crate) draining: Option<Micros>,
    pub(crate) outbox: mpsc::Sender<ToSupervisor>,
    shared: Arc<Shared>,
    events: mpsc::Receiver<Event>,
    arrived: Vec<Event>,
    inbox_waker: Waker,
    events_waker: Waker,
    timer_waker: Waker,
    timer: Pin<Box<Sleep>>,
    slow_timer: bool,
    drain: Pin<Box<dyn Future<Output = ()> + Send>>,
    drain_waker: Waker,
    pub(crate) chunk: usize,
}

impl<C: Core> Driver<C> {
    /// A driver that has not done anything yet. `upstreams` and `targets` have one entry per
    /// upstream, in the settings' order.
    pub(crate) fn new(
        context: Context,
        core: C,
        upstreams: Vec<UpstreamSettings>,
        targets: Vec<Reach>,
    ) -> Result<Self, prometheus::Error> {
        let names: Vec<Arc<str>> = upstreams
            .iter()
            .map(|upstream| upstream.name.as_str().into())
            .collect();
        let observer = Observer::new(names.clone())?;
        let shared = observer.shared();
        let (sink, events) = events::queue();
        let server = &context.start.config.server;
        let clients = Arc::new(Clients::new(server.connection_pool));
        let mut otlp = Otlp::new(&observer.spans());
        otlp.set(&context.start, &clients);
        let connections = targets.into_iter().zip(&upstreams).zip(0..);
        let connections = connections
            .map(|((target, settings), up)| {
                connection(UpId(up), settings.transport, target, &clients, &sink)
            })
            .collect();
        let ready = Ready::default();
        let outbox = forward(context.outbox());
        let drain = context.drain();
        Ok(Self {
            upstreams: connections,
            configuration: Configuration::new(upstreams, server.connection_pool, clients),
            chunk: usize::try_from(server.buffer_size.0).unwrap_or(usize::MAX),
            relay: RelayHandle::new(core),
            names,
            links: BTreeMap::new(),
            leases: Leases::new(),
            questions: Questions::default(),
            asked: 0,
            observer,
            otlp,
            sink,
            dirty: Vec::new(),
            draining: None,
            outbox,
            shared,
            events,
            arrived: Vec::new(),
            inbox_waker: ready.waker(Token::Inbox),
            events_waker: ready.waker(Token::Events),
            timer_waker: ready.waker(Token::Timer),
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
            slow_timer: false,
            drain: Box::pin(async move {
                drain.begun().await;
            }),
            drain_waker: ready.waker(Token::Drain),
            ready,
            context,
        })
    }

    /// Serves until drained. Not subject to tokio's budget: the driver bounds its turns itself.
    pub(crate) async fn run(mut self) -> ExitCode {
        let rules = settings::rules::rules(&self.context.start.config);
        if rules != settings::rules::rules(&crate::config::Config::default()) {
            self.relay.give(Input::Rules(Box::new(rules)));
        }
        let shared = self.observer.shared();
        self.context.on_beat(move || shared.beat());
        self.context.ready().await;
        for token in [Token::Timer, Token::Inbox, Token::Events, Token::Drain] {
            self.ready.mark(token);
        }
        let mut batch = Vec::new();
        let code =
            tokio::task::unconstrained(poll_fn(|cx| self.turn(&mut batch, cx.waker()))).await;
        self.otlp.finish().await;
        code
    }

    fn turn(&mut self, batch: &mut Vec<Token>, waker: &Waker) -> Poll<ExitCode> {
        self.ready.take(batch, waker);
        for token in batch.drain(..) {
            self.relay.read_clock();
            match token {
                Token::Link(edge) => self.read_link(edge),
                Token::Child(up, lease) => self.read_child(UpId(up), lease),
                Token::Events => self.read_events(),
                Token::Inbox => self.read_inbox(),
                Token::Timer => self.tick(),
                Token::Drain => {
                    if self.draining.is_none() && self.drain_begun() {
                        self.draining = Some(self.relay.now + LINGER);
                        self.relay.give(Input::Drain);
                        self.arm(LINGER);
                    }
                }
            }
            self.perform();
        }
        if self.configuration.is_retiring() {
            self.settle(false);
            self.perform();
        }
        self.flush();
        if self.slow_timer && self.relay.active {
            self.arm(TICK);
        }
        if let Some(due) = self.relay.core.next_due() {
            self.arm(due.saturating_sub(self.relay.now));
        }
        let rests = || {
            self.relay.core.counts().in_flight == 0
                && self.links.values().all(|link| link.output.bytes.is_empty())
        };
        if self.draining.is_some() && !self.takes() && rests() {
            return Poll::Ready(ExitCode::SUCCESS);
        }
        Poll::Pending
    }

    /// Whether new exchanges are served: until every edge has its way to the next gateway worker,
    /// or might have it by now.
    fn takes(&self) -> bool {
        self.draining.is_none_or(|until| {
            self.relay.now < until && self.links.values().any(|link| !link.moved)
        })
    }

    fn tick(&mut self) {
        let mut cx = task::Context::from_waker(&self.timer_waker);
        if self.timer.as_mut().poll(&mut cx).is_pending() {
            return;
        }
        let was_active = std::mem::take(&mut self.relay.active);
        self.relay.give(Input::Tick);
        self.relay.active = false;
        let next = self.children_due();
        let counts = self.relay.core.counts();
        self.shared.set(counts, self.relay.core.busy());
        let rest = if was_active || counts.in_flight > 0 {
            TICK
        } else {
            IDLE_TICK
        };
        self.arm(next.map_or(rest, |due| due.min(rest)));
    }

    /// Has the next tick come after so long, or earlier if that was agreed before.
    pub(crate) fn arm(&mut self, after: Micros) {
        let due = Deadline::now() + Duration::from_micros(after.max(1000));
        if self.timer.is_elapsed() || due < self.timer.deadline() {
            self.slow_timer = after > TICK;
            self.timer.as_mut().reset(due);
            self.ready.mark(Token::Timer);
        }
    }

    /// The way to the supervisor for tasks.
    pub(crate) fn outbox(&self) -> Outbox {
        self.context.outbox()
    }

    fn drain_begun(&mut self) -> bool {
        let mut cx = task::Context::from_waker(&self.drain_waker);
        self.drain.as_mut().poll(&mut cx).is_ready()
    }
}
