//! Tasks of modern servers for legacy clients, which know nothing of them: the relay asks how the
//! task stands, as often as the server wants it, puts the server's questions to the client on the
//! stream of its request, and answers the call with what the task comes to (SEP-2663, "Polymorphic
//! Results": an implementation may do that for its user). A server is told that its client takes
//! tasks only after it has said that it cannot serve the call without.

use crate::api::{Micros, UpId};
use crate::in_flight::record::{ClientCall, PolledTask, Purpose, Task};
use crate::protocol::json::{Envelope, Kind};
use crate::protocol::refusal::{Refusal, code_of, rpc};
use crate::protocol::{json, splice, task};
use crate::task_bridge::Bridging;
use crate::translation::message;
use ggen_wire::Code;

/// How often a task is asked for whose server does not say how often; and the bounds of what one
/// may say, in milliseconds.
const POLL: u64 = 1000;
const POLLS: (u64, u64) = (50, 10_000);

impl Bridging<'_> {
    /// Goes on with such a call. False: the answer is the client's.
    pub(crate) fn poll_on(&mut self, up: UpId, number: u64, kind: &Kind<'_>) -> bool {
        let Some(call) = self.calls.get_mut(&number) else {
            return false;
        };
        let Purpose::Client(client) = &mut call.purpose else {
            return false;
        };
        match (kind, &mut client.task) {
            (Kind::Error(..), task @ None) => {
                *task = Some(Task::Declared);
                self.declare_tasks(number);
            }
            (Kind::Result(_, result), task @ Some(Task::Declared)) => {
                let [id] = json::pick(result, ["taskId"]).unwrap_or_default();
                let Some(id) = id.filter(|id| id.starts_with('"')) else {
                    return false;
                };
                *task = Some(Task::Polled(Box::new(PolledTask {
                    id: id.into(),
                    keys: Vec::new(),
                })));
                self.poll_later(number, result);
            }
            (Kind::Result(_, result), Some(Task::Polled(polled))) => {
                match json::pick(result, ["status"]).and_then(|[status]| status) {
                    Some("\"completed\"" | "\"failed\"" | "\"cancelled\"") => return false,
                    Some("\"input_required\"") => {
                        let [requests] = json::pick(result, ["inputRequests"]).unwrap_or_default();
                        let fresh = splice::rebuild(
                            requests.unwrap_or("{}"),
                            |key| !polled.keys.iter().any(|known| **known == *key),
                            &[],
                        );
                        if fresh == "{}" {
                            self.poll_later(number, result);
                            return true;
                        }
                        let keys = json::members(&fresh)
                            .unwrap_or_default()
                            .into_iter()
                            .map(|(key, _)| key.as_ref().into());
                        polled.keys.extend(keys.collect::<Vec<Box<str>>>());
                        let Some((_, call)) = self.calling().take_call(up, number) else {
                            return true;
                        };
                        self.questioning()
                            .round(call, &format!("{{\"inputRequests\":{fresh}}}"));
                    }
                    // At work, or the server has taken answers.
                    _ => self.poll_later(number, result),
                }
            }
            _ => return false,
        }
        true
    }

    /// Makes the call once more, of a client that takes tasks: the server has refused it without.
    fn declare_tasks(&mut self, number: u64) {
        let Some(mut call) = self.calls.remove(&number) else {
            return;
        };
        let next = self.cx.next_id();
        call.request.body = message::declaring(&call.request.body, next, task::EXTENSION);
        self.calling().renumber(number, next, call);
        self.connecting().send(next);
    }

    /// Asks how the task stands after the time that its server wants.
    fn poll_later(&mut self, number: u64, task: &str) {
        let Some(call) = self.calls.remove(&number) else {
            return;
        };
        let [poll] = json::pick(task, ["pollIntervalMs"]).unwrap_or_default();
        let wait: Micros = poll
            .and_then(|raw| raw.parse().ok())
            .unwrap_or(POLL)
            .clamp(POLLS.0, POLLS.1)
            * 1000;
        let next = self.cx.next_id();
        self.calling().renumber(number, next, call);
        let due = self.cx.now + wait;
        if let Some(call) = self.calls.get_mut(&next) {
            call.deadline = call.deadline.max(due + 1_000_000);
        }
        self.questions.delayed.push(due, next);
        self.cx.wake_at(due);
    }
}

/// Whether an answer to a legacy client's call is about a task.
pub(crate) fn concerns_polled_task(client: &ClientCall, kind: &Kind<'_>) -> bool {
    match (&client.task, kind) {
        (None, Kind::Error(_, error)) => {
            code_of(error) == Some(rpc::MISSING_CAPABILITY) && wants_tasks(error)
        }
        (Some(Task::Declared), Kind::Result(_, result)) => kind_of(result) == Some("\"task\""),
        (Some(Task::Polled(_)), Kind::Result(..)) => true,
        _ => false,
    }
}

/// What a task came to, as the answer of its call: `None` if this is no task's end.
pub(crate) fn end_of_polled_task(client: &ClientCall, envelope: &Envelope<'_>) -> Option<String> {
    if !matches!(client.task, Some(Task::Polled(_))) {
        return None;
    }
    let lost = |why: &str| {
        format!(
            "\"error\":{}",
            Refusal::new(200, rpc::INTERNAL, Code::TaskEnded, why).error()
        )
    };
    let (number, member) = match &envelope.kind {
        Kind::Result(number, task) => {
            let [status, result, error] =
                json::pick(task, ["status", "result", "error"]).unwrap_or_default();
            let member = match (status, result, error) {
                (Some("\"completed\""), Some(result), _) => format!("\"result\":{result}"),
                (Some("\"failed\""), _, Some(error)) => format!("\"error\":{error}"),
                _ => lost(status.unwrap_or_default().trim_matches('"')),
            };
            (number, member)
        }
        // What the server says of a task that it does not know (any more) is not about the
        // client's request.
        Kind::Error(Some(number), error) => {
            let message = json::pick(error, ["message"])
                .and_then(|[message]| json::string(message?))
                .unwrap_or_default();
            (number, lost(&message))
        }
        _ => return None,
    };
    Some(format!("{{\"jsonrpc\":\"2.0\",\"id\":{number},{member}}}"))
}

fn kind_of(result: &str) -> Option<&str> {
    json::pick(result, ["resultType"])?[0]
}

/// Whether a refusal for want of a capability is one for want of tasks.
fn wants_tasks(error: &str) -> bool {
    let path = [
        "data",
        "requiredCapabilities",
        "extensions",
        task::EXTENSION,
    ];
    path.iter()
        .try_fold(error, |at, name| json::pick(at, [*name])?[0])
        .is_some()
}
