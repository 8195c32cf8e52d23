//! Standard input and output as bounded queues of lines. Threads read and write, because either
//! stream may be a terminal, a file or a pipe that another process has open too, and cannot be made
//! non-blocking.

use super::message::Line;
use bytes::Bytes;
use std::io::{self, BufRead, Write};
use tokio::sync::mpsc;

/// Lines that may wait.
const QUEUE: usize = 64;
/// Longest line of the client; the daemon's own limit for bodies is smaller.
const LIMIT: usize = 64 << 20;

/// Starts reading; the queue ends with the input.
pub(super) fn read() -> io::Result<mpsc::Receiver<Line>> {
    let (sender, lines) = mpsc::channel(QUEUE);
    std::thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(move || {
            let mut input = io::stdin().lock();
            while let Ok(Some(line)) = next(&mut input, LIMIT) {
                if sender.blocking_send(line).is_err() {
                    return;
                }
            }
        })?;
    Ok(lines)
}

/// The next line that is not empty; one over the limit is read to its end and not kept.
pub(super) fn next(input: &mut impl BufRead, limit: usize) -> io::Result<Option<Line>> {
    loop {
        let (mut line, mut over) = (Vec::new(), false);
        let ended = loop {
            let chunk = match input.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let end = memchr::memchr(b'\n', chunk);
            let piece = &chunk[..end.unwrap_or(chunk.len())];
            over |= line.len() + piece.len() > limit;
            if !over {
                line.extend_from_slice(piece);
            }
            let (used, at_end) = (end.map_or(chunk.len(), |end| end + 1), chunk.is_empty());
            input.consume(used);
            if end.is_some() || at_end {
                break at_end;
            }
        };
        if over {
            return Ok(Some(Line::TooLong));
        }
        if !line.trim_ascii().is_empty() {
            return Ok(Some(Line::Whole(Bytes::from(line))));
        }
        if ended {
            return Ok(None);
        }
    }
}

/// The way to standard output.
pub(super) struct Output(mpsc::Sender<Option<Bytes>>);

/// Starts writing.
pub(super) fn write() -> io::Result<Output> {
    let (sender, mut lines) = mpsc::channel::<Option<Bytes>>(QUEUE);
    std::thread::Builder::new()
        .name("stdout".to_owned())
        .spawn(move || {
            let mut output = io::stdout().lock();
            while let Some(Some(line)) = lines.blocking_recv() {
                let written = output
                    .write_all(&line)
                    .and_then(|()| output.write_all(b"\n"))
                    .and_then(|()| output.flush());
                if written.is_err() {
                    return;
                }
            }
        })?;
    Ok(Output(sender))
}

impl Output {
    /// Writes a message, as one line. Waits while the client does not read.
    pub(super) async fn line(&self, message: Bytes) {
        // A client that reads no more is noticed by `closed`.
        self.0
            .send(Some(ggen_mcp::protocol::json::one_line(message)))
            .await
            .ok();
    }

    /// Returns when nobody reads any more.
    pub(super) async fn closed(&self) {
        self.0.closed().await;
    }

    /// Waits until everything is written, at most a second.
    pub(super) async fn finish(&self) {
        let written = async {
            self.0.send(None).await.ok();
            self.0.closed().await;
        };
        tokio::time::timeout(std::time::Duration::from_secs(1), written)
            .await
            .ok();
    }
}
