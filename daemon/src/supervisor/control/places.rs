//! How many connections the control socket has open at once: so many for each kind of caller, so that
//! no other user and no MCP server takes root's or the operator's.

use crate::platform::{self, Descent, Peer};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::Notify;

/// Connections of root, and of the daemon's own user.
const OPERATOR: usize = 64;
/// Connections of each other user,
const OTHER: usize = 16;
/// and of all of them.
const OTHERS: usize = 64;

/// Who shares places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Party {
    Root,
    /// The daemon's user, unless that is root.
    Own,
    /// Another user, or what the daemon has started.
    Other(u32),
}

impl Party {
    fn of(peer: &Peer, own: u32) -> Self {
        match (peer.uid, peer.descent) {
            (uid, Descent::Ours | Descent::Unknown) => Self::Other(uid),
            (0, _) => Self::Root,
            (uid, _) if uid == own => Self::Own,
            (uid, _) => Self::Other(uid),
        }
    }
}

/// The open connections.
#[derive(Debug, Default)]
pub(super) struct Places {
    open: Mutex<BTreeMap<Party, usize>>,
    left: Notify,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    party: Party,
}

impl Places {
    /// One for that peer; `None`: it has all that it may have.
    pub(super) fn take(self: &Arc<Self>, peer: &Peer) -> Option<Place> {
        let party = Party::of(peer, platform::own_uid());
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let own = open.get(&party).copied().unwrap_or(0);
        let fits = match party {
            Party::Root | Party::Own => own < OPERATOR,
            Party::Other(_) => {
                let others = open
                    .iter()
                    .filter(|(party, _)| matches!(party, Party::Other(_)));
                own < OTHER && others.map(|(_, number)| number).sum::<usize>() < OTHERS
            }
        };
        fits.then(|| {
            open.insert(party, own + 1);
            Place {
                places: Arc::clone(self),
                party,
            }
        })
    }

    /// Returns when none is open.
    pub(super) async fn empty(&self) {
        loop {
            let left = self.left.notified();
            if self
                .open
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .is_empty()
            {
                return;
            }
            left.await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self
            .places
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = open.get_mut(&self.party) {
            *number -= 1;
            if *number == 0 {
                open.remove(&self.party);
            }
        }
        self.places.left.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(uid: u32, descent: Descent) -> Peer {
        Peer {
            uid,
            pid: 7,
            descent,
        }
    }

    #[test]
    fn nobody_takes_the_places_of_root_and_the_operator() {
        let own = platform::own_uid();
        let places = Arc::new(Places::default());
        let fill = |peer: &Peer| -> Vec<Place> {
            std::iter::from_fn(|| places.take(peer))
                .take(1000)
                .collect()
        };
        let server = fill(&peer(own, Descent::Ours));
        assert_eq!(server.len(), OTHER);
        let others: Vec<_> = (0..10)
            .map(|number| fill(&peer(70_000 + number, Descent::Elsewhere)))
            .collect();
        let taken: usize = others.iter().map(Vec::len).sum();
        assert_eq!(server.len() + taken, OTHERS);
        let operator = fill(&peer(own, Descent::Elsewhere));
        assert_eq!(operator.len(), OPERATOR);
        let root = fill(&peer(0, Descent::Elsewhere));
        assert_eq!(root.len(), if own == 0 { 0 } else { OPERATOR });
        drop((server, others));
        assert_eq!(fill(&peer(70_000, Descent::Elsewhere)).len(), OTHER);
    }
}
