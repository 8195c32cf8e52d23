//! The listening sockets: bound here or inherited from the service manager, one per transport,
//! shared by its workers, open for as long as they are configured. Nothing is ever accepted here.

pub(in crate::supervisor) mod quic_port;
pub(in crate::supervisor) mod stateless_reset;
pub(in crate::supervisor) mod steering;

use crate::{
    config::Loaded,
    ipc::messages::{Bound, Role},
    platform,
    supervisor::{
        listeners::quic_port::{Lent, Quic},
        service_manager::KEPT,
    },
};
use ggen_wire::{Code, status};
use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::fd::OwnedFd,
    sync::Arc,
};

/// HTTP over TLS.
const HTTPS: &str = "https";
/// WebSockets at a port of their own.
const WEBSOCKET: &str = "websocket";

/// A listening socket.
#[derive(Clone, Debug)]
pub(crate) struct Listener {
    pub(crate) transport: &'static str,
    /// What the configuration asks for.
    pub(crate) wanted: SocketAddr,
    /// What it is bound to.
    pub(crate) address: SocketAddr,
    pub(crate) origin: &'static str,
    pub(crate) socket: Arc<OwnedFd>,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listeners {
    pub(crate) all: Vec<Listener>,
    /// What could not be had and can be done without.
    pub(crate) left_out: Vec<(Option<Code>, String)>,
    pub(crate) quic: Quic,
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
    pub(crate) const fn new(code: Code, message: String, source: io::Error) -> Self {
        Self {
            code,
            message,
            source,
        }
    }

    /// Which address, and why, without the code.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }
}

impl Listeners {
    /// Sockets for what the configuration asks for: those of `old` and `inherited` that fit, new
    /// ones otherwise. Nothing of `old` is closed here. A socket unit's counts whatever its
    /// address; one that the service manager kept from our last life only if it is where it is
    /// wanted.
    ///
    /// # Errors
    /// The first address that cannot be had; nothing has changed then.
    pub(crate) fn open(
        loaded: &Loaded,
        old: &Self,
        mut inherited: Vec<(String, OwnedFd)>,
    ) -> Result<Self, ListenError> {
        let config = &loaded.config;
        // First, because their order counts.
        let sockets = Lent::take(&mut inherited, loaded.asks_strangers);
        let mut wanted = Vec::new();
        let http = &config.transports.http;
        if http.enabled && !loaded.stopped.contains("http") {
            wanted.push(("http", SocketAddr::new(http.host, http.port)));
        }
        if http.enabled && http.ssl.enabled {
            wanted.push((HTTPS, SocketAddr::new(http.host, http.ssl.port)));
        }
        let websocket = &config.transports.websocket;
        // A socket unit asks for it as well as a port does.
        let lent = inherited.iter().any(|(name, _)| name == WEBSOCKET)
            || old
                .all
                .iter()
                .any(|known| known.transport == WEBSOCKET && known.origin == "inherited");
        if websocket.enabled && (websocket.port.is_some() || lent) {
            wanted.push((
                WEBSOCKET,
                SocketAddr::new(http.host, websocket.port.unwrap_or(0)),
            ));
        }
        if config.metrics.enabled {
            wanted.push((
                "admin",
                SocketAddr::new(config.metrics.host, config.metrics.port),
            ));
        }
        let (mut all, mut left_out) = (Vec::new(), Vec::new());
        for (transport, address) in wanted {
            // A socket stays when its address does, also when that was the system's choice before.
            let fits = |known: &&Listener| {
                known.transport == transport
                    && (known.origin == "inherited" || known.wanted == address)
            };
            let chosen =
                |known: &&Listener| known.origin != "inherited" && known.address == address;
            let known = old
                .all
                .iter()
                .find(fits)
                .or_else(|| old.all.iter().find(chosen));
            let given = inherited
                .iter()
                .position(|(name, _)| name == transport)
                .map(|at| inherited.swap_remove(at).1);
            let kept = inherited.iter().position(|(name, socket)| {
                name.strip_prefix(KEPT) == Some(transport) && is_at(socket, address)
            });
            let kept = kept.map(|at| inherited.swap_remove(at).1);
            all.push(match (known, given, kept) {
                (Some(known), ..) => Listener { transport, wanted: address, ..known.clone() },
                (_, Some(socket), _) => adopt(transport, address, socket, "inherited", loaded.asks_strangers)?,
                (_, _, Some(socket)) => adopt(transport, address, socket, "kept", loaded.asks_strangers)?,
                _ => match bind(transport, address) {
                    // Nobody asked for it by name: the rest is served all the same.
                    Err(error) if transport == HTTPS && !loaded.is_set("transports.http.ssl") => {
                        left_out.push((
                            Some(error.code),
                            format!("HTTPS is not served: {}; set transports.http.ssl.port to another port", error.message),
                        ));
                        continue;
                    }
                    bound => bound?,
                },
            });
        }
        for (name, _) in inherited.iter().filter(|(name, _)| !name.starts_with(KEPT)) {
            left_out.push((None, format!("the socket `{name}` of a socket unit is not served: no transport of that name is on")));
        }
        Ok(Self {
            all,
            left_out,
            quic: Quic::open(config, &old.quic, sockets),
        })
    }

    /// Says what is left out; the log has to be there.
    pub(crate) fn tell_left_out(&self) {
        for (code, what) in &self.left_out {
            tracing::warn!(target: "transport", code = code.map(Code::as_str), "{what}");
        }
    }

    /// Why a transport that is configured is not served.
    pub(crate) fn why_not(&self, transport: &str) -> Option<String> {
        match transport {
            "quic" => self.quic.issue().map(|issue| issue.message),
            HTTPS => self
                .left_out
                .iter()
                .find(|(code, _)| code.is_some())
                .map(|(_, what)| what.clone()),
            _ => None,
        }
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
        self.of(role)
            .map(|listener| Arc::clone(&listener.socket))
            .collect()
    }

    /// Their description, in the same order.
    pub(crate) fn bound_for(&self, role: Role) -> Vec<Bound> {
        self.of(role)
            .map(|listener| Bound {
                transport: listener.transport.to_owned(),
                address: listener.address,
            })
            .collect()
    }

    fn of(&self, role: Role) -> impl Iterator<Item = &Listener> {
        self.all
            .iter()
            .filter(move |listener| role.transports().contains(&listener.transport))
    }

    /// Whether nobody but this host can reach what serves MCP.
    pub(crate) fn are_local(&self) -> bool {
        let front = self
            .all
            .iter()
            .filter(|listener| listener.transport != "admin")
            .map(|listener| listener.address);
        front
            .chain(self.quic.port().map(|port| port.address()))
            .all(|address| address.ip().to_canonical().is_loopback())
    }

    /// Those that no socket unit holds: a name, the socket, and whether the service manager has
    /// kept it from our last life.
    pub(crate) fn own(&self) -> impl Iterator<Item = (String, Arc<OwnedFd>, bool)> + '_ {
        let ours = self
            .all
            .iter()
            .filter(|listener| listener.origin != "inherited");
        let ours = ours.map(|listener| {
            (
                listener.transport.to_owned(),
                Arc::clone(&listener.socket),
                listener.origin == "kept",
            )
        });
        ours.chain(self.quic.own())
    }

    /// Where a transport is reached.
    pub(crate) fn address(&self, transport: &str) -> Option<SocketAddr> {
        self.all
            .iter()
            .find(|listener| listener.transport == transport)
            .map(|listener| listener.address)
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
        Ok((address, socket)) => Ok(Listener {
            transport,
            wanted,
            address,
            origin: "bound",
            socket: Arc::new(socket.into()),
        }),
        Err(source) if source.kind() == io::ErrorKind::AddrInUse => {
            let holder =
                platform::who_listens(wanted).map_or_else(String::new, |who| format!(" by {who}"));
            let message = format!(
                "port {} ({transport}, {wanted}) is taken{holder}",
                wanted.port()
            );
            Err(ListenError {
                code: Code::PortTaken,
                message,
                source,
            })
        }
        Err(source) => {
            let message = format!("{wanted} ({transport}) cannot be bound");
            Err(ListenError {
                code: Code::BindFailed,
                message,
                source,
            })
        }
    }
}

/// Whether a socket listens at an address; port 0 is any.
fn is_at(socket: &OwnedFd, wanted: SocketAddr) -> bool {
    let address = socket
        .try_clone()
        .and_then(|socket| TcpListener::from(socket).local_addr());
    address.is_ok_and(|address| {
        address == wanted || (wanted.port() == 0 && address.ip() == wanted.ip())
    })
}

fn adopt(
    transport: &'static str,
    wanted: SocketAddr,
    socket: OwnedFd,
    origin: &'static str,
    asks: bool,
) -> Result<Listener, ListenError> {
    let socket = TcpListener::from(socket);
    let address = socket
        .set_nonblocking(true)
        .and_then(|()| socket.local_addr())
        .map_err(|source| ListenError {
            code: Code::BindFailed,
            message: format!("the socket inherited for {transport} is not a listening TCP socket"),
            source,
        })?;
    // What the configuration may not ask for, a service manager may not give either.
    if transport != "admin" && !asks && !address.ip().is_loopback() {
        return Err(ListenError {
            code: Code::OpenWithoutAuth,
            message: format!(
                "the socket inherited for {transport} listens on {address}, which others can reach, and nobody is asked who they are"
            ),
            source: io::ErrorKind::PermissionDenied.into(),
        });
    }
    Ok(Listener {
        transport,
        wanted,
        address,
        origin,
        socket: Arc::new(socket.into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inherited_socket_is_judged_like_a_configured_address() {
        let socket =
            |address: &str| OwnedFd::from(TcpListener::bind(address).expect("a free port"));
        let wanted = SocketAddr::from(([127, 0, 0, 1], 3000));
        assert_eq!(
            adopt("http", wanted, socket("0.0.0.0:0"), "inherited", false)
                .map_err(|error| error.code)
                .err(),
            Some(Code::OpenWithoutAuth)
        );
        assert!(adopt("http", wanted, socket("127.0.0.1:0"), "inherited", false).is_ok());
        assert!(adopt("http", wanted, socket("0.0.0.0:0"), "inherited", true).is_ok());
    }
}
