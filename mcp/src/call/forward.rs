//! Client → upstream: whether there is room for a call, its text, and its record.

use crate::access;
use crate::access::rules::ToolRule;
use crate::api::{Micros, Observation, Output, UpId};
use crate::call::Calling;
use crate::call::route::Target;
use crate::client::exchange::Exchange;
use crate::client::request::{ClientEra, Flow, RequestContext};
use crate::client::session_store::NAMELESS;
use crate::in_flight::record::{Asking, Call, ClientCall, Mismatch, Purpose, Sent, Task};
use crate::lease::allocation::{Caller, Want};
use crate::observation::Limit;
use crate::protocol::capabilities::Declared;
use crate::protocol::era::EraPair;
use crate::protocol::method::{LogLevel, Method};
use crate::protocol::refusal::{Refusal, rpc};
use crate::protocol::{header, inbound, json};
use crate::trace::{CallFacts, Span, Trace};
use crate::translation::message;
use crate::translation::message::Outgoing;
use crate::upstream::{Caps, UpEra};
use bytes::Bytes;
use ggen_wire::Code;
use ggen_wire::status::UpstreamState;
use std::sync::Arc;

/// What a request to an upstream says of the client.
struct ClientFacts<'a> {
    /// The client's progress token, as it stands.
    progress: Option<&'a str>,
    /// The log level in force for the client.
    log_level: Option<LogLevel>,
    /// The `clientInfo` of its session, for a modern upstream.
    client: Option<Arc<str>>,
    /// What it can be asked for.
    caps: Caps,
    /// The extensions that it declares, for a modern upstream.
    extensions: Box<str>,
}

impl Calling<'_> {
    /// Sends a request to its upstream, or has it wait for the upstream.
    pub(crate) fn relay(
        &mut self,
        ctx: &RequestContext<'_>,
        mut target: Target<'_>,
        asking: Option<Box<Asking>>,
    ) -> Result<Flow, Refusal> {
        let up = target.up;
        let Some(era) = self.era_for(ctx, up)? else {
            return Ok(Flow::Wait);
        };
        let rule = self.admit_call(ctx, &target)?;
        let again = self.again(ctx, up, &target.original, rule);
        let timeout = self.time_of(up, rule, target.patience);
        let declared = self.declared_of(ctx);
        let era = self.era_there(ctx, &target, declared.as_ref(), era);
        let facts = self.client_facts(ctx, era);
        inbound::check_progress_token(facts.progress)?;
        let number = self.cx.next_id();
        let wish = self.wish_of(ctx, &target, era);
        let (trace, sent) = self.begin_call_span(ctx, &target, era, number);
        let trace_of_body = trace.as_deref();
        let request = self.write_request(
            ctx,
            &mut target,
            era,
            number,
            &facts,
            wish.is_some(),
            trace_of_body,
        );
        let principal = &ctx.request.principal;
        let held = self
            .access
            .hold_places(ctx.key, principal, target.tool.as_ref(), rule);
        let call = ClientCall {
            tool: target.tool,
            progress: facts.progress.map(Into::into),
            log_level: facts.log_level.filter(|_| ctx.is_modern()),
            uri: target.uri,
            caps: facts.caps,
            declared,
            asking,
            task: wish,
            known: target.task,
            timeout,
            held,
            again,
            trail: self.access.trail(&principal.id, ctx.params, ctx.text.len()),
            trace,
            span: ctx.attempt.take_span(),
            sent,
            ..ClientCall::of(ctx)
        };
        let conn = self.attach_call(ctx, up, number, &call, target.place);
        self.start_call(up, conn, number, call, request);
        Ok(Flow::Done)
    }

    /// The era that is spoken where a request goes.
    fn era_there(
        &self,
        ctx: &RequestContext<'_>,
        target: &Target<'_>,
        declared: Option<&Arc<Declared>>,
        era: UpEra,
    ) -> UpEra {
        match target.place {
            Some(place) => self.ups.get(target.up).era_at(place).unwrap_or(era),
            None => self.era_of(target.up, era, &caller(ctx, declared)),
        }
    }

    /// How a call of a tool of a legacy server is to become a task for its modern client.
    fn wish_of(&self, ctx: &RequestContext<'_>, target: &Target<'_>, era: UpEra) -> Option<Task> {
        let bridges_task =
            ctx.is_modern() && era != UpEra::Modern && ctx.method == Method::ToolsCall;
        bridges_task
            .then(|| {
                self.ups
                    .get(target.up)
                    .task_wish(&ctx.era, &target.original)
            })
            .flatten()
    }

    /// The time for a call: the tool's rule goes before the server's setting.
    fn time_of(&self, up: UpId, rule: ToolRule, patience: Micros) -> Micros {
        let time = if rule.timeout > 0 {
            rule.timeout
        } else {
            self.ups.get(up).settings.timeout
        };
        time.max(patience)
    }

    /// The era of an upstream that takes calls. `None`: the request is to wait for the upstream.
    fn era_for(&self, ctx: &RequestContext<'_>, up: UpId) -> Result<Option<UpEra>, Refusal> {
        let upstream = self.ups.get(up);
        if upstream.held && ctx.may_wait(self.cx.now, self.cx.limits.call_wait) {
            return Ok(None);
        }
        let era = upstream
            .era
            .filter(|_| upstream.state != UpstreamState::Disabled && self.ups.is_reachable(up));
        if era.is_none() {
            if upstream.unsettled.is_some() && ctx.may_wait(self.cx.now, self.cx.limits.call_wait) {
                return Ok(None);
            }
            return Err(self.ups.unavailable(up));
        }
        Ok(era)
    }

    /// Whether there is room for a call, and the rule of its tool.
    fn admit_call(
        &mut self,
        ctx: &RequestContext<'_>,
        target: &Target<'_>,
    ) -> Result<ToolRule, Refusal> {
        let upstream = self.ups.get(target.up);
        let full = upstream.in_flight() >= self.access.calls_per_upstream(&self.cx.limits);
        if full
            || upstream.bytes + ctx.text.len() > self.cx.limits.bytes_per_upstream
            || self.calls.len() >= self.cx.limits.calls
        {
            let refusal = Refusal::new(
                503,
                rpc::INTERNAL,
                Code::UpstreamBusy,
                &upstream.settings.name,
            )
            .retry(1);
            self.cx.emit(Output::Observe(Observation::Limited(
                Limit::UpstreamInFlight,
            )));
            return Err(refusal);
        }
        let principal = &ctx.request.principal;
        self.admit_share(ctx, target.up)?;
        self.access
            .admit_in_flight(self.cx, ctx.key, principal, || {
                self.clients.unanswered_of(principal)
            })?;
        let again = ctx.attempt.tries > 0;
        self.access.admit_tool(self.cx, target.tool.as_ref(), again)
    }

    /// Whether a legacy session and a principal may have one more call in flight. Only when a server
    /// has half of its places taken are they counted: then each principal that has some may have as
    /// many as the others, and one alone half of them.
    fn admit_share(&mut self, ctx: &RequestContext<'_>, up: UpId) -> Result<(), Refusal> {
        let session = ctx.session().and_then(|id| self.clients.session(&id));
        let in_session = session.map_or(0, |session| session.calls.len());
        if in_session >= self.cx.limits.calls_per_session {
            return Err(access::one_too_many(self.cx, Limit::PrincipalInFlight));
        }
        let places = self.access.calls_per_upstream(&self.cx.limits);
        if ctx.key.edge == 0 || self.ups.get(up).in_flight() < places.div_ceil(2) {
            return Ok(());
        }
        let principal = &ctx.request.principal;
        let (own, others) = self.calls.shares(up, &principal.id);
        let least = if principal.is_anonymous() { 1 } else { 2 };
        if own >= places / (others + 1).max(least) {
            return Err(access::one_too_many(self.cx, Limit::PrincipalInFlight));
        }
        Ok(())
    }

    /// The span of a call, and the trace as the call's server gets it.
    fn begin_call_span(
        &mut self,
        ctx: &RequestContext<'_>,
        target: &Target<'_>,
        era: UpEra,
        number: u64,
    ) -> (Option<Arc<Trace>>, Option<Box<Span>>) {
        let facts = CallFacts {
            up: target.up,
            version: era.version(),
            method: ctx.method,
            number,
            target: target.listed.then(|| Arc::from(&*target.original)),
        };
        self.spans.begin_call(
            self.cx,
            ctx.attempt.tracing.as_ref(),
            ctx.trace.as_ref(),
            facts,
        )
    }

    /// The request as its server gets it.
    #[allow(
        clippy::too_many_arguments,
        reason = "all of it is known of the call and goes into the text"
    )]
    fn write_request(
        &self,
        ctx: &RequestContext<'_>,
        target: &mut Target<'_>,
        era: UpEra,
        number: u64,
        facts: &ClientFacts<'_>,
        as_task: bool,
        trace: Option<&Trace>,
    ) -> Sent {
        let eras = EraPair::of(ctx.is_modern(), era == UpEra::Modern);
        let body = message::request(&Outgoing {
            as_task,
            text: ctx.text,
            id: ctx.id,
            params: ctx.params,
            number,
            rename: target.rename.take(),
            progress: facts.progress,
            eras,
            client: facts.client.as_deref().unwrap_or_default(),
            caps: facts.caps,
            extensions: &facts.extensions,
            log_level: facts
                .log_level
                .filter(|_| eras == EraPair::LEGACY_TO_MODERN),
        });
        let traced = trace.and_then(|trace| trace.in_params(std::str::from_utf8(&body).ok()?));
        let body = traced.map_or(body, Bytes::from);
        let headers = if eras.server.is_modern() && self.ups.get(target.up).is_http() {
            let arguments = ctx
                .params
                .filter(|_| !target.params.is_empty())
                .and_then(|params| json::pick(params, ["arguments"])?[0]);
            let name = header::name_member(ctx.name).map(|_| &*target.original);
            let mut headers = header::make(ctx.name, name);
            headers.extend(header::make_params(&target.params, arguments));
            headers
        } else {
            Vec::new()
        };
        Sent { headers, body }
    }

    /// Writes into the client's exchange and session that a call is made for them, and picks the
    /// connection that takes the call.
    fn attach_call(
        &mut self,
        ctx: &RequestContext<'_>,
        up: UpId,
        number: u64,
        call: &ClientCall,
        place: Option<usize>,
    ) -> usize {
        let exchange = self.clients.exchange_or(ctx.key, || {
            Exchange::new(ctx.request, ctx.session(), ctx.arrived)
        });
        exchange.calls.push(number);
        if let Some(session) = call
            .session
            .as_ref()
            .and_then(|id| self.clients.session_mut(id))
        {
            session.calls.insert(ctx.id.into(), number);
        }
        place.unwrap_or_else(|| self.conn_for(up, call))
    }

    /// Records a call and writes it, or keeps it until its connection is ready.
    fn start_call(&mut self, up: UpId, conn: usize, number: u64, call: ClientCall, request: Sent) {
        let deadline = self.cx.now + self.ups.time_for(&self.cx.limits, up, conn, call.timeout);
        let (began, bytes) = (self.cx.now, request.body.len());
        self.ups.get_mut(up).bytes += bytes;
        self.calls.insert(
            number,
            Call {
                up,
                conn,
                purpose: Purpose::Client(Box::new(call)),
                began,
                deadline,
                bytes,
                request,
                status: 0,
                session: None,
                retry_after: None,
                last_event: None,
                retry_ms: None,
                tries: 0,
                mismatch: Mismatch::No,
            },
        );
        self.connecting().dispatch(number);
    }

    /// What is known of the client of a request for an upstream of that era.
    fn client_facts<'a>(&self, ctx: &RequestContext<'a>, era: UpEra) -> ClientFacts<'a> {
        let session = ctx.session().and_then(|id| self.clients.session(&id));
        let (progress, log_level, client) = match &ctx.era {
            ClientEra::Modern(claim) => (claim.progress, claim.log_level, None),
            ClientEra::Legacy(..) | ClientEra::Sessionless(_) => {
                let meta = ctx
                    .params
                    .filter(|params| params.contains("\"progressToken\""))
                    .and_then(|params| json::pick(params, ["_meta"])?[0]);
                let progress = meta.and_then(|meta| json::pick(meta, ["progressToken"])?[0]);
                let client = (era == UpEra::Modern).then(|| {
                    session.map_or_else(|| Arc::from(NAMELESS), |session| session.client.clone())
                });
                (
                    progress,
                    session.and_then(|session| session.log_level),
                    client,
                )
            }
        };
        ClientFacts {
            // The parameters of a list of tasks are written anew.
            progress: progress.filter(|_| ctx.method != Method::TaskList),
            log_level,
            client,
            caps: self.caps_of(ctx),
            extensions: session
                .filter(|_| era == UpEra::Modern)
                .map(|session| session.declared.extensions.clone())
                .unwrap_or_default(),
        }
    }

    /// What the client of a request declares; `None`: nothing.
    fn declared_of(&self, ctx: &RequestContext<'_>) -> Option<Arc<Declared>> {
        match &ctx.era {
            ClientEra::Modern(claim) => {
                let capabilities = claim.capabilities.filter(|raw| raw.len() > "{}".len());
                let declared = Declared::read(Some(capabilities?));
                (!declared.is_empty()).then(|| Arc::new(declared))
            }
            ClientEra::Legacy(id, _) => {
                let session = self.clients.session(id)?;
                (!session.declared.is_empty()).then(|| session.declared.clone())
            }
            ClientEra::Sessionless(_) => None,
        }
    }

    /// Whether what a request asks of an upstream goes to a legacy child, or session, of its own.
    pub(crate) fn has_own_child(&self, ctx: &RequestContext<'_>, up: UpId) -> bool {
        let declared = self.declared_of(ctx);
        let upstream = self.ups.get(up);
        Want::of(upstream, &caller(ctx, declared.as_ref())).is_some_and(|want| {
            let era = want.era().or(upstream.era);
            matches!(era, Some(UpEra::Legacy(_)))
        })
    }

    /// What the client of a request can be asked for while the request is under way. One that takes
    /// no event stream, in the legacy era, for nothing.
    fn caps_of(&self, ctx: &RequestContext<'_>) -> Caps {
        match &ctx.era {
            ClientEra::Modern(_) => ctx.caps(),
            ClientEra::Legacy(id, _) if ctx.request.accept_sse => self
                .clients
                .session(id)
                .map(|session| session.declared.caps)
                .unwrap_or_default(),
            ClientEra::Legacy(..) | ClientEra::Sessionless(_) => Caps::default(),
        }
    }
}

/// Who makes a request.
fn caller<'a>(ctx: &'a RequestContext<'_>, declared: Option<&'a Arc<Declared>>) -> Caller<'a> {
    Caller {
        session: ctx.session_name(),
        principal: &ctx.request.principal.id,
        declared,
        is_modern: ctx.is_modern(),
        method: ctx.method,
    }
}
