//! `mcpServers.<name>.sandbox`: what one stdio server may do less than the daemon.

use super::Size;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// `sandbox` of an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerSandbox {
    /// The user that the server runs as, a name or a number; for daemons that are started as root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Files and folders that it may read. With this or `write`, it reaches no file but these and the system's programs, libraries and settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read: Option<Vec<PathBuf>>,
    /// Files and folders that it may read and write.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write: Option<Vec<PathBuf>>,
    /// Whether it reaches the network.
    pub network: ServerNetwork,
    /// Its limits.
    pub limits: ServerLimits,
}

/// `sandbox.network`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServerNetwork {
    /// As the daemon does.
    #[default]
    Full,
    /// It makes no socket but Unix ones.
    None,
}

/// `sandbox.limits`; each holds for one process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerLimits {
    /// Memory that it may write to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Size>,
    /// Processor time over its life, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_seconds: Option<u64>,
    /// Open files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_files: Option<u64>,
    /// Processes and threads of its user, who has to be named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processes: Option<u64>,
    /// The largest file that it writes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_size: Option<Size>,
}

impl ServerSandbox {
    /// Whether files are out of reach that are not named.
    #[must_use]
    pub const fn confines_files(&self) -> bool {
        self.read.is_some() || self.write.is_some()
    }
}
