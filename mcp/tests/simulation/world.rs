//! The world around the relay: a virtual clock, the supervisor, the pipes and HTTP connections to
//! the simulated servers. Every input goes through [`World::input`], which hands each output to the
//! model.

use crate::client::{Client, Exchange, Req};
use crate::rng::Rng;
use crate::server::{Act, CALM, Served, Server, Step, WILD};
use bytes::Bytes;
use ggen_mcp::api::{
    EraSetting, HttpRequest, Input, Lease, Limits, Observation, Output, Settings, StreamKey, TICK,
    Transport, UpId, UpInput, UpstreamSettings,
};
use ggen_mcp::edge::{Reply, Verb};
use ggen_mcp::gateway::Gateway;
use ggen_mcp::persisted::{Keep, KeptSession};
use ggen_mcp::trace::span::{Side, Span};
use ggen_wire::{Code, status::UpstreamState};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};

thread_local! {
    /// The last events, kept outside so that they outlive a panic.
    pub static TRACE: std::cell::RefCell<Option<VecDeque<String>>> = const { std::cell::RefCell::new(None) };
}

/// How many events are kept.
pub static LAST: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(40);

pub fn trace(line: impl FnOnce() -> String) {
    TRACE.with_borrow_mut(|trace| {
        if let Some(lines) = trace {
            if lines.len() >= LAST.load(std::sync::atomic::Ordering::Relaxed) {
                lines.pop_front();
            }
            let mut line = line();
            if line.len() > 600 {
                line = line.chars().take(600).collect();
            }
            lines.push_back(line);
        }
    });
}

pub enum What {
    Act(usize),
    /// Something that a server does; `http`: on which exchange and which opening of it, with the
    /// event id that it gets.
    Serve {
        up: usize,
        life: u64,
        http: Option<(u64, u64, Option<String>)>,
        act: Act,
    },
    Head {
        up: usize,
        exchange: u64,
        opening: u64,
        status: u16,
        session: Option<String>,
        sse: bool,
    },
    End {
        up: usize,
        exchange: u64,
        opening: u64,
        error: Option<(Code, String)>,
    },
    HeadTimeout {
        up: usize,
        exchange: u64,
        opening: u64,
    },
    Lost {
        up: usize,
        life: u64,
    },
    /// A leased child of that relay's life is there, or is not.
    Leased(u64, usize, Lease),
    /// Something that a leased child does.
    ChildServes(u64, usize, Lease, Act),
    Start(usize),
    Connect(usize),
    Answer {
        life: u64,
        question: u64,
    },
    Credit(StreamKey, u32),
    /// What the relay of that life wanted to be stored is.
    Kept(u64, u64),
    /// A client answers a question.
    Reply(usize, String, String),
    /// A client comes back for the rest of a stream.
    Resume(StreamKey),
    /// A modern client comes back with answers.
    Retry(usize),
    /// A modern client looks at its task, known by that id and with the marker of its call.
    Poll(usize, String, String),
    /// A modern client answers what its task wants to know.
    Update {
        client: usize,
        task: String,
        keys: Vec<String>,
        marker: String,
    },
    Tick,
    /// A tick sooner than the next one.
    Wake,
}

struct Timed(u64, u64, What);

impl PartialEq for Timed {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}
impl Eq for Timed {}
impl PartialOrd for Timed {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Timed {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

/// An HTTP exchange that the driver has open.
pub struct Open {
    pub up: usize,
    pub opening: u64,
    head: bool,
    session: Option<String>,
    stream: bool,
}

#[derive(Default, Clone, Copy)]
pub struct Stats {
    pub inputs: u64,
    pub requests: u64,
    pub answers: u64,
    pub children: u64,
    pub questions: u64,
    /// Sessions that went on with a successor of the relay that began them, and attempts to use
    /// somebody else's.
    pub restored: u64,
    pub thefts: u64,
    /// Tasks, answers about own ones, attempts at those of others that were refused, news of tasks,
    /// and answers with questions of tasks.
    pub tasks: [u64; 5],
}

pub struct World {
    pub rng: Rng,
    pub now: u64,
    pub gateway: Gateway,
    pub life: u64,
    heap: BinaryHeap<Reverse<Timed>>,
    order: u64,
    woken: u64,
    pub servers: Vec<Server>,
    pub http: BTreeMap<u64, Open>,
    /// Leased children that run or are being started.
    pub children: BTreeMap<(usize, Lease), bool>,
    pub clients: Vec<Client>,
    pub exchanges: BTreeMap<StreamKey, Exchange>,
    pub reqs: Vec<Req>,
    /// Calls of modern clients that were answered with questions.
    pub asked: Vec<crate::client::Asked>,
    /// Tasks that clients know to be theirs.
    pub made: Vec<crate::client::Made>,
    /// What the supervisor keeps of sessions, by digest, with the time of their last use as far as
    /// it was told; and of what the servers gave.
    pub kept: BTreeMap<Box<str>, (String, u64)>,
    catalogue: BTreeMap<u32, String>,
    /// When each session was last used.
    pub used: BTreeMap<String, u64>,
    pub edges: [u32; 2],
    pub next_edge: u32,
    pub next_stream: u32,
    pub stats: Stats,
    /// A resumption that is being sent: the requests that it is about, and the last event seen.
    pub next_resume: Option<(Vec<usize>, String)>,
    /// No faults: then every call must be answered by its server.
    pub calm: bool,
    /// No new requests: everything comes to its end.
    pub quiet: bool,
    /// How often the guest looked, as the number of its last exchange, and how often it was
    /// answered.
    pub looks: u32,
    pub found: u64,
    /// Spans that are over, and those that must still come because others of this life of the relay
    /// are below them.
    spans: BTreeSet<u64>,
    pub missing_spans: BTreeSet<u64>,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let calm = seed.is_multiple_of(3);
        let servers: Vec<_> = (0..rng.between(2, 4))
            .map(|at| Server::new(at as usize, &mut rng, if calm { CALM } else { WILD }))
            .collect();
        let clients = (0..rng.between(2, 6))
            .map(|_| Client::new(&mut rng, servers.len()))
            .collect();
        let gateway = relay(&servers, 0, rng.next(), calm);
        let mut world = Self {
            rng,
            now: 1_000_000,
            gateway,
            life: 0,
            heap: BinaryHeap::new(),
            order: 0,
            woken: 0,
            servers,
            http: BTreeMap::new(),
            children: BTreeMap::new(),
            clients,
            exchanges: BTreeMap::new(),
            reqs: Vec::new(),
            asked: Vec::new(),
            made: Vec::new(),
            kept: BTreeMap::new(),
            catalogue: BTreeMap::new(),
            used: BTreeMap::new(),
            edges: [1, 2],
            next_edge: 3,
            next_stream: 1,
            stats: Stats::default(),
            next_resume: None,
            calm,
            quiet: false,
            looks: 0,
            found: 0,
            spans: BTreeSet::new(),
            missing_spans: BTreeSet::new(),
        };
        for server in world.servers.iter_mut().filter(|server| server.http) {
            server.alive = calm || world.rng.chance(70);
        }
        for client in 0..world.clients.len() {
            world.at(0, What::Act(client));
        }
        for up in 0..world.servers.len() {
            if !world.servers[up].alive && world.servers[up].http {
                world.at(3_000_000, What::Start(up));
            }
        }
        world.hide();
        world.at(0, What::Tick);
        world
    }

    pub fn at(&mut self, after: u64, what: What) {
        self.order += 1;
        self.heap
            .push(Reverse(Timed(self.now + after, self.order, what)));
    }

    /// The next event. False: there is none but the clock's.
    pub fn step(&mut self) {
        let Some(Reverse(Timed(at, _, what))) = self.heap.pop() else {
            return;
        };
        self.now = self.now.max(at);
        match what {
            What::Act(client) => {
                if !self.quiet {
                    self.chaos();
                    self.act(client);
                    // Now and then somebody goes away for longer than a session lasts.
                    let long = self.rng.below(1000) < 3;
                    let wait = if self.rng.chance(20) {
                        self.rng.below(2_000_000)
                    } else {
                        self.rng.below(60_000)
                    };
                    let wait = if long {
                        SESSION_IDLE + 20_000_000
                    } else {
                        wait
                    };
                    self.at(wait, What::Act(client));
                }
            }
            What::Serve {
                up,
                life,
                http,
                act,
            } => self.server_acts(up, life, http, act),
            What::Head {
                up,
                exchange,
                opening,
                status,
                session,
                sse,
            } => {
                if let Some(open) = self.opened(exchange, opening) {
                    open.head = true;
                    self.up(
                        up,
                        UpInput::Head {
                            exchange,
                            status,
                            session,
                            retry_after: None,
                            sse,
                        },
                    );
                }
            }
            What::End {
                up,
                exchange,
                opening,
                error,
            } => self.end(up, exchange, opening, error),
            What::HeadTimeout {
                up,
                exchange,
                opening,
            } => {
                if self
                    .opened(exchange, opening)
                    .is_some_and(|open| !open.head)
                {
                    self.end(
                        up,
                        exchange,
                        opening,
                        Some((Code::UpstreamTimeout, "no response".into())),
                    );
                }
            }
            What::Lost { up, life } => {
                if self.servers[up].life == life {
                    let wait = self.rng.below(2_000_000);
                    let (state, code) = (UpstreamState::Degraded, Code::UpstreamExited);
                    self.up(
                        up,
                        UpInput::Lost {
                            state,
                            code,
                            reason: "exit 1".into(),
                            next_start: Some(wait),
                        },
                    );
                    self.at(wait, What::Start(up));
                }
            }
            What::Leased(life, up, lease) => {
                if life == self.life && self.children.contains_key(&(up, lease)) {
                    if !self.quiet && self.rng.chance(self.servers[up].manners.fail_start / 5) {
                        self.child_dies(up, lease);
                    } else {
                        self.children.insert((up, lease), true);
                        self.leased(
                            up,
                            lease,
                            UpInput::Connected {
                                incarnation: 1,
                                handoff: None,
                            },
                        );
                    }
                }
            }
            What::ChildServes(life, up, lease, act) => {
                if life == self.life && self.children.contains_key(&(up, lease)) {
                    match act {
                        Act::Die => self.child_dies(up, lease),
                        Act::Say(text) => self.leased(up, lease, UpInput::Line(text.into())),
                        Act::Garbage => self.leased(up, lease, UpInput::Line("[1,2]".into())),
                        Act::Break | Act::Hang | Act::Hold(_) => {}
                    }
                }
            }
            What::Start(up) => self.start(up),
            What::Connect(up) => {
                let server = &mut self.servers[up];
                if server.alive && !server.connected {
                    server.connected = true;
                    let (incarnation, handoff) = (server.life, server.handoff.clone());
                    self.up(
                        up,
                        UpInput::Connected {
                            incarnation,
                            handoff,
                        },
                    );
                }
            }
            What::Answer { life, question } => {
                if life == self.life {
                    let answer = if self.rng.chance(90) {
                        Ok(Bytes::from_static(
                            br#"{"phase":"serving","upstreams":[],"issues":[]}"#,
                        ))
                    } else {
                        Err("the supervisor is busy".to_owned())
                    };
                    self.input(Input::Answer(question, answer));
                }
            }
            What::Credit(key, events) => {
                if let Some(exchange) = self
                    .exchanges
                    .get_mut(&key)
                    .filter(|exchange| !exchange.gone && !exchange.done)
                {
                    exchange.credit += events;
                    self.input(Input::Credit(key, events));
                }
            }
            What::Kept(life, ticket) => {
                if life == self.life {
                    self.input(Input::Kept(ticket));
                }
            }
            What::Reply(client, session, text) => self.client_replies(client, &session, text),
            What::Retry(at) => self.retry(at),
            What::Poll(client, task, marker) => self.poll_task(client, &task, marker),
            What::Update {
                client,
                task,
                keys,
                marker,
            } => self.update_task(client, &task, &keys, &marker),
            What::Wake => self.input(Input::Tick),
            What::Resume(key) => self.resume(key),
            What::Tick => {
                self.input(Input::Tick);
                self.at(TICK, What::Tick);
            }
        }
    }

    /// Runs for a while.
    pub fn run(&mut self, micros: u64) {
        let end = self.now + micros;
        while self
            .heap
            .peek()
            .is_some_and(|Reverse(Timed(at, ..))| *at <= end)
        {
            self.step();
        }
        self.now = self.now.max(end);
    }

    pub fn input(&mut self, input: Input) {
        trace(|| format!("{:>12} <- {}", self.now, brief(&format!("{input:?}"))));
        self.stats.inputs += 1;
        let mut out = Vec::new();
        self.gateway.input(self.now, input, &mut out);
        if let Some(due) = self.gateway.next_due().filter(|due| self.woken != *due) {
            self.woken = due;
            self.at(due.saturating_sub(self.now), What::Wake);
        }
        for output in out {
            if !matches!(output, Output::Observe(_) | Output::Log(_)) {
                trace(|| format!("{:>12}    -> {}", self.now, brief(&format!("{output:?}"))));
            }
            self.output(output);
        }
    }

    /// Each span comes once, is over, and lies below one that comes too.
    fn span(&mut self, span: &Span) {
        assert!(self.spans.insert(span.id.0), "a span came twice: {span:?}");
        assert!(
            span.began <= span.ended && span.ended <= self.now && span.ended > 0,
            "times at {}: {span:?}",
            self.now
        );
        match (span.side, span.parent) {
            (Side::Upstream(_), Some(parent)) if !self.spans.contains(&parent.0) => {
                self.missing_spans.insert(parent.0);
            }
            (Side::Upstream(_), None) => panic!("a call without a request: {span:?}"),
            _ => {
                self.missing_spans.remove(&span.id.0);
            }
        }
    }

    fn up(&mut self, up: usize, event: UpInput) {
        self.input(Input::Up(UpId(up as u32), event));
    }

    fn leased(&mut self, up: usize, lease: Lease, event: UpInput) {
        self.input(Input::Leased(UpId(up as u32), lease, event));
    }

    fn child_dies(&mut self, up: usize, lease: Lease) {
        self.children.remove(&(up, lease));
        let (state, code) = (UpstreamState::Degraded, Code::UpstreamExited);
        self.leased(
            up,
            lease,
            UpInput::Lost {
                state,
                code,
                reason: "exit 1".into(),
                next_start: None,
            },
        );
    }

    fn opened(&mut self, exchange: u64, opening: u64) -> Option<&mut Open> {
        self.http
            .get_mut(&exchange)
            .filter(|open| open.opening == opening)
    }

    fn end(&mut self, up: usize, exchange: u64, opening: u64, error: Option<(Code, String)>) {
        if self.opened(exchange, opening).is_some() {
            self.http.remove(&exchange);
            self.servers[up].listeners.retain(|(at, _)| *at != exchange);
            self.up(up, UpInput::End { exchange, error });
        }
    }

    fn output(&mut self, output: Output) {
        match output {
            Output::Reply(key, reply) if key.edge == crate::guest::EDGE => self.seen(key, &reply),
            Output::Reply(key, reply) if key.edge == crate::guest::THIEF => {
                let refused = matches!(&reply, Reply::Full { status: 404, body, .. } if body.windows(10).any(|part| part == b"GGEN-E3013"));
                assert!(refused, "somebody else's session answered: {reply:?}");
                self.stats.thefts += 1;
            }
            Output::Reply(key, reply) => self.reply(key, reply),
            Output::Keep(keep) => self.keep(keep),
            Output::Probe { .. } => {}
            Output::Want(UpId(up)) => {
                let up = up as usize;
                let wait = self.rng.below(500_000);
                self.at(
                    wait,
                    if self.servers[up].alive {
                        What::Connect(up)
                    } else {
                        What::Start(up)
                    },
                );
            }
            Output::Write(UpId(up), lease, line) if lease > 0 => {
                let up = up as usize;
                assert_eq!(
                    self.children.get(&(up, lease)),
                    Some(&true),
                    "a line for a child that does not run: {line:?}"
                );
                let text = std::str::from_utf8(&line).expect("UTF-8").to_owned();
                let name = format!("child-{lease}");
                if text.contains("\"method\":\"initialize\"") {
                    self.servers[up]
                        .sessions
                        .insert(name.clone(), text.contains("\"elicitation\""));
                }
                let served = self.servers[up].serve(&text, &mut self.rng, 0, Some(&name), &[]);
                for held in std::mem::take(&mut self.servers[up].released) {
                    for Step { after, act } in held.rest {
                        self.at(after, What::ChildServes(self.life, up, lease, act));
                    }
                }
                let (Served::Steps(steps) | Served::Stream(steps) | Served::Session(_, steps)) =
                    served
                else {
                    return;
                };
                for Step { after, act } in steps {
                    self.at(after, What::ChildServes(self.life, up, lease, act));
                }
            }
            Output::Lease(UpId(up), lease) => {
                let up = up as usize;
                assert!(
                    self.children.insert((up, lease), false).is_none(),
                    "a lease is asked for twice"
                );
                let running = self.children.range((up, 0)..=(up, Lease::MAX)).count();
                assert!(running <= 4, "{running} children of one server");
                self.stats.children += 1;
                let wait = self.rng.below(300_000);
                self.at(wait, What::Leased(self.life, up, lease));
            }
            Output::Unlease {
                up: UpId(up),
                lease,
                ..
            } => {
                assert!(
                    self.children.remove(&(up as usize, lease)).is_some(),
                    "an unknown lease is given back"
                );
            }
            Output::Write(UpId(up), _, line) => {
                let up = up as usize;
                assert!(
                    !line.contains(&b'\n') && !line.is_empty(),
                    "a line with a break in it: {line:?}"
                );
                assert!(!self.servers[up].http, "a line for an HTTP server");
                if self.servers[up].alive {
                    let text = std::str::from_utf8(&line).expect("UTF-8").to_owned();
                    let served = self.servers[up].serve(&text, &mut self.rng, 0, None, &[]);
                    let (Served::Steps(steps) | Served::Stream(steps) | Served::Session(_, steps)) =
                        served
                    else {
                        return;
                    };
                    let life = self.servers[up].life;
                    for Step { after, act } in steps {
                        self.at(
                            after,
                            What::Serve {
                                up,
                                life,
                                http: None,
                                act,
                            },
                        );
                    }
                }
            }
            Output::Http(UpId(up), request) => self.http_request(up as usize, request),
            Output::Abort(UpId(up), exchange) => {
                self.servers[up as usize]
                    .listeners
                    .retain(|(at, _)| *at != exchange);
                self.http.remove(&exchange);
            }
            Output::Recycle {
                up: UpId(up),
                incarnation,
                ..
            } => {
                if self.servers[up as usize].life == incarnation {
                    self.kill(up as usize);
                }
            }
            Output::Report(UpId(up), report) => {
                let server = &mut self.servers[up as usize];
                if server.alive && server.life == report.incarnation {
                    server.handoff = report.handoff;
                }
            }
            Output::Ask(question, _) => {
                let (life, wait) = (self.life, self.rng.below(1_500_000));
                self.at(wait, What::Answer { life, question });
            }
            Output::Observe(Observation::Span(span)) => self.span(&span),
            Output::Pause(..) | Output::Observe(_) | Output::Log(_) => {}
        }
    }

    fn start(&mut self, up: usize) {
        if self.servers[up].alive {
            return;
        }
        let fails = !self.quiet && self.rng.chance(self.servers[up].manners.fail_start);
        let server = &mut self.servers[up];
        if server.http {
            server.alive = true;
            server.life += 1;
            return;
        }
        server.life += 1;
        if fails {
            let (state, code) = (UpstreamState::CrashLoop, Code::UpstreamCrashLoop);
            self.up(
                up,
                UpInput::Lost {
                    state,
                    code,
                    reason: "exit 7".into(),
                    next_start: Some(2_000_000),
                },
            );
            return self.at(2_000_000, What::Start(up));
        }
        server.alive = true;
        self.at(0, What::Connect(up));
    }

    /// A server dies.
    pub fn kill(&mut self, up: usize) {
        if !self.servers[up].alive {
            return;
        }
        self.servers[up].dies();
        if !self.servers[up].http {
            let (life, wait) = (self.servers[up].life, self.rng.below(50_000));
            return self.at(wait, What::Lost { up, life });
        }
        let open: Vec<_> = self
            .http
            .iter()
            .filter(|(_, open)| open.up == up)
            .map(|(exchange, open)| (*exchange, open.opening))
            .collect();
        for (exchange, opening) in open {
            let wait = self.rng.below(50_000);
            self.at(
                wait,
                What::End {
                    up,
                    exchange,
                    opening,
                    error: Some((Code::UpstreamUnreachable, "reset".into())),
                },
            );
        }
        let wait = self.rng.below(3_000_000);
        self.at(wait, What::Start(up));
    }

    fn server_acts(
        &mut self,
        up: usize,
        life: u64,
        http: Option<(u64, u64, Option<String>)>,
        act: Act,
    ) {
        if self.servers[up].life != life || !self.servers[up].alive {
            return;
        }
        match (act, http) {
            (Act::Die, _) => self.kill(up),
            (Act::Say(text), Some((exchange, opening, event_id))) => {
                if self.opened(exchange, opening).is_some() {
                    let retry_ms = event_id
                        .is_some()
                        .then_some(200)
                        .filter(|_| self.rng.chance(50));
                    self.up(
                        up,
                        UpInput::Message {
                            exchange,
                            event_id,
                            retry_ms,
                            data: text.into(),
                        },
                    );
                }
            }
            (Act::Garbage, Some((exchange, opening, event_id))) => {
                if self.opened(exchange, opening).is_some() {
                    self.up(
                        up,
                        UpInput::Message {
                            exchange,
                            event_id,
                            retry_ms: None,
                            data: "<html>".into(),
                        },
                    );
                }
            }
            // What is written while no relay reads the pipe is read by the next one.
            (act, None) if !self.servers[up].connected => self.at(
                50_000,
                What::Serve {
                    up,
                    life,
                    http: None,
                    act,
                },
            ),
            (Act::Say(text), None) => self.up(up, UpInput::Line(text.into())),
            (Act::Garbage, None) => {
                let text = self.rng.pick(&[
                    "Server listening",
                    "{\"jsonrpc\":\"2.0\",\"id\":1",
                    "[1,2]",
                    "\u{1b}[0m",
                ]);
                self.up(up, UpInput::Line(text.into()));
            }
            (Act::Break | Act::Hang | Act::Hold(_), _) => {}
        }
    }

    fn http_request(&mut self, up: usize, request: HttpRequest) {
        let HttpRequest {
            exchange,
            verb,
            headers,
            body,
            timeout,
            ..
        } = request;
        assert!(
            !self.http.contains_key(&exchange),
            "exchange {exchange} is begun while it is open"
        );
        let header = |name: &str| {
            headers
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.clone())
        };
        let (session, last) = (header("mcp-session-id"), header("last-event-id"));
        self.order += 1;
        let opening = self.order;
        self.http.insert(
            exchange,
            Open {
                up,
                opening,
                head: false,
                session: session.clone(),
                stream: verb == Verb::Get,
            },
        );
        let manners = self.servers[up].manners;
        let wait = self.rng.below(5_000);
        if !self.servers[up].alive || !self.quiet && self.rng.chance(manners.refuse_http) {
            return self.at(
                wait,
                What::End {
                    up,
                    exchange,
                    opening,
                    error: Some((Code::UpstreamUnreachable, "refused".into())),
                },
            );
        }
        let known = session
            .as_ref()
            .is_some_and(|id| self.servers[up].sessions.contains_key(id));
        let served = match verb {
            // No server is ever asked in these ways.
            Verb::Message | Verb::Attach => Served::Status(405),
            Verb::Post => {
                let text = std::str::from_utf8(&body).expect("UTF-8");
                self.servers[up].serve(text, &mut self.rng, exchange, session.as_deref(), &headers)
            }
            Verb::Delete => {
                session.and_then(|id| self.servers[up].sessions.remove(&id));
                Served::Status(204)
            }
            Verb::Get if self.servers[up].modern => Served::Status(405),
            Verb::Get if !known => Served::Status(404),
            Verb::Get => match last.and_then(|last| self.servers[up].rest.remove(&last)) {
                Some(rest) => Served::Steps(rest),
                None => {
                    self.servers[up].listeners.push((exchange, None));
                    Served::Stream(Vec::new())
                }
            },
        };
        let life = self.servers[up].life;
        for held in std::mem::take(&mut self.servers[up].released) {
            let Some((exchange, opening)) = held.http else {
                continue;
            };
            let mut after = 0;
            for Step { after: wait, act } in held.rest {
                after = wait;
                self.at(
                    after,
                    What::Serve {
                        up,
                        life,
                        http: Some((exchange, opening, None)),
                        act,
                    },
                );
            }
            self.at(
                after,
                What::End {
                    up,
                    exchange,
                    opening,
                    error: None,
                },
            );
        }
        let (steps, session, stays) = match served {
            Served::Status(status) => {
                self.at(
                    wait,
                    What::Head {
                        up,
                        exchange,
                        opening,
                        status,
                        session: None,
                        sse: false,
                    },
                );
                return self.at(
                    wait,
                    What::End {
                        up,
                        exchange,
                        opening,
                        error: None,
                    },
                );
            }
            Served::Steps(steps) => (steps, None, false),
            Served::Session(session, steps) => (steps, Some(session), false),
            Served::Stream(steps) => (steps, None, true),
        };
        self.at(
            timeout,
            What::HeadTimeout {
                up,
                exchange,
                opening,
            },
        );
        let hangs = steps.iter().any(|step| matches!(step.act, Act::Hang));
        if hangs && self.rng.chance(50) {
            return;
        }
        let plain = !stays
            && matches!(
                &steps[..],
                [Step {
                    act: Act::Say(_),
                    ..
                }]
            )
            && self.rng.chance(50);
        let start = if plain { steps[0].after } else { 0 };
        let mut at = wait + start;
        self.at(
            at,
            What::Head {
                up,
                exchange,
                opening,
                status: 200,
                session,
                sse: !plain,
            },
        );
        let ids = verb == Verb::Get || steps.iter().any(|step| matches!(step.act, Act::Break));
        if ids && verb == Verb::Post {
            let http = Some((exchange, opening, Some(format!("{opening}-p"))));
            self.at(
                at,
                What::Serve {
                    up,
                    life,
                    http,
                    act: Act::Say(String::new()),
                },
            );
        }
        let mut id = format!("{opening}-p");
        let mut steps = VecDeque::from(steps);
        while let Some(Step { after, act }) = steps.pop_front() {
            at = wait + after;
            if let Act::Hold(id) = act {
                if let Some(held) = self.servers[up].held.get_mut(&id) {
                    held.http = Some((exchange, opening));
                }
                return;
            }
            if matches!(act, Act::Break) {
                let rest = steps
                    .drain(..)
                    .map(|step| Step {
                        after: step.after.saturating_sub(after),
                        act: step.act,
                    })
                    .collect();
                self.servers[up].rest.insert(id, rest);
                return self.at(
                    at,
                    What::End {
                        up,
                        exchange,
                        opening,
                        error: None,
                    },
                );
            }
            id = format!("{opening}-{}", steps.len());
            let http = Some((exchange, opening, ids.then(|| id.clone())));
            self.at(
                at,
                What::Serve {
                    up,
                    life,
                    http,
                    act,
                },
            );
        }
        if !stays && !hangs {
            self.at(
                at,
                What::End {
                    up,
                    exchange,
                    opening,
                    error: None,
                },
            );
        }
    }

    /// Things that happen to everybody.
    fn chaos(&mut self) {
        let up = self.rng.index(self.servers.len());
        match self.rng.below(1000) {
            0..20 => self.changes(up),
            20..30 if !self.calm => self.kill(up),
            36..50 if !self.calm => {
                let at = self.rng.index(self.children.len().max(1));
                if let Some((up, lease)) = self.children.keys().nth(at).copied() {
                    self.child_dies(up, lease);
                }
            }
            30..34 if !self.calm => {
                let slot = self.rng.index(2);
                let edge = std::mem::replace(&mut self.edges[slot], self.next_edge);
                self.next_edge += 1;
                let lost: Vec<_> = self
                    .exchanges
                    .keys()
                    .copied()
                    .filter(|key| key.edge == edge)
                    .collect();
                lost.into_iter().for_each(|key| self.leave(key));
                self.input(Input::EdgeLost(edge));
            }
            34..36 => self.replace(),
            80..90 => self.steal(),
            36..80 => self.look(),
            _ => {}
        }
    }

    /// A server's lists change, or a resource of it.
    fn changes(&mut self, up: usize) {
        let server = &mut self.servers[up];
        if !server.alive {
            return;
        }
        server.tools = 2 + (server.tools + 1) % 4;
        let uri = server.subscribed.iter().min().cloned();
        let mut text =
            vec![r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#.to_owned()];
        text.extend(uri.map(|uri| format!(r#"{{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{{"uri":{uri}}}}}"#)));
        if let Some((id, marker)) = server.tasks.last() {
            let method = if server.modern {
                "notifications/tasks"
            } else {
                "notifications/tasks/status"
            };
            let task = server.task(id, marker, "completed");
            text.push(format!(
                r#"{{"jsonrpc":"2.0","method":"{method}","params":{{{task}}}}}"#
            ));
        }
        let (life, listeners) = (server.life, server.listeners.clone());
        for text in text {
            if !self.servers[up].http {
                self.at(
                    0,
                    What::Serve {
                        up,
                        life,
                        http: None,
                        act: Act::Say(text),
                    },
                );
                continue;
            }
            for (exchange, _) in &listeners {
                if let Some(opening) = self.http.get(exchange).map(|open| open.opening) {
                    self.at(
                        10_000,
                        What::Serve {
                            up,
                            life,
                            http: Some((*exchange, opening, None)),
                            act: Act::Say(text.clone()),
                        },
                    );
                }
            }
        }
    }

    /// The gateway worker dies and is replaced: everything in flight is lost, stdio servers live
    /// on.
    fn replace(&mut self) {
        trace(|| "the relay is replaced".to_owned());
        let keys: Vec<_> = self.exchanges.keys().copied().collect();
        keys.into_iter().for_each(|key| self.leave(key));
        self.reqs.iter_mut().for_each(Req::forget);
        self.life += 1;
        self.http.clear();
        self.children.clear();
        for server in &mut self.servers {
            server.connected = false;
            server.listeners.retain(|(exchange, _)| *exchange == 0);
        }
        // What was asked before has nobody who waits for the answers.
        self.asked.iter_mut().for_each(|asked| asked.shared = true);
        self.gateway = relay(&self.servers, self.life, self.rng.next(), self.calm);
        self.missing_spans.clear();
        self.hide();
        let catalogue = self
            .catalogue
            .iter()
            .map(|(up, text)| (UpId(*up), text.clone()))
            .collect();
        self.input(Input::Recall(catalogue));
        self.restore(100);
        self.input(Input::Tick);
        // What a relay that is being replaced says late comes a second time.
        let again = self.rng.below(60);
        self.restore(again);
    }

    /// Tells the relay of sessions that go on, so many of a hundred.
    fn restore(&mut self, percent: u64) {
        let mut sessions: Vec<_> = self
            .kept
            .iter()
            .map(|(digest, (record, used))| (*used, digest.clone(), record.clone()))
            .collect();
        sessions.sort();
        sessions.retain(|_| self.rng.chance(percent));
        self.stats.restored += sessions.len() as u64;
        let kept = |(used, digest, record): (u64, Box<str>, String)| KeptSession {
            digest,
            record,
            idle: self.now.saturating_sub(used),
        };
        let sessions = sessions.into_iter().rev().map(kept).collect();
        self.input(Input::Restore(sessions));
    }

    /// The supervisor keeps something.
    fn keep(&mut self, keep: Keep) {
        match keep {
            Keep::Session {
                digest,
                record,
                ticket,
            } => {
                assert!(record.len() <= ggen_mcp::persisted::LONGEST);
                self.kept.insert(digest, (record, self.now));
                let longest = if self.rng.chance(5) {
                    1_000_000
                } else {
                    20_000
                };
                let wait = self.rng.below(longest);
                if let Some(ticket) = ticket {
                    self.at(wait, What::Kept(self.life, ticket));
                }
            }
            Keep::Ended(digest) => drop(self.kept.remove(&digest)),
            Keep::Used(digests) => {
                for digest in digests {
                    let now = self.now;
                    self.kept
                        .get_mut(&digest)
                        .unwrap_or_else(|| panic!("{digest} is used and was never kept"))
                        .1 = now;
                }
            }
            Keep::Catalogue(UpId(up), text) if text.is_empty() => drop(self.catalogue.remove(&up)),
            Keep::Catalogue(UpId(up), text) => drop(self.catalogue.insert(up, text)),
        }
    }

    /// HTTP exchanges that nobody waits for any more, but that the driver was not told to end.
    pub fn abandoned(&self) -> Vec<u64> {
        self.http
            .keys()
            .copied()
            .filter(|exchange| !self.gateway.expects(*exchange))
            .collect()
    }

    /// Everything open is named, for the message of a failure.
    pub fn describe_http(&self, exchange: u64) -> String {
        self.http.get(&exchange).map_or_else(String::new, |open| {
            format!(
                "{exchange} of {} session {:?} head {} stream {}",
                self.servers[open.up].name, open.session, open.head, open.stream
            )
        })
    }
}

/// How long a session lasts that nobody uses.
pub const SESSION_IDLE: u64 = 60_000_000;

fn relay(servers: &[Server], incarnation: u64, seed: u64, calm: bool) -> Gateway {
    let upstreams = servers.iter().map(|server| UpstreamSettings {
        name: server.name.clone(),
        transport: if server.http {
            Transport::Http
        } else {
            Transport::Stdio
        },
        era: EraSetting::Auto,
        isolation: server.isolation,
        stateful: server.stateful,
        pool: 4,
        pinned: None,
        startup: 30_000_000,
        timeout: 6_000_000,
        enabled: true,
        revision: 0,
    });
    let limits = Limits {
        sessions: 40,
        calls_per_upstream: if calm { 1000 } else { 20 },
        call_wait: if calm { 60_000_000 } else { 4_000_000 },
        probe: 700_000,
        handshake: 4_000_000,
        stream_after: 1_000_000,
        session_idle: SESSION_IDLE,
        buffer: 512,
        pending_inputs: if calm { [1000; 3] } else { [3, 5, 8] },
        pending_input_time: 20_000_000,
        repeat: 5_000_000,
        ..Limits::default()
    };
    let mut random = Rng::new(seed);
    Gateway::new(
        Settings {
            upstreams: upstreams.collect(),
            incarnation,
            limits,
            key: Some(ggen_mcp::questions::request_state::Key([7; 32])),
            keeps: true,
            epoch: incarnation * 1_000_000,
        },
        Box::new(move |bytes| {
            bytes
                .iter_mut()
                .for_each(|byte| *byte = random.next() as u8)
        }),
    )
}

/// Debug output without the noise of byte-string escapes.
fn brief(text: &str) -> String {
    text.replace("\\\"", "'")
}
