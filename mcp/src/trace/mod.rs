//! Traces: the trace context that requests carry, and the relay's own spans. Uses the protocol's
//! readers and writers and the [`crate::context`], no other room.

mod context;
pub mod span;
mod spans;
mod syntax;
#[cfg(test)]
mod tests;

pub use context::{Origin, Trace};
pub(crate) use span::Span;
pub(crate) use spans::{CallFacts, Spans, Tracing};
use std::fmt;

/// The identity of a trace; never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId(pub u128);

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}
