//! One client connection. Its first bytes tell HTTP/2 from HTTP/1.1; hyper serves it. It records
//! what it is doing, so that one sweep over all connections replaces a timer for each request.

use super::{
    accept::{Handler, Limits, Server},
    state::{Activity, Connection},
    tracked::{Active, Tracked, Unanswered},
};
use crate::worker::edge::peer::Peer;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, Version, header};
use hyper::{
    body::Incoming,
    rt::{Read, ReadBuf, ReadBufCursor, Write},
    server::conn::{http1, http2},
    service::service_fn,
    upgrade::Upgraded,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    io::{self, IoSlice},
    pin::{Pin, pin},
    sync::{Arc, PoisonError, atomic::Ordering::Relaxed},
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

/// RFC 9113 §3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What is buffered of an answer before the client's socket must take some (back-pressure).
const BUFFER: usize = 64 << 10;
/// Fields of a header that hyper takes unless it is told otherwise.
const HEADERS: usize = 100;
/// Answers up to this size are written in one piece.
const SMALL: usize = 2 << 10;

/// What a connection is served over: a socket, or TLS over one.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for S {}

/// Serves a connection until it closes.
pub(crate) async fn serve<H: Handler, S: Stream>(
    socket: S,
    peer: Peer,
    server: &Arc<Server<H>>,
    state: &Arc<Connection>,
) {
    if let Some(certificate) = &peer.certificate {
        state.certificate.get_or_init(|| Arc::clone(certificate));
    }
    *state.task.lock().unwrap_or_else(PoisonError::into_inner) =
        Some(poll_fn(|cx| Poll::Ready(cx.waker().clone())).await);
    let mut io = Io {
        inner: TokioIo::new(socket),
        server: Arc::clone(server),
        state: Arc::clone(state),
        first: [0; PREFACE.len()],
        from: 0,
        to: 0,
    };
    let served = match io.is_http2().await {
        Ok(true) => http2(io, peer, server, state).await,
        Ok(false) => http1(io, peer, server, state).await,
        Err(error) => Err(error.to_string()),
    };
    if let Err(error) = served {
        tracing::debug!(target: "transport", error, "connection ended early");
    }
}

async fn http1<H: Handler, S: Stream>(
    io: Io<H, S>,
    peer: Peer,
    server: &Arc<Server<H>>,
    state: &Arc<Connection>,
) -> Result<(), String> {
    let service = service_fn(|request| answer(request, peer.clone(), server, state));
    // The sweep watches the time: hyper's own header time-out sets a timer for each request and
    // closes idle connections with it.
    let Limits { headers, head, .. } = server.limits();
    let mut builder = http1::Builder::new();
    builder.max_buf_size(head).header_read_timeout(None);
    // hyper's own number costs nothing; any other makes it allocate for each request.
    if headers != HEADERS {
        builder.max_headers(headers);
    }
    let mut connection = pin!(builder.serve_connection(io, service).with_upgrades());
    let mut told = false;
    // The next request may have come while this process had no processor: the event loop is asked
    // once more before an idle connection is closed.
    let (mut turn, mut turned) = (pin!(tokio::task::yield_now()), false);
    poll_fn(|cx| {
        turned = turned || (state.finish.load(Relaxed) && turn.as_mut().poll(cx).is_ready());
        let polled = connection.as_mut().poll(cx);
        // While a head is awaited hyper would close without looking whether its bytes have come;
        // the answer to it will say that it is the last.
        if told || !turned || polled.is_ready() || matches!(state.activity(), Activity::Head(_)) {
            return polled;
        }
        told = true;
        connection.as_mut().graceful_shutdown();
        connection.as_mut().poll(cx)
    })
    .await
    .map_err(|error| error.to_string())
}

async fn http2<H: Handler, S: Stream>(
    io: Io<H, S>,
    peer: Peer,
    server: &Arc<Server<H>>,
    state: &Arc<Connection>,
) -> Result<(), String> {
    state.http2.store(true, Relaxed);
    let head = u32::try_from(server.limits().head).unwrap_or(u32::MAX);
    let (server, owned) = (Arc::clone(server), Arc::clone(state));
    let service = service_fn(move |request| {
        let (server, state, peer) = (Arc::clone(&server), Arc::clone(&owned), peer.clone());
        async move { answer(request, peer, &server, &state).await }
    });
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(100)
        .max_header_list_size(head)
        .max_pending_accept_reset_streams(Some(20))
        .max_local_error_reset_streams(Some(100))
        .max_send_buf_size(BUFFER)
        .initial_stream_window_size(Some(256 << 10))
        .initial_connection_window_size(Some(1 << 20))
        .keep_alive_interval(Some(Duration::from_secs(20)))
        .keep_alive_timeout(Duration::from_secs(20));
    let mut connection = pin!(builder.serve_connection(io, service));
    let mut told = false;
    poll_fn(|cx| {
        if !told && state.finish.load(Relaxed) {
            told = true;
            connection.as_mut().graceful_shutdown();
        }
        connection.as_mut().poll(cx)
    })
    .await
    .map_err(|error| error.to_string())
}

async fn answer<H: Handler>(
    mut request: Request<Incoming>,
    peer: Peer,
    server: &Arc<Server<H>>,
    state: &Arc<Connection>,
) -> Result<Response<Tracked<H::Body, H>>, Infallible> {
    let active = Active::new(server, state);
    let old = request.version() <= Version::HTTP_11;
    if !old && state.is_abused() {
        // The sweep cuts the connection; until then nothing more is passed on.
        std::future::pending::<()>().await;
    }
    let mut unanswered = Unanswered {
        active: &active,
        answered: old,
    };
    request.extensions_mut().insert(peer);
    let mut response = server.handler.handle(request).await;
    unanswered.answered = true;
    if old && server.is_draining() {
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    drop(unanswered);
    Ok(response.map(|body| Tracked::new(body, active, !old)))
}

/// The client's own connection under one that was upgraded, with the bytes that were read behind
/// the request.
///
/// # Errors
/// The upgraded connection as it is, if its descriptor is not the whole of it: TLS has keys.
pub(crate) fn socket_of<H: Handler>(upgraded: Upgraded) -> Result<(TcpStream, Bytes), Upgraded> {
    let parts = upgraded.downcast::<Io<H, TcpStream>>()?;
    Ok((parts.io.inner.into_inner(), parts.read_buf))
}

/// The socket, with the first bytes put back and notes on its progress.
struct Io<H: Handler, S> {
    inner: TokioIo<S>,
    server: Arc<Server<H>>,
    state: Arc<Connection>,
    first: [u8; PREFACE.len()],
    from: usize,
    to: usize,
}

impl<H: Handler, S: Stream> Io<H, S> {
    /// Reads until the first bytes are or are not HTTP/2's preface. The sweep bounds the time.
    async fn is_http2(&mut self) -> io::Result<bool> {
        poll_fn(|cx| {
            loop {
                let first = &self.first[..self.to];
                if !PREFACE.starts_with(first) || first.len() == PREFACE.len() {
                    return Poll::Ready(Ok(first == PREFACE));
                }
                let mut buffer = ReadBuf::new(&mut self.first[self.to..]);
                ready!(Pin::new(&mut self.inner).poll_read(cx, buffer.unfilled()))?;
                match buffer.filled().len() {
                    // The client has closed; hyper finds the same.
                    0 => return Poll::Ready(Ok(false)),
                    read => self.to += read,
                }
            }
        })
        .await
    }

    fn note_write<T>(&self, written: &Poll<io::Result<T>>) {
        match written {
            Poll::Pending if self.state.stalled.load(Relaxed) == 0 => {
                self.state.stalled.store(self.server.now_ms(), Relaxed)
            }
            Poll::Ready(_) => self.state.stalled.store(0, Relaxed),
            Poll::Pending => {}
        }
    }
}

impl<H: Handler, S: Stream> Read for Io<H, S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.from < self.to {
            let part = buffer.remaining().min(self.to - self.from);
            buffer.put_slice(&self.first[self.from..self.from + part]);
            self.from += part;
            return Poll::Ready(Ok(()));
        }
        let this = &mut *self;
        let polled = Pin::new(&mut this.inner).poll_read(cx, buffer);
        let state = &this.state;
        // Input outside of a request begins the next head. HTTP/2 has other frames between requests
        // and pings of its own.
        if polled.is_ready()
            && state.active.load(Relaxed) == 0
            && state.head.load(Relaxed) == 0
            && !state.http2.load(Relaxed)
        {
            state.head.store(this.server.now_ms(), Relaxed);
        }
        polled
    }
}

impl<H: Handler, S: Stream> Write for Io<H, S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.note_write(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // The kernel takes longer over a list of small parts than we over copying them.
        let whole = parts.iter().map(|part| part.len()).sum::<usize>();
        if whole <= SMALL {
            let (mut flat, mut to) = ([0; SMALL], 0);
            for part in parts {
                flat[to..to + part.len()].copy_from_slice(part);
                to += part.len();
            }
            return self.poll_write(cx, &flat[..whole]);
        }
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, parts);
        self.note_write(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // TLS keeps what the socket does not take.
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        self.note_write(&flushed);
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
