//! The streams that the peer has asked us to stop sending on. The QUIC library tells a stream's
//! owner only when it sends; an event stream may be silent for hours while its client is gone.

use std::{
    collections::HashMap,
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
};

/// Of one connection; shared with the subscriber of its events.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stops(Arc<Mutex<HashMap<u64, Watch>>>);

#[derive(Debug, Default)]
struct Watch {
    stopped: bool,
    waker: Option<Waker>,
}

impl Stops {
    /// STOP_SENDING (RFC 9000 §19.5) has come for a stream. One that nobody watches is not
    /// remembered.
    pub(crate) fn stopped(&self, stream: u64) {
        if let Some(watch) = self.lock().get_mut(&stream) {
            watch.stopped = true;
            if let Some(waker) = watch.waker.take() {
                waker.wake();
            }
        }
    }

    /// Watches a stream until the guard is dropped.
    pub(crate) fn watch(&self, stream: u64) -> Watching {
        self.lock().insert(stream, Watch::default());
        Watching {
            stops: self.clone(),
            stream,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Watch>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One stream under watch.
#[derive(Debug)]
pub(crate) struct Watching {
    stops: Stops,
    stream: u64,
}

impl Watching {
    /// Waits until the peer wants no more of the stream. Cancel-safe.
    pub(crate) async fn stopped(&self) {
        poll_fn(|cx| {
            let mut watched = self.stops.lock();
            let watch = watched.entry(self.stream).or_default();
            if watch.stopped {
                return Poll::Ready(());
            }
            watch.waker = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.stops.lock().remove(&self.stream);
    }
}
