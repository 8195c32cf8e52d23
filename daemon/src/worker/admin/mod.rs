//! The admin worker: `/livez`, `/readyz`, `/health` and `/metrics` on a listener of its own, from
//! what the supervisor knows. May not: talk to the gateway worker, so that a busy or dead one cannot
//! silence it.

mod pages;

#[cfg(test)]
mod tests;

use super::{
    Context, Incoming,
    edge::{
        auth::{Authenticator, guard::Guard},
        listeners::{
            Listeners,
            accept::{Limits, Server},
        },
    },
};
use crate::ipc::messages::{Beat, Start};
use pages::Pages;
use std::{process::ExitCode, sync::Arc, time::Duration};

/// EX_SOFTWARE of `sysexits.h`.
const SOFTWARE: u8 = 70;
/// Probes and scrapers are few.
const LIMITS: Limits = Limits {
    connections: 64,
    per_address: 64,
    headers: 100,
    head: 64 << 10,
    header: Duration::from_secs(10),
    idle: Duration::from_secs(300),
    send: Duration::from_secs(30),
};

/// Serves until drained.
pub(crate) async fn run(mut context: Context) -> ExitCode {
    let guard = Guard::new(&[], &[], is_loopback(&context.start));
    let listeners = context.take_listeners("admin");
    if listeners.is_empty() {
        tracing::error!(target: "transport", "cannot serve: no listener");
        return ExitCode::from(SOFTWARE);
    }
    let auth = Authenticator::new(context.secrets.auth.clone());
    let server = Server::new(Pages::new(context.outbox(), guard, auth), LIMITS);
    let mut accepting = Listeners::new(Arc::clone(&server));
    for listener in listeners {
        if let Err(error) = accepting.open(listener, false) {
            tracing::error!(target: "transport", %error, "cannot serve");
            return ExitCode::from(SOFTWARE);
        }
    }
    let beat = Arc::clone(&server);
    context.on_beat(move || Beat {
        connections: u64::try_from(beat.connections()).unwrap_or(u64::MAX),
        used: beat.handler().auth.take_used(),
        ..Beat::default()
    });
    context.ready().await;
    let drain = context.drain();
    tokio::select! {
        () = async { server.drain(drain.begun().await).await } => {}
        () = messages(&server, accepting, context) => {}
        () = server.handler().auth.keep_fresh() => {}
        () = sweep(&server) => {}
    }
    ExitCode::SUCCESS
}

fn is_loopback(start: &Start) -> bool {
    start
        .listeners
        .iter()
        .all(|bound| bound.address.ip().is_loopback())
}

/// Does what the supervisor says; never returns.
async fn messages(server: &Server<Pages>, mut accepting: Listeners<Pages>, mut context: Context) {
    while let Some(message) = context.next().await {
        match message {
            Incoming::Secrets(secrets) => server.handler().auth.set(secrets.auth),
            Incoming::Reconfigure(start, sockets) => {
                let guard = Guard::new(&[], &[], is_loopback(&start));
                server.handler().set_guard(guard);
                accepting.reconcile(&start.listeners, sockets);
                context.reconfigured(start.generation).await;
            }
            _ => {}
        }
    }
    std::future::pending::<()>().await;
}

/// Applies the time-outs of connections.
async fn sweep(server: &Server<Pages>) {
    let mut clock = tokio::time::interval(Duration::from_secs(1));
    loop {
        clock.tick().await;
        server.sweep();
    }
}
