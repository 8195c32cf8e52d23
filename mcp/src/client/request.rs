//! The front of the relay: what a client sent, whether it may, and where it goes.

use crate::access::policy::Access;
use crate::access::{AccessControl, Outcome};
use crate::api::{Micros, Observation, Output, StreamKey};
use crate::client::exchange::Exchange;
use crate::client::session_store;
use crate::client::waiting::{Attempt, Waiting};
use crate::context::Context;
use crate::edge::{Request, Verb};
use crate::gateway::Gateway;
use crate::protocol::inbound::{Claim, Era};
use crate::protocol::json::{BadJson, Envelope, Kind};
use crate::protocol::method::{Legacy, MODERN, Method, SUPPORTED};
use crate::protocol::refusal::{Refusal, rpc};
use crate::protocol::{header, inbound, json};
use crate::trace::Trace;
use crate::upstream::Caps;
use crate::upstream::view::View;
use bytes::Bytes;
use ggen_wire::Code;
use std::sync::Arc;

/// A client's request with everything that was found out about it.
pub(crate) struct Ctx<'a> {
    pub(crate) key: StreamKey,
    pub(crate) request: &'a Request,
    pub(crate) arrived: Micros,
    pub(crate) attempt: &'a Attempt,
    pub(crate) view: View,
    /// What the client may do; `None`: everything.
    pub(crate) access: Option<Arc<Access>>,
    pub(crate) text: &'a str,
    pub(crate) id: &'a str,
    pub(crate) name: &'a str,
    pub(crate) method: Method,
    pub(crate) params: Option<&'a str>,
    pub(crate) era: ClientEra<'a>,
    /// The trace that it belongs to, if it says so.
    pub(crate) trace: Option<Arc<Trace>>,
}

/// The client's era.
#[derive(Clone)]
pub(crate) enum ClientEra<'a> {
    Modern(Claim<'a>),
    /// The session, and its revision.
    Legacy(Arc<str>, Legacy),
}

impl Ctx<'_> {
    pub(crate) const fn is_modern(&self) -> bool {
        matches!(self.era, ClientEra::Modern(_))
    }

    pub(crate) const fn era_name(&self) -> &'static str {
        if self.is_modern() { "modern" } else { "legacy" }
    }

    /// What a modern client can be asked for in this request.
    pub(crate) fn caps(&self) -> Caps {
        match &self.era {
            ClientEra::Modern(claim) => claim.capabilities.map(Caps::read).unwrap_or_default(),
            ClientEra::Legacy(..) => Caps::default(),
        }
    }

    /// The request goes no further: refused, or (without a refusal) answered by a built-in tool.
    /// Writes a record of it, if records are wanted.
    pub(crate) fn audit(
        &self,
        access: &AccessControl,
        cx: &mut Context,
        refusal: Option<&Refusal>,
    ) {
        let principal = &self.request.principal.id;
        if let Some(trail) = access.trail(principal, self.params, self.text.len()) {
            let outcome = Outcome {
                method: self.method,
                up: None,
                outcome: if refusal.is_some() { "refused" } else { "ok" },
                code: refusal.map(|refusal| refusal.code),
                arrived: self.arrived,
                bytes_out: 0,
                link: self.key.edge,
                id: self.id,
                trace: self.trace.as_ref().and_then(|trace| trace.id()),
            };
            trail.end(cx, &outcome);
        }
    }

    pub(crate) fn session(&self) -> Option<Arc<str>> {
        match &self.era {
            ClientEra::Legacy(session, _) => Some(session.clone()),
            ClientEra::Modern(_) => None,
        }
    }
}

/// What became of a request.
pub(crate) enum Flow {
    /// It was answered, or somebody will answer it.
    Done,
    /// It is to be tried again when an upstream changes, and then as if nothing more were to be
    /// hoped for.
    Wait,
}

impl Gateway {
    /// Attempts a request: answers it, passes it on, or has it wait for a server.
    pub(crate) fn open(&mut self, key: StreamKey, request: Request, mut attempt: Attempt) {
        let flow = match request.verb {
            Verb::Get if request.view.starts_with('/') => self.inspect(key, &request, &attempt),
            Verb::Get | Verb::Attach => self.get(key, &request),
            Verb::Delete => self.delete(key, &request),
            Verb::Post | Verb::Message => self.post(key, &request, &mut attempt),
        };
        match flow {
            Ok(Flow::Done) => {}
            Ok(Flow::Wait) => return self.wait(key, request, attempt),
            Err((id, refusal)) => {
                self.observe_refusal(&refusal);
                self.spans
                    .refuse(&mut self.cx, attempt.take_span(), &refusal);
                self.clients
                    .refuse_whole(&mut self.cx, key, &refusal, id.as_deref());
            }
        }
        // The span that nobody took is over.
        self.spans.end(&mut self.cx, attempt.take_span(), "ok", b"");
    }

    /// Has a request wait for a server, if there is room.
    fn wait(&mut self, key: StreamKey, request: Request, attempt: Attempt) {
        let room = if self.clients.waiting.len() >= self.cx.limits.calls {
            Err(Refusal::new(503, rpc::INTERNAL, Code::Overloaded, "").retry(1))
        } else {
            let principal = &request.principal;
            self.access
                .admit_in_flight(&mut self.cx, key, principal, || {
                    self.clients.unanswered_of(principal)
                })
        };
        match room {
            Ok(()) => self.clients.waiting.push(Waiting {
                key,
                request,
                attempt,
            }),
            Err(refusal) => {
                let id = std::str::from_utf8(&request.body)
                    .ok()
                    .and_then(|text| json::pick(text, ["id"])?[0]);
                self.spans
                    .refuse(&mut self.cx, attempt.take_span(), &refusal);
                self.clients.refuse_whole(&mut self.cx, key, &refusal, id);
            }
        }
    }

    /// Admits one more request of a principal; one that has waited was admitted before.
    pub(crate) fn admit(
        &mut self,
        key: StreamKey,
        request: &Request,
        attempt: &Attempt,
    ) -> Result<(), Refusal> {
        if !attempt.fresh {
            return Ok(());
        }
        self.access.admit(&mut self.cx, key, &request.principal)
    }

    /// Writes into the span of a request who asks: the revision, and the session.
    pub(crate) fn name_client(&self, attempt: &mut Attempt, era: &ClientEra<'_>) {
        let Some(tracing) = &mut attempt.tracing else {
            return;
        };
        match era {
            ClientEra::Modern(_) => tracing.set_client(MODERN, None),
            ClientEra::Legacy(session, version) => {
                let session = self
                    .clients
                    .sessions
                    .get(session)
                    .filter(|session| !session.digest.is_empty());
                let digest = session.map(|session| &*session.digest);
                tracing.set_client(version.as_str(), digest);
            }
        }
    }

    fn post(
        &mut self,
        key: StreamKey,
        request: &Request,
        attempt: &mut Attempt,
    ) -> Result<Flow, (Option<Box<str>>, Refusal)> {
        let anonymous = |refusal| (None, refusal);
        let access = self.access.of(key, &request.principal);
        let view = self
            .ups
            .view_for(&mut self.cx, access.as_deref(), request)
            .map_err(anonymous)?;
        let text = std::str::from_utf8(&request.body)
            .map_err(|_| anonymous(Refusal::bad_json(BadJson::Syntax)))?;
        if json::deeper_than(text.as_bytes(), self.cx.limits.depth) {
            return Err(anonymous(Refusal::bad_json(BadJson::Depth)));
        }
        if text.trim_start().starts_with('[') {
            return self
                .post_batch(key, request, view, access, text, attempt)
                .map_err(anonymous);
        }
        let envelope = Envelope::parse(text).map_err(|bad| anonymous(Refusal::bad_json(bad)))?;
        let id = match envelope.kind {
            Kind::Request(id, _) => Some(id),
            _ => None,
        };
        self.message(key, request, view, access, &envelope, attempt)
            .map_err(|refusal| (id.map(Into::into), refusal))
    }

    fn message(
        &mut self,
        key: StreamKey,
        request: &Request,
        view: View,
        access: Option<Arc<Access>>,
        envelope: &Envelope<'_>,
        attempt: &mut Attempt,
    ) -> Result<Flow, Refusal> {
        let meta = inbound::meta_of(envelope);
        if let Kind::Request(id, name) = &envelope.kind {
            if attempt.tracing.is_none() {
                attempt.tracing = self.spans.begin(
                    &mut self.cx,
                    key.edge,
                    &request.headers,
                    (id, Method::parse(name)),
                    meta,
                    attempt.arrived,
                );
            }
            self.admit(key, request, attempt)?;
        }
        let era = match inbound::classify_by(request, envelope, meta)? {
            Era::Handshake => {
                let Kind::Request(id, _) = envelope.kind else {
                    return Err(Refusal::new(
                        400,
                        rpc::INVALID_REQUEST,
                        Code::InvalidRequest,
                        "initialize is a request",
                    ));
                };
                let asked = (id, envelope.params);
                return self.initialize(key, request, view, access, asked, attempt);
            }
            Era::Session(id) => {
                let (session, version) = self.session_of(request, view, id)?;
                ClientEra::Legacy(session, version)
            }
            Era::Modern(claim) => ClientEra::Modern(claim),
        };
        match (&envelope.kind, &era) {
            (Kind::Request(id, name), _) => {
                self.name_client(attempt, &era);
                let ctx = Ctx {
                    key,
                    request,
                    arrived: attempt.arrived,
                    attempt: &*attempt,
                    view,
                    access,
                    text: envelope.text,
                    id,
                    name,
                    method: Method::parse(name),
                    params: envelope.params,
                    era: era.clone(),
                    trace: match &attempt.tracing {
                        Some(tracing) => tracing.trace().cloned(),
                        None => Trace::read(&request.headers, meta).map(Arc::new),
                    },
                };
                self.request(&ctx)
            }
            (Kind::Notification(name), ClientEra::Legacy(session, _)) => {
                self.client_notification(&session.clone(), name, envelope.params);
                self.cx.full(key, 202, Bytes::new());
                Ok(Flow::Done)
            }
            (Kind::Notification(_), ClientEra::Modern(_)) => {
                self.cx.full(key, 202, Bytes::new());
                Ok(Flow::Done)
            }
            (Kind::Result(..) | Kind::Error(..), ClientEra::Legacy(session, _)) => {
                self.client_answer(&session.clone(), envelope);
                self.cx.full(key, 202, Bytes::new());
                Ok(Flow::Done)
            }
            (Kind::Result(..) | Kind::Error(..), ClientEra::Modern(_)) => Err(Refusal::new(
                400,
                rpc::INVALID_REQUEST,
                Code::InvalidRequest,
                "a modern client sends no responses",
            )),
        }
    }

    /// The session that a request names, if it is this principal's and of this view.
    pub(crate) fn session_of(
        &mut self,
        request: &Request,
        view: View,
        id: &str,
    ) -> Result<(Arc<str>, Legacy), Refusal> {
        if request
            .header("mcp-protocol-version")
            .is_some_and(|version| !SUPPORTED.contains(&version))
        {
            return Err(inbound::unsupported(
                request.header("mcp-protocol-version").unwrap_or_default(),
            ));
        }
        let now = self.cx.now;
        self.clients.recognise(&mut self.cx, id);
        let (key, session) = match self
            .clients
            .sessions
            .get_key_value(id)
            .filter(|_| !id.starts_with(session_store::STRANGER))
        {
            Some((key, session))
                if session.principal.id == request.principal.id && session.view == view =>
            {
                (key.clone(), session.version)
            }
            _ => {
                return Err(Refusal::new(
                    404,
                    rpc::INVALID_REQUEST,
                    Code::SessionUnknown,
                    "send initialize to begin a new one",
                ));
            }
        };
        if let Some(session) = self.clients.sessions.get_mut(id) {
            session.touch(now);
            if session.principal != request.principal {
                session.principal = request.principal.clone();
                session.access = self.access.of_principal(&request.principal);
            }
        }
        Ok((key, session))
    }

    fn request(&mut self, ctx: &Ctx<'_>) -> Result<Flow, Refusal> {
        let flow = self.routed(ctx);
        if let Err(refusal) = &flow {
            ctx.audit(&self.access, &mut self.cx, Some(refusal));
        }
        flow
    }

    fn routed(&mut self, ctx: &Ctx<'_>) -> Result<Flow, Refusal> {
        if ctx.is_modern() && !ctx.request.verb.is_socket() {
            header::check(ctx.request, ctx.name, ctx.params)?;
        }
        if !ctx.method.exists(ctx.is_modern()) {
            return Err(self.unknown_method(ctx));
        }
        match ctx.method {
            Method::ToolsCall | Method::PromptsGet | Method::ResourcesRead | Method::Complete => {
                self.relay_named(ctx)
            }
            Method::Subscribe | Method::Unsubscribe => self.subscribe(ctx),
            Method::Listen => self.listen(ctx),
            Method::TaskGet
            | Method::TaskUpdate
            | Method::TaskCancel
            | Method::TaskResult
            | Method::TaskList => self.relay_task(ctx),
            Method::Other => self.relay_other(ctx),
            _ => self.local(ctx),
        }
    }

    pub(crate) fn unknown_method(&self, ctx: &Ctx<'_>) -> Refusal {
        Refusal::new(
            if ctx.is_modern() { 404 } else { 200 },
            rpc::METHOD_NOT_FOUND,
            Code::MethodUnknown,
            ctx.name,
        )
    }

    /// A batch: part of revision 2025-03-26 only (basic, "Batching").
    fn post_batch(
        &mut self,
        key: StreamKey,
        request: &Request,
        view: View,
        access: Option<Arc<Access>>,
        text: &str,
        attempt: &Attempt,
    ) -> Result<Flow, Refusal> {
        let refused = || Refusal::new(400, rpc::INVALID_REQUEST, Code::BatchRefused, "");
        let parts = json::elements(text).ok_or_else(|| Refusal::bad_json(BadJson::Syntax))?;
        let id = request.header("mcp-session-id").ok_or_else(refused)?;
        let (session, version) = self.session_of(request, view, id)?;
        if version != Legacy::L2025_03_26 || parts.is_empty() || parts.len() > 100 {
            return Err(refused());
        }
        let envelopes = parts
            .into_iter()
            .map(Envelope::parse)
            .collect::<Result<Vec<_>, _>>()
            .map_err(Refusal::bad_json)?;
        let requests = envelopes
            .iter()
            .filter(|envelope| matches!(envelope.kind, Kind::Request(..)))
            .count();
        if requests > 0 {
            let mut exchange = Exchange::new(request, Some(session.clone()), attempt.arrived);
            exchange.batch(requests);
            self.clients.exchanges.insert(key, exchange);
        }
        for envelope in &envelopes {
            match &envelope.kind {
                Kind::Request(id, name) => {
                    let era = ClientEra::Legacy(session.clone(), version);
                    let (method, params) = (Method::parse(name), envelope.params);
                    let access = access.clone();
                    // The headers of a batch say not which of its requests they are about.
                    let meta = inbound::meta_of(envelope);
                    let arrived = attempt.arrived;
                    let tracing =
                        self.spans
                            .begin(&mut self.cx, key.edge, &[], (id, method), meta, arrived);
                    let mut attempt = Attempt {
                        tracing,
                        arrived,
                        fresh: attempt.fresh,
                        tries: attempt.tries,
                    };
                    self.name_client(&mut attempt, &era);
                    let trace = match &attempt.tracing {
                        Some(tracing) => tracing.trace().cloned(),
                        None => Trace::read(&[], meta).map(Arc::new),
                    };
                    let ctx = Ctx {
                        key,
                        request,
                        arrived,
                        attempt: &attempt,
                        view,
                        access,
                        text: envelope.text,
                        id,
                        name,
                        method,
                        params,
                        era,
                        trace,
                    };
                    let flow = match self.admit(key, request, &attempt) {
                        Ok(()) if method == Method::Initialize => Err(refused()),
                        Ok(()) => self.request(&ctx),
                        Err(refusal) => Err(refusal),
                    };
                    match flow {
                        Ok(Flow::Done) => {}
                        // A request of a batch cannot be set aside alone; it is answered with what
                        // is known now.
                        Ok(Flow::Wait) => self.refuse(
                            &ctx,
                            &Refusal::new(200, rpc::INTERNAL, Code::UpstreamStarting, "").retry(1),
                        ),
                        Err(refusal) => self.refuse(&ctx, &refusal),
                    }
                    self.spans.end(&mut self.cx, attempt.take_span(), "ok", b"");
                }
                Kind::Notification(name) => {
                    self.client_notification(&session, name, envelope.params)
                }
                Kind::Result(..) | Kind::Error(..) => self.client_answer(&session, envelope),
            }
        }
        if requests == 0 {
            self.cx.full(key, 202, Bytes::new());
        }
        Ok(Flow::Done)
    }

    /// Answers a request with an error.
    pub(crate) fn refuse(&mut self, ctx: &Ctx<'_>, refusal: &Refusal) {
        self.answer_now(
            ctx,
            refusal.status,
            refusal.retry_after,
            refusal.body(Some(ctx.id)),
            "error",
        );
    }

    /// Answers a request with the members of a result.
    pub(crate) fn result(&mut self, ctx: &Ctx<'_>, result: &str) {
        self.answer_now(
            ctx,
            200,
            None,
            crate::protocol::refusal::result_message(ctx.id, result),
            "ok",
        );
    }

    /// Answers a request that was not passed on.
    pub(crate) fn answer_now(
        &mut self,
        ctx: &Ctx<'_>,
        status: u16,
        retry_after: Option<u32>,
        body: Bytes,
        outcome: &'static str,
    ) {
        let duration = self.cx.now.saturating_sub(ctx.arrived);
        let trace = ctx.trace.as_ref().and_then(|trace| trace.sampled());
        self.spans
            .end(&mut self.cx, ctx.attempt.take_span(), outcome, &body);
        self.cx.emit(Output::Observe(Observation::Request {
            method: ctx.method.name(),
            era: ctx.era_name(),
            outcome,
            duration,
            trace,
        }));
        match self.clients.exchanges.get_mut(&ctx.key) {
            Some(exchange) => {
                exchange.answer(ctx.key, None, status, retry_after, body, self.cx.outputs());
                self.clients.sweep(ctx.key);
            }
            None => {
                let mut exchange = Exchange::new(ctx.request, None, ctx.arrived);
                exchange.answer(ctx.key, None, status, retry_after, body, self.cx.outputs());
            }
        }
    }

    fn observe_refusal(&mut self, refusal: &Refusal) {
        self.cx.emit(Output::Observe(Observation::Request {
            method: "other",
            era: "unknown",
            outcome: "error",
            duration: 0,
            trace: None,
        }));
        self.cx.note(
            ggen_wire::log::Level::Debug,
            "protocol",
            None,
            Some(refusal.code),
            refusal.message.clone(),
        );
    }
}
