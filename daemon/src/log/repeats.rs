//! Suppresses lines that repeat, and reports how many there were. Pure: the time is that of the
//! lines.

use ggen_wire::log::{Level, LogLine};
use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
};

/// So many equal lines pass …
const PASS: u32 = 20;
/// … in so many microseconds.
const WINDOW: u64 = 10_000_000;
/// Different lines that are remembered; a storm of different ones passes.
const REMEMBERED: usize = 512;

#[derive(Debug)]
struct Seen {
    since: u64,
    count: u32,
    held: u32,
    sample: LogLine,
}

/// What has been seen lately.
#[derive(Debug, Default)]
pub struct Repeats(BTreeMap<u64, Seen>);

impl Repeats {
    /// Whether a line passes; before it, what was held back of it may have to be said.
    pub fn judge(&mut self, line: &LogLine) -> (Option<LogLine>, bool) {
        if line.category == "upstream" || (line.category == "auth" && line.level >= Level::Info) {
            // A server's stderr has a limit of its own, and of control calls none may be missing.
            return (None, true);
        }
        let key = key(line);
        if let Some(seen) = self
            .0
            .get_mut(&key)
            .filter(|seen| line.at_us < seen.since + WINDOW)
        {
            seen.count += 1;
            let passes = seen.count <= PASS;
            seen.held += u32::from(!passes);
            return (None, passes);
        }
        let said = self
            .0
            .remove(&key)
            .and_then(|seen| summary(&seen, line.at_us));
        if self.0.len() >= REMEMBERED {
            self.0
                .retain(|_, seen| line.at_us < seen.since + WINDOW || seen.held > 0);
        }
        if self.0.len() < REMEMBERED {
            self.0.insert(
                key,
                Seen {
                    since: line.at_us,
                    count: 1,
                    held: 0,
                    sample: line.clone(),
                },
            );
        }
        (said, true)
    }

    /// What was held back of lines that have not come again since.
    pub fn expire(&mut self, now_us: u64) -> Vec<LogLine> {
        let over: Vec<u64> = self
            .0
            .iter()
            .filter(|(_, seen)| now_us >= seen.since + WINDOW)
            .map(|(key, _)| *key)
            .collect();
        over.into_iter()
            .filter_map(|key| self.0.remove(&key))
            .filter_map(|seen| summary(&seen, now_us))
            .collect()
    }
}

fn summary(seen: &Seen, now_us: u64) -> Option<LogLine> {
    let message = format!(
        "{} (repeated {} more times in {} s)",
        seen.sample.message,
        seen.held,
        WINDOW / 1_000_000
    );
    (seen.held > 0).then(|| LogLine {
        at_us: now_us,
        message,
        ..seen.sample.clone()
    })
}

/// What makes lines equal: everything but numbers that change with every process.
fn key(line: &LogLine) -> u64 {
    let mut hasher = DefaultHasher::new();
    (
        &line.source,
        &line.category,
        line.level as u8,
        &line.message,
        line.code.map(ggen_wire::Code::as_str),
    )
        .hash(&mut hasher);
    for (name, value) in line.fields.iter().filter(|(name, _)| {
        matches!(
            name.as_str(),
            "upstream" | "worker" | "tool" | "principal" | "error"
        )
    }) {
        (name, value).hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(message: &str, at_us: u64) -> LogLine {
        let (category, source) = ("transport".to_owned(), "http-0".to_owned());
        LogLine {
            seq: 0,
            at_us,
            level: Level::Warn,
            category,
            source,
            message: message.to_owned(),
            code: None,
            fields: Vec::new(),
        }
    }

    #[test]
    fn repeats_are_held_back_and_counted() {
        let mut repeats = Repeats::default();
        let passed = (0..100)
            .filter(|at| repeats.judge(&line("cannot accept", *at)).1)
            .count();
        assert_eq!(passed, 20);
        assert!(repeats.judge(&line("another", 50)).1);
        let (said, passes) = repeats.judge(&line("cannot accept", WINDOW + 1));
        assert!(
            passes && said.unwrap().message == "cannot accept (repeated 80 more times in 10 s)"
        );
        assert_eq!(repeats.expire(3 * WINDOW).len(), 0);

        (0..30).for_each(|at| drop(repeats.judge(&line("x", at))));
        assert_eq!(
            repeats
                .expire(WINDOW)
                .iter()
                .map(|line| line.message.clone())
                .collect::<Vec<_>>(),
            ["x (repeated 10 more times in 10 s)"]
        );
    }
}
