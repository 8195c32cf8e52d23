//! Calls that go on as another request than the one that began them.

use crate::api::UpId;
use crate::call::Calling;
use crate::in_flight::record::{Call, ClientCall, Purpose, Task};
use crate::upstream::connection::outbound::request_text;

impl Calling<'_> {
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
            self.ups.get(call.up).is_modern_at(call.conn),
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
            if let Some(id) = client.pending_input() {
                self.questions.pending.renumber(id, next);
            }
        }
        self.questions.open.renumber(number, next);
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
            Some(Task::Polled(polled)) => &polled.id,
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

    /// The next request about the task of a call: what the client has answered, or how it stands.
    /// False: the call has no task.
    pub(crate) fn poll(&mut self, number: u64) -> bool {
        let Some(Purpose::Client(client)) =
            self.calls.get_mut(&number).map(|call| &mut call.purpose)
        else {
            return false;
        };
        let Some(Task::Polled(polled)) = &client.task else {
            return false;
        };
        let id = format!("\"taskId\":{}", polled.id);
        let inputs = client
            .rounds
            .as_mut()
            .map(|rounds| std::mem::take(&mut rounds.inputs))
            .unwrap_or_default();
        if inputs.is_empty() {
            self.ask_next(number, "tasks/get", &id);
            return true;
        }
        let responses: Vec<_> = inputs
            .iter()
            .map(|(key, answer)| format!("{key}:{}", answer.as_deref().unwrap_or("{}")))
            .collect();
        self.ask_next(
            number,
            "tasks/update",
            &format!("{id},\"inputResponses\":{{{}}}", responses.join(",")),
        );
        true
    }
}
