//! The QUIC port: UDP sockets that share it, a seat each. They are bound before any worker starts
//! and closed by nobody while the port is configured, because the kernel numbers them by their
//! order, and closing one would renumber the others. A worker reads one of them; what arrives while
//! it is being replaced waits there.

use super::{
    Supervisor,
    event::ProcId,
    listeners::ListenError,
    manager::KEPT,
    steering,
    workers::{Proc, Slot, Stage},
};
use crate::{
    config::Config,
    ipc::{messages::Role, seat::MAX_SEATS},
    platform,
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
/// Sockets of seats are named with this before their number.
const SEAT: &str = "quic-";
/// Seats for each worker: one to serve from, one for the successor that takes over while it drains.
const SEATS_EACH: usize = 2;
/// A port that is taken is tried again after so long.
const AGAIN: Duration = Duration::from_secs(5);

/// The port.
pub(crate) struct Door {
    /// What the configuration asks for.
    pub(super) wanted: SocketAddr,
    /// What it is bound to.
    pub(super) address: SocketAddr,
    /// `bound`, `kept` from our last life, or `inherited` from a socket unit.
    pub(super) origin: &'static str,
    /// So many of the seats were there already.
    pub(super) lent: usize,
    pub(super) seats: Mutex<Vec<Arc<OwnedFd>>>,
    /// What the kernel has been told: the number of seats, and who gets new connections.
    pub(super) steered: Mutex<(usize, Vec<u8>)>,
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Door {
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
        let seats = Mutex::new(sockets.into_iter().map(Arc::new).collect());
        let door = Self {
            wanted,
            address,
            origin,
            lent,
            seats,
            steered: Mutex::default(),
        };
        door.reach(workers * SEATS_EACH);
        Arc::new(door)
    }

    /// Whether it is what is asked for now.
    pub(crate) fn fits(&self, wanted: SocketAddr) -> bool {
        self.origin == "inherited" || self.wanted == wanted || self.address == wanted
    }

    /// The address that it is bound to.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Adds seats until there are so many, as far as the system allows.
    pub(crate) fn reach(&self, count: usize) {
        let count = if platform::STEERS {
            count.min(MAX_SEATS)
        } else {
            1
        };
        while self.seats().len() < count {
            match platform::bind_another(self.address) {
                Ok(socket) => self.seats().push(Arc::new(socket.into())),
                Err(error) => {
                    return tracing::warn!(target: "transport", %error, "no further socket at the QUIC port");
                }
            }
        }
    }

    /// The socket of a seat.
    pub(crate) fn socket(&self, index: u8) -> Option<Arc<OwnedFd>> {
        self.seats().get(usize::from(index)).map(Arc::clone)
    }

    /// Has new connections go to these seats.
    fn steer(&self, targets: Vec<u8>) {
        let (count, first) = {
            let seats = self.seats();
            (seats.len(), seats.first().map(Arc::clone))
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
    pub(super) fn steered(&self) -> (usize, Vec<u8>) {
        self.steered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn seats(&self) -> MutexGuard<'_, Vec<Arc<OwnedFd>>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sockets for the port that the service manager gave us.
#[derive(Debug, Default)]
pub(crate) struct Lent {
    /// Of a socket unit, in its order.
    unit: Vec<OwnedFd>,
    /// From our last life, by seat.
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
            let seat = name
                .strip_prefix(KEPT)
                .and_then(|name| name.strip_prefix(SEAT))
                .and_then(|index| index.parse().ok());
            match seat {
                Some(seat) => drop(lent.kept.insert(seat, socket)),
                None if name == QUIC => lent.unit.push(socket),
                None => inherited.push((name, socket)),
            }
        }
        lent
    }

    /// The door that they make. `None`: there are none, or they are not what is wanted.
    ///
    /// # Errors
    /// The socket unit's cannot be used.
    fn door(self, wanted: SocketAddr, workers: usize) -> Result<Option<Arc<Door>>, ListenError> {
        if !self.unit.is_empty() {
            let found = Door::adopt(wanted, workers, "inherited", self.unit);
            let door = found.map_err(|source| {
                ListenError::new(
                    Code::BindFailed,
                    "the sockets inherited for quic are not those of one UDP port".to_owned(),
                    source,
                )
            })?;
            if !self.asks_strangers && !door.address.ip().is_loopback() {
                let message = format!(
                    "the socket inherited for quic is at {}, which others can reach, and nobody is asked who they are",
                    door.address
                );
                return Err(ListenError::new(
                    Code::OpenWithoutAuth,
                    message,
                    io::ErrorKind::PermissionDenied.into(),
                ));
            }
            return Ok(Some(door));
        }
        // With one missing the kernel would count otherwise than we do.
        let whole = self.kept.keys().copied().eq(0..self.kept.len());
        let door = Door::adopt(wanted, workers, "kept", self.kept.into_values().collect())
            .ok()
            .filter(|_| whole);
        Ok(door.filter(|door| {
            door.address == wanted || (wanted.port() == 0 && door.address.ip() == wanted.ip())
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
    Open(Arc<Door>),
    /// Its port is not to be had. The other transports serve.
    Degraded {
        /// `PortTaken` or `BindFailed`.
        code: Code,
        /// Why.
        message: String,
    },
}

impl Quic {
    /// What a configuration asks for: the door that is open already if it fits, a new one
    /// otherwise. Never fails: QUIC can be done without.
    pub(crate) fn open(config: &Config, old: &Self, lent: Lent) -> Self {
        let quic = &config.transports.quic;
        if !quic.enabled {
            return Self::Off;
        }
        let (wanted, workers) = (SocketAddr::new(quic.host, quic.port), count(config));
        if let Self::Open(door) = old
            && door.fits(wanted)
        {
            door.reach(workers * SEATS_EACH);
            return old.clone();
        }
        let door = lent
            .door(wanted, workers)
            .and_then(|door| door.map_or_else(|| Door::open(wanted, workers), Ok));
        match door {
            Ok(door) => Self::Open(door),
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
    pub(crate) const fn door(&self) -> Option<&Arc<Door>> {
        if let Self::Open(door) = self {
            Some(door)
        } else {
            None
        }
    }

    /// The row of the status.
    pub(crate) fn row(&self) -> Option<status::Listener> {
        let address = self.door()?.address;
        Some(status::Listener {
            transport: "quic".to_owned(),
            address: address.to_string(),
            port: address.port(),
            origin: self.door()?.origin.to_owned(),
        })
    }

    /// The sockets that no socket unit holds: a name, the socket, and whether the service manager
    /// has kept it from our last life.
    pub(crate) fn own(&self) -> Vec<(String, Arc<OwnedFd>, bool)> {
        let Some(door) = self.door().filter(|door| door.origin != "inherited") else {
            return Vec::new();
        };
        // Zeros before it, so that names are in the order of seats, should the manager not take
        // them all.
        let name = |(index, socket): (usize, &Arc<OwnedFd>)| {
            (
                format!("{SEAT}{index:03}"),
                Arc::clone(socket),
                index < door.lent,
            )
        };
        door.seats().iter().enumerate().map(name).collect()
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
    /// A seat for a new process of a slot: that of the process that died, so that its clients are
    /// told; else one that is free.
    pub(crate) fn take_seat(&self, slot: &Slot, door: &Arc<Door>) -> Option<u8> {
        let taken = |index: u8| {
            self.workers
                .procs
                .values()
                .any(|proc| sits(proc, door, index))
        };
        let kept = |index: u8| {
            self.workers
                .slots
                .iter()
                .any(|other| other.name != slot.name && other.seat == Some(index))
        };
        let count = door.seats().len();
        let all = || (0..count).filter_map(|index| u8::try_from(index).ok());
        let old = slot
            .seat
            .filter(|index| usize::from(*index) < count && !taken(*index));
        let found = old
            .or_else(|| all().find(|index| !taken(*index) && !kept(*index)))
            .or_else(|| all().find(|index| !taken(*index)));
        found.or_else(|| {
            // Several generations are draining at once.
            door.reach(count + 1);
            u8::try_from(count)
                .ok()
                .filter(|_| door.seats().len() > count)
        })
    }

    /// Tells the kernel who gets new connections, if that has changed.
    pub(crate) fn steer(&mut self) {
        let Some(door) = self.listeners.quic().door().cloned() else {
            return;
        };
        let door = &door;
        for slot in &mut self.workers.slots {
            // A successor in its place begins where it was.
            let seat = slot
                .current
                .and_then(|id| self.workers.procs.get(&id)?.seat.as_ref());
            slot.seat = seat
                .filter(|(own, _)| Arc::ptr_eq(own, door))
                .map(|(_, index)| *index)
                .or(slot.seat);
        }
        let share = |slot: &Slot| {
            let proc = slot.current.and_then(|id| self.workers.procs.get(&id));
            let seat = proc
                .and_then(|proc| proc.seat.as_ref())
                .filter(|(own, _)| Arc::ptr_eq(own, door))
                .map(|(_, index)| *index);
            (
                seat.or(slot.seat),
                seat.is_some() && proc.is_some_and(|proc| proc.stage == Stage::Ready),
            )
        };
        let slots = self
            .workers
            .slots
            .iter()
            .filter(|slot| slot.role == Role::Quic && !slot.prospective);
        door.steer(steering::targets(&slots.map(share).collect::<Vec<_>>()));
    }

    /// The slots whose process sits at another door than the present one.
    pub(crate) fn at_other_doors(&self) -> Vec<String> {
        let door = self.listeners.quic().door();
        let elsewhere = |id: ProcId| {
            let seat = self
                .workers
                .procs
                .get(&id)
                .and_then(|proc| proc.seat.as_ref());
            seat.is_some_and(|(own, _)| door.is_some_and(|door| !Arc::ptr_eq(own, door)))
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
        let open = quic.door().is_some();
        self.listeners.set_quic(quic);
        if open {
            tracing::info!(target: "transport", "the QUIC port is free now");
            self.keep_listeners(&[]);
            self.lay_out_slots();
        }
    }
}

fn sits(proc: &Proc, door: &Arc<Door>, index: u8) -> bool {
    proc.seat
        .as_ref()
        .is_some_and(|(own, seat)| Arc::ptr_eq(own, door) && *seat == index)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "a test fails by panicking"
    )]

    use super::*;
    use crate::ipc::seat::{ID_LENGTH, MAGIC};
    use std::net::UdpSocket;

    #[test]
    fn the_kernel_hands_datagrams_to_the_seat_that_they_name() {
        let door = Door::open("127.0.0.1:0".parse().unwrap(), 2).unwrap();
        let sockets: Vec<UdpSocket> = (0..4)
            .map(|index| UdpSocket::from(door.socket(index).unwrap().try_clone().unwrap()))
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
        door.steer(vec![2, 1]);
        for seat in 0..4_u8 {
            let mut datagram = [0x43; 40];
            datagram[1] = seat;
            datagram[2..4].copy_from_slice(&MAGIC);
            client.send_to(&datagram, door.address()).unwrap();
            assert_eq!(arrived(&mut buffer), usize::from(seat));
        }
        let new = |last: u8| [&[0xc3, 0, 0, 0, 1, 8, 7, 7, 7, last][..], &[0; ID_LENGTH]].concat();
        for last in 0..8 {
            client.send_to(&new(last), door.address()).unwrap();
            assert_eq!(
                arrived(&mut buffer),
                if u32::from_be_bytes([7, 7, 7, last]).is_multiple_of(2) {
                    2
                } else {
                    1
                }
            );
        }
        door.steer(vec![3]);
        client.send_to(&new(0), door.address()).unwrap();
        assert_eq!(arrived(&mut buffer), 3);
    }

    #[test]
    fn sockets_that_were_kept_have_the_seats_that_they_had() {
        let wanted = "127.0.0.1:0".parse().unwrap();
        let old = Door::open(wanted, 2).unwrap();
        // In whatever order the manager hands them over.
        let give = |seats: &[u8]| {
            let give = |seat: &u8| {
                (
                    format!("{KEPT}{SEAT}{seat:03}"),
                    old.socket(*seat).unwrap().try_clone().unwrap(),
                )
            };
            let mut inherited: Vec<_> = seats.iter().map(give).collect();
            let lent = Lent::take(&mut inherited, false);
            assert!(inherited.is_empty());
            lent.door(old.address(), 2).unwrap()
        };
        let (all, missing) = (give(&[2, 0, 3, 1]), give(&[0, 1, 3]));
        assert!(missing.is_none());
        let door = all.unwrap();
        assert_eq!((door.origin, door.seats().len()), ("kept", 4));
        drop(old);
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        for seat in 0..4_u8 {
            let socket = UdpSocket::from(door.socket(seat).unwrap().try_clone().unwrap());
            socket.set_nonblocking(false).unwrap();
            socket
                .set_read_timeout(Some(Duration::from_secs(10)))
                .unwrap();
            door.steer(vec![seat]);
            client
                .send_to(
                    &[
                        0xc3, 0, 0, 0, 1, 8, 7, 7, 7, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                        0,
                    ],
                    door.address(),
                )
                .unwrap();
            assert_eq!(socket.recv(&mut [0; 64]).unwrap(), 25);
        }
        let elsewhere = "127.0.0.1:1".parse().unwrap();
        let mut inherited = vec![(
            format!("{KEPT}{SEAT}000"),
            door.socket(0).unwrap().try_clone().unwrap(),
        )];
        assert!(
            Lent::take(&mut inherited, false)
                .door(elsewhere, 2)
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn a_port_that_somebody_shares_is_taken_all_the_same() {
        let one = Door::open("127.0.0.1:0".parse().unwrap(), 2).unwrap();
        let error = Door::open(one.address(), 2).unwrap_err();
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
