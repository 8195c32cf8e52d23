//! Calls of modern clients whose legacy server asks for something. The questions become the call's
//! result (`input_required`), and the call waits here, its request to the server still open, until
//! the client comes back with the answers ([`crate::interactive::retry`]). Pure: this file keeps the
//! records; [`crate::interactive`] sends what they lead to.

use crate::api::{Micros, StreamKey, UpId};
use crate::observation::CallOutcome;
use crate::protocol::json;
use crate::protocol::method::Method;
use crate::protocol::refusal::result_message;
use crate::questions::{OpenQuestion, QUESTIONS, answer_of};
use crate::trace::span::Span;
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Messages kept for a client that is away.
const MESSAGES: usize = 64;
/// Calls kept whose answer was not fetched yet or may be asked for again.
const KEPT: usize = 4096;
/// Bytes of such answers.
const KEPT_BYTES: usize = 64 << 20;
/// Repetitions of one retry that wait for its answer, at most.
const JOINED: usize = 8;

/// A retry that was accepted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) round: u32,
    /// Of its answers.
    pub(crate) digest: [u8; 32],
    pub(crate) at: Micros,
}

/// How far a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The client is there, the server works.
    Running,
    /// The client is there, the server has asked; it is told then.
    Gathering(Micros),
    /// The client was told, and may come back until then.
    Waiting(Micros),
    /// It is over; until then the client may ask for the same answer again.
    Over(Micros),
}

/// What a retry is to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    /// The first one with its state.
    First,
    /// The one that was accepted last, once more.
    Repeated,
    /// Its state was used already.
    Used,
}

/// A repetition of a retry, which gets the same answer.
pub(crate) struct Joined {
    pub(crate) key: StreamKey,
    pub(crate) id: Box<str>,
    pub(crate) span: Option<Box<Span>>,
}

/// What a call came to: status, message, and what it counts as.
pub(crate) type Outcome = (u16, Bytes, CallOutcome);

/// Who gets the outcome of a call.
pub(crate) enum End {
    /// Its client when it comes back.
    Later,
    /// The client of the call of this number, and those who repeated its request.
    Now(u64, Vec<Joined>),
}

/// How a call goes on with the answers of a retry.
pub(crate) struct Resumed {
    /// The number of the call.
    pub(crate) number: u64,
    pub(crate) up: UpId,
    pub(crate) conn: usize,
    /// What the server said while the client was away.
    pub(crate) messages: VecDeque<Bytes>,
    /// The answers as messages for the server.
    pub(crate) answers: Vec<Bytes>,
    /// Questions that the client was told of have no answer yet.
    pub(crate) missing: bool,
    /// Any questions have no answer yet.
    pub(crate) more: bool,
}

/// Whose a call is and what it is about.
#[derive(Clone)]
pub(crate) struct Origin {
    pub(crate) up: UpId,
    pub(crate) conn: usize,
    pub(crate) method: Method,
    pub(crate) principal: Arc<str>,
    /// See [`crate::questions::request_state::subject`].
    pub(crate) subject: [u8; 32],
}

/// A call that has been answered with questions, or is about to be.
pub(crate) struct PendingInput {
    origin: Origin,
    /// The call, as long as the server works on it.
    call: Option<u64>,
    questions: Vec<OpenQuestion>,
    /// All keys that questions have had.
    keys: Vec<String>,
    /// How often the client was told to come back.
    round: u32,
    stage: Stage,
    /// Messages of the server for the client that is away.
    messages: VecDeque<Bytes>,
    /// The retry that was accepted last.
    accepted: Option<Accepted>,
    /// Repetitions of that retry.
    joined: Vec<Joined>,
    /// The answer to that retry.
    last: Option<(u16, Bytes)>,
    /// What the call came to while the client was away.
    outcome: Option<Outcome>,
}

impl PendingInput {
    pub(crate) const fn new(origin: Origin, call: u64) -> Self {
        Self {
            origin,
            call: Some(call),
            questions: Vec::new(),
            keys: Vec::new(),
            round: 0,
            stage: Stage::Running,
            messages: VecDeque::new(),
            accepted: None,
            joined: Vec::new(),
            last: None,
            outcome: None,
        }
    }

    pub(crate) const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The number of the call, as long as the server works on it.
    pub(crate) const fn call(&self) -> Option<u64> {
        self.call
    }

    pub(crate) const fn stage(&self) -> Stage {
        self.stage
    }

    pub(crate) const fn round(&self) -> u32 {
        self.round
    }

    /// The answer to the retry that was accepted last.
    pub(crate) const fn last(&self) -> Option<&(u16, Bytes)> {
        self.last.as_ref()
    }

    pub(crate) fn set_last(&mut self, status: u16, body: Bytes) {
        self.last = Some((status, body));
    }

    /// Adds a question, under the key that the server suggests if that is free. False: there are
    /// too many.
    pub(crate) fn ask(
        &mut self,
        hint: Option<String>,
        id: &str,
        method: &str,
        request: String,
    ) -> bool {
        if self.questions.len() >= QUESTIONS {
            return false;
        }
        let hint = hint.filter(|hint| !self.keys.contains(hint));
        let key = hint.unwrap_or_else(|| {
            let free = |n: &usize| !self.keys.contains(&format!("req_{n}"));
            format!("req_{}", (self.keys.len() + 1..).find(free).unwrap_or(0))
        });
        self.keys.push(key.clone());
        self.questions.push(OpenQuestion {
            key,
            id: id.into(),
            method: method.into(),
            request,
            delivered: false,
        });
        true
    }

    /// Whether the client is there.
    pub(crate) const fn is_attended(&self) -> bool {
        matches!(self.stage, Stage::Running | Stage::Gathering(_))
    }

    /// The client is told of all questions, and may come back until then. Gives the entries of
    /// `inputRequests`, and who else is told.
    pub(crate) fn tell(&mut self, until: Micros) -> (Vec<String>, Vec<Joined>) {
        self.round += 1;
        self.stage = Stage::Waiting(until);
        for question in &mut self.questions {
            question.delivered = true;
        }
        let entries = self.questions.iter().map(OpenQuestion::entry).collect();
        (entries, std::mem::take(&mut self.joined))
    }

    /// What a retry with the state of a round is, at `retry.at`. Repetitions are known for
    /// `repeat`.
    pub(crate) fn judge(&self, retry: Accepted, repeat: Micros) -> Retry {
        let again = self.accepted.is_some_and(|last| {
            last.round == retry.round && last.digest == retry.digest && retry.at < last.at + repeat
        });
        match self.stage {
            Stage::Waiting(_) if self.round == retry.round => Retry::First,
            _ if again => Retry::Repeated,
            _ => Retry::Used,
        }
    }

    /// A retry is accepted. Gives what the call came to meanwhile, if it is over; it may be asked
    /// for until then.
    pub(crate) fn accept(&mut self, retry: Accepted, until: Micros) -> Option<Outcome> {
        self.accepted = Some(retry);
        self.last = None;
        let outcome = self.outcome.take()?;
        self.stage = Stage::Over(until);
        Some(outcome)
    }

    /// Goes on with the answers of a retry. `None`: the call is over.
    pub(crate) fn resume(&mut self, responses: &str) -> Option<Resumed> {
        let number = self.call?;
        self.stage = Stage::Running;
        let mut answers = Vec::new();
        self.questions.retain(|question| {
            let told = answer_of(responses, &question.key).filter(|_| question.delivered);
            let Some(answer) = told else {
                return true;
            };
            answers.push(json::one_line(result_message(&question.id, answer)));
            false
        });
        Some(Resumed {
            number,
            up: self.origin.up,
            conn: self.origin.conn,
            messages: std::mem::take(&mut self.messages),
            answers,
            missing: self.questions.iter().any(|question| question.delivered),
            more: !self.questions.is_empty(),
        })
    }

    /// Whether one more repetition may wait.
    pub(crate) const fn can_be_joined(&self) -> bool {
        self.joined.len() < JOINED
    }

    /// A repetition waits for the answer.
    pub(crate) fn join(&mut self, joined: Joined) {
        self.joined.push(joined);
    }

    /// A repetition on that exchange does not wait any more.
    pub(crate) fn leave(&mut self, key: StreamKey) -> Option<Joined> {
        let at = self.joined.iter().position(|joined| joined.key == key)?;
        Some(self.joined.remove(at))
    }

    /// The oldest repetition, which takes the place of the request itself.
    pub(crate) fn next_joined(&mut self) -> Option<Joined> {
        (!self.joined.is_empty()).then(|| self.joined.remove(0))
    }

    /// Takes it apart: the number of the call, the questions, the repetitions.
    pub(crate) fn into_parts(self) -> (Option<u64>, Vec<OpenQuestion>, Vec<Joined>) {
        (self.call, self.questions, self.joined)
    }

    fn size(&self) -> usize {
        let last = self.last.as_ref().map_or(0, |(_, body)| body.len());
        last + self.outcome.as_ref().map_or(0, |(_, body, _)| body.len())
    }
}

/// The calls that wait, or waited, for answers of modern clients, by a random number.
#[derive(Default)]
pub(crate) struct PendingInputs {
    calls: HashMap<u128, PendingInput>,
}

impl PendingInputs {
    pub(crate) fn len(&self) -> usize {
        self.calls.len()
    }

    pub(crate) fn get(&self, id: u128) -> Option<&PendingInput> {
        self.calls.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: u128) -> Option<&mut PendingInput> {
        self.calls.get_mut(&id)
    }

    pub(crate) fn insert(&mut self, id: u128, pending: PendingInput) {
        self.calls.insert(id, pending);
    }

    pub(crate) fn remove(&mut self, id: u128) -> Option<PendingInput> {
        self.calls.remove(&id)
    }

    /// Whether one more may begin. `limits`: of one principal, of one server, in all.
    pub(crate) fn has_room(&self, principal: &str, up: UpId, limits: [usize; 3]) -> bool {
        let mut counts = [0; 3];
        for pending in self.calls.values() {
            if !matches!(pending.stage, Stage::Over(_)) {
                counts[0] += usize::from(*pending.origin.principal == *principal);
                counts[1] += usize::from(pending.origin.up == up);
                counts[2] += 1;
            }
        }
        counts
            .iter()
            .zip(limits)
            .all(|(count, limit)| *count < limit)
    }

    /// The call has another number from now on.
    pub(crate) fn renumber(&mut self, id: u128, number: u64) {
        if let Some(pending) = self.calls.get_mut(&id) {
            pending.call = Some(number);
        }
    }

    /// Has the questions put to the client then. False: there is no such call.
    pub(crate) fn gather(&mut self, id: u128, due: Micros) -> bool {
        let pending = self.calls.get_mut(&id);
        pending
            .map(|pending| pending.stage = Stage::Gathering(due))
            .is_some()
    }

    /// Keeps a message for a client that is away. False: there is no such call.
    pub(crate) fn keep_message(&mut self, id: u128, data: &str) -> bool {
        let Some(pending) = self.calls.get_mut(&id) else {
            return false;
        };
        if pending.messages.len() >= MESSAGES {
            pending.messages.pop_front();
        }
        let data = Bytes::copy_from_slice(data.as_bytes());
        pending.messages.push_back(data);
        true
    }

    /// A server takes a question back.
    pub(crate) fn withdraw(&mut self, up: UpId, conn: usize, id: &str) {
        for pending in self.calls.values_mut() {
            if (pending.origin.up, pending.origin.conn) != (up, conn) {
                continue;
            }
            pending.questions.retain(|question| *question.id != *id);
            if pending.questions.is_empty() && matches!(pending.stage, Stage::Gathering(_)) {
                pending.stage = Stage::Running;
            }
        }
    }

    /// A call has come to its end. Its client may ask for the same answer again until then.
    pub(crate) fn end(&mut self, id: u128, outcome: &Outcome, until: Micros) -> Option<End> {
        let pending = self.calls.get_mut(&id)?;
        let number = pending.call.take().unwrap_or_default();
        pending.questions.clear();
        pending.messages.clear();
        let end = if matches!(pending.stage, Stage::Waiting(_)) {
            pending.outcome = Some(outcome.clone());
            End::Later
        } else {
            let joined = std::mem::take(&mut pending.joined);
            if pending.accepted.is_some() {
                pending.last = Some((outcome.0, outcome.1.clone()));
                pending.stage = Stage::Over(until);
            } else {
                // Nobody was given a state for it.
                self.calls.remove(&id);
            }
            End::Now(number, joined)
        };
        self.bound();
        Some(end)
    }

    /// Forgets what may be asked for again, the oldest first, and in need what was not fetched.
    fn bound(&mut self) {
        let over = |pending: &PendingInput| match pending.stage {
            Stage::Over(until) => Some((0, until)),
            Stage::Waiting(until) if pending.outcome.is_some() => Some((1, until)),
            _ => None,
        };
        loop {
            let bytes: usize = self.calls.values().map(PendingInput::size).sum();
            if self.calls.len() <= KEPT && bytes <= KEPT_BYTES {
                return;
            }
            let over = self
                .calls
                .iter()
                .filter_map(|(id, pending)| over(pending).map(|age| (age, *id)));
            let Some((_, oldest)) = over.min() else {
                return;
            };
            self.calls.remove(&oldest);
        }
    }

    /// The numbers of the calls whose clients are away, in order.
    pub(crate) fn away(&self) -> Vec<u64> {
        let away = |pending: &&PendingInput| matches!(pending.stage, Stage::Waiting(_));
        let calls = self.calls.values().filter(away);
        let mut numbers: Vec<_> = calls.filter_map(PendingInput::call).collect();
        numbers.sort_unstable();
        numbers
    }

    /// Those whose time has come, in order.
    pub(crate) fn due(&self, now: Micros) -> Vec<u128> {
        let due = |stage: Stage| match stage {
            Stage::Running => false,
            Stage::Gathering(at) | Stage::Waiting(at) | Stage::Over(at) => at <= now,
        };
        let calls = self.calls.iter();
        let mut ids: Vec<_> = calls
            .filter(|(_, pending)| due(pending.stage))
            .map(|(id, _)| *id)
            .collect();
        ids.sort_unstable();
        ids
    }
}

#[cfg(test)]
#[path = "pending_input_tests.rs"]
mod tests;
