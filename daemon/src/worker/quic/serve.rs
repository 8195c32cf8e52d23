//! Serves one connection, from its handshake to its end. Each request is a task of its own.

use super::{
    events::Remembered,
    exchange::{self, Caller, Ended},
    shared::Shared,
};
use crate::{
    http3::{self, LARGEST_FRAME, code},
    worker::Drain,
};
use bytes::Bytes;
use s2n_quic::connection::Handle;
use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    task::Poll,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// HTTP/3 on a connection.
type Http3 = h3::server::Connection<http3::Connection, Bytes>;

/// How long our first control frames may take to leave.
const OPENING: Duration = Duration::from_secs(5);
/// After the last answer of a drain: time for the last acknowledgements and for what the client
/// says to them.
const CLOSING: Duration = Duration::from_millis(200);
/// Into a drain: what was on its way to us when new connections began to go elsewhere is still let
/// in.
const LATE: Duration = Duration::from_millis(100);
/// How long a handshake that is under way at the end of a drain may take.
const HANDSHAKE: Duration = Duration::from_secs(1);
/// How often a drain checks what is left; and the time for the last packets to leave.
const STEP: Duration = Duration::from_millis(20);
/// Streams without a request on one connection; h3 remembers each of them.
const MAX_HEADLESS: u32 = 1000;

/// Requests that a client may give up within a second: more are made to be reset.
const MAX_GIVEN_UP: u32 = 100;

/// Counts a connection while it is open.
struct Open<'a>(&'a Shared);

impl<'a> Open<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.counts.metrics.quic_connections_total.inc();
        shared.counts.metrics.quic_connections.inc();
        Self(shared)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.counts.metrics.quic_connections.dec();
    }
}

/// Why a connection is not served.
enum Refused {
    /// It has ended already.
    Gone,
    /// Its certificate is not accepted.
    Peer,
}

/// Who is at the other end.
fn caller(connection: &mut s2n_quic::Connection, shared: &Shared) -> Result<Arc<Caller>, Refused> {
    let known = |remembered: &mut Remembered| {
        (
            remembered.stops.clone(),
            std::mem::take(&mut remembered.certificates),
        )
    };
    let (stops, chain) = connection
        .query_event_context_mut(known)
        .unwrap_or_default();
    let address = connection.remote_addr().map_err(|_| Refused::Gone)?;
    let peer = shared.keys.peer(address, chain).ok_or(Refused::Peer)?;
    let name = connection.server_name().ok().flatten();
    Ok(Arc::new(Caller {
        peer,
        misdirected: !shared.serves(name.as_deref()),
        stops,
    }))
}

/// Sends the first control frames. `None`: the connection has ended.
async fn open(connection: http3::Connection, handle: &Handle) -> Option<Http3> {
    let mut builder = h3::server::builder();
    builder
        .max_field_section_size(LARGEST_FRAME)
        .send_grease(false);
    match tokio::time::timeout(OPENING, builder.build(connection)).await {
        Ok(Ok(h3)) => Some(h3),
        Ok(Err(error)) => {
            tracing::debug!(target: "transport", %error, "QUIC connection ended early");
            None
        }
        Err(_) => {
            close(handle, code::INTERNAL_ERROR);
            None
        }
    }
}

/// Serves a connection until it closes, or until a drain has let it finish.
pub(super) async fn serve(connection: s2n_quic::Connection, shared: Arc<Shared>, drain: Drain) {
    let _open = Open::new(&shared);
    let mut connection = connection;
    let caller = match caller(&mut connection, &shared) {
        Ok(caller) => caller,
        Err(Refused::Gone) => return,
        Err(Refused::Peer) => return connection.close(http3::application(code::NO_ERROR)),
    };
    let handle = connection.handle();
    let (connection, gate) = http3::Connection::new(connection);
    let Some(mut h3) = open(connection, &handle).await else {
        return;
    };
    // Ends with this function, and what is still running in it with the connection.
    let mut requests: JoinSet<Ended> = JoinSet::new();
    let mut draining = false;
    let mut faults = Faults::new(Instant::now());
    let shut = begun(&drain);
    tokio::pin!(shut);
    let denied = shared.keys.denied(&caller.peer);
    tokio::pin!(denied);
    loop {
        tokio::select! {
            accepted = h3.accept() => match accepted {
                Ok(Some(resolver)) => {
                    if requests.is_empty() {
                        keep_alive(&handle, true);
                    }
                    requests.spawn(exchange::serve(resolver, Arc::clone(&shared), Arc::clone(&caller)));
                }
                // The client has sent GOAWAY and has all its answers.
                Ok(None) => return,
                Err(error) => return tracing::debug!(target: "transport", %error, "QUIC connection closed"),
            },
            Some(ended) = requests.join_next() => {
                if is_stalled(&ended, &caller) || ended.is_ok_and(|ended| faults.are_too_many(&ended, Instant::now())) {
                    return close(&handle, code::EXCESSIVE_LOAD);
                }
                if requests.is_empty() {
                    keep_alive(&handle, false);
                }
            }
            () = &mut denied => return close(&handle, code::NO_ERROR),
            () = &mut shut, if !draining => {
                draining = true;
                gate.close();
                // h3 takes one more than it is told, and the gate does not.
                if h3.shutdown(1).await.is_err() {
                    return;
                }
            }
            () = tokio::time::sleep(CLOSING), if draining && requests.is_empty() => return,
        }
    }
}

/// Waits for a drain. Whose handshake ended in it has not asked yet: a moment for the first request.
async fn begun(drain: &Drain) {
    let late = drain.is_begun();
    drain.begun().await;
    if late {
        tokio::time::sleep(CLOSING).await;
    }
}

/// Whether a request ended because its client takes nothing of the answer.
fn is_stalled(ended: &Result<Ended, tokio::task::JoinError>, caller: &Caller) -> bool {
    let is_stalled = matches!(ended, Ok(Ended::Stalled));
    if is_stalled {
        tracing::debug!(target: "transport", address = %caller.peer.address, "QUIC connection closed: its client takes nothing");
    }
    is_stalled
}

/// How a connection's requests ended that a good client seldom ends so.
struct Faults {
    /// Requests without headers.
    headless: u32,
    /// Requests that were given up, in the second that began then.
    given_up: u32,
    second: Instant,
}

impl Faults {
    const fn new(now: Instant) -> Self {
        Self {
            headless: 0,
            given_up: 0,
            second: now,
        }
    }

    /// Counts the end of a request. True: the connection is to be closed for it.
    fn are_too_many(&mut self, ended: &Ended, now: Instant) -> bool {
        match ended {
            Ended::GivenUp => {
                if now.saturating_duration_since(self.second) >= Duration::from_secs(1) {
                    (self.second, self.given_up) = (now, 0);
                }
                self.given_up += 1;
            }
            Ended::Headless => self.headless += 1,
            _ => {}
        }
        self.given_up > MAX_GIVEN_UP || self.headless >= MAX_HEADLESS
    }
}

/// Pings while requests are in flight: a client that waits for an event would be idle otherwise.
fn keep_alive(handle: &Handle, on: bool) {
    // The connection may be closed already.
    handle.clone().keep_alive(on).unwrap_or_default();
}

fn close(handle: &Handle, code: u64) {
    handle.close(http3::application(code));
}

/// The next connection at any of the endpoints. `None`: one has ended. Cancel-safe.
async fn next(servers: &mut [s2n_quic::Server]) -> Option<s2n_quic::Connection> {
    std::future::poll_fn(|context| {
        let mut accepted = servers.iter_mut().map(|server| server.poll_accept(context));
        accepted.find(Poll::is_ready).unwrap_or(Poll::Pending)
    })
    .await
}

/// Accepts connections until a drain has ended the last one.
pub(super) async fn accept(mut servers: Vec<s2n_quic::Server>, shared: Arc<Shared>, drain: Drain) {
    let mut connections = JoinSet::new();
    let closing = async {
        drain.begun().await;
        tokio::time::sleep(LATE).await;
        shared.bounds.closed.store(true, Relaxed);
    };
    tokio::pin!(closing);
    let (mut closed, mut empty) = (false, None);
    loop {
        tokio::select! {
            accepted = next(&mut servers) => match accepted {
                Some(connection) => drop(connections.spawn(serve(connection, Arc::clone(&shared), drain.clone()))),
                None => return tracing::error!(target: "transport", "the QUIC endpoint has ended"),
            },
            Some(_) = connections.join_next() => {}
            () = &mut closing, if !closed => closed = true,
            () = tokio::time::sleep(STEP), if closed && connections.is_empty() => {}
        }
        if !closed || !connections.is_empty() {
            empty = None;
            continue;
        }
        // A client may hold its handshake for done before we do; were we gone then, it would wait
        // for its idle time-out.
        let since: &Instant = empty.get_or_insert_with(Instant::now);
        if shared.counts.alive.load(Relaxed) == 0 || since.elapsed() >= HANDSHAKE {
            // CONNECTION_CLOSE of the last one is on its way.
            tokio::time::sleep(STEP).await;
            return;
        }
    }
}
