//! The two byte queues of a connection: what was read and is not understood yet, what is to be written. Both give memory back after a large message.

use bytes::{Buf, BytesMut};
use std::{
    future::Future,
    io,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

/// Bytes that one source may bring in one turn before the others get theirs.
pub(super) const TURN: usize = 256 << 10;
/// A read buffer grows up to this while reads fill it.
const MAX_CHUNK: usize = 128 << 10;
/// An empty write buffer over this is given back.
const KEEP: usize = 256 << 10;

/// How a source's turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It will wake us, or may not be read for now.
    Waiting,
    /// There may be more; its share of the turn is used up.
    More,
    /// It has ended.
    Closed,
}

/// What was read.
pub(super) struct Incoming {
    /// The bytes that are not understood yet.
    pub(super) bytes: BytesMut,
    base: usize,
    chunk: usize,
}

impl Incoming {
    /// A buffer that begins with reads of `chunk` bytes.
    pub(super) fn new(chunk: usize) -> Self {
        let chunk = chunk.clamp(1 << 10, MAX_CHUNK);
        Self { bytes: BytesMut::new(), base: chunk, chunk }
    }

    /// One read; 0 is the end. Small reads keep the buffer small, because a message that is still in flight holds the whole of it.
    pub(super) fn fill(&mut self, reader: &mut (impl AsyncRead + Unpin), cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.bytes.capacity() - self.bytes.len() < self.chunk / 2 {
            self.bytes.reserve(self.chunk);
        }
        let room = self.bytes.capacity() - self.bytes.len();
        let count = ready!(pin!(reader.read_buf(&mut self.bytes)).poll(cx))?;
        if count == room {
            self.chunk = (self.chunk * 2).min(MAX_CHUNK);
        } else if count < self.chunk / 4 {
            self.chunk = (self.chunk / 2).max(self.base);
        }
        Poll::Ready(Ok(count))
    }
}

/// What is to be written.
#[derive(Default)]
pub(super) struct Outgoing {
    /// The bytes, in order; appended to directly.
    pub(super) bytes: BytesMut,
    /// Whether it stands on the driver's list of what to flush.
    pub(super) listed: bool,
}

impl Outgoing {
    /// Writes as much as goes, in as few writes as possible. `Pending`: the waker is called when there is room.
    pub(super) fn flush(&mut self, writer: &mut (impl AsyncWrite + Unpin), cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.bytes.is_empty() {
            match ready!(Pin::new(&mut *writer).poll_write(cx, &self.bytes))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.bytes.advance(count),
            }
        }
        if self.bytes.capacity() > KEEP {
            self.bytes = BytesMut::new();
        } else {
            self.bytes.clear();
        }
        Poll::Ready(Ok(()))
    }
}
