//! The admin worker: `/livez`, `/readyz`, `/health` and `/metrics` on a listener of its own, from what the supervisor knows. It is no way to the
//! gateway worker: a busy or dead gateway cannot make it silent.

mod pages;

#[cfg(test)]
mod tests;

use super::{
    Context,
    edge::{
        guard::Guard,
        listen::{Limits, Server},
    },
};
use crate::ipc::messages::Beat;
use pages::Pages;
use std::{process::ExitCode, sync::Arc, time::Duration};
use tokio::net::TcpListener;

/// EX_SOFTWARE of `sysexits.h`.
const SOFTWARE: u8 = 70;
/// Probes and scrapers are few.
const LIMITS: Limits = Limits { connections: 64, header: Duration::from_secs(10) };

/// Serves until drained.
pub(crate) async fn run(mut context: Context) -> ExitCode {
    let listener = match context.take_listener("admin").map(TcpListener::from_std) {
        Some(Ok(listener)) => listener,
        listener => {
            tracing::error!(target: "transport", ?listener, "cannot serve");
            return ExitCode::from(SOFTWARE);
        }
    };
    let loopback = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
    let server = Server::new(Pages::new(context.outbox(), Guard::new(&[], &[], loopback)), LIMITS);
    let beat = Arc::clone(&server);
    context.on_beat(move || Beat { connections: u64::try_from(beat.connections()).unwrap_or(u64::MAX), ..Beat::default() });
    context.ready().await;

    let drain = context.drain();
    tokio::select! {
        () = async { server.drain(drain.begun().await).await } => {}
        () = async {
            server.accept(&listener).await;
            std::future::pending::<()>().await;
        } => {}
        () = async { while context.next().await.is_some() {} std::future::pending::<()>().await } => {}
        () = async {
            let mut clock = tokio::time::interval(Duration::from_secs(1));
            loop {
                clock.tick().await;
                server.sweep();
            }
        } => {}
    }
    ExitCode::SUCCESS
}
