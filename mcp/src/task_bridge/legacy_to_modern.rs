//! Tasks of legacy servers for modern clients. In 2025-11-25 the client asks for a task, polls it,
//! and fetches its result apart; while a task wants something of the client, the request for its
//! result has to be open, because the questions come on that request's stream. In 2026-07-28
//! (SEP-2663) the server decides, and one request says all of a task. So the relay asks for a task
//! where the client takes one, watches a task that wants input, and puts what the server says of
//! it, its questions and its result together. Results are not kept here: the server has them.

use crate::api::UpId;
use crate::client::request::{Flow, RequestContext};
use crate::client::task_name::TaskName;
use crate::in_flight::record::{Call, ClientCall, Purpose, Task};
use crate::protocol::inbound::key;
use crate::protocol::json::{Envelope, Kind};
use crate::protocol::method::Method;
use crate::protocol::refusal::{Refusal, rpc};
use crate::protocol::task::{RELATED, related, status};
use crate::protocol::{json, splice};
use crate::questions::OpenQuestion;
use crate::task_bridge::Bridging;
use crate::tasks::registry::{Owned, Tasks};
use ggen_wire::Code;

/// How long the result of a task is waited for that its server has called complete.
const PATIENCE: crate::api::Micros = 30_000_000;

impl Bridging<'_> {
    /// A request about such a task that its server need not be asked for. `None`: it need.
    pub(crate) fn answer_here(
        &mut self,
        ctx: &RequestContext<'_>,
        name: &TaskName,
    ) -> Option<Result<Flow, Refusal>> {
        let cancels = self.ups.get(name.up).has_in_tasks("cancel");
        match ctx.method {
            Method::TaskUpdate => {
                let responses = ctx
                    .params
                    .and_then(|params| json::pick(params, ["inputResponses"])?[0])
                    .filter(|raw| raw.starts_with('{'));
                let Some(responses) = responses else {
                    let what = "params.inputResponses is missing or no object";
                    return Some(Err(Refusal::new(
                        200,
                        rpc::INVALID_PARAMS,
                        Code::InvalidRequest,
                        what,
                    )));
                };
                self.answer_task(name, responses);
            }
            // Cancelling is a wish (SEP-2663, "Task Cancellation"); here nobody would hear it.
            Method::TaskCancel if !cancels => self.tasks.over(self.leases, name),
            _ => return None,
        }
        let server = self.ups.get(name.up).info.server.as_deref();
        let meta = server
            .map(|server| format!(",\"_meta\":{{\"{}\":{server}}}", key::SERVER))
            .unwrap_or_default();
        self.clients.result(
            self.cx,
            self.spans,
            ctx,
            &format!("{{\"resultType\":\"complete\"{meta}}}"),
        );
        Some(Ok(Flow::Done))
    }

    /// Passes a client's answers on to the server; those that nothing asked for are ignored.
    fn answer_task(&mut self, name: &TaskName, responses: &str) {
        let Some(conn) = self.tasks.place(self.ups.get(name.up), name, self.cx.now) else {
            return;
        };
        for answer in self.tasks.answers(name, responses) {
            self.connecting()
                .send_untracked(name.up, conn, answer, Vec::new());
        }
    }

    /// The task of a modern client that a request of a legacy server belongs to: by the request
    /// that it came on, or by what it says.
    pub(crate) fn task_that_asks(
        &self,
        up: UpId,
        conn: usize,
        call: Option<u64>,
        params: Option<&str>,
    ) -> Option<TaskName> {
        if let Some(Purpose::Watch(name)) = call
            .and_then(|number| self.calls.get(&number))
            .map(|call| &call.purpose)
        {
            return Some(name.clone());
        }
        let id = params.and_then(related).and_then(json::string)?;
        let name = self.tasks.at(self.ups.get(up), conn, &id, self.cx.now)?;
        Some(name).filter(|name| self.ups.get(name.up).bridges(name))
    }

    /// A question of a task is kept for its client. False: it cannot be.
    pub(crate) fn ask_for_task(
        &mut self,
        name: &TaskName,
        conn: usize,
        id: &str,
        method: &str,
        params: Option<&str>,
    ) -> bool {
        let (caps, unused) = (self.ups.get(name.up).conns[conn].caps(), self.cx.next_id());
        if !self.tasks.ask(name, (id, method), params, caps, unused) {
            return false;
        }
        if let Some(seen) = self.tasks.get(name, self.cx.now).and_then(Owned::seen) {
            let task = self.tasks.with_questions(name, seen);
            self.tasks
                .tell(self.cx, (&mut self.clients, self.ups), name, &task);
        }
        true
    }

    /// Has the questions of a task come: its server puts them on the stream of the request for the
    /// result.
    fn watch_task(&mut self, name: &TaskName, conn: usize) {
        if self.tasks.is_watched(name) {
            return;
        }
        let members = format!("\"taskId\":{}", json::quote(&name.id));
        let number = self.connecting().outbound_request(
            name.up,
            conn,
            Purpose::Watch(name.clone()),
            "tasks/result",
            &members,
            crate::upstream::connection::outbound::NEVER,
        );
        self.tasks.watched_by(name, number);
    }

    /// Nobody will ask about a task any more: its server's questions get an answer, its request is
    /// taken back.
    fn unwatch(&mut self, name: &TaskName) {
        let place = self.tasks.place(self.ups.get(name.up), name, self.cx.now);
        if let (Some(watch), Some(conn)) = (self.tasks.take_watch(name), place) {
            self.calling().end_watch(name, conn, watch);
        }
    }

    /// What a legacy server says in answer to a modern client's request about a task, or to a call
    /// that began one, as a message that a modern server would have sent. `None`: it needs no
    /// change beyond what every answer gets.
    pub(crate) fn bridge(
        &mut self,
        call: &Call,
        client: &ClientCall,
        envelope: &Envelope<'_>,
    ) -> Option<String> {
        let (Kind::Result(number, _) | Kind::Error(Some(number), _)) = envelope.kind else {
            return None;
        };
        let name = client
            .known
            .as_ref()
            .filter(|name| self.ups.get(name.up).bridges(name));
        let result = match (&envelope.kind, client.method, &client.task, name) {
            (Kind::Result(_, result), Method::ToolsCall, Some(Task::Offered), _) => {
                let [task] = json::pick(result, ["task"])?;
                begun(task?)
            }
            (Kind::Result(_, result), Method::TaskGet, Some(Task::Fetching(task)), Some(_)) => {
                detailed(task, "completed", &[("result", &without_related(result))])
            }
            (Kind::Error(_, error), Method::TaskGet, Some(Task::Fetching(task)), Some(_)) => {
                failed(task, error)
            }
            (Kind::Result(_, task), Method::TaskGet, None, Some(name)) => {
                self.tasks.remember(name, task);
                if status(task) == Some("\"input_required\"") {
                    self.watch_task(name, call.conn);
                }
                self.tasks.with_questions(name, task)
            }
            (Kind::Result(..), Method::TaskCancel, _, Some(name)) => {
                self.unwatch(name);
                self.tasks.over(self.leases, name);
                "{}".to_owned()
            }
            _ => return None,
        };
        Some(format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{number},\"result\":{result}}}"
        ))
    }

    /// A legacy server tells how the task of a modern client stands: whoever listens gets it with
    /// everything that belongs to it.
    pub(crate) fn tell_listeners(&mut self, name: &TaskName, conn: usize, task: &str) -> bool {
        self.tasks.remember(name, task);
        if !self
            .clients
            .listens()
            .any(|(_, listen)| listen.tasks.contains_key(name))
        {
            return false;
        }
        match status(task) {
            Some("\"completed\"" | "\"failed\"") => {
                let members = format!("\"taskId\":{}", json::quote(&name.id));
                self.connecting().outbound_request(
                    name.up,
                    conn,
                    Purpose::TaskResult(name.clone(), task.into()),
                    "tasks/result",
                    &members,
                    PATIENCE,
                );
            }
            Some("\"input_required\"") if !self.tasks.is_watched(name) => {
                self.watch_task(name, conn)
            }
            _ => {
                let task = self.tasks.with_questions(name, task);
                self.tasks
                    .tell(self.cx, (&mut self.clients, self.ups), name, &task);
            }
        }
        true
    }

    /// The result that a task came to, for those who listen.
    pub(crate) fn tell_result(&mut self, name: &TaskName, task: &str, envelope: &Envelope<'_>) {
        let task = match envelope.kind {
            Kind::Result(_, result) => {
                detailed(task, "completed", &[("result", &without_related(result))])
            }
            Kind::Error(_, error) => failed(task, error),
            _ => return,
        };
        self.tasks
            .tell(self.cx, (&mut self.clients, self.ups), name, &task);
    }
}

impl Tasks {
    /// A task that is not over, with what it wants to know. What is not known here yet cannot be
    /// answered, so that the task is at work till then.
    fn with_questions(&self, name: &TaskName, task: &str) -> String {
        let over = status(task) == Some("\"cancelled\"");
        let pending = self.questions(name);
        if over {
            return detailed(task, "cancelled", &[]);
        }
        if pending.is_empty() {
            return detailed(task, "working", &[]);
        }
        let requests: Vec<_> = pending.iter().map(OpenQuestion::entry).collect();
        detailed(
            task,
            "input_required",
            &[("inputRequests", &format!("{{{}}}", requests.join(",")))],
        )
    }
}

/// A task in the words of 2026-07-28: with that status, and with more members.
fn detailed(task: &str, status: &str, more: &[(&str, &str)]) -> String {
    let status = json::quote(status);
    let [ttl, poll] = json::pick(task, ["ttl", "pollInterval"]).unwrap_or_default();
    let mut added = vec![
        ("status", status.as_str()),
        ("ttlMs", ttl.unwrap_or("null")),
    ];
    added.extend(poll.map(|poll| ("pollIntervalMs", poll)));
    added.extend_from_slice(more);
    splice::rebuild(
        task,
        |member| !matches!(member, "status" | "ttl" | "pollInterval" | "_meta"),
        &added,
    )
}

/// A task that has just begun. One that has failed already has its reason in its result, which is
/// asked for apart.
fn begun(task: &str) -> String {
    let status = match status(task) {
        Some("\"completed\"") => "completed",
        Some("\"cancelled\"") => "cancelled",
        _ => "working",
    };
    detailed(task, status, &[("resultType", "\"task\"")])
}

/// A task whose call ended with an error.
fn failed(task: &str, error: &str) -> String {
    let [message] = json::pick(error, ["message"]).unwrap_or_default();
    let [told] = json::pick(task, ["statusMessage"]).unwrap_or_default();
    let mut more = vec![("error", error)];
    more.extend(
        message
            .filter(|_| told.is_none())
            .map(|message| ("statusMessage", message)),
    );
    detailed(task, "failed", &more)
}

/// A result without the name of its task, which stands beside it (SEP-2663).
fn without_related(result: &str) -> String {
    let Some([Some(meta)]) = json::pick(result, ["_meta"])
        .filter(|[meta]| meta.is_some_and(|meta| meta.contains(RELATED)))
    else {
        return result.to_owned();
    };
    let meta = splice::rebuild(meta, |member| member != RELATED, &[]);
    let added: &[(&str, &str)] = if meta == "{}" {
        &[]
    } else {
        &[("_meta", &meta)]
    };
    splice::rebuild(result, |member| member != "_meta", added)
}
