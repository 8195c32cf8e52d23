//! The signals that the supervisor listens to.

use nix::sys::signal::Signal;
use std::io;
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// SIGTERM, SIGINT: drain and exit; a second time: at once.
    Stop,
    /// SIGHUP: read the configuration again.
    Reload,
    /// SIGUSR1: write the status to the log.
    Dump,
    /// SIGCHLD: a child has ended.
    Reap,
}

impl Asked {
    /// Asks this very thread once more, by the signal.
    pub(crate) fn raise(self) {
        let signal = match self {
            Self::Stop => Signal::SIGTERM,
            Self::Reload => Signal::SIGHUP,
            Self::Dump => Signal::SIGUSR1,
            Self::Reap => Signal::SIGCHLD,
        };
        nix::sys::signal::raise(signal).unwrap_or_default();
    }
}

/// The streams of signals.
pub(crate) struct Signals {
    terminate: Stream,
    interrupt: Stream,
    hangup: Stream,
    user: Stream,
    child: Stream,
}

impl Signals {
    /// Installs the handlers.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn install() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            user: signal(SignalKind::user_defined1())?,
            child: signal(SignalKind::child())?,
        })
    }

    /// The next signal. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.child.recv() => Asked::Reap,
            _ = self.terminate.recv() => Asked::Stop,
            _ = self.interrupt.recv() => Asked::Stop,
            _ = self.hangup.recv() => Asked::Reload,
            _ = self.user.recv() => Asked::Dump,
        }
    }
}
