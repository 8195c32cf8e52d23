//! Modern clients that come back with answers: whether the state they bring is ours and theirs, and
//! what becomes of the call that waits for it.

use crate::api::UpId;
use crate::call::record::{ClientCall, Purpose};
use crate::call::translate;
use crate::client::exchange::Exchange;
use crate::client::request::{ClientEra, Ctx, Flow};
use crate::gateway::Gateway;
use crate::interactive::pending_input::{Accepted, Stage, answer_of};
use crate::interactive::request_state;
use crate::interactive::request_state::{Mode, State};
use crate::protocol::json;
use crate::protocol::json::Envelope;
use crate::protocol::method::Method;
use crate::protocol::refusal::{Refusal, result_message, rpc};
use ggen_wire::Code;

/// Repetitions of one retry that wait for its answer, at most.
const JOINED: usize = 8;

/// What a request brings along for the rounds.
pub(crate) struct Brought<'a> {
    /// `requestState`, as text.
    pub(crate) state: Option<std::borrow::Cow<'a, str>>,
    /// `inputResponses`, as it stands.
    pub(crate) responses: Option<&'a str>,
}

/// Reads `requestState` and `inputResponses`.
pub(crate) fn brought<'a>(params: Option<&'a str>) -> Result<Brought<'a>, Refusal> {
    let invalid = |what| Refusal::new(200, rpc::INVALID_PARAMS, Code::InvalidRequest, what);
    let Some(params) = params
        .filter(|params| params.contains("requestState") || params.contains("inputResponses"))
    else {
        return Ok(Brought {
            state: None,
            responses: None,
        });
    };
    let [state, responses] = json::pick(params, ["requestState", "inputResponses"])
        .ok_or_else(|| invalid("params.requestState or params.inputResponses came twice"))?;
    let state = match state {
        None | Some("null") => None,
        Some(raw) => Some(json::string(raw).ok_or_else(|| stale("it is no string"))?),
    };
    let responses = responses.filter(|raw| *raw != "null");
    if responses.is_some_and(|raw| !raw.starts_with('{')) {
        return Err(invalid("params.inputResponses is no object"));
    }
    Ok(Brought { state, responses })
}

/// Whether a method's result may be `input_required`.
pub(crate) const fn may_ask(method: Method) -> bool {
    matches!(
        method,
        Method::ToolsCall | Method::PromptsGet | Method::ResourcesRead
    )
}

fn stale(detail: &str) -> Refusal {
    Refusal::new(200, rpc::INVALID_PARAMS, Code::StateInvalid, detail)
}

impl Gateway {
    /// Goes on with the call that a state belongs to. `None`: the request begins a call, because it
    /// brings no state or one that says so.
    pub(crate) fn resume_parked(
        &mut self,
        ctx: &Ctx<'_>,
        up: UpId,
        subject: [u8; 32],
        brought: &Brought<'_>,
    ) -> Result<Option<Flow>, Refusal> {
        let Some(text) = &brought.state else {
            return Ok(None);
        };
        let state = self
            .sealer
            .open(ctx.method.name(), text)
            .filter(|state| state.subject == subject)
            .ok_or_else(|| stale(""))?;
        let expired = || stale("the pending operation expired; call the tool again");
        if state.life != self.cx.incarnation || state.expires <= self.cx.now {
            return Err(expired());
        }
        if state.mode == Mode::Repeat {
            return Ok(None);
        }
        let ours = self.parked.get(&state.park).filter(|parked| {
            parked.principal == ctx.request.principal.id
                && parked.subject == subject
                && parked.up == up
                && parked.method == ctx.method
        });
        let parked = ours.ok_or_else(expired)?;
        let accepted = Accepted {
            round: state.round,
            digest: request_state::digest(brought.responses.unwrap_or("{}")),
            at: self.cx.now,
        };
        let again = parked.accepted.is_some_and(|last| {
            last.round == accepted.round
                && last.digest == accepted.digest
                && self.cx.now < last.at + self.cx.limits.repeat
        });
        match parked.stage {
            Stage::Waiting(_) if parked.round == state.round => {
                self.accept(ctx, &state, accepted, brought.responses.unwrap_or("{}"))
            }
            _ if again => return self.join(ctx, state.park).map(Some),
            _ => return Err(stale("it was used already")),
        }
        Ok(Some(Flow::Done))
    }

    /// The first retry with a state: its answers go to the server, and its exchange is the call's
    /// from now on.
    fn accept(&mut self, ctx: &Ctx<'_>, state: &State, accepted: Accepted, responses: &str) {
        let over = Stage::Over(self.cx.now + self.cx.limits.repeat);
        let Some(parked) = self.parked.get_mut(&state.park) else {
            return;
        };
        parked.accepted = Some(accepted);
        parked.last = None;
        if let Some((status, body, outcome)) = parked.outcome.take() {
            let body = translate::with_id(&body, ctx.id);
            parked.last = Some((status, body.clone()));
            parked.stage = over;
            return self.answer_now(ctx, status, None, body, outcome);
        }
        let Some(number) = parked.call else { return };
        let span = ctx.attempt.take_span();
        parked.stage = Stage::Running;
        let (up, conn, messages) = (parked.up, parked.conn, std::mem::take(&mut parked.messages));
        let mut answers = Vec::new();
        parked.pending.retain(|pending| {
            match answer_of(responses, &pending.key).filter(|_| pending.told) {
                Some(answer) => {
                    answers.push(result_message(&pending.id, answer));
                    false
                }
                None => true,
            }
        });
        let (missing, more) = (
            parked.pending.iter().any(|pending| pending.told),
            !parked.pending.is_empty(),
        );
        if let Some(call) = self.calls.get_mut(&number)
            && let Purpose::Client(client) = &mut call.purpose
        {
            call.deadline = self.cx.now + client.timeout;
            attach(client, ctx);
            client.span = span;
        }
        let mut exchange = Exchange::new(ctx.request, None, ctx.arrived);
        exchange.calls.push(number);
        self.clients.add_exchange(ctx.key, exchange);
        for message in messages {
            if let Ok(envelope) = Envelope::parse(&String::from_utf8_lossy(&message))
                && let crate::protocol::json::Kind::Notification(name) = &envelope.kind
            {
                self.server_notification(up, conn, Some(number), name, &envelope);
            }
        }
        for answer in answers {
            self.aside(up, conn, json::one_line(answer), Vec::new());
        }
        if missing {
            self.ask_back(state.park);
        } else if more {
            let due = self.cx.now + self.cx.limits.gather;
            self.gather(state.park, due);
        }
    }

    /// The same retry once more: it gets the answer of the first.
    fn join(&mut self, ctx: &Ctx<'_>, park: u128) -> Result<Flow, Refusal> {
        let Some(parked) = self.parked.get_mut(&park) else {
            return Err(stale(""));
        };
        if let Some((status, body)) = &parked.last {
            let (status, body) = (*status, translate::with_id(body, ctx.id));
            self.answer_now(ctx, status, None, body, "ok");
            return Ok(Flow::Done);
        }
        let Some(number) = parked.call else {
            return Err(stale(""));
        };
        if parked.joined.len() >= JOINED {
            return Err(Refusal::new(503, rpc::INTERNAL, Code::Overloaded, "").retry(1));
        }
        let span = ctx.attempt.take_span();
        parked.joined.push((ctx.key, ctx.id.into(), span));
        let mut exchange = Exchange::new(ctx.request, None, ctx.arrived);
        exchange.calls.push(number);
        self.clients.add_exchange(ctx.key, exchange);
        Ok(Flow::Done)
    }

    /// An exchange of a call ends. True: another one waits for the same answer, so that the call
    /// goes on.
    pub(crate) fn hand_over(&mut self, number: u64, key: crate::api::StreamKey) -> bool {
        let Some(Purpose::Client(client)) =
            self.calls.get_mut(&number).map(|call| &mut call.purpose)
        else {
            return false;
        };
        let Some(parked) = client.park().and_then(|park| self.parked.get_mut(&park)) else {
            return false;
        };
        if let Some(at) = parked.joined.iter().position(|(joined, ..)| *joined == key) {
            let (.., span) = parked.joined.remove(at);
            self.spans.end(&mut self.cx, span, "cancelled", b"");
            return true;
        }
        if client.key != key || parked.joined.is_empty() {
            return false;
        }
        let left = client.span.take();
        (client.key, client.id, client.span) = parked.joined.remove(0);
        // What came on the first exchange is not repeated, and its token was that request's.
        client.progress = None;
        self.spans.end(&mut self.cx, left, "cancelled", b"");
        true
    }
}

/// Makes a request the one that the call is answered on.
fn attach(client: &mut ClientCall, ctx: &Ctx<'_>) {
    client.key = ctx.key;
    client.id = ctx.id.into();
    client.arrived = ctx.arrived;
    if let ClientEra::Modern(claim) = &ctx.era {
        // Whether the server reports progress was said when the call began; only the name of it is
        // this request's.
        client.progress = claim.progress.map(Into::into);
        client.log_level = claim.log_level;
    }
}
