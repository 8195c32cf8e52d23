//! A server's stderr: bounded lines, at a bounded rate, into the log.

mod last_words;

use crate::{
    log::{Sink, now_us},
    supervisor::{channels::is_paused, event::PausedStderr},
};
use ggen_wire::log::{Level, LogLine};
use last_words::LastWords;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::{io::AsyncReadExt, net::unix::pipe, sync::watch};

/// What a server said last, shared with the task that reads it.
#[derive(Clone, Debug, Default)]
pub(super) struct Words(Arc<Mutex<LastWords>>);

impl Words {
    /// Those of a life of which only one line is known.
    pub(super) fn of(last: String) -> Self {
        Self(Arc::new(Mutex::new(LastWords::of(last))))
    }

    /// The last line.
    pub(super) fn last(&self) -> String {
        self.words().last().to_owned()
    }

    /// The line that says why it ended; the last one if none does.
    pub(super) fn reason(&self) -> String {
        self.words().reason().to_owned()
    }

    fn words(&self) -> MutexGuard<'_, LastWords> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Longest line; what is longer is cut.
const MAX_LINE: usize = 8 << 10;
/// Lines at once …
const BURST: u32 = 200;
/// … and one more each time this has passed.
const REFILL: Duration = Duration::from_millis(20);
/// How often it is said that lines were left out; saying it each time would be a flood of our own.
const TELL: Duration = Duration::from_secs(1);

/// Reads until every holder of the other end has closed it, or until it is to pause: then it
/// returns what is left.
pub(super) async fn read(
    rest: PausedStderr,
    name: String,
    log: Arc<dyn Sink>,
    last: Words,
    mut paused: watch::Receiver<bool>,
) -> Option<PausedStderr> {
    let PausedStderr { pipe, line } = rest;
    let mut pipe = pipe::Receiver::from_owned_fd(pipe).ok()?;
    let mut lines = Lines {
        name,
        log,
        last,
        line,
        tokens: BURST,
        refilled: Instant::now(),
        suppressed: 0,
        told: None,
    };
    let mut chunk = vec![0; MAX_LINE];
    loop {
        let found = tokio::select! {
            biased;
            () = is_paused(&mut paused) => {
                lines.tell_suppressed();
                return Some(PausedStderr { pipe: pipe.into_nonblocking_fd().ok()?, line: lines.line });
            }
            found = pipe.read(&mut chunk) => found,
        };
        match found {
            Ok(0) | Err(_) => break,
            Ok(count) => lines.take(&chunk[..count]),
        }
        // A server that floods its stderr must not keep the loop from anything else.
        tokio::task::yield_now().await;
    }
    lines.finish();
    None
}

struct Lines {
    name: String,
    log: Arc<dyn Sink>,
    last: Words,
    line: Vec<u8>,
    tokens: u32,
    refilled: Instant,
    suppressed: u64,
    told: Option<Instant>,
}

impl Lines {
    fn take(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let ended = piece.ends_with(b"\n");
            let text = if ended {
                &piece[..piece.len() - 1]
            } else {
                piece
            };
            let room = MAX_LINE.saturating_sub(self.line.len());
            self.line.extend_from_slice(&text[..text.len().min(room)]);
            if ended {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        let text = String::from_utf8_lossy(&self.line).trim_end().to_owned();
        self.line.clear();
        if text.is_empty() {
            return;
        }
        self.last.words().take(&text);
        let earned = u32::try_from(self.refilled.elapsed().as_millis() / REFILL.as_millis())
            .unwrap_or(u32::MAX);
        if earned > 0 {
            self.tokens = self.tokens.saturating_add(earned).min(BURST);
            self.refilled = Instant::now();
        }
        match self.tokens.checked_sub(1) {
            None => self.suppressed += 1,
            Some(left) => {
                self.tokens = left;
                if self.told.is_none_or(|told| told.elapsed() >= TELL) {
                    self.tell_suppressed();
                }
                self.log(Level::Info, text);
            }
        }
    }

    fn tell_suppressed(&mut self) {
        let suppressed = std::mem::take(&mut self.suppressed);
        if suppressed > 0 {
            self.told = Some(Instant::now());
            self.log(
                Level::Warn,
                format!("{suppressed} lines of stderr left out: it writes too fast"),
            );
        }
    }

    fn finish(&mut self) {
        self.end_line();
        self.tell_suppressed();
    }

    fn log(&self, level: Level, message: String) {
        let (category, source) = ("upstream".to_owned(), self.name.clone());
        self.log.take(LogLine {
            seq: 0,
            at_us: now_us(),
            level,
            category,
            source,
            message,
            code: None,
            fields: Vec::new(),
        });
    }
}
