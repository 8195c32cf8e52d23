//! The front of the relay: what a client sent, whether it may, and where it goes.

use crate::access::policy::Access;
use crate::api::{Micros, Observation, Output, StreamKey};
use crate::client::exchange::Exchange;
use crate::client::session_store;
use crate::edge::{Request, Verb};
use crate::gateway::{Gateway, Waiting};
use crate::protocol::inbound::{Claim, Era};
use crate::protocol::json::{BadJson, Envelope, Kind};
use crate::protocol::method::{Legacy, Method, SUPPORTED};
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
    /// `fresh`: it has just come, and has not waited yet; `tries`: how often it was sent already.
    pub(crate) fn open(
        &mut self,
        key: StreamKey,
        request: Request,
        arrived: Micros,
        tries: u32,
        fresh: bool,
    ) {
        (self.fresh, self.tries) = (fresh, tries);
        if fresh {
            self.at_hand = None;
        }
        let flow = match request.verb {
            Verb::Get if request.view.starts_with('/') => self.inspect(key, &request),
            Verb::Get | Verb::Attach => self.get(key, &request),
            Verb::Delete => self.delete(key, &request),
            Verb::Post | Verb::Message => self.post(key, &request, arrived),
        };
        match flow {
            Ok(Flow::Done) => {}
            Ok(Flow::Wait) if self.waiting.len() >= self.cx.limits.calls => {
                self.refuse_waiting(
                    key,
                    &request,
                    &Refusal::new(503, rpc::INTERNAL, Code::Overloaded, "").retry(1),
                );
            }
            Ok(Flow::Wait) => match self.admit_in_flight(key, &request.principal) {
                Ok(()) => {
                    let tracing = self.at_hand.take();
                    self.waiting.push(Waiting {
                        key,
                        request,
                        arrived,
                        tries,
                        tracing,
                    });
                }
                Err(refusal) => self.refuse_waiting(key, &request, &refusal),
            },
            Err((id, refusal)) => {
                self.observe_refusal(&refusal);
                let span = self.take_span();
                self.refuse_span(span, &refusal);
                self.refuse_whole(key, &refusal, id.as_deref());
            }
        }
        // What nobody is left to answer is over.
        let span = self.take_span();
        self.end_span(span, "ok", b"");
        self.at_hand = None;
    }

    /// A request that may not wait for its upstream.
    fn refuse_waiting(&mut self, key: StreamKey, request: &Request, refusal: &Refusal) {
        let id = std::str::from_utf8(&request.body)
            .ok()
            .and_then(|text| json::pick(text, ["id"])?[0]);
        let span = self.take_span();
        self.refuse_span(span, refusal);
        self.refuse_whole(key, refusal, id);
    }

    /// The view that a path names.
    pub(crate) fn view(&self, name: &str) -> Result<View, Refusal> {
        match name {
            "" => Ok(View::All),
            "core" if !self.configured().any(|up| up.settings.name == "core") => Ok(View::Core),
            name => self
                .configured()
                .find(|up| up.settings.name == name)
                .map(|up| View::One(up.id))
                .ok_or_else(|| Refusal::new(404, rpc::INVALID_REQUEST, Code::ServerUnknown, name)),
        }
    }

    fn post(
        &mut self,
        key: StreamKey,
        request: &Request,
        arrived: Micros,
    ) -> Result<Flow, (Option<Box<str>>, Refusal)> {
        let anonymous = |refusal| (None, refusal);
        let access = self.access(key, request);
        let view = self
            .view_for(access.as_deref(), request)
            .map_err(anonymous)?;
        let text = std::str::from_utf8(&request.body)
            .map_err(|_| anonymous(Refusal::bad_json(BadJson::Syntax)))?;
        if json::deeper_than(text.as_bytes(), self.cx.limits.depth) {
            return Err(anonymous(Refusal::bad_json(BadJson::Depth)));
        }
        if text.trim_start().starts_with('[') {
            return self
                .post_batch(key, request, view, access, text, arrived)
                .map_err(anonymous);
        }
        let envelope = Envelope::parse(text).map_err(|bad| anonymous(Refusal::bad_json(bad)))?;
        let id = match envelope.kind {
            Kind::Request(id, _) => Some(id),
            _ => None,
        };
        self.message(key, request, view, access, &envelope, arrived)
            .map_err(|refusal| (id.map(Into::into), refusal))
    }

    fn message(
        &mut self,
        key: StreamKey,
        request: &Request,
        view: View,
        access: Option<Arc<Access>>,
        envelope: &Envelope<'_>,
        arrived: Micros,
    ) -> Result<Flow, Refusal> {
        let meta = inbound::meta_of(envelope);
        if let Kind::Request(id, name) = &envelope.kind {
            self.begin_span(
                key,
                &request.headers,
                (id, Method::parse(name)),
                meta,
                arrived,
            );
            self.admit(key, request)?;
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
                return self.initialize(key, request, view, access, (id, envelope.params), arrived);
            }
            Era::Session(id) => {
                let (session, version) = self.session_of(request, view, id)?;
                ClientEra::Legacy(session, version)
            }
            Era::Modern(claim) => ClientEra::Modern(claim),
        };
        match (&envelope.kind, &era) {
            (Kind::Request(id, name), _) => {
                self.span_of(&era);
                let ctx = Ctx {
                    key,
                    request,
                    arrived,
                    view,
                    access,
                    text: envelope.text,
                    id,
                    name,
                    method: Method::parse(name),
                    params: envelope.params,
                    era: era.clone(),
                    trace: self.trace_of(request, meta),
                };
                self.request(&ctx)
            }
            (Kind::Notification(name), ClientEra::Legacy(session, _)) => {
                self.client_notification(&session.clone(), name, envelope.params);
                self.full(key, 202, Bytes::new());
                Ok(Flow::Done)
            }
            (Kind::Notification(_), ClientEra::Modern(_)) => {
                self.full(key, 202, Bytes::new());
                Ok(Flow::Done)
            }
            (Kind::Result(..) | Kind::Error(..), ClientEra::Legacy(session, _)) => {
                self.client_answer(&session.clone(), envelope);
                self.full(key, 202, Bytes::new());
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
        self.recognise(id);
        let (key, session) = match self
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
        if let Some(session) = self.sessions.get_mut(id) {
            session.touch(now);
            if session.principal != request.principal {
                session.principal = request.principal.clone();
                session.access = self.policy.access(&request.principal);
            }
        }
        Ok((key, session))
    }

    fn request(&mut self, ctx: &Ctx<'_>) -> Result<Flow, Refusal> {
        let flow = self.routed(ctx);
        if let Err(refusal) = &flow {
            self.audit_local(ctx, Some(refusal));
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
        arrived: Micros,
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
            let mut exchange = Exchange::new(request, Some(session.clone()), arrived);
            exchange.batch(requests);
            self.exchanges.insert(key, exchange);
        }
        for envelope in &envelopes {
            match &envelope.kind {
                Kind::Request(id, name) => {
                    let era = ClientEra::Legacy(session.clone(), version);
                    let (method, params) = (Method::parse(name), envelope.params);
                    let access = access.clone();
                    // The headers of a batch say not which of its requests they are about.
                    let meta = inbound::meta_of(envelope);
                    self.at_hand = None;
                    self.begin_span(key, &[], (id, method), meta, arrived);
                    self.span_of(&era);
                    let known = self.at_hand.as_ref().map(|tracing| tracing.trace.clone());
                    let trace = known.unwrap_or_else(|| Trace::read(&[], meta).map(Arc::new));
                    let ctx = Ctx {
                        key,
                        request,
                        arrived,
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
                    let flow = match self.admit(key, request) {
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
                    let span = self.take_span();
                    self.end_span(span, "ok", b"");
                }
                Kind::Notification(name) => {
                    self.client_notification(&session, name, envelope.params)
                }
                Kind::Result(..) | Kind::Error(..) => self.client_answer(&session, envelope),
            }
        }
        if requests == 0 {
            self.full(key, 202, Bytes::new());
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
        let span = self.take_span();
        self.end_span(span, outcome, &body);
        self.cx.emit(Output::Observe(Observation::Request {
            method: ctx.method.name(),
            era: ctx.era_name(),
            outcome,
            duration,
            trace,
        }));
        match self.exchanges.get_mut(&ctx.key) {
            Some(exchange) => {
                exchange.answer(ctx.key, None, status, retry_after, body, self.cx.outputs());
                self.sweep(ctx.key);
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
