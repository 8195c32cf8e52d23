//! The two byte queues of a connection: what was read and not yet parsed, and what is to be
//! written. Both release memory after a large message.

use bytes::{Buf, BytesMut};
use std::{
    future::Future,
    io,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

/// Bytes that one source may bring in one turn before the others get theirs.
pub(crate) const TURN: usize = 256 << 10;
/// A read buffer grows up to this while reads fill it.
const MAX_CHUNK: usize = 128 << 10;
/// A buffer that grew over this is given back once it is not needed.
const KEEP: usize = 256 << 10;

/// How a source's turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It will wake us, or may not be read for now.
    Waiting,
    /// There may be more; its share of the turn is used up.
    More,
    /// It has ended.
    Closed,
}

/// What was read.
pub(crate) struct Incoming {
    /// The bytes that are not understood yet.
    pub(crate) bytes: BytesMut,
    base: usize,
    chunk: usize,
    most: usize,
}

impl Incoming {
    /// A buffer that begins with reads of `chunk` bytes.
    pub(crate) fn new(chunk: usize) -> Self {
        let chunk = chunk.clamp(1 << 10, MAX_CHUNK);
        Self {
            bytes: BytesMut::new(),
            base: chunk,
            chunk,
            most: 0,
        }
    }

    /// One read; 0 is the end. Small reads keep the buffer small, because a message that is still
    /// in flight holds the whole of it.
    pub(crate) fn fill(
        &mut self,
        reader: &mut (impl AsyncRead + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.most > KEEP && self.bytes.len() < KEEP / 2 {
            // The large message has been taken; the buffer that grew for it would otherwise be used
            // for ever.
            self.bytes = BytesMut::from(&self.bytes[..]);
            self.most = 0;
        }
        if self.bytes.capacity() - self.bytes.len() < self.chunk / 2 {
            self.bytes.reserve(self.chunk);
        }
        let room = self.bytes.capacity() - self.bytes.len();
        let count = ready!(pin!(reader.read_buf(&mut self.bytes)).poll(cx))?;
        self.most = self.most.max(self.bytes.len());
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
pub(crate) struct Outgoing {
    /// The bytes, in order; appended to directly.
    pub(crate) bytes: BytesMut,
    /// Whether it stands on the driver's list of what to flush.
    pub(crate) listed: bool,
}

impl Outgoing {
    /// Writes as much as goes, in as few writes as possible. `Pending`: the waker is called when
    /// there is room.
    pub(crate) fn flush(
        &mut self,
        writer: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.bytes.is_empty() {
            match ready!(Pin::new(&mut *writer).poll_write(cx, &self.bytes))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.bytes.advance(count),
            }
        }
        self.written();
        Poll::Ready(Ok(()))
    }

    /// Everything is written: memory that a large message took is given back.
    pub(crate) fn written(&mut self) {
        if self.bytes.capacity() > KEEP {
            self.bytes = BytesMut::new();
        } else {
            self.bytes.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use std::task::Waker;

    #[test]
    fn a_read_buffer_shrinks_after_a_large_message() {
        let mut cx = Context::from_waker(Waker::noop());
        let mut input = Incoming::new(8 << 10);
        let large = vec![b'x'; 16 << 20];
        let mut reader = &large[..];
        while !reader.is_empty() {
            assert!(input.fill(&mut reader, &mut cx).is_ready());
        }
        let message = input.bytes.split_to(large.len() - 3).freeze();
        drop(message);
        assert!(matches!(
            input.fill(&mut &b"abc"[..], &mut cx),
            Poll::Ready(Ok(3))
        ));
        assert_eq!(&input.bytes[..], b"xxxabc");
        assert!(
            input.bytes.capacity() <= 2 * MAX_CHUNK,
            "{}",
            input.bytes.capacity()
        );
        for _ in 0..10 {
            assert!(input.fill(&mut &b"abc"[..], &mut cx).is_ready());
        }
        assert_eq!(input.chunk, 8 << 10);
    }
}
