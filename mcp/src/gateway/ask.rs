//! What servers ask of clients. A legacy client is asked on the stream of the call that the question belongs to (2025-11-25, Streamable HTTP); a modern
//! one gets the question as the call's result ([`super::park`]).

use super::Gateway;
use super::call::Purpose;
use crate::api::UpId;
use crate::json::{self, Envelope, Kind};
use crate::refusal::{Refusal, error_message, rpc};
use crate::splice::Splice;
use bytes::Bytes;
use ggen_wire::Code;
use std::sync::Arc;

/// A question that a legacy client has not answered yet.
pub(super) struct Asked {
    /// The call that it belongs to.
    pub(super) call: u64,
    pub(super) session: Arc<str>,
    pub(super) asker: Asker,
}

/// Who asks.
pub(super) enum Asker {
    /// A legacy server, by a request with this id of its own.
    Server { up: UpId, conn: usize, id: Box<str> },
    /// A modern server, by this entry of its round ([`super::rounds`]).
    Round(usize),
}

/// Questions of one call that may be open at once.
pub(super) const QUESTIONS: usize = 32;

impl Gateway {
    /// A request of a server.
    pub(super) fn server_request(&mut self, up: UpId, conn: usize, call: Option<u64>, id: &str, name: &str, envelope: &Envelope<'_>) {
        if name == "ping" {
            let answer = crate::refusal::result_message(id, "{}");
            return self.aside(up, conn, answer, Vec::new());
        }
        let allowed = self.up_ref(up).conns[conn].caps.allow(name, envelope.params);
        let number = self.asking_call(up, conn, call).filter(|_| allowed);
        let modern = number.and_then(|number| match &self.calls.get(&number)?.purpose {
            Purpose::Client(client) => Some(client.modern),
            _ => None,
        });
        let taken = match (number, modern) {
            (Some(number), Some(true)) => self.ask_modern(number, id, name, envelope.params),
            (Some(number), Some(false)) => self.ask_legacy(up, conn, number, id, envelope),
            _ => false,
        };
        if !taken {
            self.refuse_question(up, conn, id, name);
        }
    }

    /// Tells a server that nobody will answer its question.
    pub(super) fn refuse_question(&mut self, up: UpId, conn: usize, id: &str, name: &str) {
        let refusal = Refusal::new(200, rpc::METHOD_NOT_FOUND, Code::InputUnsupported, name);
        self.aside(up, conn, error_message(Some(id), &refusal.error()), Vec::new());
    }

    /// The client's call that a question belongs to: the one on whose stream it came, or the only one that has the pipe for itself.
    fn asking_call(&self, up: UpId, conn: usize, call: Option<u64>) -> Option<u64> {
        if self.up_ref(up).is_http() || conn == 0 {
            return call;
        }
        let calls = &self.up_ref(up).conns[conn].calls;
        calls.iter().next().copied().filter(|_| calls.len() == 1)
    }

    fn ask_legacy(&mut self, up: UpId, conn: usize, number: u64, id: &str, envelope: &Envelope<'_>) -> bool {
        let Some(Purpose::Client(client)) = self.calls.get(&number).map(|call| &call.purpose) else { return false };
        if client.asked >= QUESTIONS {
            return false;
        }
        let Some(session) = client.session.clone().filter(|_| self.can_be_asked(client.key)) else { return false };
        let ours = self.next_id();
        let mut splice = Splice::new(envelope.text);
        splice.replace(id, ours.to_string());
        let question = splice.finish();
        self.ask(ours, number, session, Asker::Server { up, conn, id: id.into() }, question);
        true
    }

    /// Whether a question can reach the legacy client of an exchange.
    pub(super) fn can_be_asked(&self, key: crate::api::StreamKey) -> bool {
        self.exchanges.get(&key).is_some_and(|exchange| exchange.may_stream() && exchange.connected || exchange.ring.is_some())
    }

    /// Puts a question to the legacy client of a call.
    pub(super) fn ask(&mut self, ours: u64, number: u64, session: Arc<str>, asker: Asker, question: Bytes) {
        let think = self.now + self.limits.think;
        let Some(call) = self.calls.get_mut(&number) else { return };
        call.deadline = think;
        let Purpose::Client(client) = &mut call.purpose else { return };
        client.asked += 1;
        let key = client.key;
        self.asked.insert(ours, Asked { call: number, session, asker });
        self.stream_event(key, question, false);
    }

    /// A legacy client's answer to a question.
    pub(super) fn client_answer(&mut self, session: &Arc<str>, envelope: &Envelope<'_>) {
        let (Kind::Result(id, _) | Kind::Error(Some(id), _)) = envelope.kind else { return };
        let Some(number) = id.parse::<u64>().ok().filter(|number| self.asked.get(number).is_some_and(|asked| asked.session == *session))
        else {
            return self.dropped(None, "late_response");
        };
        let Some(asked) = self.asked.remove(&number) else { return };
        if let Some(call) = self.calls.get_mut(&asked.call)
            && let Purpose::Client(client) = &mut call.purpose
        {
            client.asked = client.asked.saturating_sub(1);
            if client.asked == 0 {
                call.deadline = self.now + self.ups[call.up.0 as usize].settings.timeout;
            }
        }
        match asked.asker {
            Asker::Server { up, conn, id: theirs } => {
                let mut splice = Splice::new(envelope.text);
                splice.replace(id, theirs.into_string());
                self.aside(up, conn, splice.finish(), Vec::new());
            }
            Asker::Round(at) => self.round_answer(asked.call, at, envelope),
        }
    }

    /// The server takes a question back.
    pub(super) fn server_cancels(&mut self, up: UpId, envelope: &Envelope<'_>) {
        let Some(id) = envelope.params.and_then(|params| json::pick(params, ["requestId"])).and_then(|[id]| id) else { return };
        let is_it = |asked: &Asked| matches!(&asked.asker, Asker::Server { up: of, id: own, .. } if *of == up && **own == *id);
        let Some((ours, number)) = self.asked.iter().find(|(_, asked)| is_it(asked)).map(|(ours, asked)| (*ours, asked.call)) else {
            return self.withdrawn(up, id);
        };
        self.asked.remove(&ours);
        let mut splice = Splice::new(envelope.text);
        splice.replace(id, ours.to_string());
        let message: Bytes = splice.finish();
        let timeout = self.now + self.up_ref(up).settings.timeout;
        if let Some(call) = self.calls.get_mut(&number)
            && let Purpose::Client(client) = &mut call.purpose
        {
            client.asked = client.asked.saturating_sub(1);
            if client.asked == 0 {
                call.deadline = timeout;
            }
            let key = client.key;
            self.stream_event(key, message, false);
        }
    }
}
