//! `server`: the daemon itself.

use super::Size;
use serde::{Deserialize, Serialize};

/// `server`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Worker processes per transport, 1 to 64.
    pub workers: u16,
    /// Connections kept open to a remote upstream, 1 to 1000.
    pub connection_pool: u16,
    /// Size of a read buffer: bytes, or text with KB or MB.
    pub buffer_size: Size,
    /// How long a worker may finish what is in flight, in milliseconds.
    pub drain_timeout_ms: u64,
    /// How many stdio servers may be in their start-up at once, 1 to 64. None: as many as there are
    /// processors, 2 to 16.
    pub start_concurrency: Option<u16>,
    /// What an edge worker may hold for its clients, beside 32 kB for each connection; the gateway
    /// worker may hold four times as much, and 64 MB for each stdio server.
    pub memory: Size,
    /// Whether workers give up what they do not need.
    pub sandbox: SandboxMode,
    /// The user that workers become when the daemon is started as root: a name or a number. None:
    /// `ggen` if there is one, otherwise `nobody`.
    pub user: Option<String>,
    /// Their group; none: that user's own.
    pub group: Option<String>,
    /// The user that stdio servers run as, where `sandbox.user` says nothing else: a name or a
    /// number. None: the daemon's own.
    pub upstream_user: Option<String>,
}

impl Server {
    /// How many stdio servers may be in their start-up at once.
    pub(crate) fn starts_at_once(&self) -> usize {
        let cores =
            || std::thread::available_parallelism().map_or(2, |cores| cores.get().clamp(2, 16));
        self.start_concurrency
            .map_or_else(cores, |most| usize::from(most.max(1)))
    }
}

/// `server.sandbox`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SandboxMode {
    /// What the kernel offers.
    #[default]
    Auto,
    /// All of it, or workers do not serve.
    Required,
    /// Nothing.
    Off,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            workers: 2,
            connection_pool: 32,
            buffer_size: Size(8 << 10),
            drain_timeout_ms: 30_000,
            start_concurrency: None,
            memory: Size(64 << 20),
            sandbox: SandboxMode::default(),
            user: None,
            group: None,
            upstream_user: None,
        }
    }
}
