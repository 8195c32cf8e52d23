//! What is noted of a connection for the sweep over all of them. Pure but for its atomics.

use crate::worker::edge::peer::PeerCertificate;
use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    task::Waker,
};

/// How long an idle connection may take to finish, in milliseconds.
const OVERDUE: u64 = 5_000;
/// Requests that a client may give up within a second before they are answered.
const GIVEN_UP: u32 = 100;

/// What a connection is doing, as the sweep sees it; times are milliseconds since the server began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activity {
    /// A head is on its way since then.
    Head(u64),
    /// Requests are being answered.
    Busy,
    /// The client has taken nothing since then.
    Stalled(u64),
    /// Nothing is going on since then.
    Idle(u64),
}

/// Notes on a connection. Its own task writes, the sweep reads; both on one thread, the atomics
/// only satisfy the compiler.
#[derive(Debug)]
pub(crate) struct Connection {
    /// When the head that is not complete yet began; 0: none.
    pub(super) head: AtomicU64,
    /// Since when the client takes nothing; 0: it does.
    pub(super) stalled: AtomicU64,
    pub(super) idle: AtomicU64,
    pub(super) active: AtomicU32,
    pub(super) http2: AtomicBool,
    pub(super) finish: AtomicBool,
    /// When the sweep first found it idle after it was asked to finish; 0: not yet.
    overdue: AtomicU64,
    pub(super) task: Mutex<Option<Waker>>,
    /// Requests that the client gave up before their answers: how many since when.
    given_up: (AtomicU64, AtomicU32),
    /// Answers over HTTP/2 whose next bytes hyper has not asked for.
    owed: Mutex<Owed>,
    /// What the client has proved to be, for the time when it is judged again.
    pub(super) certificate: OnceLock<Arc<PeerCertificate>>,
}

/// Since when each answer of a connection has bytes that the client opens no window for; 0: it has
/// none. hyper asks a body for more only when there is room, and the socket says nothing of it.
#[derive(Debug, Default)]
pub(super) struct Owed {
    since: Vec<u64>,
    free: Vec<usize>,
}

impl Owed {
    pub(super) fn take(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.since.push(0);
            self.since.len() - 1
        })
    }

    pub(super) fn set(&mut self, at: usize, since: u64) {
        if let Some(slot) = self.since.get_mut(at) {
            *slot = since;
        }
    }

    pub(super) fn give_back(&mut self, at: usize) {
        self.set(at, 0);
        self.free.push(at);
    }

    fn oldest(&self) -> Option<u64> {
        self.since.iter().copied().filter(|since| *since > 0).min()
    }
}

impl Connection {
    /// A connection that has just been accepted: its first head is awaited.
    pub(crate) fn new(now: u64) -> Self {
        Self {
            head: AtomicU64::new(now),
            stalled: AtomicU64::new(0),
            idle: AtomicU64::new(now),
            active: AtomicU32::new(0),
            http2: AtomicBool::new(false),
            finish: AtomicBool::new(false),
            overdue: AtomicU64::new(0),
            task: Mutex::new(None),
            given_up: (AtomicU64::new(0), AtomicU32::new(0)),
            owed: Mutex::default(),
            certificate: OnceLock::new(),
        }
    }

    pub(super) fn owed(&self) -> MutexGuard<'_, Owed> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn activity(&self) -> Activity {
        let blocked = self.stalled.load(Relaxed);
        let owed = self.owed().oldest().filter(|_| self.http2.load(Relaxed));
        let stalled = match owed {
            Some(since) if blocked == 0 || since < blocked => since,
            _ => blocked,
        };
        match (self.head.load(Relaxed), stalled, self.active.load(Relaxed)) {
            (0, 0, 0) => Activity::Idle(self.idle.load(Relaxed)),
            (0, 0, _) => Activity::Busy,
            (0, since, _) => Activity::Stalled(since),
            (since, _, _) => Activity::Head(since),
        }
    }

    /// Whether its client may be sending the next request at this moment, unable to know that it
    /// would be the first one too many: HTTP/1.1 has no GOAWAY. `recently` and `now` are
    /// milliseconds.
    pub(crate) fn may_be_asked(&self, now: u64, recently: u64) -> bool {
        !self.http2.load(Relaxed)
            && matches!(self.activity(), Activity::Idle(since) if now.saturating_sub(since) < recently)
    }

    /// The client does not want an answer that has not begun.
    pub(super) fn give_up(&self, now: u64) {
        let (since, count) = &self.given_up;
        if now.saturating_sub(since.load(Relaxed)) >= 1_000 {
            since.store(now, Relaxed);
            count.store(0, Relaxed);
        }
        count.fetch_add(1, Relaxed);
    }

    /// Whether its client makes requests only to reset them (CVE-2023-44487): it is to be cut.
    pub(crate) fn is_abused(&self) -> bool {
        self.given_up.1.load(Relaxed) > GIVEN_UP
    }

    /// Whether [`Self::finish`] was called.
    pub(crate) fn is_finishing(&self) -> bool {
        self.finish.load(Relaxed)
    }

    /// Whether it is idle, was asked to finish, and is still there: hyper may hold the end of an
    /// answer over HTTP/2 that the client opens no window for, which is no request any more.
    pub(super) fn is_overdue(&self, now: u64) -> bool {
        if !self.is_finishing() || !matches!(self.activity(), Activity::Idle(_)) {
            return false;
        }
        let since = self.overdue.load(Relaxed);
        if since == 0 {
            self.overdue.store(now, Relaxed);
        }
        since > 0 && now.saturating_sub(since) >= OVERDUE
    }

    /// No further requests on this connection: it closes when those that have begun are answered.
    pub(crate) fn finish(&self) {
        self.finish.store(true, Relaxed);
        if let Some(task) = &*self.task.lock().unwrap_or_else(PoisonError::into_inner) {
            task.wake_by_ref();
        }
    }
}
