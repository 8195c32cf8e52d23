//! The messages between the supervisor and a shim, over the same frames as the workers' control
//! channel.

pub use crate::config::{ServerNetwork, ServerSandbox};

use super::messages::Environment;
use crate::platform::Group;
use ggen_wire::Code;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Supervisor → shim.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToShim {
    /// The first message, once. Descriptors: what the command gets as stdin, stdout and stderr.
    Launch(Launch),
    /// End the command and everything below it.
    Stop {
        /// Milliseconds between SIGTERM and SIGKILL.
        grace_ms: u64,
    },
}

/// What a shim is to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Launch {
    /// The program, looked up in `env`'s PATH if it has no slash.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its whole environment.
    pub env: Environment,
    /// Its working directory; `None`: the daemon's own.
    pub cwd: Option<PathBuf>,
    /// What it may do less than the daemon.
    #[serde(default)]
    pub sandbox: Option<Box<ServerSandbox>>,
    /// The control group that it is to be in from its first instruction on.
    #[serde(default)]
    pub group: Option<Group>,
}

/// Shim → supervisor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromShim {
    /// The command runs, as the leader of a process group of its own.
    Started {
        /// Its process id.
        pid: u32,
    },
    /// The command could not be started; the shim exits.
    SpawnFailed {
        /// It is not there, or not executable.
        missing: bool,
        /// What it is, if it is something else; it will not be better at the next try.
        #[serde(default)]
        code: Option<Code>,
        /// The system's words.
        reason: String,
    },
    /// The command has ended and nothing below it is left; the shim exits.
    Exited {
        /// How it ended, as a person reads it.
        reason: String,
        /// Its exit status, if it exited by itself.
        status: Option<i32>,
        /// Descendants that had to be killed.
        swept: u32,
    },
}
