//! Whose the tasks of servers are. A task belongs to the modern principal, or to the legacy
//! session, whose call made it; for anybody else it does not exist. The books are bounded in number
//! and in time, and say what must not be lent to others while a task is at work there.

use crate::api::{Lease, Micros, Output, SHARED, UpId};
use crate::call::record::{Call, ClientCall};
use crate::gateway::Gateway;
use crate::persisted::{Keep, KeptTask, digest};
use crate::protocol::json;
use crate::upstream::Phase;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Tasks on the books, at most: then the oldest one is forgotten, first of all of whoever has this
/// many.
const MOST: usize = 4096;
const MOST_OF_ONE: usize = 512;
/// Tasks that are stored for the next life, at most: they lie where the sessions do.
const KEPT: usize = 512;
/// A task is forgotten after this time at the latest without being asked for.
const LONGEST: Micros = 86_400_000_000;
/// What clocks may differ in, and a server may be slow in forgetting.
const SPARE: Micros = 60_000_000;
/// The longest text of a task that is remembered.
const SEEN: usize = 4096;
/// How the owner of a task is written who has no session.
const PRINCIPAL: &str = "principal ";

/// What a task is known by. Servers may number their tasks for each client, so that the owner is a
/// part of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    pub(crate) up: UpId,
    /// The server's own id.
    pub(crate) id: Box<str>,
    /// See [`Gateway::owner`].
    pub(crate) owner: Box<str>,
}

impl Name {
    /// Whether it is a modern principal's, and not a legacy session's.
    pub(crate) fn is_of_principal(&self) -> bool {
        self.owner.starts_with(PRINCIPAL)
    }
}

/// What is known of a task.
#[derive(Clone, Debug)]
pub(crate) struct Owned {
    /// The legacy session that made it.
    pub(crate) session: Option<Arc<str>>,
    /// The server's name of the tool, if the server lists it.
    pub(crate) tool: Option<Box<str>>,
    /// The child of a stdio server that works on it.
    lease: Lease,
    /// The session of an HTTP server that it was made in.
    remote: Option<String>,
    created: Micros,
    /// When its client asked about it last.
    pub(crate) asked: Micros,
    /// When it is forgotten.
    pub(crate) until: Micros,
    /// It has an end, as far as anybody has asked.
    pub(crate) over: bool,
    /// The number of the call that made it, and its client's progress token as it stands.
    progress: Option<(u64, Box<str>)>,
    /// What a legacy server said of it last, for its modern client.
    pub(crate) seen: Option<Box<str>>,
}

impl Gateway {
    /// The owner of the tasks of a session, or of a modern principal.
    pub(crate) fn owner(&self, session: Option<&Arc<str>>, principal: &str) -> Box<str> {
        match session {
            // A restored session has another name until its client comes, but one digest.
            Some(name) => match self
                .clients
                .session(name)
                .map(|session| &session.digest)
                .filter(|digest| !digest.is_empty())
            {
                Some(digest) => format!("session {digest}").into(),
                None => format!("session {}", digest(name)).into(),
            },
            None => format!("{PRINCIPAL}{principal}").into(),
        }
    }

    /// A task, if there is one of that name.
    pub(crate) fn owned(&self, name: &Name) -> Option<&Owned> {
        self.tasks.get(name).filter(|task| task.until > self.cx.now)
    }

    /// The session that hears of a task.
    pub(crate) fn session_of_task(&self, name: &Name, task: &Owned) -> Option<Arc<str>> {
        let restored = || {
            self.clients
                .session_of_digest(name.owner.strip_prefix("session ")?)
        };
        let known = task
            .session
            .clone()
            .filter(|session| self.clients.has_session(session));
        known
            .or_else(restored)
            .filter(|session| self.clients.has_session(session))
    }

    /// A call has made a task.
    pub(crate) fn own_task(
        &mut self,
        call: &Call,
        number: Option<u64>,
        client: &ClientCall,
        id: &str,
        task: &str,
    ) {
        let conn = &self.up_ref(call.up).conns[call.conn];
        let (lease, remote) = (conn.lease, conn.session.clone());
        let view = if client.exposes {
            crate::upstream::view::View::All
        } else {
            crate::upstream::view::View::One(call.up)
        };
        let entry = client.tool.as_ref().and_then(|tool| {
            self.ups
                .table(view, crate::upstream::list::ListKind::Tools)
                .get(tool)
        });
        let tool = entry.map(|entry| Box::from(&*entry.original));
        let name = Name {
            up: call.up,
            id: id.into(),
            owner: self.owner(client.session.as_ref(), &client.principal),
        };
        // What had this id at the same place does not have it any more.
        let same_id = Name {
            owner: "".into(),
            ..name.clone()
        };
        let others = self
            .tasks
            .range(same_id..)
            .take_while(|(other, _)| other.up == name.up && other.id == name.id);
        let others: Vec<_> = others
            .filter(|(_, task)| task.lease == lease)
            .map(|(other, _)| other.clone())
            .collect();
        for other in others {
            self.forget_task(&other);
        }
        self.make_room_for_task(&name.owner);
        let progress = client
            .progress
            .clone()
            .filter(|_| client.session.is_some())
            .and_then(|token| Some((number?, token)));
        let mut owned = Owned {
            session: client.session.clone(),
            tool,
            lease,
            remote,
            created: self.cx.now,
            asked: self.cx.now,
            until: self.cx.now + LONGEST,
            over: false,
            progress,
            seen: None,
        };
        owned.see(task, self.cx.now);
        self.tasks.insert(name.clone(), owned);
        self.keep_task(&name);
    }

    /// Forgets what is forgotten soonest, where there are too many.
    fn make_room_for_task(&mut self, owner: &str) {
        let oldest = |tasks: &mut dyn Iterator<Item = (&Name, &Owned)>| {
            tasks
                .min_by_key(|(_, task)| task.until)
                .map(|(name, _)| name.clone())
        };
        let of_one = |(name, _): &(&Name, &Owned)| *name.owner == *owner;
        let name = if self.tasks.len() >= MOST_OF_ONE
            && self.tasks.iter().filter(of_one).count() >= MOST_OF_ONE
        {
            oldest(&mut self.tasks.iter().filter(of_one))
        } else if self.tasks.len() >= MOST {
            oldest(&mut self.tasks.iter())
        } else {
            None
        };
        if let Some(name) = name {
            self.forget_task(&name);
        }
    }

    /// A server said how a task stands.
    pub(crate) fn see_task(&mut self, name: &Name, task: &str) {
        let now = self.cx.now;
        let Some(owned) = self.tasks.get_mut(name) else {
            return;
        };
        let before = owned.over;
        owned.see(task, now);
        if owned.over && !before {
            self.touch(name.up);
        }
    }

    /// The client of a task asks about it.
    pub(crate) fn asked_about(&mut self, name: &Name) {
        let now = self.cx.now;
        if let Some(task) = self.tasks.get_mut(name) {
            task.asked = now;
        }
    }

    /// What a legacy server said of a modern client's task.
    pub(crate) fn remember_task(&mut self, name: &Name, text: &str) {
        if let Some(task) = self.tasks.get_mut(name).filter(|_| text.len() <= SEEN) {
            task.seen = Some(text.into());
        }
    }

    /// The task of that id behind a connection. `None`: there is none, or it cannot be said whose
    /// it is.
    pub(crate) fn task_at(&self, up: UpId, conn: usize, id: &str) -> Option<Name> {
        let first = Name {
            up,
            id: id.into(),
            owner: "".into(),
        };
        let here = |name: &Name| {
            self.owned(name).is_some_and(|task| {
                self.up_ref(up).is_http() || self.place_of_task(up, task) == Some(conn)
            })
        };
        let same = self
            .tasks
            .range(first..)
            .map(|(name, _)| name)
            .take_while(|name| name.up == up && *name.id == *id);
        let mut names = same.filter(|name| here(name));
        names.next().cloned().filter(|_| names.next().is_none())
    }

    /// A task has an end.
    pub(crate) fn task_over(&mut self, name: &Name) {
        if let Some(owned) = self.tasks.get_mut(name) {
            owned.over = true;
            self.touch(name.up);
        }
    }

    pub(crate) fn forget_task(&mut self, name: &Name) {
        self.unwatch(name);
        if self.tasks.remove(name).is_some() {
            self.touch(name.up);
            if self.cx.keeps && !self.cx.draining {
                self.cx
                    .emit(Output::Keep(Keep::Ended(self.stored_as(name))));
            }
        }
    }

    /// A session is over, and with it what was its own.
    pub(crate) fn forget_tasks_of(&mut self, owner: &str) {
        for name in self
            .tasks
            .keys()
            .filter(|name| *name.owner == *owner)
            .cloned()
            .collect::<Vec<_>>()
        {
            self.forget_task(&name);
        }
    }

    /// What time does to tasks.
    pub(crate) fn tasks_due(&mut self) {
        let now = self.cx.now;
        for name in self
            .tasks
            .iter()
            .filter(|(_, task)| task.until <= now)
            .map(|(name, _)| name.clone())
            .collect::<Vec<_>>()
        {
            self.forget_task(&name);
        }
    }

    /// The connection behind which a task is. `None`: it went with its process.
    pub(crate) fn place_of_task(&self, up: UpId, task: &Owned) -> Option<usize> {
        let upstream = self.up_ref(up);
        if task.lease != SHARED {
            return upstream
                .conns
                .iter()
                .position(|conn| conn.is_leased() && conn.lease == task.lease);
        }
        let own = |conn: &crate::upstream::Conn| {
            task.remote.is_some() && conn.session == task.remote && conn.phase == Phase::Ready
        };
        Some(upstream.conns.iter().position(own).unwrap_or(0))
    }

    /// Whether a task is at work behind a connection, so far as anybody knows.
    pub(crate) fn works_at(&self, up: UpId, at: usize) -> bool {
        !self.tasks.is_empty()
            && self
                .at_work(up)
                .any(|task| self.place_of_task(up, task) == Some(at))
    }

    /// The children that work on tasks.
    pub(crate) fn leases_at_work(&self, up: UpId) -> BTreeSet<Lease> {
        self.at_work(up)
            .map(|task| task.lease)
            .filter(|lease| *lease != SHARED)
            .collect()
    }

    /// Those whose tasks somebody has asked about lately; the others have to go where there is no
    /// room.
    pub(crate) fn leases_asked_for(&self, up: UpId) -> BTreeSet<Lease> {
        let lately = |task: &&Owned| task.asked + self.cx.limits.park > self.cx.now;
        self.at_work(up)
            .filter(lately)
            .map(|task| task.lease)
            .filter(|lease| *lease != SHARED)
            .collect()
    }

    /// The sessions of an HTTP server that work on tasks.
    pub(crate) fn remotes_at_work(&self, up: UpId) -> BTreeSet<Option<String>> {
        self.at_work(up)
            .filter(|task| task.remote.is_some())
            .map(|task| task.remote.clone())
            .collect()
    }

    fn at_work(&self, up: UpId) -> impl Iterator<Item = &Owned> {
        self.tasks
            .iter()
            .filter(move |(name, task)| name.up == up && !task.over && task.until > self.cx.now)
            .map(|(_, task)| task)
    }

    /// The task that a call was the beginning of, and its client's token.
    pub(crate) fn task_with_progress(
        &self,
        up: UpId,
        number: u64,
    ) -> Option<(&Name, &Owned, &str)> {
        let found = self.tasks.iter().find(|(name, task)| {
            name.up == up
                && task
                    .progress
                    .as_ref()
                    .is_some_and(|(made, _)| *made == number)
        });
        found.and_then(|(name, task)| Some((name, task, &*task.progress.as_ref()?.1)))
    }

    fn stored_as(&self, name: &Name) -> Box<str> {
        digest(&format!(
            "task {:?} {:?} {}",
            self.up_ref(name.up).settings.name,
            name.id,
            name.owner
        ))
    }

    /// Has a task stored, unless it goes with its process anyway.
    fn keep_task(&mut self, name: &Name) {
        let Some(task) = self
            .tasks
            .get(name)
            .filter(|task| self.cx.keeps && task.lease == SHARED && self.tasks.len() <= KEPT)
        else {
            return;
        };
        let record = KeptTask {
            server: self.up_ref(name.up).settings.name.clone(),
            id: name.id.to_string(),
            owner: name.owner.to_string(),
            tool: task.tool.as_deref().map(str::to_owned),
            left: task.until.saturating_sub(self.cx.now),
        };
        let digest = self.stored_as(name);
        self.cx.emit(Output::Keep(Keep::Session {
            digest,
            record: record.write(),
            ticket: None,
        }));
    }

    /// A task of an earlier life. False: it is over, or its server is not there any more.
    pub(crate) fn adopt_task(&mut self, kept: &KeptTask, idle: Micros) -> bool {
        let up = self
            .ups
            .configured()
            .find(|up| up.settings.name == kept.server)
            .map(|up| up.id);
        let (Some(up), Some(left)) = (
            up,
            kept.left
                .checked_sub(idle)
                .filter(|left| *left > 0 && self.tasks.len() < MOST),
        ) else {
            return false;
        };
        let name = Name {
            up,
            id: kept.id.as_str().into(),
            owner: kept.owner.as_str().into(),
        };
        let (created, until) = (self.cx.now, self.cx.now + left.min(LONGEST));
        let tool = kept.tool.as_deref().map(Into::into);
        let task = Owned {
            session: None,
            tool,
            lease: SHARED,
            remote: None,
            created,
            asked: created,
            until,
            over: false,
            progress: None,
            seen: None,
        };
        self.tasks.entry(name).or_insert(task);
        true
    }
}

impl Owned {
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
