//! What servers ask of clients during a call, in both eras. A legacy client is asked on the stream
//! of its call; a modern one gets the questions as the call's result and comes back with answers.

pub(crate) mod input_required_loop;
pub(crate) mod open_questions;
pub(crate) mod pending_input;
pub(crate) mod question;
pub mod request_state;
pub(crate) mod retry;
pub(crate) mod server_requests;

use crate::api::Micros;
use open_questions::OpenQuestions;
use pending_input::PendingInputs;
use request_state::{Key, Sealer};

/// What the room keeps between inputs.
pub(crate) struct Interactive {
    /// What legacy clients were asked.
    pub(crate) questions: OpenQuestions,
    /// Calls of modern clients that wait, or waited, for answers.
    pub(crate) pending: PendingInputs,
    /// Calls of legacy clients that are to be made again.
    pub(crate) delayed: DelayedCalls,
    /// Seals what modern clients bring back.
    pub(crate) sealer: Sealer,
}

impl Interactive {
    pub(crate) fn new(key: &Key) -> Self {
        Self {
            questions: OpenQuestions::default(),
            pending: PendingInputs::default(),
            delayed: DelayedCalls::default(),
            sealer: Sealer::new(key),
        }
    }
}

/// Calls that are to be made again, by number: when.
#[derive(Default)]
pub(crate) struct DelayedCalls {
    calls: Vec<(Micros, u64)>,
}

impl DelayedCalls {
    pub(crate) const fn len(&self) -> usize {
        self.calls.len()
    }

    pub(crate) fn push(&mut self, due: Micros, number: u64) {
        self.calls.push((due, number));
    }

    /// Takes those whose time has come.
    pub(crate) fn take_due(&mut self, now: Micros) -> Vec<(Micros, u64)> {
        self.calls.extract_if(.., |(due, _)| *due <= now).collect()
    }
}
