//! The exchanges of an edge worker that the gateway worker has not finished: a pure state machine.
//! Time is an argument. Its memory is bounded by the number of exchanges times [`WINDOW`] events
//! each; a gateway worker that sends more than it was granted breaks the rules of the link. May not:
//! touch a socket, read a clock.

use crate::ipc::secrets::Sensitive;
use ggen_mcp::edge::frame::WINDOW;
use ggen_mcp::edge::{Principal, Reply};
use std::{
    collections::{HashMap, VecDeque},
    fmt,
    hash::{BuildHasherDefault, Hasher},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

/// How long an event stream may be silent before its client gets a sign of life.
pub(crate) const QUIET: Duration = Duration::from_secs(15);

/// The number of a link to a gateway worker, ascending over the life of this worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LinkId(pub(crate) u32);

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of an exchange, as frames carry it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct StreamId(pub(crate) u32);

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why an exchange ends without its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Broken {
    /// The gateway worker was replaced while the exchange was in flight.
    #[error("the gateway worker was restarted while the call was in flight")]
    Lost,
    /// Its client took nothing while others needed the room.
    #[error("the client took nothing while others needed the room")]
    Slow,
    /// The answer had not begun at its deadline.
    #[error("the answer did not begin in time")]
    TimedOut,
}

/// Who has a stream.
#[derive(Clone, Debug)]
pub(crate) struct Guest {
    pub(crate) principal: Principal,
    /// The credential that was shown, if any.
    pub(crate) shown: Option<Sensitive>,
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
    Order(StreamId),
    /// More events than were granted.
    #[error("more events than granted on stream {0}")]
    Credit(StreamId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ExchangeState {
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
    link: LinkId,
    state: ExchangeState,
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
    /// Bytes in `queue`.
    bytes: usize,
    /// Who is judged again while it is a stream.
    guest: Option<Box<Guest>>,
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
    slots: HashMap<StreamId, Slot, BuildHasherDefault<StreamHasher>>,
    last: StreamId,
    /// Bytes in all queues.
    queued: usize,
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
        link: LinkId,
        now: Instant,
        deadline: Option<Instant>,
        endless: bool,
    ) -> StreamId {
        loop {
            self.last = StreamId(self.last.0.wrapping_add(1));
            if self.last.0 != 0 && !self.slots.contains_key(&self.last) {
                break;
            }
        }
        let slot = Slot {
            link,
            state: ExchangeState::Waiting,
            queue: VecDeque::new(),
            credit: WINDOW,
            taken: 0,
            touched: now,
            quiet: false,
            endless,
            deadline,
            waker: None,
            bytes: 0,
            guest: None,
        };
        self.slots.insert(self.last, slot);
        self.last
    }

    /// A reply has come over `link`. One for an exchange that was given up is dropped: it crossed
    /// the `Gone`.
    pub(crate) fn deliver(
        &mut self,
        link: LinkId,
        stream: StreamId,
        mut reply: Reply,
    ) -> Result<(), Violation> {
        let Some(slot) = self.slots.get_mut(&stream).filter(|slot| slot.link == link) else {
            return Ok(());
        };
        slot.state = match (slot.state, &mut reply) {
            (ExchangeState::Waiting, Reply::Full { .. })
            | (ExchangeState::Streaming, Reply::End) => ExchangeState::Done,
            (ExchangeState::Waiting, Reply::Start { .. }) => ExchangeState::Streaming,
            (ExchangeState::Streaming, Reply::Event { data, .. }) => {
                slot.credit = slot
                    .credit
                    .checked_sub(1)
                    .ok_or(Violation::Credit(stream))?;
                if !slot.queue.is_empty() {
                    // The client is slow: what waits for it must not hold on to the link's whole
                    // read buffer.
                    *data = bytes::Bytes::copy_from_slice(data);
                }
                ExchangeState::Streaming
            }
            (ExchangeState::Broken(_), _) => return Ok(()),
            _ => return Err(Violation::Order(stream)),
        };
        let size = size(&reply);
        slot.bytes += size;
        self.queued += size;
        slot.queue.push_back(reply);
        slot.wake();
        Ok(())
    }

    /// An exchange has become a stream of somebody's.
    pub(crate) fn watch(&mut self, stream: StreamId, guest: Guest) {
        if let Some(slot) = self.slots.get_mut(&stream) {
            slot.guest = Some(Box::new(guest));
        }
    }

    /// Ends the streams whose clients would not be let in any more; gives (link, stream) of each,
    /// to be told `Gone`.
    pub(crate) fn end_denied(&mut self, still: impl Fn(&Guest) -> bool) -> Vec<(LinkId, StreamId)> {
        let mut ended = Vec::new();
        for (stream, slot) in &mut self.slots {
            if slot.state != ExchangeState::Streaming || slot.guest.as_deref().is_none_or(&still) {
                continue;
            }
            self.queued -= slot.forget();
            slot.state = ExchangeState::Done;
            slot.queue.push_back(Reply::End);
            slot.wake();
            ended.push((slot.link, *stream));
        }
        ended
    }

    /// While more than `most` bytes wait, those of the clients with the most are given up; gives
    /// (link, stream) of each, to be told `Gone`.
    pub(crate) fn shed(&mut self, most: usize) -> Vec<(LinkId, StreamId)> {
        let mut ended = Vec::new();
        while self.queued > most {
            // One that is alone has to be taken somehow: a single reply may be as large as that.
            let largest = self
                .slots
                .iter_mut()
                .filter(|(_, slot)| slot.queue.len() > 1 || slot.bytes < self.queued)
                .max_by_key(|(_, slot)| slot.bytes);
            let Some((stream, slot)) = largest.filter(|(_, slot)| slot.bytes > 0) else {
                break;
            };
            let was_open = slot.state == ExchangeState::Streaming;
            self.queued -= slot.forget();
            slot.state = ExchangeState::Broken(Broken::Slow);
            slot.wake();
            if was_open {
                ended.push((slot.link, *stream));
            }
        }
        ended
    }

    /// The next input of an exchange; the exchange is forgotten once its end or its failure was
    /// given out.
    pub(crate) fn poll(
        &mut self,
        stream: StreamId,
        now: Instant,
        cx: &Context<'_>,
    ) -> (Poll<Result<Input, Broken>>, Tell) {
        let Some(slot) = self.slots.get_mut(&stream) else {
            return (Poll::Ready(Err(Broken::Lost)), Tell::Nothing);
        };
        if let Some(reply) = slot.queue.pop_front() {
            slot.touched = now;
            slot.quiet = false;
            let size = size(&reply);
            slot.bytes -= size;
            self.queued -= size;
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
        if let ExchangeState::Broken(why) = slot.state {
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
    pub(crate) fn give_up(&mut self, stream: StreamId) -> Option<(LinkId, Tell)> {
        let slot = self.slots.remove(&stream)?;
        self.queued -= slot.bytes;
        Some((
            slot.link,
            if matches!(
                slot.state,
                ExchangeState::Waiting | ExchangeState::Streaming
            ) {
                Tell::Gone
            } else {
                Tell::Nothing
            },
        ))
    }

    /// The link of an exchange.
    pub(crate) fn link(&self, stream: StreamId) -> Option<LinkId> {
        self.slots.get(&stream).map(|slot| slot.link)
    }

    /// A link is gone: its unfinished exchanges are lost. What had already come is still given out.
    pub(crate) fn lose(&mut self, link: LinkId) {
        for slot in self
            .slots
            .values_mut()
            .filter(|slot| slot.link == link && slot.state != ExchangeState::Done)
        {
            slot.state = ExchangeState::Broken(Broken::Lost);
            slot.wake();
        }
    }

    /// Ends the streams that would never end by themselves; gives (link, stream) of each, to be
    /// told `Gone`.
    pub(crate) fn end_endless(&mut self) -> Vec<(LinkId, StreamId)> {
        let mut ended = Vec::new();
        for (stream, slot) in self
            .slots
            .iter_mut()
            .filter(|(_, slot)| slot.endless && slot.state == ExchangeState::Streaming)
        {
            slot.state = ExchangeState::Done;
            slot.queue.push_back(Reply::End);
            slot.wake();
            ended.push((slot.link, *stream));
        }
        ended
    }

    /// Applies the clock; gives (link, stream) of what timed out, to be told `Gone`.
    pub(crate) fn sweep(&mut self, now: Instant) -> Vec<(LinkId, StreamId)> {
        let mut late = Vec::new();
        for (stream, slot) in &mut self.slots {
            match slot.state {
                ExchangeState::Waiting if slot.deadline.is_some_and(|deadline| deadline <= now) => {
                    slot.state = ExchangeState::Broken(Broken::TimedOut);
                    slot.wake();
                    late.push((slot.link, *stream));
                }
                ExchangeState::Streaming
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

/// The bytes of a reply that count.
fn size(reply: &Reply) -> usize {
    match reply {
        Reply::Full { body, .. } => body.len(),
        Reply::Event { data, .. } => data.len(),
        Reply::Start { .. } | Reply::End => 0,
    }
}

impl Slot {
    /// Throws away what waits; gives its size.
    fn forget(&mut self) -> usize {
        self.queue.clear();
        std::mem::take(&mut self.bytes)
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Counts an event that was taken. Credit goes back by half windows, so that a fast stream
    /// costs two frames per window.
    fn grant(&mut self) -> Tell {
        self.taken += 1;
        if self.taken < WINDOW / 2 || self.state != ExchangeState::Streaming {
            return Tell::Nothing;
        }
        self.credit += self.taken;
        Tell::Credit(std::mem::take(&mut self.taken))
    }
}

/// Stream numbers are our own: no adversary chooses them, so a multiplication hashes them well
/// enough.
#[derive(Debug, Default)]
struct StreamHasher(u64);

impl Hasher for StreamHasher {
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
