//! The `tracing` layer that turns events into log lines. Spans are not used by this program and are
//! ignored.

use super::CATEGORIES;
use ggen_wire::{
    Code,
    log::{Level, LogLine},
};
use std::{fmt::Debug, sync::Arc, time::SystemTime};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::layer::{Context, Layer};

/// Longest message and longest field value in bytes; the rest is cut.
const MAX_TEXT: usize = 8 << 10;

/// Where log lines go. Must never block and never log.
pub trait Sink: Send + Sync + 'static {
    /// Takes one line.
    fn take(&self, line: LogLine);
}

/// The layer.
pub struct LogLayer {
    source: String,
    sink: Arc<dyn Sink>,
}

impl LogLayer {
    /// Lines will name `source` as the process that said them.
    #[must_use]
    pub fn new(source: &str, sink: Arc<dyn Sink>) -> Self {
        Self {
            source: source.to_owned(),
            sink,
        }
    }
}

impl<S: Subscriber> Layer<S> for LogLayer {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let metadata = event.metadata();
        let mut line = LogLine {
            seq: 0,
            at_us: now_us(),
            level: level(*metadata.level()),
            category: category(metadata.target()).to_owned(),
            source: self.source.clone(),
            message: String::new(),
            code: None,
            fields: Vec::new(),
        };
        event.record(&mut Fields(&mut line));
        self.sink.take(line);
    }
}

/// Microseconds since the Unix epoch.
#[must_use]
pub fn now_us() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
        })
}

fn level(level: tracing::Level) -> Level {
    match level {
        tracing::Level::ERROR => Level::Error,
        tracing::Level::WARN => Level::Warn,
        tracing::Level::INFO => Level::Info,
        tracing::Level::DEBUG => Level::Debug,
        tracing::Level::TRACE => Level::Trace,
    }
}

/// The category of a target: ours by name, libraries below the transports, everything else the
/// server itself.
fn category(target: &str) -> &'static str {
    let root = target.split("::").next().unwrap_or_default();
    match CATEGORIES.iter().find(|category| **category == root) {
        Some(category) => category,
        None if matches!(
            root,
            "hyper" | "hyper_util" | "h2" | "rustls" | "tokio" | "axum" | "tower_http"
        ) =>
        {
            "transport"
        }
        None => "mcp_server",
    }
}

struct Fields<'a>(&'a mut LogLine);

impl Fields<'_> {
    fn put(&mut self, field: &Field, mut text: String) {
        if text.len() > MAX_TEXT {
            let end = (0..=MAX_TEXT)
                .rev()
                .find(|at| text.is_char_boundary(*at))
                .unwrap_or(0);
            text.truncate(end);
        }
        match field.name() {
            "message" => self.0.message = text.replace(['\n', '\r'], " "),
            "code" => match text.parse::<Code>() {
                Ok(code) => self.0.code = Some(code),
                Err(_) => self.0.fields.push(("code".to_owned(), text)),
            },
            name => self.0.fields.push((name.to_owned(), text)),
        }
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.to_owned());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut cause = value.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        self.put(field, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use tracing_subscriber::layer::SubscriberExt;

    struct Kept(Mutex<Vec<LogLine>>);

    impl Sink for Kept {
        fn take(&self, line: LogLine) {
            self.0.lock().unwrap().push(line);
        }
    }

    #[test]
    fn an_event_becomes_a_line_with_category_code_and_fields() {
        let kept = Arc::new(Kept(Mutex::new(Vec::new())));
        let subscriber = tracing_subscriber::registry()
            .with(LogLayer::new("http-0", Arc::clone(&kept) as Arc<dyn Sink>));
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(target: "transport", code = %Code::PortTaken, port = 3000, "two\nlines");
            tracing::info!(target: "hyper::proto", "from a library");
        });
        let lines = kept.0.lock().unwrap();
        assert_eq!(
            (
                lines[0].category.as_str(),
                lines[0].code,
                lines[0].message.as_str()
            ),
            ("transport", Some(Code::PortTaken), "two lines")
        );
        assert_eq!(lines[0].fields, [("port".to_owned(), "3000".to_owned())]);
        assert_eq!(
            (lines[1].category.as_str(), lines[1].level),
            ("transport", Level::Info)
        );
    }
}
