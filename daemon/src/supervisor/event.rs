//! What reaches the supervisor's loop from the tasks around it, through one bounded queue.

use crate::{
    ipc::{channel::Receiver, launch::FromShim, messages::ToSupervisor},
    supervisor::{reply::Incoming, secrets::Tls, sessions::Outcome},
};
use serde::{Deserialize, Serialize};
use std::{fmt, os::fd::OwnedFd};
use tokio::sync::mpsc;

/// Defines the number of something that the supervisor has many of.
macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        pub(crate) struct $name(pub(crate) u64);

        impl $name {
            /// The next number, for the next one.
            pub(crate) const fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// Number of a worker process, unique over the daemon's life.
    ProcId
}
number! {
    /// Number of a shim, unique over the daemon's life.
    ShimId
}

/// One event.
#[derive(Debug)]
pub(crate) enum Event {
    /// A worker has sent a message.
    Worker(ProcId, ToSupervisor),
    /// A worker's channel has closed; nothing more comes from it.
    WorkerClosed(ProcId),
    /// A channel is not read any more, until it is resumed.
    Paused(Owner, Box<PausedChannel>),
    /// A shim has sent a message.
    Shim(ShimId, FromShim),
    /// A shim's channel has closed and its server's stderr has been read; the text is the last line
    /// of stderr.
    ShimClosed(ShimId, String),
    /// The key store has changed.
    Keys(Box<crate::auth::Snapshot>),
    /// Something about the file that keeps sessions.
    Store(Outcome),
    /// The files of certificates have changed, and this is in them.
    Tls(Box<Result<Tls, crate::tls::Unusable>>),
    /// What the binary that is checked has written to standard output and standard error.
    Checked(u32, String, String),
    /// A call at the control socket.
    Call(Incoming),
}

/// For the thread of the session store: passes on what it reports. `false`: the loop has ended.
pub(crate) fn stored(events: &mpsc::Sender<Event>) -> impl Fn(Outcome) -> bool + Send + 'static {
    let events = events.clone();
    move |outcome| events.blocking_send(Event::Store(outcome)).is_ok()
}

/// For the thread that watches the key store.
pub(crate) fn keys_read(
    events: &mpsc::Sender<Event>,
) -> impl Fn(crate::auth::Snapshot) -> bool + Send + 'static {
    let events = events.clone();
    move |snapshot| {
        events
            .blocking_send(Event::Keys(Box::new(snapshot)))
            .is_ok()
    }
}

/// For the thread that watches the files of certificates. `None`: only asks whether the loop goes
/// on.
pub(crate) fn tls_read(
    events: &mpsc::Sender<Event>,
) -> impl Fn(Option<Result<Tls, crate::tls::Unusable>>) -> bool + Send + 'static {
    let events = events.clone();
    move |read| match read {
        Some(read) => events.blocking_send(Event::Tls(Box::new(read))).is_ok(),
        None => !events.is_closed(),
    }
}

/// The child at the other end of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Owner {
    /// A worker.
    Worker(ProcId),
    /// A shim.
    Shim(ShimId),
}

/// A channel that is not read any more, with what has been read so far.
pub(crate) struct PausedChannel {
    pub(crate) receiver: Receiver,
    /// A shim's: its server's stderr, if that is still open.
    pub(crate) stderr: Option<PausedStderr>,
    /// The line of it that says most about why the server ended; the last one if none does.
    pub(crate) last_line: String,
}

impl std::fmt::Debug for PausedChannel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PausedChannel")
            .field("last_line", &self.last_line)
            .finish_non_exhaustive()
    }
}

/// A pipe that is not at its end, and the line that has begun.
#[derive(Debug)]
pub(crate) struct PausedStderr {
    pub(crate) pipe: OwnedFd,
    pub(crate) line: Vec<u8>,
}
