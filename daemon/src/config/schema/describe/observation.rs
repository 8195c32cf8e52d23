//! Leaves of the configuration file for its JSON Schema: logs, metrics and traces. Data only.

use super::{Kind, LEVELS, Leaf};

/// `logging`, `metrics` and `tracing`.
pub(super) const OBSERVATION: &[Leaf] = &[
    (
        "logging.audit",
        Kind::Flag,
        "A line for each call: who, what, outcome, duration, bytes.",
    ),
    (
        "logging.audit_arguments",
        Kind::Flag,
        "The arguments of calls in those lines, too.",
    ),
    ("logging.level", Kind::Choice(LEVELS), "What is logged."),
    (
        "logging.format",
        Kind::Choice(&["auto", "console", "json", "journald"]),
        "Where lines go and how they look.",
    ),
    (
        "logging.file.path",
        Kind::Text,
        "A file that the lines are written to as well.",
    ),
    (
        "logging.file.rotation",
        Kind::Choice(&["never", "hourly", "daily"]),
        "When a new file is begun, whatever its size.",
    ),
    (
        "logging.file.max_size",
        Kind::Size(64 << 10, 1 << 40),
        "A new file is begun before this is exceeded.",
    ),
    (
        "logging.file.keep",
        Kind::Number(0, 1000),
        "Earlier files that are kept.",
    ),
    (
        "logging.modules.mcp_server",
        Kind::Choice(LEVELS),
        "The level of one category: the daemon's own life.",
    ),
    (
        "logging.modules.transport",
        Kind::Choice(LEVELS),
        "The level of one category: connections and listeners.",
    ),
    (
        "logging.modules.auth",
        Kind::Choice(LEVELS),
        "The level of one category: who is let in.",
    ),
    (
        "logging.modules.tools",
        Kind::Choice(LEVELS),
        "The level of one category: tool calls.",
    ),
    (
        "logging.modules.protocol",
        Kind::Choice(LEVELS),
        "The level of one category: MCP messages.",
    ),
    (
        "metrics.enabled",
        Kind::Flag,
        "Whether the admin listener (/livez, /readyz, /health, /metrics) is served.",
    ),
    (
        "metrics.host",
        Kind::Host,
        "Address to bind; localhost is both loopback addresses.",
    ),
    (
        "metrics.port",
        Kind::Number(0, 65535),
        "Port to bind; 0 lets the system choose.",
    ),
    (
        "tracing.otlp.enabled",
        Kind::Flag,
        "Whether requests and calls become spans, and are sent to a collector (OTLP/HTTP).",
    ),
    (
        "tracing.otlp.endpoint",
        Kind::Text,
        "The collector's address, http or https; spans go to /v1/traces below it.",
    ),
    (
        "tracing.otlp.headers",
        Kind::Text,
        "Headers of each export, name=value,… with percent-encoded values; ${VAR} and ${credential:NAME} are expanded.",
    ),
    (
        "tracing.otlp.headers_file",
        Kind::Text,
        "A file that holds these headers; an absolute path.",
    ),
    (
        "tracing.otlp.timeout_ms",
        Kind::Number(100, 60_000),
        "Time for one export, in milliseconds.",
    ),
    (
        "tracing.otlp.sample_ratio",
        Kind::Share,
        "The share of traces that begin here and are recorded; a client's trace is if the client says so.",
    ),
    ("tracing.otlp.compression", Kind::Flag, "gzip for exports."),
    (
        "tracing.otlp.service_name",
        Kind::Text,
        "service.name of the spans.",
    ),
];
