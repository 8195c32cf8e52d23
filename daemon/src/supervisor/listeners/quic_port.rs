//! The QUIC port: UDP sockets that share it, one for each socket slot. They are bound before any
//! worker starts, and nobody closes one while the port is configured: the kernel numbers them by
//! their order, and closing one would renumber the others. A worker reads one of them. What arrives
//! while it is being replaced waits there.

use super::{
    listen_error::ListenError,
    origin::Origin,
    steering::{self, Share},
};
use crate::{ipc::socket_slot::MAX_SLOTS, platform};
use ggen_wire::{Code, status};
use std::{
    fmt, io,
    net::{SocketAddr, UdpSocket},
    os::fd::OwnedFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Socket slots for each worker: one to serve from, one for the successor that takes over while it
/// drains.
const SLOTS_PER_WORKER: usize = 2;

/// What the kernel has been told: how many socket slots there are, and which of them get new
/// connections.
pub(super) type Steered = (usize, Vec<u8>);

/// The port.
pub(crate) struct QuicPort {
    /// What the configuration asks for.
    wanted: SocketAddr,
    /// What it is bound to.
    address: SocketAddr,
    origin: Origin,
    /// So many of the sockets were there already.
    lent: usize,
    sockets: Mutex<Vec<Arc<OwnedFd>>>,
    steered: Mutex<Steered>,
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
    ///
    /// # Errors
    /// When it is taken, or cannot be bound.
    pub(super) fn open(wanted: SocketAddr, workers: usize) -> Result<Arc<Self>, ListenError> {
        let bound = platform::bind_udp(wanted).and_then(|first| Ok((first.local_addr()?, first)));
        let (address, first) = bound.map_err(|error| cannot_bind(wanted, error))?;
        let port = Self {
            wanted,
            address,
            origin: Origin::Bound,
            lent: 0,
            sockets: Mutex::new(vec![Arc::new(first.into())]),
            steered: Mutex::default(),
        };
        port.reach_for(workers);
        Ok(Arc::new(port))
    }

    /// Takes over sockets that share a port, in the order in which they were bound.
    ///
    /// # Errors
    /// When they are not the UDP sockets of one port.
    pub(super) fn adopt(
        wanted: SocketAddr,
        workers: usize,
        origin: Origin,
        sockets: Vec<OwnedFd>,
    ) -> io::Result<Arc<Self>> {
        let mut addresses = Vec::new();
        for socket in &sockets {
            let socket = UdpSocket::from(socket.try_clone()?);
            socket.set_nonblocking(true)?;
            addresses.push(socket.local_addr()?);
        }
        let first = addresses.first().copied();
        let Some(address) = first.filter(|first| addresses.iter().all(|address| address == first))
        else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let port = Self {
            wanted,
            address,
            origin,
            lent: sockets.len(),
            sockets: Mutex::new(sockets.into_iter().map(Arc::new).collect()),
            steered: Mutex::default(),
        };
        port.reach_for(workers);
        Ok(Arc::new(port))
    }

    /// Whether it is what is asked for now.
    pub(super) fn fits(&self, wanted: SocketAddr) -> bool {
        self.origin == Origin::Inherited || self.wanted == wanted || self.address == wanted
    }

    /// The address that it is bound to.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Adds socket slots until there are enough for so many workers.
    pub(super) fn reach_for(&self, workers: usize) {
        self.reach(workers * SLOTS_PER_WORKER);
    }

    /// Adds socket slots until there are so many, as far as the system allows.
    fn reach(&self, count: usize) {
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

    /// A socket slot for a new process: `last`, which the process before it read, so that its
    /// clients are told; else one that is free and that nobody else will come back to, else any
    /// that is free. `taken`: a process reads it. `kept`: a worker that is away will come back to
    /// it.
    pub(crate) fn choose(
        &self,
        last: Option<u8>,
        taken: impl Fn(u8) -> bool,
        kept: impl Fn(u8) -> bool,
    ) -> Option<u8> {
        let count = self.sockets().len();
        let all = || (0..count).filter_map(|index| u8::try_from(index).ok());
        let last = last.filter(|index| usize::from(*index) < count && !taken(*index));
        let found = last
            .or_else(|| all().find(|index| !taken(*index) && !kept(*index)))
            .or_else(|| all().find(|index| !taken(*index)));
        found.or_else(|| {
            // Several generations are draining at once.
            self.reach(count + 1);
            u8::try_from(count)
                .ok()
                .filter(|_| self.sockets().len() > count)
        })
    }

    /// The socket of a socket slot.
    pub(crate) fn socket(&self, index: u8) -> Option<Arc<OwnedFd>> {
        self.sockets().get(usize::from(index)).map(Arc::clone)
    }

    /// Tells the kernel who gets new connections, if that has changed. `shares`: the workers in
    /// order.
    pub(crate) fn steer(&self, shares: &[Share]) {
        self.steer_to(steering::targets(shares));
    }

    fn steer_to(&self, targets: Vec<u8>) {
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

    /// The row of the status.
    pub(super) fn row(&self) -> status::Listener {
        status::Listener {
            transport: "quic".to_owned(),
            address: self.address.to_string(),
            port: self.address.port(),
            origin: self.origin.as_str().to_owned(),
        }
    }

    /// Whether no socket unit holds it.
    pub(super) fn is_own(&self) -> bool {
        self.origin != Origin::Inherited
    }

    /// The sockets in the order of their slots, and whether the service manager has each.
    pub(super) fn kept_sockets(&self) -> Vec<(Arc<OwnedFd>, bool)> {
        self.sockets()
            .iter()
            .enumerate()
            .map(|(index, socket)| (Arc::clone(socket), index < self.lent))
            .collect()
    }

    fn sockets(&self) -> MutexGuard<'_, Vec<Arc<OwnedFd>>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn cannot_bind(wanted: SocketAddr, source: io::Error) -> ListenError {
    if source.kind() == io::ErrorKind::AddrInUse {
        let holder =
            platform::who_holds_udp(wanted).map_or_else(String::new, |who| format!(" by {who}"));
        let port = wanted.port();
        let message = format!("UDP port {port} (quic, {wanted}) is taken{holder}");
        return ListenError::new(Code::PortTaken, message, source);
    }
    let message = format!("{wanted} (quic, UDP) cannot be bound: {source}");
    ListenError::new(Code::BindFailed, message, source)
}

/// The port on its way from one binary to the next.
mod saved {
    use super::{Origin, QuicPort, Steered};
    use serde::{Deserialize, Serialize};
    use std::{
        net::SocketAddr,
        os::fd::OwnedFd,
        sync::{Arc, Mutex, PoisonError},
    };

    /// A saved port. Sockets are places in the list of descriptors.
    #[derive(Debug, Serialize, Deserialize)]
    pub(crate) struct SavedPort {
        wanted: SocketAddr,
        address: SocketAddr,
        origin: Origin,
        lent: usize,
        sockets: Vec<usize>,
        steered: Steered,
    }

    impl QuicPort {
        /// Saves it; `put` takes a descriptor along and returns its place.
        pub(in crate::supervisor::listeners) fn saved(
            &self,
            put: &mut dyn FnMut(&OwnedFd) -> usize,
        ) -> SavedPort {
            let steered = self.steered.lock().unwrap_or_else(PoisonError::into_inner);
            SavedPort {
                wanted: self.wanted,
                address: self.address,
                origin: self.origin,
                lent: self.lent,
                sockets: self.sockets().iter().map(|socket| put(socket)).collect(),
                steered: steered.clone(),
            }
        }
    }

    impl SavedPort {
        /// The port with the descriptors that came along. `None`: one is missing.
        pub(crate) fn restored(
            &self,
            share: &dyn Fn(usize) -> Option<Arc<OwnedFd>>,
        ) -> Option<Arc<QuicPort>> {
            let sockets = self.sockets.iter().map(|place| share(*place));
            Some(Arc::new(QuicPort {
                wanted: self.wanted,
                address: self.address,
                origin: self.origin,
                lent: self.lent,
                sockets: Mutex::new(sockets.collect::<Option<Vec<_>>>()?),
                steered: Mutex::new(self.steered.clone()),
            }))
        }
    }
}

pub(crate) use saved::SavedPort;

#[cfg(all(test, target_os = "linux"))]
#[path = "quic_port_tests.rs"]
mod tests;
