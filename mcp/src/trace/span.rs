//! Spans: what a relay that takes part in traces says of each request of a client, and of each call
//! that it makes for one (OpenTelemetry semantic conventions for MCP,
//! <https://github.com/open-telemetry/semantic-conventions-genai/blob/main/docs/gen-ai/mcp.md>).
//! Values only: whoever drives the relay knows the clock and the wire. May not hold arguments,
//! results, URIs or words of a client or server.

use crate::api::{Micros, UpId};
use crate::observation::CallOutcome;
use crate::trace::TraceId;
use ggen_wire::Code;
use std::fmt;
use std::sync::Arc;

/// The identity of a span within its trace; never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanId(pub u64);

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Which share of the traces that begin here is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ratio(u64);

/// Bits of a trace's id that decide, as OpenTelemetry's `TraceIdRatioBased` does it: who else
/// samples by the same share takes the same traces.
const BITS: u32 = 63;

impl Ratio {
    /// From 0 (none) to 1 (all); what lies outside counts as the nearer end.
    #[must_use]
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "between 0 and 2^63"
    )]
    pub fn new(share: f64) -> Self {
        Self((share.clamp(0.0, 1.0) * (1_u64 << BITS) as f64) as u64)
    }

    /// Whether a trace is recorded.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "the lower half is meant")]
    pub const fn takes(self, trace: TraceId) -> bool {
        (trace.0 as u64) >> 1 < self.0
    }
}

/// One span. While [`Span::ended`] is 0 it is not over, and nobody outside the relay has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its trace.
    pub trace: TraceId,
    /// Itself.
    pub id: SpanId,
    /// The span that it is below; none: the trace begins here.
    pub parent: Option<SpanId>,
    /// `tracestate`
    pub state: Option<Arc<str>>,
    /// Another span that has to do with it: that of the exchange, where the client's own says more
    /// of the call.
    pub link: Option<(TraceId, SpanId)>,
    /// Which side of the relay.
    pub side: Side,
    /// The method, if it is one of the protocol's, else `other`.
    pub method: &'static str,
    /// The tool or prompt, as this side knows it; only what a server lists.
    pub target: Option<Arc<str>>,
    /// The id of the JSON-RPC request, as it stands; cut at [`crate::protocol::excerpt::LONGEST`].
    pub request: Box<str>,
    /// The session's digest ([`crate::persisted::digest`]): whoever knows its id may use it.
    pub session: Option<Box<str>>,
    /// The revision that is spoken; empty if that is not known.
    pub version: &'static str,
    /// From then.
    pub began: Micros,
    /// Until then.
    pub ended: Micros,
    /// Why it failed, if it did.
    pub failure: Option<Failure>,
}

/// A span's side of the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// A client's request, by the link that it came over.
    Client(u32),
    /// A call of ours to an upstream.
    Upstream(UpId),
}

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// How it ended; never `Ok`.
    pub outcome: CallOutcome,
    /// The code of the JSON-RPC error that was answered.
    pub rpc: Option<i64>,
    /// Our own code, if the reason is ours.
    pub code: Option<Code>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_ids_is_taken_and_the_ends_are_sharp() {
        let taken = |share: f64| {
            let ratio = Ratio::new(share);
            let ids = (0..1000_u128).map(|at| TraceId(at * (u128::from(u64::MAX) / 1000)));
            ids.filter(|id| ratio.takes(*id)).count()
        };
        assert_eq!(
            (taken(0.0), taken(-1.0), taken(1.0), taken(7.0)),
            (0, 0, 1000, 1000)
        );
        assert!((248..=252).contains(&taken(0.25)), "{}", taken(0.25));
        assert!(Ratio::new(1.0).takes(TraceId(u128::MAX)) && !Ratio::new(0.0).takes(TraceId(1)));
    }
}
