//! Writes log lines: to stderr for people or as JSON, to the journal, and to a file. A thread of
//! its own writes, so that a terminal or pipe that nobody reads does not delay the supervisor.
//! Lines that it cannot take are counted and dropped.

use super::{
    file::LogWriter,
    journal::{self, Journal},
};
use crate::config::{LogFormat, Logging};
use ggen_wire::{
    escape,
    log::{Level, LogLine},
};
use std::{
    fmt::Write as _,
    io::Write as _,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
    time::{Duration, Instant},
};

const QUEUE: usize = 1024;

/// The writer's front end.
pub struct Console {
    queue: SyncSender<Arc<LogLine>>,
    given: AtomicU64,
    written: Arc<AtomicU64>,
    dropped: AtomicU64,
    changed: Arc<Mutex<Option<Logging>>>,
    generation: Arc<AtomicU32>,
}

impl Console {
    /// Starts the writing thread, which lives as long as the process.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(logging: &Logging) -> std::io::Result<Self> {
        let (queue, lines) = sync_channel::<Arc<LogLine>>(QUEUE);
        let written = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&written);
        let changed = Arc::new(Mutex::new(Some(logging.clone())));
        let generation = Arc::new(AtomicU32::new(1));
        let (settings, in_force) = (Arc::clone(&changed), Arc::clone(&generation));
        std::thread::Builder::new()
            .name("log".to_owned())
            .stack_size(64 << 10)
            .spawn(move || {
                let mut out = Out::default();
                for line in lines {
                    if let Some(logging) = settings
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .take()
                    {
                        out = Out::new(&logging);
                    }
                    out.write(&line, in_force.load(Ordering::Relaxed));
                    count.fetch_add(1, Ordering::Release);
                }
            })?;
        Ok(Self {
            queue,
            given: AtomicU64::new(0),
            written,
            dropped: AtomicU64::new(0),
            changed,
            generation,
        })
    }

    /// Later lines go to the destinations, and in the format, that `logging` says, and belong to that generation of the
    /// configuration.
    pub fn set(&self, logging: &Logging, generation: u32) {
        *self.changed.lock().unwrap_or_else(PoisonError::into_inner) = Some(logging.clone());
        self.generation.store(generation, Ordering::Relaxed);
    }

    /// Hands a line to the writer, without waiting.
    pub fn print(&self, line: Arc<LogLine>) {
        let counter = if self.queue.try_send(line).is_ok() {
            &self.given
        } else {
            &self.dropped
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Lines that the writer could not take so far.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits until what was handed over is written, or until the time is up. Blocks: for the very
    /// end of the process.
    pub fn flush(&self, most: Duration) {
        let end = Instant::now() + most;
        while self.written.load(Ordering::Acquire) < self.given.load(Ordering::Relaxed)
            && Instant::now() < end
        {
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }
}

/// Where lines go; only the writing thread has it.
#[derive(Default)]
struct Out {
    format: LogFormat,
    journal: Option<Journal>,
    file: Option<LogWriter>,
    text: String,
    broken: bool,
}

impl Out {
    fn new(logging: &Logging) -> Self {
        let format = match logging.format {
            LogFormat::Auto if journal::is_our_stderr() => LogFormat::Journald,
            LogFormat::Auto => LogFormat::Console,
            format => format,
        };
        let journal = if format == LogFormat::Journald {
            Journal::open().ok()
        } else {
            None
        };
        let mut out = Self {
            format,
            journal,
            ..Self::default()
        };
        match LogWriter::open(&logging.file) {
            Ok(file) => out.file = file,
            Err(error) => out.file_failed(&error),
        }
        out
    }

    fn write(&mut self, line: &LogLine, generation: u32) {
        // What the journal does not take is better on stderr, which it reads as well, than lost.
        let taken = self
            .journal
            .as_ref()
            .is_some_and(|journal| journal.write(line, generation).is_ok());
        if taken && self.file.is_none() {
            return;
        }
        self.text.clear();
        render(line, self.format, &mut self.text);
        if !taken {
            // Nobody could be told.
            std::io::stderr()
                .write_all(self.text.as_bytes())
                .unwrap_or_default();
        }
        if let Some(Err(error)) = self
            .file
            .as_mut()
            .map(|file| file.write(&self.text, line.at_us))
        {
            self.file_failed(&error);
        } else {
            self.broken = false;
        }
    }

    /// Said once, and not by a log line: it would come back here.
    fn file_failed(&mut self, error: &std::io::Error) {
        if !std::mem::replace(&mut self.broken, true) {
            let text = format!(
                "ggend: logging.file cannot be written: {error} [{}]\n",
                ggen_wire::Code::DiskUnusable
            );
            std::io::stderr()
                .write_all(text.as_bytes())
                .unwrap_or_default();
        }
    }
}

/// One line of text, with its end.
pub fn render(line: &LogLine, format: LogFormat, out: &mut String) {
    match format {
        LogFormat::Json => out.push_str(&escape::json(line)),
        LogFormat::Console | LogFormat::Auto | LogFormat::Journald => {
            let level = match line.level {
                Level::Error => "ERROR",
                Level::Warn => "WARN ",
                Level::Info => "INFO ",
                Level::Debug => "DEBUG",
                Level::Trace => "TRACE",
            };
            write!(
                out,
                "{} {level} {:<10} {}: {}",
                timestamp(line.at_us),
                line.category,
                escape::shown(&line.source),
                escape::shown(&line.message)
            )
            .unwrap_or_default();
            for (name, value) in &line.fields {
                let quoted = value.is_empty()
                    || value.contains([' ', '"', '='])
                    || value.contains(escape::acts);
                let written = if quoted {
                    write!(out, " {name}={value:?}")
                } else {
                    write!(out, " {name}={value}")
                };
                written.unwrap_or_default();
            }
            if let Some(code) = line.code {
                write!(out, " [{code}]").unwrap_or_default();
            }
        }
    }
    out.push('\n');
}

/// RFC 3339 in UTC with milliseconds.
fn timestamp(at_us: u64) -> String {
    let (days, ms) = (at_us / 86_400_000_000, at_us / 1000 % 86_400_000);
    // Civil date from days since the epoch, by eras of 400 years that begin on 1 March of year 0.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z",
        ms % 1000
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use ggen_wire::Code;

    #[test]
    fn a_line_reads_well_and_dates_are_right() {
        assert_eq!(timestamp(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(timestamp(951_782_400_000_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(timestamp(1_767_225_599_999_000), "2025-12-31T23:59:59.999Z");
        let line = LogLine {
            seq: 1,
            at_us: 0,
            level: Level::Warn,
            category: "tools".to_owned(),
            source: "gateway-0".to_owned(),
            message: "slow".to_owned(),
            code: Some(Code::UpstreamTimeout),
            fields: vec![("upstream".to_owned(), "a b".to_owned())],
        };
        let mut text = String::new();
        render(&line, LogFormat::Console, &mut text);
        assert_eq!(
            text,
            "1970-01-01T00:00:00.000Z WARN  tools      gateway-0: slow upstream=\"a b\" [GGEN-E2107]\n"
        );
    }

    #[test]
    fn no_line_steers_a_terminal() {
        let acting = "\u{1b}]0;x\u{7}\u{9b}2J\u{202e}\u{2066}\u{7f}\n";
        let line = LogLine {
            seq: 1,
            at_us: 0,
            level: Level::Info,
            category: "upstream".to_owned(),
            source: acting.to_owned(),
            message: acting.to_owned(),
            code: None,
            fields: vec![("tool".to_owned(), acting.to_owned())],
        };
        for format in [LogFormat::Console, LogFormat::Json] {
            let mut text = String::new();
            render(&line, format, &mut text);
            assert!(!text.trim_end().contains(escape::acts), "{text:?}");
        }
    }
}
