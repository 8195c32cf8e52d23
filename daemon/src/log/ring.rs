//! The supervisor's ring of the newest log lines, and the readers that follow it. Bounded: old
//! lines are dropped, slow followers skip lines.

use ggen_wire::{control::LogQuery, log::LogLine};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::broadcast;

/// Lines kept.
const CAPACITY: usize = 4096;
/// Bytes of text kept, whatever their number.
const BYTES: usize = 4 << 20;

/// The ring. Shared by the supervisor's loop, its log layer and the control connections of one
/// process.
pub struct Ring {
    inner: Mutex<Inner>,
    followers: broadcast::Sender<Arc<LogLine>>,
}

struct Inner {
    lines: VecDeque<Arc<LogLine>>,
    bytes: usize,
    seq: u64,
}

/// How full the ring is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingStatus {
    /// Lines held.
    pub lines: usize,
    /// Sequence number of the newest line.
    pub newest: u64,
}

impl Default for Ring {
    fn default() -> Self {
        let inner = Inner {
            lines: VecDeque::new(),
            bytes: 0,
            seq: 0,
        };
        Self {
            inner: Mutex::new(inner),
            followers: broadcast::Sender::new(256),
        }
    }
}

impl Ring {
    /// Takes a line and numbers it.
    pub fn push(&self, mut line: LogLine) -> Arc<LogLine> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.seq += 1;
        line.seq = inner.seq;
        let line = Arc::new(line);
        inner.bytes += weight(&line);
        inner.lines.push_back(Arc::clone(&line));
        while inner.lines.len() > CAPACITY || inner.bytes > BYTES {
            let Some(old) = inner.lines.pop_front() else {
                break;
            };
            inner.bytes -= weight(&old);
        }
        drop(inner);
        self.followers.send(Arc::clone(&line)).unwrap_or_default();
        line
    }

    /// Takes over the lines of the binary before us, as they are numbered. To be called before the
    /// first one is pushed.
    pub fn restore(&self, lines: Vec<LogLine>) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.seq = lines.last().map_or(0, |line| line.seq);
        inner.bytes = lines.iter().map(weight).sum();
        inner.lines = lines.into_iter().map(Arc::new).collect();
    }

    /// The lines that a query asks for, oldest first; `now_us` is what `since_ms` counts back from.
    #[must_use]
    pub fn query(&self, query: &LogQuery, now_us: u64) -> Vec<LogLine> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let most = query
            .tail
            .map_or(CAPACITY, |tail| usize::try_from(tail).unwrap_or(CAPACITY));
        let matching = inner
            .lines
            .iter()
            .rev()
            .filter(|line| matches(query, line, now_us));
        let mut found: Vec<LogLine> = matching.take(most).map(|line| (**line).clone()).collect();
        found.reverse();
        found
    }

    /// Lines as they come from now on. A follower that is too slow misses some.
    pub fn follow(&self) -> broadcast::Receiver<Arc<LogLine>> {
        self.followers.subscribe()
    }

    /// How full it is.
    #[must_use]
    pub fn status(&self) -> RingStatus {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        RingStatus {
            lines: inner.lines.len(),
            newest: inner.seq,
        }
    }
}

fn weight(line: &LogLine) -> usize {
    line.message.len()
        + line
            .fields
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum::<usize>()
}

/// Fields that say which call a line is about.
const CALL: [&str; 3] = ["request_id", "request", "trace_id"];

/// Whether a line has a text, whatever the case, in its words or its code.
fn contains(line: &LogLine, text: &str) -> bool {
    line.message.to_lowercase().contains(text)
        || line
            .code
            .is_some_and(|code| code.as_str().to_lowercase().contains(text))
}

/// Whether a line is one of those that a query asks for.
#[must_use]
pub fn matches(query: &LogQuery, line: &LogLine, now_us: u64) -> bool {
    let about = |name: &String| {
        (line.category == "upstream" && line.source == *name)
            || line
                .fields
                .iter()
                .any(|(key, value)| key == "upstream" && value == name)
    };
    let of_call = |id: &String| {
        line.fields
            .iter()
            .any(|(key, value)| CALL.contains(&key.as_str()) && value == id)
    };
    query.level.is_none_or(|level| line.level <= level)
        && query
            .category
            .as_ref()
            .is_none_or(|category| line.category == *category)
        && query.upstream.as_ref().is_none_or(about)
        && query.call.as_ref().is_none_or(of_call)
        && query
            .grep
            .as_ref()
            .is_none_or(|text| contains(line, &text.to_lowercase()))
        && query
            .since_ms
            .is_none_or(|since| line.at_us >= now_us.saturating_sub(since.saturating_mul(1000)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ggen_wire::log::Level;

    fn line(message: &str, level: Level, upstream: Option<&str>) -> LogLine {
        let fields = upstream
            .map(|name| ("upstream".to_owned(), name.to_owned()))
            .into_iter()
            .collect();
        let (category, source) = ("tools".to_owned(), "gateway-0".to_owned());
        LogLine {
            seq: 0,
            at_us: 1_000_000,
            level,
            category,
            source,
            message: message.to_owned(),
            code: None,
            fields,
        }
    }

    #[test]
    fn the_ring_keeps_the_newest_and_numbers_them() {
        let ring = Ring::default();
        for number in 0..5000 {
            ring.push(line(&format!("line {number}"), Level::Info, None));
        }
        let all = ring.query(&LogQuery::default(), 0);
        assert_eq!(
            (all.len(), all[0].seq, all[4095].message.as_str()),
            (4096, 905, "line 4999")
        );
    }

    #[test]
    fn a_query_narrows_by_everything_at_once() {
        let ring = Ring::default();
        ring.push(line("Files is UP", Level::Info, Some("files")));
        ring.push(line("files is up", Level::Debug, Some("files")));
        ring.push(line("files is up", Level::Info, Some("git")));
        let query = LogQuery {
            level: Some(Level::Info),
            upstream: Some("files".to_owned()),
            grep: Some("is up".to_owned()),
            since_ms: Some(5),
            ..LogQuery::default()
        };
        assert_eq!(ring.query(&query, 1_004_000).len(), 1);
        assert_eq!(ring.query(&query, 1_006_000).len(), 0);
        let mut failed = line("call failed", Level::Warn, Some("git"));
        failed
            .fields
            .push(("request_id".to_owned(), "17".to_owned()));
        ring.push(failed);
        let of = |id: &str| {
            ring.query(
                &LogQuery {
                    call: Some(id.to_owned()),
                    ..LogQuery::default()
                },
                0,
            )
            .len()
        };
        assert_eq!((of("17"), of("1"), of("git")), (1, 0, 0));
        ring.push(LogLine {
            code: Some(ggen_wire::Code::WorkerHung),
            ..line("no beats", Level::Warn, Some("git"))
        });
        let having = |text: &str| {
            ring.query(
                &LogQuery {
                    grep: Some(text.to_owned()),
                    ..LogQuery::default()
                },
                0,
            )
            .len()
        };
        assert_eq!((having("ggen-e1202"), having("E2102")), (1, 0));
    }
}
