//! The http worker: HTTP/1.1 and HTTP/2 on a listening socket that it shares with its siblings.
//! Checks and relays; parses no MCP. Never opens a file, never spawns a process, never closes the
//! listening socket.

pub(crate) mod answer;
pub(crate) mod body;
mod compress;
mod cors;
mod counts;
mod events;
mod receive;
mod route;
mod service;
pub(crate) mod websocket_handshake;

#[cfg(test)]
mod tests;

use super::{
    Context, Incoming,
    edge::{
        Gateway,
        listeners::{
            Doors, SECURE,
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

/// Serves until drained.
pub(crate) async fn run(mut context: Context) -> ExitCode {
    let config = context.start.config.transports.http.clone();
    let rules = Rules::new(&context.start.config, is_loopback(&context.start.listeners))
        .advertising(context.start.quic_port);
    // Each of them may have been stopped alone.
    let listeners =
        [("http", false), (SECURE, true)].map(|(name, tls)| (context.take_listener(name), tls));
    let handler = match Http::new(Gateway::default(), rules, context.secrets.auth.clone()) {
        Ok(handler) if listeners.iter().any(|(listener, _)| listener.is_some()) => handler,
        handler => {
            tracing::error!(target: "transport", handler = ?handler.err(), "cannot serve, or there is nothing to listen at");
            return ExitCode::from(SOFTWARE);
        }
    };
    let server = Server::new(handler, limits(&config));
    let mut doors = Doors::new(Arc::clone(&server));
    let mut tls = Tls {
        config: context.start.config.clone(),
        secrets: std::mem::take(&mut context.secrets).tls,
    };
    tls.put(&server);
    for (listener, tls) in listeners {
        if let Some(Err(error)) = listener.map(|listener| doors.open(listener, tls)) {
            tracing::error!(target: "transport", %error, "cannot serve");
            return ExitCode::from(SOFTWARE);
        }
    }
    let beat = Arc::clone(&server);
    context.on_beat(move || {
        let http = beat.handler();
        let connections = u64::try_from(beat.connections()).unwrap_or(u64::MAX);
        Beat {
            connections,
            in_flight: http.in_flight(),
            used: http.auth.take_used(),
            metrics: http.figures(connections),
            ..Beat::default()
        }
    });
    context.ready().await;

    let drain = context.drain();
    let messages = async {
        while let Some(message) = context.next().await {
            match message {
                Incoming::Link { socket, .. } => attach(&server.handler().gateway, socket.into()),
                Incoming::Handover { peer, socket } => {
                    if let Err(error) = server.handler().takers.attach(socket) {
                        tracing::error!(target: "transport", peer, %error, "link to a websocket worker not usable");
                    }
                }
                Incoming::Reconfigure(start, sockets) => {
                    let config = &start.config.transports.http;
                    server.handler().set_rules(
                        Rules::new(&start.config, is_loopback(&start.listeners))
                            .advertising(start.quic_port),
                    );
                    server.set_limits(limits(config));
                    tls.config = start.config.clone();
                    tls.put(&server);
                    doors.fit(&start.listeners, sockets);
                    context.reconfigured(start.generation).await;
                }
                Incoming::Secrets(secrets) => {
                    server.handler().auth.set(secrets.auth);
                    tls.secrets = secrets.tls;
                    tls.put(&server);
                }
                _ => {}
            }
        }
        std::future::pending::<()>().await;
    };
    let drained = async {
        let deadline = drain.begun().await;
        server.handler().gateway.end_endless();
        // WebSockets over TLS cannot outlive the relay: their clients are told by the websocket
        // worker, which then closes its side.
        server.handler().takers.going(deadline);
        server.drain(deadline).await;
        while server.handler().relays.load(Ordering::Relaxed) > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        () = drained => {}
        () = messages => {}
        () = sweep(server.handler(), || { server.sweep(); server.is_draining() }) => {}
        () = server.handler().auth.keep_fresh() => {}
    }
    ExitCode::SUCCESS
}

/// What TLS is served with: made anew when either part changes. Open connections keep what they
/// began with.
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
            Ok(serving) => server.set_tls(serving),
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
    loop {
        let rules = http.rules();
        tokio::time::sleep(
            (rules.patience.min(rules.answer_within) / 10)
                .clamp(Duration::from_millis(10), Duration::from_secs(1)),
        )
        .await;
        let draining = connections();
        http.gateway.sweep(Instant::now());
        if draining {
            // Those that began on connections which were accepted just before the drain.
            http.gateway.end_endless();
        }
    }
}
