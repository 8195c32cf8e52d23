//! Tools of legacy servers that can only be called as tasks (2025-11-25, Tasks). Tasks are not bridged between the eras, so that a modern client, which knows
//! nothing of them, gets what the task comes to: the call is made as a task, and `tasks/result` waits for its end.

use super::Gateway;
use super::call::{ClientCall, Purpose, Sent, Task};
use crate::api::UpId;
use crate::json::{self, Kind};
use crate::list::ListKind;
use crate::upstream::UpEra;

impl Gateway {
    /// Whether a tool of a server has to be called as a task.
    pub(super) fn needs_task(&self, up: UpId, tool: &str) -> bool {
        let upstream = self.up_ref(up);
        let path = |text, names: &[&str]| names.iter().try_fold(text, |at, name| json::pick(at, [*name]).and_then(|[found]| found));
        let item = upstream.list(ListKind::Tools).items.iter().find(|item| *item.key == *tool);
        let text = item.and_then(|item| std::str::from_utf8(&item.text).ok()).filter(|text| text.contains("\"taskSupport\""));
        matches!(upstream.era, Some(UpEra::Legacy(_)))
            && text.and_then(|text| path(text, &["execution", "taskSupport"])) == Some("\"required\"")
            && path(&upstream.hello.capabilities, &["tasks", "requests", "tools", "call"]).is_some()
    }

    /// The server has begun a task for a call: it goes on as the question for its result, under another number.
    pub(super) fn task_begun(&mut self, up: UpId, number: u64, kind: &Kind<'_>) -> bool {
        let Kind::Result(_, result) = kind else { return false };
        let Some(Purpose::Client(client)) = self.calls.get(&number).filter(|call| call.up == up).map(|call| &call.purpose) else {
            return false;
        };
        if client.task != Some(Task::Asked) {
            return false;
        }
        let task = json::pick(result, ["task"]).and_then(|[task]| json::pick(task?, ["taskId"])?[0]).filter(|id| id.starts_with('"'));
        let (Some(id), Some(mut call)) = (task.map(Box::<str>::from), self.calls.remove(&number)) else { return false };
        let next = self.next_id();
        let body = format!("{{\"jsonrpc\":\"2.0\",\"id\":{next},\"method\":\"tasks/result\",\"params\":{{\"taskId\":{id}}}}}");
        call.request = Sent { headers: Vec::new(), body: body.into() };
        (call.status, call.tries, call.last_event) = (0, 0, None);
        if let Purpose::Client(client) = &mut call.purpose {
            client.task = Some(Task::Running { id, number });
            call.deadline = self.now + client.timeout;
            if let Some(exchange) = self.exchanges.get_mut(&client.key) {
                exchange.calls.push(next);
            }
        }
        let conn = &mut self.ups[up.0 as usize].conns[call.conn];
        conn.calls.remove(&number);
        conn.calls.insert(next);
        self.calls.insert(next, call);
        self.send(next);
        true
    }

    /// The call whose task reports its progress under the number that it began with.
    pub(super) fn call_of_task(&self, number: u64) -> u64 {
        if self.calls.contains_key(&number) {
            return number;
        }
        let is_it = |client: &ClientCall| matches!(&client.task, Some(Task::Running { number: began, .. }) if *began == number);
        let found = self.calls.iter().find(|(_, call)| matches!(&call.purpose, Purpose::Client(client) if is_it(client)));
        found.map_or(number, |(now, _)| *now)
    }

    /// Nobody waits for a task any more.
    pub(super) fn cancel_task(&mut self, up: UpId, conn: usize, client: &ClientCall) {
        if let Some(Task::Running { id, .. }) = &client.task {
            self.own_request(up, conn, Purpose::Aside, "tasks/cancel", &format!("\"taskId\":{id}"), 30_000_000);
        }
    }
}
