//! The sending half of a stream, as h3 takes it.

use super::{application, code, error};
use bytes::{Buf, Bytes};
use h3::quic::{self, ConnectionErrorIncoming, StreamErrorIncoming, StreamId, WriteBuf};
use s2n_quic::stream::SendStream;
use std::task::{Context, Poll, ready};

/// Bytes to the peer.
#[derive(Debug)]
pub(crate) struct Sending {
    stream: SendStream,
    id: StreamId,
    /// A frame header with its payload that the transport has no room for yet.
    writing: Bytes,
    /// The end was queued, or the stream was reset: there is nothing left that a drop could cut
    /// off.
    over: bool,
}

impl Sending {
    pub(super) const fn new(stream: SendStream, id: StreamId) -> Self {
        Self {
            stream,
            id,
            writing: Bytes::new(),
            over: false,
        }
    }
}

impl quic::SendStream<Bytes> for Sending {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        if !self.writing.is_empty() {
            ready!(self.stream.poll_send(&mut self.writing, cx)).map_err(error::of_stream)?;
        }
        Poll::Ready(Ok(()))
    }

    fn send_data<T: Into<WriteBuf<Bytes>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        if !self.writing.is_empty() {
            let connection_error = ConnectionErrorIncoming::InternalError(
                "data sent on a stream that is not ready".to_owned(),
            );
            return Err(StreamErrorIncoming::ConnectionErrorIncoming { connection_error });
        }
        let mut data: WriteBuf<Bytes> = data.into();
        // Header and payload in one piece: one call, one packet if it is small.
        self.writing = data.copy_to_bytes(data.remaining());
        Ok(())
    }

    /// Ready once the peer has acknowledged everything: a connection that is closed before that
    /// would cut off what is still in our buffer.
    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        ready!(self.poll_ready(cx))?;
        if !self.over {
            self.stream.finish().map_err(error::of_stream)?;
            self.over = true;
        }
        self.stream.poll_close(cx).map_err(error::of_stream)
    }

    fn reset(&mut self, reset_code: u64) {
        self.over = true;
        // It may be closed already.
        self.stream
            .reset(application(reset_code))
            .unwrap_or_default();
    }

    fn send_id(&self) -> StreamId {
        self.id
    }
}

impl Drop for Sending {
    /// The transport would finish the stream, and an answer that was broken off would look
    /// complete.
    fn drop(&mut self) {
        if !self.over {
            quic::SendStream::reset(self, code::REQUEST_CANCELLED);
        }
    }
}
