//! What the router does for calls of modern clients that wait for their client's answers: it asks,
//! answers and cancels as [`crate::questions::pending_input`] has decided.

use crate::api::{Micros, Observation, StreamKey, UpId};
use crate::gateway::Gateway;
use crate::in_flight::record::{Call, ClientCall, NOBODY, Purpose};
use crate::protocol::inbound::key;
use crate::protocol::json;
use crate::protocol::method::Method;
use crate::protocol::refusal::{Refusal, error_message, result_message, rpc};
use crate::questions::pending_input::{End, Joined, Origin, Outcome, PendingInput, Stage};
use crate::questions::request_state::{Mode, State};
use crate::questions::{OpenQuestion, QUESTIONS, answer_of, input_key};
use crate::trace::TraceId;
use crate::translation::message;
use crate::translation::question;
use crate::upstream::Upstream;
use bytes::Bytes;
use ggen_wire::Code;

impl Gateway {
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
            self.connecting().send_untracked(up, conn, result_message(id, &answer), Vec::new());
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
            self.gather(id_of_call, gather);
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
        if asking.park.is_some() {
            return asking.park;
        }
        let pending = &mut self.questions.pending;
        if !pending.has_room(&asking.principal, call.up, self.cx.limits.parked) {
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
        asking.park = Some(id);
        Some(id)
    }

    /// Too many calls wait for their clients: this one fails.
    fn too_many_pending(&mut self, number: u64) {
        let Some((_, call)) = self
            .calls
            .get(&number)
            .map(|call| call.up)
            .and_then(|up| self.take_call(up, number))
        else {
            return;
        };
        let Purpose::Client(client) = &call.purpose else {
            return;
        };
        self.connecting().cancel_upstream(call.up, call.conn, number);
        self.give_up(
            &call,
            client,
            &Refusal::new(503, rpc::INTERNAL, Code::TooManyParked, "").retry(5),
            "error",
        );
    }

    /// Answers the client's exchange with the questions that the server has; the call waits.
    pub(crate) fn ask_back(&mut self, id: u128) {
        let (life, expires) = (self.cx.incarnation, self.cx.now + self.cx.limits.park);
        let nonce = self.cx.nonce();
        let Some(pending) = self.questions.pending.get_mut(id) else {
            return;
        };
        let Some(number) = pending.call() else { return };
        let (requests, joined) = pending.tell(expires);
        let (up, method) = (pending.origin().up, pending.origin().method);
        let state = State {
            mode: Mode::Resume,
            park: id,
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
        self.observe_answer(method, true, "ok", arrived, trace);
        self.spans.end(&mut self.cx, span, "ok", &body);
        self.answer_all(number, reader, joined, (200, body, "ok"));
    }

    /// The same answer for the client's exchange and those that repeat its request. None of them
    /// waits for the call any more.
    fn answer_all(
        &mut self,
        number: u64,
        reader: StreamKey,
        joined: Vec<Joined>,
        (status, body, outcome): Outcome,
    ) {
        for Joined { key, id, span } in joined {
            self.spans.end(&mut self.cx, span, outcome, &body);
            self.detach(key, number);
            self.clients
                .answer(&mut self.cx, key, status, message::with_id(&body, &id));
        }
        self.detach(reader, number);
        self.clients.answer(&mut self.cx, reader, status, body);
    }

    /// The end of an exchange does not cancel the call any more.
    fn detach(&mut self, key: StreamKey, number: u64) {
        if let Some(exchange) = self.clients.exchange_mut(key) {
            exchange.calls.retain(|call| *call != number);
        }
    }

    /// A call that waited for its client has come to its end: the client gets the answer, now or
    /// when it comes back.
    pub(crate) fn pending_over(
        &mut self,
        id: u128,
        client: &ClientCall,
        status: u16,
        body: Bytes,
        outcome: &'static str,
    ) {
        let until = self.cx.now + self.cx.limits.repeat;
        let outcome = (status, body, outcome);
        let end = self.questions.pending.end(id, &outcome, until);
        let Some(End::Now(number, joined)) = end else {
            return;
        };
        self.observe_answer(
            client.method,
            true,
            outcome.2,
            client.arrived,
            client.sampled(),
        );
        self.spans
            .end(&mut self.cx, client.span.clone(), outcome.2, &outcome.1);
        self.answer_all(number, client.key, joined, outcome);
    }

    /// Has the questions of a call put to its client then.
    pub(crate) fn gather(&mut self, id: u128, due: Micros) {
        if self.questions.pending.gather(id, due) {
            self.cx.wake_at(due);
        }
    }

    /// Whether a message waits for a client that is away.
    pub(crate) fn keep_message(&mut self, number: u64, data: &str) -> bool {
        let Some(Purpose::Client(client)) = self.calls.get(&number).map(|call| &call.purpose)
        else {
            return false;
        };
        if client.key != NOBODY {
            return false;
        }
        client
            .park()
            .is_some_and(|id| self.questions.pending.keep_message(id, data))
    }

    /// The server takes a question back that was put to a modern client.
    pub(crate) fn withdrawn(&mut self, up: UpId, conn: usize, id: &str) {
        let upstream = &self.ups.get(up);
        self.tasks.withdraw(upstream, conn, id, self.cx.now);
        self.questions.pending.withdraw(up, conn, id);
    }

    /// Nobody waits for a call any more: the server's questions get an answer, so that it does not
    /// wait for ever.
    pub(crate) fn give_up_pending(&mut self, id: u128) {
        let Some(pending) = self.questions.pending.remove(id) else {
            return;
        };
        let (up, conn) = (pending.origin().up, pending.origin().conn);
        let (call, questions, joined) = pending.into_parts();
        for Joined { span, .. } in joined {
            self.spans.end(&mut self.cx, span, "cancelled", b"");
        }
        if call.is_some() {
            for question in &questions {
                self.connecting().take_back(up, conn, question);
            }
        }
    }

    /// Cancels the calls whose clients are away.
    pub(crate) fn cancel_pending(&mut self) {
        for number in self.questions.pending.away() {
            self.cancel(number);
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
                Some((Stage::Waiting(_), Some(number))) => self.cancel(number),
                _ => drop(self.questions.pending.remove(id)),
            }
        }
    }

    /// Counts a request that is answered now.
    pub(crate) fn observe_answer(
        &mut self,
        method: Method,
        modern: bool,
        outcome: &'static str,
        arrived: Micros,
        trace: Option<TraceId>,
    ) {
        let (era, duration) = (
            if modern { "modern" } else { "legacy" },
            self.cx.now.saturating_sub(arrived),
        );
        self.cx
            .emit(crate::api::Output::Observe(Observation::Request {
                method: method.name(),
                era,
                outcome,
                duration,
                trace,
            }));
    }

    /// An error that says which addresses the user has to visit first (2025-11-25, -32042): the
    /// client is asked to, and calls again.
    pub(crate) fn addresses(
        &mut self,
        call: &Call,
        client: &ClientCall,
        data: Option<&str>,
    ) -> Result<Bytes, Refusal> {
        let list = data
            .and_then(|data| json::pick(data, ["elicitations"])?[0])
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
        let expires = self.cx.now + self.cx.limits.park;
        let state = State {
            mode: Mode::Repeat,
            park: 0,
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
