//! Calls whose modern client is away or was asked for something: their messages and their answers.

use crate::api::{Micros, Observation, StreamKey};
use crate::call::Calling;
use crate::in_flight::record::{Call, ClientCall, NOBODY, Purpose};
use crate::observation::CallOutcome;
use crate::protocol::method::Method;
use crate::questions::pending_input::{End, Joined, Outcome};
use crate::trace::TraceId;
use crate::translation::message;
use bytes::Bytes;

impl Calling<'_> {
    /// Whether a message waits for a client that is away.
    pub(crate) fn keep_message(&mut self, number: u64, data: &str) -> bool {
        let Some(Purpose::Client(client)) = self.calls.get(&number).map(|call| &call.purpose)
        else {
            return false;
        };
        if client.key != NOBODY {
            return false;
        }
        client
            .pending_input()
            .is_some_and(|id| self.questions.pending.keep_message(id, data))
    }

    /// A call that waited for its client has come to its end: the client gets the answer, now or
    /// when it comes back.
    pub(crate) fn pending_over(
        &mut self,
        id: u128,
        client: &ClientCall,
        status: u16,
        body: Bytes,
        outcome: CallOutcome,
    ) {
        let until = self.cx.now + self.cx.limits.repeat;
        let outcome = (status, body, outcome);
        let end = self.questions.pending.end(id, &outcome, until);
        let Some(End::Now(number, joined)) = end else {
            return;
        };
        self.observe_answer(
            client.method,
            true,
            outcome.2,
            client.arrived,
            client.sampled(),
        );
        self.spans
            .end(self.cx, client.span.clone(), outcome.2, &outcome.1);
        self.answer_all(number, client.key, joined, outcome);
    }

    /// The same answer for the client's exchange and those that repeat its request. None of them
    /// waits for the call any more.
    pub(crate) fn answer_all(
        &mut self,
        number: u64,
        reader: StreamKey,
        joined: Vec<Joined>,
        (status, body, outcome): Outcome,
    ) {
        for Joined { key, id, span } in joined {
            self.spans.end(self.cx, span, outcome, &body);
            self.detach(key, number);
            self.clients
                .answer(self.cx, key, status, message::with_id(&body, &id));
        }
        self.detach(reader, number);
        self.clients.answer(self.cx, reader, status, body);
    }

    /// The end of an exchange does not cancel the call any more.
    fn detach(&mut self, key: StreamKey, number: u64) {
        if let Some(exchange) = self.clients.exchange_mut(key) {
            exchange.calls.retain(|call| *call != number);
        }
    }

    /// Counts a request that is answered now.
    pub(crate) fn observe_answer(
        &mut self,
        method: Method,
        modern: bool,
        outcome: CallOutcome,
        arrived: Micros,
        trace: Option<TraceId>,
    ) {
        let (era, duration) = (
            if modern { "modern" } else { "legacy" },
            self.cx.now.saturating_sub(arrived),
        );
        self.cx
            .emit(crate::api::Output::Observe(Observation::Request {
                method: method.name(),
                era,
                outcome,
                duration,
                trace,
            }));
    }

    /// Nobody waits for a call any more: the server's questions get an answer, so that it does not
    /// wait for ever.
    pub(crate) fn give_up_pending(&mut self, id: u128) {
        let Some(pending) = self.questions.pending.remove(id) else {
            return;
        };
        let (up, conn) = (pending.origin().up, pending.origin().conn);
        let (call, questions, joined) = pending.into_parts();
        for Joined { span, .. } in joined {
            self.spans.end(self.cx, span, CallOutcome::Cancelled, b"");
        }
        if call.is_some() {
            for question in &questions {
                self.connecting().take_back(up, conn, question);
            }
        }
    }

    /// Has the questions of a call put to its client then.
    pub(crate) fn gather(&mut self, id: u128, due: Micros) {
        if self.questions.pending.gather(id, due) {
            self.cx.wake_at(due);
        }
    }

    /// A call with open questions is over. On a leased child they may be another call's of the same
    /// client, which takes them over.
    pub(crate) fn inherit_questions(&mut self, number: u64, call: &Call) {
        let heir = self
            .ups
            .get(call.up)
            .conns
            .get(call.conn)
            .filter(|conn| conn.is_leased());
        let heir = heir.and_then(|conn| conn.calls.iter().min().copied());
        let count = self.questions.open.inherit(number, heir);
        let Some(heir) = heir else { return };
        if let Some(Purpose::Client(client)) =
            self.calls.get_mut(&heir).map(|call| &mut call.purpose)
        {
            client.asked += count;
        }
    }
}
