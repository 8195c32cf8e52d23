//! The sockets of the QUIC port at one address: one for each socket slot, bound before any worker
//! starts. Nobody closes one while the port is configured: the kernel numbers them by their order,
//! and closing one would renumber the others.

use super::{
    listen_error::ListenError,
    origin::Origin,
    steering::{self},
};
use crate::{ipc::socket_slot::MAX_SLOTS, platform};
use ggen_wire::{Code, status};
use serde::{Deserialize, Serialize};
use std::{
    io,
    net::{SocketAddr, UdpSocket},
    os::fd::OwnedFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// What the kernel has been told: how many socket slots there are, and which of them get new
/// connections.
type Steered = (usize, Vec<u8>);

/// The sockets.
pub(super) struct Slots {
    /// What the configuration asks for.
    wanted: SocketAddr,
    /// What they are bound to.
    address: SocketAddr,
    origin: Origin,
    /// So many of them were there already.
    lent: usize,
    sockets: Mutex<Vec<Arc<OwnedFd>>>,
    steered: Mutex<Steered>,
}

impl Slots {
    /// Binds an address with a port: what is wanted, or the choice of the system where that is 0.
    ///
    /// # Errors
    /// When it is taken, or cannot be bound.
    pub(super) fn bind(wanted: SocketAddr, port: u16) -> Result<Self, ListenError> {
        let asked = SocketAddr::new(wanted.ip(), port);
        let bound = platform::bind_udp(asked).and_then(|first| Ok((first.local_addr()?, first)));
        let (address, first) = bound.map_err(|error| cannot_bind(asked, error))?;
        Ok(Self {
            wanted,
            address,
            origin: Origin::Bound,
            lent: 0,
            sockets: Mutex::new(vec![Arc::new(first.into())]),
            steered: Mutex::default(),
        })
    }

    /// Takes over sockets that share an address, in the order in which they were bound. `wanted`:
    /// `None` means that their own address is.
    ///
    /// # Errors
    /// When they are not the UDP sockets of one address.
    pub(super) fn adopt(
        wanted: Option<SocketAddr>,
        origin: Origin,
        sockets: Vec<Arc<OwnedFd>>,
    ) -> io::Result<Self> {
        let mut addresses = Vec::new();
        for socket in &sockets {
            addresses.push(address_of(socket)?);
        }
        let first = addresses.first().copied();
        let Some(address) = first.filter(|first| addresses.iter().all(|address| address == first))
        else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        Ok(Self {
            wanted: wanted.unwrap_or(address),
            address,
            origin,
            lent: sockets.len(),
            sockets: Mutex::new(sockets),
            steered: Mutex::default(),
        })
    }

    /// Whether they are what is asked for now.
    pub(super) fn fit(&self, wanted: SocketAddr) -> bool {
        self.wanted == wanted || self.address == wanted
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Adds sockets until there are so many, as far as the system allows.
    pub(super) fn reach(&self, count: usize) {
        let count = if platform::STEERS {
            count.min(MAX_SLOTS)
        } else {
            1
        };
        while self.count() < count {
            match platform::bind_another(self.address) {
                Ok(socket) => self.sockets().push(Arc::new(socket.into())),
                Err(error) => {
                    return tracing::warn!(target: "transport", %error, "no further socket at the QUIC port");
                }
            }
        }
    }

    pub(super) fn count(&self) -> usize {
        self.sockets().len()
    }

    /// The socket of a slot.
    pub(super) fn socket(&self, index: u8) -> Option<Arc<OwnedFd>> {
        self.sockets().get(usize::from(index)).map(Arc::clone)
    }

    /// Tells the kernel which slots get new connections, if that has changed.
    pub(super) fn steer_to(&self, targets: Vec<u8>) {
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

    /// Whether a socket unit holds them.
    pub(super) fn are_of_unit(&self) -> bool {
        self.origin == Origin::Inherited
    }

    /// The sockets in the order of their slots, and whether the service manager has each.
    pub(super) fn kept(&self) -> Vec<(Arc<OwnedFd>, bool)> {
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

/// Of a UDP socket, which does not block from now on.
pub(super) fn address_of(socket: &OwnedFd) -> io::Result<SocketAddr> {
    let socket = UdpSocket::from(socket.try_clone()?);
    socket.set_nonblocking(true)?;
    socket.local_addr()
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

/// The sockets on their way from one binary to the next. They are places in the list of
/// descriptors.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SavedSlots {
    wanted: SocketAddr,
    address: SocketAddr,
    origin: Origin,
    lent: usize,
    sockets: Vec<usize>,
    steered: Steered,
}

impl Slots {
    /// Saves them; `put` takes a descriptor along and returns its place.
    pub(super) fn saved(&self, put: &mut dyn FnMut(&OwnedFd) -> usize) -> SavedSlots {
        let steered = self.steered.lock().unwrap_or_else(PoisonError::into_inner);
        SavedSlots {
            wanted: self.wanted,
            address: self.address,
            origin: self.origin,
            lent: self.lent,
            sockets: self.sockets().iter().map(|socket| put(socket)).collect(),
            steered: steered.clone(),
        }
    }
}

impl SavedSlots {
    /// The sockets with the descriptors that came along. `None`: one is missing. `known`: those of
    /// ports that were restored before; ports may share them.
    pub(super) fn restored(
        &self,
        share: &dyn Fn(usize) -> Option<Arc<OwnedFd>>,
        known: &mut Vec<Arc<Slots>>,
    ) -> Option<Arc<Slots>> {
        // Nobody else has had the address while one of its sockets is open.
        if let Some(same) = known.iter().find(|slots| slots.address == self.address) {
            return Some(Arc::clone(same));
        }
        let sockets = self.sockets.iter().map(|place| share(*place));
        let slots = Arc::new(Slots {
            wanted: self.wanted,
            address: self.address,
            origin: self.origin,
            lent: self.lent,
            sockets: Mutex::new(sockets.collect::<Option<Vec<_>>>()?),
            steered: Mutex::new(self.steered.clone()),
        });
        known.push(Arc::clone(&slots));
        Some(slots)
    }
}

#[cfg(test)]
impl Slots {
    pub(super) fn steered(&self) -> Steered {
        self.steered.lock().unwrap().clone()
    }
}
