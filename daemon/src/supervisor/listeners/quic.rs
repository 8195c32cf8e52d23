//! How the QUIC transport stands: off, served at its port, or degraded because the port is not to be
//! had. The other transports serve without it.

use super::{
    each_address,
    listen_error::ListenError,
    origin::{KEPT, Origin},
    quic_port::QuicPort,
    slots::{self, Slots},
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
    /// From our last life, by place among the addresses and by socket slot.
    kept: BTreeMap<usize, BTreeMap<usize, Arc<OwnedFd>>>,
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
            match (place(&name), name == QUIC) {
                (Some((at, slot)), _) => {
                    let slots = given.kept.entry(at).or_default();
                    slots.insert(slot, Arc::new(socket));
                }
                (None, true) => given.unit.push(socket),
                (None, false) => inherited.push((name, socket)),
            }
        }
        given
    }

    /// Those from our last life that are where a port is wanted.
    fn kept(self, wanted: &[SocketAddr]) -> Vec<Arc<Slots>> {
        let slots = |slots: BTreeMap<usize, Arc<OwnedFd>>| {
            // With one missing the kernel would count otherwise than we do.
            let is_whole = slots.keys().copied().eq(0..slots.len());
            let sockets: Vec<_> = slots.into_values().collect();
            let address = slots::address_of(sockets.first().filter(|_| is_whole)?).ok()?;
            let is_there = |wanted: &&SocketAddr| {
                **wanted == address || (wanted.port() == 0 && wanted.ip() == address.ip())
            };
            let wanted = wanted.iter().find(is_there).copied();
            let slots = Slots::adopt(Some(wanted?), Origin::Kept, sockets);
            slots.ok().map(Arc::new)
        };
        self.kept.into_values().filter_map(slots).collect()
    }

    /// The port that a socket unit's sockets are: those at each address in their order.
    ///
    /// # Errors
    /// When they cannot be used.
    fn port_of_unit(self, workers: usize) -> Result<Arc<QuicPort>, ListenError> {
        let cannot = |source| {
            let message = "a socket inherited for quic is no UDP socket";
            ListenError::new(Code::BindFailed, message.to_owned(), source)
        };
        let mut by_address: Vec<(SocketAddr, Vec<Arc<OwnedFd>>)> = Vec::new();
        for socket in self.unit {
            let address = slots::address_of(&socket).map_err(cannot)?;
            if !self.asks_strangers && !address.ip().to_canonical().is_loopback() {
                return Err(ListenError::open_to_strangers(format!(
                    "the socket inherited for quic is at {address}, which others can reach, and nobody is asked who they are"
                )));
            }
            let socket = Arc::new(socket);
            match by_address.iter_mut().find(|(known, _)| *known == address) {
                Some((_, sockets)) => sockets.push(socket),
                None => by_address.push((address, vec![socket])),
            }
        }
        let slots = by_address.into_iter().map(|(_, sockets)| {
            let slots = Slots::adopt(None, Origin::Inherited, sockets);
            slots.map(Arc::new).map_err(cannot)
        });
        Ok(QuicPort::of(slots.collect::<Result<_, _>>()?, workers))
    }
}

/// The name of a socket that the service manager keeps for us: its place among the addresses, and
/// its slot. Zeros before that, so that names are in the order of slots, should the manager not
/// take them all.
fn kept_name(at: usize, slot: usize) -> String {
    match at {
        0 => format!("{KEPT}{SLOT_NAME}{slot:03}"),
        _ => format!("{KEPT}{SLOT_NAME}{at}-{slot:03}"),
    }
}

/// What a name made by [`kept_name`] says.
fn place(name: &str) -> Option<(usize, usize)> {
    let name = name.strip_prefix(KEPT)?.strip_prefix(SLOT_NAME)?;
    let (at, slot) = name.split_once('-').unwrap_or(("0", name));
    Some((at.parse().ok()?, slot.parse().ok()?))
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
    /// otherwise. Never fails: QUIC can be done without. With it comes
    /// what is left out.
    pub(super) fn open(config: &Config, old: &Self, given: GivenSockets) -> (Self, Option<String>) {
        let quic = &config.transports.quic;
        if !quic.enabled {
            return (Self::Off, None);
        }
        let (wanted, workers) = (quic.host.at(quic.port), worker_count(config));
        let known = old.port();
        if let Some(port) = known.filter(|port| port.is_of_unit()) {
            port.reach_for(workers);
            return (old.clone(), None);
        }
        let slots = known.map_or(&[][..], |port| port.slots());
        let fits = |wanted: &SocketAddr| slots.iter().any(|slots| slots.fit(*wanted));
        let opened = if given.unit.is_empty() || wanted.iter().any(fits) {
            let known = [slots, &given.kept(&wanted)].concat();
            QuicPort::open(&wanted, workers, &known)
        } else {
            given.port_of_unit(workers).map(|port| (port, Vec::new()))
        };
        let error = match opened {
            Ok((port, absent)) => {
                let same = known.filter(|known| known.is(&port)).map(Arc::clone);
                let absent = each_address::say(QUIC, &absent);
                return (Self::Open(same.unwrap_or(port)), absent);
            }
            Err(error) => error,
        };
        if !matches!(old, Self::Degraded { message, .. } if *message == error.message()) {
            tracing::error!(target: "transport", code = %error.code, "QUIC is not served: {}", error.message());
        }
        let message = error.message().to_owned();
        let code = error.code;
        (Self::Degraded { code, message }, None)
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
        let Some(port) = self.port().filter(|port| !port.is_of_unit()) else {
            return Vec::new();
        };
        let mut own = Vec::new();
        for (at, slots) in port.slots().iter().enumerate() {
            for (slot, (socket, is_kept)) in slots.kept().into_iter().enumerate() {
                own.push(OwnSocket {
                    name: kept_name(at, slot),
                    socket,
                    is_kept,
                });
            }
        }
        own
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
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "a test fails by panicking"
    )]

    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn sockets_that_were_kept_have_the_slots_that_they_had() {
        let wanted: Vec<SocketAddr> = ["127.0.0.1:0", "[::1]:0"]
            .map(|one| one.parse().unwrap())
            .to_vec();
        let (old, _) = QuicPort::open(&wanted, 2, &[]).unwrap();
        let named = Quic::Open(Arc::clone(&old)).own();
        // In whatever order the manager hands them over.
        let give = |wanted: &[SocketAddr], missing: &str| {
            let others = named.iter().rev().filter(|own| own.name != missing);
            let mut inherited: Vec<_> = others
                .map(|own| (own.name.clone(), own.socket.try_clone().unwrap()))
                .collect();
            let given = GivenSockets::take(&mut inherited, false);
            assert!(inherited.is_empty());
            given.kept(wanted)
        };
        assert!(
            give(&wanted, "kept-quic-002")
                .iter()
                .all(|slots| slots.address().is_ipv6())
        );
        assert!(give(&["127.0.0.1:1".parse().unwrap()], "").is_empty());
        let kept = give(&wanted, "");
        let (port, _) = QuicPort::open(&wanted, 2, &kept).unwrap();
        assert!(port.addresses().eq(old.addresses()));
        for (at, address) in port.addresses().enumerate() {
            assert_eq!(port.slots()[at].row().origin, "kept");
            let client = UdpSocket::bind(SocketAddr::new(address.ip(), 0)).unwrap();
            for slot in 0..4_u8 {
                let socket = &port.sockets(slot)[at].1;
                let socket = UdpSocket::from(socket.try_clone().unwrap());
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
                client.send_to(&datagram, address).unwrap();
                assert_eq!(socket.recv(&mut [0; 64]).unwrap(), 25);
            }
        }
    }

    #[test]
    fn sockets_of_a_unit_are_served_at_each_of_their_addresses() {
        let bound = |address: &str| OwnedFd::from(UdpSocket::bind(address).unwrap());
        let mut inherited: Vec<_> = ["127.0.0.1:0", "127.0.0.1:0"]
            .map(|address| (QUIC.to_owned(), bound(address)))
            .into();
        let given = GivenSockets::take(&mut inherited, false);
        let port = given.port_of_unit(1).unwrap();
        assert_eq!(port.addresses().count(), 2);
        assert!(port.is_of_unit() && Quic::Open(port).own().is_empty());
        let mut inherited = vec![(QUIC.to_owned(), bound("0.0.0.0:0"))];
        let given = GivenSockets::take(&mut inherited, false);
        let error = given.port_of_unit(1).unwrap_err();
        assert_eq!(error.code, Code::OpenWithoutAuth);
    }
}
