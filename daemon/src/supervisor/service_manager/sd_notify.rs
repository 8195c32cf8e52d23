//! The conversation with the service manager (`sd_notify(3)`): readiness, status, reloads, the
//! drain, the watchdog, and listening sockets that it keeps for the next start (`FDSTORE=1`).
//! Without `NOTIFY_SOCKET` nothing is sent. Never waits: what the manager does not take at once is
//! sent later.

use crate::platform;
use std::{
    collections::VecDeque,
    ffi::OsString,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net,
    },
    sync::Arc,
    time::Duration,
};

/// How long the manager is to wait for our next word while we drain; it is told anew every second.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two words about the drain, and between two lines of status.
const PACE: Duration = Duration::from_secs(1);
/// When words that the manager did not take are tried again.
const AGAIN: Duration = Duration::from_millis(100);
/// Words that may wait.
const WAITING: usize = 64;

type Word = (String, Option<Arc<OwnedFd>>);

/// The service manager's view of us.
#[derive(Debug, Default)]
pub(super) struct SdNotify {
    socket: Option<OsString>,
    ready: bool,
    reloading: bool,
    stopping: bool,
    told: String,
    told_at: Duration,
    period: Option<Duration>,
    fed_at: Duration,
    waiting: VecDeque<Word>,
}

impl SdNotify {
    /// Reads `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`.
    pub(super) fn from_environment() -> Self {
        let socket = std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty());
        Self {
            socket,
            period: sd_notify::watchdog_enabled().map(|limit| limit / 2),
            ..Self::default()
        }
    }

    /// The same for a binary that takes over: the manager knows that it is ready, and that
    /// something is being reloaded.
    pub(super) fn resumed() -> Self {
        Self {
            ready: true,
            reloading: true,
            ..Self::from_environment()
        }
    }

    /// Says what waits, as far as the manager takes it.
    pub(super) fn finish(&mut self) {
        self.flush();
    }

    /// Whether anybody listens.
    pub(super) fn is_managed(&self) -> bool {
        self.socket.is_some()
    }

    /// READY=1, once, with the status.
    pub(super) fn ready(&mut self, status: &str, now: Duration) {
        if !std::mem::replace(&mut self.ready, true) {
            self.remember(status, now);
            self.say(format!("READY=1\nSTATUS={}\n", self.told));
        }
    }

    /// Whether a line of status may be said again.
    pub(super) fn may_tell(&self, now: Duration) -> bool {
        self.is_managed()
            && self.ready
            && !self.reloading
            && !self.stopping
            && now >= self.told_at + PACE
    }

    /// The line of status, if it is another one.
    pub(super) fn status(&mut self, status: &str, now: Duration) {
        if self.told != one_line(status) {
            self.remember(status, now);
            self.say(format!("STATUS={}\n", self.told));
        }
        self.told_at = now;
    }

    /// RELOADING=1 (with the time, by which the manager tells the end of this reload from that of
    /// an earlier one).
    pub(super) fn reloading(&mut self, now: Duration) {
        if self.ready && !self.stopping && !std::mem::replace(&mut self.reloading, true) {
            let time = sd_notify::NotifyState::monotonic_usec_now()
                .map(|time| format!("{time}\n"))
                .unwrap_or_default();
            self.remember("reloading", now);
            self.say(format!("RELOADING=1\n{time}STATUS=reloading\n"));
        }
    }

    /// READY=1 after a reload, whatever came of it.
    pub(super) fn reloaded(&mut self, status: &str, now: Duration) {
        if std::mem::take(&mut self.reloading) && !self.stopping {
            self.remember(status, now);
            self.say(format!("READY=1\nSTATUS={}\n", self.told));
        }
    }

    /// STOPPING=1.
    pub(super) fn stopping(&mut self, now: Duration) {
        self.stopping = true;
        self.remember("draining", now);
        self.say(format!("STOPPING=1\nSTATUS=draining\n{}", extend()));
    }

    /// How far the drain has come, and that it goes on: whatever time the unit allows, ours is the
    /// configuration's.
    pub(super) fn draining(&mut self, progress: &str, now: Duration) {
        if !self.stopping || (now < self.told_at + PACE) {
            return;
        }
        let progress = if progress.is_empty() {
            "draining"
        } else {
            progress
        };
        self.remember(progress, now);
        self.say(format!("STATUS={}\n{}", self.told, extend()));
    }

    /// Gives the manager a duplicate of a listening socket to keep until the next start, under a
    /// name.
    pub(super) fn keep(&mut self, name: &str, socket: Arc<OwnedFd>) {
        // A listening socket never hangs up; the manager need not watch it.
        self.send(
            format!("FDSTORE=1\nFDNAME={name}\nFDPOLL=0\n"),
            Some(socket),
        );
    }

    /// What was kept under that name is not wanted any more.
    pub(super) fn forget(&mut self, name: &str) {
        self.say(format!("FDSTOREREMOVE=1\nFDNAME={name}\n"));
    }

    /// WATCHDOG=1, if it is due, and what could not be said before. Called from the loop alone, so
    /// that it stops when the loop does.
    pub(super) fn feed(&mut self, now: Duration) {
        self.flush();
        if self
            .period
            .is_some_and(|period| self.fed_at + period <= now)
        {
            self.fed_at = now;
            self.say("WATCHDOG=1\n".to_owned());
        }
    }

    /// When the loop has to turn for the manager's sake.
    pub(super) fn deadline(&self, now: Duration) -> Option<Duration> {
        let watchdog = self.period.map(|period| self.fed_at + period);
        let again = (!self.waiting.is_empty()).then_some(now + AGAIN);
        let drain = self.stopping.then_some(self.told_at + PACE);
        [watchdog, again, drain].into_iter().flatten().min()
    }

    fn remember(&mut self, status: &str, now: Duration) {
        (self.told, self.told_at) = (one_line(status), now);
    }

    fn say(&mut self, text: String) {
        self.send(text, None);
    }

    fn send(&mut self, text: String, socket: Option<Arc<OwnedFd>>) {
        if self.socket.is_some() && self.waiting.len() < WAITING {
            self.waiting.push_back((text, socket));
            self.flush();
        }
    }

    fn flush(&mut self) {
        let Some(path) = &self.socket else { return };
        while let Some((text, socket)) = self.waiting.front() {
            match deliver(path, text, socket.as_deref()) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    tracing::warn!(target: "mcp_server", error = %error, "service manager cannot be notified")
                }
                Ok(()) => {}
            }
            self.waiting.pop_front();
        }
    }
}

fn extend() -> String {
    format!("EXTEND_TIMEOUT_USEC={}\n", PATIENCE.as_micros())
}

/// A status is one line; a second one would be another message.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

/// One datagram, in a socket of its own, because the manager may have been replaced meanwhile
/// (`systemctl daemon-reexec`).
fn deliver(path: &OsString, text: &str, attached: Option<&OwnedFd>) -> std::io::Result<()> {
    let socket = net::UnixDatagram::unbound()?;
    socket.connect_addr(&address(path)?)?;
    socket.set_nonblocking(true)?;
    let attached: Vec<_> = attached.iter().map(|fd| fd.as_fd()).collect();
    platform::send_with_descriptors(socket.as_fd(), text.as_bytes(), &attached).map(drop)
}

/// A path, or with `@` before it a name in the abstract namespace, which only Linux has.
#[cfg(target_os = "linux")]
fn address(path: &OsString) -> std::io::Result<net::SocketAddr> {
    use std::os::{linux::net::SocketAddrExt, unix::ffi::OsStrExt};
    match path.as_bytes().strip_prefix(b"@") {
        Some(name) => net::SocketAddr::from_abstract_name(name),
        None => net::SocketAddr::from_pathname(path),
    }
}

#[cfg(not(target_os = "linux"))]
fn address(path: &OsString) -> std::io::Result<net::SocketAddr> {
    net::SocketAddr::from_pathname(path)
}
