//! One log line, as it goes from worker to supervisor to ring, console, journal and `ggen mcp
//! server logs`.

use crate::Code;
use serde::{Deserialize, Serialize};

/// Severity, most severe first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// One log line. Never holds a secret: values are redacted where they are logged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogLine {
    /// Position in the supervisor's ring, ascending without gaps; 0 until the supervisor has taken
    /// the line.
    #[serde(default)]
    pub seq: u64,
    /// Microseconds since the Unix epoch.
    pub at_us: u64,
    /// Severity.
    pub level: Level,
    /// One of `mcp_server`, `transport`, `auth`, `tools`, `protocol`, or `upstream` for a server's
    /// own stderr.
    pub category: String,
    /// The process that said it: `supervisor`, `gateway-0`, `http-1`, or the upstream's name.
    pub source: String,
    /// The text, one line.
    pub message: String,
    /// The stable code, if the line reports an error of the table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    /// Further fields, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<(String, String)>,
}
