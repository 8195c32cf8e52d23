//! The listening sockets: bound here or inherited from the service manager, one per transport, shared by its workers, open for as long as they
//! are configured. Nothing is ever accepted here.

use super::door::Quic;
use crate::{
    config::Loaded,
    ipc::messages::{Bound, Role},
    platform,
};
use ggen_wire::{Code, status};
use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::fd::OwnedFd,
    sync::Arc,
};

/// A listening socket.
#[derive(Clone, Debug)]
pub(crate) struct Listener {
    transport: &'static str,
    /// What the configuration asks for.
    wanted: SocketAddr,
    /// What it is bound to.
    address: SocketAddr,
    origin: &'static str,
    socket: Arc<OwnedFd>,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listeners {
    all: Vec<Listener>,
    quic: Quic,
}

/// An address could not be had.
#[derive(Debug, thiserror::Error)]
#[error("{message} [{code}]")]
pub(crate) struct ListenError {
    /// `PortTaken` or `BindFailed`.
    pub(crate) code: Code,
    message: String,
    #[source]
    source: io::Error,
}

impl ListenError {
    pub(super) const fn new(code: Code, message: String, source: io::Error) -> Self {
        Self { code, message, source }
    }

    /// Which address, and why, without the code.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }
}

impl Listeners {
    /// Sockets for what the configuration asks for: those of `old` and `inherited` that fit, new ones otherwise. Nothing of `old` is closed here.
    ///
    /// # Errors
    /// The first address that cannot be had; nothing has changed then.
    pub(crate) fn open(loaded: &Loaded, old: &Self, mut inherited: Vec<(String, OwnedFd)>) -> Result<Self, ListenError> {
        let config = &loaded.config;
        let mut wanted = Vec::new();
        if config.transports.http.enabled {
            wanted.push(("http", SocketAddr::new(config.transports.http.host, config.transports.http.port)));
        }
        if config.metrics.enabled {
            wanted.push(("admin", SocketAddr::new(config.metrics.host, config.metrics.port)));
        }
        let mut all = Vec::new();
        for (transport, address) in wanted {
            // A socket stays when its address does, also when that was the system's choice before.
            let fits = |known: &&Listener| known.transport == transport && (known.origin == "inherited" || known.wanted == address);
            let chosen = |known: &&Listener| known.origin == "bound" && known.address == address;
            let known = old.all.iter().find(fits).or_else(|| old.all.iter().find(chosen));
            let given = inherited.iter().position(|(name, _)| name == transport).map(|at| inherited.swap_remove(at).1);
            all.push(match (known, given) {
                (Some(known), _) => Listener { transport, wanted: address, ..known.clone() },
                (_, Some(socket)) => adopt(transport, address, socket, loaded.asks_strangers)?,
                _ => bind(transport, address)?,
            });
        }
        Ok(Self { all, quic: Quic::open(config, &old.quic) })
    }

    /// The QUIC port.
    pub(crate) const fn quic(&self) -> &Quic {
        &self.quic
    }

    /// It stands otherwise now.
    pub(crate) fn set_quic(&mut self, quic: Quic) {
        self.quic = quic;
    }

    /// The sockets that a role is given.
    pub(crate) fn sockets_for(&self, role: Role) -> Vec<Arc<OwnedFd>> {
        self.of(role).map(|listener| Arc::clone(&listener.socket)).collect()
    }

    /// Their description, in the same order.
    pub(crate) fn bound_for(&self, role: Role) -> Vec<Bound> {
        self.of(role).map(|listener| Bound { transport: listener.transport.to_owned(), address: listener.address }).collect()
    }

    fn of(&self, role: Role) -> impl Iterator<Item = &Listener> {
        self.all.iter().filter(move |listener| role.transports().contains(&listener.transport))
    }

    /// Whether nobody but this host can reach what serves MCP.
    pub(crate) fn are_local(&self) -> bool {
        let front = self.all.iter().filter(|listener| listener.transport != "admin").map(|listener| listener.address);
        front.chain(self.quic.door().map(|door| door.address())).all(|address| address.ip().to_canonical().is_loopback())
    }

    /// Where a transport is reached.
    pub(crate) fn address(&self, transport: &str) -> Option<SocketAddr> {
        self.all.iter().find(|listener| listener.transport == transport).map(|listener| listener.address)
    }

    /// For the status.
    pub(crate) fn status(&self) -> Vec<status::Listener> {
        let show = |listener: &Listener| status::Listener {
            transport: listener.transport.to_owned(),
            address: listener.address.to_string(),
            port: listener.address.port(),
            origin: listener.origin.to_owned(),
        };
        self.all.iter().map(show).chain(self.quic.row()).collect()
    }
}

fn bind(transport: &'static str, wanted: SocketAddr) -> Result<Listener, ListenError> {
    let bound = TcpListener::bind(wanted).and_then(|socket| {
        platform::deepen_backlog(&socket)?;
        socket.set_nonblocking(true)?;
        Ok((socket.local_addr()?, socket))
    });
    match bound {
        Ok((address, socket)) => Ok(Listener { transport, wanted, address, origin: "bound", socket: Arc::new(socket.into()) }),
        Err(source) if source.kind() == io::ErrorKind::AddrInUse => {
            let holder = platform::who_listens(wanted).map_or_else(String::new, |who| format!(" by {who}"));
            let message = format!("port {} ({transport}, {wanted}) is taken{holder}", wanted.port());
            Err(ListenError { code: Code::PortTaken, message, source })
        }
        Err(source) => {
            let message = format!("{wanted} ({transport}) cannot be bound");
            Err(ListenError { code: Code::BindFailed, message, source })
        }
    }
}

fn adopt(transport: &'static str, wanted: SocketAddr, socket: OwnedFd, asks: bool) -> Result<Listener, ListenError> {
    let socket = TcpListener::from(socket);
    let address = socket.set_nonblocking(true).and_then(|()| socket.local_addr()).map_err(|source| ListenError {
        code: Code::BindFailed,
        message: format!("the socket inherited for {transport} is not a listening TCP socket"),
        source,
    })?;
    // What the configuration may not ask for, a service manager may not give either.
    if transport == "http" && !asks && !address.ip().is_loopback() {
        return Err(ListenError {
            code: Code::OpenWithoutAuth,
            message: format!(
                "the socket inherited for {transport} listens on {address}, which others can reach, and nobody is asked who they are"
            ),
            source: io::ErrorKind::PermissionDenied.into(),
        });
    }
    Ok(Listener { transport, wanted, address, origin: "inherited", socket: Arc::new(socket.into()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inherited_socket_is_judged_like_a_configured_address() {
        let socket = |address: &str| OwnedFd::from(TcpListener::bind(address).expect("a free port"));
        let wanted = SocketAddr::from(([127, 0, 0, 1], 3000));
        assert_eq!(adopt("http", wanted, socket("0.0.0.0:0"), false).map_err(|error| error.code).err(), Some(Code::OpenWithoutAuth));
        assert!(adopt("http", wanted, socket("127.0.0.1:0"), false).is_ok());
        assert!(adopt("http", wanted, socket("0.0.0.0:0"), true).is_ok());
    }
}
