//! The relay itself: one state machine behind [`Gateway::input`].

use crate::api::{Input, Micros, Output, Settings};

/// Fills a buffer with random bytes: the operating system's in the gateway worker, a seeded generator in the simulation.
pub type Random = Box<dyn FnMut(&mut [u8])>;

/// What is open now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Legacy sessions.
    pub sessions: u64,
    /// Calls in flight.
    pub in_flight: u64,
    /// Tools in the view of all.
    pub tools: u32,
}

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

    /// What is open now; cheap.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts::default()
    }

    /// Takes an event and appends what is to be done.
    pub fn input(&mut self, now: Micros, input: Input, out: &mut Vec<Output>) {
        let _ = (now, input, out, &self.settings, &mut self.random);
    }
}
