//! The quic worker: HTTP/3 on one UDP socket at each address of the port that it shares with other
//! workers. The
//! supervisor steers each connection's datagrams to the worker whose socket slot its id names.
//! Answers are made by the http worker's code. May not: open a file, spawn a process.

mod admission;
mod body;
mod counts;
mod endpoint;
mod events;
mod exchange;
mod identity;
mod parameters;
mod serve;
mod shared;
mod stops;
mod tls;

#[cfg(test)]
mod tests;

use super::{Context, Incoming, edge, http};
use crate::{
    config::Config,
    ipc::{messages::Beat, secrets::TlsSecrets},
};
use counts::Counts;
use shared::Shared;
use std::{
    net::{SocketAddr, UdpSocket},
    os::fd::OwnedFd,
    process::ExitCode,
    sync::Arc,
};

/// EX_SOFTWARE of `sysexits.h`.
const SOFTWARE: u8 = 70;

/// Serves until drained.
pub(crate) async fn run(mut context: Context) -> ExitCode {
    let running = match begin(&mut context) {
        Ok(running) => running,
        Err(error) => {
            tracing::error!(target: "transport", error = %error, "QUIC cannot be served");
            return ExitCode::from(SOFTWARE);
        }
    };
    let Running {
        servers,
        shared,
        addresses,
    } = running;
    let config = context.start.config.clone();
    let secrets = std::mem::take(&mut context.secrets).tls;
    let beat = Arc::clone(&shared);
    context.on_beat(move || {
        let connections = u64::try_from(beat.counts.metrics.quic_connections.get()).unwrap_or(0);
        let mut metrics = beat.counts.metrics.gather();
        metrics.extend(beat.http.gather_metrics(0));
        Beat {
            connections,
            in_flight: beat.http.in_flight(),
            used: beat.http.auth().take_used(),
            metrics,
            ..Beat::default()
        }
    });
    context.ready().await;
    tracing::info!(target: "transport", ?addresses, "QUIC worker serves HTTP/3");

    let drain = context.drain();
    let endless = async {
        drain.begun().await;
        shared.http.gateway().end_endless();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = serve::accept(servers, Arc::clone(&shared), drain.clone()) => {}
        () = messages(&shared, &addresses, config, secrets, context) => {}
        () = endless => {}
        () = shared.http.auth().keep_fresh() => {}
        () = http::sweep(&shared.http, || drain.is_begun()) => {}
    }
    ExitCode::SUCCESS
}

/// Does what the supervisor says; never returns.
async fn messages(
    shared: &Shared,
    addresses: &[SocketAddr],
    mut config: Config,
    mut secrets: TlsSecrets,
    mut context: Context,
) {
    while let Some(message) = context.next().await {
        match message {
            Incoming::Link { socket, .. } => http::attach(shared.http.gateway(), socket.into()),
            Incoming::Reconfigure(start, _) => {
                shared.reconfigure(&start.config, addresses);
                config = start.config.clone();
                shared.keys.set(&config, &secrets);
                context.reconfigured(start.generation).await;
            }
            Incoming::Secrets(newer) => {
                secrets = newer.tls;
                shared.keys.set(&config, &secrets);
                shared.http.auth().set(newer.auth);
                shared.http.end_revoked();
            }
            _ => {}
        }
    }
    std::future::pending::<()>().await;
}

struct Running {
    /// One for each socket.
    servers: Vec<s2n_quic::Server>,
    shared: Arc<Shared>,
    addresses: Vec<SocketAddr>,
}

fn begin(context: &mut Context) -> Result<Running, Box<dyn std::error::Error + Send + Sync>> {
    let sockets = context.take_listeners("quic").into_iter();
    let sockets: Vec<_> = sockets
        .map(|socket| UdpSocket::from(OwnedFd::from(socket)))
        .collect();
    if sockets.is_empty() {
        return Err("there is no socket".into());
    }
    let socket_slot = context
        .start
        .socket_slot
        .clone()
        .ok_or("there is no socket slot")?;
    let addresses: Vec<_> = sockets
        .iter()
        .map(UdpSocket::local_addr)
        .collect::<Result<_, _>>()?;
    let config = &context.start.config;
    let keys = tls::Keys::new(config, &context.secrets.tls)?;
    let http = http::Http::new(
        edge::Gateway::default(),
        shared::rules(config, &addresses),
        context.secrets.auth.clone(),
    )?;
    let shared = Arc::new(Shared::new(http, Counts::new()?, keys, config));
    let mut servers = Vec::new();
    for socket in sockets {
        servers.push(endpoint::start(socket, socket_slot.clone(), &shared)?);
    }
    Ok(Running {
        servers,
        shared,
        addresses,
    })
}
