//! Requests to upstreams that have no answer yet: why each was sent, and who waits for it.

use crate::access::{Held, Trail};
use crate::api::{Micros, StreamKey, UpId};
use crate::client::request::RequestContext;
use crate::client::task_name::TaskName;
use crate::client::view::View;
use crate::edge::Request;
use crate::protocol::capabilities::{Caps, Declared};
use crate::protocol::list_kind::ListKind;
use crate::protocol::method::{Legacy, LogLevel, Method};
use crate::trace::span::Span;
use crate::trace::{Trace, TraceId};
use bytes::Bytes;
use std::sync::Arc;

/// A request (or, over HTTP, any exchange) that is under way.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) up: UpId,
    pub(crate) conn: usize,
    pub(crate) purpose: Purpose,
    /// When it was written.
    pub(crate) began: Micros,
    pub(crate) deadline: Micros,
    /// Size of the request.
    pub(crate) bytes: usize,
    /// HTTP: the request as it was sent, to send it once more after a lost session.
    pub(crate) request: Sent,
    /// HTTP: the status of the answer.
    pub(crate) status: u16,
    /// HTTP: `Mcp-Session-Id` of the answer.
    pub(crate) session: Option<String>,
    /// HTTP: how long the server wants to be left alone.
    pub(crate) retry_after: Option<Micros>,
    /// HTTP: the last event id seen, to resume a stream that broke off.
    pub(crate) last_event: Option<String>,
    /// HTTP: how long to wait before resuming, in milliseconds.
    pub(crate) retry_ms: Option<u32>,
    /// HTTP: how often it was sent or resumed already.
    pub(crate) tries: u8,
    /// HTTP: whether its server said that its headers do not match.
    pub(crate) mismatch: Mismatch,
}

/// How far a call is whose headers did not match ([`crate::call::header_mismatch`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mismatch {
    /// The server has not said so.
    #[default]
    No,
    /// It has; its answer is not over yet.
    Reported,
    /// Its tools are being read.
    Reading,
    /// The call was made again: the next answer counts.
    Again,
}

/// What was sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sent {
    /// Headers that depend on the body.
    pub(crate) headers: Vec<(String, String)>,
    /// The body.
    pub(crate) body: Bytes,
}

/// Why a request was sent.
#[derive(Debug)]
pub(crate) enum Purpose {
    /// For a client.
    Client(Box<ClientCall>),
    /// `server/discover`
    Discover,
    /// `initialize`
    Initialize,
    /// A page of a list.
    List(ListKind),
    /// `subscriptions/listen`
    Listen,
    /// A legacy HTTP server's GET stream.
    Stream,
    /// The result of a task that a modern client has at a legacy server, on whose stream the task's
    /// questions come.
    Watch(TaskName),
    /// The same for those who listen: the task as its server told of it last.
    TaskResult(TaskName, Box<str>),
    /// Anything whose answer does not matter: notifications, answers to the server's own requests,
    /// subscriptions made again.
    Untracked,
}

/// Who waits for a call.
#[derive(Debug)]
pub(crate) struct ClientCall {
    pub(crate) key: StreamKey,
    /// Who asked.
    pub(crate) principal: Arc<str>,
    /// The client's own id, as it stands.
    pub(crate) id: Box<str>,
    pub(crate) modern: bool,
    pub(crate) session: Option<Arc<str>>,
    /// The revision of a legacy client.
    pub(crate) revision: Option<Legacy>,
    pub(crate) method: Method,
    /// The exposed name of a tool.
    pub(crate) tool: Option<Arc<str>>,
    /// The client's progress token, as it stands.
    pub(crate) progress: Option<Box<str>>,
    /// The level that a modern client asked for.
    pub(crate) log_level: Option<LogLevel>,
    /// What the client can be asked for while the call is under way.
    pub(crate) caps: Caps,
    /// What the client declares; `None`: nothing.
    pub(crate) declared: Option<Arc<Declared>>,
    /// Whether URIs in the result are to be given exposed names.
    pub(crate) exposes: bool,
    /// The exposed URI that was asked for.
    pub(crate) uri: Option<Box<str>>,
    /// When the client's request arrived.
    pub(crate) arrived: Micros,
    /// How many requests of the server the client has not answered yet.
    pub(crate) asked: usize,
    /// A modern client of a legacy server: the capability that the server asked for in vain, as an
    /// object.
    pub(crate) lacked: Option<&'static str>,
    /// A modern client of a legacy server: what it takes to keep the call while its client is asked.
    pub(crate) asking: Option<Box<Asking>>,
    /// A legacy client of a modern server: the questions of the present round.
    pub(crate) rounds: Option<Box<Rounds>>,
    /// What tasks of the other era have to do with it.
    pub(crate) task: Option<Task>,
    /// The task of its client that it is about.
    pub(crate) known: Option<TaskName>,
    /// Time without a sign of life.
    pub(crate) timeout: Micros,
    /// What is counted for it.
    pub(crate) held: Held,
    /// To send it once more, if its server is lost.
    pub(crate) again: Option<Box<Again>>,
    /// To write it down.
    pub(crate) trail: Option<Box<Trail>>,
    /// The trace that it belongs to, as its server gets it.
    pub(crate) trace: Option<Arc<Trace>>,
    /// The span of the client's request, until that is answered.
    pub(crate) span: Option<Box<Span>>,
    /// The span of the call.
    pub(crate) sent: Option<Box<Span>>,
}

/// How far a call is that a task of the other era has to do with ([`crate::task_bridge::continuation`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// A legacy server is to begin one, of which the client does not know.
    Asked,
    /// It has: the task's id as it stands, and the number of the call that began it.
    Running { id: Box<str>, number: u64 },
    /// A legacy server is to begin one for a client that takes it.
    Offered,
    /// The result of this one is asked for, which its server has called over.
    Fetching(Box<str>),
    /// One that could not be cancelled is asked for: if it exists, it was over.
    Acknowledging,
    /// A modern server may begin one, of which its legacy client does not know.
    Declared,
    /// It has.
    Polled(Box<PolledTask>),
}

/// A task of a modern server that the relay asks about for a legacy client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PolledTask {
    /// Its id as it stands.
    pub(crate) id: Box<str>,
    /// The keys of questions that the client was asked.
    pub(crate) keys: Vec<Box<str>>,
}

/// What must be known of a call that may have to wait for its client's answers.
#[derive(Debug)]
pub(crate) struct Asking {
    pub(crate) principal: Arc<str>,
    /// See [`crate::questions::request_state::subject`].
    pub(crate) subject: [u8; 32],
    /// `inputResponses` that came with the call itself: answers to questions whose keys the client
    /// guessed.
    pub(crate) answers: Option<Box<str>>,
    /// The pending input that it waits as.
    pub(crate) pending_input: Option<u128>,
}

/// The rounds of a call of a legacy client (MCP 2026-07-28, MRTR), which the relay runs for it.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    /// How many there were.
    pub(crate) count: u8,
    /// The server's `requestState`, as it stands.
    pub(crate) state: Option<Box<str>>,
    /// Keys as they stand, and the client's answers.
    pub(crate) inputs: Vec<(Box<str>, Option<Box<str>>)>,
}

/// The client of a call that nobody is there for now. No exchange ever has this key.
pub(crate) const NOBODY: StreamKey = StreamKey {
    edge: u32::MAX,
    stream: u32::MAX,
};

impl ClientCall {
    /// The call of a request, with what is known of every call.
    pub(crate) fn of(ctx: &RequestContext<'_>) -> Self {
        Self {
            key: ctx.key,
            principal: ctx.request.principal.id.clone(),
            id: ctx.id.into(),
            modern: ctx.is_modern(),
            session: ctx.session(),
            revision: ctx.era.revision(),
            method: ctx.method,
            tool: None,
            progress: None,
            log_level: None,
            caps: Caps::default(),
            declared: None,
            exposes: ctx.view == View::All,
            uri: None,
            arrived: ctx.arrived,
            asked: 0,
            lacked: None,
            asking: None,
            rounds: None,
            task: None,
            known: None,
            timeout: 0,
            held: Held::default(),
            again: None,
            trail: None,
            trace: None,
            span: None,
            sent: None,
        }
    }

    /// The trace that it belongs to, if that is recorded.
    pub(crate) fn sampled(&self) -> Option<TraceId> {
        self.trace.as_ref().and_then(|trace| trace.sampled())
    }

    /// The pending input that it waits as.
    pub(crate) fn pending_input(&self) -> Option<u128> {
        self.asking.as_ref().and_then(|asking| asking.pending_input)
    }

    /// Whether the client has to answer before anything can go on, so that the server's time does
    /// not run.
    pub(crate) fn is_asked(&self) -> bool {
        self.asked > 0 || self.key == NOBODY
    }
}

/// A request that may be sent again.
#[derive(Debug)]
pub(crate) struct Again {
    pub(crate) request: Request,
    /// How often it was sent again already.
    pub(crate) tries: u32,
}
