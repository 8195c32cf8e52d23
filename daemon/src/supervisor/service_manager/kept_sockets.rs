//! Which listening sockets the service manager keeps for the next start. Pure: compares, and says
//! what has to change.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::OwnedFd,
    sync::Arc,
};

/// A listening socket of ours that no socket unit holds.
#[derive(Clone, Debug)]
pub(crate) struct OwnSocket {
    /// The name under which the manager keeps it.
    pub(crate) name: String,
    pub(crate) socket: Arc<OwnedFd>,
    /// The manager has kept it from our last life.
    pub(crate) is_kept: bool,
}

/// What the manager has to be told.
#[derive(Debug)]
pub(super) enum Change {
    /// What it keeps under that name is not wanted any more.
    Forget(String),
    /// It is to keep this.
    Keep(String, Arc<OwnedFd>),
}

/// The sockets that the manager keeps, by name.
#[derive(Debug, Default)]
pub(super) struct KeptSockets(BTreeMap<String, Arc<OwnedFd>>);

impl KeptSockets {
    pub(super) fn of(kept: impl Iterator<Item = OwnSocket>) -> Self {
        Self(kept.map(|own| (own.name, own.socket)).collect())
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    /// The manager keeps `own` from now on. First comes what it has to forget: a name stands for
    /// one socket.
    pub(super) fn update(&mut self, own: Vec<OwnSocket>, inherited: &[String]) -> Vec<Change> {
        let mut wanted = BTreeMap::new();
        for OwnSocket {
            name,
            socket,
            is_kept,
        } in own
        {
            if is_kept {
                self.0
                    .entry(name.clone())
                    .or_insert_with(|| Arc::clone(&socket));
            }
            wanted.insert(name, socket);
        }
        let is_stale = |name: &String| match (self.0.get(name), wanted.get(name)) {
            (Some(old), Some(new)) => !Arc::ptr_eq(old, new),
            _ => true,
        };
        let gone: BTreeSet<String> = self
            .0
            .keys()
            .chain(inherited)
            .filter(|name| is_stale(name))
            .cloned()
            .collect();
        let fresh = wanted
            .iter()
            .filter(|(name, _)| is_stale(name))
            .map(|(name, socket)| Change::Keep(name.clone(), Arc::clone(socket)));
        let changes = gone.into_iter().map(Change::Forget).chain(fresh).collect();
        self.0 = wanted;
        changes
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn socket(name: &str, is_kept: bool) -> OwnSocket {
        let file = std::fs::File::open("/dev/null").unwrap();
        OwnSocket {
            name: name.to_owned(),
            socket: Arc::new(file.into()),
            is_kept,
        }
    }

    /// `-name` and `+name`.
    fn shown(changes: Vec<Change>) -> Vec<String> {
        let shown = |change| match change {
            Change::Forget(name) => format!("-{name}"),
            Change::Keep(name, _) => format!("+{name}"),
        };
        changes.into_iter().map(shown).collect()
    }

    #[test]
    fn what_the_manager_has_already_is_not_given_again() {
        let mut kept = KeptSockets::default();
        let (http, admin) = (socket("kept-http", true), socket("kept-admin", false));
        let inherited = ["kept-http".to_owned(), "kept-old".to_owned()];
        let own = vec![http.clone(), admin.clone()];
        assert_eq!(
            shown(kept.update(own.clone(), &inherited)),
            ["-kept-old", "+kept-admin"]
        );
        assert!(kept.update(own, &[]).is_empty());
        assert_eq!(kept.names(), ["kept-admin", "kept-http"]);
        // Another socket under the same name.
        let other = socket("kept-http", false);
        assert_eq!(
            shown(kept.update(vec![other], &[])),
            ["-kept-admin", "-kept-http", "+kept-http"]
        );
    }
}
