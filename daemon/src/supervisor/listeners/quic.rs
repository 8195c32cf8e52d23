//! How the QUIC transport stands: off, served at its port, or degraded because the port is not to be
//! had. The other transports serve without it.

use super::{
    listen_error::ListenError,
    origin::{KEPT, Origin},
    quic_port::QuicPort,
};
use crate::{config::Config, platform, supervisor::service_manager::OwnSocket};
use ggen_wire::{Code, status::Issue};
use std::{collections::BTreeMap, net::SocketAddr, os::fd::OwnedFd, sync::Arc, time::Duration};

/// The transport, as sockets of socket units are named.
const QUIC: &str = "quic";
/// Sockets of ours are kept under this name with the number of their slot.
const SLOT_NAME: &str = "quic-";
/// A port that is taken is tried again after so long.
const RETRY: Duration = Duration::from_secs(5);

/// Sockets for the port that the service manager gave us.
#[derive(Debug, Default)]
pub(super) struct GivenSockets {
    /// Of a socket unit, in its order.
    unit: Vec<OwnedFd>,
    /// From our last life, by socket slot.
    kept: BTreeMap<usize, OwnedFd>,
    /// Strangers are asked who they are.
    asks_strangers: bool,
}

impl GivenSockets {
    /// Takes them out of all that was inherited.
    pub(super) fn take(inherited: &mut Vec<(String, OwnedFd)>, asks_strangers: bool) -> Self {
        let mut given = Self {
            asks_strangers,
            ..Self::default()
        };
        for (name, socket) in std::mem::take(inherited) {
            let slot = name
                .strip_prefix(KEPT)
                .and_then(|name| name.strip_prefix(SLOT_NAME))
                .and_then(|index| index.parse().ok());
            match slot {
                Some(slot) => drop(given.kept.insert(slot, socket)),
                None if name == QUIC => given.unit.push(socket),
                None => inherited.push((name, socket)),
            }
        }
        given
    }

    /// The QUIC port that they make. `None`: there are none, or they are not what is wanted.
    ///
    /// # Errors
    /// When a socket unit's cannot be used.
    fn port(
        self,
        wanted: SocketAddr,
        workers: usize,
    ) -> Result<Option<Arc<QuicPort>>, ListenError> {
        if !self.unit.is_empty() {
            return self.port_of_unit(wanted, workers).map(Some);
        }
        // With one missing the kernel would count otherwise than we do.
        let is_whole = self.kept.keys().copied().eq(0..self.kept.len());
        let sockets = self.kept.into_values().collect();
        let port = QuicPort::adopt(wanted, workers, Origin::Kept, sockets)
            .ok()
            .filter(|_| is_whole);
        Ok(port.filter(|port| {
            let address = port.address();
            address == wanted || (wanted.port() == 0 && address.ip() == wanted.ip())
        }))
    }

    fn port_of_unit(
        self,
        wanted: SocketAddr,
        workers: usize,
    ) -> Result<Arc<QuicPort>, ListenError> {
        let port = QuicPort::adopt(wanted, workers, Origin::Inherited, self.unit);
        let port = port.map_err(|source| {
            let message = "the sockets inherited for quic are not those of one UDP port";
            ListenError::new(Code::BindFailed, message.to_owned(), source)
        })?;
        let address = port.address();
        if !self.asks_strangers && !address.ip().is_loopback() {
            return Err(ListenError::open_to_strangers(format!(
                "the socket inherited for quic is at {address}, which others can reach, and nobody is asked who they are"
            )));
        }
        Ok(port)
    }
}

/// How QUIC stands.
#[derive(Clone, Debug, Default)]
pub(crate) enum Quic {
    /// Not configured.
    #[default]
    Off,
    /// Its port is there.
    Open(Arc<QuicPort>),
    /// Its port is not to be had.
    Degraded {
        /// `PortTaken`, `BindFailed` or `OpenWithoutAuth`.
        code: Code,
        /// Why.
        message: String,
    },
}

impl Quic {
    /// What a configuration asks for: the port that is open already if it fits, a new one
    /// otherwise. Never fails: QUIC can be done without.
    pub(super) fn open(config: &Config, old: &Self, given: GivenSockets) -> Self {
        let quic = &config.transports.quic;
        if !quic.enabled {
            return Self::Off;
        }
        let (wanted, workers) = (SocketAddr::new(quic.host, quic.port), worker_count(config));
        if let Self::Open(port) = old
            && port.fits(wanted)
        {
            port.reach_for(workers);
            return old.clone();
        }
        let port = given
            .port(wanted, workers)
            .and_then(|port| port.map_or_else(|| QuicPort::open(wanted, workers), Ok));
        let error = match port {
            Ok(port) => return Self::Open(port),
            Err(error) => error,
        };
        if !matches!(old, Self::Degraded { message, .. } if *message == error.message()) {
            tracing::error!(target: "transport", code = %error.code, "QUIC is not served: {}", error.message());
        }
        Self::Degraded {
            code: error.code,
            message: error.message().to_owned(),
        }
    }

    /// The port, if it is there.
    pub(crate) const fn port(&self) -> Option<&Arc<QuicPort>> {
        if let Self::Open(port) = self {
            Some(port)
        } else {
            None
        }
    }

    /// The sockets that no socket unit holds.
    pub(super) fn own(&self) -> Vec<OwnSocket> {
        let Some(port) = self.port().filter(|port| port.is_own()) else {
            return Vec::new();
        };
        // Zeros before the number, so that names are in the order of socket slots, should the
        // manager not take them all.
        let named = |(index, (socket, is_kept))| OwnSocket {
            name: format!("{KEPT}{SLOT_NAME}{index:03}"),
            socket,
            is_kept,
        };
        let sockets = port.kept_sockets().into_iter().enumerate();
        sockets.map(named).collect()
    }

    /// What is wrong, if anything.
    pub(crate) fn issue(&self) -> Option<Issue> {
        let Self::Degraded { code, message } = self else {
            return None;
        };
        Some(Issue {
            code: *code,
            message: format!("QUIC is not served: {message}"),
            help: "ggen mcp doctor".to_owned(),
        })
    }

    /// When a port that is taken is tried again.
    pub(super) fn retry_at(&self, now: Duration) -> Option<Duration> {
        matches!(self, Self::Degraded { .. }).then_some(now + RETRY)
    }
}

/// How many QUIC workers a configuration asks for. Elsewhere than on Linux there is one, because
/// nobody tells their datagrams apart.
pub(crate) fn worker_count(config: &Config) -> usize {
    if platform::STEERS {
        usize::from(config.server.workers.max(1))
    } else {
        1
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn sockets_that_were_kept_have_the_slots_that_they_had() {
        let wanted = "127.0.0.1:0".parse().unwrap();
        let old = QuicPort::open(wanted, 2).unwrap();
        // In whatever order the manager hands them over.
        let give = |slots: &[u8]| {
            let give = |slot: &u8| {
                let socket = old.socket(*slot).unwrap().try_clone().unwrap();
                (format!("{KEPT}{SLOT_NAME}{slot:03}"), socket)
            };
            let mut inherited: Vec<_> = slots.iter().map(give).collect();
            let given = GivenSockets::take(&mut inherited, false);
            assert!(inherited.is_empty());
            given.port(old.address(), 2).unwrap()
        };
        let (all, missing) = (give(&[2, 0, 3, 1]), give(&[0, 1, 3]));
        assert!(missing.is_none());
        let port = all.unwrap();
        assert_eq!(
            (port.row().origin.as_str(), port.kept_sockets().len()),
            ("kept", 4)
        );
        drop(old);
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        for slot in 0..4_u8 {
            let socket = UdpSocket::from(port.socket(slot).unwrap().try_clone().unwrap());
            socket.set_nonblocking(false).unwrap();
            socket
                .set_read_timeout(Some(Duration::from_secs(10)))
                .unwrap();
            port.steer(&[super::super::steering::Share {
                socket_slot: Some(slot),
                serves: true,
            }]);
            let mut datagram = [0; 25];
            datagram[..10].copy_from_slice(&[0xc3, 0, 0, 0, 1, 8, 7, 7, 7, 7]);
            client.send_to(&datagram, port.address()).unwrap();
            assert_eq!(socket.recv(&mut [0; 64]).unwrap(), 25);
        }
        let elsewhere = "127.0.0.1:1".parse().unwrap();
        let socket = port.socket(0).unwrap().try_clone().unwrap();
        let mut inherited = vec![(format!("{KEPT}{SLOT_NAME}000"), socket)];
        let given = GivenSockets::take(&mut inherited, false);
        assert!(given.port(elsewhere, 2).unwrap().is_none());
    }
}
