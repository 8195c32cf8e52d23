//! The http worker: HTTP/1.1 and HTTP/2 on a listening socket that it shares with its siblings. Checks and relays; parses no MCP.
//! Never opens a file, never spawns a process, never closes the listening socket.

mod answer;
mod body;
mod compress;
mod cors;
mod counts;
mod events;
mod receive;
mod route;
mod service;

#[cfg(test)]
mod tests;

use super::{
    Context, Incoming,
    edge::{
        Gateway,
        guard::Guard,
        listen::{Handler, Limits, Server},
    },
};
use crate::{config, ipc::messages::Beat};
use compress::Compressed;
use counts::Counts;
use service::Http;
use std::{
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::net::{TcpListener, UnixStream};

/// EX_SOFTWARE of `sysexits.h`.
const SOFTWARE: u8 = 70;

/// Serves until drained.
pub(crate) async fn run(mut context: Context) -> ExitCode {
    let config = context.start.config.transports.http.clone();
    let (listener, counts) = match (context.take_listener("http").map(TcpListener::from_std), Counts::new()) {
        (Some(Ok(listener)), Ok(counts)) => (listener, counts),
        (listener, counts) => {
            tracing::error!(target: "transport", ?listener, counts = ?counts.err(), "cannot serve");
            return ExitCode::from(SOFTWARE);
        }
    };
    let loopback = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
    let http = Http {
        gateway: Gateway::default(),
        guard: Guard::new(&config.allowed_hosts, &config.allowed_origins, loopback),
        counts,
        max_body: config.max_body.0,
        answer_within: Duration::from_millis(config.request_timeout_ms),
        patience: Duration::from_millis(config.timeout_ms),
    };
    if config.compression {
        serve(context, listener, &config, Compressed(http)).await
    } else {
        serve(context, listener, &config, http).await
    }
}

async fn serve<H: Handler + AsRef<Http>>(mut context: Context, listener: TcpListener, config: &config::Http, handler: H) -> ExitCode {
    let limits = Limits {
        connections: usize::try_from(config.max_connections).unwrap_or(usize::MAX),
        header: Duration::from_millis(config.timeout_ms),
    };
    let server = Server::new(handler, limits);
    let beat = Arc::clone(&server);
    context.on_beat(move || {
        let http = beat.handler().as_ref();
        let connections = u64::try_from(beat.connections()).unwrap_or(u64::MAX);
        http.counts.metrics.http_connections.set(i64::try_from(connections).unwrap_or(i64::MAX));
        let in_flight = u64::try_from(http.gateway.in_flight()).unwrap_or(u64::MAX);
        Beat { connections, in_flight, metrics: http.counts.metrics.gather(), ..Beat::default() }
    });
    context.ready().await;

    let drain = context.drain();
    let links = async {
        while let Some(message) = context.next().await {
            if let Incoming::Link { socket, .. } = message {
                let socket = std::os::unix::net::UnixStream::from(socket);
                let attached = socket.set_nonblocking(true).and_then(|()| UnixStream::from_std(socket));
                match attached {
                    Ok(socket) => server.handler().as_ref().gateway.attach(socket),
                    Err(error) => tracing::error!(target: "transport", %error, "link to the gateway worker not usable"),
                }
            }
        }
        std::future::pending::<()>().await;
    };
    let drained = async {
        let deadline = drain.begun().await;
        server.handler().as_ref().gateway.end_endless();
        server.drain(deadline).await;
    };
    let accepting = async {
        server.accept(&listener).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = drained => {}
        () = links => {}
        () = accepting => {}
        () = sweep(&server, config) => {}
    }
    ExitCode::SUCCESS
}

/// Applies all time-outs. One timer for the worker, as precise as the shortest of them needs.
async fn sweep<H: Handler + AsRef<Http>>(server: &Server<H>, config: &config::Http) {
    let shortest = config.timeout_ms.min(config.request_timeout_ms);
    let mut clock = tokio::time::interval(Duration::from_millis((shortest / 10).clamp(10, 1000)));
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        clock.tick().await;
        let gateway = &server.handler().as_ref().gateway;
        server.sweep();
        gateway.sweep(Instant::now());
        if server.is_draining() {
            // Those that began on connections which were accepted just before the drain.
            gateway.end_endless();
        }
    }
}

impl AsRef<Self> for Http {
    fn as_ref(&self) -> &Self {
        self
    }
}
