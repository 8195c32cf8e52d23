//! Where the daemon stands in its life: its clock, whether it serves, and how far its stop has come.

use super::stop::Stop;
use ggen_wire::status::Phase;
use std::time::{Duration, Instant};

/// The daemon's life.
pub(super) struct Lifecycle {
    /// When it began; an upgrade is no new beginning.
    began: Instant,
    /// The same, in milliseconds since 1970.
    pub(super) started_ms: u64,
    /// Every worker has served once, and that has been said.
    pub(super) announced: bool,
    pub(super) stop: Stop,
}

impl Lifecycle {
    /// A life that has begun.
    pub(super) fn new(began: Instant, started_ms: u64, announced: bool) -> Self {
        Self {
            began,
            started_ms,
            announced,
            stop: Stop::default(),
        }
    }

    /// Time since the daemon's start.
    pub(super) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Whether the daemon is on its way out.
    pub(super) fn is_stopping(&self) -> bool {
        self.stop.is_stopping()
    }

    /// The phase, as it is shown. `unwell`: there are issues.
    pub(super) fn phase(&self, unwell: bool) -> Phase {
        if self.is_stopping() {
            Phase::Draining
        } else if !self.announced {
            Phase::Starting
        } else if unwell {
            Phase::Degraded
        } else {
            Phase::Running
        }
    }
}
