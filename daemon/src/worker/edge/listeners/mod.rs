//! The listening sockets of a worker, which a new configuration may change while it serves. May
//! not: bind; sockets come from the supervisor.

pub(crate) mod accept;
pub(crate) mod connection;
mod shortage;
mod state;
pub(crate) mod tls;
mod tracked;

use crate::ipc::messages::Bound;
use accept::{Handler, Server};
use std::{
    collections::BTreeMap,
    io,
    net::{self, SocketAddr},
    sync::Arc,
};
use tokio::{net::TcpListener, sync::watch};

/// The transport whose sockets speak TLS.
pub(crate) const SECURE: &str = "https";

/// The sockets, by address; each is accepted on by a task of its own.
pub(crate) struct Listeners<H> {
    server: Arc<Server<H>>,
    open: BTreeMap<SocketAddr, watch::Sender<bool>>,
}

impl<H: Handler> Listeners<H> {
    /// None yet.
    pub(crate) const fn new(server: Arc<Server<H>>) -> Self {
        Self {
            server,
            open: BTreeMap::new(),
        }
    }

    /// Accepts on a socket from now on. `secure`: clients speak TLS.
    ///
    /// # Errors
    /// When it cannot be registered with the event loop.
    pub(crate) fn open(&mut self, socket: net::TcpListener, secure: bool) -> io::Result<()> {
        let address = socket.local_addr()?;
        let listener = TcpListener::from_std(socket)?;
        let (close, closing) = watch::channel(false);
        let server = Arc::clone(&self.server);
        tokio::spawn(async move { server.accept(listener, secure, closing).await });
        self.open.insert(address, close);
        Ok(())
    }

    /// Accepts where `wanted` says and nowhere else: first on what is new (`sockets`), then the
    /// others are closed.
    pub(crate) fn reconcile(&mut self, wanted: &[Bound], sockets: Vec<net::TcpListener>) {
        let is_wanted = |address: &SocketAddr| wanted.iter().any(|bound| bound.address == *address);
        for socket in sockets {
            let bound = socket
                .local_addr()
                .ok()
                .and_then(|address| wanted.iter().find(|bound| bound.address == address));
            let fresh = bound.filter(|bound| !self.open.contains_key(&bound.address));
            if let Some(bound) = fresh
                && let Err(error) = self.open(socket, bound.transport == SECURE)
            {
                tracing::error!(target: "transport", %error, "listener not usable");
            }
        }
        self.open.retain(|address, close| {
            let stays = is_wanted(address);
            if !stays {
                close.send_replace(true);
            }
            stays
        });
    }
}
