//! Requests of clients that wait for a server, and what is known of each attempt at a request.

use crate::access::AccessControl;
use crate::api::{Micros, StreamKey};
use crate::client::Clients;
use crate::client::exchange::Exchange;
use crate::client::request::ClientEra;
use crate::context::Context;
use crate::edge::{Principal, Request};
use crate::observation::CallOutcome;
use crate::protocol::method::MODERN;
use crate::protocol::refusal::Refusal;
use crate::trace::{Span, Spans, Tracing};
use std::sync::Arc;

/// A request that waits for a server to become ready.
pub(crate) struct Waiting {
    pub(crate) key: StreamKey,
    pub(crate) request: Request,
    pub(crate) attempt: Attempt,
}

/// One attempt at a request. A request that has waited for a server is attempted again.
pub(crate) struct Attempt {
    /// When the request arrived.
    pub(crate) arrived: Micros,
    /// The request has just come, and has not waited yet.
    pub(crate) fresh: bool,
    /// How often it was sent to a server that was lost then.
    pub(crate) tries: u32,
    /// Its trace, where the relay takes part in traces.
    pub(crate) tracing: Option<Tracing>,
}

impl Attempt {
    /// The first attempt at a request.
    pub(crate) const fn first(arrived: Micros) -> Self {
        Self {
            arrived,
            fresh: true,
            tries: 0,
            tracing: None,
        }
    }

    /// The attempt after this one.
    pub(crate) fn next(self) -> Self {
        Self {
            fresh: false,
            ..self
        }
    }

    /// The request's span, for whoever answers the request.
    pub(crate) fn take_span(&self) -> Option<Box<Span>> {
        self.tracing.as_ref()?.take_span()
    }

    /// Admits one more request of a principal; one that has waited was admitted before.
    pub(crate) fn admit(
        &self,
        cx: &mut Context,
        access: &mut AccessControl,
        key: StreamKey,
        request: &Request,
    ) -> Result<(), Refusal> {
        if !self.fresh {
            return Ok(());
        }
        access.admit(cx, key, &request.principal)
    }
}

impl Clients {
    /// All requests that wait, to be tried again.
    pub(crate) fn take_waiting(&mut self) -> Vec<Waiting> {
        std::mem::take(&mut self.waiting)
    }

    /// The requests that have waited long enough for one of the limits since this was last asked.
    pub(crate) fn take_expired(&mut self, cx: &Context) -> Vec<Waiting> {
        let (now, last) = (cx.now, std::mem::replace(&mut self.woken, cx.now));
        let limits = [cx.limits.list_wait, cx.limits.call_wait];
        let due = |waiting: &Waiting| {
            limits
                .iter()
                .any(|limit| (last..=now).contains(&(waiting.attempt.arrived + limit)))
        };
        let (due, rest) = std::mem::take(&mut self.waiting).into_iter().partition(due);
        self.waiting = rest;
        due
    }

    /// Has a request wait.
    pub(crate) fn wait(&mut self, waiting: Waiting) {
        self.waiting.push(waiting);
    }

    /// The number of requests that wait.
    pub(crate) const fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Bytes of the requests that wait.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.waiting
            .iter()
            .map(|waiting| waiting.request.body.len())
            .sum()
    }

    /// The requests of a principal that wait, and those that listen.
    pub(crate) fn unanswered_of(&self, principal: &Principal) -> usize {
        let waiting = self
            .waiting
            .iter()
            .filter(|waiting| waiting.request.principal.id == principal.id)
            .count();
        let listens = self
            .listens
            .values()
            .filter(|listen| listen.principal.id == principal.id)
            .count();
        waiting + listens
    }

    /// Cancels a request of a legacy client that waits for a server to become ready.
    pub(crate) fn cancel_waiting(
        &mut self,
        cx: &mut Context,
        spans: &mut Spans,
        session: &Arc<str>,
        id: &str,
    ) {
        let is_it = |waiting: &mut crate::client::waiting::Waiting| {
            let text = std::str::from_utf8(&waiting.request.body).unwrap_or_default();
            waiting.request.header("mcp-session-id") == Some(session)
                && matches!(crate::protocol::json::Envelope::parse(text).map(|envelope| envelope.kind), Ok(crate::protocol::json::Kind::Request(own, _)) if own == id)
        };
        let cancelled: Vec<_> = self.waiting.extract_if(.., is_it).collect();
        for waiting in cancelled {
            spans.end(cx, waiting.attempt.take_span(), CallOutcome::Cancelled, b"");
            if self.exchanges.contains_key(&waiting.key) {
                self.drop_answer(cx, waiting.key);
                continue;
            }
            let mut exchange = Exchange::new(&waiting.request, None, waiting.attempt.arrived);
            if exchange.may_stream() {
                exchange.start(waiting.key, cx.outputs());
            }
            exchange.close(waiting.key, cx.outputs());
        }
    }

    /// A `/refresh` request waits for the lists.
    pub(crate) fn refresh(&mut self, key: StreamKey) {
        self.refreshing.push(key);
    }

    /// Whether `/refresh` requests wait for the lists.
    pub(crate) const fn is_refreshing(&self) -> bool {
        !self.refreshing.is_empty()
    }

    /// The `/refresh` requests that wait for the lists.
    pub(crate) fn take_refreshing(&mut self) -> Vec<StreamKey> {
        std::mem::take(&mut self.refreshing)
    }

    /// Writes into the span of a request who asks: the revision, and the session.
    pub(crate) fn name_client(&self, attempt: &mut Attempt, era: &ClientEra<'_>) {
        let Some(tracing) = &mut attempt.tracing else {
            return;
        };
        match era {
            ClientEra::Modern(_) => tracing.set_client(MODERN, None),
            ClientEra::Sessionless(version) => tracing.set_client(version.as_str(), None),
            ClientEra::Legacy(session, version) => {
                let session = self
                    .session(session)
                    .filter(|session| !session.digest.is_empty());
                let digest = session.map(|session| &*session.digest);
                tracing.set_client(version.as_str(), digest);
            }
        }
    }

    /// The client of an exchange is gone: its requests that wait, here or for the supervisor, are
    /// forgotten. Gives the number of those that had an exchange already.
    pub(crate) fn leave(&mut self, cx: &mut Context, spans: &mut Spans, key: StreamKey) -> usize {
        let waiting = self.waiting.len();
        let mut left: Vec<_> = self
            .waiting
            .extract_if(.., |waiting| waiting.key == key)
            .filter_map(|waiting| waiting.attempt.take_span())
            .collect();
        let waiting = waiting - self.waiting.len();
        let questions = self.questions.len();
        left.extend(
            self.questions
                .extract_if(|_, pending| pending.key() == key)
                .filter_map(|(_, pending)| pending.span()),
        );
        // A request that waits has an exchange only if it is being sent once more.
        let questions = questions - self.questions.len() + waiting;
        self.refreshing.retain(|waiting| *waiting != key);
        left.extend(
            self.held_answers
                .extract_if(.., |_, (_, held)| held.key == key)
                .filter_map(|(_, (_, held))| held.span),
        );
        left.sort_unstable_by_key(|span| span.id.0);
        left.into_iter()
            .for_each(|span| spans.end(cx, Some(span), CallOutcome::Cancelled, b""));
        questions
    }
}
