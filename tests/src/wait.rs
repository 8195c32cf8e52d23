//! Waiting for a condition, with a deadline.

use std::{
    ops::Deref,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

/// How long anything may take before a test calls it a failure. Generous: the machine may be busy
/// with other tests.
pub const DEADLINE: Duration = Duration::from_secs(40);

/// Between two looks at something that does not announce itself.
const CHECK_EVERY: Duration = Duration::from_millis(4);

/// Waits until `check` gives something, at most [`DEADLINE`].
///
/// # Panics
/// When it does not in time.
#[track_caller]
pub fn until<T>(what: &str, check: impl FnMut() -> Option<T>) -> T {
    within(DEADLINE, check).unwrap_or_else(|| panic!("{what}: not within {DEADLINE:?}"))
}

/// Waits until `check` gives something; `None` when `time` has passed.
pub fn within<T>(time: Duration, mut check: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + time;
    loop {
        if let Some(found) = check() {
            return Some(found);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::park_timeout(CHECK_EVERY);
    }
}

/// Sets a flag when it is dropped, so that threads which run until then also end when a test fails.
#[derive(Debug)]
pub struct SetOnDrop<F: Deref<Target = AtomicBool>>(pub F);

impl<F: Deref<Target = AtomicBool>> Drop for SetOnDrop<F> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
