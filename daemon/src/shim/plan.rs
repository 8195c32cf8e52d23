//! What the shim does next: a pure state machine. Time is an argument.

use crate::platform::Ended;
use std::time::{Duration, Instant};

/// Between SIGTERM and SIGKILL when the supervisor is gone.
const ORPHAN_GRACE: Duration = Duration::from_secs(2);
/// Between two rounds of killing, while descendants may still be forking.
const ROUND: Duration = Duration::from_millis(10);
/// After so long of killing, what is left cannot be killed (it hangs in the kernel) and is left to
/// the supervisor.
const HOPELESS: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ShutdownState {
    /// The server runs, or has just been started.
    Serving,
    /// Told to end; whoever listens may finish until then.
    Asking { until: Instant },
    /// Everything that is left is being killed.
    Killing { since: Instant },
    /// No descendant is left.
    Empty,
}

/// The next thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing; wait for the next event.
    Wait,
    /// SIGTERM to whoever has not had it yet.
    Ask,
    /// SIGKILL to all.
    Kill,
    /// Nothing is left to do.
    Done,
}

/// An event from the waiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reaped {
    /// One descendant ended and was reaped.
    One(u32, Ended),
    /// There are no more.
    All,
}

/// The state.
pub(super) struct Plan {
    pid: u32,
    state: ShutdownState,
    ended: Option<Ended>,
    swept: u32,
    orphaned: bool,
}

impl Plan {
    pub(super) const fn new(pid: u32) -> Self {
        Self {
            pid,
            state: ShutdownState::Serving,
            ended: None,
            swept: 0,
            orphaned: false,
        }
    }

    /// A descendant ended. The server's own end, unasked, means that its leftovers go at once.
    pub(super) fn reaped(&mut self, event: Reaped, now: Instant) {
        match event {
            Reaped::All => self.state = ShutdownState::Empty,
            Reaped::One(pid, ended) if pid == self.pid => {
                self.ended = Some(ended);
                if self.state == ShutdownState::Serving {
                    self.state = ShutdownState::Killing { since: now };
                }
            }
            Reaped::One(..) if matches!(self.state, ShutdownState::Killing { .. }) => {
                self.swept += 1
            }
            Reaped::One(..) => {}
        }
    }

    /// The supervisor wants the server to end. A second request may only shorten the grace.
    pub(super) fn stop(&mut self, grace_ms: u64, now: Instant) {
        let until = now + Duration::from_millis(grace_ms);
        match self.state {
            ShutdownState::Serving => self.state = ShutdownState::Asking { until },
            ShutdownState::Asking { until: earlier } => {
                self.state = ShutdownState::Asking {
                    until: until.min(earlier),
                }
            }
            ShutdownState::Killing { .. } | ShutdownState::Empty => {}
        }
    }

    /// The supervisor is gone.
    pub(super) fn orphaned(&mut self, now: Instant) {
        self.orphaned = true;
        self.stop(
            u64::try_from(ORPHAN_GRACE.as_millis()).unwrap_or(u64::MAX),
            now,
        );
    }

    /// What to do now.
    pub(super) fn step(&mut self, now: Instant) -> Step {
        if let ShutdownState::Asking { until } = self.state
            && now >= until
        {
            self.state = ShutdownState::Killing { since: now };
        }
        match self.state {
            ShutdownState::Serving => Step::Wait,
            ShutdownState::Asking { .. } => Step::Ask,
            ShutdownState::Killing { since }
                if now.saturating_duration_since(since) >= HOPELESS =>
            {
                Step::Done
            }
            ShutdownState::Killing { .. } => Step::Kill,
            ShutdownState::Empty => Step::Done,
        }
    }

    /// How long to wait for the next event; `None` is for ever.
    pub(super) fn timeout(&self, now: Instant) -> Option<Duration> {
        match self.state {
            ShutdownState::Serving => None,
            // Rounded up, so that a wait of less than a millisecond does not become none.
            ShutdownState::Asking { until } => {
                Some(until.saturating_duration_since(now) + Duration::from_millis(1))
            }
            ShutdownState::Killing { .. } | ShutdownState::Empty => Some(ROUND),
        }
    }

    /// Whether the channel is worth listening to.
    pub(super) const fn listens(&self) -> bool {
        !self.orphaned
    }

    /// How the server itself ended.
    pub(super) const fn ended(&self) -> Option<Ended> {
        self.ended
    }

    /// Descendants that had to be killed.
    pub(super) const fn swept(&self) -> u32 {
        self.swept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_dies_by_itself_has_its_leftovers_killed_at_once() {
        let now = Instant::now();
        let mut plan = Plan::new(7);
        assert_eq!(plan.step(now), Step::Wait);
        plan.reaped(Reaped::One(7, Ended::Exited(3)), now);
        assert_eq!(plan.step(now), Step::Kill);
        plan.reaped(Reaped::One(8, Ended::Killed(9)), now);
        plan.reaped(Reaped::All, now);
        assert_eq!(
            (plan.step(now), plan.ended(), plan.swept()),
            (Step::Done, Some(Ended::Exited(3)), 1)
        );
    }

    #[test]
    fn on_request_descendants_have_the_whole_grace_even_if_the_server_is_quick() {
        let now = Instant::now();
        let mut plan = Plan::new(7);
        plan.stop(1000, now);
        plan.reaped(Reaped::One(7, Ended::Killed(15)), now);
        assert_eq!(plan.step(now + Duration::from_millis(999)), Step::Ask);
        plan.orphaned(now);
        assert!(!plan.listens());
        assert_eq!(plan.step(now + Duration::from_millis(1000)), Step::Kill);
        assert_eq!(
            plan.step(now + Duration::from_millis(1000) + HOPELESS),
            Step::Done
        );
    }
}
