//! What the router does for the registry of tasks: it gives it what other rooms know, and carries
//! out what follows from its answers.

use crate::api::{Micros, Output, UpId};
use crate::call::record::{Call, ClientCall};
use crate::client::task_name::{TaskName, owner};
use crate::gateway::Gateway;
use crate::persisted::{Keep, KeptTask};
use crate::tasks::registry::{Forgotten, Origin, Owned};
use crate::upstream::list::ListKind;
use crate::upstream::view::View;
use std::sync::Arc;

impl Gateway {
    /// The owner of the tasks of a session, or of a modern principal.
    pub(crate) fn owner(&self, session: Option<&Arc<str>>, principal: &str) -> Box<str> {
        let session = session.map(|name| {
            let known = self.clients.session(name);
            (&**name, known.map_or("", |session| &*session.digest))
        });
        owner(session, principal)
    }

    /// A task, if there is one of that name.
    pub(crate) fn owned(&self, name: &TaskName) -> Option<&Owned> {
        self.tasks.get(name, self.cx.now)
    }

    /// The session that hears of a task.
    pub(crate) fn session_of_task(&self, name: &TaskName, task: &Owned) -> Option<Arc<str>> {
        let lives = |session: &Arc<str>| self.clients.has_session(session);
        let restored = || self.clients.session_of_digest(name.session_digest()?);
        let known = task.session().cloned().filter(lives);
        known.or_else(|| restored().filter(lives))
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
        let view = if client.exposes {
            View::All
        } else {
            View::One(call.up)
        };
        let tool = client.tool.as_ref();
        let entry = tool.and_then(|tool| self.ups.table(view, ListKind::Tools).get(tool));
        let progress = client
            .progress
            .as_ref()
            .filter(|_| client.session.is_some());
        let origin = Origin {
            session: client.session.clone(),
            tool: entry.map(|entry| Box::from(&*entry.original)),
            lease: conn.lease,
            remote: conn.session.clone(),
            progress: number.and_then(|number| Some((number, progress?.clone()))),
        };
        let name = TaskName {
            up: call.up,
            id: id.into(),
            owner: self.owner(client.session.as_ref(), &client.principal),
        };
        let gone = self.tasks.begin(&name, origin, task, self.cx.now);
        self.forgotten(gone);
        self.keep_task(&name);
    }

    /// Has a task stored, if that is any use.
    fn keep_task(&mut self, name: &TaskName) {
        let server = &self.ups.get(name.up).settings.name;
        let Some(record) = self
            .tasks
            .record(name, server, self.cx.now)
            .filter(|_| self.cx.keeps)
        else {
            return;
        };
        let digest = name.stored_as(server);
        self.cx.emit(Output::Keep(Keep::Session {
            digest,
            record: record.write(),
            ticket: None,
        }));
    }

    /// A server said how a task stands.
    pub(crate) fn see_task(&mut self, name: &TaskName, task: &str) {
        if self.tasks.see(name, task, self.cx.now) {
            self.leases.touch(name.up);
        }
    }

    /// A task has an end.
    pub(crate) fn task_over(&mut self, name: &TaskName) {
        if self.tasks.over(name) {
            self.leases.touch(name.up);
        }
    }

    /// Removes a task.
    pub(crate) fn forget_task(&mut self, name: &TaskName) {
        let gone = self.tasks.forget(name);
        self.forgotten(gone);
    }

    /// A session is over, and with it what was its own.
    pub(crate) fn forget_tasks_of(&mut self, session: &Arc<str>) {
        if !self.tasks.is_empty() {
            let owner = self.owner(Some(session), "");
            let gone = self.tasks.forget_owner(&owner);
            self.forgotten(gone);
        }
    }

    /// What time does to tasks.
    pub(crate) fn tasks_due(&mut self) {
        let gone = self.tasks.expire(self.cx.now);
        self.forgotten(gone);
    }

    /// What follows when tasks are not in the registry any more: their servers' questions get an
    /// answer, their children may be used by others, and what is stored of them is deleted.
    fn forgotten(&mut self, gone: impl IntoIterator<Item = Forgotten>) {
        for Forgotten { name, task, watch } in gone {
            let place = Some(&task)
                .filter(|task| task.left(self.cx.now) > 0)
                .and_then(|task| task.place(self.up_ref(name.up)));
            if let (Some(watch), Some(conn)) = (watch, place) {
                self.end_watch(&name, conn, watch);
            }
            self.leases.touch(name.up);
            if self.cx.keeps && !self.cx.draining {
                let digest = name.stored_as(&self.up_ref(name.up).settings.name);
                self.cx.emit(Output::Keep(Keep::Ended(digest)));
            }
        }
    }

    /// The connection behind which a task is. `None`: there is no such task, or it went with its
    /// process.
    pub(crate) fn place_of_task(&self, name: &TaskName) -> Option<usize> {
        self.owned(name)?.place(self.up_ref(name.up))
    }

    /// Whether a task is at work behind a connection, so far as anybody knows.
    pub(crate) fn works_at(&self, up: UpId, at: usize) -> bool {
        self.tasks.works_at(self.up_ref(up), at, self.cx.now)
    }

    /// A task of an earlier life. False: it is over, or its server is not there any more.
    pub(crate) fn adopt_task(&mut self, kept: &KeptTask, idle: Micros) -> bool {
        let mut configured = self.ups.configured();
        let up = configured.find(|up| up.settings.name == kept.server);
        let up = up.map(|up| up.id);
        drop(configured);
        up.is_some_and(|up| self.tasks.adopt(up, kept, idle, self.cx.now))
    }
}
