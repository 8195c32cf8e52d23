//! The registry of tasks: whose they are, how they stand, and where they are at work. A task belongs
//! to the modern principal or the legacy session whose call made it; for anybody else it does not
//! exist. The registry is bounded in number and in time. It only keeps records: what has to be said
//! to servers and clients is returned to the caller.

use crate::api::{Lease, Micros, SHARED, UpId};
use crate::client::task_name::TaskName;
use crate::lease::Leases;
use crate::persisted::KeptTask;
use crate::protocol::json;
use crate::tasks::watch::Watch;
use crate::upstream::{Conn, ConnState, Upstream};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Tasks in the registry, at most. One more removes the task that expires first.
const MOST: usize = 4096;
/// Tasks of one owner, at most.
const MOST_OF_ONE: usize = 512;
/// The session store takes tasks while there are at most this many.
const KEPT: usize = 512;
/// A task is forgotten after this time at the latest without being asked for.
const LONGEST: Micros = 86_400_000_000;
/// Added to the time that a server keeps a task: clocks differ, and servers may be slow.
const SPARE: Micros = 60_000_000;
/// The longest text of a task that is remembered.
const SEEN: usize = 4096;
/// Where a task comes from.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// The legacy session that made it.
    pub(crate) session: Option<Arc<str>>,
    /// The server's name of the tool, if the server lists it.
    pub(crate) tool: Option<Box<str>>,
    /// The child of a stdio server that works on it.
    pub(crate) lease: Lease,
    /// The session of an HTTP server that it was made in.
    pub(crate) remote: Option<String>,
    /// The number of the call that made it, and its client's progress token as it stands.
    pub(crate) progress: Option<(u64, Box<str>)>,
}

/// What is known of a task.
#[derive(Clone, Debug)]
pub(crate) struct Owned {
    origin: Origin,
    created: Micros,
    /// When its client asked about it last.
    asked: Micros,
    /// When it is forgotten.
    until: Micros,
    /// It has an end, as far as anybody has asked.
    over: bool,
    /// What a legacy server said of it last, for its modern client.
    seen: Option<Box<str>>,
}

/// A task that is not in the registry any more.
pub(crate) struct Forgotten {
    pub(crate) name: TaskName,
    pub(crate) task: Owned,
    /// The open request for its result, if there was one.
    pub(crate) watch: Option<Watch>,
}

/// The tasks of servers that clients made.
#[derive(Default)]
pub(crate) struct Tasks {
    pub(super) owned: BTreeMap<TaskName, Owned>,
    /// Tasks of legacy servers whose modern client is, or may be, wanted for something.
    pub(super) watches: BTreeMap<TaskName, Watch>,
}

impl Tasks {
    pub(crate) fn is_empty(&self) -> bool {
        self.owned.is_empty()
    }

    /// Open requests for results, for the tests that check that nothing is left.
    pub(crate) fn watches(&self) -> usize {
        self.watches.len()
    }

    /// A task, if there is one of that name.
    pub(crate) fn get(&self, name: &TaskName, now: Micros) -> Option<&Owned> {
        self.owned.get(name).filter(|task| task.until > now)
    }

    /// The tasks of an owner.
    pub(crate) fn of_owner<'a>(
        &'a self,
        owner: &'a str,
        now: Micros,
    ) -> impl Iterator<Item = (&'a TaskName, &'a Owned)> {
        self.owned
            .iter()
            .filter(move |(name, task)| *name.owner == *owner && task.until > now)
    }

    /// A call has made a task; `text` is what its server says of it. Gives the tasks that had to
    /// go: those that had its id at the same place, and the oldest one where there are too many.
    pub(crate) fn begin(
        &mut self,
        name: &TaskName,
        origin: Origin,
        text: &str,
        now: Micros,
    ) -> Vec<Forgotten> {
        let others: Vec<_> = self
            .of_id(name.up, &name.id)
            .filter(|(_, task)| task.origin.lease == origin.lease)
            .map(|(other, _)| other.clone())
            .collect();
        let mut gone: Vec<_> = others
            .iter()
            .filter_map(|other| self.forget(other))
            .collect();
        if let Some(oldest) = self.without_room(&name.owner) {
            gone.extend(self.forget(&oldest));
        }
        let mut task = Owned::new(origin, now, now + LONGEST);
        task.see(text, now);
        self.owned.insert(name.clone(), task);
        gone
    }

    /// The task that is forgotten first, where there are too many.
    fn without_room(&self, owner: &str) -> Option<TaskName> {
        let oldest = |tasks: &mut dyn Iterator<Item = (&TaskName, &Owned)>| {
            tasks
                .min_by_key(|(_, task)| task.until)
                .map(|(name, _)| name.clone())
        };
        let of_one = |(name, _): &(&TaskName, &Owned)| *name.owner == *owner;
        if self.owned.len() >= MOST_OF_ONE
            && self.owned.iter().filter(of_one).count() >= MOST_OF_ONE
        {
            oldest(&mut self.owned.iter().filter(of_one))
        } else if self.owned.len() >= MOST {
            oldest(&mut self.owned.iter())
        } else {
            None
        }
    }

    /// A server said how a task stands.
    pub(crate) fn see(&mut self, leases: &mut Leases, name: &TaskName, text: &str, now: Micros) {
        let Some(task) = self.owned.get_mut(name) else {
            return;
        };
        let before = task.over;
        task.see(text, now);
        if task.over && !before {
            leases.touch(name.up);
        }
    }

    /// The client of a task asks about it.
    pub(crate) fn asked_about(&mut self, name: &TaskName, now: Micros) {
        if let Some(task) = self.owned.get_mut(name) {
            task.asked = now;
        }
    }

    /// What a legacy server said of a modern client's task.
    pub(crate) fn remember(&mut self, name: &TaskName, text: &str) {
        if let Some(task) = self.owned.get_mut(name).filter(|_| text.len() <= SEEN) {
            task.seen = Some(text.into());
        }
    }

    /// A task has an end.
    pub(crate) fn over(&mut self, leases: &mut Leases, name: &TaskName) {
        if let Some(task) = self.owned.get_mut(name) {
            task.over = true;
            leases.touch(name.up);
        }
    }

    /// Removes a task and the request for its result.
    pub(crate) fn forget(&mut self, name: &TaskName) -> Option<Forgotten> {
        let watch = self.watches.remove(name);
        let (name, task) = self.owned.remove_entry(name)?;
        Some(Forgotten { name, task, watch })
    }

    /// Removes the tasks of a session that is over.
    pub(crate) fn forget_owner(&mut self, owner: &str) -> Vec<Forgotten> {
        self.forget_where(|name, _| *name.owner == *owner)
    }

    /// Removes the tasks whose time is over.
    pub(crate) fn expire(&mut self, now: Micros) -> Vec<Forgotten> {
        self.forget_where(|_, task| task.until <= now)
    }

    fn forget_where(&mut self, gone: impl Fn(&TaskName, &Owned) -> bool) -> Vec<Forgotten> {
        let names: Vec<_> = self
            .owned
            .iter()
            .filter(|(name, task)| gone(name, task))
            .map(|(name, _)| name.clone())
            .collect();
        names.iter().filter_map(|name| self.forget(name)).collect()
    }

    fn of_id<'a>(
        &'a self,
        up: UpId,
        id: &'a str,
    ) -> impl Iterator<Item = (&'a TaskName, &'a Owned)> {
        let first = TaskName {
            up,
            id: id.into(),
            owner: "".into(),
        };
        self.owned
            .range(first..)
            .take_while(move |(name, _)| name.up == up && *name.id == *id)
    }

    /// The task of that id behind a connection. `None`: there is none, or it cannot be said whose
    /// it is.
    pub(crate) fn at(&self, up: &Upstream, conn: usize, id: &str, now: Micros) -> Option<TaskName> {
        let mut here = self
            .of_id(up.id, id)
            .filter(|(_, task)| task.until > now && (up.is_http() || task.place(up) == Some(conn)));
        let (name, _) = here.next()?;
        here.next().is_none().then(|| name.clone())
    }

    /// The connection behind which a task is. `None`: there is no such task, or it went with its
    /// process.
    pub(crate) fn place(&self, up: &Upstream, name: &TaskName, now: Micros) -> Option<usize> {
        self.get(name, now)?.place(up)
    }

    /// Whether a task is at work behind a connection, so far as anybody knows.
    pub(crate) fn works_at(&self, up: &Upstream, conn: usize, now: Micros) -> bool {
        self.at_work(up.id, now)
            .any(|task| task.place(up) == Some(conn))
    }

    /// The children that work on tasks.
    pub(crate) fn leases_at_work(&self, up: UpId, now: Micros) -> BTreeSet<Lease> {
        self.leases_asked_for(up, Micros::MAX, now)
    }

    /// Those whose tasks somebody has asked about within that time; the others have to go where
    /// there is no room.
    pub(crate) fn leases_asked_for(
        &self,
        up: UpId,
        within: Micros,
        now: Micros,
    ) -> BTreeSet<Lease> {
        self.at_work(up, now)
            .filter(|task| task.asked.saturating_add(within) > now)
            .map(|task| task.origin.lease)
            .filter(|lease| *lease != SHARED)
            .collect()
    }

    /// The sessions of an HTTP server that work on tasks.
    pub(crate) fn remotes_at_work(&self, up: UpId, now: Micros) -> BTreeSet<Option<String>> {
        self.at_work(up, now)
            .filter(|task| task.origin.remote.is_some())
            .map(|task| task.origin.remote.clone())
            .collect()
    }

    fn at_work(&self, up: UpId, now: Micros) -> impl Iterator<Item = &Owned> {
        self.owned
            .iter()
            .filter(move |(name, task)| name.up == up && !task.over && task.until > now)
            .map(|(_, task)| task)
    }

    /// The task that a call was the beginning of, and its client's token.
    pub(crate) fn with_progress(&self, up: UpId, number: u64) -> Option<(&TaskName, &Owned, &str)> {
        self.owned.iter().find_map(|(name, task)| {
            let (made, token) = task.origin.progress.as_ref()?;
            (name.up == up && *made == number).then_some((name, task, &**token))
        })
    }

    /// A task as it is stored. `None`: it is not, because it goes with its process anyway or there
    /// are too many.
    pub(crate) fn record(&self, name: &TaskName, server: &str, now: Micros) -> Option<KeptTask> {
        let task = self
            .owned
            .get(name)
            .filter(|task| task.origin.lease == SHARED && self.owned.len() <= KEPT)?;
        Some(KeptTask {
            server: server.to_owned(),
            id: name.id.to_string(),
            owner: name.owner.to_string(),
            tool: task.origin.tool.as_deref().map(str::to_owned),
            left: task.until.saturating_sub(now),
        })
    }

    /// A stored task goes on, after nobody used it for `idle`. False: it is over, or there is no
    /// room.
    pub(crate) fn adopt(&mut self, up: UpId, kept: &KeptTask, idle: Micros, now: Micros) -> bool {
        let left = kept.left.saturating_sub(idle).min(LONGEST);
        if left == 0 || self.owned.len() >= MOST {
            return false;
        }
        let name = TaskName {
            up,
            id: kept.id.as_str().into(),
            owner: kept.owner.as_str().into(),
        };
        let origin = Origin {
            session: None,
            tool: kept.tool.as_deref().map(Into::into),
            lease: SHARED,
            remote: None,
            progress: None,
        };
        let task = Owned::new(origin, now, now + left);
        self.owned.entry(name).or_insert(task);
        true
    }
}

impl Owned {
    const fn new(origin: Origin, now: Micros, until: Micros) -> Self {
        Self {
            origin,
            created: now,
            asked: now,
            until,
            over: false,
            seen: None,
        }
    }

    /// The legacy session that made it.
    pub(crate) const fn session(&self) -> Option<&Arc<str>> {
        self.origin.session.as_ref()
    }

    /// The server's name of the tool that made it, if the server lists it.
    pub(crate) fn tool(&self) -> Option<&str> {
        self.origin.tool.as_deref()
    }

    /// What a legacy server said of it last, for its modern client.
    pub(crate) fn seen(&self) -> Option<&str> {
        self.seen.as_deref()
    }

    /// Whether it has an end, as far as anybody has asked.
    pub(crate) const fn is_over(&self) -> bool {
        self.over
    }

    /// How long it is remembered from now on; 0: it is not any more.
    pub(crate) const fn left(&self, now: Micros) -> Micros {
        self.until.saturating_sub(now)
    }

    /// The connection behind which it is. `None`: it went with its process.
    pub(crate) fn place(&self, up: &Upstream) -> Option<usize> {
        let Origin { lease, remote, .. } = &self.origin;
        if *lease != SHARED {
            return up
                .conns
                .iter()
                .position(|conn| conn.is_leased() && conn.lease == *lease);
        }
        let own = |conn: &Conn| {
            remote.is_some() && conn.session == *remote && conn.phase == ConnState::Ready
        };
        Some(up.conns.iter().position(own).unwrap_or(0))
    }

    /// Takes over what a server says of it: how it stands, and how long it is kept.
    fn see(&mut self, task: &str, now: Micros) {
        let [status, ttl, legacy_ttl] =
            json::pick(task, ["status", "ttlMs", "ttl"]).unwrap_or_default();
        self.over |= matches!(
            status,
            Some("\"completed\"" | "\"failed\"" | "\"cancelled\"")
        );
        let ttl = ttl
            .or(legacy_ttl)
            .and_then(|raw| raw.parse::<u64>().ok())
            .map(|ms| ms.saturating_mul(1000));
        self.until = match ttl {
            Some(ttl) if ttl < LONGEST => (self.created + ttl).max(now) + SPARE,
            _ => now + LONGEST,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(id: &str, owner: &str) -> TaskName {
        TaskName {
            up: UpId(0),
            id: id.into(),
            owner: owner.into(),
        }
    }

    fn origin(lease: Lease) -> Origin {
        Origin {
            session: None,
            tool: None,
            lease,
            remote: None,
            progress: None,
        }
    }

    #[test]
    fn a_new_task_replaces_the_one_with_its_id_at_the_same_place() {
        let mut tasks = Tasks::default();
        let working = r#"{"status":"working","ttlMs":1000}"#;
        assert!(
            tasks
                .begin(&name("1", "a"), origin(SHARED), working, 0)
                .is_empty()
        );
        assert!(
            tasks
                .begin(&name("1", "b"), origin(7), working, 0)
                .is_empty()
        );
        let gone = tasks.begin(&name("1", "c"), origin(SHARED), working, 0);
        assert_eq!(gone.len(), 1);
        assert_eq!(gone[0].name, name("1", "a"));
        assert_eq!(tasks.leases_at_work(UpId(0), 1), BTreeSet::from([7]));
        assert!(tasks.leases_asked_for(UpId(0), 5, 5).is_empty());
    }

    #[test]
    fn a_task_ends_once_and_expires() {
        let mut tasks = Tasks::default();
        let task = name("1", "a");
        tasks.begin(&task, origin(SHARED), r#"{"status":"working"}"#, 0);
        let done = r#"{"status":"completed","ttl":1000}"#;
        let mut leases = Leases::default();
        tasks.see(&mut leases, &task, done, 5);
        assert_eq!(leases.next_changed(), Some(UpId(0)));
        tasks.see(&mut leases, &task, done, 6);
        assert_eq!(leases.next_changed(), None);
        let end = 1_000_000 + SPARE;
        assert_eq!(tasks.get(&task, 6).map(|task| task.left(6)), Some(end - 6));
        assert!(tasks.expire(end - 1).is_empty());
        assert!(tasks.get(&task, end).is_none());
        assert_eq!(tasks.expire(end).len(), 1);
        assert!(tasks.is_empty());
    }

    #[test]
    fn an_owner_has_a_bounded_number_of_tasks() {
        let mut tasks = Tasks::default();
        for at in 0..MOST_OF_ONE as u64 {
            let task = name(&at.to_string(), "a");
            tasks.begin(&task, origin(SHARED), r#"{"status":"working"}"#, at);
        }
        assert!(
            tasks
                .begin(&name("x", "b"), origin(SHARED), "{}", 9)
                .is_empty()
        );
        let gone = tasks.begin(&name("y", "a"), origin(SHARED), "{}", 9);
        assert_eq!(gone[0].name, name("0", "a"));
        assert_eq!(tasks.forget_owner("a").len(), MOST_OF_ONE);
        assert_eq!(tasks.of_owner("b", 10).count(), 1);
    }

    #[test]
    fn a_stored_task_goes_on_for_what_is_left_of_its_time() {
        let mut tasks = Tasks::default();
        let task = name("1", "a");
        tasks.begin(&task, origin(SHARED), r#"{"ttl":1000}"#, 0);
        let kept = tasks.record(&task, "s", 0).unwrap();
        let mut next = Tasks::default();
        assert!(!next.adopt(UpId(3), &kept, kept.left, 50));
        assert!(next.adopt(UpId(3), &kept, kept.left - 10, 50));
        let task = TaskName {
            up: UpId(3),
            ..task
        };
        assert_eq!(next.get(&task, 50).map(|task| task.left(50)), Some(10));
    }
}
