//! `mcpServers.<name>.sandbox`: what is taken away from a stdio server. Definitions only.

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
    /// Files and folders that it may read. With this or `write`, it reaches no file but these and
    /// the system's programs, libraries and settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read: Option<Vec<PathBuf>>,
    /// Files and folders that it may read and write.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write: Option<Vec<PathBuf>>,
    /// Whether it reaches the network.
    pub network: ServerNetwork,
    /// Whether it may make Unix sockets although files or the network are out of its reach.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unix_sockets: bool,
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
    /// It makes no socket, but for Unix ones where `unix_sockets` is set.
    None,
}

/// `sandbox.limits`; each holds for one process, those of `family` for all of them together.
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
    /// Of the server and whatever it starts; takes a control group of its own.
    #[serde(skip_serializing_if = "FamilyLimits::is_none")]
    pub family: FamilyLimits,
}

/// `sandbox.limits.family`; a child that is started for single calls has them for itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FamilyLimits {
    /// Memory, files in the cache and the kernel's own included; none of it is swapped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Size>,
    /// Processes and threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processes: Option<u64>,
    /// Processor time, in hundredths of one processor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_percent: Option<u64>,
}

impl FamilyLimits {
    /// Whether there is none.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

impl ServerSandbox {
    /// Whether files are out of reach that are not named.
    #[must_use]
    pub const fn confines_files(&self) -> bool {
        self.read.is_some() || self.write.is_some()
    }

    /// Whether it makes no Unix socket: through one, other programs would do for it what it may
    /// not.
    #[must_use]
    pub fn confines_unix_sockets(&self) -> bool {
        !self.unix_sockets && (self.confines_files() || self.network == ServerNetwork::None)
    }
}
