//! Requests that wait for the supervisor's answer.

use crate::access::policy::Access;
use crate::api::{Micros, StreamKey};
use crate::client::Clients;
use crate::trace::span::Span;
use std::sync::Arc;

/// Something that waits for the supervisor's answer.
pub(crate) enum Pending {
    /// A call of a built-in tool.
    Tool {
        key: StreamKey,
        id: Box<str>,
        modern: bool,
        json: bool,
        tool: usize,
        wanted: Option<String>,
        arrived: Micros,
        span: Option<Box<Span>>,
    },
    /// `GET /health`, and what its client may see.
    Health(StreamKey, Option<Arc<Access>>),
}

impl Pending {
    pub(crate) const fn key(&self) -> StreamKey {
        match self {
            Self::Tool { key, .. } | Self::Health(key, _) => *key,
        }
    }

    /// Its client is gone.
    pub(crate) fn span(self) -> Option<Box<Span>> {
        match self {
            Self::Tool { span, .. } => span,
            Self::Health(..) => None,
        }
    }
}

impl Clients {
    /// A request waits for the supervisor's answer to the question of that number.
    pub(crate) fn wait_for_supervisor(&mut self, number: u64, pending: Pending) {
        self.questions.insert(number, pending);
    }

    /// The request that waits for the supervisor's answer to a question.
    pub(crate) fn take_pending(&mut self, number: u64) -> Option<Pending> {
        self.questions.remove(&number)
    }
}
