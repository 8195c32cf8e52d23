//! The task that owns the relay: takes what is ready, feeds the relay, has its outputs performed
//! ([`perform`]), writes.

pub(super) mod events;
pub(super) mod perform;
pub(super) mod ready;
mod reconfigure;

use super::{
    io::{buffers::Turn, link::Link},
    metrics::{Observer, Shared},
    otlp::Otlp,
    settings::{self, Reach},
    supervisor::questions::{OWN_EDGE, Questions},
    upstreams::{
        leases::Leases,
        sse::Channels,
        stdio::Child,
        streamable_http::{Clients, Remote},
    },
};
use crate::{
    ipc::{kept::KeptSession, messages::ToSupervisor},
    worker::{Context, Incoming, Outbox},
};
use events::{Event, Sink};
use ggen_mcp::api::{
    Input, Lease, Micros, Output, SHARED, TICK, Transport, UpId, UpInput, UpstreamSettings,
};
use ggen_mcp::gateway::{Counts, Gateway};
use ggen_mcp::persisted;
use ready::{Ready, Token};
use reconfigure::Configuration;
use std::{
    collections::BTreeMap,
    future::{Future, poll_fn},
    pin::{Pin, pin},
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
const COURIER: usize = 4096;

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
pub(crate) struct Fed<C> {
    pub(crate) core: C,
    began: Instant,
    pub(crate) now: Micros,
    pub(crate) out: Vec<Output>,
    active: bool,
}

impl<C: Core> Fed<C> {
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
    Channels(Channels),
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
        (Some(target), Transport::Events) => {
            Connection::Channels(Channels::new(up, target, Arc::clone(clients), sink.clone()))
        }
        (Some(target), _) => {
            Connection::Remote(Remote::new(up, target, Arc::clone(clients), sink.clone()))
        }
    }
}

/// The gateway worker's one busy task.
pub(crate) struct Driver<C> {
    context: Context,
    pub(crate) fed: Fed<C>,
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
    pub(crate) courier: mpsc::Sender<ToSupervisor>,
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
        let places = targets.into_iter().zip(&upstreams).zip(0..);
        let connections: Vec<_> = places
            .map(|((target, settings), up)| {
                connection(UpId(up), settings.transport, target, &clients, &sink)
            })
            .collect();
        let ready = Ready::default();
        let (courier, mut letters) = mpsc::channel(COURIER);
        let outbox = context.outbox();
        tokio::spawn(async move {
            while let Some(letter) = letters.recv().await {
                if outbox.send(letter).await.is_err() {
                    return;
                }
            }
        });
        let drain = context.drain();
        Ok(Self {
            upstreams: connections,
            configuration: Configuration::new(upstreams, server.connection_pool, clients),
            chunk: usize::try_from(server.buffer_size.0).unwrap_or(usize::MAX),
            fed: Fed {
                core,
                began: Instant::now(),
                now: 0,
                out: Vec::new(),
                active: false,
            },
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
            courier,
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
            self.fed.give(Input::Rules(Box::new(rules)));
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
            self.fed.read_clock();
            match token {
                Token::Link(edge) => self.read_link(edge),
                Token::Child(up, lease) => self.read_child(UpId(up), lease),
                Token::Events => self.read_events(),
                Token::Inbox => self.read_inbox(),
                Token::Timer => self.tick(),
                Token::Drain => {
                    if self.draining.is_none() && self.drain_begun() {
                        self.draining = Some(self.fed.now + LINGER);
                        self.fed.give(Input::Drain);
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
        if self.slow_timer && self.fed.active {
            self.arm(TICK);
        }
        if let Some(due) = self.fed.core.next_due() {
            self.arm(due.saturating_sub(self.fed.now));
        }
        let rests = || {
            self.fed.core.counts().in_flight == 0
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
        self.draining
            .is_none_or(|until| self.fed.now < until && self.links.values().any(|link| !link.moved))
    }

    fn read_link(&mut self, edge: u32) {
        let takes = self.takes();
        let Some(link) = self.links.get_mut(&edge) else {
            return;
        };
        let fed = &mut self.fed;
        let mut refused = Vec::new();
        let turn = link.read(&mut |input| match input {
            Input::Open(key, request) if !takes => {
                refused.push((key.stream, perform::replaced(&request)))
            }
            input => fed.give(input),
        });
        for (stream, reply) in refused {
            link.send(stream, reply);
        }
        if !link.output.bytes.is_empty() && !std::mem::replace(&mut link.output.listed, true) {
            self.dirty.push(Token::Link(edge));
        }
        match turn {
            Turn::Waiting => {}
            Turn::More => self.ready.mark(Token::Link(edge)),
            Turn::Closed => self.lose_link(edge),
        }
    }

    pub(crate) fn lose_link(&mut self, edge: u32) {
        self.observer.unlink(edge);
        if self.links.remove(&edge).is_some() {
            self.fed.give(Input::EdgeLost(edge));
        }
    }

    fn read_child(&mut self, up: UpId, lease: Lease) {
        let child = match self.upstreams.get_mut(up.0 as usize) {
            Some(Connection::Child(child)) if lease == SHARED => child,
            _ => match self.leases.get_mut(&(up.0, lease)) {
                Some(child) => child,
                None => return,
            },
        };
        let fed = &mut self.fed;
        if !child.output.bytes.is_empty() && !std::mem::replace(&mut child.output.listed, true) {
            self.dirty.push(Token::Child(up.0, lease));
        }
        let now = fed.now;
        let mut take = |input| {
            fed.give(if lease == SHARED {
                Input::Up(up, input)
            } else {
                Input::Leased(up, lease, input)
            })
        };
        if child.read(now, &mut take) == Turn::More {
            self.ready.mark(Token::Child(up.0, lease));
        }
    }

    fn read_events(&mut self) {
        let mut cx = task::Context::from_waker(&self.events_waker);
        let Poll::Ready(count) = self
            .events
            .poll_recv_many(&mut cx, &mut self.arrived, BATCH)
        else {
            return;
        };
        if count > 0 {
            self.ready.mark(Token::Events);
        }
        for event in self.arrived.drain(..) {
            match event {
                Event::Answer(id, answer) => {
                    self.asked = self.asked.saturating_sub(1);
                    self.fed.give(Input::Answer(id, answer));
                }
                Event::Channel(up, lease, life, input, _permit) => {
                    if let Some(Connection::Channels(channels)) =
                        self.upstreams.get_mut(up.0 as usize)
                        && let Some(input) = channels.reported(lease, life, input)
                    {
                        if let UpInput::Lost { reason, .. } = &input {
                            let upstream = self.names.get(up.0 as usize).map(|name| &**name);
                            tracing::warn!(target: "mcp_server", upstream, "its event stream is not there: {reason}");
                        }
                        self.fed.give(if lease == SHARED {
                            Input::Up(up, input)
                        } else {
                            Input::Leased(up, lease, input)
                        });
                    }
                }
                Event::Up(up, input, _permit) => {
                    if let Some(Connection::Remote(remote)) = self.upstreams.get_mut(up.0 as usize)
                        && remote.wanted(&input)
                    {
                        self.fed.give(Input::Up(up, input));
                    }
                }
            }
        }
    }

    fn read_inbox(&mut self) {
        for _ in 0..BATCH {
            let waker = self.inbox_waker.clone();
            let mut cx = task::Context::from_waker(&waker);
            let next = pin!(self.context.next()).poll(&mut cx);
            let Poll::Ready(Some(message)) = next else {
                return;
            };
            self.message(message);
            // The children's next life must not meet outputs for their last one.
            self.perform();
        }
        self.ready.mark(Token::Inbox);
    }

    fn message(&mut self, message: Incoming) {
        match message {
            Incoming::Link { edge, socket, peer } => {
                let waker = self.ready.waker(Token::Link(edge));
                let taken = if edge == OWN_EDGE {
                    Err(std::io::ErrorKind::InvalidInput.into())
                } else {
                    Link::new(edge, socket, waker, self.chunk)
                };
                match taken {
                    Ok(link) => {
                        self.lose_link(edge);
                        self.observer.link(edge, &peer);
                        self.links.insert(edge, link);
                        self.ready.mark(Token::Link(edge));
                    }
                    Err(error) => {
                        tracing::error!(target: "transport", edge, peer, "link cannot be taken: {error}")
                    }
                }
            }
            Incoming::Child {
                child,
                stdin,
                stdout,
            } => {
                let Some(up) = self.upstream(&child.upstream) else {
                    return;
                };
                if child.lease != SHARED {
                    return self.lease_runs(up, child.lease, stdin, stdout);
                }
                let waker = self.ready.waker(Token::Child(up.0, SHARED));
                match Child::new(
                    child.incarnation,
                    stdin,
                    stdout,
                    child.handoff.is_some(),
                    waker,
                    self.chunk,
                ) {
                    Ok(pipes) => {
                        self.configuration.reached(up);
                        self.upstreams[up.0 as usize] = Connection::Child(Box::new(pipes));
                        let connected = UpInput::Connected {
                            incarnation: child.incarnation,
                            handoff: child.handoff,
                        };
                        self.fed.give(Input::Up(up, connected));
                        self.ready.mark(Token::Child(up.0, SHARED));
                    }
                    Err(error) => {
                        tracing::error!(target: "mcp_server", upstream = child.upstream, "its pipes cannot be taken: {error}");
                        self.recycle(
                            up,
                            child.incarnation,
                            ggen_wire::Code::Internal,
                            error.to_string(),
                        );
                    }
                }
            }
            Incoming::ChildGone(gone) => {
                let Some(up) = self.upstream(&gone.upstream) else {
                    return;
                };
                if gone.lease != SHARED {
                    return self.lease_gone(up, gone);
                }
                let fed = &mut self.fed;
                if let Connection::Child(child) = &mut self.upstreams[up.0 as usize] {
                    if gone.incarnation != 0 && child.incarnation != gone.incarnation {
                        return;
                    }
                    let now = fed.now;
                    child.last_words(now, &mut |input| fed.give(Input::Up(up, input)));
                    self.upstreams[up.0 as usize] = Connection::None;
                }
                self.configuration.reached(up);
                let next_start = gone.next_start_ms.map(|ms| ms.saturating_mul(1000));
                fed.give(Input::Up(
                    up,
                    UpInput::Lost {
                        state: gone.state,
                        code: gone.code,
                        reason: gone.reason,
                        next_start,
                    },
                ));
            }
            Incoming::Ask { id, question } => match self.questions.ask(id, question) {
                Ok(input) => self.fed.give(input),
                Err((id, result)) => self.send(ToSupervisor::Answer { id, result }),
            },
            Incoming::Retire { upstreams, within } => {
                let within = u64::try_from(within.as_micros()).unwrap_or(u64::MAX);
                self.configuration
                    .retire(upstreams, self.fed.now.saturating_add(within));
            }
            Incoming::Recall(catalogue) => self.recall(catalogue),
            Incoming::Restore(sessions) => {
                let kept = |one: KeptSession| persisted::KeptSession {
                    digest: one.digest.into(),
                    record: one.record,
                    idle: one.idle.saturating_mul(1_000_000),
                };
                self.fed
                    .give(Input::Restore(sessions.into_iter().map(kept).collect()));
            }
            Incoming::Kept(tickets) => tickets
                .into_iter()
                .for_each(|ticket| self.fed.give(Input::Kept(ticket))),
            Incoming::Reconfigure(start, _) => self.reconfigure(*start),
            // It does not ask who asks.
            Incoming::Secrets(_) | Incoming::Handover { .. } => {}
        }
    }

    /// A stdio upstream by its name.
    fn upstream(&self, name: &str) -> Option<UpId> {
        let up = self.configuration.find(name)?;
        let stdio = !matches!(
            self.upstreams.get(up.0 as usize)?,
            Connection::Remote(_) | Connection::Channels(_)
        );
        stdio.then_some(up)
    }

    fn tick(&mut self) {
        let mut cx = task::Context::from_waker(&self.timer_waker);
        if self.timer.as_mut().poll(&mut cx).is_pending() {
            return;
        }
        let was_active = std::mem::take(&mut self.fed.active);
        self.fed.give(Input::Tick);
        self.fed.active = false;
        let next = self.children_due();
        let counts = self.fed.core.counts();
        self.shared.set(counts, self.fed.core.busy());
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
