//! The pipes of a stdio server: its lines in, the relay's lines out. May not: signal or wait for
//! the process, which is the supervisor's.

use crate::worker::gateway::io::{
    buffers::{Incoming, Outgoing, TURN, Turn},
    lines::{Line, Lines},
};
use bytes::Buf;
use ggen_mcp::api::{Micros, UpInput};
use std::{
    cell::Cell,
    fs::File,
    io::{self, Read},
    os::{fd::OwnedFd, unix::fs::FileExt},
    pin::Pin,
    task::{Context, Poll, Waker},
};
use tokio::{io::AsyncWrite, net::unix::pipe};

/// Longest line, in bytes.
pub(crate) const LINE: usize = 64 << 20;
/// Bytes that may wait for a server that does not read its stdin.
const BACKLOG: usize = 128 << 20;
/// Lines that one server may bring in one turn: about a millisecond of the relay's time, however
/// short they are.
const LINES: usize = 512;
/// What is read at most once the server is known to be gone: more than a pipe holds.
const LAST_WORDS: usize = 4 << 20;
const CHUNK: usize = 64 << 10;
/// What a pipe takes whole or not at all; `PIPE_BUF` is 4096 on Linux and at least 512 elsewhere.
const ATOMIC: usize = if cfg!(target_os = "linux") { 4096 } else { 512 };
/// How long a server may live on with a closed stdin or stdout.
const CLOSED_GRACE: Micros = 2_000_000;

/// One life of a stdio server.
pub(crate) struct Child {
    /// Which life.
    pub(crate) incarnation: u64,
    stdin: Option<pipe::Sender>,
    stdout: Option<pipe::Receiver>,
    waker: Waker,
    input: Incoming,
    lines: Lines,
    pub(crate) output: Outgoing,
    torn: Option<Torn>,
    /// Bytes that are being written: of whole lines, or of one that is too long for one write.
    rest: usize,
    /// Some of that has been written, and not all.
    begun: bool,
    paused_until: Option<Micros>,
    closed_at: Option<Micros>,
    given_up: bool,
}

/// What becomes of a line for the server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Accepted {
    /// It waits for the next flush.
    Queued,
    /// The server is not able to take it any more; it is being replaced.
    Dropped,
    /// The backlog is over its bound with this line: the server is to be replaced. Said once.
    Overflow,
}

impl Child {
    /// Takes over the pipes, between two lines. `torn`: where it is noted that a line has been
    /// written in part.
    ///
    /// # Errors
    /// When a descriptor is not the right end of a pipe, or cannot be registered.
    pub(crate) fn new(
        incarnation: u64,
        stdin: OwnedFd,
        stdout: OwnedFd,
        torn: Option<Torn>,
        waker: Waker,
        chunk: usize,
    ) -> io::Result<Self> {
        Ok(Self {
            incarnation,
            stdin: Some(pipe::Sender::from_owned_fd(stdin)?),
            stdout: Some(pipe::Receiver::from_owned_fd(stdout)?),
            waker,
            input: Incoming::new(chunk),
            lines: Lines::new(LINE),
            output: Outgoing::default(),
            torn,
            rest: 0,
            begun: false,
            paused_until: None,
            closed_at: None,
            given_up: false,
        })
    }

    /// Reads what the pipe still holds, once the server is gone. What a grandchild writes later is
    /// lost. Asks the pipe itself: the event loop may not know of its bytes yet when a server dies
    /// at once.
    pub(crate) fn last_words(&mut self, now: Micros, take: &mut impl FnMut(UpInput)) {
        let pipe = self
            .stdout
            .take()
            .and_then(|stdout| stdout.into_nonblocking_fd().ok());
        let Some(mut pipe) = pipe.map(File::from) else {
            return;
        };
        let (mut chunk, mut count) = (vec![0; CHUNK], 0);
        while count < LAST_WORDS {
            while let Some(line) = self.lines.next(&mut self.input) {
                take(line.into());
            }
            match pipe.read(&mut chunk) {
                Ok(0) => break,
                Ok(more) => {
                    count += more;
                    self.input.bytes.extend_from_slice(&chunk[..more]);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        self.closed_at.get_or_insert(now);
        while let Some(line) = self.lines.next(&mut self.input) {
            take(line.into());
        }
        if let Some(line) = self.lines.rest(&mut self.input) {
            take(line.into());
        }
    }

    /// Reads what is there, up to its share of the turn.
    pub(crate) fn read(&mut self, now: Micros, take: &mut impl FnMut(UpInput)) -> Turn {
        if self.paused_until.is_some() {
            return Turn::Waiting;
        }
        let mut cx = Context::from_waker(&self.waker);
        let (mut count, mut lines) = (0, 0);
        while count < TURN {
            while let Some(line) = self.lines.next(&mut self.input) {
                take(line.into());
                lines += 1;
                if lines == LINES {
                    return Turn::More;
                }
            }
            let Some(stdout) = &mut self.stdout else {
                return Turn::Waiting;
            };
            match self.input.fill(stdout, &mut cx) {
                Poll::Pending => return Turn::Waiting,
                Poll::Ready(Ok(0) | Err(_)) => {
                    // Closed, so that its end does not wake us again and again.
                    self.stdout = None;
                    self.closed_at.get_or_insert(now);
                    if let Some(line) = self.lines.rest(&mut self.input) {
                        take(line.into());
                    }
                    return Turn::Closed;
                }
                Poll::Ready(Ok(more)) => count += more,
            }
        }
        Turn::More
    }

    /// Queues a line for the next flush.
    pub(crate) fn write(&mut self, line: &[u8]) -> Accepted {
        if self.given_up || self.stdin.is_none() {
            return Accepted::Dropped;
        }
        if self.output.bytes.len() + line.len() > BACKLOG {
            self.given_up = true;
            return Accepted::Overflow;
        }
        self.output.bytes.reserve(line.len() + 1);
        self.output.bytes.extend_from_slice(line);
        self.output.bytes.extend_from_slice(b"\n");
        Accepted::Queued
    }

    /// Writes what is queued. A server that has closed its stdin gets nothing more; its death is
    /// the supervisor's to report.
    pub(crate) fn flush(&mut self, now: Micros) {
        let Some(mut stdin) = self.stdin.take() else {
            return;
        };
        if self.write_out(&mut stdin).is_ok() {
            self.stdin = Some(stdin);
        } else {
            self.output = Outgoing::default();
            self.closed_at.get_or_insert(now);
        }
    }

    fn write_out(&mut self, stdin: &mut pipe::Sender) -> io::Result<()> {
        let waker = self.waker.clone();
        let mut cx = Context::from_waker(&waker);
        while !self.output.bytes.is_empty() {
            if self.rest == 0 {
                let (lines, is_whole) = whole_lines(&self.output.bytes);
                self.rest = lines;
                self.note(!is_whole);
            }
            let bytes = &self.output.bytes[..self.rest];
            let Poll::Ready(written) = Pin::new(&mut *stdin).poll_write(&mut cx, bytes) else {
                if !self.begun {
                    self.rest = 0;
                    self.note(false);
                }
                return Ok(());
            };
            let count = written?;
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.output.bytes.advance(count);
            self.rest -= count;
            self.begun = self.rest > 0;
            self.note(self.begun);
        }
        self.output.written();
        Ok(())
    }

    /// Notes for the next worker whether a line is being written in part.
    fn note(&self, is_torn: bool) {
        if let Some(torn) = &self.torn {
            torn.set(is_torn);
        }
    }

    /// Closes its stdin, by which a server is asked to end (MCP transports, "Shutdown").
    pub(crate) fn finish(&mut self) {
        self.stdin = None;
        self.output = Outgoing::default();
        // That it runs on for a while is the supervisor's affair.
        self.given_up = true;
    }

    /// Reads nothing before `until`.
    pub(crate) fn pause(&mut self, until: Micros) {
        self.paused_until = Some(
            self.paused_until
                .map_or(until, |earlier| earlier.max(until)),
        );
    }

    /// When reading goes on, if it is paused.
    pub(crate) fn paused_until(&self) -> Option<Micros> {
        self.paused_until
    }

    /// Ends a pause that is over; true if one was.
    pub(crate) fn resume(&mut self, now: Micros) -> bool {
        let over = self.paused_until.is_some_and(|until| until <= now);
        if over {
            self.paused_until = None;
        }
        over
    }

    /// What is closed, if the server lives on without it for too long. Said once.
    pub(crate) fn half_closed(&mut self, now: Micros) -> Option<&'static str> {
        if self.given_up || self.closed_at? + CLOSED_GRACE > now {
            return None;
        }
        self.given_up = true;
        Some(if self.stdout.is_none() {
            "it closed its stdout and runs on"
        } else {
            "it closed its stdin and runs on"
        })
    }

    /// When [`Child::half_closed`] may have something to say.
    pub(crate) fn closing(&self) -> bool {
        self.closed_at.is_some() && !self.given_up
    }
}

/// How much of `lines` goes in one write, and whether that is whole lines which the pipe takes
/// whole or not at all (pipe(7), `PIPE_BUF`). A line that is too long for that goes alone.
fn whole_lines(lines: &[u8]) -> (usize, bool) {
    let atomic = &lines[..lines.len().min(ATOMIC)];
    match atomic.iter().rposition(|byte| *byte == b'\n') {
        Some(end) => (end + 1, true),
        None => {
            let end = lines.iter().position(|byte| *byte == b'\n');
            (end.map_or(lines.len(), |end| end + 1), false)
        }
    }
}

/// A note for the next gateway worker: a line has been written in part. It is made before the
/// first byte is written, and outlives this worker.
pub(crate) struct Torn {
    file: File,
    is_set: Cell<bool>,
}

impl Torn {
    /// What an earlier worker noted.
    pub(crate) fn new(file: OwnedFd) -> Self {
        let (file, mut note) = (File::from(file), [0]);
        let is_set = file.read_at(&mut note, 0).is_ok() && note == [1];
        Self {
            file,
            is_set: Cell::new(is_set),
        }
    }

    /// Whether a line has been written in part.
    pub(crate) fn is_set(&self) -> bool {
        self.is_set.get()
    }

    fn set(&self, on: bool) {
        if self.is_set.replace(on) != on {
            // Memory takes a byte.
            self.file.write_at(&[u8::from(on)], 0).unwrap_or_default();
        }
    }
}

impl From<Line> for UpInput {
    fn from(line: Line) -> Self {
        match line {
            Line::Whole(bytes) => Self::Line(bytes),
            Line::Overlong(bytes) => Self::Overlong(bytes),
        }
    }
}
