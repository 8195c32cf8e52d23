//! The listener of a transport that takes TCP connections, and its sockets: those that a service
//! manager gave, or one at each address of its host.

use super::{
    each_address::{AtEach, Means, at_each},
    listen_error::ListenError,
    origin::Origin,
    tcp::{Socket, is_at},
};
use std::{net::SocketAddr, os::fd::OwnedFd, sync::Arc};

/// A listener.
#[derive(Clone, Debug)]
pub(super) struct Listener {
    pub(super) transport: &'static str,
    /// In the order of addresses, or as the service manager gave them.
    pub(super) sockets: Vec<Socket>,
}

/// Sockets that the service manager has for a transport.
#[derive(Debug, Default)]
pub(super) struct Given {
    /// Those of a socket unit. They count whatever their addresses.
    pub(super) unit: Vec<OwnedFd>,
    /// Those from our last life. One counts only if it is where one is wanted.
    pub(super) kept: Vec<Arc<OwnedFd>>,
}

impl Listener {
    /// Sockets at each address: those of `old` and `given` that fit, new ones otherwise. With them
    /// comes which addresses this host does not have.
    ///
    /// # Errors
    /// The first address that cannot be had.
    pub(super) fn open(
        transport: &'static str,
        wanted: &[SocketAddr],
        old: Option<&Self>,
        given: Given,
        asks: bool,
    ) -> Result<(Self, Vec<SocketAddr>), ListenError> {
        let of = |sockets| Self { transport, sockets };
        let old = old.map_or(&[][..], |old| &old.sockets);
        if old.iter().any(Socket::is_of_unit) {
            return Ok((of(old.to_vec()), Vec::new()));
        }
        let open = |address: SocketAddr| fitting(address, old);
        let adopt = |socket: Arc<OwnedFd>, wanted, origin| {
            Socket::adopt(transport, wanted, socket, origin, asks)
        };
        if !given.unit.is_empty() && wanted.iter().all(|address| open(*address).is_none()) {
            let wanted = wanted.first().copied();
            let unit = given.unit.into_iter().map(Arc::new);
            let sockets = unit.map(|socket| adopt(socket, wanted, Origin::Inherited));
            return Ok((of(sockets.collect::<Result<_, _>>()?), Vec::new()));
        }
        let kept = |address: SocketAddr| {
            let mut kept = given.kept.iter();
            let socket = kept.find(|socket| is_at(socket, address))?;
            adopt(Arc::clone(socket), Some(address), Origin::Kept).ok()
        };
        let AtEach { bound, absent } = at_each(
            wanted,
            &Means {
                known: &|address| open(address).or_else(|| kept(address)),
                port_of: &|socket: &Socket| socket.address.port(),
                bind: &|address, port| Socket::bind(transport, address, port),
            },
        )?;
        Ok((of(bound), absent))
    }

    /// Whether a socket unit holds it.
    pub(super) fn is_of_unit(&self) -> bool {
        self.sockets.iter().any(Socket::is_of_unit)
    }
}

/// An open socket that fits. It stays when its address does, also when that was the system's choice
/// before.
fn fitting(address: SocketAddr, old: &[Socket]) -> Option<Socket> {
    let known = old.iter().find(|known| known.wanted == address);
    let known = known.or_else(|| old.iter().find(|known| known.address == address))?;
    Some(Socket {
        wanted: address,
        ..known.clone()
    })
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "a test fails by panicking"
    )]

    use super::*;
    use crate::supervisor::testing::has_ipv6;
    use std::net::TcpListener;

    fn localhost(port: u16) -> Vec<SocketAddr> {
        ["127.0.0.1", "::1"]
            .map(|ip| SocketAddr::new(ip.parse().unwrap(), port))
            .to_vec()
    }

    fn open(wanted: &[SocketAddr], old: Option<&Listener>, given: Given) -> Listener {
        let (listener, absent) = Listener::open("http", wanted, old, given, false).unwrap();
        assert!(absent.is_empty(), "this host has no {absent:?}");
        listener
    }

    fn addresses(listener: &Listener) -> Vec<SocketAddr> {
        let sockets = listener.sockets.iter();
        sockets.map(|socket| socket.address).collect()
    }

    #[test]
    fn one_address_more_or_less_leaves_the_other_socket_as_it_is() {
        if !has_ipv6() {
            return;
        }
        let v4 = open(&localhost(0)[..1], None, Given::default());
        let both = open(&localhost(0), Some(&v4), Given::default());
        let port = v4.sockets[0].address.port();
        assert_eq!(addresses(&both), localhost(port));
        assert!(Arc::ptr_eq(&v4.sockets[0].socket, &both.sockets[0].socket));
        let again = open(&localhost(port), Some(&both), Given::default());
        assert!(Arc::ptr_eq(
            &both.sockets[1].socket,
            &again.sockets[1].socket
        ));
        let v6 = open(&localhost(port)[1..], Some(&again), Given::default());
        assert!(Arc::ptr_eq(&both.sockets[1].socket, &v6.sockets[0].socket));
        assert_eq!(v6.sockets.len(), 1);
    }

    #[test]
    fn all_sockets_of_a_unit_are_served_and_kept_ones_where_they_are_wanted() {
        if !has_ipv6() {
            return;
        }
        let bound = |address: &str| OwnedFd::from(TcpListener::bind(address).unwrap());
        let (one, other) = (bound("127.0.0.1:0"), bound("[::1]:0"));
        let given = Given {
            unit: vec![one, other],
            ..Given::default()
        };
        let unit = open(&localhost(0), None, given);
        assert_eq!(unit.sockets.len(), 2);
        assert!(unit.is_of_unit());
        // Whatever is asked for now.
        let still = open(&localhost(1)[..1], Some(&unit), Given::default());
        assert_eq!(addresses(&still), addresses(&unit));
        let first = open(&localhost(0), None, Given::default());
        let sockets = first.sockets.iter().map(|one| Arc::clone(&one.socket));
        let given = Given {
            kept: sockets.rev().collect(),
            ..Given::default()
        };
        let kept = open(&localhost(0), None, given);
        assert_eq!(addresses(&kept), addresses(&first));
        assert!(kept.sockets.iter().all(|one| one.origin == Origin::Kept));
    }
}
