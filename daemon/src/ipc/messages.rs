//! The messages of the control channel: JSON frames over a worker's stdin (a socket pair), with
//! file descriptors by SCM_RIGHTS. The documentation of a message names its descriptors, in order.

pub use super::role::Role;
use super::{
    kept::{Keep, KeptCatalogue, KeptSession},
    secrets::Secrets,
    socket_slot::SocketSlot,
};
use crate::{config, metrics::Family};
use ggen_wire::{Code, control::Failure, log::LogLine, status::UpstreamState};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Supervisor → worker.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToWorker {
    /// The first message, once. Descriptors: the worker's listening sockets, in the order of
    /// `Start::listeners`.
    Start(Box<Start>),
    /// Edge workers only: what they need to know to tell who asks. Once right after `Start`, before
    /// the worker says `Ready`; then whole, in the place of what was sent before, on each change.
    Secrets(Box<Secrets>),
    /// One end of a socket pair for edge frames. To an edge worker: its way to the gateway worker,
    /// replacing an earlier one. To the gateway worker: a new edge, `edge` being unique over the
    /// daemon's life. Descriptors: the socket.
    Link {
        /// Number of the link.
        edge: u32,
        /// Name of the worker at the other end.
        peer: String,
    },
    /// One end of a socket pair for `worker::edge::handover`: http workers pass connections that
    /// became WebSockets to websocket workers. Descriptors: the socket.
    Handover {
        /// Name of the worker at the other end.
        peer: String,
    },
    /// Gateway: a stdio server that it asked for is running. Descriptors: its stdin (to write), its
    /// stdout (to read); for the shared child, where there are files in memory, one whose first byte
    /// is 1 while a message has been written to stdin in part.
    Child(Child),
    /// Gateway: that server is gone, or could not be started.
    ChildGone(ChildGone),
    /// The answer to the worker's own `Ask` of that number.
    Answer {
        /// The number of the `Ask`.
        id: u64,
        /// JSON, or what went wrong.
        result: Result<serde_json::Value, Failure>,
    },
    /// A question that only this worker can answer (gateway: tools).
    Ask {
        /// To be repeated in the answer.
        id: u64,
        /// The question.
        question: Question,
    },
    /// New values for what can change while running; the same structure as at the start.
    /// Descriptors: listening sockets of `Start::listeners` that the worker does not have yet; one
    /// that is no longer named there is to be closed. To be answered with `Reconfigured`.
    Reconfigure(Box<Start>),
    /// Gateway, before `Reconfigure`: the connections of these upstreams end with it, because their
    /// entry has changed or is gone. What is in flight there is finished first, up to the time
    /// limit; each is answered with `Released` then.
    Retire {
        /// Their names.
        upstreams: Vec<String>,
        /// Milliseconds from now.
        within_ms: u64,
    },
    /// Gateway: what upstreams gave before this worker. Before everything else but `Start`.
    Recall {
        /// By upstream.
        catalogue: Vec<KeptCatalogue>,
    },
    /// Gateway: sessions that go on. After `Recall`, and before the first `Link`; later those that
    /// a worker which is being replaced still had.
    Restore {
        /// Those that were used last come first.
        sessions: Vec<KeptSession>,
    },
    /// Gateway: what was to be kept under these tickets is stored, as far as it can be.
    Kept {
        /// As in [`Keep::Session`].
        tickets: Vec<u64>,
    },
    /// Another filter for its log lines, in force at once.
    LogFilter {
        /// As in [`Start::log_filter`].
        filter: String,
    },
    /// Finish what is in flight, take nothing new, exit 0 when done or at the deadline.
    Drain {
        /// Milliseconds from now.
        deadline_ms: u64,
    },
}

/// Worker → supervisor. Adjacently tagged: serde cannot put a tag into a list, and `Log` is one.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", content = "content", rename_all = "snake_case")]
pub enum ToSupervisor {
    /// Before `Ready`: how much of its sandbox is in force (`full`, `off`, `partial, without …`).
    #[serde(rename = "walled")]
    Sandboxed(String),
    /// Serving. Sent once.
    Ready,
    /// Once a second while alive: liveness, health and metrics in one frame.
    Beat(Beat),
    /// Log lines; `seq` is 0.
    Log(Vec<LogLine>),
    /// A question to the supervisor.
    Ask {
        /// To be repeated in the answer.
        id: u64,
        /// The question.
        question: Question,
    },
    /// The answer to the supervisor's `Ask`.
    Answer {
        /// The number of the `Ask`.
        id: u64,
        /// JSON, or what went wrong.
        result: Result<serde_json::Value, Failure>,
    },
    /// The `Reconfigure` with that generation is in force.
    Reconfigured {
        /// Its generation.
        generation: u32,
    },
    /// Gateway: nothing is in flight any more at an upstream that was to be retired, and its input
    /// is closed.
    Released {
        /// Name of the upstream.
        upstream: String,
    },
    /// Gateway: please run this stdio server. The supervisor starts it when its turn comes, keeps
    /// it running with backoff, and sends `Child` and `ChildGone` each time.
    Want {
        /// Name of the upstream.
        upstream: String,
        /// 0: the child that everybody shares. Any other number, used once in a life of the gateway
        /// worker: one more child, which is never started again, and ends with that worker at the
        /// latest.
        #[serde(default)]
        lease: u32,
    },
    /// Gateway: that child is not needed any more. No `ChildGone` follows.
    Unlease {
        /// Name of the upstream.
        upstream: String,
        /// As in `Want`, not 0.
        lease: u32,
        /// It misbehaved: it gets no time to end by itself.
        kill: bool,
    },
    /// Gateway: stop this shared child (it hangs, prints garbage, …); it counts as a failure and is
    /// started again with backoff.
    Recycle {
        /// Name of the upstream.
        upstream: String,
        /// Which of its lives is meant; an older one is ignored.
        incarnation: u64,
        /// What was wrong.
        code: Code,
        /// Evidence, one line.
        detail: String,
    },
    /// Gateway: all that this shared child has been sent is the probe of its era. If it ends now, that
    /// is no failure: it is started again at once, and has to be greeted with `initialize` then.
    /// Twice in a row counts as a failure.
    Probe {
        /// Name of the upstream.
        upstream: String,
        /// Which of its lives is meant; an older one is ignored.
        incarnation: u64,
        /// False: the probe was answered, or something else was sent.
        outstanding: bool,
    },
    /// Gateway: something that its successor has to know.
    Keep(Keep),
    /// Gateway: how an upstream stands, whenever that changes. For stdio servers `Ready` also ends
    /// the start-up of the child.
    Upstream(UpstreamReport),
}

/// The first message to a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Start {
    /// `gateway-0`, `http-1`, …
    pub name: String,
    /// Its role.
    pub role: Role,
    /// The generation of the configuration.
    pub generation: u32,
    /// How often this worker has been started before, over the daemon's life. Seeds what must
    /// differ between lives.
    pub incarnation: u64,
    /// Milliseconds between two beats.
    pub beat_ms: u64,
    /// `RUST_LOG`-like filter for its log lines.
    pub log_filter: String,
    /// What the descriptors are, in order (`http`, `admin`, `quic`), with their addresses.
    pub listeners: Vec<Bound>,
    /// Quic workers: which of the sockets at their address theirs is.
    #[serde(default, rename = "seat")]
    pub socket_slot: Option<SocketSlot>,
    /// Http workers: the port at which QUIC is served, to be told to clients that came over TLS.
    #[serde(default)]
    pub quic_port: Option<u16>,
    /// Gateway: what `requestState` is sealed with, the same for every gateway worker of the
    /// daemon's life.
    #[serde(default)]
    pub seal: Option<super::seal::SealKey>,
    /// Gateway: what goes along with each export of spans, as [`config::header_pairs`] takes it
    /// apart.
    #[serde(default, serialize_with = "config::exposed")]
    pub collector_headers: Option<config::Secret>,
    /// The user that it becomes before it serves; `None`: it keeps its own.
    #[serde(default)]
    pub run_as: Option<RunAs>,
    /// The part of the configuration in force that this role may know. Secrets that it does not
    /// need are not in it.
    pub config: config::Config,
}

impl Start {
    /// A first message for nobody in particular, to try what follows from a role and a
    /// configuration.
    #[must_use]
    pub fn to_try(role: Role, config: config::Config) -> Self {
        Self {
            name: format!("{}-0", role.as_str()),
            role,
            generation: 1,
            incarnation: 0,
            beat_ms: 1000,
            log_filter: "info".to_owned(),
            listeners: Vec::new(),
            socket_slot: None,
            quic_port: None,
            seal: None,
            collector_headers: None,
            run_as: None,
            config,
        }
    }
}

/// The user that a worker becomes when the supervisor is root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunAs {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// The configuration names it: without it, the worker does not serve.
    pub asked: bool,
}

impl RunAs {
    /// Its ids.
    #[must_use]
    pub const fn identity(self) -> crate::platform::Identity {
        crate::platform::Identity {
            uid: self.uid,
            gid: self.gid,
        }
    }
}

/// A listening socket that is handed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// `http`, `admin` or `quic`.
    pub transport: String,
    /// The address that it is bound to.
    pub address: std::net::SocketAddr,
}

/// A running stdio server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Child {
    /// Name of the upstream.
    pub upstream: String,
    /// As in [`ToSupervisor::Want`].
    #[serde(default)]
    pub lease: u32,
    /// Which of its lives this is, from 1; 1 for a leased child.
    pub incarnation: u64,
    /// Process id of the server itself.
    pub pid: u32,
    /// What an earlier gateway worker learnt from it (`UpstreamReport::handoff`): if present, the
    /// handshake has been made already.
    pub handoff: Option<String>,
}

/// A stdio server that is not running any more.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChildGone {
    /// Name of the upstream.
    pub upstream: String,
    /// As in [`ToSupervisor::Want`].
    #[serde(default)]
    pub lease: u32,
    /// Which of its lives ended; 0 if it could not be started at all.
    pub incarnation: u64,
    /// Its state now.
    pub state: UpstreamState,
    /// Why: `UpstreamExited`, `CommandNotFound`, …
    pub code: Code,
    /// `exit status 3`, `killed by signal 9`, with the last line of its stderr.
    pub reason: String,
    /// Milliseconds until the next start; `None` if there will be none.
    pub next_start_ms: Option<u64>,
}

/// How the gateway worker sees an upstream.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UpstreamReport {
    /// Name of the upstream.
    pub upstream: String,
    /// The child's life that is meant; 0 for a remote server.
    pub incarnation: u64,
    /// Where it stands.
    pub state: UpstreamState,
    /// `legacy` or `modern`.
    pub era: Option<String>,
    /// Protocol version spoken with it.
    pub protocol: Option<String>,
    /// The server's own name and version.
    pub server: Option<String>,
    /// Sizes of its lists.
    pub tools: u32,
    /// Prompts.
    pub prompts: u32,
    /// Resources.
    pub resources: u32,
    /// What is wrong with it, if anything.
    pub code: Option<Code>,
    /// Evidence, one line.
    pub detail: Option<String>,
    /// Opaque to the supervisor, handed to the next gateway worker with the child.
    pub handoff: Option<String>,
}

/// One beat of a worker.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Beat {
    /// Ascending from 1.
    pub seq: u64,
    /// Open client connections.
    pub connections: u64,
    /// Open files, and how many there may be; nobody else can see them.
    #[serde(default)]
    pub files: Option<(u64, u64)>,
    /// Calls in flight.
    pub in_flight: u64,
    /// Legacy sessions.
    pub sessions: u64,
    /// Tools in the view of all (gateway).
    pub tools: u32,
    /// Longest delay of the event loop since the last beat, in microseconds.
    pub lag_us: u64,
    /// The worker's metrics since its start.
    pub metrics: Vec<Family>,
    /// Upstreams with calls in flight, and how many (gateway).
    pub busy: Vec<(String, u32)>,
    /// API keys that were used since the last beat, and when, in seconds since 1970 (edge workers).
    #[serde(default)]
    pub used: Vec<(String, u64)>,
    /// What was refused, and who was disconnected, because too much was held for clients; since the
    /// worker's start (edge workers).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub shed: u64,
    /// Slow calls since the last beat (gateway).
    pub slow: Vec<ggen_wire::status::SlowCall>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Questions between processes; each is answered by JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Question {
    /// To the supervisor: the daemon's [`ggen_wire::status::Status`].
    Status,
    /// To the supervisor: all metrics (`Vec<Family>`), retired workers included.
    Metrics,
    /// To the supervisor: log lines (`Vec<LogLine>`).
    Logs(ggen_wire::control::LogQuery),
    /// To the supervisor: the configuration in force, secrets redacted.
    Config,
    /// To the gateway: `Vec<ggen_wire::status::Tool>`.
    Tools,
    /// To the gateway: the same after it has asked every server that serves for its tools again.
    RefreshTools,
    /// To the gateway: one tool's definition.
    Tool {
        /// The exposed name.
        name: String,
    },
    /// To the gateway: a real call; the answer is the tool's result.
    CallTool {
        /// The exposed name.
        name: String,
        /// The arguments.
        arguments: serde_json::Value,
    },
}

/// Environment for a child, in order of names.
pub type Environment = BTreeMap<String, String>;

#[cfg(test)]
mod tests {
    use super::ToSupervisor;

    #[test]
    fn log_lines_travel() {
        let text = serde_json::to_string(&ToSupervisor::Log(Vec::new())).expect("can be written");
        assert!(
            matches!(serde_json::from_str(&text), Ok(ToSupervisor::Log(lines)) if lines.is_empty())
        );
    }
}
