//! A QUIC connection and its streams, as h3 takes them.

use super::{
    application, code,
    error::{closed, of_connection},
    receive::{LARGEST_FRAME, Receiving},
    send::Sending,
    walk::Walk,
};
use bytes::Bytes;
use h3::{
    error::Code,
    quic::{self, ConnectionErrorIncoming, StreamErrorIncoming, StreamId, WriteBuf},
};
use s2n_quic::{
    connection::{BidirectionalStreamAcceptor, Handle, ReceiveStreamAcceptor},
    stream::BidirectionalStream,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

/// Lets requests in until it is closed. h3 0.0.8 takes one request too many: those *up to* the id
/// of its GOAWAY, where RFC 9114 §5.2 says *below*.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    closed: AtomicBool,
    /// One past the last stream that was let in.
    next: AtomicU64,
}

impl Gate {
    /// From now on only requests that have been accepted count.
    pub(crate) fn close(&self) {
        self.0.closed.store(true, Relaxed);
    }

    fn admits(&self, stream: u64) -> bool {
        if self.0.closed.load(Relaxed) && stream >= self.0.next.load(Relaxed) {
            return false;
        }
        self.0.next.fetch_max(stream.saturating_add(1), Relaxed);
        true
    }
}

/// A connection, as h3 takes it.
#[derive(Debug)]
pub(crate) struct Connection {
    opener: Opener,
    requests: BidirectionalStreamAcceptor,
    others: ReceiveStreamAcceptor,
    gate: Gate,
}

impl Connection {
    /// Takes a connection over. The gate stays with the caller.
    pub(crate) fn new(connection: s2n_quic::Connection) -> (Self, Gate) {
        let (handle, acceptor) = connection.split();
        let (requests, others) = acceptor.split();
        let gate = Gate::default();
        (
            Self {
                opener: Opener(handle),
                requests,
                others,
                gate: gate.clone(),
            },
            gate,
        )
    }
}

impl quic::Connection<Bytes> for Connection {
    type RecvStream = Receiving;
    type OpenStreams = Opener;

    fn poll_accept_recv(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Receiving, ConnectionErrorIncoming>> {
        let stream = ready!(self.others.poll_accept_receive_stream(cx))
            .map_err(of_connection)?
            .ok_or_else(closed)?;
        let id = number(stream.id());
        Poll::Ready(Ok(Receiving::new(
            stream,
            id,
            Walk::unidirectional(LARGEST_FRAME),
        )))
    }

    fn poll_accept_bidi(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Both, ConnectionErrorIncoming>> {
        loop {
            let stream = ready!(self.requests.poll_accept_bidirectional_stream(cx))
                .map_err(of_connection)?
                .ok_or_else(closed)?;
            let id = stream.id();
            let mut both = Both::new(stream);
            if self.gate.admits(id) {
                return Poll::Ready(Ok(both));
            }
            quic::RecvStream::stop_sending(&mut both, code::REQUEST_REJECTED);
            quic::SendStream::reset(&mut both, code::REQUEST_REJECTED);
        }
    }

    fn opener(&self) -> Opener {
        self.opener.clone()
    }
}

impl quic::OpenStreams<Bytes> for Connection {
    type BidiStream = Both;
    type SendStream = Sending;

    fn poll_open_bidi(&mut self, cx: &mut Context<'_>) -> Poll<Result<Both, StreamErrorIncoming>> {
        self.opener.poll_open_bidi(cx)
    }

    fn poll_open_send(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Sending, StreamErrorIncoming>> {
        self.opener.poll_open_send(cx)
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        self.opener.close(code, reason);
    }
}

/// Opens streams.
#[derive(Clone, Debug)]
pub(crate) struct Opener(Handle);

impl quic::OpenStreams<Bytes> for Opener {
    type BidiStream = Both;
    type SendStream = Sending;

    fn poll_open_bidi(&mut self, cx: &mut Context<'_>) -> Poll<Result<Both, StreamErrorIncoming>> {
        let opened = ready!(self.0.poll_open_bidirectional_stream(cx));
        Poll::Ready(
            opened
                .map(Both::new)
                .map_err(|error| broken(of_connection(error))),
        )
    }

    fn poll_open_send(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Sending, StreamErrorIncoming>> {
        let stream = ready!(self.0.poll_open_send_stream(cx))
            .map_err(|error| broken(of_connection(error)))?;
        let id = number(stream.id());
        Poll::Ready(Ok(Sending::new(stream, id)))
    }

    fn close(&mut self, code: Code, _reason: &[u8]) {
        self.0.close(application(code.value()));
    }
}

const fn broken(connection_error: ConnectionErrorIncoming) -> StreamErrorIncoming {
    StreamErrorIncoming::ConnectionErrorIncoming { connection_error }
}

fn number(id: u64) -> StreamId {
    StreamId::try_from(id)
        .unwrap_or_else(|_| unreachable!("the transport's stream ids have 62 bits"))
}

/// Both halves of a request stream.
#[derive(Debug)]
pub(crate) struct Both {
    send: Sending,
    receive: Receiving,
}

impl Both {
    fn new(stream: BidirectionalStream) -> Self {
        let id = number(stream.id());
        let (receive, send) = stream.split();
        Self {
            send: Sending::new(send, id),
            receive: Receiving::new(receive, id, Walk::request(LARGEST_FRAME)),
        }
    }
}

impl quic::BidiStream<Bytes> for Both {
    type SendStream = Sending;
    type RecvStream = Receiving;

    fn split(self) -> (Sending, Receiving) {
        (self.send, self.receive)
    }
}

impl quic::RecvStream for Both {
    type Buf = Bytes;

    fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        self.receive.poll_data(cx)
    }

    fn stop_sending(&mut self, error_code: u64) {
        self.receive.stop_sending(error_code);
    }

    fn recv_id(&self) -> StreamId {
        self.receive.recv_id()
    }
}

impl quic::SendStream<Bytes> for Both {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.send.poll_ready(cx)
    }

    fn send_data<T: Into<WriteBuf<Bytes>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.send.send_data(data)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.send.poll_finish(cx)
    }

    fn reset(&mut self, reset_code: u64) {
        self.send.reset(reset_code);
    }

    fn send_id(&self) -> StreamId {
        self.send.send_id()
    }
}

#[cfg(test)]
mod tests {
    use super::Gate;

    #[test]
    fn a_closed_gate_lets_in_what_was_let_in_before_and_nothing_new() {
        let gate = Gate::default();
        assert!(gate.admits(0) && gate.admits(8));
        gate.close();
        assert!(gate.admits(4) && !gate.admits(12) && !gate.admits(9));
        let unused = Gate::default();
        unused.close();
        assert!(!unused.admits(0));
    }
}
