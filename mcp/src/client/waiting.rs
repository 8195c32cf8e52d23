//! Requests of clients that wait for a server, and what is known of each attempt at a request.

use crate::api::{Micros, StreamKey};
use crate::client::listen::Listen;
use crate::edge::{Principal, Request};
use crate::trace::{Span, Tracing};
use std::collections::HashMap;

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
}

/// The requests of a principal that wait, and those that listen.
pub(crate) fn unanswered(
    waiting: &[Waiting],
    listens: &HashMap<StreamKey, Listen>,
    principal: &Principal,
) -> usize {
    let waiting = waiting
        .iter()
        .filter(|waiting| waiting.request.principal.id == principal.id)
        .count();
    let listens = listens
        .values()
        .filter(|listen| listen.principal.id == principal.id)
        .count();
    waiting + listens
}
