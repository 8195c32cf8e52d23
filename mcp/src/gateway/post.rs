//! The way of a request: what a client sent, whether it may, and which room answers it.

use crate::access::policy::Access;
use crate::api::{Observation, Output, StreamKey};
use crate::client::request::{ClientEra, Flow, RequestContext};
use crate::client::waiting::{Attempt, Waiting};
use crate::edge::{Request, Verb};
use crate::gateway::Gateway;
use crate::observation::CallOutcome;
use crate::protocol::inbound::RequestEra;
use crate::protocol::json::{BadJson, Envelope, Kind};
use crate::protocol::method::Method;
use crate::protocol::refusal::{Refusal, rpc};
use crate::protocol::{header, inbound, json};
use crate::trace::Trace;
use crate::upstream::view::View;
use bytes::Bytes;
use ggen_wire::Code;
use std::sync::Arc;

impl Gateway {
    /// Attempts a request: answers it, passes it on, or has it wait for a server.
    pub(crate) fn open(&mut self, key: StreamKey, request: Request, mut attempt: Attempt) {
        let flow = match request.verb {
            Verb::Get if request.view.starts_with('/') => {
                self.serving().inspect(key, &request, &attempt)
            }
            Verb::Get | Verb::Attach => self.serving().get(key, &request),
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
        self.spans
            .end(&mut self.cx, attempt.take_span(), CallOutcome::Ok, b"");
    }

    /// Has a request wait for a server, if there is room.
    fn wait(&mut self, key: StreamKey, request: Request, attempt: Attempt) {
        let bytes = self.clients.waiting_bytes() + request.body.len();
        let full =
            self.clients.waiting() >= self.cx.limits.calls || bytes > self.cx.limits.waiting_bytes;
        let room = if full {
            Err(Refusal::new(503, rpc::INTERNAL, Code::Overloaded, "").retry(1))
        } else {
            let principal = &request.principal;
            self.access
                .admit_in_flight(&mut self.cx, key, principal, || {
                    self.clients.unanswered_of(principal)
                })
        };
        match room {
            Ok(()) => self.clients.wait(Waiting {
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
            attempt.admit(&mut self.cx, &mut self.access, key, request)?;
        }
        let era = match inbound::classify_by(request, envelope, meta)? {
            RequestEra::Handshake => {
                return self.handshake(key, request, view, access, envelope, attempt);
            }
            RequestEra::Session(id) => {
                let (session, version) =
                    self.clients
                        .session_of(&self.cx, &mut self.access, request, view, id)?;
                self.clients.use_session(&session, &envelope.kind);
                ClientEra::Legacy(session, version)
            }
            RequestEra::Sessionless(version) => ClientEra::Sessionless(version),
            RequestEra::Modern(claim) => ClientEra::Modern(claim),
        };
        if let Kind::Request(id, name) = &envelope.kind {
            self.clients.name_client(attempt, &era);
            let ctx = RequestContext {
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
                era,
                trace: match &attempt.tracing {
                    Some(tracing) => tracing.trace().cloned(),
                    None => Trace::read(&request.headers, meta).map(Arc::new),
                },
            };
            return self.request(&ctx);
        }
        self.no_request(key, envelope, &era)
    }

    /// `initialize`
    fn handshake(
        &mut self,
        key: StreamKey,
        request: &Request,
        view: View,
        access: Option<Arc<Access>>,
        envelope: &Envelope<'_>,
        attempt: &mut Attempt,
    ) -> Result<Flow, Refusal> {
        let Kind::Request(id, _) = envelope.kind else {
            return Err(Refusal::new(
                400,
                rpc::INVALID_REQUEST,
                Code::InvalidRequest,
                "initialize is a request",
            ));
        };
        let asked = (id, envelope.params);
        self.serving()
            .initialize(key, request, view, access, asked, attempt)
    }

    /// A notification or an answer of a client.
    fn no_request(
        &mut self,
        key: StreamKey,
        envelope: &Envelope<'_>,
        era: &ClientEra<'_>,
    ) -> Result<Flow, Refusal> {
        match (&envelope.kind, era) {
            (Kind::Notification(name), ClientEra::Legacy(session, _)) => {
                self.calling()
                    .client_notification(session, name, envelope.params);
            }
            (Kind::Result(..) | Kind::Error(..), ClientEra::Legacy(session, _)) => {
                self.questioning().client_answer(session, envelope);
            }
            (Kind::Result(..) | Kind::Error(..), ClientEra::Modern(_)) => {
                return Err(Refusal::new(
                    400,
                    rpc::INVALID_REQUEST,
                    Code::InvalidRequest,
                    "a modern client sends no responses",
                ));
            }
            // Whoever names no session is heard, and nothing is done.
            (_, ClientEra::Sessionless(_)) | (Kind::Notification(_) | Kind::Request(..), _) => {}
        }
        self.cx.full(key, 202, Bytes::new());
        Ok(Flow::Done)
    }

    pub(super) fn request(&mut self, ctx: &RequestContext<'_>) -> Result<Flow, Refusal> {
        let flow = self.routed(ctx);
        if let Err(refusal) = &flow {
            ctx.audit(&self.access, &mut self.cx, Some(refusal));
        }
        flow
    }

    fn routed(&mut self, ctx: &RequestContext<'_>) -> Result<Flow, Refusal> {
        if ctx.is_modern() && !ctx.request.verb.is_socket() {
            header::check(ctx.request, ctx.name, ctx.params)?;
        }
        if !ctx.method.exists(ctx.is_modern()) {
            return Err(ctx.unknown_method());
        }
        match ctx.method {
            Method::ToolsCall | Method::PromptsGet | Method::ResourcesRead | Method::Complete => {
                self.relay_named(ctx)
            }
            Method::Subscribe | Method::Unsubscribe => self.calling().subscribe(ctx),
            Method::Listen => self.serving().listen(ctx),
            Method::TaskGet
            | Method::TaskUpdate
            | Method::TaskCancel
            | Method::TaskResult
            | Method::TaskList => self.bridging().relay_task(ctx),
            Method::Other => self.relay_other(ctx),
            _ => self.serving().local(ctx),
        }
    }

    pub(super) fn observe_refusal(&mut self, refusal: &Refusal) {
        self.cx.emit(Output::Observe(Observation::Request {
            method: "other",
            era: "unknown",
            outcome: CallOutcome::Error,
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
