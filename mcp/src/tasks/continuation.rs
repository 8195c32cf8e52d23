//! Calls that go on as other requests than the one that began them, because a task stands between
//! question and result. A modern client that takes no tasks gets what the task of a legacy server
//! comes to; one that takes them gets its status and its result in one answer ([`crate::tasks::legacy_to_modern`]).
//! A legacy client gets what the task of a modern server comes to ([`crate::tasks::modern_to_legacy`]).

use crate::api::UpId;
use crate::gateway::Gateway;
use crate::in_flight::record::{Call, ClientCall, Purpose, Task};
use crate::protocol::json;
use crate::protocol::json::Kind;
use crate::protocol::method::Method;
use crate::protocol::refusal::rpc;
use crate::protocol::task::status;
use crate::tasks::modern_to_legacy::is_driven;
use crate::upstream::outbound::request_text;
use crate::upstream::{UpEra, Upstream};

/// How an answer is gone on with.
enum Next {
    /// By this method, about the task with this id as it stands; what the call is then.
    Ask(&'static str, Box<str>, Task),
    /// In the way of [`crate::tasks::modern_to_legacy`].
    Drive,
}

impl Gateway {
    /// An answer that is not yet the client's. True: the call goes on.
    pub(crate) fn goes_on(&mut self, up: UpId, number: u64, kind: &Kind<'_>) -> bool {
        let Some(Purpose::Client(client)) = self
            .calls
            .get(&number)
            .filter(|call| call.up == up)
            .map(|call| &call.purpose)
        else {
            return false;
        };
        match next_of(self.ups.get(up), number, client, kind) {
            None => false,
            Some(Next::Drive) => self.drive(up, number, kind),
            Some(Next::Ask(method, id, task)) => {
                if let Some(Purpose::Client(client)) =
                    self.calls.get_mut(&number).map(|call| &mut call.purpose)
                {
                    client.task = Some(task);
                }
                self.ask_next(number, method, &format!("\"taskId\":{id}"));
                true
            }
        }
    }

    /// The next request of a call, at the same connection.
    pub(crate) fn ask_next(&mut self, number: u64, method: &'static str, members: &str) {
        let Some(mut call) = self.calls.remove(&number) else {
            return;
        };
        let next = self.cx.next_id();
        call.request = request_text(
            next,
            method,
            members,
            self.ups.get(call.up).era == Some(UpEra::Modern),
        );
        self.renumber(number, next, call);
        self.connecting().send(next);
    }

    /// Has a call go on under another number, as if it began now.
    pub(crate) fn renumber(&mut self, number: u64, next: u64, mut call: Call) {
        (call.status, call.tries, call.last_event) = (0, 0, None);
        if let Purpose::Client(client) = &call.purpose {
            call.deadline = self.cx.now + client.timeout;
            if let Some(exchange) = self.clients.exchange_mut(client.key) {
                exchange.calls.push(next);
            }
            if let Some(session) = client
                .session
                .as_ref()
                .and_then(|id| self.clients.session_mut(id))
            {
                session.calls.insert(client.id.clone(), next);
            }
            if let Some(id) = client.park() {
                self.questions.pending.renumber(id, next);
            }
        }
        let conn = &mut self.ups.get_mut(call.up).conns[call.conn];
        conn.calls.remove(&number);
        conn.calls.insert(next);
        self.calls.insert(next, call);
    }

    /// The call whose task reports its progress under the number that it began with.
    pub(crate) fn call_of_task(&self, number: u64) -> u64 {
        if self.calls.contains_key(&number) {
            return number;
        }
        let is_it = |client: &ClientCall| matches!(&client.task, Some(Task::Running { number: began, .. }) if *began == number);
        let found = self
            .calls
            .iter()
            .find(|(_, call)| matches!(&call.purpose, Purpose::Client(client) if is_it(client)));
        found.map_or(number, |(now, _)| *now)
    }

    /// Nobody waits for a task any more that its client does not know of.
    pub(crate) fn cancel_task(&mut self, up: UpId, conn: usize, client: &ClientCall) {
        let id = match &client.task {
            Some(Task::Running { id, .. }) => id,
            Some(Task::Driven(driven)) => &driven.id,
            _ => return,
        };
        self.connecting().outbound_request(
            up,
            conn,
            Purpose::Untracked,
            "tasks/cancel",
            &format!("\"taskId\":{id}"),
            30_000_000,
        );
    }
}

/// How a call goes on with such an answer; `None`: it does not, the answer is the client's.
fn next_of(up: &Upstream, number: u64, client: &ClientCall, kind: &Kind<'_>) -> Option<Next> {
    let legacy = matches!(up.era, Some(UpEra::Legacy(_)));
    if !client.modern {
        return (!legacy && client.method == Method::ToolsCall && is_driven(client, kind))
            .then_some(Next::Drive);
    }
    let known = client
        .known
        .as_ref()
        .filter(|name| legacy && up.bridges(name));
    match (kind, client.method, &client.task, known) {
        (Kind::Result(_, result), Method::ToolsCall, Some(Task::Asked), _) => {
            let id: Box<str> = task_id(result)?.into();
            Some(Next::Ask(
                "tasks/result",
                id.clone(),
                Task::Running { id, number },
            ))
        }
        // What it came to is asked for apart; until then the client waits.
        (Kind::Result(_, task), Method::TaskGet, None, Some(name))
            if matches!(status(task), Some("\"completed\"" | "\"failed\"")) =>
        {
            Some(Next::Ask(
                "tasks/result",
                json::quote(&name.id).into(),
                Task::Fetching((*task).into()),
            ))
        }
        // A legacy server refuses to cancel what is over; a modern client is told that it was
        // heard, if there is such a task at all.
        (Kind::Error(_, error), Method::TaskCancel, None, Some(name))
            if code_of(error) == Some(rpc::INVALID_PARAMS) =>
        {
            Some(Next::Ask(
                "tasks/get",
                json::quote(&name.id).into(),
                Task::Acknowledging,
            ))
        }
        _ => None,
    }
}

/// The id of the task that a legacy server has begun, as it stands.
fn task_id(result: &str) -> Option<&str> {
    let [task] = json::pick(result, ["task"])?;
    json::pick(task?, ["taskId"])?[0].filter(|id| id.starts_with('"'))
}

/// The code of an error.
pub(crate) fn code_of(error: &str) -> Option<i64> {
    json::pick(error, ["code"])?[0]?.parse().ok()
}
