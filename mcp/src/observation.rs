//! What is counted, by kind, and what is logged. Each kind has a stable name, which is the value of a
//! label of a metric or a field of the log. Data only.

use crate::api::UpId;
use ggen_wire::Code;
use std::sync::Arc;

/// Defines an enum whose values have stable names.
macro_rules! named {
    ($(#[$doc:meta])* $kind:ident { $($(#[$of:meta])* $value:ident = $name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $kind {
            $($(#[$of])* $value,)*
        }

        impl $kind {
            /// Every one.
            pub const ALL: &[Self] = &[$(Self::$value),*];

            /// The stable name.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$value => $name,)*
                }
            }
        }
    };
}

named! {
    /// How a call, or a request of a client, ended.
    CallOutcome {
        /// It was answered with a result.
        Ok = "ok",
        /// The result of a tool says that the tool failed.
        ToolError = "tool_error",
        /// It was answered with an error.
        Error = "error",
        /// No answer came in time.
        Timeout = "timeout",
        /// The server, or the connection to it, went away.
        Lost = "lost",
        /// The client did not want it any more.
        Cancelled = "cancelled",
        /// It was never passed on.
        Refused = "refused",
    }
}

impl CallOutcome {
    /// The outcome of a client's request whose call ended so: the client got an error.
    pub(crate) const fn of_request(self) -> Self {
        match self {
            Self::Timeout | Self::Lost => Self::Error,
            other => other,
        }
    }
}

named! {
    /// A limit that refused a request.
    Limit {
        /// Requests of a principal in a time.
        PrincipalRate = "principal_rate",
        /// Requests of a principal without an answer.
        PrincipalInFlight = "principal_in_flight",
        /// Sessions of a principal.
        PrincipalSessions = "principal_sessions",
        /// Calls of a tool in a time.
        ToolRate = "tool_rate",
        /// Calls of a tool at once.
        ToolConcurrent = "tool_concurrent",
        /// Calls in flight at an upstream.
        UpstreamInFlight = "upstream_in_flight",
        /// Sessions of all principals.
        Sessions = "sessions",
    }
}

named! {
    /// What the policy hid from a client.
    Hidden {
        /// A tool.
        Tool = "tool",
        /// A prompt.
        Prompt = "prompt",
        /// A resource.
        Resource = "resource",
        /// A whole server.
        Server = "server",
        /// A method.
        Method = "method",
    }
}

named! {
    /// Why a message was dropped.
    DropReason {
        /// It is no message of the protocol.
        Garbage = "garbage",
        /// It is longer than is read.
        TooLarge = "too_large",
        /// It answers a request that is not open any more.
        LateResponse = "late_response",
        /// A log message of a server that belongs to no one client.
        UnattributedLog = "unattributed_log",
        /// Its client reads too slowly.
        SlowClient = "slow_client",
        /// Not dropped: the server sends too much, and is not read for a moment.
        FloodPause = "flood_pause",
    }
}

/// Something to log.
#[derive(Clone, Debug)]
pub struct Note {
    /// Severity.
    pub level: ggen_wire::log::Level,
    /// `mcp_server`, `tools`, `protocol`.
    pub category: &'static str,
    /// The upstream it concerns.
    pub up: Option<UpId>,
    /// The code, if it reports an error of the table.
    pub code: Option<Code>,
    /// The request that it is about.
    pub about: Option<Box<About>>,
    /// One line.
    pub text: String,
}

/// The request of a client that a note is about.
#[derive(Clone, Debug)]
pub struct About {
    /// Who asked.
    pub principal: Arc<str>,
    /// The client's own id, as it stands; cut at [`crate::protocol::excerpt::LONGEST`].
    pub request: Box<str>,
    /// The method.
    pub method: &'static str,
    /// The exposed name of a tool.
    pub tool: Option<Arc<str>>,
    /// The trace that it belongs to.
    pub trace: Option<crate::trace::TraceId>,
}
