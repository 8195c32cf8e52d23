//! Modern clients that come back with answers: whether the state they bring is ours and theirs, and
//! what becomes of the call that waits for it.

use crate::api::UpId;
use crate::client::exchange::Exchange;
use crate::client::request::{ClientEra, Flow, RequestContext};
use crate::gateway::Gateway;
use crate::in_flight::record::{ClientCall, Purpose};
use crate::protocol::json;
use crate::protocol::json::{Envelope, Kind};
use crate::protocol::refusal::{Refusal, rpc};
use crate::questions::pending_input::{Accepted, Joined, Retry};
use crate::questions::request_state;
use crate::questions::request_state::Mode;
use crate::trace::span::Span;
use crate::translation::message;
use ggen_wire::Code;

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

fn stale(detail: &str) -> Refusal {
    Refusal::new(200, rpc::INVALID_PARAMS, Code::StateInvalid, detail)
}

impl Gateway {
    /// Goes on with the call that a state belongs to. `None`: the request begins a call, because it
    /// brings no state or one that says so.
    pub(crate) fn resume_pending(
        &mut self,
        ctx: &RequestContext<'_>,
        up: UpId,
        subject: [u8; 32],
        brought: &Brought<'_>,
    ) -> Result<Option<Flow>, Refusal> {
        let Some(text) = &brought.state else {
            return Ok(None);
        };
        let state = self
            .questions
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
        let ours = self.questions.pending.get(state.park).filter(|pending| {
            let of = pending.origin();
            of.principal == ctx.request.principal.id
                && of.subject == subject
                && of.up == up
                && of.method == ctx.method
        });
        let pending = ours.ok_or_else(expired)?;
        let responses = brought.responses.unwrap_or("{}");
        let retry = Accepted {
            round: state.round,
            digest: request_state::digest(responses),
            at: self.cx.now,
        };
        match pending.judge(retry, self.cx.limits.repeat) {
            Retry::First => self.accept(ctx, state.park, retry, responses),
            Retry::Repeated => return self.join(ctx, state.park).map(Some),
            Retry::Used => return Err(stale("it was used already")),
        }
        Ok(Some(Flow::Done))
    }

    /// The first retry with a state: its answers go to the server, and its exchange is the call's
    /// from now on.
    fn accept(&mut self, ctx: &RequestContext<'_>, id: u128, retry: Accepted, responses: &str) {
        let until = self.cx.now + self.cx.limits.repeat;
        let Some(pending) = self.questions.pending.get_mut(id) else {
            return;
        };
        if let Some((status, body, outcome)) = pending.accept(retry, until) {
            let body = message::with_id(&body, ctx.id);
            pending.set_last(status, body.clone());
            return self.answer_now(ctx, status, None, body, outcome);
        }
        let Some(resumed) = pending.resume(responses) else {
            return;
        };
        let span = ctx.attempt.take_span();
        self.attach(ctx, resumed.number, span);
        let (up, conn, number) = (resumed.up, resumed.conn, resumed.number);
        for message in resumed.messages {
            if let Ok(envelope) = Envelope::parse(&String::from_utf8_lossy(&message))
                && let Kind::Notification(name) = &envelope.kind
            {
                self.server_notification(up, conn, Some(number), name, &envelope);
            }
        }
        for answer in resumed.answers {
            self.connecting().send_untracked(up, conn, answer, Vec::new());
        }
        if resumed.missing {
            self.ask_back(id);
        } else if resumed.more {
            let due = self.cx.now + self.cx.limits.gather;
            self.gather(id, due);
        }
    }

    /// The exchange of a request is the call's from now on.
    fn attach(&mut self, ctx: &RequestContext<'_>, number: u64, span: Option<Box<Span>>) {
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
    }

    /// The same retry once more: it gets the answer of the first.
    fn join(&mut self, ctx: &RequestContext<'_>, id: u128) -> Result<Flow, Refusal> {
        let Some(pending) = self.questions.pending.get_mut(id) else {
            return Err(stale(""));
        };
        if let Some((status, body)) = pending.last() {
            let (status, body) = (*status, message::with_id(body, ctx.id));
            self.answer_now(ctx, status, None, body, "ok");
            return Ok(Flow::Done);
        }
        let Some(number) = pending.call() else {
            return Err(stale(""));
        };
        if !pending.can_be_joined() {
            return Err(Refusal::new(503, rpc::INTERNAL, Code::Overloaded, "").retry(1));
        }
        let span = ctx.attempt.take_span();
        pending.join(Joined {
            key: ctx.key,
            id: ctx.id.into(),
            span,
        });
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
        let pending = client
            .park()
            .and_then(|id| self.questions.pending.get_mut(id));
        let Some(pending) = pending else {
            return false;
        };
        if let Some(Joined { span, .. }) = pending.leave(key) {
            self.spans.end(&mut self.cx, span, "cancelled", b"");
            return true;
        }
        if client.key != key {
            return false;
        }
        let Some(next) = pending.next_joined() else {
            return false;
        };
        let left = client.span.take();
        (client.key, client.id, client.span) = (next.key, next.id, next.span);
        // What came on the first exchange is not repeated, and its token was that request's.
        client.progress = None;
        self.spans.end(&mut self.cx, left, "cancelled", b"");
        true
    }
}

/// Makes a request the one that the call is answered on.
fn attach(client: &mut ClientCall, ctx: &RequestContext<'_>) {
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
