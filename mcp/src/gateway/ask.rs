//! What servers ask of clients. A legacy client is asked on the stream of the call that the question belongs to (2025-11-25, Streamable HTTP).
//! The place for questions to modern clients (parked calls, `input_required`) is [`Gateway::server_request`], where the client of the call is known.

use super::Gateway;
use super::call::{Call, Purpose};
use crate::api::{Micros, StreamKey, UpId};
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
        let call = call.or_else(|| self.askable(up, conn));
        let Some(number) = call.filter(|_| caps.allow(name)) else { return false };
        let Some(Purpose::Client(client)) = self.calls.get(&number).map(|call| &call.purpose) else { return false };
        if client.asked >= QUESTIONS {
            return false;
        }
        let (Some(session), key) = (client.session.clone(), client.key) else { return false };
        if !self.reaches(key) {
            return false;
        }
        let ours = self.next_id();
        let mut splice = Splice::new(envelope.text);
        splice.replace(id, ours.to_string());
        let question = splice.finish();
        self.asked.insert(ours, Asked { up, conn, call: number, id: id.into(), session });
        self.asked_more(number);
        self.extend(up, conn, number, THINK);
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
        let timeout = self.up_ref(asked.up).settings.timeout;
        if let Some(Purpose::Client(client)) = self.calls.get_mut(&asked.call).map(|call| &mut call.purpose) {
            client.asked = client.asked.saturating_sub(1);
        }
        if !self.asked.values().any(|other| (other.up, other.conn) == (asked.up, asked.conn) && !self.up_ref(asked.up).is_http()) {
            self.extend(asked.up, asked.conn, asked.call, timeout);
        }
        let mut splice = Splice::new(envelope.text);
        splice.replace(id, asked.id.into_string());
        self.aside(asked.up, asked.conn, splice.finish(), Vec::new());
    }

    /// Of the calls of a leased child, all of them one client's, the newest on whose stream the client can be asked.
    fn askable(&self, up: UpId, conn: usize) -> Option<u64> {
        let conn = &self.up_ref(up).conns[conn];
        let key = |number: &u64| match self.calls.get(number).map(|call| &call.purpose) {
            Some(Purpose::Client(client)) => Some(client.key),
            _ => None,
        };
        let calls = conn.calls.iter().filter(|_| conn.is_leased());
        calls.filter(|number| key(number).is_some_and(|key| self.reaches(key))).max().copied()
    }

    /// Whether a client can be sent something on an exchange.
    fn reaches(&self, key: StreamKey) -> bool {
        self.exchanges.get(&key).is_some_and(|exchange| exchange.may_stream() && exchange.connected || exchange.ring.is_some())
    }

    fn asked_more(&mut self, number: u64) {
        if let Some(Purpose::Client(client)) = self.calls.get_mut(&number).map(|call| &mut call.purpose) {
            client.asked += 1;
        }
    }

    /// Gives a call time from now on; on a leased child, all of its calls: which one waits for the answer is not known.
    fn extend(&mut self, up: UpId, conn: usize, number: u64, time: Micros) {
        let deadline = self.now + time;
        let conn = &self.ups[up.0 as usize].conns[conn];
        let others = conn.calls.iter().filter(|_| conn.is_leased());
        for number in others.chain([&number]) {
            if let Some(call) = self.calls.get_mut(number) {
                call.deadline = deadline;
            }
        }
    }

    /// A call with open questions is over. On a leased child they may be another call's of the same client, which takes them over.
    pub(super) fn inherit_questions(&mut self, number: u64, call: &Call) {
        let heir = self.up_ref(call.up).conns.get(call.conn).filter(|conn| conn.is_leased());
        let Some(heir) = heir.and_then(|conn| conn.calls.iter().min().copied()) else {
            return self.asked.retain(|_, asked| asked.call != number);
        };
        let mut count = 0;
        for asked in self.asked.values_mut().filter(|asked| asked.call == number) {
            asked.call = heir;
            count += 1;
        }
        for _ in 0..count {
            self.asked_more(heir);
        }
    }

    /// The server takes a question back.
    pub(super) fn server_cancels(&mut self, up: UpId, conn: usize, envelope: &Envelope<'_>) {
        let id = envelope.params.and_then(|params| json::pick(params, ["requestId"])).and_then(|[id]| id);
        let found = id.and_then(|id| {
            let same = |asked: &Asked| asked.up == up && asked.conn == conn && *asked.id == *id;
            self.asked.iter().find(|(_, asked)| same(asked)).map(|(ours, asked)| (*ours, asked.call))
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
