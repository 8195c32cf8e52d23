//! The http worker: HTTP/1.1 and HTTP/2 on listening sockets that it shares with other workers. It
//! checks requests and passes them on. May not: parse MCP, open a file, spawn a process, close a
//! listening socket.

pub(crate) mod answer;
mod begin;
pub(crate) mod body;
mod compress;
mod cors;
mod counts;
mod events;
mod receive;
mod refuse;
mod route;
mod service;
pub(crate) mod websocket_handshake;

#[cfg(test)]
mod tests;

use super::{
    Context, Drain, Incoming,
    edge::{
        Gateway,
        listeners::{
            Listeners, SECURE,
            accept::{Limits, Server},
        },
    },
};
use crate::{
    config,
    ipc::{
        messages::{Beat, Bound},
        secrets::TlsSecrets,
    },
    tls::serve::Serving,
};
pub(super) use service::{Http, Rules};
use std::{
    process::ExitCode,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};
use tokio::net::UnixStream;

/// EX_SOFTWARE of `sysexits.h`.
const SOFTWARE: u8 = 70;
/// How often whoever has an event stream is judged again, beside every change of credentials: keys
/// and tokens expire.
const JUDGED_AGAIN: Duration = Duration::from_millis(500);

/// Serves until drained.
pub(crate) async fn run(mut context: Context) -> ExitCode {
    let Some(worker) = Worker::start(&mut context) else {
        return ExitCode::from(SOFTWARE);
    };
    let server = Arc::clone(&worker.server);
    let beat = Arc::clone(&server);
    context.on_beat(move || {
        let http = beat.handler();
        let connections = u64::try_from(beat.connections()).unwrap_or(u64::MAX);
        Beat {
            connections,
            in_flight: http.in_flight(),
            used: http.auth.take_used(),
            metrics: http.gather_metrics(connections),
            ..Beat::default()
        }
    });
    context.ready().await;
    let drain = context.drain();
    tokio::select! {
        () = drained(&server, drain) => {}
        () = worker.messages(context) => {}
        () = sweep(server.handler(), || { server.sweep(); server.is_draining() }) => {}
        () = server.handler().auth.keep_fresh() => {}
    }
    ExitCode::SUCCESS
}

/// What the messages of the supervisor act on.
struct Worker {
    server: Arc<Server<Http>>,
    accepting: Listeners<Http>,
    tls: Tls,
}

impl Worker {
    /// Listens at the worker's sockets. `None`: it cannot serve, and the log says why.
    fn start(context: &mut Context) -> Option<Self> {
        let config = context.start.config.clone();
        let rules = Rules::new(&config, is_loopback(&context.start.listeners))
            .advertising(context.start.quic_port);
        // Each of them may have been stopped alone.
        let listeners = [("http", false), (SECURE, true)]
            .map(|(name, secure)| (context.take_listeners(name), secure));
        let handler = match Http::new(Gateway::default(), rules, context.secrets.auth.clone()) {
            Ok(handler) if listeners.iter().any(|(sockets, _)| !sockets.is_empty()) => handler,
            handler => {
                tracing::error!(target: "transport", handler = ?handler.err(), "cannot serve, or there is nothing to listen at");
                return None;
            }
        };
        let server = Server::new(handler, limits(&config.transports.http));
        let mut accepting = Listeners::new(Arc::clone(&server));
        let tls = Tls {
            config,
            secrets: std::mem::take(&mut context.secrets).tls,
        };
        tls.put(&server);
        for (sockets, secure) in listeners {
            for socket in sockets {
                if let Err(error) = accepting.open(socket, secure) {
                    tracing::error!(target: "transport", %error, "cannot serve");
                    return None;
                }
            }
        }
        Some(Self {
            server,
            accepting,
            tls,
        })
    }

    /// Does what the supervisor says; never returns.
    async fn messages(mut self, mut context: Context) {
        while let Some(message) = context.next().await {
            let handler = self.server.handler();
            match message {
                Incoming::Link { socket, .. } => attach(&handler.gateway, socket.into()),
                Incoming::Handover { peer, socket } => {
                    if let Err(error) = handler.websocket_workers.attach(socket) {
                        tracing::error!(target: "transport", peer, %error, "link to a websocket worker not usable");
                    }
                }
                Incoming::Reconfigure(start, sockets) => {
                    handler.set_rules(
                        Rules::new(&start.config, is_loopback(&start.listeners))
                            .advertising(start.quic_port),
                    );
                    self.server
                        .set_limits(limits(&start.config.transports.http));
                    self.tls.config = start.config.clone();
                    self.tls.put(&self.server);
                    self.accepting.reconcile(&start.listeners, sockets);
                    context.reconfigured(start.generation).await;
                }
                Incoming::Secrets(secrets) => {
                    handler.auth.set(secrets.auth);
                    handler.end_revoked();
                    self.tls.secrets = secrets.tls;
                    self.tls.put(&self.server);
                }
                _ => {}
            }
        }
        std::future::pending::<()>().await;
    }
}

/// Returns when a drain has begun and everything is finished.
async fn drained(server: &Server<Http>, drain: Drain) {
    let deadline = drain.begun().await;
    let handler = server.handler();
    handler.gateway.end_endless();
    // WebSockets over TLS cannot outlive the relay: their clients are told by the websocket worker,
    // which then closes its side.
    handler.websocket_workers.drain(deadline);
    server.drain(deadline).await;
    while handler.relays.load(Ordering::Relaxed) > 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The parts of the TLS configuration; it is built again when either changes. Open connections keep
/// theirs.
struct Tls {
    config: config::Config,
    secrets: TlsSecrets,
}

impl Tls {
    fn put(&self, server: &Server<Http>) {
        // The authorities come with the next message; until then it stays as it was.
        if self.config.auth.mtls.enabled && self.secrets.client_ca.is_none() {
            return;
        }
        match Serving::new(
            &self.config.transports.http.ssl,
            &self.config.auth.mtls,
            &self.secrets,
        ) {
            Ok(serving) => {
                server.set_tls(serving);
                server.judge_again();
            }
            // The supervisor has judged them before; what served goes on serving.
            Err(error) => {
                tracing::error!(target: "transport", code = %error.code, "TLS: {}", error.what)
            }
        }
    }
}

fn is_loopback(listeners: &[Bound]) -> bool {
    listeners
        .iter()
        .all(|bound| bound.address.ip().is_loopback())
}

/// Those of a configuration.
pub(crate) fn limits(config: &config::Http) -> Limits {
    let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    Limits {
        connections: count(config.max_connections),
        per_address: if config.max_connections_per_address == 0 {
            usize::MAX
        } else {
            count(config.max_connections_per_address)
        },
        headers: count(config.max_headers),
        head: usize::try_from(config.max_header_size.0).unwrap_or(usize::MAX),
        header: Duration::from_millis(config.timeout_ms),
        idle: Duration::from_millis(config.idle_timeout_ms),
        send: Duration::from_millis(config.send_timeout_ms),
    }
}

pub(crate) fn attach(gateway: &Gateway, socket: std::os::unix::net::UnixStream) {
    match socket
        .set_nonblocking(true)
        .and_then(|()| UnixStream::from_std(socket))
    {
        Ok(socket) => gateway.attach(socket),
        Err(error) => {
            tracing::error!(target: "transport", %error, "link to the gateway worker not usable")
        }
    }
}

/// Applies the time-outs of requests, and has connections judged as often. One timer for the
/// worker, as precise as the shortest of them needs.
pub(super) async fn sweep(http: &Http, mut connections: impl FnMut() -> bool) {
    let mut judged = Instant::now();
    loop {
        let rules = http.rules();
        tokio::time::sleep(
            (rules.patience.min(rules.answer_within) / 10)
                .clamp(Duration::from_millis(10), Duration::from_secs(1)),
        )
        .await;
        let draining = connections();
        http.gateway.sweep(Instant::now());
        if judged.elapsed() >= JUDGED_AGAIN {
            judged = Instant::now();
            http.end_revoked();
        }
        if draining {
            // Those that began on connections which were accepted just before the drain.
            http.gateway.end_endless();
        }
    }
}
