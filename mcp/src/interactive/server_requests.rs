//! What servers ask of clients. A legacy client is asked on the stream of the call that the
//! question belongs to (2025-11-25, Streamable HTTP); a modern one gets the question as the call's
//! result ([`crate::questions::pending_input`]).

use crate::api::{Micros, UpId};
use crate::in_flight::record::Purpose;
use crate::interactive::Questioning;
use crate::observation::DropReason;
use crate::protocol::json::{Envelope, Kind};
use crate::protocol::refusal::{Refusal, error_message, rpc};
use crate::protocol::splice::Splice;
use crate::protocol::{json, task};
use crate::questions::QUESTIONS;
use crate::questions::open::{Asked, Asker};
use crate::upstream::Caps;
use bytes::Bytes;
use ggen_wire::Code;
use std::sync::Arc;

impl Questioning<'_> {
    /// A server asks for what the client of its call did not declare. If the call fails then, a
    /// modern client is told why (2026-07-28: -32021).
    pub(crate) fn remember_lack(
        &mut self,
        up: UpId,
        conn: usize,
        call: Option<u64>,
        name: &str,
        params: Option<&str>,
    ) {
        let known = matches!(
            name,
            "elicitation/create" | "sampling/createMessage" | "roots/list"
        );
        let member = &self.ups.get(up).conns[conn];
        let sure =
            member.calls.len() == 1 && self.cx.now >= member.unsure && !self.ups.get(up).is_http();
        let number = call.or_else(|| member.calls.iter().next().copied().filter(|_| sure));
        if let Some(Purpose::Client(client)) = number
            .and_then(|number| self.calls.get_mut(&number))
            .map(|call| &mut call.purpose)
            && known
            && !client.caps.allow(name, params)
        {
            client.lacked = Some(Caps::needed(name, params));
        }
    }

    /// Tells a server that nobody will answer its question.
    pub(crate) fn refuse_question(&mut self, up: UpId, conn: usize, id: &str, name: &str) {
        let refusal = Refusal::new(200, rpc::METHOD_NOT_FOUND, Code::InputUnsupported, name);
        self.connecting().send_untracked(
            up,
            conn,
            error_message(Some(id), &refusal.error()),
            Vec::new(),
        );
    }

    pub(crate) fn ask_legacy(
        &mut self,
        up: UpId,
        conn: usize,
        number: u64,
        id: &str,
        envelope: &Envelope<'_>,
    ) -> bool {
        let Some(Purpose::Client(client)) = self.calls.get(&number).map(|call| &call.purpose)
        else {
            return false;
        };
        if client.asked >= QUESTIONS {
            return false;
        }
        let Some(session) = client
            .session
            .clone()
            .filter(|_| self.clients.reaches(client.key))
        else {
            return false;
        };
        let exposed = client
            .exposes
            .then(|| task::exposed_in(&self.ups.get(up).key, envelope.text))
            .flatten();
        let ours = self.cx.next_id();
        let mut splice = Splice::new(envelope.text);
        splice.replace(id, ours.to_string());
        if let Some((task, exposed)) = exposed {
            splice.replace(task, exposed);
        }
        let question = splice.finish();
        self.ask(
            ours,
            number,
            session,
            Asker::Server {
                up,
                conn,
                id: id.into(),
            },
            question,
        );
        true
    }

    /// Puts a question to the legacy client of a call.
    pub(crate) fn ask(
        &mut self,
        ours: u64,
        number: u64,
        session: Arc<str>,
        asker: Asker,
        question: Bytes,
    ) {
        let Some(Purpose::Client(client)) =
            self.calls.get_mut(&number).map(|call| &mut call.purpose)
        else {
            return;
        };
        client.asked += 1;
        let key = client.key;
        self.questions.open.insert(
            ours,
            Asked {
                call: number,
                session,
                asker,
            },
        );
        self.extend(number, self.cx.limits.think);
        self.clients.stream_event(self.cx, key, question, false);
    }

    /// A legacy client's answer to a question.
    pub(crate) fn client_answer(&mut self, session: &Arc<str>, envelope: &Envelope<'_>) {
        let (Kind::Result(id, _) | Kind::Error(Some(id), _)) = envelope.kind else {
            return;
        };
        let Some(asked) = self.questions.open.take(id, session) else {
            return self.cx.dropped(None, DropReason::LateResponse);
        };
        if let Some(Purpose::Client(client)) = self
            .calls
            .get_mut(&asked.call)
            .map(|call| &mut call.purpose)
        {
            client.asked = client.asked.saturating_sub(1);
            if client.asked == 0 {
                self.in_time(asked.call);
            }
        }
        match asked.asker {
            Asker::Server {
                up,
                conn,
                id: theirs,
            } => {
                let mut splice = Splice::new(envelope.text);
                splice.replace(id, theirs.into_string());
                if let Kind::Result(_, result) = envelope.kind
                    && self
                        .clients
                        .session(session)
                        .is_some_and(|session| session.view == crate::upstream::view::View::All)
                    && let Some((task, original)) = task::original_in(&self.ups.get(up).key, result)
                {
                    splice.replace(task, original);
                }
                self.connecting()
                    .send_untracked(up, conn, splice.finish(), Vec::new());
            }
            Asker::Round(at) => self.round_answer(asked.call, at, envelope),
        }
    }

    /// Of the calls of a child or an HTTP session that has one user, the newest whose client can be asked: a modern one by the result, a legacy one on its
    /// stream.
    pub(crate) fn askable(&self, up: UpId, at: usize) -> Option<u64> {
        let conn = &self.ups.get(up).conns[at];
        let can = |number: &&u64| match self.calls.get(number).map(|call| &call.purpose) {
            Some(Purpose::Client(client)) => {
                self.tasks.may_concern(client, self.cx.now)
                    && (client.modern || self.clients.reaches(client.key))
            }
            _ => false,
        };
        conn.calls
            .iter()
            .filter(|_| (conn.user.is_some() || conn.is_leased()) && conn.is_one_clients())
            .filter(can)
            .max()
            .copied()
    }

    /// Gives a call time from now on; on a leased child, all of its calls: which one waits for the
    /// answer is not known.
    fn extend(&mut self, number: u64, time: Micros) {
        let deadline = self.cx.now + time;
        let Some(call) = self.calls.get_mut(&number) else {
            return;
        };
        call.deadline = deadline;
        let conn = &self.ups.get(call.up).conns[call.conn];
        for number in conn.calls.iter().filter(|_| conn.is_leased()) {
            if let Some(call) = self.calls.get_mut(number) {
                call.deadline = deadline;
            }
        }
    }

    /// The questions of a call are answered: the server's time runs again.
    fn in_time(&mut self, number: u64) {
        let Some(call) = self.calls.get(&number) else {
            return;
        };
        let conn = &self.ups.get(call.up).conns[call.conn];
        let timeout = match &call.purpose {
            Purpose::Client(client) => client.timeout,
            _ => self.ups.get(call.up).settings.timeout,
        };
        let open = |number: &u64| self.questions.open.has(*number);
        if !conn.is_leased() || !conn.calls.iter().any(open) {
            self.extend(number, timeout);
        }
    }

    /// The server takes a question back.
    pub(crate) fn server_cancels(&mut self, up: UpId, conn: usize, envelope: &Envelope<'_>) {
        let Some(id) = envelope
            .params
            .and_then(|params| json::pick(params, ["requestId"]))
            .and_then(|[id]| id)
        else {
            return;
        };
        let Some((ours, number)) = self.questions.open.withdraw(up, conn, id) else {
            return self.withdrawn(up, conn, id);
        };
        let mut splice = Splice::new(envelope.text);
        splice.replace(id, ours.to_string());
        let message: Bytes = splice.finish();
        if let Some(Purpose::Client(client)) =
            self.calls.get_mut(&number).map(|call| &mut call.purpose)
        {
            client.asked = client.asked.saturating_sub(1);
            let (key, none_left) = (client.key, client.asked == 0);
            if none_left {
                self.in_time(number);
            }
            self.clients.stream_event(self.cx, key, message, false);
        }
    }
}
