//! The service manager's view of the daemon: readiness and the line of status that `systemctl
//! status` shows, reloads, the drain, the watchdog, and the listening sockets that the manager
//! keeps for the next start. How it is said is `sd_notify.rs`. The room knows nothing of other
//! rooms.

mod kept_sockets;
mod sd_notify;
pub(crate) mod status_line;

pub(crate) use kept_sockets::OwnSocket;
use kept_sockets::{Change, KeptSockets};
use sd_notify::SdNotify;
use std::time::Duration;

/// The service manager.
#[derive(Debug, Default)]
pub(crate) struct ServiceManager {
    notify: SdNotify,
    kept: KeptSockets,
}

impl ServiceManager {
    /// The one that the environment names, if any.
    pub(crate) fn from_environment() -> Self {
        Self {
            notify: SdNotify::from_environment(),
            kept: KeptSockets::default(),
        }
    }

    /// The same for a binary that takes over: the manager knows that it is ready, and that
    /// something is being reloaded. `kept`: the sockets that the manager keeps.
    pub(crate) fn resumed(kept: impl Iterator<Item = OwnSocket>) -> Self {
        Self {
            notify: SdNotify::resumed(),
            kept: KeptSockets::of(kept),
        }
    }

    /// Has the manager keep these sockets and no others. `inherited`: names of sockets that came
    /// with this start and may not be wanted any more.
    pub(crate) fn keep_sockets(&mut self, own: Vec<OwnSocket>, inherited: &[String]) {
        if !self.notify.is_managed() {
            return;
        }
        for change in self.kept.update(own, inherited) {
            match change {
                Change::Forget(name) => self.notify.forget(&name),
                Change::Keep(name, socket) => self.notify.keep(&name, socket),
            }
        }
    }

    /// Names of the sockets that the manager keeps.
    pub(crate) fn kept_names(&self) -> Vec<String> {
        self.kept.names()
    }

    /// The daemon is ready, with this line of status. Said once.
    pub(crate) fn ready(&mut self, status: &str, now: Duration) {
        self.notify.ready(status, now);
    }

    /// Whether the line of status may be said again: at most once a second.
    pub(crate) fn may_tell(&self, now: Duration) -> bool {
        self.notify.may_tell(now)
    }

    /// Says the line of status if it has changed.
    pub(crate) fn tell_status(&mut self, status: &str, now: Duration) {
        self.notify.status(status, now);
    }

    /// A reload begins.
    pub(crate) fn reloading(&mut self, now: Duration) {
        self.notify.reloading(now);
    }

    /// A reload is over, whatever came of it.
    pub(crate) fn reloaded(&mut self, status: &str, now: Duration) {
        self.notify.reloaded(status, now);
    }

    /// The daemon stops.
    pub(crate) fn stopping(&mut self, now: Duration) {
        self.notify.stopping(now);
    }

    /// How far the drain has come.
    pub(crate) fn draining(&mut self, progress: &str, now: Duration) {
        self.notify.draining(progress, now);
    }

    /// Feeds the watchdog if that is due. Called from the loop alone, so that it stops when the
    /// loop does.
    pub(crate) fn on_time(&mut self, now: Duration) {
        self.notify.feed(now);
    }

    /// When the loop has to turn for the manager's sake.
    pub(crate) fn deadline(&self, now: Duration) -> Option<Duration> {
        self.notify.deadline(now)
    }

    /// Says what waits, as far as the manager takes it.
    pub(crate) fn finish(&mut self) {
        self.notify.finish();
    }
}
