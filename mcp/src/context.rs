//! What every room of the relay may use: the time of the event at hand, the limits, random bytes,
//! ids, timers, and the outputs so far. It knows no room.

use crate::api::{Limits, Micros, Note, Observation, Output, StreamKey, UpId};
use crate::edge::Reply;
use crate::observation::DropReason;
use bytes::Bytes;
use ggen_wire::Code;
use ggen_wire::log::Level;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

/// Fills a buffer with random bytes: the operating system's in the gateway worker, a seeded
/// generator in the simulation.
pub type Random = Box<dyn FnMut(&mut [u8])>;

/// What has to follow an event in a room above the one that says so. The gateway sees to it, in the
/// order in which it was said.
pub(crate) enum FollowUp {
    /// The requests that wait for a server are tried again: something has changed.
    TryWaiting,
    /// The handshake on a connection led to nothing.
    HandshakeFailed {
        up: UpId,
        conn: usize,
        code: Code,
        detail: String,
    },
    /// Something has changed for the calls that wait for a child of this server.
    ChildrenChanged(UpId),
    /// A session ends, to make room for another.
    EndSession(Arc<str>),
}

/// Passed to a room together with an event.
pub(crate) struct Context {
    /// The time of the event at hand.
    pub(crate) now: Micros,
    pub(crate) limits: Limits,
    /// Sessions, tasks and the catalogue are stored; see [`crate::api::Settings::keeps`].
    pub(crate) keeps: bool,
    /// The worker is about to stop: nothing new is stored or begun.
    pub(crate) draining: bool,
    /// Which life of the worker this is; see [`crate::api::Settings::incarnation`].
    pub(crate) incarnation: u64,
    random: Random,
    last_id: u64,
    timers: BinaryHeap<Reverse<Micros>>,
    outputs: Vec<Output>,
    follow_ups: VecDeque<FollowUp>,
}

impl Context {
    pub(crate) fn new(limits: Limits, keeps: bool, incarnation: u64, random: Random) -> Self {
        Self {
            now: 0,
            limits,
            keeps,
            draining: false,
            incarnation,
            random,
            // Ids of different lives never meet: a late answer to a request of an earlier life is
            // not taken for one of ours. JSON integers end at 2^53.
            last_id: (incarnation & 0xf_ffff) << 32,
            timers: BinaryHeap::new(),
            outputs: Vec::new(),
            follow_ups: VecDeque::new(),
        }
    }

    /// Exchanges the list of outputs: before an event for the caller's, after it back.
    pub(crate) const fn swap_outputs(&mut self, outputs: &mut Vec<Output>) {
        std::mem::swap(&mut self.outputs, outputs);
    }

    pub(crate) fn emit(&mut self, output: Output) {
        self.outputs.push(output);
    }

    /// For what writes several outputs.
    pub(crate) const fn outputs(&mut self) -> &mut Vec<Output> {
        &mut self.outputs
    }

    /// Says what has to follow the event at hand.
    pub(crate) fn follow_up(&mut self, follow_up: FollowUp) {
        self.follow_ups.push_back(follow_up);
    }

    /// The next thing that has to follow.
    pub(crate) fn next_follow_up(&mut self) -> Option<FollowUp> {
        self.follow_ups.pop_front()
    }

    /// Writes a log line.
    pub(crate) fn note(
        &mut self,
        level: Level,
        category: &'static str,
        up: Option<UpId>,
        code: Option<Code>,
        text: String,
    ) {
        self.emit(Output::Log(Note {
            level,
            category,
            up,
            code,
            about: None,
            text,
        }));
    }

    /// The whole answer to an exchange that has no record.
    pub(crate) fn full(&mut self, key: StreamKey, status: u16, body: Bytes) {
        self.emit(Output::Reply(
            key,
            Reply::Full {
                status,
                session: None,
                retry_after: None,
                body,
            },
        ));
    }

    /// Counts a message that goes nowhere.
    pub(crate) fn dropped(&mut self, up: Option<UpId>, reason: DropReason) {
        self.emit(Output::Observe(Observation::Dropped { up, reason }));
    }

    /// An id for a request of ours: unique over all lives of the worker.
    pub(crate) const fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Fills a buffer with random bytes.
    pub(crate) fn random(&mut self, bytes: &mut [u8]) {
        (self.random)(bytes);
    }

    /// 24 random bytes.
    pub(crate) fn nonce(&mut self) -> [u8; 24] {
        let mut nonce = [0; 24];
        self.random(&mut nonce);
        nonce
    }

    /// Asks for a tick at that time, which may be sooner than the next one would come.
    pub(crate) fn wake_at(&mut self, time: Micros) {
        self.timers.push(Reverse(time));
    }

    /// The earliest time that was asked for.
    pub(crate) fn next_timer(&self) -> Option<Micros> {
        self.timers.peek().map(|Reverse(time)| *time)
    }

    /// Forgets the times that have come.
    pub(crate) fn forget_past_timers(&mut self) {
        while self.next_timer().is_some_and(|time| time <= self.now) {
            self.timers.pop();
        }
    }
}
