//! Where the log lines of all processes meet: the ring and the console.

use crate::log::{Console, Repeats, Ring, Sink};
use ggen_wire::log::LogLine;
use std::sync::{Mutex, PoisonError};

/// Where the log lines of all processes meet: the ring and the console.
pub(crate) struct Hub {
    pub(crate) ring: Ring,
    pub(crate) repeats: Mutex<Repeats>,
    pub(crate) console: Console,
}

impl Sink for Hub {
    fn take(&self, line: LogLine) {
        let (before, passes) = self
            .repeats
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .judge(&line);
        before
            .into_iter()
            .chain(passes.then_some(line))
            .for_each(|line| self.pass(line));
    }
}

impl Hub {
    fn pass(&self, line: LogLine) {
        self.console.print(self.ring.push(line));
    }

    /// Says what was held back of lines that have stopped coming.
    pub(crate) fn tell_repeats(&self) {
        let held = self
            .repeats
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .expire(crate::log::now_us());
        held.into_iter().for_each(|line| self.pass(line));
    }
}
