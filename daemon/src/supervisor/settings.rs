//! The configuration in force, where the next one comes from, and what operators have stopped.

use super::reload::operator_stops::Switch;
use crate::{
    config::{Config, LoadOptions, Loaded, LogLevel, Problem, Severity, TRANSPORTS},
    ipc::messages::RunAs,
};
use ggen_wire::status::Issue;
use std::{collections::BTreeSet, time::Duration};

/// Warnings that the status tells.
const MOST_WARNINGS: usize = 32;

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

    /// The same for the status. What an entry is not served for is an issue of its server.
    pub(super) fn warnings(&self) -> Vec<Issue> {
        let warns = |problem: &&Problem| problem.severity == Severity::Warning;
        let issue = |problem: &Problem| Issue {
            code: problem.code,
            message: format!("{}: {}", problem.place, problem.text()),
            help: problem.commands().swap_remove(0),
        };
        let all = self.loaded.warnings.iter().filter(warns);
        all.map(issue).take(MOST_WARNINGS).collect()
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
