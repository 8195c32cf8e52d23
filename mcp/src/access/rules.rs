//! What the relay enforces beside the protocol, as it is told by [`crate::api::Input::Rules`]:
//! policy, rates, bounds per principal and per tool, and whether every call is to be written down
//! and takes part in traces. All of it can change while clients are served.

use crate::access::policy;
use crate::api::{Micros, UpId};
use crate::observation::CallOutcome;
use ggen_wire::Code;
use std::collections::HashMap;
use std::sync::Arc;

/// Everything that is enforced. The default enforces nothing but the relay's own
/// [`crate::api::Limits`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    /// Who may see and call what.
    pub policy: Vec<policy::Rule>,
    /// Requests of one principal.
    pub rate: Rate,
    /// Requests of one principal without an answer, and its `subscriptions/listen`; 0: no bound.
    pub in_flight: usize,
    /// Legacy sessions of one principal; 0: no bound.
    pub sessions: usize,
    /// Legacy sessions in all; 0: as in [`crate::api::Limits`].
    pub sessions_in_all: usize,
    /// Calls in flight to one upstream; 0: as in [`crate::api::Limits`].
    pub calls_per_upstream: usize,
    /// How long a stream may last that brings the answer of a legacy client's call; 0: till its
    /// end.
    pub stream_limit: Micros,
    /// What holds for a tool that is not in `tools`.
    pub tool: ToolRule,
    /// By exposed name.
    pub tools: HashMap<String, ToolRule>,
    /// Whether calls are written down.
    pub audit: Audit,
    /// Whether there are spans, and for which share of the traces that begin here.
    pub spans: Option<crate::trace::span::Ratio>,
}

/// So many per second, so many at once; 0 per second: as many as come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// Requests per second in the long run.
    pub per_second: u32,
    /// Requests that may come at once; 0: as many as per second.
    pub burst: u32,
}

/// What holds for calls of a tool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ToolRule {
    /// Time for a call; 0: as its server says.
    pub timeout: Micros,
    /// How often a call is sent once more whose server was lost; only for tools that say that they
    /// change nothing or may be repeated.
    pub retries: u32,
    /// Calls in flight; 0: no bound.
    pub concurrent: usize,
    /// Calls of all principals.
    pub rate: Rate,
}

/// Which calls are written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Audit {
    /// None.
    #[default]
    Off,
    /// All, without their arguments.
    Calls,
    /// All, with their arguments.
    Arguments,
}

/// A call, or a request that was refused, for those who want to know later who did what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audited {
    /// Who.
    pub principal: Arc<str>,
    /// The method, if it is one of the protocol's, else `other`.
    pub method: &'static str,
    /// The exposed name or URI; cut at [`crate::protocol::excerpt::LONGEST`].
    pub name: Box<str>,
    /// Whose it is, if it got so far.
    pub up: Option<UpId>,
    /// How it ended; `Refused` if it was never passed on.
    pub outcome: CallOutcome,
    /// Why it was refused.
    pub code: Option<Code>,
    /// From its arrival to its answer.
    pub duration: Micros,
    /// Size of the request.
    pub bytes_in: usize,
    /// Size of the answer, without what came before it on an event stream.
    pub bytes_out: usize,
    /// The link that it came by; 0: the control command.
    pub edge: u32,
    /// The client's own request id, as it stands; cut at [`crate::protocol::excerpt::LONGEST`].
    pub id: Box<str>,
    /// The trace that it belongs to.
    pub trace: Option<crate::trace::TraceId>,
    /// The arguments as they stand, only if they are wanted; cut at [`crate::protocol::excerpt::LONGEST_ARGUMENTS`].
    pub arguments: Option<Box<str>>,
}
