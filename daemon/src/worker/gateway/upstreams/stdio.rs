//! The pipes of a stdio server: its lines in, the relay's lines out. May not: signal or wait for
//! the process, which is the supervisor's.

use crate::worker::gateway::io::{
    buffers::{Incoming, Outgoing, TURN, Turn},
    lines::{Line, Lines},
};
use ggen_mcp::api::{Micros, UpInput};
use std::{
    fs::File,
    io::{self, Read},
    os::fd::OwnedFd,
    task::{Context, Poll, Waker},
};
use tokio::net::unix::pipe;

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
    /// Takes over the pipes. With `resumed`, an earlier gateway worker may have died in the middle
    /// of a line: a line break ends it.
    ///
    /// # Errors
    /// When a descriptor is not the right end of a pipe, or cannot be registered.
    pub(crate) fn new(
        incarnation: u64,
        stdin: OwnedFd,
        stdout: OwnedFd,
        resumed: bool,
        waker: Waker,
        chunk: usize,
    ) -> io::Result<Self> {
        let mut output = Outgoing::default();
        if resumed {
            output.bytes.extend_from_slice(b"\n");
        }
        Ok(Self {
            incarnation,
            stdin: Some(pipe::Sender::from_owned_fd(stdin)?),
            stdout: Some(pipe::Receiver::from_owned_fd(stdout)?),
            waker,
            input: Incoming::new(chunk),
            lines: Lines::new(LINE),
            output,
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
        let Some(stdin) = &mut self.stdin else { return };
        let mut cx = Context::from_waker(&self.waker);
        if let Poll::Ready(Err(_)) = self.output.flush(stdin, &mut cx) {
            self.stdin = None;
            self.output = Outgoing::default();
            self.closed_at.get_or_insert(now);
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

impl From<Line> for UpInput {
    fn from(line: Line) -> Self {
        match line {
            Line::Whole(bytes) => Self::Line(bytes),
            Line::Overlong(bytes) => Self::Overlong(bytes),
        }
    }
}
