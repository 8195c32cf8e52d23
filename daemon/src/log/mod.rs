//! The logging of every process: `tracing` events with a category as their target become
//! [`LogLine`]s. A worker sends them to the supervisor; the supervisor keeps them in its ring and
//! writes them to stderr, the journal or a file. Values that are secret must not be logged; nothing
//! here redacts.

mod console;
pub mod events;
mod file;
mod journal;
mod layer;
mod repeats;
mod ring;

pub use console::{Console, render};
pub use layer::{LogLayer, Sink, now_us};
pub use repeats::Repeats;
pub use ring::{Ring, RingStatus, matches};

use crate::config::{LogLevel, Logging};
use ggen_wire::log::LogLine;
use std::{
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::mpsc;
use tracing_subscriber::{
    Registry, filter::Targets, layer::SubscriberExt, reload, util::SubscriberInitExt,
};

/// The categories: the only targets that our own events use. `upstream` beside them is a server's
/// own stderr.
pub const CATEGORIES: [&str; 5] = ["mcp_server", "transport", "auth", "tools", "protocol"];

/// Log lines that a worker may have waiting for the supervisor; further ones are counted and
/// dropped.
const QUEUE: usize = 1024;

/// The filter text of a process: `RUST_LOG` if it is set, else the configuration with `level` (from
/// a flag) over `logging.level`. What is not ours (libraries) is held to warnings.
#[must_use]
pub fn filter_text(logging: &Logging, level: Option<LogLevel>, rust_log: Option<&str>) -> String {
    if let Some(text) =
        rust_log.filter(|text| !text.trim().is_empty() && Targets::from_str(text).is_ok())
    {
        return text.to_owned();
    }
    let mut parts = vec!["warn".to_owned()];
    for category in CATEGORIES {
        let own = logging
            .modules
            .get(category)
            .copied()
            .unwrap_or(logging.level);
        parts.push(format!("{category}={}", level_name(level.unwrap_or(own))));
    }
    parts.join(",")
}

const fn level_name(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    }
}

fn filter(text: &str) -> Targets {
    Targets::from_str(text).unwrap_or_else(|_| Targets::new().with_default(tracing::Level::INFO))
}

/// Changes the filter of the running process.
#[derive(Clone)]
pub struct Control(reload::Handle<Targets, Registry>);

impl Control {
    /// Puts another filter in force; text that does not parse means `info`.
    pub fn set(&self, text: &str) {
        self.0.reload(filter(text)).unwrap_or_default();
    }
}

/// Makes `sink` the end of all events of this process. Has no effect on a second call in the same
/// process.
pub fn install(source: &str, text: &str, sink: Arc<dyn Sink>) -> Control {
    let (targets, handle) = reload::Layer::new(filter(text));
    let layer = LogLayer::new(source, sink);
    tracing_subscriber::registry()
        .with(targets)
        .with(layer)
        .try_init()
        .unwrap_or_default();
    Control(handle)
}

/// The worker's end: lines wait in a bounded queue for the task that sends them.
pub struct Queue {
    lines: mpsc::Sender<LogLine>,
    dropped: AtomicU64,
}

impl Queue {
    /// The queue and its reading end.
    #[must_use]
    pub fn new() -> (Arc<Self>, mpsc::Receiver<LogLine>) {
        let (lines, reader) = mpsc::channel(QUEUE);
        (
            Arc::new(Self {
                lines,
                dropped: AtomicU64::new(0),
            }),
            reader,
        )
    }

    /// Lines lost to a full queue so far.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl Sink for Queue {
    fn take(&self, line: LogLine) {
        if self.lines.try_send(line).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_comes_from_rust_log_then_the_flag_then_the_file() {
        let mut logging = Logging::default();
        logging
            .modules
            .insert("transport".to_owned(), LogLevel::Trace);
        assert!(filter_text(&logging, None, None).contains("transport=trace,auth=info"));
        assert!(
            filter_text(&logging, Some(LogLevel::Debug), None)
                .contains("transport=debug,auth=debug")
        );
        assert_eq!(
            filter_text(&logging, Some(LogLevel::Debug), Some("tools=trace")),
            "tools=trace"
        );
        assert!(filter_text(&logging, None, Some("=,=nonsense=")).starts_with("warn,"));
    }
}
