//! Calls of legacy clients whose modern server answers with questions (`input_required`; MCP
//! 2026-07-28, MRTR): the relay asks the client on the stream of its request, and calls the server
//! again with the answers.

use crate::api::StreamKey;
use crate::in_flight::record::{Call, ClientCall, Purpose, Rounds};
use crate::interactive::Questioning;
use crate::observation::CallOutcome;
use crate::protocol::json;
use crate::protocol::json::{Envelope, Kind};
use crate::protocol::method::{Legacy, Method};
use crate::protocol::refusal::{Refusal, result_message, rpc};
use crate::questions::QUESTIONS;
use crate::questions::open::Asker;
use crate::translation::question::Question;
use crate::translation::{message, question};
use crate::upstream::Caps;
use ggen_wire::Code;
use std::sync::Arc;

/// Why a round cannot be run.
enum Stop {
    /// The client lacks what a question needs: the capability, as an object.
    Capability(&'static str),
    /// Anything else.
    Other(Code, &'static str),
}

impl Questioning<'_> {
    /// A result that asks for something. The call goes on under another number once the answers are
    /// there.
    pub(crate) fn round(&mut self, mut call: Call, result: &str) {
        let Purpose::Client(client) = &mut call.purpose else {
            return;
        };
        self.spans
            .pause_call(self.cx, client.sent.as_deref_mut(), CallOutcome::Ok);
        let count = client.rounds.as_ref().map_or(0, |rounds| rounds.count) + 1;
        let (key, id) = (client.key, client.id.clone());
        let Some((session, version)) = client
            .session
            .clone()
            .and_then(|id| Some((id.clone(), self.clients.session(&id)?.version)))
        else {
            // There is no session in which it could be asked.
            let stop = Stop::Other(Code::InputUnsupported, "the client names no session");
            let Purpose::Client(client) = &call.purpose else {
                return;
            };
            return self.stop_rounds(&call, client, &stop);
        };
        let prepared = if count > self.cx.limits.rounds {
            Err(Stop::Other(Code::TooManyRounds, ""))
        } else {
            self.questions_of(result, client.caps, version, key)
        };
        let (state, questions) = match prepared {
            Ok(prepared) => prepared,
            Err(stop) => {
                let Purpose::Client(client) = &call.purpose else {
                    return;
                };
                return self.stop_rounds(&call, client, &stop);
            }
        };
        let inputs = questions.iter().map(|(key, _)| (key.clone(), None));
        client.rounds = Some(Box::new(Rounds {
            count,
            state,
            inputs: inputs.collect(),
        }));
        client.asked = 0;
        let questions = questions.into_iter().map(|(_, question)| question);
        self.await_answers(call, key, (session, id), questions.collect());
    }

    /// A call waits under a new number for the answers to the questions of a round, which its
    /// client is asked now.
    fn await_answers(
        &mut self,
        mut call: Call,
        key: StreamKey,
        (session, id): (Arc<str>, Box<str>),
        questions: Vec<String>,
    ) {
        let number = self.cx.next_id();
        (call.tries, call.status, call.last_event) = (0, 0, None);
        call.deadline = self.cx.now + self.cx.limits.think;
        self.ups.get_mut(call.up).bytes += call.bytes;
        if let Some(session) = self.clients.session_mut(&session) {
            session.calls.insert(id, number);
        }
        if let Some(exchange) = self.clients.exchange_mut(key) {
            exchange.calls.push(number);
        }
        self.calls.insert(number, call);
        if questions.is_empty() {
            let due = self.cx.now + self.cx.limits.pace;
            self.questions.delayed.push(due, number);
            self.cx.wake_at(due);
        }
        for (at, question) in questions.into_iter().enumerate() {
            let ours = self.cx.next_id();
            let message = format!("{{\"jsonrpc\":\"2.0\",\"id\":{ours},{question}}}");
            let message = json::one_line(message.into());
            self.ask(ours, number, session.clone(), Asker::Round(at), message);
        }
    }

    /// The state and the questions of a round: keys as they stand, requests as the client's
    /// revision knows them.
    #[allow(clippy::type_complexity, reason = "a pair of what a round consists of")]
    fn questions_of(
        &mut self,
        result: &str,
        caps: Caps,
        version: Legacy,
        key: StreamKey,
    ) -> Result<(Option<Box<str>>, Vec<(Box<str>, String)>), Stop> {
        let invalid = |what| Stop::Other(Code::UpstreamGarbage, what);
        let [requests, state] = json::pick(result, ["inputRequests", "requestState"])
            .ok_or_else(|| invalid("a member came twice"))?;
        let requests = requests
            .map_or(Some(Vec::new()), json::members)
            .ok_or_else(|| invalid("inputRequests is no object"))?;
        if requests.is_empty() && state.is_none() || requests.len() > QUESTIONS {
            return Err(invalid(
                "neither inputRequests nor requestState, or too many",
            ));
        }
        if !requests.is_empty() && !self.clients.reaches(key) {
            return Err(Stop::Other(
                Code::InputUnsupported,
                "the client takes no event stream",
            ));
        }
        let mut questions = Vec::new();
        for (key, request) in requests {
            let [method, params] = json::pick(request, ["method", "params"]).unwrap_or_default();
            let method = method
                .and_then(json::string)
                .ok_or_else(|| invalid("an input request without a method"))?;
            if !caps.allow(&method, params) {
                return Err(Stop::Capability(Caps::needed(&method, params)));
            }
            let id = crate::client::session::new_id(&mut |bytes| self.cx.random(bytes));
            match question::question_for_legacy(&method, params, version, &id) {
                Question::Fits(text) => questions.push((json::quote(&key).into(), text)),
                Question::Unknown(what) => return Err(Stop::Other(Code::InputUnsupported, what)),
            }
        }
        Ok((state.map(Into::into), questions))
    }

    /// A legacy client's answer to a question of a round.
    pub(crate) fn round_answer(&mut self, number: u64, at: usize, envelope: &Envelope<'_>) {
        let Some(call) = self.calls.get_mut(&number) else {
            return;
        };
        let Purpose::Client(client) = &mut call.purpose else {
            return;
        };
        let Some(rounds) = &mut client.rounds else {
            return;
        };
        match envelope.kind {
            Kind::Result(_, result) => {
                if let Some(input) = rounds.inputs.get_mut(at) {
                    input.1 = Some(result.into());
                }
                if rounds.inputs.iter().all(|(_, answer)| answer.is_some()) {
                    self.next_round(number);
                }
            }
            Kind::Error(_, error) => {
                let message = json::pick(error, ["message"])
                    .and_then(|[message]| json::string(message?))
                    .unwrap_or_default()
                    .into_owned();
                let up = call.up;
                let Some((_, call)) = self.calling().take_call(up, number) else {
                    return;
                };
                let Purpose::Client(client) = &call.purpose else {
                    return;
                };
                let text = format!(
                    "the client answered a question of the server with an error: {message}"
                );
                self.fail_round(
                    &call,
                    client,
                    &Refusal::new(200, rpc::INTERNAL, Code::InputUnsupported, &text),
                );
            }
            _ => {}
        }
    }

    /// Calls the server again, with its state as it gave it and the answers of this round only.
    fn next_round(&mut self, number: u64) {
        if self.calling().poll(number) {
            return;
        }
        let Some(mut call) = self.calls.remove(&number) else {
            return;
        };
        let (up, now) = (call.up, self.cx.now);
        let Purpose::Client(client) = &mut call.purpose else {
            return;
        };
        let Some(rounds) = &mut client.rounds else {
            return;
        };
        let inputs = std::mem::take(&mut rounds.inputs);
        let responses: Vec<_> = inputs
            .iter()
            .map(|(key, answer)| format!("{key}:{}", answer.as_deref().unwrap_or("{}")))
            .collect();
        let responses = (!inputs.is_empty()).then(|| format!("{{{}}}", responses.join(",")));
        call.request.body = message::again(
            &call.request.body,
            number,
            rounds.state.as_deref(),
            responses.as_deref(),
        );
        if let Some(body) = self.spans.begin_call_again(
            self.cx,
            client.sent.as_deref_mut(),
            &mut client.trace,
            number,
            &call.request.body,
        ) {
            call.request.body = body;
        }
        // The child of the round before may be somebody else's now.
        call.conn = self.calling().conn_for(up, client);
        call.began = now;
        let timeout = client.timeout;
        call.deadline = now + self.ups.time_for(&self.cx.limits, up, call.conn, timeout);
        self.calls.insert(number, call);
        self.connecting().dispatch(number);
    }

    /// Rounds without questions that are to be tried again.
    pub(crate) fn rounds_due(&mut self) {
        let now = self.cx.now;
        for (_, number) in self.questions.delayed.take_due(now) {
            self.next_round(number);
        }
    }

    fn stop_rounds(&mut self, call: &Call, client: &ClientCall, stop: &Stop) {
        let name = self.ups.get(call.up).settings.name.clone();
        let refusal = match stop {
            Stop::Capability(needed) => missing(&name, needed),
            Stop::Other(code, detail) => Refusal::new(
                200,
                rpc::INTERNAL,
                *code,
                format!("{name}: {detail}").trim_end_matches(": "),
            ),
        };
        self.fail_round(call, client, &refusal.with("server", &json::quote(&name)));
    }

    /// What a modern server wants of a client that cannot give it (-32021).
    pub(crate) fn lacks_capability(&mut self, call: &Call, client: &ClientCall, error: &str) {
        let name = self.ups.name(call.up);
        let needed = json::pick(error, ["data"])
            .and_then(|[data]| json::pick(data?, ["requiredCapabilities"])?[0])
            .unwrap_or("{}");
        self.fail_round(call, client, &missing(&name, needed));
    }

    /// The end of a call that needed its client. A failing tool says so in its result, as it would
    /// by itself in the legacy era.
    fn fail_round(&mut self, call: &Call, client: &ClientCall, refusal: &Refusal) {
        self.calling().cancel_task(call.up, call.conn, client);
        if client.method != Method::ToolsCall {
            return self
                .calling()
                .give_up(call, client, refusal, CallOutcome::Error);
        }
        let text = json::quote(&format!("{} [{}]", refusal.message, refusal.code));
        let result =
            format!("{{\"content\":[{{\"type\":\"text\",\"text\":{text}}}],\"isError\":true}}");
        self.calling().deliver(
            call,
            client,
            200,
            result_message(&client.id, &result),
            CallOutcome::ToolError,
        );
    }
}

fn missing(name: &str, needed: &str) -> Refusal {
    let names: Vec<_> = json::members(needed)
        .unwrap_or_default()
        .into_iter()
        .map(|(name, _)| name.into_owned())
        .collect();
    let detail = format!(
        "{name} needs {}, which this client does not support",
        names.join(", ")
    );
    Refusal::new(200, rpc::INTERNAL, Code::InputUnsupported, &detail)
        .with("requiredCapabilities", needed)
}
