//! The control interface `io.ggend.Control`: methods, parameters and errors, as published in
//! `ggend.varlink`.

use crate::{Code, log::LogLine, status};
use serde::{Deserialize, Serialize};

/// The interface name; methods are `io.ggend.Control.<Method>`.
pub const INTERFACE: &str = "io.ggend.Control";

/// The published definition of [`INTERFACE`], for `org.varlink.service.GetInterfaceDescription`.
pub const DEFINITION: &str = include_str!("ggend.varlink");

/// A call, with the parameters of its method.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", content = "parameters")]
pub enum Call {
    /// The daemon's status. Reader.
    #[serde(rename = "io.ggend.Control.GetStatus")]
    GetStatus {},
    /// Log lines from the ring; with `more` and `follow`, further ones as they come. Reader.
    #[serde(rename = "io.ggend.Control.GetLogs")]
    GetLogs(LogQuery),
    /// The catalogue as clients see it. Reader.
    #[serde(rename = "io.ggend.Control.ListTools")]
    ListTools {},
    /// The same after every server that serves has been asked for its tools again. Reader.
    #[serde(rename = "io.ggend.Control.RefreshTools")]
    RefreshTools {},
    /// One tool's full definition. Reader.
    #[serde(rename = "io.ggend.Control.DescribeTool")]
    DescribeTool {
        /// The exposed name.
        name: String,
    },
    /// A real call of a tool. Operator.
    #[serde(rename = "io.ggend.Control.CallTool")]
    CallTool {
        /// The exposed name.
        name: String,
        /// The tool's arguments.
        arguments: serde_json::Value,
    },
    /// Current metrics as Prometheus text. Reader.
    #[serde(rename = "io.ggend.Control.GetMetrics")]
    GetMetrics {},
    /// The configuration in force, secrets redacted. Reader.
    #[serde(rename = "io.ggend.Control.GetConfig")]
    GetConfig {},
    /// Returns once every upstream has settled (ready, or known not to be), or at the time-out.
    /// Reader.
    #[serde(rename = "io.ggend.Control.Wait")]
    Wait {
        /// Milliseconds to wait at most.
        timeout_ms: u64,
    },
    /// Drain and exit. Answers with progress if `more` is set, and once draining has begun
    /// otherwise. Operator.
    #[serde(rename = "io.ggend.Control.Stop")]
    Stop {
        /// Do not wait for what is in flight.
        force: bool,
        /// One transport (`http`, `https`, `websocket`, `quic`, `admin`) or upstream alone, until
        /// it is started again or the daemon is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        target: Option<String>,
    },
    /// Start one transport or upstream that was stopped, or is not up. Operator.
    #[serde(rename = "io.ggend.Control.Start")]
    Start {
        /// As for `Stop`.
        target: String,
    },
    /// Replace every worker of a role, or one upstream, or all workers when both are `None`.
    /// Operator.
    #[serde(rename = "io.ggend.Control.Restart")]
    Restart {
        /// A role (`http`, `gateway`, `admin`) or an upstream's name.
        target: Option<String>,
    },
    /// Re-read the configuration and put it in force. With `more`, the plan and lines of progress
    /// come first. Operator.
    #[serde(rename = "io.ggend.Control.Reload")]
    Reload {
        /// Answer with the plan, and do nothing.
        #[serde(default)]
        plan_only: bool,
        /// Check the configuration, and do nothing.
        #[serde(default)]
        validate_only: bool,
    },
    /// Become another binary in place: the same process, sockets, servers and sessions. It first
    /// has to prove that it can; the workers are replaced after it. Answers with progress if `more`
    /// is set. Operator.
    #[serde(rename = "io.ggend.Control.Upgrade")]
    Upgrade {
        /// Its path; `None`: what lies now where the running one was started from.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        binary: Option<String>,
    },
    /// Log at another level, in all processes, over configuration, flags and `RUST_LOG`. Operator.
    #[serde(rename = "io.ggend.Control.SetLogLevel")]
    SetLogLevel {
        /// `mcp_server`, `transport`, `auth`, `tools`, `protocol`; `None` means all of them.
        category: Option<String>,
        /// The level; `None` takes the override back.
        level: Option<crate::log::Level>,
        /// Milliseconds until it is taken back; `None` means never while the daemon runs.
        for_ms: Option<u64>,
    },
}

impl Call {
    /// A reload that is carried out.
    pub const RELOAD: Self = Self::Reload {
        plan_only: false,
        validate_only: false,
    };

    /// The method's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::GetStatus {} => "GetStatus",
            Self::GetLogs(_) => "GetLogs",
            Self::ListTools {} => "ListTools",
            Self::RefreshTools {} => "RefreshTools",
            Self::DescribeTool { .. } => "DescribeTool",
            Self::CallTool { .. } => "CallTool",
            Self::GetMetrics {} => "GetMetrics",
            Self::GetConfig {} => "GetConfig",
            Self::Wait { .. } => "Wait",
            Self::Stop { .. } => "Stop",
            Self::Start { .. } => "Start",
            Self::Restart { .. } => "Restart",
            Self::Reload { .. } => "Reload",
            Self::Upgrade { .. } => "Upgrade",
            Self::SetLogLevel { .. } => "SetLogLevel",
        }
    }

    /// The command of `ggen` that makes this call, as it is typed.
    #[must_use]
    pub fn command(&self) -> String {
        let server = |verb: &str, option: &str, value: &Option<String>| match value {
            Some(value) => format!("server {verb} --{option} {}", quoted(value)),
            None => format!("server {verb}"),
        };
        let words = match self {
            Self::GetStatus {} => "server status".to_owned(),
            Self::GetLogs(_) => "server logs".to_owned(),
            Self::ListTools {} => "list".to_owned(),
            Self::RefreshTools {} => "list --refresh".to_owned(),
            Self::DescribeTool { name } => format!("status {}", quoted(name)),
            Self::CallTool { name, .. } => format!("test {}", quoted(name)),
            Self::GetMetrics {} => "server status --metrics".to_owned(),
            Self::GetConfig {} => "config show".to_owned(),
            Self::Wait { .. } => "server wait".to_owned(),
            Self::Stop { force: true, .. } => "server stop --force".to_owned(),
            Self::Stop { target, .. } => server("stop", "server", target),
            Self::Start { target } => format!("server start --server {}", quoted(target)),
            Self::Restart { target } => server("restart", "server", target),
            Self::Reload { .. } => "server reload".to_owned(),
            Self::Upgrade { binary } => server("upgrade", "binary", binary),
            Self::SetLogLevel {
                category,
                level,
                for_ms,
            } => {
                let category = category
                    .as_ref()
                    .map_or_else(String::new, |category| format!("{category}="));
                let level = level.map_or_else(
                    || "default".to_owned(),
                    |level| format!("{level:?}").to_lowercase(),
                );
                let time = for_ms.map_or_else(String::new, |ms| format!(" --for {ms}ms"));
                format!("server log-level {category}{level}{time}")
            }
        };
        ["ggen", "mcp", &words].join(" ")
    }
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Which log lines.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LogQuery {
    /// The newest N that match; `None` is all that the ring holds.
    #[serde(default)]
    pub tail: Option<u32>,
    /// Keep the call open and send new lines.
    #[serde(default)]
    pub follow: bool,
    /// This level and more severe ones.
    #[serde(default)]
    pub level: Option<crate::log::Level>,
    /// One category.
    #[serde(default)]
    pub category: Option<String>,
    /// One upstream's stderr and what concerns it.
    #[serde(default)]
    pub upstream: Option<String>,
    /// What was said of one call: by its request's id as the client gave it, or by its trace id.
    #[serde(default)]
    pub call: Option<String>,
    /// Only lines that contain this text, whatever the case.
    #[serde(default)]
    pub grep: Option<String>,
    /// Only lines of the last so many milliseconds.
    #[serde(default)]
    pub since_ms: Option<u64>,
}

/// What every reply's `parameters` hold: the daemon's version, so that skew shows, and one member
/// of the answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Version of the daemon that answers.
    pub version: String,
    /// The answer.
    #[serde(flatten)]
    pub body: Body,
}

/// The answer to a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// To `GetStatus` and `Wait`.
    Status(Box<status::Status>),
    /// To `GetLogs`.
    Lines(Vec<LogLine>),
    /// To `ListTools` and `RefreshTools`.
    Tools(Vec<status::Tool>),
    /// To `DescribeTool`, `CallTool` and `GetConfig`: JSON as it came.
    Value(serde_json::Value),
    /// To `GetMetrics`.
    Text(String),
    /// To `Reload`: what it takes.
    Plan(crate::plan::Plan),
    /// To `Stop`, `Restart`, `Reload`, `SetLogLevel`: a line of progress or the outcome.
    Done(String),
}

/// Varlink error of ours: `io.ggend.Control.Failed`.
pub const FAILED: &str = "io.ggend.Control.Failed";

/// Parameters of [`FAILED`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// Version of the daemon that answers.
    #[serde(default)]
    pub version: String,
    /// The stable code.
    pub code: Code,
    /// What is wrong.
    pub message: String,
    /// The command that fixes it.
    #[serde(default)]
    pub help: String,
}

#[cfg(test)]
#[path = "control_tests.rs"]
mod tests;
