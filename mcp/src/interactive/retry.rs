//! Modern clients that come back with answers: whether the state they bring is ours and theirs, and
//! what becomes of the call that waits for it.

use crate::api::UpId;
use crate::call::Target;
use crate::client::exchange::Exchange;
use crate::client::request::{ClientEra, RequestContext};
use crate::in_flight::record::{Asking, ClientCall, Purpose};
use crate::interactive::{Questioning, retry};
use crate::observation::CallOutcome;
use crate::protocol::capabilities::Caps;
use crate::protocol::json;
use crate::protocol::refusal::{Refusal, rpc};
use crate::questions::pending_input::{Accepted, Joined, Retry};
use crate::questions::request_state;
use crate::questions::request_state::Mode;
use crate::trace::span::Span;
use crate::translation::message;
use crate::upstream::UpEra;
use bytes::Bytes;
use ggen_wire::Code;
use std::collections::VecDeque;

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

/// Whether the modern client of a legacy server can be asked for something in a request.
pub(crate) enum Asks {
    /// It cannot be asked.
    Nothing,
    /// What it takes to ask it.
    New(Box<Asking>),
    /// The request goes on with an earlier call, whose client is to have these messages first.
    Resumed(Option<KeptMessages>),
}

/// What a request is to earlier ones.
enum Resumption {
    /// It begins a call.
    Begins,
    /// It goes on with an earlier call.
    Goes(Option<KeptMessages>),
}

/// What a server said while the client of a call was away.
pub(crate) struct KeptMessages {
    pub(crate) up: UpId,
    pub(crate) conn: usize,
    /// The call.
    pub(crate) number: u64,
    pub(crate) messages: VecDeque<Bytes>,
}

impl Questioning<'_> {
    /// Goes on with the call that a state belongs to. A request that brings no state, or one
    /// that says so, begins a call.
    fn resume_pending(
        &mut self,
        ctx: &RequestContext<'_>,
        up: UpId,
        subject: [u8; 32],
        brought: &Brought<'_>,
    ) -> Result<Resumption, Refusal> {
        let Some(text) = &brought.state else {
            return Ok(Resumption::Begins);
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
            return Ok(Resumption::Begins);
        }
        let ours = self
            .questions
            .pending
            .get(state.pending_input)
            .filter(|pending| {
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
            Retry::First => Ok(Resumption::Goes(self.accept(
                ctx,
                state.pending_input,
                retry,
                responses,
            ))),
            Retry::Repeated => {
                self.join(ctx, state.pending_input)?;
                Ok(Resumption::Goes(None))
            }
            Retry::Used => Err(stale("it was used already")),
        }
    }

    /// The first retry with a state: its answers go to the server, and its exchange is the call's
    /// from now on.
    fn accept(
        &mut self,
        ctx: &RequestContext<'_>,
        id: u128,
        retry: Accepted,
        responses: &str,
    ) -> Option<KeptMessages> {
        let until = self.cx.now + self.cx.limits.repeat;
        let pending = self.questions.pending.get_mut(id)?;
        if let Some((status, body, outcome)) = pending.accept(retry, until) {
            let body = message::with_id(&body, ctx.id);
            pending.set_last(status, body.clone());
            self.clients
                .answer_now(self.cx, self.spans, ctx, (status, None), body, outcome);
            return None;
        }
        let resumed = pending.resume(responses)?;
        let span = ctx.attempt.take_span();
        self.attach(ctx, resumed.number, span);
        let (up, conn, number) = (resumed.up, resumed.conn, resumed.number);
        for answer in resumed.answers {
            self.connecting()
                .send_untracked(up, conn, answer, Vec::new());
        }
        if resumed.missing {
            self.ask_back(id);
        } else if resumed.more {
            let due = self.cx.now + self.cx.limits.gather;
            self.calling().gather(id, due);
        }
        Some(KeptMessages {
            up,
            conn,
            number,
            messages: resumed.messages,
        })
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
    fn join(&mut self, ctx: &RequestContext<'_>, id: u128) -> Result<(), Refusal> {
        let Some(pending) = self.questions.pending.get_mut(id) else {
            return Err(stale(""));
        };
        if let Some((status, body)) = pending.last() {
            let (status, body) = (*status, message::with_id(body, ctx.id));
            self.clients.answer_now(
                self.cx,
                self.spans,
                ctx,
                (status, None),
                body,
                CallOutcome::Ok,
            );
            return Ok(());
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
        Ok(())
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
            .pending_input()
            .and_then(|id| self.questions.pending.get_mut(id));
        let Some(pending) = pending else {
            return false;
        };
        if let Some(Joined { span, .. }) = pending.leave(key) {
            self.spans.end(self.cx, span, CallOutcome::Cancelled, b"");
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
        self.spans.end(self.cx, left, CallOutcome::Cancelled, b"");
        true
    }

    /// What it takes to ask the client of a request for something.
    pub(crate) fn asking(
        &mut self,
        ctx: &RequestContext<'_>,
        target: &Target<'_>,
    ) -> Result<Asks, Refusal> {
        let legacy = matches!(self.ups.get(target.up).era, Some(UpEra::Legacy(_)));
        if !legacy || !ctx.is_modern() || !ctx.method.may_ask() {
            return Ok(Asks::Nothing);
        }
        let brought = retry::brought(ctx.params)?;
        if ctx.caps() == Caps::default() && brought.state.is_none() {
            return Ok(Asks::Nothing);
        }
        let arguments = ctx
            .params
            .and_then(|params| json::pick(params, ["arguments"])?[0]);
        let (principal, server) = (
            ctx.request.principal.id.clone(),
            self.ups.get(target.up).settings.name.as_str(),
        );
        let subject = request_state::subject(
            &principal,
            server,
            ctx.method.name(),
            &target.original,
            arguments,
        );
        if let Resumption::Goes(kept) = self.resume_pending(ctx, target.up, subject, &brought)? {
            return Ok(Asks::Resumed(kept));
        }
        let answers = brought.responses.map(Into::into);
        Ok(Asks::New(Box::new(Asking {
            principal,
            subject,
            answers,
            pending_input: None,
        })))
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
