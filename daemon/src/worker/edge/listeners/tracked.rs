//! Requests at work: which of them a connection has, and whether its client takes their answers.

use super::{
    accept::{Handler, Server},
    state::Connection,
};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
    task::{Context, Poll, Wake, Waker},
};

/// Notes a request that is dropped before its answer has begun.
pub(super) struct Unanswered<'a, H: Handler> {
    pub(super) active: &'a Active<H>,
    pub(super) answered: bool,
}

impl<H: Handler> Drop for Unanswered<'_, H> {
    fn drop(&mut self) {
        if !self.answered {
            self.active.state.give_up(self.active.server.now_ms());
        }
    }
}

/// A request between its head and the end of its answer.
pub(super) struct Active<H: Handler> {
    server: Arc<Server<H>>,
    state: Arc<Connection>,
}

impl<H: Handler> Active<H> {
    pub(super) fn new(server: &Arc<Server<H>>, state: &Arc<Connection>) -> Self {
        state.head.store(0, Relaxed);
        state.active.fetch_add(1, Relaxed);
        Self {
            server: Arc::clone(server),
            state: Arc::clone(state),
        }
    }
}

impl<H: Handler> Drop for Active<H> {
    fn drop(&mut self) {
        if self.state.active.fetch_sub(1, Relaxed) == 1 {
            self.state.idle.store(self.server.now_ms(), Relaxed);
        }
    }
}

/// A body that keeps its request active until it is dropped, and notes over HTTP/2 whether the
/// client takes it.
pub(crate) struct Tracked<B, H: Handler> {
    body: B,
    active: Active<H>,
    /// Its place in [`Owed`].
    place: Option<usize>,
    /// Who is woken when a body that had nothing has something.
    note: Option<Arc<Note<H>>>,
}

impl<B: Body<Data = Bytes>, H: Handler> Tracked<B, H> {
    pub(super) fn new(body: B, active: Active<H>, watched: bool) -> Self {
        let place = (watched && !body.is_end_stream()).then(|| {
            let mut owed = active.state.owed();
            let place = owed.take();
            owed.set(place, active.server.now_ms());
            place
        });
        Self {
            body,
            active,
            place,
            note: None,
        }
    }

    /// A waker that notes when it is used.
    fn noting(&mut self, place: usize, cx: &Context<'_>) -> Waker {
        let note = self.note.get_or_insert_with(|| {
            Arc::new(Note {
                server: Arc::clone(&self.active.server),
                state: Arc::clone(&self.active.state),
                place: Mutex::new(Some(place)),
                task: Mutex::new(cx.waker().clone()),
            })
        });
        let mut task = note.task.lock().unwrap_or_else(PoisonError::into_inner);
        task.clone_from(cx.waker());
        drop(task);
        Waker::from(Arc::clone(note))
    }
}

impl<B, H: Handler> Drop for Tracked<B, H> {
    fn drop(&mut self) {
        if let Some(note) = &self.note {
            *note.place() = None;
        }
        if let Some(place) = self.place {
            self.active.state.owed().give_back(place);
        }
    }
}

/// Wakes hyper for a body, and notes that its next bytes are there from then on.
struct Note<H: Handler> {
    server: Arc<Server<H>>,
    state: Arc<Connection>,
    /// `None`: the body is gone.
    place: Mutex<Option<usize>>,
    task: Mutex<Waker>,
}

impl<H: Handler> Note<H> {
    fn place(&self) -> MutexGuard<'_, Option<usize>> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<H: Handler> Wake for Note<H> {
    fn wake(self: Arc<Self>) {
        if let Some(place) = *self.place() {
            self.state.owed().set(place, self.server.now_ms());
        }
        self.task
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .wake_by_ref();
    }
}

impl<B: Body<Data = Bytes> + Unpin, H: Handler> Body for Tracked<B, H> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = &mut *self;
        let Some(place) = this.place else {
            return Pin::new(&mut this.body).poll_frame(cx);
        };
        // Most have something at once; only one that waits needs the other waker.
        let polled = if this.note.is_none() && this.body.size_hint().exact().is_some() {
            Pin::new(&mut this.body).poll_frame(cx)
        } else {
            let waker = this.noting(place, cx);
            Pin::new(&mut this.body).poll_frame(&mut Context::from_waker(&waker))
        };
        let since = match &polled {
            Poll::Ready(Some(_)) => this.active.server.now_ms(),
            Poll::Ready(None) | Poll::Pending => 0,
        };
        this.active.state.owed().set(place, since);
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
