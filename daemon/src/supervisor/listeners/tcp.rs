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
pub(super) struct Socket {
    /// What the configuration asks for.
    pub(super) wanted: SocketAddr,
    /// What it is bound to.
    pub(super) address: SocketAddr,
    pub(super) origin: Origin,
    pub(super) socket: Arc<OwnedFd>,
}

impl Socket {
    /// Binds an address with a port: what is wanted, or the choice of the system where that is 0.
    ///
    /// # Errors
    /// When it is taken, or cannot be bound.
    pub(super) fn bind(
        transport: &str,
        wanted: SocketAddr,
        port: u16,
    ) -> Result<Self, ListenError> {
        let asked = SocketAddr::new(wanted.ip(), port);
        let bound = platform::bind_tcp(asked).and_then(|socket| Ok((socket.local_addr()?, socket)));
        let error = match bound {
            Ok((address, socket)) => {
                return Ok(Self {
                    wanted,
                    address,
                    origin: Origin::Bound,
                    socket: Arc::new(socket.into()),
                });
            }
            Err(error) => error,
        };
        if error.kind() != io::ErrorKind::AddrInUse {
            let message = format!("{asked} ({transport}) cannot be bound");
            return Err(ListenError::new(Code::BindFailed, message, error));
        }
        let holder =
            platform::who_listens(asked).map_or_else(String::new, |who| format!(" by {who}"));
        let message = format!("port {port} ({transport}, {asked}) is taken{holder}");
        Err(ListenError::new(Code::PortTaken, message, error))
    }

    /// Takes over a socket of the service manager. `wanted`: `None` means that its own address is.
    /// `asks`: strangers are asked who they are.
    ///
    /// # Errors
    /// When it is no listening TCP socket, or may not be open to strangers.
    pub(super) fn adopt(
        transport: &str,
        wanted: Option<SocketAddr>,
        socket: Arc<OwnedFd>,
        origin: Origin,
        asks: bool,
    ) -> Result<Self, ListenError> {
        let address = address_of(&socket).map_err(|source| {
            let message =
                format!("the socket inherited for {transport} is not a listening TCP socket");
            ListenError::new(Code::BindFailed, message, source)
        })?;
        // What the configuration may not ask for, a service manager may not give either.
        if transport != "admin" && !asks && !address.ip().to_canonical().is_loopback() {
            return Err(ListenError::open_to_strangers(format!(
                "the socket inherited for {transport} listens on {address}, which others can reach, and nobody is asked who they are"
            )));
        }
        Ok(Self {
            wanted: wanted.unwrap_or(address),
            address,
            origin,
            socket,
        })
    }

    /// Whether a socket unit holds it.
    pub(super) fn is_of_unit(&self) -> bool {
        self.origin == Origin::Inherited
    }

    /// The row of the status.
    pub(super) fn row(&self, transport: &str) -> status::Listener {
        status::Listener {
            transport: transport.to_owned(),
            address: self.address.to_string(),
            port: self.address.port(),
            origin: self.origin.as_str().to_owned(),
        }
    }
}

/// Whether a socket listens at an address; port 0 is any.
pub(super) fn is_at(socket: &OwnedFd, wanted: SocketAddr) -> bool {
    address_of(socket).is_ok_and(|address| {
        address == wanted || (wanted.port() == 0 && address.ip() == wanted.ip())
    })
}

/// Of a TCP socket, which does not block from now on.
fn address_of(socket: &OwnedFd) -> io::Result<SocketAddr> {
    let socket = TcpListener::from(socket.try_clone()?);
    socket.set_nonblocking(true)?;
    socket.local_addr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inherited_socket_is_judged_like_a_configured_address() {
        let adopt = |address: &str, asks| {
            let socket = OwnedFd::from(TcpListener::bind(address).expect("a free port"));
            Socket::adopt("http", None, Arc::new(socket), Origin::Inherited, asks)
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
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let first = Socket::bind("http", any, 0).expect("a free port");
        let error = Socket::bind("http", first.address, first.address.port());
        let error = error.expect_err("it is taken");
        assert_eq!(error.code, Code::PortTaken);
        assert!(error.message().contains("is taken"), "{}", error.message());
        assert!(is_at(&first.socket, first.address));
    }
}
