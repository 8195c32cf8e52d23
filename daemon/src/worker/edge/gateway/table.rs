//! The exchanges of an edge worker that the gateway worker has not finished: a pure state machine,
//! time is an argument, no sockets. Its memory is bounded by the number of exchanges times
//! [`WINDOW`] events each; a gateway that sends more than it was allowed to is an error of the
//! link.

use ggen_mcp::edge::Reply;
use ggen_mcp::edge::frame::WINDOW;
use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasherDefault, Hasher},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

/// How long an event stream may be silent before its client gets a sign of life.
pub(crate) const QUIET: Duration = Duration::from_secs(15);

/// Why an exchange ends without its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Broken {
    /// The gateway worker was replaced while the exchange was in flight.
    #[error("the gateway worker was restarted while the call was in flight")]
    Lost,
    /// The answer had not begun at its deadline.
    #[error("the answer did not begin in time")]
    TimedOut,
}

/// What comes out of an exchange.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// From the gateway. After `Full` and `End` nothing follows.
    Reply(Reply),
    /// The stream has been silent for [`QUIET`].
    Quiet,
}

/// The gateway broke the rules of the link.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Violation {
    /// A reply that may not come at this point of the exchange.
    #[error("a reply out of order on stream {0}")]
    Order(u32),
    /// More events than were granted.
    #[error("more events than granted on stream {0}")]
    Credit(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing has come yet.
    Waiting,
    /// `Start` has come.
    Streaming,
    /// The last reply has come; the gateway has forgotten the exchange.
    Done,
    /// No more replies will come.
    Broken(Broken),
}

#[derive(Debug)]
struct Slot {
    link: u32,
    phase: Phase,
    queue: VecDeque<Reply>,
    /// Events that the gateway may still send.
    credit: u32,
    /// Events taken since the last grant.
    taken: u32,
    /// When the client was last told anything, or the exchange began.
    touched: Instant,
    quiet: bool,
    /// A stream that only ends when either side has enough of it (GET).
    endless: bool,
    deadline: Option<Instant>,
    waker: Option<Waker>,
}

/// What the link has to be told after something was taken or given up.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Tell {
    /// Nothing.
    Nothing,
    /// `Credit`: so many more events.
    Credit(u32),
    /// `Gone`.
    Gone,
}

/// All exchanges, by stream number.
#[derive(Debug, Default)]
pub(crate) struct Table {
    slots: HashMap<u32, Slot, BuildHasherDefault<Identity>>,
    last: u32,
}

impl Table {
    /// Exchanges that have not been taken to their end.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// A new exchange over `link`; gives its stream number. Numbers ascend; after 2³² of them they
    /// begin again, past those in use.
    pub(crate) fn open(
        &mut self,
        link: u32,
        now: Instant,
        deadline: Option<Instant>,
        endless: bool,
    ) -> u32 {
        loop {
            self.last = self.last.wrapping_add(1);
            if self.last != 0 && !self.slots.contains_key(&self.last) {
                break;
            }
        }
        let slot = Slot {
            link,
            phase: Phase::Waiting,
            queue: VecDeque::new(),
            credit: WINDOW,
            taken: 0,
            touched: now,
            quiet: false,
            endless,
            deadline,
            waker: None,
        };
        self.slots.insert(self.last, slot);
        self.last
    }

    /// A reply has come over `link`. One for an exchange that was given up is dropped: it crossed
    /// the `Gone`.
    pub(crate) fn deliver(
        &mut self,
        link: u32,
        stream: u32,
        mut reply: Reply,
    ) -> Result<(), Violation> {
        let Some(slot) = self.slots.get_mut(&stream).filter(|slot| slot.link == link) else {
            return Ok(());
        };
        slot.phase = match (slot.phase, &mut reply) {
            (Phase::Waiting, Reply::Full { .. }) | (Phase::Streaming, Reply::End) => Phase::Done,
            (Phase::Waiting, Reply::Start { .. }) => Phase::Streaming,
            (Phase::Streaming, Reply::Event { data, .. }) => {
                slot.credit = slot
                    .credit
                    .checked_sub(1)
                    .ok_or(Violation::Credit(stream))?;
                if !slot.queue.is_empty() {
                    // The client is slow: what waits for it must not hold on to the link's whole
                    // read buffer.
                    *data = bytes::Bytes::copy_from_slice(data);
                }
                Phase::Streaming
            }
            (Phase::Broken(_), _) => return Ok(()),
            _ => return Err(Violation::Order(stream)),
        };
        slot.queue.push_back(reply);
        slot.wake();
        Ok(())
    }

    /// The next input of an exchange; the exchange is forgotten once its end or its failure was
    /// given out.
    pub(crate) fn poll(
        &mut self,
        stream: u32,
        now: Instant,
        cx: &Context<'_>,
    ) -> (Poll<Result<Input, Broken>>, Tell) {
        let Some(slot) = self.slots.get_mut(&stream) else {
            return (Poll::Ready(Err(Broken::Lost)), Tell::Nothing);
        };
        if let Some(reply) = slot.queue.pop_front() {
            slot.touched = now;
            slot.quiet = false;
            let mut tell = Tell::Nothing;
            match reply {
                Reply::Full { .. } | Reply::End => {
                    self.slots.remove(&stream);
                }
                Reply::Event { .. } => tell = slot.grant(),
                Reply::Start { .. } => {}
            }
            return (Poll::Ready(Ok(Input::Reply(reply))), tell);
        }
        if let Phase::Broken(why) = slot.phase {
            self.slots.remove(&stream);
            return (Poll::Ready(Err(why)), Tell::Nothing);
        }
        if std::mem::take(&mut slot.quiet) {
            slot.touched = now;
            return (Poll::Ready(Ok(Input::Quiet)), Tell::Nothing);
        }
        match &mut slot.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        (Poll::Pending, Tell::Nothing)
    }

    /// The edge has no more use for an exchange. Gives its link and what that has to be told.
    pub(crate) fn give_up(&mut self, stream: u32) -> Option<(u32, Tell)> {
        let slot = self.slots.remove(&stream)?;
        Some((
            slot.link,
            if matches!(slot.phase, Phase::Waiting | Phase::Streaming) {
                Tell::Gone
            } else {
                Tell::Nothing
            },
        ))
    }

    /// The link of an exchange.
    pub(crate) fn link(&self, stream: u32) -> Option<u32> {
        self.slots.get(&stream).map(|slot| slot.link)
    }

    /// A link is gone: its unfinished exchanges are lost. What had already come is still given out.
    pub(crate) fn lose(&mut self, link: u32) {
        for slot in self
            .slots
            .values_mut()
            .filter(|slot| slot.link == link && slot.phase != Phase::Done)
        {
            slot.phase = Phase::Broken(Broken::Lost);
            slot.wake();
        }
    }

    /// Ends the streams that would never end by themselves; gives (link, stream) of each, to be
    /// told `Gone`.
    pub(crate) fn end_endless(&mut self) -> Vec<(u32, u32)> {
        let mut ended = Vec::new();
        for (stream, slot) in self
            .slots
            .iter_mut()
            .filter(|(_, slot)| slot.endless && slot.phase == Phase::Streaming)
        {
            slot.phase = Phase::Done;
            slot.queue.push_back(Reply::End);
            slot.wake();
            ended.push((slot.link, *stream));
        }
        ended
    }

    /// Applies the clock; gives (link, stream) of what timed out, to be told `Gone`.
    pub(crate) fn sweep(&mut self, now: Instant) -> Vec<(u32, u32)> {
        let mut late = Vec::new();
        for (stream, slot) in &mut self.slots {
            match slot.phase {
                Phase::Waiting if slot.deadline.is_some_and(|deadline| deadline <= now) => {
                    slot.phase = Phase::Broken(Broken::TimedOut);
                    slot.wake();
                    late.push((slot.link, *stream));
                }
                Phase::Streaming
                    if slot.queue.is_empty()
                        && now.saturating_duration_since(slot.touched) >= QUIET =>
                {
                    slot.quiet = true;
                    slot.wake();
                }
                _ => {}
            }
        }
        late
    }
}

impl Slot {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Counts an event that was taken. Credit goes back by half windows, so that a fast stream
    /// costs two frames per window.
    fn grant(&mut self) -> Tell {
        self.taken += 1;
        if self.taken < WINDOW / 2 || self.phase != Phase::Streaming {
            return Tell::Nothing;
        }
        self.credit += self.taken;
        Tell::Credit(std::mem::take(&mut self.taken))
    }
}

/// Stream numbers are our own: no adversary chooses them, so a multiplication hashes them well
/// enough.
#[derive(Debug, Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = u64::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
