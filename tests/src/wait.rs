//! Waiting for a condition, with a deadline.

use std::time::{Duration, Instant};

/// How long anything may take before a test calls it a failure. Generous: the machine may be busy
/// with other tests.
pub const DEADLINE: Duration = Duration::from_secs(40);

/// Between two looks at something that does not announce itself.
const LOOK: Duration = Duration::from_millis(4);

/// Waits until `look` gives something, at most [`DEADLINE`].
///
/// # Panics
/// When it does not in time.
#[track_caller]
pub fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(DEADLINE, look).unwrap_or_else(|| panic!("{what}: not within {DEADLINE:?}"))
}

/// Waits until `look` gives something; `None` when `time` has passed.
pub fn within<T>(time: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + time;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::park_timeout(LOOK);
    }
}
