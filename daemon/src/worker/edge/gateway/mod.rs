//! The client of the gateway worker, for edge workers. May not: know MCP or HTTP semantics.
//!
//! [`Gateway::open`] passes a request on and gives an [`Exchange`], which yields the replies;
//! dropping it tells the gateway worker that the client is gone. While the gateway worker is being
//! replaced, new requests wait (bounded), those in flight end with [`Broken::Lost`].

mod link;
mod table;

pub(crate) use table::{Broken, Guest, Input};

use super::budget;
use bytes::BytesMut;
use ggen_mcp::edge::frame::Frame;
use ggen_mcp::edge::{Reply, Request};
use link::{HIGH_WATER, Outgoing};
use std::{
    future::poll_fn,
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};
use table::{LinkId, StreamId, Table, Tell, Violation};
use tokio::{net::UnixStream, sync::Notify};

/// Exchanges in flight, at most.
pub(crate) const MAX_EXCHANGES: usize = 16_384;
/// Requests that may wait for a link, or for room on it.
pub(crate) const MAX_WAITING: usize = 1_024;
/// How long each of them waits.
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(5);

/// Why a request was not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// No gateway worker for [`MAX_WAIT`].
    #[error("no gateway worker within {MAX_WAIT:?}")]
    Away,
    /// Too many exchanges, or too many requests waiting.
    #[error("too many requests in flight")]
    Full,
}

/// How one exchange is treated.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ExchangeOptions {
    /// The answer must begin within this time.
    pub(crate) answer_within: Option<Duration>,
    /// A stream that ends only when either side has enough of it; a drain ends it.
    pub(crate) endless: bool,
    /// Whether to wait for a link if there is none.
    pub(crate) patient: bool,
}

/// The way to the gateway worker. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gateway(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// There is a new link, or room on the present one.
    room: Notify,
    waiting: AtomicUsize,
    /// Bytes of replies that may wait for clients who take nothing; 0: any number.
    room_for_replies: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    table: Table,
    /// The newest is last: it takes new exchanges. Earlier ones finish theirs.
    links: Vec<Outgoing>,
    last_link: LinkId,
}

impl Gateway {
    /// A new link, over which new exchanges go from now on. An earlier one is used until its
    /// exchanges are done or its peer closes it.
    pub(crate) fn attach(&self, socket: UnixStream) {
        let ready = Arc::new(Notify::new());
        let id = {
            let mut state = self.0.lock();
            state.last_link = LinkId(state.last_link.0.wrapping_add(1));
            let id = state.last_link;
            state
                .links
                .iter_mut()
                .for_each(|link| link.push(StreamId(0), &Frame::Moved));
            state.links.push(Outgoing {
                id,
                buffer: BytesMut::with_capacity(16 << 10),
                ready: Arc::clone(&ready),
            });
            id
        };
        tokio::spawn(link::serve(Arc::clone(&self.0), id, socket, ready));
        self.0.room.notify_waiters();
    }

    /// Passes a request on.
    ///
    /// # Errors
    /// [`Refused`]: it was not passed on, and the gateway worker knows nothing of it.
    pub(crate) async fn open(
        &self,
        request: Request,
        options: ExchangeOptions,
    ) -> Result<Exchange, Refused> {
        let frame = Frame::Open(request);
        let began = Instant::now();
        match self.0.try_open(&frame, began, options) {
            Opened::Yes(stream) => Ok(Exchange {
                shared: Arc::clone(&self.0),
                stream,
                over: false,
            }),
            Opened::Full => Err(Refused::Full),
            Opened::NotNow if options.patient => self.wait(&frame, began, options).await,
            Opened::NotNow => Err(Refused::Away),
        }
    }

    async fn wait(
        &self,
        frame: &Frame,
        began: Instant,
        options: ExchangeOptions,
    ) -> Result<Exchange, Refused> {
        let _permit = WaitingPermit::take(&self.0.waiting).ok_or(Refused::Full)?;
        let deadline = tokio::time::Instant::from_std(began + MAX_WAIT);
        loop {
            let mut changed = std::pin::pin!(self.0.room.notified());
            changed.as_mut().enable();
            match self.0.try_open(frame, began, options) {
                Opened::Yes(stream) => {
                    return Ok(Exchange {
                        shared: Arc::clone(&self.0),
                        stream,
                        over: false,
                    });
                }
                Opened::Full => return Err(Refused::Full),
                Opened::NotNow => tokio::time::timeout_at(deadline, changed)
                    .await
                    .map_err(|_| Refused::Away)?,
            }
        }
    }

    /// So many bytes of replies may wait for clients who take nothing.
    pub(crate) fn set_room(&self, bytes: usize) {
        self.0.room_for_replies.store(bytes, Ordering::Relaxed);
    }

    /// Exchanges in flight.
    pub(crate) fn in_flight(&self) -> usize {
        self.0.lock().table.len()
    }

    /// Applies time-outs and finds silent streams; to be called regularly, its period is their
    /// precision.
    pub(crate) fn sweep(&self, now: Instant) {
        let mut state = self.0.lock();
        let late = state.table.sweep(now);
        state.gone(&late);
    }

    /// Ends the streams that would never end by themselves, so that a drain can.
    pub(crate) fn end_endless(&self) {
        let mut state = self.0.lock();
        let ended = state.table.end_endless();
        state.gone(&ended);
    }

    /// Ends the streams whose clients would not be let in any more.
    pub(crate) fn end_denied(&self, still: impl Fn(&Guest) -> bool) {
        let mut state = self.0.lock();
        let ended = state.table.end_denied(still);
        state.gone(&ended);
    }

    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.0.waiting.load(Ordering::Relaxed)
    }
}

enum Opened {
    Yes(StreamId),
    /// No link, or no room on it: later perhaps.
    NotNow,
    Full,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_open(&self, frame: &Frame, now: Instant, options: ExchangeOptions) -> Opened {
        let State { table, links, .. } = &mut *self.lock();
        if table.len() >= MAX_EXCHANGES {
            return Opened::Full;
        }
        let Some(link) = links
            .last_mut()
            .filter(|link| link.buffer.len() < HIGH_WATER)
        else {
            return Opened::NotNow;
        };
        let stream = table.open(
            link.id,
            now,
            options.answer_within.map(|limit| now + limit),
            options.endless,
        );
        link.push(stream, frame);
        Opened::Yes(stream)
    }

    fn deliver(&self, link: LinkId, replies: &mut Vec<(u32, Reply)>) -> Result<(), Violation> {
        let mut state = self.lock();
        replies
            .drain(..)
            .try_for_each(|(stream, reply)| state.table.deliver(link, StreamId(stream), reply))?;
        let most = self.room_for_replies.load(Ordering::Relaxed);
        if most > 0 {
            let ended = state.table.shed(most);
            budget::shed(ended.len());
            state.gone(&ended);
        }
        Ok(())
    }

    /// Exchanges the link's queue for an empty buffer.
    fn swap(&self, link: LinkId, batch: &mut BytesMut) {
        let mut state = self.lock();
        let Some(link) = state.link(link) else { return };
        mem::swap(&mut link.buffer, batch);
        if batch.len() >= HIGH_WATER {
            self.room.notify_waiters();
        }
    }

    fn lost(&self, link: LinkId) {
        let mut state = self.lock();
        state.links.retain(|other| other.id != link);
        state.table.lose(link);
    }

    fn poll(&self, stream: StreamId, cx: &Context<'_>) -> Poll<Result<Input, Broken>> {
        let mut state = self.lock();
        let link = state.table.link(stream);
        let (polled, tell) = state.table.poll(stream, Instant::now(), cx);
        if let (Tell::Credit(events), Some(link)) = (tell, link.and_then(|id| state.link(id))) {
            link.push(stream, &Frame::Credit(events));
        }
        polled
    }

    fn give_up(&self, stream: StreamId) {
        let mut state = self.lock();
        if let Some((link, Tell::Gone)) = state.table.give_up(stream) {
            state.gone(&[(link, stream)]);
        }
    }
}

impl State {
    fn link(&mut self, id: LinkId) -> Option<&mut Outgoing> {
        self.links.iter_mut().rev().find(|link| link.id == id)
    }

    fn gone(&mut self, streams: &[(LinkId, StreamId)]) {
        for (link, stream) in streams {
            if let Some(link) = self.link(*link) {
                link.push(*stream, &Frame::Gone);
            }
        }
    }
}

/// A place among those who wait.
struct WaitingPermit<'a>(&'a AtomicUsize);

impl<'a> WaitingPermit<'a> {
    fn take(waiting: &'a AtomicUsize) -> Option<Self> {
        let permit = Self(waiting);
        (waiting.fetch_add(1, Ordering::Relaxed) < MAX_WAITING).then_some(permit)
    }
}

impl Drop for WaitingPermit<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A request that was passed on. Dropping it before its end tells the gateway worker that the
/// client is gone.
#[derive(Debug)]
pub(crate) struct Exchange {
    shared: Arc<Shared>,
    stream: StreamId,
    over: bool,
}

impl Exchange {
    /// The next input.
    pub(crate) fn poll_next(&mut self, cx: &Context<'_>) -> Poll<Result<Input, Broken>> {
        let polled = self.shared.poll(self.stream, cx);
        if matches!(
            &polled,
            Poll::Ready(Err(_) | Ok(Input::Reply(Reply::Full { .. } | Reply::End)))
        ) {
            self.over = true;
        }
        polled
    }

    /// It is a stream now, which ends when its client would not be let in any more.
    pub(crate) fn watch(&self, guest: Guest) {
        self.shared.lock().table.watch(self.stream, guest);
    }

    /// The next input.
    pub(crate) async fn next(&mut self) -> Result<Input, Broken> {
        poll_fn(|cx| self.poll_next(cx)).await
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.over {
            self.shared.give_up(self.stream);
        }
    }
}
