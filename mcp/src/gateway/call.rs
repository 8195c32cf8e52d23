//! Requests to upstreams that have no answer yet: why each was sent, and who waits for it.

use super::owned::Name;
use crate::api::{Micros, StreamKey, UpId};
use crate::edge::Request;
use crate::list::ListKind;
use crate::method::{LogLevel, Method};
use crate::span::Span;
use crate::trace::{Trace, TraceId};
use crate::upstream::Caps;
use bytes::Bytes;
use std::sync::Arc;

/// A request (or, over HTTP, any exchange) that is under way.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) up: UpId,
    pub(super) conn: usize,
    pub(super) purpose: Purpose,
    /// When it was written.
    pub(super) began: Micros,
    pub(super) deadline: Micros,
    /// Size of the request.
    pub(super) bytes: usize,
    /// HTTP: the request as it was sent, to send it once more after a lost session.
    pub(super) request: Sent,
    /// HTTP: the status of the answer.
    pub(super) status: u16,
    /// HTTP: the last event id seen, to resume a stream that broke off.
    pub(super) last_event: Option<String>,
    /// HTTP: how long to wait before resuming, in milliseconds.
    pub(super) retry_ms: Option<u32>,
    /// HTTP: how often it was sent or resumed already.
    pub(super) tries: u8,
    /// HTTP: whether its server said that its headers do not match.
    pub(super) mismatch: Mismatch,
}

/// How far a call is whose headers did not match ([`super::mismatch`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mismatch {
    /// The server has not said so.
    #[default]
    No,
    /// It has; its answer is not over yet.
    Told,
    /// Its tools are being read.
    Reading,
    /// The call was made again: the next answer counts.
    Again,
}

/// What was sent.
#[derive(Clone, Debug, Default)]
pub(super) struct Sent {
    /// Headers that depend on the body.
    pub(super) headers: Vec<(String, String)>,
    /// The body.
    pub(super) body: Bytes,
}

/// Why a request was sent.
#[derive(Debug)]
pub(super) enum Purpose {
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
    Watch(Name),
    /// The same for those who listen: the task as its server told of it last.
    Told(Name, Box<str>),
    /// Anything whose answer does not matter: notifications, answers to the server's own requests,
    /// subscriptions made again.
    Aside,
}

/// Who waits for a call.
#[derive(Debug)]
pub(super) struct ClientCall {
    pub(super) key: StreamKey,
    /// Who asked.
    pub(super) principal: Arc<str>,
    /// The client's own id, as it stands.
    pub(super) id: Box<str>,
    pub(super) modern: bool,
    pub(super) session: Option<Arc<str>>,
    pub(super) method: Method,
    /// The exposed name of a tool.
    pub(super) tool: Option<Arc<str>>,
    /// The client's progress token, as it stands.
    pub(super) progress: Option<Box<str>>,
    /// The level that a modern client asked for.
    pub(super) log_level: Option<LogLevel>,
    /// What the client can be asked for.
    pub(super) caps: Caps,
    /// Whether URIs in the result are to be given exposed names.
    pub(super) exposes: bool,
    /// The exposed URI that was asked for.
    pub(super) uri: Option<Box<str>>,
    /// When the client's request arrived.
    pub(super) arrived: Micros,
    /// How many requests of the server the client has not answered yet.
    pub(super) asked: usize,
    /// A modern client of a legacy server: the capability that the server asked for in vain, as an
    /// object.
    pub(super) lacked: Option<&'static str>,
    /// A modern client of a legacy server: what it takes to park the call.
    pub(super) asking: Option<Box<Asking>>,
    /// A legacy client of a modern server: the questions of the present round.
    pub(super) rounds: Option<Box<Rounds>>,
    /// What tasks of the other era have to do with it.
    pub(super) task: Option<Task>,
    /// The task of its client that it is about.
    pub(super) known: Option<Name>,
    /// Time without a sign of life.
    pub(super) timeout: Micros,
    /// What is counted for it.
    pub(super) held: Held,
    /// To send it once more, if its server is lost.
    pub(super) again: Option<Box<Again>>,
    /// To write it down.
    pub(super) trail: Option<Box<Trail>>,
    /// The trace that it belongs to, as its server gets it.
    pub(super) trace: Option<Arc<Trace>>,
    /// The span of the client's request, until that is answered.
    pub(super) span: Option<Box<Span>>,
    /// The span of the call.
    pub(super) sent: Option<Box<Span>>,
}

/// How far a call is that a task of the other era has to do with ([`super::task`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Task {
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
    Driven(Box<Driven>),
}

/// A task of a modern server that the relay asks about for a legacy client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Driven {
    /// Its id as it stands.
    pub(super) id: Box<str>,
    /// The keys of questions that the client was asked.
    pub(super) keys: Vec<Box<str>>,
}

/// What must be known of a call that may have to wait for its client's answers.
#[derive(Debug)]
pub(super) struct Asking {
    pub(super) principal: Arc<str>,
    /// See [`crate::seal::subject`].
    pub(super) subject: [u8; 32],
    /// `inputResponses` that came with the call itself: answers to questions whose keys the client
    /// guessed.
    pub(super) answers: Option<Box<str>>,
    /// Where it is parked.
    pub(super) park: Option<u128>,
}

/// The rounds of a call of a legacy client (MCP 2026-07-28, MRTR), which the relay runs for it.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    /// How many there were.
    pub(super) count: u8,
    /// The server's `requestState`, as it stands.
    pub(super) state: Option<Box<str>>,
    /// Keys as they stand, and the client's answers.
    pub(super) inputs: Vec<(Box<str>, Option<Box<str>>)>,
}

/// The client of a call that nobody is there for now. No exchange ever has this key.
pub(super) const NOBODY: StreamKey = StreamKey {
    edge: u32::MAX,
    stream: u32::MAX,
};

impl ClientCall {
    /// The trace that it belongs to, if that is recorded.
    pub(super) fn sampled(&self) -> Option<TraceId> {
        self.trace.as_ref().and_then(|trace| trace.sampled())
    }

    /// Where it is parked.
    pub(super) fn park(&self) -> Option<u128> {
        self.asking.as_ref().and_then(|asking| asking.park)
    }

    /// Whether the client has to answer before anything can go on, so that the server's time does
    /// not run.
    pub(super) fn is_asked(&self) -> bool {
        self.asked > 0 || self.key == NOBODY
    }
}

/// The bounds in which a call takes a place, until it is settled.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) principal: Option<Arc<str>>,
    pub(super) tool: Option<Arc<str>>,
}

/// A request that may be sent again.
#[derive(Debug)]
pub(super) struct Again {
    pub(super) request: Request,
    /// How often it was sent again already.
    pub(super) tries: u32,
}

/// What is written down of a call when it is over, as far as it is known at its beginning.
#[derive(Debug)]
pub(super) struct Trail {
    pub(super) principal: Arc<str>,
    pub(super) name: Box<str>,
    pub(super) bytes_in: usize,
    pub(super) arguments: Option<Box<str>>,
}
