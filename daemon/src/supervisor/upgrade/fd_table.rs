//! The descriptors that go along: numbered in a list, so that the state names places in it and
//! nothing else. Where one is used twice, it has one place.

use std::{
    os::fd::{AsRawFd, OwnedFd, RawFd},
    sync::Arc,
};

/// A place in the list.
pub(crate) type Place = usize;

/// On the way out.
#[derive(Debug, Default)]
pub(crate) struct FdTable(Vec<RawFd>);

impl FdTable {
    /// Takes a descriptor along. It has to stay open until the other binary is there.
    pub(crate) fn put(&mut self, descriptor: &impl AsRawFd) -> Place {
        let number = descriptor.as_raw_fd();
        self.0
            .iter()
            .position(|known| *known == number)
            .unwrap_or_else(|| {
                self.0.push(number);
                self.0.len() - 1
            })
    }

    /// Their numbers, by place.
    pub(crate) fn numbers(&self) -> &[RawFd] {
        &self.0
    }
}

/// Arrived.
#[derive(Debug, Default)]
pub(crate) struct ReceivedFds(Vec<Option<Arc<OwnedFd>>>);

impl ReceivedFds {
    /// By place.
    pub(crate) fn new(descriptors: Vec<OwnedFd>) -> Self {
        Self(
            descriptors
                .into_iter()
                .map(|descriptor| Some(Arc::new(descriptor)))
                .collect(),
        )
    }

    /// One that may be used at several places.
    pub(crate) fn share(&self, place: Place) -> Option<Arc<OwnedFd>> {
        self.0.get(place)?.clone()
    }

    /// One that is used once.
    pub(crate) fn take(&mut self, place: Place) -> Option<OwnedFd> {
        Arc::into_inner(self.0.get_mut(place)?.take()?)
    }
}
