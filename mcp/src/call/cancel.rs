//! Calls that their clients do not want any more.

use crate::api::{Observation, Output};
use crate::call::Calling;
use crate::in_flight::record::Purpose;
use crate::observation::CallOutcome;
use crate::protocol::json;
use std::sync::Arc;

impl Calling<'_> {
    /// Cancels a client's call: the server is told, the client gets nothing more.
    pub(crate) fn cancel(&mut self, number: u64) {
        let Some(up) = self.calls.get(&number).map(|call| call.up) else {
            return;
        };
        let queued = self
            .calls
            .get(&number)
            .is_some_and(|call| self.ups.get(up).conns[call.conn].queue.contains(&number));
        let Some((_, call)) = self.take_call(up, number) else {
            return;
        };
        let Purpose::Client(client) = &call.purpose else {
            return;
        };
        if let Some(id) = client.pending_input() {
            self.give_up_pending(id);
        }
        // What waits for a connection, or for the client, is unknown to the server.
        if !queued && call.tries > 0 {
            self.connecting().cancel_upstream(up, call.conn, number);
            self.cancel_task(up, call.conn, client);
        }
        let era = if client.modern { "modern" } else { "legacy" };
        let duration = self.cx.now.saturating_sub(client.arrived);
        self.cx.emit(Output::Observe(Observation::Request {
            method: client.method.name(),
            era,
            outcome: CallOutcome::Cancelled,
            duration,
            trace: client.sampled(),
        }));
        self.cx.emit(Output::Observe(Observation::Call {
            up,
            tool: client.tool.clone(),
            outcome: CallOutcome::Cancelled,
            duration,
        }));
        client.audit(self.cx, up, CallOutcome::Cancelled, 0);
        self.spans
            .end_call(self.cx, client.sent.as_deref(), CallOutcome::Cancelled, b"");
        self.spans
            .end(self.cx, client.span.clone(), CallOutcome::Cancelled, b"");
        self.clients.drop_answer(self.cx, client.key);
    }

    /// A notification of a legacy client.
    pub(crate) fn client_notification(
        &mut self,
        session: &Arc<str>,
        name: &str,
        params: Option<&str>,
    ) {
        if name != "notifications/cancelled" {
            return;
        }
        let id = params
            .and_then(|params| json::pick(params, ["requestId"]))
            .and_then(|[id]| id);
        let number = id.and_then(|id| self.clients.session(session)?.calls.get(id).copied());
        match (number, id) {
            (Some(number), _) => self.cancel(number),
            (None, Some(id)) => self
                .clients
                .cancel_waiting(self.cx, self.spans, session, id),
            _ => {}
        }
    }
}
