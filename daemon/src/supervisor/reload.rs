//! Reading the configuration again, and replacing workers one after another without closing a listener.

use super::{Supervisor, event::Reply, listeners::Listeners};
use crate::{config, log};
use ggen_wire::{
    Code,
    control::{Body, Failure},
};

/// Who waits for a rolling replacement.
#[derive(Debug, Default)]
pub(crate) struct Rolling {
    watchers: Vec<Reply>,
    outcome: String,
}

impl Supervisor {
    /// Reads and checks the configuration; puts it in force, or leaves everything as it was and says why.
    pub(crate) fn reload(&mut self, watcher: Option<Reply>) {
        let answer = |watcher: Option<Reply>, result| {
            if let Some(watcher) = watcher {
                watcher.last(result);
            }
        };
        let loaded = match config::load(&self.load_options) {
            Ok(loaded) => loaded,
            Err(problems) => {
                for problem in &problems {
                    tracing::error!(target: "mcp_server", code = %problem.code, "configuration refused, the old one stays in force: {problem}");
                }
                let first = problems.iter().find(|problem| problem.is_error()).or(problems.first());
                let code = first.map_or(Code::ConfigValue, |problem| problem.code);
                let message = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
                return answer(watcher, Err(super::calls::failure(code, &message, "ggend check")));
            }
        };
        if loaded.config == self.loaded.config {
            tracing::info!(target: "mcp_server", "configuration has not changed");
            return answer(watcher, Ok(Body::Done(format!("no change, generation {} stays in force", self.generation))));
        }
        let listeners = match Listeners::open(&loaded.config, &self.listeners, Vec::new()) {
            Ok(listeners) => listeners,
            Err(error) => {
                tracing::error!(target: "transport", code = %error.code, "configuration refused, the old one stays in force: {error}");
                return answer(watcher, Err(super::calls::failure(error.code, &error.to_string(), "ggen mcp server status")));
            }
        };
        self.generation += 1;
        self.loaded = loaded;
        self.listeners = listeners;
        self.log_filter = log::filter_text(&self.loaded.config.logging, self.level, std::env::var("RUST_LOG").ok().as_deref());
        self.put_log_filter();
        tracing::info!(target: "mcp_server", generation = self.generation, "configuration in force");
        self.lay_out_upstreams();
        self.lay_out_slots();
        let names = self.workers.slots.iter().filter(|slot| slot.current.is_some() || slot.failed).map(|slot| slot.name.clone()).collect();
        self.roll_through(names, format!("generation {} in force", self.generation), watcher);
    }

    /// Replaces the workers of these slots, one after another.
    pub(crate) fn roll_through(&mut self, names: Vec<String>, outcome: String, watcher: Option<Reply>) {
        self.rolling.watchers.extend(watcher);
        self.rolling.outcome = outcome;
        let idle = self.workers.rolling.is_empty();
        for name in names {
            if !self.workers.rolling.contains(&name) {
                self.workers.rolling.push_back(name);
            } else if !idle && self.workers.rolling.front() == Some(&name) {
                // The one in turn was started with what was in force before: it comes round once more.
                self.workers.rolling.push_back(name);
            }
        }
        if idle {
            self.roll();
        }
    }

    /// All have been replaced.
    pub(crate) fn rolling_done(&mut self) {
        let outcome = std::mem::take(&mut self.rolling.outcome);
        for watcher in std::mem::take(&mut self.rolling.watchers) {
            watcher.last(Ok(Body::Done(outcome.clone())));
        }
    }

    /// A new process died before it was Ready; a predecessor goes on if there is one, and so do those that had not had their turn.
    pub(crate) fn rolling_failed(&mut self, name: &str, reason: &str) {
        self.workers.rolling.clear();
        let message = format!("the new {name} died before it was ready ({reason}); workers that were not replaced yet go on");
        tracing::error!(target: "mcp_server", code = %Code::WorkerDied, "{message}");
        let failure: Failure = super::calls::failure(Code::WorkerDied, &message, "ggen mcp server logs --level error");
        for watcher in std::mem::take(&mut self.rolling.watchers) {
            watcher.last(Err(failure.clone()));
        }
    }
}
