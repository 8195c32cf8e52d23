//! A listening TCP socket: bound here, or taken over from the service manager.

use super::{listen_error::ListenError, origin::Origin};
use crate::platform;
use ggen_wire::{Code, status};
use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::fd::OwnedFd,
    sync::Arc,
};

/// A listening socket.
#[derive(Clone, Debug)]
pub(super) struct Listener {
    pub(super) transport: &'static str,
    /// What the configuration asks for.
    pub(super) wanted: SocketAddr,
    /// What it is bound to.
    pub(super) address: SocketAddr,
    pub(super) origin: Origin,
    pub(super) socket: Arc<OwnedFd>,
}

impl Listener {
    /// Binds an address.
    ///
    /// # Errors
    /// When it is taken, or cannot be bound.
    pub(super) fn bind(transport: &'static str, wanted: SocketAddr) -> Result<Self, ListenError> {
        let bound = TcpListener::bind(wanted).and_then(|socket| {
            platform::deepen_backlog(&socket)?;
            socket.set_nonblocking(true)?;
            Ok((socket.local_addr()?, socket))
        });
        let error = match bound {
            Ok((address, socket)) => {
                return Ok(Self {
                    transport,
                    wanted,
                    address,
                    origin: Origin::Bound,
                    socket: Arc::new(socket.into()),
                });
            }
            Err(error) => error,
        };
        if error.kind() != io::ErrorKind::AddrInUse {
            let message = format!("{wanted} ({transport}) cannot be bound");
            return Err(ListenError::new(Code::BindFailed, message, error));
        }
        let holder =
            platform::who_listens(wanted).map_or_else(String::new, |who| format!(" by {who}"));
        let port = wanted.port();
        let message = format!("port {port} ({transport}, {wanted}) is taken{holder}");
        Err(ListenError::new(Code::PortTaken, message, error))
    }

    /// Takes over a socket of the service manager. `asks`: strangers are asked who they are.
    ///
    /// # Errors
    /// When it is no listening TCP socket, or may not be open to strangers.
    pub(super) fn adopt(
        transport: &'static str,
        wanted: SocketAddr,
        socket: OwnedFd,
        origin: Origin,
        asks: bool,
    ) -> Result<Self, ListenError> {
        let socket = TcpListener::from(socket);
        let address = socket
            .set_nonblocking(true)
            .and_then(|()| socket.local_addr())
            .map_err(|source| {
                let message =
                    format!("the socket inherited for {transport} is not a listening TCP socket");
                ListenError::new(Code::BindFailed, message, source)
            })?;
        // What the configuration may not ask for, a service manager may not give either.
        if transport != "admin" && !asks && !address.ip().is_loopback() {
            return Err(ListenError::open_to_strangers(format!(
                "the socket inherited for {transport} listens on {address}, which others can reach, and nobody is asked who they are"
            )));
        }
        Ok(Self {
            transport,
            wanted,
            address,
            origin,
            socket: Arc::new(socket.into()),
        })
    }

    /// The row of the status.
    pub(super) fn row(&self) -> status::Listener {
        status::Listener {
            transport: self.transport.to_owned(),
            address: self.address.to_string(),
            port: self.address.port(),
            origin: self.origin.as_str().to_owned(),
        }
    }
}

/// Whether a socket listens at an address; port 0 is any.
pub(super) fn is_at(socket: &OwnedFd, wanted: SocketAddr) -> bool {
    let address = socket
        .try_clone()
        .and_then(|socket| TcpListener::from(socket).local_addr());
    address.is_ok_and(|address| {
        address == wanted || (wanted.port() == 0 && address.ip() == wanted.ip())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inherited_socket_is_judged_like_a_configured_address() {
        let wanted = SocketAddr::from(([127, 0, 0, 1], 3000));
        let adopt = |address: &str, asks| {
            let socket = OwnedFd::from(TcpListener::bind(address).expect("a free port"));
            Listener::adopt("http", wanted, socket, Origin::Inherited, asks)
        };
        assert_eq!(
            adopt("0.0.0.0:0", false).map_err(|error| error.code).err(),
            Some(Code::OpenWithoutAuth)
        );
        assert!(adopt("127.0.0.1:0", false).is_ok());
        assert!(adopt("0.0.0.0:0", true).is_ok());
    }

    #[test]
    fn a_port_that_is_taken_is_named_with_its_holder() {
        let first =
            Listener::bind("http", SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        let error = Listener::bind("http", first.address).expect_err("it is taken");
        assert_eq!(error.code, Code::PortTaken);
        assert!(error.message().contains("is taken"), "{}", error.message());
        assert!(is_at(&first.socket, first.address));
    }
}
