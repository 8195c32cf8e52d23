//! What the relay has on its books, for the tests that check that nothing is left there. Reads
//! only.

use crate::gateway::Gateway;

/// What is under way; all zero once every request is answered and every stream closed.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the relay's own tables")]
pub struct Leftovers {
    pub client_calls: usize,
    pub exchanges: usize,
    pub waiting: usize,
    pub listens: usize,
    pub questions: usize,
    pub asked: usize,
    pub queued: usize,
    pub bytes: usize,
    pub session_calls: usize,
    pub resumes: usize,
    pub pending_inputs: usize,
    pub delayed: usize,
    pub watches: usize,
    pub places: usize,
    pub held: usize,
    pub spans: usize,
}

impl Gateway {
    /// Everything that is under way.
    #[doc(hidden)]
    #[must_use]
    pub fn leftovers(&self) -> Leftovers {
        let [exchanges, waiting, listens, questions, held, session_calls] = self.clients.counts();
        Leftovers {
            client_calls: self.calls.of_clients().count(),
            exchanges,
            waiting,
            listens,
            questions,
            asked: self.questions.open.len(),
            queued: self
                .ups
                .ever()
                .map(crate::upstream::Upstream::in_flight)
                .sum(),
            bytes: self.ups.ever().map(|up| up.bytes).sum(),
            session_calls,
            resumes: self.ups.resumes(),
            pending_inputs: self.questions.pending.len(),
            delayed: self.questions.delayed.len(),
            watches: self.tasks.watches(),
            places: self.access.places(),
            held,
            spans: self.spans.open(),
        }
    }

    /// Whether an HTTP exchange with an upstream still has somebody who waits for it.
    #[doc(hidden)]
    #[must_use]
    pub fn expects(&self, exchange: u64) -> bool {
        self.calls.contains_key(&exchange)
    }

    /// The most streams that one session keeps for resumption.
    #[doc(hidden)]
    #[must_use]
    pub fn most_streams(&self) -> usize {
        self.clients
            .sessions()
            .map(|(_, session)| session.buffers.len())
            .max()
            .unwrap_or_default()
    }
}
