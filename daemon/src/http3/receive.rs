//! The receiving half of a stream, as h3 takes it.

use super::{application, code, error, walk::Walk};
use bytes::Bytes;
use h3::quic::{self, StreamErrorIncoming, StreamId};
use s2n_quic::stream::ReceiveStream;
use std::task::{Context, Poll, ready};

/// Largest frame that h3 is let collect, in bytes: above the largest field section, so that
/// moderate excess gets its 431.
pub(crate) const LARGEST_FRAME: u64 = 128 << 10;

/// Bytes from the peer.
#[derive(Debug)]
pub(crate) struct Receiving {
    stream: ReceiveStream,
    id: StreamId,
    walk: Walk,
    /// Its end or an error was seen, or the peer was told to stop.
    over: bool,
}

impl Receiving {
    pub(super) const fn new(stream: ReceiveStream, id: StreamId, walk: Walk) -> Self {
        Self {
            stream,
            id,
            walk,
            over: false,
        }
    }
}

impl quic::RecvStream for Receiving {
    type Buf = Bytes;

    fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        let received = ready!(self.stream.poll_receive(cx));
        Poll::Ready(match received {
            Ok(Some(bytes)) => match self.walk.feed(&bytes) {
                Ok(()) => Ok(Some(bytes)),
                Err(too_long) => {
                    tracing::debug!(target: "transport", stream = self.id.into_inner(), "refused: {too_long}");
                    self.stop_sending(code::EXCESSIVE_LOAD);
                    if !self.id.is_request() {
                        // Without its control stream a connection is nothing; h3 would go on for
                        // ever if this was the first it read.
                        self.stream
                            .connection()
                            .close(application(code::EXCESSIVE_LOAD));
                    }
                    Err(StreamErrorIncoming::StreamTerminated {
                        error_code: code::EXCESSIVE_LOAD,
                    })
                }
            },
            Ok(None) => {
                self.over = true;
                Ok(None)
            }
            Err(error) => {
                self.over = true;
                Err(error::of_stream(error))
            }
        })
    }

    fn stop_sending(&mut self, error_code: u64) {
        self.over = true;
        // It may be closed already.
        self.stream
            .stop_sending(application(error_code))
            .unwrap_or_default();
    }

    fn recv_id(&self) -> StreamId {
        self.id
    }
}

impl Drop for Receiving {
    /// RFC 9114 §4.1: a server that answers without the rest of a request asks the client to stop,
    /// with H3_NO_ERROR. The transport itself would say 0.
    fn drop(&mut self) {
        if !self.over {
            quic::RecvStream::stop_sending(self, code::NO_ERROR);
        }
    }
}
