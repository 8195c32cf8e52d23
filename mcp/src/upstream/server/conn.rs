//! One connection to an upstream. Values only.

use crate::api::{Lease, Micros, SHARED};
use crate::protocol::method::LogLevel;
use crate::upstream::Caps;
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
    /// One client's at a time.
    Pooled,
    /// One session's.
    Session,
    /// One call's.
    Once,
}

/// One connection: a pair of pipes, or an HTTP session (or, with a modern HTTP server, just its
/// URL).
#[derive(Debug)]
pub struct Conn {
    /// What its clients can be asked for; part of its handshake with a legacy server.
    pub caps: Caps,
    /// Which child of a stdio server it is; [`SHARED`] as well for an HTTP session, and for a place
    /// where none is.
    pub lease: Lease,
    /// Whose it is, if it is leased.
    pub lent: Lent,
    /// The legacy session that used it last.
    pub user: Option<Arc<str>>,
    /// It has had a call.
    pub spent: bool,
    /// Calls that were given up and may still be answered, until when at most.
    pub late: Vec<(u64, Micros)>,
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
    pub fn new(caps: Caps) -> Self {
        Self {
            caps,
            lease: SHARED,
            lent: Lent::No,
            user: None,
            spent: false,
            late: Vec::new(),
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

    /// Whether it is a leased child.
    #[must_use]
    pub const fn is_leased(&self) -> bool {
        self.lease != SHARED
    }
}
