//! Reading a configuration that may come into force: everything that can be wrong with it is found
//! here, before anything has changed.

use super::{Scope, plan};
use crate::{
    config::{self, LoadOptions, Loaded, LogLevel, Problem},
    ipc::messages::RunAs,
    log,
    supervisor::{
        listeners::Listeners,
        processes::run_as::run_as,
        reply::failure,
        secrets::{self, Tls},
    },
};
use ggen_wire::{Code, control::Failure, plan::Plan};
use std::collections::BTreeSet;

/// A configuration that is not in force yet.
pub(crate) struct Candidate {
    pub(crate) loaded: Loaded,
    pub(crate) listeners: Listeners,
    pub(crate) tls: Tls,
    pub(crate) generation: u32,
    pub(crate) log_filter: String,
    pub(crate) run_as: Option<RunAs>,
}

/// What is in force, and where the next configuration comes from.
pub(crate) struct Present<'a> {
    pub(crate) options: &'a LoadOptions,
    pub(crate) level: Option<LogLevel>,
    pub(crate) stopped: &'a BTreeSet<String>,
    pub(crate) loaded: &'a Loaded,
    pub(crate) generation: u32,
    /// The listeners that a new configuration may go on with.
    pub(crate) listeners: &'a Listeners,
}

/// What has been read.
pub(crate) enum Reading {
    /// The configuration in force; the files of certificates may say something else.
    Unchanged(Box<(Loaded, Tls)>),
    /// Another one, and what it takes to get there.
    Changed(Box<(Candidate, Plan)>),
}

/// Reads the configuration, with what operators have stopped switched off.
///
/// # Errors
/// Why it cannot come into force. This has been logged.
pub(crate) fn read(scope: Scope, present: &Present<'_>) -> Result<Reading, Failure> {
    let read = match scope {
        Scope::Files => config::load(present.options),
        Scope::Nothing | Scope::Switches => Ok(present.loaded.clone()),
    };
    let loaded = read
        .map_err(|problems| refused(&problems))?
        .with_stopped(present.stopped);
    let tls = Tls::read(&loaded).map_err(|error| secrets::refused(&error))?;
    let run_as = run_as(&loaded.config).map_err(|error| {
        tracing::error!(target: "mcp_server", event = "refused", code = %error.code, "configuration refused, the old one stays in force: {error}");
        failure(
            error.code,
            &error.to_string(),
            "ggen mcp config get server",
        )
    })?;
    if loaded.config == present.loaded.config && loaded.stopped == present.loaded.stopped {
        return Ok(Reading::Unchanged(Box::new((loaded, tls))));
    }
    let listeners = Listeners::open(&loaded, present.listeners, Vec::new()).map_err(|error| {
        tracing::error!(target: "transport", event = "refused", code = %error.code, "configuration refused, the old one stays in force: {error}");
        let message = format!(
            "{error}; generation {} stays in force",
            present.generation
        );
        failure(error.code, &message, "ggen mcp server status")
    })?;
    let plan = plan::plan(&present.loaded.config, &loaded.config, present.generation);
    let rust_log = std::env::var("RUST_LOG").ok();
    let candidate = Candidate {
        log_filter: log::filter_text(&loaded.config.logging, present.level, rust_log.as_deref()),
        generation: present.generation + 1,
        loaded,
        listeners,
        tls,
        run_as,
    };
    Ok(Reading::Changed(Box::new((candidate, plan))))
}

/// Says what is wrong with a configuration.
pub(crate) fn refused(problems: &[Problem]) -> Failure {
    for problem in problems {
        tracing::error!(target: "mcp_server", event = "refused", code = %problem.code, "configuration refused, the old one stays in force: {problem}");
    }
    let first = problems
        .iter()
        .find(|problem| problem.is_error())
        .or(problems.first());
    let code = first.map_or(Code::ConfigValue, |problem| problem.code);
    let message = problems
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n");
    failure(code, &message, "ggend check")
}
