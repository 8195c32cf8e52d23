//! One connection to an upstream. Values only.

use crate::api::{Lease, Micros, SHARED};
use crate::protocol::capabilities::{Caps, Declared};
use crate::protocol::method::LogLevel;
use crate::upstream::UpEra;
use crate::upstream::connection::UNSURE;
use crate::upstream::list::Loading;
use std::collections::HashSet;
use std::sync::Arc;

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnState {
    /// Nothing there.
    Down,
    /// `server/discover` or `initialize` is under way, since then.
    Handshake(Micros),
    /// Serving.
    Ready,
}

/// Whose a leased child of a stdio server is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lent {
    /// It is no leased child.
    #[default]
    No,
    /// No child at all: the calls that wait for one stand in its queue.
    Waiting,
    /// Its user's, for as long as that is there.
    Kept,
    /// One call's.
    Once,
}

/// Who has a child for itself: all its requests go there, and whatever the child says of itself is
/// this user's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum User {
    /// A legacy session.
    Session(Arc<str>),
    /// The requests of a principal that belong to no session and declare the same.
    Principal(Arc<str>),
}

impl User {
    /// The session, if it is one.
    #[must_use]
    pub const fn session(&self) -> Option<&Arc<str>> {
        match self {
            Self::Session(session) => Some(session),
            Self::Principal(_) => None,
        }
    }
}

/// How far a list of a session's own child is read.
#[derive(Debug, Default)]
pub struct Reading {
    /// What has come of it, while it is being read.
    pub loading: Option<Loading>,
    /// It changed while it was being read.
    pub again: bool,
    /// When it is to be read, after a change was announced.
    pub due: Option<Micros>,
}

/// One connection: a pair of pipes, or an HTTP session (or, with a modern HTTP server, just its
/// URL).
#[derive(Debug)]
pub struct Conn {
    /// What its clients declare; part of its handshake with a legacy server.
    pub declared: Arc<Declared>,
    /// The era that is spoken on it, if it is not the server's.
    pub era: Option<UpEra>,
    /// Which child of a stdio server it is; [`SHARED`] as well for an HTTP session, and for a place
    /// where none is.
    pub lease: Lease,
    /// Whose it is, if it is leased.
    pub lent: Lent,
    /// Who has it for itself.
    pub user: Option<User>,
    /// The principal who has used it last. If it was a user's own, nobody else gets it.
    pub principal: Option<Arc<str>>,
    /// Until when what another principal has called there may still be heard of.
    pub mixed: Micros,
    /// It has had a call.
    pub spent: bool,
    /// Its user is subscribed to resources there.
    pub has_subscribed: bool,
    /// Calls that were given up and may still be answered, until when at most.
    pub late: Vec<(u64, Micros)>,
    /// What is being read of its own lists, by [`ListKind`].
    pub reading: [Reading; 4],
    /// How far it is.
    pub phase: ConnState,
    /// `Mcp-Session-Id` of a legacy HTTP server.
    pub session: Option<String>,
    /// Client calls that wait for it to become ready.
    pub queue: Vec<u64>,
    /// Client calls in flight.
    pub calls: HashSet<u64>,
    /// Until when a call that was given up may still write log messages, which nothing tells from
    /// those of other calls on a pipe.
    pub unsure: Micros,
    /// The level last set with `logging/setLevel`.
    pub log_level: Option<LogLevel>,
    /// The exchange of its GET stream.
    pub stream: Option<u64>,
    /// Until when calls wait for the GET stream of a new session: what the server asks there before
    /// it is open is lost.
    pub awaits_stream: Option<Micros>,
    /// When to open the GET stream again.
    pub stream_at: Option<Micros>,
    /// Its session has had a GET stream.
    pub has_streamed: bool,
    /// GET streams in a row that could not be opened.
    pub stream_failures: u32,
    /// Sessions in a row that were lost before anything was answered in them.
    pub lost_sessions: u32,
    /// The last event id seen on the GET stream.
    pub last_event: Option<String>,
    /// When it was last used.
    pub used: Micros,
}

/// Given-up calls of one child that are remembered.
const LATE: usize = 64;

impl Conn {
    /// A call was given up whose answer may still come: until then, questions and log messages of
    /// that child may be about it.
    pub(crate) fn answer_may_come(&mut self, number: u64, until: Micros) {
        if self.late.len() < LATE {
            self.late.push((number, until));
        }
    }

    /// A connection that is not there yet.
    #[must_use]
    pub fn new(declared: Arc<Declared>) -> Self {
        Self {
            declared,
            era: None,
            lease: SHARED,
            lent: Lent::No,
            user: None,
            principal: None,
            mixed: 0,
            spent: false,
            has_subscribed: false,
            late: Vec::new(),
            reading: <[Reading; 4]>::default(),
            phase: ConnState::Down,
            session: None,
            queue: Vec::new(),
            calls: HashSet::new(),
            unsure: 0,
            log_level: None,
            stream: None,
            awaits_stream: None,
            stream_at: None,
            has_streamed: false,
            stream_failures: 0,
            lost_sessions: 0,
            last_event: None,
            used: 0,
        }
    }

    /// One that nobody uses, and that was told of no client.
    #[must_use]
    pub fn empty() -> Self {
        Self::new(Arc::default())
    }

    /// A principal makes a call there.
    pub fn is_used_by(&mut self, principal: &Arc<str>, now: Micros) {
        if self.principal.as_ref() == Some(principal) {
            return;
        }
        if self.principal.is_some() {
            self.mixed = now + UNSURE;
        }
        self.principal = Some(principal.clone());
    }

    /// What its clients can be asked for.
    #[must_use]
    pub fn caps(&self) -> Caps {
        self.declared.caps
    }

    /// Whether what is said on it, and names no call, is one client's for certain: it is a session's
    /// own, or nothing but one call is at work there.
    #[must_use]
    pub fn is_one_clients(&self) -> bool {
        let is_sessions = self
            .user
            .as_ref()
            .is_some_and(|user| user.session().is_some());
        is_sessions || self.calls.len() == 1 && self.late.is_empty()
    }

    /// Whether it is a leased child.
    #[must_use]
    pub const fn is_leased(&self) -> bool {
        self.lease != SHARED
    }
}
