//! Calls that go on as other requests than the one that began them, because a task stands between
//! question and result. A modern client that takes no tasks gets what the task of a legacy server
//! comes to; one that takes them gets its status and its result in one answer ([`crate::task_bridge::legacy_to_modern`]).
//! A legacy client gets what the task of a modern server comes to ([`crate::task_bridge::modern_to_legacy`]).

use crate::api::UpId;
use crate::in_flight::record::{ClientCall, Purpose, Task};
use crate::protocol::json;
use crate::protocol::json::Kind;
use crate::protocol::method::Method;
use crate::protocol::refusal::{code_of, rpc};
use crate::protocol::task::status;
use crate::task_bridge::Bridging;
use crate::task_bridge::modern_to_legacy::concerns_polled_task;
use crate::upstream::Upstream;

/// How an answer is gone on with.
enum Next {
    /// By this method, about the task with this id as it stands; what the call is then.
    Ask(&'static str, Box<str>, Task),
    /// In the way of [`crate::task_bridge::modern_to_legacy`].
    Poll,
}

impl Bridging<'_> {
    /// An answer that is not yet the client's. True: the call goes on.
    pub(crate) fn goes_on(&mut self, up: UpId, number: u64, kind: &Kind<'_>) -> bool {
        let Some(call) = self.calls.get(&number).filter(|call| call.up == up) else {
            return false;
        };
        let Purpose::Client(client) = &call.purpose else {
            return false;
        };
        let legacy = !self.ups.get(up).is_modern_at(call.conn);
        match next_of((self.ups.get(up), legacy), number, client, kind) {
            None => false,
            Some(Next::Poll) => self.poll_on(up, number, kind),
            Some(Next::Ask(method, id, task)) => {
                if let Some(Purpose::Client(client)) =
                    self.calls.get_mut(&number).map(|call| &mut call.purpose)
                {
                    client.task = Some(task);
                }
                self.calling()
                    .ask_next(number, method, &format!("\"taskId\":{id}"));
                true
            }
        }
    }
}

/// How a call goes on with such an answer; `None`: it does not, the answer is the client's.
fn next_of(
    (up, legacy): (&Upstream, bool),
    number: u64,
    client: &ClientCall,
    kind: &Kind<'_>,
) -> Option<Next> {
    if !client.modern {
        return (!legacy
            && client.method == Method::ToolsCall
            && concerns_polled_task(client, kind))
        .then_some(Next::Poll);
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
