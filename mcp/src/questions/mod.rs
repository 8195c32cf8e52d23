//! What servers ask of clients, and what is not answered yet. Records only: they are sent and answered
//! by [`crate::interactive`].

pub(crate) mod open;
pub(crate) mod pending_input;
pub mod request_state;

use crate::api::Micros;
use crate::protocol::json;
use open::OpenQuestions;
use pending_input::PendingInputs;
use request_state::{Key, Sealer};

/// Questions of one call that may be open at once.
pub(crate) const QUESTIONS: usize = 32;

/// What the room keeps between inputs.
pub(crate) struct Questions {
    /// What legacy clients were asked.
    pub(crate) open: OpenQuestions,
    /// Calls of modern clients that wait, or waited, for answers.
    pub(crate) pending: PendingInputs,
    /// Calls of legacy clients that are to be made again.
    pub(crate) delayed: DelayedCalls,
    /// Seals what modern clients bring back.
    pub(crate) sealer: Sealer,
}

impl Questions {
    pub(crate) fn new(key: &Key) -> Self {
        Self {
            open: OpenQuestions::default(),
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

/// A question of the server that has no answer yet.
pub(crate) struct OpenQuestion {
    /// What the client knows it as.
    pub(crate) key: String,
    /// The server's id, as it stands.
    pub(crate) id: Box<str>,
    pub(crate) method: Box<str>,
    /// The request as an entry of `inputRequests`.
    pub(crate) request: String,
    /// The client was told of it.
    pub(crate) delivered: bool,
}

impl OpenQuestion {
    /// As a member of `inputRequests`.
    pub(crate) fn entry(&self) -> String {
        format!("{}:{}", json::quote(&self.key), self.request)
    }
}

/// The key that a server suggests for its question: `_meta["<vendor>/inputKey"]`.
pub(crate) fn input_key(params: &str) -> Option<String> {
    let meta = json::pick(params, ["_meta"])?[0]?;
    let hint = json::members(meta)?
        .into_iter()
        .find(|(name, _)| name.ends_with("/inputKey"))?;
    json::string(hint.1)
        .map(std::borrow::Cow::into_owned)
        .filter(|hint| (1..=64).contains(&hint.len()))
}

/// An answer among `inputResponses`; what is no object is none.
pub(crate) fn answer_of<'a>(responses: &'a str, key: &str) -> Option<&'a str> {
    json::pick(responses, [key])?[0].filter(|answer| answer.starts_with('{'))
}
