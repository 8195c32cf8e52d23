//! Calls of modern clients whose legacy server asks for something: the questions become the call's
//! result (`input_required`), and the call waits here, its request to the server still open, until
//! the client comes back with the answers ([`crate::interactive::retry`]).

use crate::api::{Micros, Observation, StreamKey, UpId};
use crate::call::record::{Call, ClientCall, NOBODY, Purpose};
use crate::call::translate;
use crate::gateway::Gateway;
use crate::interactive::question;
use crate::interactive::request_state::{Mode, State};
use crate::interactive::server_requests::QUESTIONS;
use crate::protocol::inbound::key;
use crate::protocol::json;
use crate::protocol::method::Method;
use crate::protocol::refusal::{Refusal, error_message, result_message, rpc};
use crate::trace::TraceId;
use crate::trace::span::Span;
use bytes::Bytes;
use ggen_wire::Code;
use std::collections::VecDeque;
use std::sync::Arc;

/// Messages kept for a client that is away.
const MESSAGES: usize = 64;
/// What is kept of answers that were not fetched yet or may be asked for again: calls, and bytes.
const KEPT: (usize, usize) = (4096, 64 << 20);

/// A call that has been answered with questions, or is about to be.
pub(crate) struct Parked {
    pub(crate) up: UpId,
    pub(crate) conn: usize,
    /// The call, as long as the server works on it.
    pub(crate) call: Option<u64>,
    pub(crate) method: Method,
    pub(crate) principal: Arc<str>,
    pub(crate) subject: [u8; 32],
    pub(crate) pending: Vec<Pending>,
    keys: Vec<String>,
    /// How often the client was told to come back.
    pub(crate) round: u32,
    pub(crate) stage: Stage,
    /// Messages of the server for the client that is away.
    pub(crate) messages: VecDeque<Bytes>,
    /// The retry that was accepted last.
    pub(crate) accepted: Option<Accepted>,
    /// Repetitions of that retry, which get the same answer: their exchanges, ids and spans.
    pub(crate) joined: Vec<(StreamKey, Box<str>, Option<Box<Span>>)>,
    /// The answer to that retry.
    pub(crate) last: Option<(u16, Bytes)>,
    /// What the call came to while the client was away.
    pub(crate) outcome: Option<(u16, Bytes, &'static str)>,
}

/// A question of the server that has no answer yet.
pub(crate) struct Pending {
    /// What the client knows it as.
    pub(crate) key: String,
    /// The server's id, as it stands.
    pub(crate) id: Box<str>,
    pub(crate) method: Box<str>,
    /// The request as an entry of `inputRequests`.
    pub(crate) request: String,
    /// The client was told of it.
    pub(crate) told: bool,
}

impl Pending {
    /// As a member of `inputRequests`.
    pub(crate) fn entry(&self) -> String {
        format!("{}:{}", json::quote(&self.key), self.request)
    }
}

/// A retry that was accepted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) round: u32,
    /// Of its answers.
    pub(crate) digest: [u8; 32],
    pub(crate) at: Micros,
}

/// How far a parked call is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The client is there, the server works.
    Running,
    /// The client is there, the server has asked; it is told then.
    Gathering(Micros),
    /// The client was told, and may come back until then.
    Waiting(Micros),
    /// It is over; until then the client may ask for the same answer again.
    Over(Micros),
}

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
            self.aside(up, conn, result_message(id, &answer), Vec::new());
            return true;
        }
        let request = question::question(method, params, client.caps);
        let Some(park) = self.park_of(number) else {
            self.refuse_question(up, conn, id, method);
            self.park_full(number);
            return true;
        };
        let gather = self.cx.now + self.cx.limits.gather;
        let Some(parked) = self.parked.get_mut(&park) else {
            return false;
        };
        if parked.pending.len() >= QUESTIONS {
            return false;
        }
        let key = hint
            .filter(|hint| !parked.keys.contains(hint))
            .unwrap_or_else(|| {
                let free = |n: &usize| !parked.keys.contains(&format!("req_{n}"));
                format!("req_{}", (parked.keys.len() + 1..).find(free).unwrap_or(0))
            });
        parked.keys.push(key.clone());
        parked.pending.push(Pending {
            key,
            id: id.into(),
            method: method.into(),
            request,
            told: false,
        });
        if matches!(parked.stage, Stage::Running | Stage::Gathering(_)) {
            self.gather(park, gather);
        }
        true
    }

    /// Where a call is parked, for the first question a new place. `None`: there is none.
    fn park_of(&mut self, number: u64) -> Option<u128> {
        let call = self.calls.get(&number)?;
        let (up, conn) = (call.up, call.conn);
        let Purpose::Client(client) = &call.purpose else {
            return None;
        };
        let asking = client.asking.as_ref()?;
        if asking.park.is_some() {
            return asking.park;
        }
        let (principal, subject, method) =
            (asking.principal.clone(), asking.subject, client.method);
        let live = || {
            self.parked
                .values()
                .filter(|parked| !matches!(parked.stage, Stage::Over(_)))
        };
        let counts = [
            live()
                .filter(|parked| parked.principal == principal)
                .count(),
            live().filter(|parked| parked.up == up).count(),
            live().count(),
        ];
        if counts
            .iter()
            .zip(self.cx.limits.parked)
            .any(|(count, limit)| *count >= limit)
        {
            return None;
        }
        let mut bits = [0; 16];
        self.cx.random(&mut bits);
        let park = u128::from_be_bytes(bits);
        let parked = Parked {
            up,
            conn,
            call: Some(number),
            method,
            principal,
            subject,
            pending: Vec::new(),
            keys: Vec::new(),
            round: 0,
            stage: Stage::Running,
            messages: VecDeque::new(),
            accepted: None,
            joined: Vec::new(),
            last: None,
            outcome: None,
        };
        self.parked.insert(park, parked);
        if let Some(Purpose::Client(client)) =
            self.calls.get_mut(&number).map(|call| &mut call.purpose)
            && let Some(asking) = &mut client.asking
        {
            asking.park = Some(park);
        }
        Some(park)
    }

    /// Too many calls are parked: this one fails.
    fn park_full(&mut self, number: u64) {
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
        self.cancel_upstream(call.up, call.conn, number);
        self.give_up(
            &call,
            client,
            &Refusal::new(503, rpc::INTERNAL, Code::TooManyParked, "").retry(5),
            "error",
        );
    }

    /// Answers the client's exchange with the questions that the server has; the call waits.
    pub(crate) fn ask_back(&mut self, park: u128) {
        let (life, expires) = (self.cx.incarnation, self.cx.now + self.cx.limits.park);
        let nonce = self.nonce();
        let Some(parked) = self.parked.get_mut(&park) else {
            return;
        };
        let Some(number) = parked.call else { return };
        parked.round += 1;
        parked.stage = Stage::Waiting(expires);
        parked
            .pending
            .iter_mut()
            .for_each(|pending| pending.told = true);
        let requests: Vec<_> = parked.pending.iter().map(Pending::entry).collect();
        let state = State {
            mode: Mode::Resume,
            park,
            life,
            subject: parked.subject,
            expires,
            round: parked.round,
        };
        let (up, method, joined) = (parked.up, parked.method, std::mem::take(&mut parked.joined));
        let state = self.sealer.seal(nonce, method.name(), &state);
        let Some(call) = self.calls.get_mut(&number) else {
            return;
        };
        call.deadline = Micros::MAX;
        let Purpose::Client(client) = &mut call.purpose else {
            return;
        };
        let (reader, id, arrived) = (
            std::mem::replace(&mut client.key, NOBODY),
            client.id.clone(),
            client.arrived,
        );
        let (trace, span) = (client.sampled(), client.span.take());
        let body = self.input_required(up, &id, &requests, &state);
        if let Some(parked) = self.parked.get_mut(&park) {
            parked.last = Some((200, body.clone()));
        }
        self.observe_answer(method, true, "ok", arrived, trace);
        self.spans.end(&mut self.cx, span, "ok", &body);
        self.answer_all(number, reader, joined, (200, body, "ok"));
    }

    /// The message with which a modern client is asked.
    pub(crate) fn input_required(
        &self,
        up: UpId,
        id: &str,
        requests: &[String],
        state: &str,
    ) -> Bytes {
        let server = self.up_ref(up).hello.server.as_deref();
        let meta = server
            .map(|server| format!(",\"_meta\":{{\"{}\":{server}}}", key::SERVER))
            .unwrap_or_default();
        let requests = requests.join(",");
        let result = format!(
            "{{\"resultType\":\"input_required\",\"inputRequests\":{{{requests}}},\"requestState\":\"{state}\"{meta}}}"
        );
        json::one_line(result_message(id, &result))
    }

    /// 24 random bytes.
    pub(crate) fn nonce(&mut self) -> [u8; 24] {
        let mut nonce = [0; 24];
        self.cx.random(&mut nonce);
        nonce
    }

    /// The same answer for the client's exchange and those that repeat its request. None of them
    /// waits for the call any more.
    fn answer_all(
        &mut self,
        number: u64,
        reader: StreamKey,
        joined: Vec<(StreamKey, Box<str>, Option<Box<Span>>)>,
        (status, body, outcome): (u16, Bytes, &'static str),
    ) {
        for (key, id, span) in joined {
            self.spans.end(&mut self.cx, span, outcome, &body);
            self.detach(key, number);
            self.clients
                .answer(&mut self.cx, key, status, translate::with_id(&body, &id));
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

    /// A parked call has come to its end: its client gets the answer, now or when it comes back.
    pub(crate) fn park_over(
        &mut self,
        park: u128,
        client: &ClientCall,
        status: u16,
        body: Bytes,
        outcome: &'static str,
    ) {
        let over = Stage::Over(self.cx.now + self.cx.limits.repeat);
        let Some(parked) = self.parked.get_mut(&park) else {
            return;
        };
        let number = parked.call.take().unwrap_or_default();
        parked.pending.clear();
        parked.messages.clear();
        if matches!(parked.stage, Stage::Waiting(_)) {
            parked.outcome = Some((status, body, outcome));
            return self.bound_kept();
        }
        let joined = std::mem::take(&mut parked.joined);
        if parked.accepted.is_some() {
            parked.last = Some((status, body.clone()));
            parked.stage = over;
        } else {
            // Nobody was given a state for it.
            self.parked.remove(&park);
        }
        self.observe_answer(
            client.method,
            true,
            outcome,
            client.arrived,
            client.sampled(),
        );
        self.spans
            .end(&mut self.cx, client.span.clone(), outcome, &body);
        self.answer_all(number, client.key, joined, (status, body, outcome));
        self.bound_kept();
    }

    /// Forgets what may be asked for again, the oldest first, and in need what was not fetched.
    fn bound_kept(&mut self) {
        let size = |parked: &Parked| {
            let last = parked.last.as_ref().map_or(0, |(_, body)| body.len());
            last + parked.outcome.as_ref().map_or(0, |(_, body, _)| body.len())
        };
        loop {
            let over = |parked: &Parked| match parked.stage {
                Stage::Over(until) => Some((0, until)),
                Stage::Waiting(until) if parked.outcome.is_some() => Some((1, until)),
                _ => None,
            };
            let bytes: usize = self.parked.values().map(size).sum();
            if self.parked.len() <= KEPT.0 && bytes <= KEPT.1 {
                return;
            }
            let Some(oldest) = self
                .parked
                .iter()
                .filter_map(|(park, parked)| over(parked).map(|age| (age, *park)))
                .min()
            else {
                return;
            };
            self.parked.remove(&oldest.1);
        }
    }

    /// Has the questions of a parked call put to its client then.
    pub(crate) fn gather(&mut self, park: u128, due: Micros) {
        if let Some(parked) = self.parked.get_mut(&park) {
            parked.stage = Stage::Gathering(due);
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
        let Some(parked) = client.park().and_then(|park| self.parked.get_mut(&park)) else {
            return false;
        };
        if parked.messages.len() >= MESSAGES {
            parked.messages.pop_front();
        }
        parked
            .messages
            .push_back(Bytes::copy_from_slice(data.as_bytes()));
        true
    }

    /// The server takes a question back that was put to a modern client.
    pub(crate) fn withdrawn(&mut self, up: UpId, conn: usize, id: &str) {
        self.task_question_withdrawn(up, conn, id);
        for parked in self
            .parked
            .values_mut()
            .filter(|parked| (parked.up, parked.conn) == (up, conn))
        {
            parked.pending.retain(|pending| *pending.id != *id);
            if parked.pending.is_empty() && matches!(parked.stage, Stage::Gathering(_)) {
                parked.stage = Stage::Running;
            }
        }
    }

    /// A question that nobody will answer any more is answered all the same, so that its server
    /// does not wait for ever.
    pub(crate) fn take_back(&mut self, up: UpId, conn: usize, pending: &Pending) {
        let answer = if &*pending.method == "elicitation/create" {
            result_message(&pending.id, "{\"action\":\"cancel\"}")
        } else {
            let refusal = Refusal::new(200, rpc::INTERNAL, Code::AnswerLate, "");
            error_message(Some(&pending.id), &refusal.error())
        };
        self.aside(up, conn, answer, Vec::new());
    }

    /// A parked call is given up: the server's questions get an answer, so that it does not wait
    /// for ever.
    pub(crate) fn unpark(&mut self, park: u128) {
        let Some(parked) = self.parked.remove(&park) else {
            return;
        };
        parked
            .joined
            .into_iter()
            .for_each(|(.., span)| self.spans.end(&mut self.cx, span, "cancelled", b""));
        if parked.call.is_none() {
            return;
        }
        for pending in &parked.pending {
            self.take_back(parked.up, parked.conn, pending);
        }
    }

    /// Gives up what waits for clients that are away.
    pub(crate) fn give_up_parked(&mut self) {
        let mut away: Vec<_> = self
            .parked
            .values()
            .filter(|parked| matches!(parked.stage, Stage::Waiting(_)))
            .filter_map(|parked| parked.call)
            .collect();
        away.sort_unstable();
        for number in away {
            self.cancel(number);
        }
    }

    /// Those that are due: questions to be put, calls that nobody came back for, answers that
    /// nobody will ask for again.
    pub(crate) fn parks_due(&mut self) {
        self.cx.forget_past_timers();
        let now = self.cx.now;
        let due = |stage: Stage| match stage {
            Stage::Running => false,
            Stage::Gathering(at) | Stage::Waiting(at) | Stage::Over(at) => at <= now,
        };
        let mut found: Vec<_> = self
            .parked
            .iter()
            .filter(|(_, parked)| due(parked.stage))
            .map(|(park, _)| *park)
            .collect();
        found.sort_unstable();
        for park in found {
            match self
                .parked
                .get(&park)
                .map(|parked| (parked.stage, parked.call))
            {
                Some((Stage::Gathering(_), _)) => self.ask_back(park),
                Some((Stage::Waiting(_), Some(number))) => self.cancel(number),
                _ => drop(self.parked.remove(&park)),
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
        let name = self.up_ref(call.up).settings.name.clone();
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
        let nonce = self.nonce();
        let state = self.sealer.seal(nonce, client.method.name(), &state);
        Ok(self.input_required(call.up, &client.id, &requests, &state))
    }
}

/// The key that a server suggests for its question: `_meta["<vendor>/inputKey"]`.
pub(crate) fn input_key(params: &str) -> Option<String> {
    let meta = json::pick(params, ["_meta"])?[0]?;
    let hint = json::members(meta)?
        .into_iter()
        .find(|(name, _)| name.ends_with("/inputKey"))?;
    json::string(hint.1)
        .map(std::borrow::Cow::into_owned)
        .filter(|hint| (1..=64).contains(&hint.len()))
}

/// An answer among `inputResponses`; what is no object is none.
pub(crate) fn answer_of<'a>(responses: &'a str, key: &str) -> Option<&'a str> {
    json::pick(responses, [key])?[0].filter(|answer| answer.starts_with('{'))
}
