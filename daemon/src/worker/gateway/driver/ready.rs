//! The list of the driver's sources that are ready. Each source is polled with a waker of its own;
//! a wake-up puts its token on the list and wakes the one task that owns the relay. So a turn costs
//! one `epoll_wait` however many sources are ready, and sources that are not ready are not polled.
//! May not: know what the sources are for.

use std::{
    sync::{Arc, Mutex, PoisonError},
    task::{Wake, Waker},
};

/// A source of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// Messages of the supervisor.
    Inbox,
    /// What tasks of ours report: remote exchanges, answers of the supervisor.
    Events,
    /// The clock.
    Timer,
    /// The drain signal.
    Drain,
    /// The edge of that number.
    Link(u32),
    /// A child of the stdio server of that place in the settings, by its lease.
    Child(u32, u32),
}

#[derive(Default)]
struct List {
    tokens: Vec<Token>,
    waker: Option<Waker>,
}

/// The list of sources that can go on. A token may stand on it twice; polling a source that has
/// nothing is cheap.
#[derive(Clone, Default)]
pub(crate) struct Ready(Arc<Mutex<List>>);

struct Source {
    list: Ready,
    token: Token,
}

impl Ready {
    /// The waker for a source.
    pub(crate) fn waker(&self, token: Token) -> Waker {
        Waker::from(Arc::new(Source {
            list: self.clone(),
            token,
        }))
    }

    /// Puts a source on the list by hand: it has used up its share of this turn.
    pub(crate) fn mark(&self, token: Token) {
        let waker = {
            let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            list.tokens.push(token);
            list.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Moves the list into `into` (which is empty) and says whom to wake when it is not empty any
    /// more.
    pub(crate) fn take(&self, into: &mut Vec<Token>, waker: &Waker) {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut list.tokens, into);
        if !list
            .waker
            .as_ref()
            .is_some_and(|known| known.will_wake(waker))
        {
            list.waker = Some(waker.clone());
        }
    }
}

impl Wake for Source {
    fn wake(self: Arc<Self>) {
        self.list.mark(self.token);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.list.mark(self.token);
    }
}
