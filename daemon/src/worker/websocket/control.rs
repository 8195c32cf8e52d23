//! What the supervisor's messages act on: the worker's own listener, links to http workers, and new
//! configurations. May not: serve a connection.

use super::{Rules, Server, own::Own};
use crate::{
    config::Config,
    worker::{
        Context, Drain, Incoming,
        edge::{
            listeners::{
                Listeners,
                accept::{Limits, Server as Listening},
            },
            websocket::handover,
        },
        http,
    },
};
use std::{io, net::TcpListener, os::fd::OwnedFd, sync::Arc};
use tokio::sync::watch;

/// What the messages of the supervisor act on.
pub(super) struct Worker {
    pub(super) server: Arc<Server>,
    pub(super) listening: Arc<Listening<Own>>,
    accepting: Listeners<Own>,
}

impl Worker {
    /// Listens at the worker's own socket, if it has one. `None`: it cannot serve, and the log says
    /// why.
    pub(super) fn start(context: &mut Context) -> Option<Self> {
        let failed = |error: &dyn std::fmt::Display| tracing::error!(target: "transport", %error, "cannot serve");
        let config = context.start.config.clone();
        let secrets = std::mem::take(&mut context.secrets);
        let rules = Rules::new(&config);
        let server = Server::new(rules, secrets.auth.clone())
            .map_err(|error| failed(&error))
            .ok()?;
        server.set_mtls(&config.auth.mtls);
        server.set_secrets(secrets);
        let listening = Listening::new(
            Own::new(&server, &config, &context.start.listeners),
            limits(&config),
        );
        let mut accepting = Listeners::new(Arc::clone(&listening));
        for listener in context.take_listeners("websocket") {
            open(&mut accepting, listener)
                .map_err(|error| failed(&error))
                .ok()?;
        }
        Some(Self {
            server,
            listening,
            accepting,
        })
    }

    /// Does what the supervisor says; never returns. A clone of `linked` lives as long as a link to
    /// an http worker.
    pub(super) async fn messages(mut self, mut context: Context, linked: watch::Receiver<()>) {
        let drain = context.drain();
        while let Some(message) = context.next().await {
            match message {
                Incoming::Link { socket, .. } => http::attach(&self.server.gateway, socket.into()),
                Incoming::Handover { peer, socket } => {
                    let link = linked.clone();
                    let receiving = receive(Arc::clone(&self.server), drain.clone(), peer, socket);
                    tokio::spawn(async move {
                        receiving.await;
                        drop(link);
                    });
                }
                Incoming::Reconfigure(start, sockets) => {
                    let config = &start.config;
                    self.server.set_rules(config);
                    self.server.set_mtls(&config.auth.mtls);
                    self.listening.handler().set_rules(config, &start.listeners);
                    self.listening.set_limits(limits(config));
                    self.accepting.reconcile(&start.listeners, sockets);
                    context.reconfigured(start.generation).await;
                }
                Incoming::Secrets(secrets) => self.server.set_secrets(*secrets),
                _ => {}
            }
        }
        std::future::pending::<()>().await;
    }
}

/// Takes the connections that an http worker passes on, until it is gone.
async fn receive(server: Arc<Server>, drain: Drain, peer: String, socket: OwnedFd) {
    let stop = async {
        drain.begun().await;
    };
    let take = |handover, fd, relay_guard| server.take(handover, fd, relay_guard);
    if let Err(error) = handover::receive(socket, take, stop).await {
        tracing::warn!(target: "transport", peer, %error, "the link for connections broke");
    }
}

fn open(accepting: &mut Listeners<Own>, listener: TcpListener) -> io::Result<()> {
    let address = listener.local_addr()?;
    accepting.open(listener, false)?;
    tracing::info!(target: "transport", %address, "WebSocket listens");
    Ok(())
}

fn limits(config: &Config) -> Limits {
    let connections =
        usize::try_from(config.transports.websocket.max_connections).unwrap_or(usize::MAX);
    Limits {
        connections,
        ..http::limits(&config.transports.http)
    }
}
