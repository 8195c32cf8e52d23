//! The frames of a connection (RFC 6455): reading, writing, back-pressure, and the close. May not:
//! know MCP.

use super::close::Close;
use crate::worker::edge::budget::Share;
use futures_util::{Sink, Stream};
use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Bytes, Message, Utf8Bytes,
        protocol::{Role, WebSocketConfig},
    },
};

/// Bytes that are put together for one write, and beyond which nothing more is asked of the relay
/// until they are gone.
const BATCH: usize = 64 << 10;
/// The buffer of a connection for reading: most messages are small, and there may be thousands of
/// connections.
const READ: usize = 8 << 10;
/// A message from this size on counts among those that are not whole.
const COUNTED: usize = 64 << 10;
/// Answers to pings that may wait for the client to take them. Each has at most 127 bytes, so that a
/// client which pings and does not read costs 16 KiB.
const MAX_PONGS: usize = 128;
/// How long a client may take to answer our close.
const FAREWELL: Duration = Duration::from_secs(2);
/// What is read after the close, unread, so that the client's system does not throw the close frame
/// away with a reset.
const LINGER: usize = 64 << 20;

/// Something that came from the client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// A whole text message.
    Text(Utf8Bytes),
    /// A whole binary message.
    Binary(Bytes),
    /// A ping or a pong; a ping is answered already.
    Sign,
}

/// How a connection ended, or is about to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The client closed, with that code.
    Theirs(u16),
    /// We did.
    Ours(Close),
    /// It broke.
    Broken,
}

impl End {
    /// The close code for metrics.
    pub(crate) const fn code(self) -> u16 {
        match self {
            Self::Theirs(code) => code,
            Self::Ours(close) => close.code(),
            Self::Broken => 1006,
        }
    }
}

/// A socket that notes when something was read from it: a large message on a slow line is a sign of
/// life as well.
struct Watched<S> {
    socket: S,
    read_at: Instant,
    /// Bytes that were read since the last whole message.
    unfinished: usize,
    /// Where those of a large message are counted.
    share: Option<Share>,
    max_message: usize,
    /// There was no room for more of them.
    full: bool,
}

impl<S> Watched<S> {
    /// So many bytes more of a message that is not whole.
    fn note_read(&mut self, bytes: usize) -> io::Result<()> {
        self.read_at = Instant::now();
        self.unfinished += bytes;
        if self.unfinished > COUNTED
            && let Some(share) = &mut self.share
            && share.grow(bytes, self.max_message).is_err()
        {
            self.full = true;
            return Err(io::Error::other("messages of others take all the room"));
        }
        Ok(())
    }

    /// The message is whole.
    fn finished(&mut self) {
        if self.unfinished > COUNTED
            && let Some(share) = &mut self.share
        {
            share.clear();
        }
        self.unfinished = 0;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(cx, buffer))?;
        let read = buffer.filled().len() - before;
        Poll::Ready(if read > 0 {
            self.note_read(read)
        } else {
            Ok(())
        })
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// One connection.
pub(crate) struct Codec<S> {
    stream: WebSocketStream<Watched<S>>,
    /// Bytes that were written since the last flush.
    batch: usize,
    /// Pongs that were queued since the last flush.
    pongs: usize,
    flushing: bool,
    /// Since when the client takes nothing.
    pub(crate) stalled: Option<Instant>,
    /// Set once either side has begun to close.
    end: Option<(End, Instant)>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Codec<S> {
    /// A connection whose opening handshake is over, with the bytes that came behind it.
    pub(crate) async fn new(socket: S, buffered: Vec<u8>, max_message: usize) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ)
            .write_buffer_size(BATCH)
            .max_message_size(Some(max_message))
            .max_frame_size(Some(max_message));
        let socket = Watched {
            socket,
            read_at: Instant::now(),
            unfinished: buffered.len(),
            share: None,
            max_message,
            full: false,
        };
        let stream =
            WebSocketStream::from_partially_read(socket, buffered, Role::Server, Some(config))
                .await;
        Self {
            stream,
            batch: 0,
            pongs: 0,
            flushing: false,
            stalled: None,
            end: None,
        }
    }

    /// Counts messages that are not whole.
    pub(crate) fn count(&mut self, share: Share) {
        self.stream.get_mut().share = Some(share);
    }

    /// The next thing from the client. Not to be polled after [`Self::poll_end`] is ready.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Frame> {
        loop {
            let next = ready!(Pin::new(&mut self.stream).poll_next(cx));
            if matches!(next, Some(Ok(Message::Text(_) | Message::Binary(_)))) {
                self.stream.get_mut().finished();
            }
            match next {
                // After our close, only its answer is of interest.
                Some(Ok(Message::Close(frame))) => {
                    let code = frame.map_or(1005, |frame| frame.code.into());
                    self.ended(End::Theirs(code));
                    self.flushing = true;
                }
                Some(Ok(_)) if self.end.is_some() => {}
                Some(Ok(Message::Text(text))) => return Poll::Ready(Frame::Text(text)),
                Some(Ok(Message::Binary(bytes))) => return Poll::Ready(Frame::Binary(bytes)),
                Some(Ok(Message::Ping(payload))) => {
                    // tungstenite has queued the answer.
                    self.flushing = true;
                    self.batch += payload.len() + 16;
                    self.pongs += 1;
                    if self.pongs > MAX_PONGS {
                        self.close(Close::Slow);
                    }
                    return Poll::Ready(Frame::Sign);
                }
                Some(Ok(_)) => return Poll::Ready(Frame::Sign),
                Some(Err(_)) if self.stream.get_ref().full && self.end.is_none() => {
                    self.close(Close::Full);
                    self.cut();
                    return Poll::Pending;
                }
                Some(Err(error)) => match Close::of(&error) {
                    Some(close) if self.end.is_none() => {
                        self.close(close);
                        self.cut();
                        return Poll::Pending;
                    }
                    _ => {
                        self.ended(End::Broken);
                        self.cut();
                        return Poll::Pending;
                    }
                },
                None => {
                    self.ended(End::Broken);
                    self.cut();
                    return Poll::Pending;
                }
            }
        }
    }

    /// Writes as far as the client takes it. Ready when everything has left us.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<()> {
        if !self.flushing {
            return Poll::Ready(());
        }
        match Pin::new(&mut self.stream).poll_flush(cx) {
            Poll::Pending => {
                self.stalled.get_or_insert(now);
                return Poll::Pending;
            }
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => {
                self.ended(End::Broken);
                self.cut();
            }
        }
        (self.flushing, self.batch, self.pongs, self.stalled) = (false, 0, 0, None);
        Poll::Ready(())
    }

    /// When something was last read.
    pub(crate) fn read_at(&self) -> Instant {
        self.stream.get_ref().read_at
    }

    /// Whether something waits for a flush that has not been tried.
    pub(crate) const fn is_unflushed(&self) -> bool {
        self.flushing && self.stalled.is_none()
    }

    /// Whether more may be written before the next flush.
    pub(crate) const fn has_room(&self) -> bool {
        self.batch < BATCH && self.end.is_none()
    }

    /// Queues a text message; what is no UTF-8 is left out.
    pub(crate) fn text(&mut self, text: Bytes) {
        if let Ok(text) = Utf8Bytes::try_from(text) {
            self.write(Message::Text(text));
        }
    }

    /// Queues any message.
    pub(crate) fn write(&mut self, message: Message) {
        if self.end.is_none() {
            self.batch += message.len() + 16;
            self.flushing = true;
            if Pin::new(&mut self.stream).start_send(message).is_err() {
                self.ended(End::Broken);
                self.cut();
            }
        }
    }

    /// Asks for a sign of life.
    pub(crate) fn ping(&mut self) {
        self.write(Message::Ping(Bytes::new()));
    }

    /// Begins to close.
    pub(crate) fn close(&mut self, close: Close) {
        self.write(Message::Close(Some(close.frame())));
        self.ended(End::Ours(close));
    }

    /// How it ended, once nothing more is to be done here: the close was answered, or waited for
    /// long enough.
    pub(crate) fn end(&self, now: Instant) -> Option<End> {
        let (end, until) = self.end?;
        let answered = matches!(end, End::Theirs(_)) && !self.flushing;
        (answered || until <= now).then_some(end)
    }

    /// When [`Self::end`] will say so at the latest.
    pub(crate) fn ends_at(&self) -> Option<Instant> {
        self.end.map(|(_, until)| until)
    }

    /// Whether either side has begun to close.
    pub(crate) const fn is_closing(&self) -> bool {
        self.end.is_some()
    }

    fn ended(&mut self, end: End) {
        let until = Instant::now() + FAREWELL;
        match &mut self.end {
            // The answer to our close: it ended with our code.
            Some((End::Ours(_), until)) => *until = Instant::now(),
            Some(_) => {}
            none => *none = Some((end, until)),
        }
    }

    /// Nothing more comes from the client that could be read.
    fn cut(&mut self) {
        if let Some((_, until)) = &mut self.end {
            *until = Instant::now();
        }
    }

    /// Lets the last bytes out and the client close first, bounded in time and size.
    pub(crate) async fn farewell(self) {
        let mut this = self;
        let goodbye = async {
            if this.flushing {
                std::future::poll_fn(|cx| Pin::new(&mut this.stream).poll_flush(cx))
                    .await
                    .unwrap_or_default();
            }
            let mut socket = this.stream.into_inner();
            if socket.shutdown().await.is_ok() {
                let (mut scrap, mut left) = ([0; 4096], LINGER);
                while let Ok(read @ 1..) = socket.read(&mut scrap).await {
                    left = left.saturating_sub(read);
                    if left == 0 {
                        return;
                    }
                }
            }
        };
        tokio::time::timeout(FAREWELL, goodbye)
            .await
            .unwrap_or_default();
    }
}
