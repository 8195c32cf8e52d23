//! The name of a task that a client has at a server.

use crate::api::UpId;
use crate::client::Clients;
use crate::persisted::digest;
use std::sync::Arc;

/// How the owner of a task is written who has no session.
const PRINCIPAL: &str = "principal ";

/// What a task is known by. Servers may number their tasks for each client, so the owner is a part
/// of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TaskName {
    pub(crate) up: UpId,
    /// The server's own id.
    pub(crate) id: Box<str>,
    /// See [`Clients::task_owner`].
    pub(crate) owner: Box<str>,
}

impl TaskName {
    /// Whether it is a modern principal's, and not a legacy session's.
    pub(crate) fn is_of_principal(&self) -> bool {
        self.owner.starts_with(PRINCIPAL)
    }

    /// The digest of the legacy session that owns it.
    pub(crate) fn session_digest(&self) -> Option<&str> {
        self.owner.strip_prefix("session ")
    }

    /// What it is stored under; `server` is its server's configured name.
    pub(crate) fn stored_as(&self, server: &str) -> Box<str> {
        digest(&format!("task {server:?} {:?} {}", self.id, self.owner))
    }
}

impl Clients {
    /// The owner of the tasks of a legacy session or, without one, of a modern principal.
    pub(crate) fn task_owner(&self, session: Option<&Arc<str>>, principal: &str) -> Box<str> {
        let session = session.map(|name| {
            let known = self.session(name);
            (&**name, known.map_or("", |session| &*session.digest))
        });
        owner(session, principal)
    }

    /// The session that hears of a task which was made in that one.
    pub(crate) fn session_of_task(
        &self,
        name: &TaskName,
        made_in: Option<&Arc<str>>,
    ) -> Option<Arc<str>> {
        let lives = |session: &Arc<str>| self.has_session(session);
        let restored = || self.session_of_digest(name.session_digest()?);
        let known = made_in.cloned().filter(lives);
        known.or_else(|| restored().filter(lives))
    }
}

/// The owner of the tasks of a session (its name, and what it is stored under) or a principal.
fn owner(session: Option<(&str, &str)>, principal: &str) -> Box<str> {
    match session {
        // A restored session has another name until its client comes, but the same digest.
        Some((name, "")) => format!("session {}", digest(name)).into(),
        Some((_, digest)) => format!("session {digest}").into(),
        None => format!("{PRINCIPAL}{principal}").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_of_a_restored_session_is_the_same() {
        let name = |owner: &str| TaskName {
            up: UpId(0),
            id: "1".into(),
            owner: owner.into(),
        };
        let known = owner(Some(("id", "")), "me");
        assert_eq!(known, owner(Some(("#other", &digest("id"))), "me"));
        assert!(name(&owner(None, "me")).is_of_principal());
        assert!(!name(&known).is_of_principal());
        assert_eq!(name(&known).session_digest(), Some(&*digest("id")));
    }
}
