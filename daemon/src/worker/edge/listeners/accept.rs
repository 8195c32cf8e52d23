//! The accept loop of a listening socket that several workers share, and the limits, time-outs and
//! drain of its connections.
//!
//! At the connection limit nothing is accepted for [`PATIENCE`], so that a sibling worker may take
//! the connection; after that it is taken and answered 503, because a client that hangs without a
//! reason is worse off. The listening socket belongs to the supervisor: what arrives during a drain
//! waits in its queue for the successor.

use super::{
    connection,
    state::{Activity, Connection},
    tls,
};
use crate::{
    tls::serve::Serving,
    worker::edge::{budget, peer::Peer},
};
use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use std::{
    collections::{HashMap, hash_map::Entry},
    error::Error,
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    os::fd::AsFd,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Notify, watch},
    task::AbortHandle,
};

/// How long a full worker leaves new connections to its siblings.
const PATIENCE: Duration = Duration::from_millis(250);
/// Connections that are being told that there are too many.
const MAX_REFUSALS: usize = 64;
/// A drain waits so long for a head that has not come.
const DRAIN_SILENCE: Duration = Duration::from_secs(2);
/// A drain leaves a connection that was used so recently open for one more request, in
/// milliseconds.
const DRAIN_IDLE: u64 = 300;
/// How often a drain closes connections that have become idle.
const DRAIN_CHECK: Duration = Duration::from_millis(50);
/// Whoever takes nothing for less than this is not slow, in milliseconds.
const SLOW: u64 = 1_000;

/// Bounds of a listener.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Open connections, at most.
    pub(crate) connections: usize,
    /// Open connections from one address, at most.
    pub(crate) per_address: usize,
    /// Fields in a request's header, at most.
    pub(crate) headers: usize,
    /// Largest header of a request, in bytes; at least 8 KiB.
    pub(crate) head: usize,
    /// A connection without a request for so long is closed.
    pub(crate) idle: Duration,
    /// A connection whose client takes nothing of what waits for it for so long is closed.
    pub(crate) send: Duration,
    /// Time for a connection to become a request: from its first byte, or from the accept for the
    /// first one.
    pub(crate) header: Duration,
}

/// What answers requests.
pub(crate) trait Handler: Send + Sync + 'static {
    /// Bodies of the answers.
    type Body: hyper::body::Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>>
        + Send
        + Unpin
        + 'static;

    /// Answers one request. Dropped when the client goes away before the answer begins.
    fn handle(
        &self,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Self::Body>> + Send;

    /// A connection was accepted.
    fn accepted(&self) {}

    /// A TLS handshake failed; the reason is one of few.
    fn handshake_failed(&self, _reason: &'static str) {}

    /// Whether so much waits for clients that those who do not take it lose it.
    fn is_overfull(&self) -> bool {
        false
    }

    /// The body of the 503 that a connection over the limit gets, `application/json`.
    fn overloaded(&self) -> Bytes;
}

/// A listener at work.
pub(crate) struct Server<H> {
    pub(crate) handler: H,
    limits: Mutex<Limits>,
    tls: Mutex<Option<Arc<Serving>>>,
    epoch: Instant,
    connections: Mutex<Vec<(Arc<Connection>, AbortHandle)>>,
    open: AtomicUsize,
    /// Open connections by address.
    addresses: Mutex<HashMap<IpAddr, usize>>,
    refusing: AtomicUsize,
    /// When a shortage was last logged, in milliseconds.
    pub(super) said: AtomicU64,
    /// Wakes the accept loop at its limit, and the drain.
    closed: Notify,
    draining: watch::Sender<bool>,
}

impl<H: Handler> Server<H> {
    /// Not yet accepting.
    pub(crate) fn new(handler: H, limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            handler,
            limits: Mutex::new(limits),
            tls: Mutex::default(),
            epoch: Instant::now(),
            connections: Mutex::default(),
            open: AtomicUsize::new(0),
            addresses: Mutex::default(),
            refusing: AtomicUsize::new(0),
            said: AtomicU64::new(0),
            closed: Notify::new(),
            draining: watch::Sender::new(false),
        })
    }

    /// Open connections.
    pub(crate) fn connections(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// What answers.
    pub(crate) const fn handler(&self) -> &H {
        &self.handler
    }

    /// Puts other bounds in force, for open connections too.
    pub(crate) fn set_limits(&self, limits: Limits) {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner) = limits;
        self.closed.notify_waiters();
    }

    /// What new connections of secure sockets are served with; none: they are closed.
    pub(crate) fn set_tls(&self, tls: Option<Serving>) {
        *self.tls.lock().unwrap_or_else(PoisonError::into_inner) = tls.map(Arc::new);
    }

    pub(super) fn tls(&self) -> Option<Arc<Serving>> {
        self.tls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn limits(&self) -> Limits {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Accepts until [`Self::drain`], or until `closing` says that nobody is to listen there any
    /// more: then those that wait already are taken before the socket is closed. `secure`: clients
    /// speak TLS.
    pub(crate) async fn accept(
        self: &Arc<Self>,
        listener: TcpListener,
        secure: bool,
        mut closing: watch::Receiver<bool>,
    ) {
        let mut draining = self.draining.subscribe();
        let mut pause = Duration::ZERO;
        // Given up when there are no descriptors left, so that newcomers can be told.
        let mut spare = listener.as_fd().try_clone_to_owned().ok();
        loop {
            let accepted = tokio::select! {
                biased;
                _ = draining.wait_for(|draining| *draining) => return,
                _ = closing.wait_for(|closing| *closing) => return self.take_waiting(listener, secure),
                accepted = async {
                    self.room().await;
                    listener.accept().await
                } => accepted,
            };
            match accepted {
                Ok((socket, address)) => {
                    pause = Duration::ZERO;
                    self.take(socket, address, secure);
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) if is_descriptors(&error) && spare.take().is_some() => {
                    self.say("no descriptors left: new connections are refused; raise the limit of open files (LimitNOFILE=)");
                    if let Ok((socket, _)) = listener.accept().await {
                        self.turn_away(&socket);
                    }
                    spare = listener.as_fd().try_clone_to_owned().ok();
                }
                Err(error) => {
                    // No descriptors or no memory: the connection stays in the queue and the socket
                    // readable, so wait instead of spinning.
                    pause = (pause * 2).clamp(Duration::from_millis(10), Duration::from_secs(1));
                    tracing::warn!(target: "transport", %error, pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX), "cannot accept");
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    /// Asks the socket itself: the event loop may not know yet of the connections that came last.
    fn take_waiting(self: &Arc<Self>, listener: TcpListener, secure: bool) {
        let Ok(listener) = listener.into_std() else {
            return;
        };
        while let Ok((socket, address)) = listener.accept() {
            let socket = socket
                .set_nonblocking(true)
                .and_then(|()| TcpStream::from_std(socket));
            if let Ok(socket) = socket {
                self.take(socket, address, secure);
            }
        }
    }

    /// Waits at the limit for a free place, but not longer than [`PATIENCE`] unless too many are
    /// being refused already.
    async fn room(&self) {
        let patience = tokio::time::Instant::now() + PATIENCE;
        loop {
            let mut closed = std::pin::pin!(self.closed.notified());
            closed.as_mut().enable();
            if self.connections() < self.limits().connections {
                return;
            }
            self.give_way();
            if self.refusing.load(Ordering::Relaxed) >= MAX_REFUSALS {
                closed.await;
            } else if tokio::time::timeout_at(patience, closed).await.is_err() {
                return;
            }
        }
    }

    fn take(self: &Arc<Self>, socket: TcpStream, address: SocketAddr, secure: bool) {
        self.handler.accepted();
        let tls = if secure { self.tls() } else { None };
        if secure && tls.is_none() {
            return self.handler.handshake_failed("no_certificate");
        }
        let (limits, ip) = (self.limits(), address.ip().to_canonical());
        let crowded = self
            .addresses()
            .get(&ip)
            .is_some_and(|open| *open >= limits.per_address);
        if crowded && self.refusing.load(Ordering::Relaxed) >= MAX_REFUSALS {
            // One address alone may not have all others wait for their refusal.
            return;
        }
        if crowded || self.connections() >= limits.connections {
            // Nothing could be said before a TLS handshake, which is more work than there is room
            // for.
            if !secure {
                self.refuse(socket);
            }
            return;
        }
        if let Err(error) = tune(&socket) {
            tracing::debug!(target: "transport", %error, "connection gone before it was served");
            return;
        }
        self.serve(socket, address, ip, tls);
    }

    /// Serves a connection in a task of its own.
    fn serve(
        self: &Arc<Self>,
        socket: TcpStream,
        address: SocketAddr,
        ip: IpAddr,
        tls: Option<Arc<Serving>>,
    ) {
        let state = Arc::new(Connection::new(self.now_ms()));
        let mut connections = self.lock();
        self.open.fetch_add(1, Ordering::Relaxed);
        *self.addresses().entry(ip).or_default() += 1;
        let closing = Closing {
            server: Arc::clone(self),
            state: Arc::clone(&state),
            address: ip,
        };
        let task = tokio::spawn(async move {
            let (server, state) = (&closing.server, &closing.state);
            match tls {
                None => connection::serve(socket, Peer::plain(address), server, state).await,
                // The sweep bounds the handshake's time like that of a head.
                Some(tls) => match tls::accept(socket, address, &tls).await {
                    Ok((socket, peer)) => connection::serve(socket, peer, server, state).await,
                    Err(reason) => server.handler.handshake_failed(reason),
                },
            }
        });
        connections.push((state, task.abort_handle()));
    }

    /// Tells a client that there are too many connections.
    fn refuse(self: &Arc<Self>, socket: TcpStream) {
        let server = Arc::clone(self);
        server.refusing.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(async move {
            let told = refuse(socket, server.handler.overloaded());
            let _ = tokio::time::timeout(Duration::from_secs(1), told).await;
            server.refusing.fetch_sub(1, Ordering::Relaxed);
            server.closed.notify_waiters();
        });
    }

    /// Applies the time-outs; to be called regularly, its period is their precision.
    pub(crate) fn sweep(&self) {
        let now = self.now_ms();
        // A connection that has been silent for so long will not be missed: a drain does not wait
        // for it.
        let Limits {
            header: limit,
            idle,
            send,
            ..
        } = self.limits();
        let header = if self.is_draining() {
            limit.min(DRAIN_SILENCE)
        } else {
            limit
        };
        let late =
            |since: u64, limit: Duration| Duration::from_millis(now.saturating_sub(since)) >= limit;
        let mut slow = Vec::new();
        for (connection, task) in &*self.lock() {
            if connection.is_abused() || connection.is_overdue(now) {
                task.abort();
            }
            match connection.activity() {
                Activity::Head(since) if late(since, header) => task.abort(),
                Activity::Stalled(since) if late(since, send) => task.abort(),
                Activity::Stalled(since) if now.saturating_sub(since) >= SLOW => {
                    slow.push((since, task.clone()));
                }
                Activity::Idle(since) if late(since, idle) => connection.finish(),
                _ => {}
            }
        }
        if self.handler.is_overfull() && !slow.is_empty() {
            slow.sort_by_key(|(since, _)| *since);
            let some = slow.len().div_ceil(4);
            budget::shed(some);
            slow.iter().take(some).for_each(|(_, task)| task.abort());
            self.say("too many answers wait for slow clients: the slowest are disconnected");
        }
    }

    /// Stops accepting, asks every connection to finish what it has begun, and returns when all are
    /// closed; what is left at the deadline is cut.
    pub(crate) async fn drain(&self, deadline: tokio::time::Instant) {
        self.draining.send_replace(true);
        loop {
            let mut closed = std::pin::pin!(self.closed.notified());
            closed.as_mut().enable();
            for (connection, _) in &*self.lock() {
                if !connection.may_be_asked(self.now_ms(), DRAIN_IDLE) {
                    connection.finish();
                }
            }
            if self.connections() == 0 {
                return;
            }
            let check = tokio::time::Instant::now() + DRAIN_CHECK;
            if tokio::time::timeout_at(deadline.min(check), closed)
                .await
                .is_err()
                && check > deadline
            {
                break;
            }
        }
        tracing::warn!(target: "transport", connections = self.connections(), "drain deadline passed, closing what is left");
        for (_, task) in &*self.lock() {
            task.abort();
        }
    }

    /// Whether [`Self::drain`] has begun.
    pub(crate) fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Milliseconds since the server began, never 0.
    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis())
            .unwrap_or(u64::MAX)
            .saturating_add(1)
    }

    fn addresses(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Vec<(Arc<Connection>, AbortHandle)>> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a connection off, also when its task is aborted.
struct Closing<H: Handler> {
    server: Arc<Server<H>>,
    state: Arc<Connection>,
    address: IpAddr,
}

impl<H: Handler> Drop for Closing<H> {
    fn drop(&mut self) {
        if let Entry::Occupied(mut open) = self.server.addresses().entry(self.address) {
            *open.get_mut() -= 1;
            if *open.get() == 0 {
                open.remove();
            }
        }
        let mut connections = self.server.lock();
        if let Some(at) = connections
            .iter()
            .position(|(state, _)| Arc::ptr_eq(state, &self.state))
        {
            connections.swap_remove(at);
        }
        self.server.open.fetch_sub(1, Ordering::Relaxed);
        self.server.closed.notify_waiters();
    }
}

/// accept(2): an error that belongs to the connection that was about to be accepted, not to the
/// listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted, WouldBlock,
    };
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted | WouldBlock
    )
}

/// accept(2): there is no descriptor left.
fn is_descriptors(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(nix::libc::EMFILE | nix::libc::ENFILE)
    )
}

fn tune(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    // A peer that vanished without a word is noticed once something was written to it (tcp(7)).
    #[cfg(target_os = "linux")]
    nix::sys::socket::setsockopt(socket, nix::sys::socket::sockopt::TcpUserTimeout, &60_000)?;
    Ok(())
}

/// Says that there are too many connections, and waits for the client to read it: closing with
/// unread input would reset the connection.
async fn refuse(mut socket: TcpStream, body: Bytes) -> io::Result<()> {
    socket
        .write_all(refusal_head(body.len()).as_bytes())
        .await?;
    socket.write_all(&body).await?;
    socket.shutdown().await?;
    let mut scrap = [0; 4096];
    while socket.read(&mut scrap).await? > 0 {}
    Ok(())
}

pub(super) fn refusal_head(length: usize) -> String {
    format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nretry-after: 1\r\nconnection: close\r\n\r\n"
    )
}
