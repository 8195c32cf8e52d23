//! What servers ask of clients. A legacy client is asked on the stream of the call that the question belongs to (2025-11-25, Streamable HTTP).
//! The place for questions to modern clients (parked calls, `input_required`) is [`Gateway::server_request`], where the client of the call is known.

use super::Gateway;
use super::call::Purpose;
use crate::api::{Micros, UpId};
use crate::json::{self, Envelope, Kind};
use crate::refusal::{Refusal, error_message, rpc};
use crate::splice::Splice;
use bytes::Bytes;
use ggen_wire::Code;
use std::sync::Arc;

/// A question that a client has not answered yet.
pub(super) struct Asked {
    up: UpId,
    conn: usize,
    /// The call that it belongs to.
    pub(super) call: u64,
    /// The server's own id, as it stands.
    id: Box<str>,
    session: Arc<str>,
}

/// Questions of one call that may be open at once.
const QUESTIONS: usize = 32;
/// How long a person may take to answer.
const THINK: Micros = 600_000_000;

impl Gateway {
    /// A request of a server.
    pub(super) fn server_request(&mut self, up: UpId, conn: usize, call: Option<u64>, id: &str, name: &str, envelope: &Envelope<'_>) {
        if name == "ping" {
            let answer = crate::refusal::result_message(id, "{}");
            return self.aside(up, conn, answer, Vec::new());
        }
        if !self.ask_client(up, conn, call, id, name, envelope) {
            let refusal = Refusal::new(200, rpc::METHOD_NOT_FOUND, Code::InputUnsupported, name);
            self.aside(up, conn, error_message(Some(id), &refusal.error()), Vec::new());
        }
    }

    fn ask_client(&mut self, up: UpId, conn: usize, call: Option<u64>, id: &str, name: &str, envelope: &Envelope<'_>) -> bool {
        let caps = self.up_ref(up).conns[conn].caps;
        let Some(number) = call.filter(|_| caps.allow(name)) else { return false };
        let Some(Purpose::Client(client)) = self.calls.get(&number).map(|call| &call.purpose) else { return false };
        if client.asked >= QUESTIONS {
            return false;
        }
        let (Some(session), key) = (client.session.clone(), client.key) else { return false };
        if !self.exchanges.get(&key).is_some_and(|exchange| exchange.may_stream() && exchange.connected || exchange.ring.is_some()) {
            return false;
        }
        let ours = self.next_id();
        let mut splice = Splice::new(envelope.text);
        splice.replace(id, ours.to_string());
        let question = splice.finish();
        self.asked.insert(ours, Asked { up, conn, call: number, id: id.into(), session });
        if let Some(call) = self.calls.get_mut(&number) {
            call.deadline = self.now + THINK;
            if let Purpose::Client(client) = &mut call.purpose {
                client.asked += 1;
            }
        }
        self.stream_event(key, question, false);
        true
    }

    /// A legacy client's answer to a question.
    pub(super) fn client_answer(&mut self, session: &Arc<str>, envelope: &Envelope<'_>) {
        let (Kind::Result(id, _) | Kind::Error(Some(id), _)) = envelope.kind else { return };
        let Some(number) = id.parse::<u64>().ok().filter(|number| self.asked.get(number).is_some_and(|asked| asked.session == *session))
        else {
            return self.dropped(None, "late_response");
        };
        let Some(asked) = self.asked.remove(&number) else { return };
        if let Some(call) = self.calls.get_mut(&asked.call) {
            if let Purpose::Client(client) = &mut call.purpose {
                call.deadline = self.now + client.timeout;
                client.asked = client.asked.saturating_sub(1);
            }
        }
        let mut splice = Splice::new(envelope.text);
        splice.replace(id, asked.id.into_string());
        self.aside(asked.up, asked.conn, splice.finish(), Vec::new());
    }

    /// The server takes a question back.
    pub(super) fn server_cancels(&mut self, up: UpId, envelope: &Envelope<'_>) {
        let id = envelope.params.and_then(|params| json::pick(params, ["requestId"])).and_then(|[id]| id);
        let found = id.and_then(|id| {
            self.asked.iter().find(|(_, asked)| asked.up == up && *asked.id == *id).map(|(ours, asked)| (*ours, asked.call))
        });
        let (Some((ours, number)), Some(id)) = (found, id) else { return };
        self.asked.remove(&ours);
        let mut splice = Splice::new(envelope.text);
        splice.replace(id, ours.to_string());
        let message: Bytes = splice.finish();
        if let Some(Purpose::Client(client)) = self.calls.get(&number).map(|call| &call.purpose) {
            let key = client.key;
            self.stream_event(key, message, false);
        }
    }
}
