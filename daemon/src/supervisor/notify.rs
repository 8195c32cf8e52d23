//! Readiness, status and watchdog towards the service manager (`sd_notify(3)`). Without `NOTIFY_SOCKET` nothing is sent.

use sd_notify::NotifyState;
use std::time::Duration;

/// The service manager's view of us.
#[derive(Debug, Default)]
pub(crate) struct Notify {
    ready: bool,
    period: Option<Duration>,
    fed_at: Duration,
}

impl Notify {
    /// Reads `WATCHDOG_USEC` and `WATCHDOG_PID`.
    pub(crate) fn from_environment() -> Self {
        Self { ready: false, period: sd_notify::watchdog_enabled().map(|limit| limit / 2), fed_at: Duration::ZERO }
    }

    /// READY=1, once; a line of status each time.
    pub(crate) fn ready(&mut self, status: &str) -> bool {
        let first = !std::mem::replace(&mut self.ready, true);
        let states = [NotifyState::Status(status), NotifyState::Ready];
        send(if first { &states } else { &states[..1] });
        first
    }

    /// STOPPING=1.
    pub(crate) fn stopping(&self) {
        send(&[NotifyState::Stopping, NotifyState::Status("draining")]);
    }

    /// RELOADING=1 (`sd_notify(3)`: with the time, by which the end of this reload is told from that of an earlier one).
    pub(crate) fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(time) if self.ready => send(&[NotifyState::Reloading, time]),
            _ => {}
        }
    }

    /// READY=1 after a reload, whatever came of it.
    pub(crate) fn reloaded(&self) {
        if self.ready {
            send(&[NotifyState::Ready]);
        }
    }

    /// WATCHDOG=1, if it is due. Called from the loop alone, so that it stops when the loop does.
    pub(crate) fn feed(&mut self, now: Duration) {
        if self.deadline().is_some_and(|due| due <= now) {
            self.fed_at = now;
            send(&[NotifyState::Watchdog]);
        }
    }

    /// When the watchdog is due.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.period.map(|period| self.fed_at + period)
    }
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(target: "mcp_server", error = %error, "service manager cannot be notified");
    }
}
