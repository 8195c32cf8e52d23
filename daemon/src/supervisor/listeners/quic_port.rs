//! The QUIC port: UDP sockets that share it, one for each socket slot at each address of its host. A
//! worker reads those of one slot. What arrives while it is being replaced waits there.

use super::{
    each_address::{AtEach, Means, at_each},
    listen_error::ListenError,
    slots::{SavedSlots, Slots},
    steering::{self, Share},
};
use ggen_wire::status;
use serde::{Deserialize, Serialize};
use std::{fmt, net::SocketAddr, os::fd::OwnedFd, sync::Arc};

/// Socket slots for each worker: one to serve from, one for the successor that takes over while it
/// drains.
const SLOTS_PER_WORKER: usize = 2;

/// The port.
pub(crate) struct QuicPort {
    /// In the order of addresses; never empty. Another port may share some of them, while workers
    /// move from one to the other.
    at: Vec<Arc<Slots>>,
}

impl fmt::Debug for QuicPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.addresses()).finish()
    }
}

impl QuicPort {
    /// The port at each address for so many workers: sockets of `known` that fit, new ones
    /// otherwise. With it comes which addresses this host does not have.
    ///
    /// # Errors
    /// When it is taken, or cannot be bound.
    pub(super) fn open(
        wanted: &[SocketAddr],
        workers: usize,
        known: &[Arc<Slots>],
    ) -> Result<(Arc<Self>, Vec<SocketAddr>), ListenError> {
        let fitting = |address| known.iter().find(|slots| slots.fit(address)).cloned();
        let AtEach { bound, absent } = at_each(
            wanted,
            &Means {
                known: &fitting,
                port_of: &|slots: &Arc<Slots>| slots.address().port(),
                bind: &|address, port| Slots::bind(address, port).map(Arc::new),
            },
        )?;
        Ok((Self::of(bound, workers), absent))
    }

    /// The port that these sockets are, for so many workers.
    pub(super) fn of(at: Vec<Arc<Slots>>, workers: usize) -> Arc<Self> {
        let port = Self { at };
        port.reach_for(workers);
        Arc::new(port)
    }

    /// The sockets, by address.
    pub(super) fn slots(&self) -> &[Arc<Slots>] {
        &self.at
    }

    /// The addresses that it is bound to.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.at.iter().map(|slots| slots.address())
    }

    /// The port's number.
    pub(crate) fn number(&self) -> u16 {
        self.addresses().next().map_or(0, |address| address.port())
    }

    /// Whether another port has sockets in common with it, so that a slot of one is one of the
    /// other.
    pub(crate) fn shares_with(&self, other: &Self) -> bool {
        let is_of_other = |slots| other.at.iter().any(|known| Arc::ptr_eq(known, slots));
        self.at.iter().any(is_of_other)
    }

    /// Whether both are the same sockets.
    pub(super) fn is(&self, other: &Self) -> bool {
        let mut pairs = self.at.iter().zip(&other.at);
        self.at.len() == other.at.len() && pairs.all(|(one, other)| Arc::ptr_eq(one, other))
    }

    /// Adds socket slots until there are enough for so many workers.
    pub(super) fn reach_for(&self, workers: usize) {
        self.reach(workers * SLOTS_PER_WORKER);
    }

    fn reach(&self, count: usize) {
        self.at.iter().for_each(|slots| slots.reach(count));
    }

    /// Slots that have a socket at each address.
    fn count(&self) -> usize {
        self.at.iter().map(|slots| slots.count()).min().unwrap_or(0)
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
        let count = self.count();
        let all = || (0..count).filter_map(|index| u8::try_from(index).ok());
        let last = last.filter(|index| usize::from(*index) < count && !taken(*index));
        let found = last
            .or_else(|| all().find(|index| !taken(*index) && !kept(*index)))
            .or_else(|| all().find(|index| !taken(*index)));
        found.or_else(|| {
            // Several generations are draining at once.
            self.reach(count + 1);
            u8::try_from(count).ok().filter(|_| self.count() > count)
        })
    }

    /// The sockets of a socket slot, with their addresses.
    pub(crate) fn sockets(&self, index: u8) -> Vec<(SocketAddr, Arc<OwnedFd>)> {
        let socket = |slots: &Arc<Slots>| Some((slots.address(), slots.socket(index)?));
        self.at.iter().filter_map(socket).collect()
    }

    /// Tells the kernel who gets new connections, if that has changed. `shares`: the workers in
    /// order.
    pub(crate) fn steer(&self, shares: &[Share]) {
        self.steer_to(&steering::targets(shares));
    }

    fn steer_to(&self, targets: &[u8]) {
        for slots in &self.at {
            slots.steer_to(targets.to_vec());
        }
    }

    /// The rows of the status.
    pub(super) fn rows(&self) -> impl Iterator<Item = status::Listener> {
        self.at.iter().map(|slots| slots.row())
    }

    /// Whether a socket unit holds it.
    pub(super) fn is_of_unit(&self) -> bool {
        self.at.iter().any(|slots| slots.are_of_unit())
    }

    /// Saves it; `put` takes a descriptor along and returns its place.
    pub(super) fn saved(&self, put: &mut dyn FnMut(&OwnedFd) -> usize) -> Option<SavedPort> {
        let mut saved = self.at.iter().map(|slots| slots.saved(put));
        Some(SavedPort {
            first: saved.next()?,
            others: saved.collect(),
        })
    }
}

/// The port on its way from one binary to the next.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SavedPort {
    #[serde(flatten)]
    first: SavedSlots,
    /// At further addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    others: Vec<SavedSlots>,
}

impl SavedPort {
    /// The port with the descriptors that came along. `None`: one is missing. `known`: the sockets
    /// of the ports that were restored before.
    pub(super) fn restored(
        &self,
        share: &dyn Fn(usize) -> Option<Arc<OwnedFd>>,
        known: &mut Vec<Arc<Slots>>,
    ) -> Option<Arc<QuicPort>> {
        let all = std::iter::once(&self.first).chain(&self.others);
        let at = all.map(|slots| slots.restored(share, known));
        Some(Arc::new(QuicPort {
            at: at.collect::<Option<_>>()?,
        }))
    }
}

#[cfg(all(test, target_os = "linux"))]
#[path = "quic_port_tests.rs"]
mod tests;
