//! The daemon's status: one set of types for `ggen`, `/health`, the built-in tools and the tests.
//! Durations are milliseconds, sizes are bytes, times are milliseconds since the Unix epoch.

use crate::Code;
use serde::{Deserialize, Serialize};

/// The daemon as a whole. Members that an older daemon does not send have their default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// Version of the running daemon.
    pub version: String,
    /// Process id of the supervisor.
    pub pid: u32,
    /// Where the daemon stands in its life.
    pub phase: Phase,
    /// When the supervisor started.
    pub started_ms: u64,
    /// Time since then.
    pub uptime_ms: u64,
    /// Generation of the configuration in force; 1 after boot, one more with every reload.
    pub generation: u32,
    /// The configuration file in force; `None` means built-in defaults.
    pub config_file: Option<String>,
    /// The configuration's own `version` value.
    pub config_version: String,
    /// Every transport that is configured, stopped ones included.
    pub transports: Vec<Transport>,
    /// Every listener.
    pub listeners: Vec<Listener>,
    /// Every worker process, draining ones included.
    pub workers: Vec<Worker>,
    /// Every configured upstream server, in the configuration's order.
    pub upstreams: Vec<Upstream>,
    /// Tools served in the view of all, built-in ones included.
    pub tools: u32,
    /// Legacy sessions that are open.
    pub sessions: u32,
    /// Calls in flight.
    pub in_flight: u32,
    /// The slowest recent calls, slowest first, at most ten.
    pub slow: Vec<SlowCall>,
    /// Limits and time-outs in force.
    pub limits: Vec<Limit>,
    /// Log levels that were changed at run time.
    pub log_levels: Vec<LogOverride>,
    /// What control groups servers have; an older daemon does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroups: Option<Cgroups>,
    /// What is wrong now; empty on a healthy daemon.
    pub issues: Vec<Issue>,
    /// What the configuration says that is not used, or surely a mistake, at most thirty-two; the
    /// daemon serves all the same. An older daemon does not tell.
    pub warnings: Vec<Issue>,
}

/// The control groups of stdio servers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cgroups {
    /// The group below which each server has its own, as the kernel names it; `None`: there are
    /// none.
    pub place: Option<String>,
    /// What can be counted and limited there: `memory`, `pids`, `cpu`.
    pub controllers: Vec<String>,
    /// Why there are none, or not all.
    pub reason: Option<String>,
}

/// A limit in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limit {
    /// The configuration's key, or `rlimit.nofile` for the number of files that the supervisor may
    /// open.
    pub name: String,
    /// Its value, with its unit where the key does not name it.
    pub value: String,
}

/// A log level that stands over the configured one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogOverride {
    /// The category.
    pub category: String,
    /// The level.
    pub level: crate::log::Level,
    /// Milliseconds until it is taken back; `None` means that it stays.
    pub left_ms: Option<u64>,
}

/// Life phases of the daemon and of its workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Not serving yet.
    #[default]
    Starting,
    /// Serving.
    Running,
    /// Serving, with a transport or upstream that is not well.
    Degraded,
    /// Finishing what is in flight, taking nothing new.
    Draining,
    /// Dead, waiting for its next start.
    Backoff,
    /// Dead for good until a reload (exit code 78).
    Failed,
    /// Stopped on request.
    Stopped,
}

impl Phase {
    /// The name as it is printed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Degraded => "degraded",
            Self::Draining => "draining",
            Self::Backoff => "backoff",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

/// A way in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transport {
    /// `http`, `https`, `websocket`, `quic` or `admin`.
    pub name: String,
    /// `running`, `starting`, `degraded` or `stopped` (on request).
    pub phase: Phase,
    /// Where, if it has a listener of its own.
    pub address: Option<String>,
    /// Workers that are ready; those of HTTP serve HTTPS too.
    pub workers: u32,
    /// Why it is not served, if it is not.
    pub detail: Option<String>,
}

/// A listening address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listener {
    /// `http`, `https`, `websocket`, `quic` or `admin`.
    pub transport: String,
    /// `127.0.0.1:3000`
    pub address: String,
    /// The port alone.
    pub port: u16,
    /// Where the socket came from: `bound`, `kept` or `inherited`.
    pub origin: String,
}

/// A worker process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Worker {
    /// `gateway-0`, `http-1`, `admin-0`.
    pub name: String,
    /// `gateway`, `http`, `admin`.
    pub role: String,
    /// Process id; `None` while it waits for its next start.
    pub pid: Option<u32>,
    /// Generation it was started with.
    pub generation: u32,
    /// Where it stands.
    pub phase: Phase,
    /// Starts after the first one.
    pub restarts: u64,
    /// Open client connections, as of the last beat.
    pub connections: u64,
    /// Resident memory in bytes, 0 if unknown.
    pub rss_bytes: u64,
    /// Milliseconds since the last beat.
    pub beat_age_ms: u64,
    /// Why its predecessor ended, if it had one.
    pub last_exit: Option<String>,
    /// How much of its sandbox stands: `full`, `off`, or `partial, without …`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<String>,
    /// Files that it has open, and how many there may be, as of the last beat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_files: Option<(u64, u64)>,
}

/// States of an upstream server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpstreamState {
    /// Started, not yet through its handshake.
    #[default]
    Starting,
    /// Serving.
    Ready,
    /// Down or silent; its last good lists are still served.
    Degraded,
    /// Died too often in a short time; still tried, with backoff.
    CrashLoop,
    /// Stopped: `max_restarts` used up, or stopped on request.
    Stopped,
    /// `"enabled": false`, or skipped because it would call the gateway itself.
    Disabled,
}

impl UpstreamState {
    /// The name as it is printed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Degraded => "degraded",
            Self::CrashLoop => "crash-loop",
            Self::Stopped => "stopped",
            Self::Disabled => "disabled",
        }
    }
}

/// An upstream server. Members that an older daemon does not send have their default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Upstream {
    /// The key in `mcpServers`.
    pub name: String,
    /// `stdio` or `http`.
    pub transport: String,
    /// Where it stands.
    pub state: UpstreamState,
    /// Process id of a stdio server.
    pub pid: Option<u32>,
    /// `legacy` or `modern`, once known.
    pub era: Option<String>,
    /// Protocol version spoken with it.
    pub protocol: Option<String>,
    /// The server's own name and version.
    pub server: Option<String>,
    /// Tools, prompts and resources it gives.
    pub tools: u32,
    /// Prompts it gives.
    pub prompts: u32,
    /// Resources it gives.
    pub resources: u32,
    /// Calls in flight.
    pub in_flight: u32,
    /// Starts after the first one.
    pub restarts: u64,
    /// Why it last ended or could not be reached, or why it is degraded although it runs.
    pub last_exit: Option<String>,
    /// The code of what is wrong with it, if anything is.
    pub code: Option<Code>,
    /// Milliseconds until the next start, while it waits for one.
    pub next_start_ms: Option<u64>,
    /// Milliseconds since its start, while it starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starting_ms: Option<u64>,
    /// The last line that it wrote on standard error, while it is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_line: Option<String>,
    /// Children that run beside the shared one, for calls that may ask their client.
    #[serde(default)]
    pub children: u32,
    /// Resident memory of the server, its other children and their descendants in bytes, 0 if
    /// unknown.
    pub rss_bytes: u64,
    /// How many processes these are, 0 if unknown.
    pub processes: u32,
    /// Their memory as their control groups count it, the cache of their files included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
}

impl Upstream {
    /// Its state for a person: `ready`, `starting 40 s`.
    #[must_use]
    pub fn state_text(&self) -> String {
        match self.starting_ms {
            Some(ms) => format!("{} {} s", self.state.as_str(), ms / 1000),
            None => self.state.as_str().to_owned(),
        }
    }
}

/// A call that took long.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SlowCall {
    /// The method, and the tool's exposed name where there is one.
    pub what: String,
    /// The upstream that answered.
    pub upstream: String,
    /// How long it took.
    pub duration_ms: u64,
    /// When it ended.
    pub ended_ms: u64,
}

/// Something that is wrong, and the command that fixes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Issue {
    /// The stable code.
    pub code: Code,
    /// What is wrong, with the evidence.
    pub message: String,
    /// The command that fixes it, or the next one that tells more.
    pub help: String,
}

/// One tool of the catalogue, as `ggen mcp list` shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tool {
    /// The exposed name.
    pub name: String,
    /// The upstream's name, or `core`.
    pub server: String,
    /// The name that the upstream uses.
    pub original: String,
    /// First line of the description.
    pub description: String,
    /// `available`, or the state of its upstream.
    pub status: String,
}
