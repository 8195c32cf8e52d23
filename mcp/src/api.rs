//! The relay's interface: what the gateway worker tells it ([`Input`]) and what it asks to be done
//! ([`Output`]). Time is an argument everywhere: microseconds of a monotonic clock that starts at
//! any value.

use crate::access::rules::{Audited, Rules};
use crate::edge::{Reply, Request};
pub use crate::observation::{About, CallOutcome, DropReason, Hidden, Limit, Note};
use crate::persisted::{Keep, KeptSession};
use crate::protocol::method::Legacy;
use bytes::Bytes;
use ggen_wire::Code;
use ggen_wire::status::UpstreamState;
use std::sync::Arc;

/// Microseconds of a monotonic clock.
pub type Micros = u64;

/// One client exchange: the link it came over, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamKey {
    /// The link's number, unique over the daemon's life.
    pub edge: u32,
    /// The exchange's number on that link.
    pub stream: u32,
}

/// An upstream, by its place in [`Settings::upstreams`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UpId(pub u32);

/// One child of a stdio upstream: 0 is the one that everybody shares; every other number is used
/// once in a life of the gateway worker.
pub type Lease = u32;

/// The shared child of a stdio upstream.
pub const SHARED: Lease = 0;

/// What the relay is told once.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The upstreams, in the configuration's order.
    pub upstreams: Vec<UpstreamSettings>,
    /// How often the gateway worker has been started before; request ids of different lives never
    /// meet.
    pub incarnation: u64,
    /// Bounds; see [`Limits`].
    pub limits: Limits,
    /// What `requestState` is sealed with; without one, a key is drawn at random.
    pub key: Option<crate::questions::request_state::Key>,
    /// Whether somebody stores what [`Output::Keep`] says, and confirms it.
    pub keeps: bool,
    /// Larger in each later life, by more than the events of any session in this one: milliseconds
    /// since 1970 will do. Events of sessions that go on are numbered from it, so that no two of
    /// them have the same id.
    pub epoch: u64,
}

/// One upstream, as far as the relay must know it. Secrets (headers, environment) stay outside.
#[derive(Clone, Debug)]
pub struct UpstreamSettings {
    /// The key in `mcpServers`.
    pub name: String,
    /// Whether messages go over one pair of pipes or as HTTP exchanges.
    pub transport: Transport,
    /// Which era it speaks.
    pub era: EraSetting,
    /// The legacy revision that it is offered, and no other one.
    pub pinned: Option<Legacy>,
    /// Who shares its children, or its sessions.
    pub isolation: Isolation,
    /// It remembers something from call to call.
    pub stateful: bool,
    /// Children or sessions beside the shared one, at most.
    pub pool: usize,
    /// Time for the handshake, from the moment at which the server can be reached.
    pub startup: Micros,
    /// Time for one call; progress starts it anew.
    pub timeout: Micros,
    /// False: configured, but not served.
    pub enabled: bool,
    /// Changes when something about the server changes that the relay does not know (its URL, its
    /// headers).
    pub revision: u64,
}

/// How an upstream is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Lines over pipes.
    Stdio,
    /// Streamable HTTP.
    Http,
    /// HTTP+SSE of 2024-11-05: for the relay a channel of lines like a pair of pipes, and each
    /// lease one more of them; legacy only.
    Events,
}

/// `era` of the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EraSetting {
    /// Probe it.
    #[default]
    Auto,
    /// `initialize` at once.
    Legacy,
    /// Never `initialize`.
    Modern,
}

/// `isolation` of the configuration: which calls may meet in one child of a stdio upstream, or in one
/// session of a legacy HTTP upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// As with [`Isolation::Shared`], or, if the server has state, as with
    /// [`Isolation::PerSession`].
    #[default]
    Auto,
    /// All of those who declare nothing that they can be asked for, and no extension. The others:
    /// as with [`Isolation::PerSession`].
    Shared,
    /// All: there is one child, and no client is asked for anything.
    Single,
    /// Those of one legacy session. Requests without a session: those of one principal that declare
    /// the same.
    PerSession,
    /// Those of one principal that declare the same.
    PerPrincipal,
    /// None.
    PerCall,
}

/// Bounds of the relay. What is over one of them gets an error with a code; nothing grows without
/// end.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Legacy sessions that may be open.
    pub sessions: usize,
    /// A session without any exchange for this long ends.
    pub session_idle: Micros,
    /// The same for one in which nothing was asked since `initialize`: some hosts begin one before
    /// each call and never end it.
    pub session_unused: Micros,
    /// A leased child without a user, and without a call for this long, is ended.
    pub lease_idle: Micros,
    /// The same for one that the requests of a principal without a session have.
    pub principal_idle: Micros,
    /// How long a child whose call was given up may take for the answer, before it is ended.
    pub lease_grace: Micros,
    /// Calls in flight to one upstream.
    pub calls_per_upstream: usize,
    /// Bytes of requests in flight to one upstream.
    pub bytes_per_upstream: usize,
    /// Calls in flight in all.
    pub calls: usize,
    /// How long a list waits for upstreams that are still starting.
    pub list_wait: Micros,
    /// How long a call waits for its upstream to become ready.
    pub call_wait: Micros,
    /// How long a remote server may take for one message of its handshake. For the others see
    /// [`UpstreamSettings::startup`].
    pub handshake: Micros,
    /// Silence after `server/discover` before `initialize` is tried on a pipe.
    pub probe: Micros,
    /// The same for remote servers, some of which are started by the first request.
    pub remote_probe: Micros,
    /// A call that has no answer after this time turns its exchange into an event stream (if the
    /// client takes one).
    pub stream_after: Micros,
    /// Events kept for resumption, per stream.
    pub buffer: usize,
    /// Bytes of all such events.
    pub ring_bytes: usize,
    /// Bytes of requests that wait for servers.
    pub waiting_bytes: usize,
    /// Bytes of the lists that sessions have for themselves; equal ones count once.
    pub own_lists: usize,
    /// Calls of one legacy session in flight. Its client may be gone: then they go on.
    pub calls_per_session: usize,
    /// Nesting of a message.
    pub depth: usize,
    /// Calls of modern clients that wait for an answer to a legacy server's question: of one
    /// principal, at one upstream, in all.
    pub pending_inputs: [usize; 3],
    /// Silence of a server after a question, before its client is asked what has come together.
    pub gather: Micros,
    /// How long a modern client may take to come back with its answers.
    pub pending_input_time: Micros,
    /// How long an identical retry gets the same answer.
    pub repeat: Micros,
    /// How long a legacy client may take for an answer.
    pub think: Micros,
    /// Rounds of questions that a modern server may put to a legacy client in one call.
    pub rounds: u8,
    /// Time between a modern server's state without questions and the next try.
    pub pace: Micros,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions: 10_000,
            session_idle: 3_600_000_000,
            session_unused: 120_000_000,
            lease_idle: 60_000_000,
            principal_idle: 600_000_000,
            lease_grace: 5_000_000,
            calls_per_upstream: 1024,
            bytes_per_upstream: 64 << 20,
            calls: 8192,
            list_wait: 1_500_000,
            call_wait: 10_000_000,
            handshake: 30_000_000,
            probe: 3_000_000,
            remote_probe: 5_000_000,
            stream_after: 2_000_000,
            buffer: 256,
            ring_bytes: 64 << 20,
            waiting_bytes: 32 << 20,
            own_lists: 64 << 20,
            calls_per_session: 256,
            depth: 128,
            pending_inputs: [64, 256, 1024],
            gather: 10_000,
            pending_input_time: 300_000_000,
            repeat: 60_000_000,
            think: 600_000_000,
            rounds: 10,
            pace: 250_000,
        }
    }
}

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// An edge has a new exchange.
    Open(StreamKey, Request),
    /// The client of an exchange is gone.
    Gone(StreamKey),
    /// The edge takes so many more events on an exchange.
    Credit(StreamKey, u32),
    /// A link is gone, and every exchange on it.
    EdgeLost(u32),
    /// Something about an upstream: a remote one, or the shared child of a stdio one.
    Up(UpId, UpInput),
    /// Something about another child of a stdio upstream: what [`UpInput`] says of stdio servers,
    /// without a handoff.
    Leased(UpId, Lease, UpInput),
    /// The answer to [`Output::Ask`]: JSON, or a message why there is none.
    Answer(u64, Result<Bytes, String>),
    /// The list of upstreams has changed. Names that stay keep their [`UpId`]; the others get the
    /// next ones in the order of this list.
    Reconfigure(Vec<UpstreamSettings>),
    /// What is to be enforced from now on; calls in flight are not touched. Until the first one,
    /// nothing beside [`Limits`].
    Rules(Box<Rules>),
    /// These upstreams, and no others, take no new calls for now: they wait until the upstream is
    /// reached anew, or is not in this list any more.
    Hold(Vec<UpId>),
    /// Sessions of an earlier life go on. One that is known already takes over what is said of it.
    Restore(Vec<KeptSession>),
    /// What upstreams gave in an earlier life; to be told before anything else.
    Recall(Vec<(UpId, String)>),
    /// What was to be stored under that ticket is.
    Kept(u64),
    /// The worker is about to stop: streams are to end now, calls may finish.
    Drain,
    /// Time has passed; due at least every [`TICK`] while anything is in flight, and at
    /// [`crate::gateway::Gateway::next_due`].
    Tick,
}

/// How often [`Input::Tick`] is due.
pub const TICK: Micros = 250_000;

/// What happened at an upstream.
#[derive(Debug)]
pub enum UpInput {
    /// A stdio server's pipes are there. `handoff` is what an earlier life of the gateway worker
    /// reported with [`Report::handoff`].
    Connected {
        /// The server's life, from 1.
        incarnation: u64,
        /// Present if the handshake was made already.
        handoff: Option<String>,
    },
    /// A line from a stdio server, without its line break.
    Line(Bytes),
    /// A line over the limit was skipped; its first bytes.
    Overlong(Bytes),
    /// A stdio server is gone, or could not be started.
    Lost {
        /// Its state now.
        state: UpstreamState,
        /// Why.
        code: Code,
        /// Evidence, one line.
        reason: String,
        /// Time until its next start, if there will be one.
        next_start: Option<Micros>,
    },
    /// HTTP: the head of a response.
    Head {
        /// The exchange of [`Output::Http`].
        exchange: u64,
        /// HTTP status.
        status: u16,
        /// `Mcp-Session-Id` of the response.
        session: Option<String>,
        /// `Retry-After` of the response.
        retry_after: Option<Micros>,
        /// Whether an event stream follows.
        sse: bool,
    },
    /// HTTP: a JSON body, or one event of an event stream.
    Message {
        /// The exchange.
        exchange: u64,
        /// The event's id.
        event_id: Option<String>,
        /// The event's `retry`, in milliseconds.
        retry_ms: Option<u32>,
        /// The message; empty for a priming event.
        data: Bytes,
    },
    /// HTTP: the response is over. An error says what went wrong, with its code.
    End {
        /// The exchange.
        exchange: u64,
        /// `None` if it ended as it should.
        error: Option<(Code, String)>,
    },
}

/// What is to be done, in order.
#[derive(Debug)]
pub enum Output {
    /// Answer a client exchange.
    Reply(StreamKey, Reply),
    /// Please run this stdio server.
    Want(UpId),
    /// Please run one more child of this stdio server. [`UpInput::Connected`] follows, or
    /// [`UpInput::Lost`]; it is never started again.
    Lease(UpId, Lease),
    /// That child is not needed any more; nothing more comes from it.
    Unlease {
        /// The upstream.
        up: UpId,
        /// Which child.
        lease: Lease,
        /// It does not do what it should: it gets no time to end by itself.
        kill: bool,
    },
    /// Write a line to a child of a stdio server (the line break is the writer's).
    Write(UpId, Lease, Bytes),
    /// Read nothing from this child of a stdio server for so long: it floods.
    Pause(UpId, Lease, Micros),
    /// Begin an HTTP exchange with an upstream.
    Http(UpId, HttpRequest),
    /// Give an HTTP exchange up.
    Abort(UpId, u64),
    /// Stop the shared child of this stdio server; it is started again with backoff.
    Recycle {
        /// The upstream.
        up: UpId,
        /// Its life.
        incarnation: u64,
        /// What is wrong.
        code: Code,
        /// Evidence, one line.
        detail: String,
    },
    /// All that this stdio server's shared child has been sent is `server/discover`; to be said
    /// before that is written. If it ends now, that is no failure: [`UpInput::Lost`] follows, and
    /// then [`UpInput::Connected`] at once, which is to be answered with `initialize`.
    Probe {
        /// The upstream.
        up: UpId,
        /// Its life.
        incarnation: u64,
        /// False: the probe was answered, or `initialize` is about to be sent.
        outstanding: bool,
    },
    /// How an upstream stands, whenever that changes.
    Report(UpId, Report),
    /// A question to the supervisor, answered by [`Input::Answer`].
    Ask(u64, Question),
    /// Something to be stored, in this order.
    Keep(Keep),
    /// Something to count.
    Observe(Observation),
    /// Something to log.
    Log(Note),
}

/// An HTTP exchange with an upstream. The caller adds `Host`, the configured headers and
/// `Content-Type: application/json` where there is a body.
#[derive(Clone, Debug)]
pub struct HttpRequest {
    /// Its number; unique over the relay's life.
    pub exchange: u64,
    /// The method.
    pub verb: crate::edge::Verb,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body; empty for GET and DELETE.
    pub body: Bytes,
    /// Time until the response's head must be there.
    pub timeout: Micros,
    /// It does no harm to send it twice: if its connection ends before anything was answered, it is
    /// sent once more.
    pub repeatable: bool,
}

/// How an upstream stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// The server's life; 0 for a remote one.
    pub incarnation: u64,
    /// Where it stands.
    pub state: UpstreamState,
    /// `legacy` or `modern`.
    pub era: Option<String>,
    /// Protocol version.
    pub protocol: Option<String>,
    /// Name and version.
    pub server: Option<String>,
    /// Tools it gives.
    pub tools: u32,
    /// Prompts it gives.
    pub prompts: u32,
    /// Resources it gives.
    pub resources: u32,
    /// What is wrong.
    pub code: Option<Code>,
    /// Evidence.
    pub detail: Option<String>,
    /// For the next life of the gateway worker.
    pub handoff: Option<String>,
}

/// Questions to the supervisor; each is answered by JSON of the type named in `ggen-wire`.
#[derive(Clone, Debug, PartialEq)]
pub enum Question {
    /// `status::Status`
    Status,
    /// Metric families.
    Metrics,
    /// `Vec<log::LogLine>`
    Logs(ggen_wire::control::LogQuery),
    /// The configuration, redacted.
    Config,
}

/// Something to count.
#[derive(Clone, Debug)]
pub enum Observation {
    /// A client's request was answered.
    Request {
        /// The method if it is one of the protocol's, else `other`.
        method: &'static str,
        /// `legacy` or `modern`.
        era: &'static str,
        /// How it ended; never `Timeout` or `Lost`, which are errors here.
        outcome: CallOutcome,
        /// From its arrival to its answer.
        duration: Micros,
        /// The trace that it belongs to, if that is recorded.
        trace: Option<crate::trace::TraceId>,
    },
    /// An upstream answered (or did not answer) a client's call.
    Call {
        /// The upstream.
        up: UpId,
        /// The tool, if it was a tool call.
        tool: Option<Arc<str>>,
        /// How it ended.
        outcome: CallOutcome,
        /// From the write to the answer.
        duration: Micros,
    },
    /// A request was refused because it was one too many.
    Limited(Limit),
    /// The policy hides what was asked for.
    Denied(Hidden),
    /// To be written down.
    Audit(Box<Audited>),
    /// A span is over.
    Span(Box<crate::trace::span::Span>),
    /// Something was dropped.
    Dropped {
        /// The upstream, if one is to blame.
        up: Option<UpId>,
        /// Why.
        reason: DropReason,
    },
}
