//! Tasks that calls make or ask about: noted in the registry, stored, and forgotten with all that
//! belongs to them.

use crate::api::{Micros, Output};
use crate::call::Calling;
use crate::client::task_name::TaskName;
use crate::in_flight::record::{Call, ClientCall};
use crate::persisted::{Keep, KeptTask};
use crate::protocol::era::EraPair;
use crate::protocol::json;
use crate::protocol::method::Method;
use crate::tasks::passthrough;
use crate::tasks::registry::{Forgotten, Origin};
use crate::tasks::watch::Watch;
use std::sync::Arc;

impl Calling<'_> {
    /// What an answer says of tasks is noted. False: the task is not this client's any more, so
    /// that the answer is not either.
    pub(crate) fn note_tasks(
        &mut self,
        number: Option<u64>,
        call: &Call,
        client: &ClientCall,
        result: &str,
        eras: EraPair,
    ) -> bool {
        if let Some(name) = &client.known {
            if self.tasks.get(name, self.cx.now).is_none() {
                return false;
            }
            match client.method {
                // Nobody waits for what was cancelled; a modern server does not say how it stands.
                Method::TaskResult => self.tasks.over(self.leases, name),
                Method::TaskCancel if eras.server.is_modern() => self.tasks.over(self.leases, name),
                _ => self.tasks.see(self.leases, name, result, self.cx.now),
            }
            return true;
        }
        if let Some(task) = passthrough::begun(client.method, eras, result)
            && let Some(id) = json::pick(task, ["taskId"]).and_then(|[id]| json::string(id?))
        {
            self.own_task(call, number, client, &id, task);
        }
        true
    }

    /// A call has made a task.
    fn own_task(
        &mut self,
        call: &Call,
        number: Option<u64>,
        client: &ClientCall,
        id: &str,
        task: &str,
    ) {
        let conn = &self.ups.get(call.up).conns[call.conn];
        let tool = client.tool.as_ref();
        let entry = tool.and_then(|tool| self.ups.tool_of(call.up, tool));
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
            owner: self
                .clients
                .task_owner(client.session.as_ref(), &client.principal),
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

    /// Removes a task.
    pub(crate) fn forget_task(&mut self, name: &TaskName) {
        let gone = self.tasks.forget(name);
        self.forgotten(gone);
    }

    /// A session is over, and with it what was its own.
    pub(crate) fn forget_tasks_of(&mut self, session: &Arc<str>) {
        if !self.tasks.is_empty() {
            let owner = self.clients.task_owner(Some(session), "");
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
                .and_then(|task| task.place(self.ups.get(name.up)));
            if let (Some(watch), Some(conn)) = (watch, place) {
                self.end_watch(&name, conn, watch);
            }
            self.leases.touch(name.up);
            if self.cx.keeps && !self.cx.draining {
                let digest = name.stored_as(&self.ups.get(name.up).settings.name);
                self.cx.emit(Output::Keep(Keep::Ended(digest)));
            }
        }
    }

    /// A task of an earlier life. False: it is over, or its server is not there any more.
    pub(crate) fn adopt_task(&mut self, kept: &KeptTask, idle: Micros) -> bool {
        let mut configured = self.ups.configured();
        let up = configured.find(|up| up.settings.name == kept.server);
        let up = up.map(|up| up.id);
        drop(configured);
        up.is_some_and(|up| self.tasks.adopt(up, kept, idle, self.cx.now))
    }

    /// The same for a request that is not in the registry any more.
    pub(crate) fn end_watch(&mut self, name: &TaskName, conn: usize, watch: Watch) {
        for pending in &watch.pending {
            self.connecting().take_back(name.up, conn, pending);
        }
        if let Some(number) = watch.number
            && self.calls.remove(&number).is_some()
        {
            self.connecting().cancel_upstream(name.up, conn, number);
        }
    }
}
