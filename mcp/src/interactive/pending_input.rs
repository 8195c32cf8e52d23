//! Calls of modern clients that wait for their client's answers: the client is asked, and what comes
//! too late is cancelled. The records are [`crate::questions::pending_input`].

use crate::api::{Micros, UpId};
use crate::in_flight::record::{Call, ClientCall, NOBODY, Purpose};
use crate::interactive::Questioning;
use crate::observation::CallOutcome;
use crate::protocol::inbound::key;
use crate::protocol::json;
use crate::protocol::refusal::{Refusal, result_message, rpc};
use crate::questions::pending_input::{Origin, PendingInput, Stage};
use crate::questions::request_state::{Mode, State};
use crate::questions::{QUESTIONS, answer_of, input_key};
use crate::translation::question;
use crate::upstream::Upstream;
use bytes::Bytes;
use ggen_wire::Code;

impl Questioning<'_> {
    /// A question for a modern client. False: it cannot be asked.
    pub(crate) fn ask_modern(
        &mut self,
        number: u64,
        id: &str,
        method: &str,
        params: Option<&str>,
    ) -> bool {
        let Some((call, Purpose::Client(client))) =
            self.calls.get(&number).map(|call| (call, &call.purpose))
        else {
            return false;
        };
        let Some(asking) = &client.asking else {
            return false;
        };
        let (up, conn) = (call.up, call.conn);
        let hint = params.and_then(input_key);
        let ready = hint
            .as_deref()
            .and_then(|key| answer_of(asking.answers.as_deref()?, key))
            .map(str::to_owned);
        if let Some(answer) = ready {
            self.connecting()
                .send_untracked(up, conn, result_message(id, &answer), Vec::new());
            return true;
        }
        let request = question::question(method, params, client.caps);
        let Some(id_of_call) = self.pending_of(number) else {
            self.refuse_question(up, conn, id, method);
            self.too_many_pending(number);
            return true;
        };
        let gather = self.cx.now + self.cx.limits.gather;
        let Some(pending) = self.questions.pending.get_mut(id_of_call) else {
            return false;
        };
        if !pending.ask(hint, id, method, request) {
            return false;
        }
        if pending.is_attended() {
            self.calling().gather(id_of_call, gather);
        }
        true
    }

    /// Under which id a call waits for its client, for the first question a new one. `None`: there
    /// is no room.
    fn pending_of(&mut self, number: u64) -> Option<u128> {
        let call = self.calls.get_mut(&number)?;
        let Purpose::Client(client) = &mut call.purpose else {
            return None;
        };
        let asking = client.asking.as_mut()?;
        if asking.pending_input.is_some() {
            return asking.pending_input;
        }
        let pending = &mut self.questions.pending;
        if !pending.has_room(&asking.principal, call.up, self.cx.limits.pending_inputs) {
            return None;
        }
        let mut bits = [0; 16];
        self.cx.random(&mut bits);
        let id = u128::from_be_bytes(bits);
        let origin = Origin {
            up: call.up,
            conn: call.conn,
            method: client.method,
            principal: asking.principal.clone(),
            subject: asking.subject,
        };
        pending.insert(id, PendingInput::new(origin, number));
        asking.pending_input = Some(id);
        Some(id)
    }

    /// Too many calls wait for their clients: this one fails.
    fn too_many_pending(&mut self, number: u64) {
        let Some((_, call)) = self
            .calls
            .get(&number)
            .map(|call| call.up)
            .and_then(|up| self.calling().take_call(up, number))
        else {
            return;
        };
        let Purpose::Client(client) = &call.purpose else {
            return;
        };
        self.connecting()
            .cancel_upstream(call.up, call.conn, number);
        self.calling().give_up(
            &call,
            client,
            &Refusal::new(503, rpc::INTERNAL, Code::TooManyParked, "").retry(5),
            CallOutcome::Error,
        );
    }

    /// Answers the client's exchange with the questions that the server has; the call waits.
    pub(crate) fn ask_back(&mut self, id: u128) {
        let (life, expires) = (
            self.cx.incarnation,
            self.cx.now + self.cx.limits.pending_input_time,
        );
        let nonce = self.cx.nonce();
        let Some(pending) = self.questions.pending.get_mut(id) else {
            return;
        };
        let Some(number) = pending.call() else { return };
        let (requests, joined) = pending.tell(expires);
        let (up, method) = (pending.origin().up, pending.origin().method);
        let state = State {
            mode: Mode::Resume,
            pending_input: id,
            life,
            subject: pending.origin().subject,
            expires,
            round: pending.round(),
        };
        let state = self.questions.sealer.seal(nonce, method.name(), &state);
        let Some(call) = self.calls.get_mut(&number) else {
            return;
        };
        call.deadline = Micros::MAX;
        let Purpose::Client(client) = &mut call.purpose else {
            return;
        };
        let (reader, request, arrived) = (
            std::mem::replace(&mut client.key, NOBODY),
            client.id.clone(),
            client.arrived,
        );
        let (trace, span) = (client.sampled(), client.span.take());
        let body = input_required(self.ups.get(up), &request, &requests, &state);
        if let Some(pending) = self.questions.pending.get_mut(id) {
            pending.set_last(200, body.clone());
        }
        self.calling()
            .observe_answer(method, true, CallOutcome::Ok, arrived, trace);
        self.spans.end(self.cx, span, CallOutcome::Ok, &body);
        self.calling()
            .answer_all(number, reader, joined, (200, body, CallOutcome::Ok));
    }

    /// The server takes a question back that was put to a modern client.
    pub(crate) fn withdrawn(&mut self, up: UpId, conn: usize, id: &str) {
        let upstream = &self.ups.get(up);
        self.tasks.withdraw(upstream, conn, id, self.cx.now);
        self.questions.pending.withdraw(up, conn, id);
    }

    /// Cancels the calls whose clients are away.
    pub(crate) fn cancel_pending(&mut self) {
        for number in self.questions.pending.away() {
            self.calling().cancel(number);
        }
    }

    /// What time does: questions are put, calls that nobody came back for are cancelled, answers
    /// that nobody will ask for again are forgotten.
    pub(crate) fn pending_due(&mut self) {
        self.cx.forget_past_timers();
        for id in self.questions.pending.due(self.cx.now) {
            let pending = self.questions.pending.get(id);
            match pending.map(|pending| (pending.stage(), pending.call())) {
                Some((Stage::Gathering(_), _)) => self.ask_back(id),
                Some((Stage::Waiting(_), Some(number))) => self.calling().cancel(number),
                _ => drop(self.questions.pending.remove(id)),
            }
        }
    }

    /// An error that says which addresses the user has to visit first (2025-11-25, -32042): the
    /// client is asked to, and calls again.
    fn addresses(
        &mut self,
        call: &Call,
        client: &ClientCall,
        error: &str,
    ) -> Result<Bytes, Refusal> {
        let list = json::pick(error, ["data"])
            .and_then(|[data]| json::pick(data?, ["elicitations"])?[0])
            .and_then(json::elements)
            .unwrap_or_default();
        let name = self.ups.get(call.up).settings.name.clone();
        let unsupported = |rpc, status| {
            Refusal::new(
                status,
                rpc,
                Code::InputUnsupported,
                &format!("{name}: an address to be visited first"),
            )
        };
        let Some(asking) = client.asking.as_ref().filter(|_| client.caps.url) else {
            return Err(unsupported(rpc::MISSING_CAPABILITY, 400)
                .with("requiredCapabilities", "{\"elicitation\":{\"url\":{}}}"));
        };
        if list.is_empty() || list.len() > QUESTIONS {
            return Err(unsupported(rpc::INTERNAL, 200));
        }
        let question = |(at, params): (usize, &&str)| {
            let params = crate::protocol::splice::rebuild(
                params,
                |member| member != "mode",
                &[("mode", "\"url\"")],
            );
            format!(
                "\"req_{}\":{}",
                at + 1,
                question::question("elicitation/create", Some(&params), client.caps)
            )
        };
        let requests: Vec<_> = list.iter().enumerate().map(question).collect();
        let expires = self.cx.now + self.cx.limits.pending_input_time;
        let state = State {
            mode: Mode::Repeat,
            pending_input: 0,
            life: self.cx.incarnation,
            subject: asking.subject,
            expires,
            round: 1,
        };
        let nonce = self.cx.nonce();
        let state = self
            .questions
            .sealer
            .seal(nonce, client.method.name(), &state);
        Ok(input_required(
            self.ups.get(call.up),
            &client.id,
            &requests,
            &state,
        ))
    }

    /// A call failed because the user has to visit addresses first: its client is asked to.
    pub(crate) fn ask_addresses(&mut self, call: &Call, client: &ClientCall, error: &str) {
        match self.addresses(call, client, error) {
            Ok(body) => self
                .calling()
                .deliver(call, client, 200, body, CallOutcome::Ok),
            Err(refusal) => self
                .calling()
                .give_up(call, client, &refusal, CallOutcome::Error),
        }
    }
}

/// The message with which a modern client is asked.
fn input_required(up: &Upstream, id: &str, requests: &[String], state: &str) -> Bytes {
    let server = up.info.server.as_deref();
    let meta = server
        .map(|server| format!(",\"_meta\":{{\"{}\":{server}}}", key::SERVER))
        .unwrap_or_default();
    let requests = requests.join(",");
    let result = format!(
        "{{\"resultType\":\"input_required\",\"inputRequests\":{{{requests}}},\"requestState\":\"{state}\"{meta}}}"
    );
    json::one_line(result_message(id, &result))
}
