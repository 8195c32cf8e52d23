//! Log levels that were changed at run time: each stands over the configured filter until its time
//! is up. Pure; time is an argument.

use crate::log::CATEGORIES;
use ggen_wire::{log::Level, status::LogOverride};
use std::time::Duration;

/// The overrides in force, at most one a category.
#[derive(Debug, Default)]
pub(crate) struct LogLevels(Vec<Override>);

#[derive(Debug)]
struct Override {
    category: &'static str,
    level: Level,
    until: Option<Duration>,
}

/// No category has that name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("no log category is called `{0}`")]
pub(crate) struct UnknownCategory(String);

impl LogLevels {
    /// Puts a level over a category (`None`: over all), or takes it back (`level` is `None`).
    ///
    /// # Errors
    /// [`UnknownCategory`]; nothing has changed then.
    pub(crate) fn set(
        &mut self,
        category: Option<&str>,
        level: Option<Level>,
        until: Option<Duration>,
    ) -> Result<(), UnknownCategory> {
        let chosen: Vec<&'static str> = CATEGORIES
            .into_iter()
            .filter(|known| category.is_none_or(|category| category == *known))
            .collect();
        if chosen.is_empty() {
            return Err(UnknownCategory(category.unwrap_or_default().to_owned()));
        }
        self.0.retain(|held| !chosen.contains(&held.category));
        if let Some(level) = level {
            self.0.extend(chosen.into_iter().map(|category| Override {
                category,
                level,
                until,
            }));
        }
        Ok(())
    }

    /// Drops those whose time is up; says whether there were any.
    pub(crate) fn expire(&mut self, now: Duration) -> bool {
        let before = self.0.len();
        self.0
            .retain(|held| held.until.is_none_or(|until| until > now));
        self.0.len() < before
    }

    /// When the next one's time is up.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.0.iter().filter_map(|held| held.until).min()
    }

    /// The filter with the overrides over it: of two directives for one target, the later one
    /// counts.
    pub(crate) fn over(&self, filter: &str) -> String {
        self.0.iter().fold(filter.to_owned(), |text, held| {
            format!("{text},{}={}", held.category, name(held.level))
        })
    }

    /// All of them, and until when.
    pub(crate) fn all(&self) -> Vec<(String, Level, Option<Duration>)> {
        self.0
            .iter()
            .map(|held| (held.category.to_owned(), held.level, held.until))
            .collect()
    }

    /// For the status.
    pub(crate) fn status(&self, now: Duration) -> Vec<LogOverride> {
        let left = |until: Duration| {
            u64::try_from(until.saturating_sub(now).as_millis()).unwrap_or(u64::MAX)
        };
        let shown = |held: &Override| LogOverride {
            category: held.category.to_owned(),
            level: held.level,
            left_ms: held.until.map(left),
        };
        self.0.iter().map(shown).collect()
    }
}

/// The level as a filter names it.
pub(crate) const fn name(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_override_lasts_as_long_as_it_was_given() {
        let second = Duration::from_secs;
        let mut levels = LogLevels::default();
        levels
            .set(Some("tools"), Some(Level::Debug), Some(second(10)))
            .unwrap();
        levels.set(Some("auth"), Some(Level::Error), None).unwrap();
        assert_eq!(
            levels.over("warn,tools=info"),
            "warn,tools=info,tools=debug,auth=error"
        );
        assert_eq!(
            (levels.deadline(), levels.expire(second(9))),
            (Some(second(10)), false)
        );
        assert_eq!(levels.status(second(9))[0].left_ms, Some(1000));
        assert!(levels.expire(second(10)));
        assert_eq!(
            (levels.over("warn"), levels.deadline()),
            ("warn,auth=error".to_owned(), None)
        );
    }

    #[test]
    fn the_newest_one_of_a_category_counts_and_one_without_a_level_takes_it_back() {
        let mut levels = LogLevels::default();
        levels.set(None, Some(Level::Trace), None).unwrap();
        levels.set(Some("tools"), Some(Level::Debug), None).unwrap();
        assert!(
            levels.over("info").ends_with(",tools=debug")
                && !levels.over("info").contains("tools=trace")
        );
        levels.set(None, None, None).unwrap();
        assert_eq!(levels.over("info"), "info");
        assert_eq!(
            levels.set(Some("loud"), Some(Level::Info), None),
            Err(UnknownCategory("loud".to_owned()))
        );
    }
}
