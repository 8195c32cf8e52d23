//! The QUIC port: UDP sockets that share it, a socket slot each. They are bound before any worker
//! starts and closed by nobody while the port is configured, because the kernel numbers them by
//! their order, and closing one would renumber the others. A worker reads one of them; what arrives
//! while it is being replaced waits there.

use crate::{
    config::Config,
    ipc::{messages::Role, socket_slot::MAX_SLOTS},
    platform,
    supervisor::{
        Supervisor,
        event::ProcId,
        listeners::{ListenError, steering},
        service_manager::KEPT,
        workers::{Proc, Slot, Stage},
    },
};
use ggen_wire::{Code, status};
use std::{
    collections::BTreeMap,
    fmt, io,
    net::{SocketAddr, UdpSocket},
    os::fd::OwnedFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// The transport, as sockets of socket units are named.
const QUIC: &str = "quic";
/// Sockets of socket slots are named with this before their number.
const SLOT_NAME: &str = "quic-";
/// Socket slots for each worker: one to serve from, one for the successor that takes over while it
/// drains.
const SLOTS_PER_WORKER: usize = 2;
/// A port that is taken is tried again after so long.
const AGAIN: Duration = Duration::from_secs(5);

/// The port.
pub(crate) struct QuicPort {
    /// What the configuration asks for.
    pub(crate) wanted: SocketAddr,
    /// What it is bound to.
    pub(crate) address: SocketAddr,
    /// `bound`, `kept` from our last life, or `inherited` from a socket unit.
    pub(crate) origin: &'static str,
    /// So many of the socket slots were there already.
    pub(crate) lent: usize,
    pub(crate) sockets: Mutex<Vec<Arc<OwnedFd>>>,
    /// What the kernel has been told: the number of socket slots, and who gets new connections.
    pub(crate) steered: Mutex<(usize, Vec<u8>)>,
}

impl fmt::Debug for QuicPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuicPort")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl QuicPort {
    /// Binds the port for so many workers.
    pub(crate) fn open(wanted: SocketAddr, workers: usize) -> Result<Arc<Self>, ListenError> {
        let bound = platform::bind_udp(wanted).and_then(|first| Ok((first.local_addr()?, first)));
        let (address, first) = bound.map_err(|error| unbound(wanted, error))?;
        Ok(Self::with(
            wanted,
            address,
            workers,
            "bound",
            0,
            vec![first.into()],
        ))
    }

    /// Takes over sockets that share a port, in the order in which they were bound.
    fn adopt(
        wanted: SocketAddr,
        workers: usize,
        origin: &'static str,
        sockets: Vec<OwnedFd>,
    ) -> io::Result<Arc<Self>> {
        let mut addresses = Vec::new();
        for socket in &sockets {
            let socket = UdpSocket::from(socket.try_clone()?);
            socket.set_nonblocking(true)?;
            addresses.push(socket.local_addr()?);
        }
        let Some(address) = addresses
            .first()
            .copied()
            .filter(|first| addresses.iter().all(|address| address == first))
        else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        Ok(Self::with(
            wanted,
            address,
            workers,
            origin,
            sockets.len(),
            sockets,
        ))
    }

    fn with(
        wanted: SocketAddr,
        address: SocketAddr,
        workers: usize,
        origin: &'static str,
        lent: usize,
        sockets: Vec<OwnedFd>,
    ) -> Arc<Self> {
        let sockets = Mutex::new(sockets.into_iter().map(Arc::new).collect());
        let port = Self {
            wanted,
            address,
            origin,
            lent,
            sockets,
            steered: Mutex::default(),
        };
        port.reach(workers * SLOTS_PER_WORKER);
        Arc::new(port)
    }

    /// Whether it is what is asked for now.
    pub(crate) fn fits(&self, wanted: SocketAddr) -> bool {
        self.origin == "inherited" || self.wanted == wanted || self.address == wanted
    }

    /// The address that it is bound to.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Adds socket slots until there are so many, as far as the system allows.
    pub(crate) fn reach(&self, count: usize) {
        let count = if platform::STEERS {
            count.min(MAX_SLOTS)
        } else {
            1
        };
        while self.sockets().len() < count {
            match platform::bind_another(self.address) {
                Ok(socket) => self.sockets().push(Arc::new(socket.into())),
                Err(error) => {
                    return tracing::warn!(target: "transport", %error, "no further socket at the QUIC port");
                }
            }
        }
    }

    /// The socket of a socket slot.
    pub(crate) fn socket(&self, index: u8) -> Option<Arc<OwnedFd>> {
        self.sockets().get(usize::from(index)).map(Arc::clone)
    }

    /// Has new connections go to these socket slots.
    fn steer(&self, targets: Vec<u8>) {
        let (count, first) = {
            let sockets = self.sockets();
            (sockets.len(), sockets.first().map(Arc::clone))
        };
        let mut steered = self.steered.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(first), true) = (first, platform::STEERS) else {
            return;
        };
        if *steered == (count, targets.clone()) {
            return;
        }
        match platform::steer(&first, &steering::program(count, &targets)) {
            Ok(()) => *steered = (count, targets),
            Err(error) => {
                tracing::error!(target: "transport", %error, "QUIC datagrams cannot be steered")
            }
        }
    }

    /// What the kernel has been told.
    pub(crate) fn steered(&self) -> (usize, Vec<u8>) {
        self.steered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn sockets(&self) -> MutexGuard<'_, Vec<Arc<OwnedFd>>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sockets for the port that the service manager gave us.
#[derive(Debug, Default)]
pub(crate) struct Lent {
    /// Of a socket unit, in its order.
    unit: Vec<OwnedFd>,
    /// From our last life, by socket slot.
    kept: BTreeMap<usize, OwnedFd>,
    /// Whether who comes is asked who it is.
    asks_strangers: bool,
}

impl Lent {
    /// Takes them out of all that was inherited.
    pub(crate) fn take(inherited: &mut Vec<(String, OwnedFd)>, asks_strangers: bool) -> Self {
        let mut lent = Self {
            asks_strangers,
            ..Self::default()
        };
        for (name, socket) in std::mem::take(inherited) {
            let slot = name
                .strip_prefix(KEPT)
                .and_then(|name| name.strip_prefix(SLOT_NAME))
                .and_then(|index| index.parse().ok());
            match slot {
                Some(slot) => drop(lent.kept.insert(slot, socket)),
                None if name == QUIC => lent.unit.push(socket),
                None => inherited.push((name, socket)),
            }
        }
        lent
    }

    /// The QUIC port that they make. `None`: there are none, or they are not what is wanted.
    ///
    /// # Errors
    /// The socket unit's cannot be used.
    fn port(
        self,
        wanted: SocketAddr,
        workers: usize,
    ) -> Result<Option<Arc<QuicPort>>, ListenError> {
        if !self.unit.is_empty() {
            let found = QuicPort::adopt(wanted, workers, "inherited", self.unit);
            let port = found.map_err(|source| {
                ListenError::new(
                    Code::BindFailed,
                    "the sockets inherited for quic are not those of one UDP port".to_owned(),
                    source,
                )
            })?;
            if !self.asks_strangers && !port.address.ip().is_loopback() {
                let message = format!(
                    "the socket inherited for quic is at {}, which others can reach, and nobody is asked who they are",
                    port.address
                );
                return Err(ListenError::new(
                    Code::OpenWithoutAuth,
                    message,
                    io::ErrorKind::PermissionDenied.into(),
                ));
            }
            return Ok(Some(port));
        }
        // With one missing the kernel would count otherwise than we do.
        let whole = self.kept.keys().copied().eq(0..self.kept.len());
        let port = QuicPort::adopt(wanted, workers, "kept", self.kept.into_values().collect())
            .ok()
            .filter(|_| whole);
        Ok(port.filter(|port| {
            port.address == wanted || (wanted.port() == 0 && port.address.ip() == wanted.ip())
        }))
    }
}

fn unbound(wanted: SocketAddr, source: io::Error) -> ListenError {
    if source.kind() == io::ErrorKind::AddrInUse {
        let holder =
            platform::who_holds_udp(wanted).map_or_else(String::new, |who| format!(" by {who}"));
        let message = format!(
            "UDP port {} (quic, {wanted}) is taken{holder}",
            wanted.port()
        );
        return ListenError::new(Code::PortTaken, message, source);
    }
    ListenError::new(
        Code::BindFailed,
        format!("{wanted} (quic, UDP) cannot be bound: {source}"),
        source,
    )
}

/// How QUIC stands.
#[derive(Clone, Debug, Default)]
pub(crate) enum Quic {
    /// Not configured.
    #[default]
    Off,
    /// Its port is there.
    Open(Arc<QuicPort>),
    /// Its port is not to be had. The other transports serve.
    Degraded {
        /// `PortTaken` or `BindFailed`.
        code: Code,
        /// Why.
        message: String,
    },
}

impl Quic {
    /// What a configuration asks for: the QUIC port that is open already if it fits, a new one
    /// otherwise. Never fails: QUIC can be done without.
    pub(crate) fn open(config: &Config, old: &Self, lent: Lent) -> Self {
        let quic = &config.transports.quic;
        if !quic.enabled {
            return Self::Off;
        }
        let (wanted, workers) = (SocketAddr::new(quic.host, quic.port), count(config));
        if let Self::Open(port) = old
            && port.fits(wanted)
        {
            port.reach(workers * SLOTS_PER_WORKER);
            return old.clone();
        }
        let port = lent
            .port(wanted, workers)
            .and_then(|port| port.map_or_else(|| QuicPort::open(wanted, workers), Ok));
        match port {
            Ok(port) => Self::Open(port),
            Err(error) => {
                if !matches!(old, Self::Degraded { message, .. } if *message == error.message()) {
                    tracing::error!(target: "transport", code = %error.code, "QUIC is not served: {}", error.message());
                }
                Self::Degraded {
                    code: error.code,
                    message: error.message().to_owned(),
                }
            }
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

    /// The row of the status.
    pub(crate) fn row(&self) -> Option<status::Listener> {
        let address = self.port()?.address;
        Some(status::Listener {
            transport: "quic".to_owned(),
            address: address.to_string(),
            port: address.port(),
            origin: self.port()?.origin.to_owned(),
        })
    }

    /// The sockets that no socket unit holds: a name, the socket, and whether the service manager
    /// has kept it from our last life.
    pub(crate) fn own(&self) -> Vec<(String, Arc<OwnedFd>, bool)> {
        let Some(port) = self.port().filter(|port| port.origin != "inherited") else {
            return Vec::new();
        };
        // Zeros before it, so that names are in the order of socket slots, should the manager not
        // take them all.
        let name = |(index, socket): (usize, &Arc<OwnedFd>)| {
            (
                format!("{SLOT_NAME}{index:03}"),
                Arc::clone(socket),
                index < port.lent,
            )
        };
        port.sockets().iter().enumerate().map(name).collect()
    }

    /// What is wrong, if anything.
    pub(crate) fn issue(&self) -> Option<status::Issue> {
        let Self::Degraded { code, message } = self else {
            return None;
        };
        Some(status::Issue {
            code: *code,
            message: format!("QUIC is not served: {message}"),
            help: "ggen mcp doctor".to_owned(),
        })
    }

    /// When a port that is taken is tried again.
    pub(crate) fn again(&self, now: Duration) -> Option<Duration> {
        matches!(self, Self::Degraded { .. }).then_some(now + AGAIN)
    }
}

/// How many workers a configuration asks for here: elsewhere than on Linux one, because nobody
/// tells their datagrams apart.
pub(crate) fn count(config: &Config) -> usize {
    if platform::STEERS {
        usize::from(config.server.workers.max(1))
    } else {
        1
    }
}

impl Supervisor {
    /// A socket slot for a new process of a slot: that of the process that died, so that its
    /// clients are told; else one that is free.
    pub(crate) fn take_socket_slot(&self, slot: &Slot, port: &Arc<QuicPort>) -> Option<u8> {
        let taken = |index: u8| {
            self.workers
                .procs
                .values()
                .any(|proc| reads(proc, port, index))
        };
        let kept = |index: u8| {
            self.workers
                .slots
                .iter()
                .any(|other| other.name != slot.name && other.socket_slot == Some(index))
        };
        let count = port.sockets().len();
        let all = || (0..count).filter_map(|index| u8::try_from(index).ok());
        let old = slot
            .socket_slot
            .filter(|index| usize::from(*index) < count && !taken(*index));
        let found = old
            .or_else(|| all().find(|index| !taken(*index) && !kept(*index)))
            .or_else(|| all().find(|index| !taken(*index)));
        found.or_else(|| {
            // Several generations are draining at once.
            port.reach(count + 1);
            u8::try_from(count)
                .ok()
                .filter(|_| port.sockets().len() > count)
        })
    }

    /// Tells the kernel who gets new connections, if that has changed.
    pub(crate) fn steer(&mut self) {
        let Some(port) = self.listeners.quic().port().cloned() else {
            return;
        };
        let port = &port;
        for slot in &mut self.workers.slots {
            // A successor in its place begins where it was.
            let own = slot
                .current
                .and_then(|id| self.workers.procs.get(&id)?.socket_slot.as_ref());
            slot.socket_slot = own
                .filter(|(own, _)| Arc::ptr_eq(own, port))
                .map(|(_, index)| *index)
                .or(slot.socket_slot);
        }
        let share = |slot: &Slot| {
            let proc = slot.current.and_then(|id| self.workers.procs.get(&id));
            let own = proc
                .and_then(|proc| proc.socket_slot.as_ref())
                .filter(|(own, _)| Arc::ptr_eq(own, port))
                .map(|(_, index)| *index);
            (
                own.or(slot.socket_slot),
                own.is_some() && proc.is_some_and(|proc| proc.stage == Stage::Ready),
            )
        };
        let slots = self
            .workers
            .slots
            .iter()
            .filter(|slot| slot.role == Role::Quic && !slot.prospective);
        port.steer(steering::targets(&slots.map(share).collect::<Vec<_>>()));
    }

    /// The slots whose process reads another QUIC port than the present one.
    pub(crate) fn at_other_ports(&self) -> Vec<String> {
        let port = self.listeners.quic().port();
        let elsewhere = |id: ProcId| {
            let slot = self
                .workers
                .procs
                .get(&id)
                .and_then(|proc| proc.socket_slot.as_ref());
            slot.is_some_and(|(own, _)| port.is_some_and(|port| !Arc::ptr_eq(own, port)))
        };
        let slots = self
            .workers
            .slots
            .iter()
            .filter(|slot| slot.role == Role::Quic && slot.current.is_some_and(elsewhere));
        slots.map(|slot| slot.name.clone()).collect()
    }

    /// Tries a port again that was taken.
    pub(crate) fn quic_on_time(&mut self, now: Duration) {
        if self.quic_at.is_none_or(|at| at > now) {
            return;
        }
        let quic = Quic::open(&self.loaded.config, self.listeners.quic(), Lent::default());
        self.quic_at = quic.again(now);
        let open = quic.port().is_some();
        self.listeners.set_quic(quic);
        if open {
            tracing::info!(target: "transport", "the QUIC port is free now");
            self.keep_listeners(&[]);
            self.lay_out_slots();
        }
    }
}

fn reads(proc: &Proc, port: &Arc<QuicPort>, index: u8) -> bool {
    proc.socket_slot
        .as_ref()
        .is_some_and(|(own, slot)| Arc::ptr_eq(own, port) && *slot == index)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "a test fails by panicking"
    )]

    use super::*;
    use crate::ipc::socket_slot::{ID_LENGTH, MAGIC};
    use std::net::UdpSocket;

    #[test]
    fn the_kernel_hands_datagrams_to_the_socket_that_they_name() {
        let port = QuicPort::open("127.0.0.1:0".parse().unwrap(), 2).unwrap();
        let sockets: Vec<UdpSocket> = (0..4)
            .map(|index| UdpSocket::from(port.socket(index).unwrap().try_clone().unwrap()))
            .collect();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut buffer = [0; 64];
        let arrived = |buffer: &mut [u8]| loop {
            if let Some(at) = sockets
                .iter()
                .position(|socket| socket.recv(buffer).is_ok())
            {
                return at;
            }
            std::thread::yield_now();
        };
        port.steer(vec![2, 1]);
        for slot in 0..4_u8 {
            let mut datagram = [0x43; 40];
            datagram[1] = slot;
            datagram[2..4].copy_from_slice(&MAGIC);
            client.send_to(&datagram, port.address()).unwrap();
            assert_eq!(arrived(&mut buffer), usize::from(slot));
        }
        let new = |last: u8| [&[0xc3, 0, 0, 0, 1, 8, 7, 7, 7, last][..], &[0; ID_LENGTH]].concat();
        for last in 0..8 {
            client.send_to(&new(last), port.address()).unwrap();
            assert_eq!(
                arrived(&mut buffer),
                if u32::from_be_bytes([7, 7, 7, last]).is_multiple_of(2) {
                    2
                } else {
                    1
                }
            );
        }
        port.steer(vec![3]);
        client.send_to(&new(0), port.address()).unwrap();
        assert_eq!(arrived(&mut buffer), 3);
    }

    #[test]
    fn sockets_that_were_kept_keep_their_slots() {
        let wanted = "127.0.0.1:0".parse().unwrap();
        let old = QuicPort::open(wanted, 2).unwrap();
        // In whatever order the manager hands them over.
        let give = |sockets: &[u8]| {
            let give = |slot: &u8| {
                (
                    format!("{KEPT}{SLOT_NAME}{slot:03}"),
                    old.socket(*slot).unwrap().try_clone().unwrap(),
                )
            };
            let mut inherited: Vec<_> = sockets.iter().map(give).collect();
            let lent = Lent::take(&mut inherited, false);
            assert!(inherited.is_empty());
            lent.port(old.address(), 2).unwrap()
        };
        let (all, missing) = (give(&[2, 0, 3, 1]), give(&[0, 1, 3]));
        assert!(missing.is_none());
        let port = all.unwrap();
        assert_eq!((port.origin, port.sockets().len()), ("kept", 4));
        drop(old);
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        for slot in 0..4_u8 {
            let socket = UdpSocket::from(port.socket(slot).unwrap().try_clone().unwrap());
            socket.set_nonblocking(false).unwrap();
            socket
                .set_read_timeout(Some(Duration::from_secs(10)))
                .unwrap();
            port.steer(vec![slot]);
            client
                .send_to(
                    &[
                        0xc3, 0, 0, 0, 1, 8, 7, 7, 7, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                        0,
                    ],
                    port.address(),
                )
                .unwrap();
            assert_eq!(socket.recv(&mut [0; 64]).unwrap(), 25);
        }
        let elsewhere = "127.0.0.1:1".parse().unwrap();
        let mut inherited = vec![(
            format!("{KEPT}{SLOT_NAME}000"),
            port.socket(0).unwrap().try_clone().unwrap(),
        )];
        assert!(
            Lent::take(&mut inherited, false)
                .port(elsewhere, 2)
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn a_port_that_somebody_shares_is_taken_all_the_same() {
        let one = QuicPort::open("127.0.0.1:0".parse().unwrap(), 2).unwrap();
        let error = QuicPort::open(one.address(), 2).unwrap_err();
        assert_eq!(error.code, Code::PortTaken);
        assert!(
            error
                .message()
                .contains(&format!("by pid {}", std::process::id())),
            "{}",
            error.message()
        );
    }
}
