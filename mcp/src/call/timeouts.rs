//! What time does: calls that take too long, requests that have waited enough, sessions that are
//! idle, servers to try again.

use crate::call::Calling;
use crate::in_flight::record::{Call, ClientCall};
use crate::observation::CallOutcome;
use crate::protocol::refusal::{Refusal, rpc};
use ggen_wire::Code;

impl Calling<'_> {
    pub(crate) fn client_call_due(
        &mut self,
        number: u64,
        call: &Call,
        client: &ClientCall,
        name: &str,
    ) {
        let seconds = client.timeout / 1_000_000;
        let refusal = if client.is_asked() {
            Refusal::new(200, rpc::INTERNAL, Code::AnswerLate, name)
        } else {
            Refusal::new(
                200,
                rpc::INTERNAL,
                Code::UpstreamTimeout,
                &format!("{name}: no answer within {seconds} s"),
            )
        };
        let refusal = refusal.with("server", &crate::protocol::json::quote(name));
        if call.tries > 0 {
            self.connecting()
                .cancel_upstream(call.up, call.conn, number);
            self.cancel_task(call.up, call.conn, client);
        }
        self.give_up(call, client, &refusal, CallOutcome::Timeout);
    }
}
