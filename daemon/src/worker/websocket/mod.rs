//! The websocket worker: MCP over WebSocket, on connections that http workers pass on and on a
//! listener of its own. The rules of the stdio binding hold on a connection: no headers, both eras
//! by message, a legacy session that ends with it. May not: keep MCP state other than a session's
//! id, open a file, spawn a process.

mod ask;
mod certificates;
mod close;
mod codec;
mod connection;
mod control;
mod counts;
mod message;
mod own;

#[cfg(test)]
mod tests;

use super::{
    Context, Drain,
    edge::{
        Gateway,
        auth::Authenticator,
        budget::{Room, Uploads},
        listeners::accept::Server as Listening,
        websocket::handover::{Handover, RelayGuard},
    },
};
use crate::{
    auth::AuthSecrets,
    config,
    ipc::{
        messages::Beat,
        secrets::{Secrets, Sensitive},
    },
};
use ask::Caller;
use close::Close;
use codec::Codec;
use control::Worker;
use counts::Metrics;
use ggen_mcp::edge::Principal;
use ggen_wire::Code;
use own::Own;
use prometheus::IntCounter;
use std::{
    net::SocketAddr,
    os::fd::OwnedFd,
    process::ExitCode,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    sync::watch,
};

/// EX_SOFTWARE of `sysexits.h`.
const SOFTWARE: u8 = 70;
/// So long before the drain's deadline, what is left is closed with its reason.
const BEFORE_DEADLINE: Duration = Duration::from_millis(500);
/// So long after it was opened a connection's credential is judged for the first time here: who let
/// it in may have heard of a change sooner or later.
const SETTLED: Duration = Duration::from_millis(700);
/// The same after a change.
const SETTLING: Duration = Duration::from_millis(200);
/// Credentials end by time, too.
const JUDGED_AGAIN: Duration = Duration::from_secs(30);

/// What the configuration says of connections.
#[derive(Clone, Copy, Debug)]
struct Rules {
    patience: Duration,
    max_message: usize,
    max_connections: usize,
    /// What may be held for clients.
    room: Room,
}

impl Rules {
    fn new(config: &config::Config) -> Self {
        let number = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let room = Room::of(number(config.server.memory.0));
        let config = &config.transports.websocket;
        Self {
            patience: Duration::from_millis(config.message_timeout_ms),
            max_message: number(config.max_message.0),
            max_connections: number(config.max_connections.into()),
            room,
        }
    }
}

/// How far a drain has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum DrainState {
    Serving,
    Finishing,
    Over,
}

#[derive(Debug)]
struct Counts {
    metrics: Metrics,
    received: IntCounter,
    sent: IntCounter,
}

/// All connections of the worker.
#[derive(Debug)]
struct Server {
    gateway: Gateway,
    counts: Counts,
    rules: RwLock<Rules>,
    auth: Authenticator,
    certificates: certificates::Certificates,
    /// Tells that [`Self::auth`] or [`Self::certificates`] judge by other secrets.
    judged: watch::Sender<()>,
    /// Messages of clients that are not whole.
    uploads: Arc<Uploads>,
    open: AtomicUsize,
    /// Wakes the drain.
    closed: watch::Sender<()>,
    drain_state: watch::Sender<DrainState>,
}

impl Server {
    fn new(rules: Rules, secrets: AuthSecrets) -> Result<Arc<Self>, crate::metrics::Error> {
        let metrics = Metrics::new()?;
        let direction = |name: &str| metrics.websocket_messages_total.with_label_values(&[name]);
        let (received, sent) = (direction("in"), direction("out"));
        let gateway = Gateway::default();
        gateway.set_room(rules.room.queued());
        Ok(Arc::new(Self {
            gateway,
            counts: Counts {
                metrics,
                received,
                sent,
            },
            rules: RwLock::new(rules),
            auth: Authenticator::new(secrets),
            certificates: certificates::Certificates::default(),
            judged: watch::Sender::new(()),
            uploads: Arc::default(),
            open: AtomicUsize::new(0),
            closed: watch::Sender::new(()),
            drain_state: watch::Sender::new(DrainState::Serving),
        }))
    }

    fn rules(&self) -> Rules {
        *self.rules.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Judges by other secrets from now on.
    fn set_secrets(&self, secrets: Secrets) {
        self.auth.set(secrets.auth);
        self.certificates.set_secrets(secrets.tls);
        self.judged.send_replace(());
    }

    /// Other limits for connections, those that are open included.
    fn set_rules(&self, config: &config::Config) {
        let rules = Rules::new(config);
        self.gateway.set_room(rules.room.queued());
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = rules;
    }

    /// The same for what the configuration says of certificates.
    fn set_mtls(&self, mtls: &config::Mtls) {
        self.certificates.set_mtls(mtls);
        self.judged.send_replace(());
    }

    /// Returns when whoever opened a connection would not be let in any more.
    async fn denied(&self, guest: &Guest) {
        let mut judged = self.judged.subscribe();
        let mut wait = SETTLED;
        loop {
            tokio::select! {
                () = tokio::time::sleep(wait) => wait = JUDGED_AGAIN,
                changed = judged.changed() => {
                    changed.unwrap_or_default();
                    tokio::time::sleep(SETTLING).await;
                }
            }
            if let Err(reason) = self
                .certificates
                .still(&guest.certificates, guest.credential.is_none())
            {
                let (peer, principal, code) = (
                    guest.peer,
                    &*guest.principal.id,
                    Code::CertificateVerifyFailed,
                );
                tracing::warn!(target: "auth", %code, address = %peer, principal, "WebSocket is closed: {}: {reason}", code.title());
                return;
            }
            if let Err(rejected) = self.auth.still(
                guest.credential.as_ref().map(Sensitive::reveal),
                &guest.principal,
                SystemTime::now(),
            ) {
                let (peer, principal) = (guest.peer, &*guest.principal.id);
                tracing::warn!(target: "auth", code = %rejected.code(), address = %peer, principal, "WebSocket is closed: {rejected}");
                return;
            }
        }
    }

    /// Returns when the drain has begun.
    async fn finishing(&self) {
        self.reaches(DrainState::Finishing).await;
    }

    /// Returns when the time to finish is over.
    async fn over(&self) {
        self.reaches(DrainState::Over).await;
    }

    async fn reaches(&self, wanted: DrainState) {
        // The sender is part of what `self` is.
        let mut drain_state = self.drain_state.subscribe();
        drain_state
            .wait_for(|drain_state| *drain_state >= wanted)
            .await
            .map(|_| ())
            .unwrap_or_default();
    }

    /// Takes a connection that an http worker passes on.
    fn take(self: &Arc<Self>, handover: Handover, connection: OwnedFd, relay_guard: RelayGuard) {
        let peer = handover.peer;
        let taken = if handover.relayed {
            let socket = std::os::unix::net::UnixStream::from(connection);
            socket
                .set_nonblocking(true)
                .and_then(|()| UnixStream::from_std(socket))
                .map(|socket| self.serve(socket, handover, Some(relay_guard)))
        } else {
            let socket = std::net::TcpStream::from(connection);
            socket
                .set_nonblocking(true)
                .and_then(|()| TcpStream::from_std(socket))
                .map(|socket| self.serve(socket, handover, None))
        };
        if let Err(error) = taken {
            tracing::warn!(target: "transport", %peer, %error, "WebSocket connection cannot be served");
        }
    }

    /// Serves a connection; one that is relayed, as long as its relay_guard is.
    fn serve(
        self: &Arc<Self>,
        socket: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        handover: Handover,
        relay_guard: Option<RelayGuard>,
    ) {
        let place = OpenConnection::new(self);
        let server = Arc::clone(self);
        let rules = self.rules();
        tokio::spawn(async move {
            let (peer, began) = (handover.peer, Instant::now());
            let principal = handover.principal();
            tracing::debug!(target: "transport", %peer, view = handover.view, principal = &*principal.id, "WebSocket opened");
            let mut codec = Codec::new(socket, handover.buffered, rules.max_message).await;
            codec.count(server.uploads.share(&principal.id, rules.room));
            if place.number > rules.max_connections {
                codec.close(Close::Full);
            }
            let (credential, certificates) = (handover.credential, handover.certificates);
            let guest = Guest {
                peer,
                principal: principal.clone(),
                credential,
                certificates,
                relay_guard,
            };
            let caller = Caller {
                gateway: server.gateway.clone(),
                view: handover.view.into(),
                principal,
            };
            let end = connection::serve(Arc::clone(&server), codec, caller, guest).await;
            let code = end.code();
            server
                .counts
                .metrics
                .websocket_closes_total
                .with_label_values(&[code.to_string().as_str()])
                .inc();
            let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            tracing::debug!(target: "transport", %peer, code, ms, why = ?end, "WebSocket closed");
            drop(place);
        });
    }

    /// Lets every connection finish what is in flight, and returns when all are closed.
    async fn drain(&self, deadline: tokio::time::Instant) {
        self.drain_state.send_replace(DrainState::Finishing);
        let mut closed = self.closed.subscribe();
        let all = async {
            while self.open.load(Ordering::Relaxed) > 0 {
                closed.changed().await.unwrap_or_default();
            }
        };
        let mut all = std::pin::pin!(all);
        if tokio::time::timeout_at(deadline - BEFORE_DEADLINE, &mut all)
            .await
            .is_err()
        {
            self.drain_state.send_replace(DrainState::Over);
            all.await;
        }
    }
}

/// Who opened a connection, and what they showed.
struct Guest {
    peer: SocketAddr,
    principal: Principal,
    credential: Option<Sensitive>,
    certificates: Vec<Vec<u8>>,
    /// Of the worker that relays it.
    relay_guard: Option<RelayGuard>,
}

impl Guest {
    /// Returns when the worker that relays the connection drains.
    async fn finishing(&self) {
        match &self.relay_guard {
            Some(guard) => drop(guard.drain_deadline().await),
            None => std::future::pending().await,
        }
    }

    /// Returns when that worker's time to finish is over.
    async fn over(&self) {
        match &self.relay_guard {
            Some(guard) => {
                tokio::time::sleep_until(guard.drain_deadline().await - BEFORE_DEADLINE).await
            }
            None => std::future::pending().await,
        }
    }
}

/// A connection among those that are open.
struct OpenConnection {
    server: Arc<Server>,
    number: usize,
}

impl OpenConnection {
    fn new(server: &Arc<Server>) -> Self {
        server.counts.metrics.websocket_connections_total.inc();
        Self {
            server: Arc::clone(server),
            number: server.open.fetch_add(1, Ordering::Relaxed) + 1,
        }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.server.open.fetch_sub(1, Ordering::Relaxed);
        self.server.closed.send_replace(());
    }
}

/// Serves until drained.
pub(crate) async fn run(mut context: Context) -> ExitCode {
    let Some(worker) = Worker::start(&mut context) else {
        return ExitCode::from(SOFTWARE);
    };
    let (server, listening) = (Arc::clone(&worker.server), Arc::clone(&worker.listening));
    let beat = Arc::clone(&server);
    context.on_beat(move || {
        let connections = u64::try_from(beat.open.load(Ordering::Relaxed)).unwrap_or(u64::MAX);
        beat.counts
            .metrics
            .websocket_connections
            .set(i64::try_from(connections).unwrap_or(i64::MAX));
        let in_flight = u64::try_from(beat.gateway.in_flight()).unwrap_or(u64::MAX);
        Beat {
            connections,
            in_flight,
            used: beat.auth.take_used(),
            metrics: beat.counts.metrics.gather(),
            ..Beat::default()
        }
    });
    context.ready().await;
    let path = &context.start.config.transports.websocket.path;
    tracing::info!(target: "transport", path, "WebSocket serves");

    let drain = context.drain();
    let (links, linked) = watch::channel(());
    tokio::select! {
        () = drained(&server, &listening, &links, drain) => {}
        () = worker.messages(context, linked) => {}
        () = sweep(&server, &listening) => {}
        () = server.auth.keep_fresh() => {}
    }
    ExitCode::SUCCESS
}

/// Returns when a drain has begun and everything is finished: handshakes on the worker's own
/// listener, then what http workers had on its way, then everything that is open.
async fn drained(
    server: &Server,
    listening: &Listening<Own>,
    links: &watch::Sender<()>,
    drain: Drain,
) {
    let deadline = drain.begun().await;
    tokio::join!(listening.drain(deadline), async {
        tokio::time::timeout_at(deadline - BEFORE_DEADLINE, no_more(links))
            .await
            .unwrap_or_default();
        server.drain(deadline).await;
    });
}

/// Returns when no http worker passes anything on any more. One receiver is the worker's own.
async fn no_more(links: &watch::Sender<()>) {
    while links.receiver_count() > 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Applies the time-outs of handshakes and exchanges.
async fn sweep(server: &Server, listening: &Listening<Own>) {
    loop {
        tokio::time::sleep(Duration::from_millis(250)).await;
        listening.sweep();
        server.gateway.sweep(Instant::now());
    }
}
