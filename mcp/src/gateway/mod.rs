//! The relay itself: one state machine behind [`Gateway::input`].

use crate::api::{Input, Micros, Output, Settings};

/// Fills a buffer with random bytes: the operating system's in the gateway worker, a seeded generator in the simulation.
pub type Random = Box<dyn FnMut(&mut [u8])>;

/// The relay.
pub struct Gateway {
    settings: Settings,
    random: Random,
}

impl Gateway {
    /// A relay without clients. `input` must be called with [`Input::Tick`] once to make it reach for its upstreams.
    #[must_use]
    pub fn new(settings: Settings, random: Random) -> Self {
        Self { settings, random }
    }

    /// Takes an event and appends what is to be done.
    pub fn input(&mut self, now: Micros, input: Input, out: &mut Vec<Output>) {
        let _ = (now, input, out, &self.settings, &mut self.random);
    }
}
