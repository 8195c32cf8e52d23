//! The configuration in force, where the next one comes from, and what operators have stopped.

use super::reload::operator_stops::Switch;
use crate::{
    config::{Config, LoadOptions, Loaded, LogLevel, TRANSPORTS},
    ipc::messages::RunAs,
};
use std::{collections::BTreeSet, time::Duration};

/// The configuration.
pub(super) struct Settings {
    /// Where it comes from.
    pub(super) options: LoadOptions,
    /// A level from a flag, over the configuration's.
    pub(super) level: Option<LogLevel>,
    /// Transports and upstreams that an operator has stopped.
    pub(super) stopped: BTreeSet<String>,
    /// The one in force.
    pub(super) loaded: Loaded,
    /// Its generation.
    pub(super) generation: u32,
    /// The user that workers run as.
    pub(super) run_as: Option<RunAs>,
    /// Why the last reload was refused.
    pub(super) refused: Option<String>,
}

impl Settings {
    /// The values in force.
    pub(super) const fn config(&self) -> &Config {
        &self.loaded.config
    }

    /// What workers may take to finish what they have.
    pub(super) const fn drain_limit(&self) -> Duration {
        Duration::from_millis(self.loaded.config.server.drain_timeout_ms)
    }

    /// Puts another configuration in force.
    pub(super) fn put(&mut self, loaded: Loaded, generation: u32, run_as: Option<RunAs>) {
        (self.loaded, self.generation, self.run_as) = (loaded, generation, run_as);
    }

    /// Logs what is wrong with the configuration and does not stop the daemon.
    pub(super) fn log_warnings(&self) {
        for problem in &self.loaded.warnings {
            tracing::warn!(target: "mcp_server", code = %problem.code, "{problem}");
        }
    }

    /// Whether an upstream is down because an operator has stopped it.
    pub(super) fn is_stopped(&self, upstream: &str) -> bool {
        self.loaded.stopped.contains(upstream) && !TRANSPORTS.contains(&upstream)
    }

    /// A change by name could not be put in force.
    pub(super) fn undo(&mut self, switch: &Switch) {
        if switch.on {
            self.stopped.insert(switch.name.clone());
        } else {
            self.stopped.remove(&switch.name);
        }
    }
}
