//! The log filter in force: the configured one, with the levels over it that were changed at run
//! time.

use super::log_levels::{self, LogLevels};
use crate::{
    log::{self, Control},
    supervisor::reply::failure,
};
use ggen_wire::{Code, control::Failure, log::Level, status::LogOverride};
use std::time::Duration;

/// The filter and what it is put in force with.
pub(crate) struct Logging {
    configured: String,
    levels: LogLevels,
    control: Control,
}

impl Logging {
    /// The configured filter, which is in force already.
    pub(crate) fn new(configured: String, control: Control) -> Self {
        Self {
            configured,
            levels: LogLevels::default(),
            control,
        }
    }

    /// The filter for a worker of the configuration in force.
    pub(crate) fn filter(&self) -> String {
        self.levels.over(&self.configured)
    }

    /// The filter for a worker of another configuration.
    pub(crate) fn over(&self, configured: &str) -> String {
        self.levels.over(configured)
    }

    /// Another configuration is in force.
    pub(crate) fn configure(&mut self, configured: String) {
        self.configured = configured;
    }

    /// Puts the filter in force in this process, and returns it for the others.
    pub(crate) fn apply(&self) -> String {
        let filter = self.filter();
        self.control.set(&filter);
        filter
    }

    /// Changes the level of a category, or of all. Says what has been done.
    ///
    /// # Errors
    /// When no category has that name.
    pub(crate) fn set(
        &mut self,
        category: Option<&str>,
        level: Option<Level>,
        for_ms: Option<u64>,
        now: Duration,
    ) -> Result<String, Failure> {
        let until = for_ms.and_then(|ms| now.checked_add(Duration::from_millis(ms)));
        self.levels.set(category, level, until).map_err(|error| {
            let help = format!("one of {}", log::CATEGORIES.join(", "));
            failure(Code::InvalidRequest, &error.to_string(), &help)
        })?;
        let what = category.unwrap_or("every category");
        Ok(match (level, until) {
            (Some(level), Some(_)) => format!(
                "{what} logs at {} for {} s",
                log_levels::name(level),
                for_ms.unwrap_or_default() / 1000
            ),
            (Some(level), None) => format!(
                "{what} logs at {} while the daemon runs",
                log_levels::name(level)
            ),
            (None, _) => format!("{what} logs at the configured level"),
        })
    }

    /// Drops changes whose time is up; says whether there were any.
    pub(crate) fn expire(&mut self, now: Duration) -> bool {
        self.levels.expire(now)
    }

    /// When the next one's time is up.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.levels.deadline()
    }

    /// For the status.
    pub(crate) fn status(&self, now: Duration) -> Vec<LogOverride> {
        self.levels.status(now)
    }

    /// The changes, for the next binary.
    pub(crate) fn saved(&self) -> Vec<(String, Level, Option<Duration>)> {
        self.levels.all()
    }

    /// Takes over the changes of the binary before this one.
    pub(crate) fn restore(&mut self, levels: Vec<(String, Level, Option<Duration>)>) {
        for (category, level, until) in levels {
            // A category that does not exist any more has no level.
            self.levels
                .set(Some(&category), Some(level), until)
                .unwrap_or_default();
        }
    }
}
