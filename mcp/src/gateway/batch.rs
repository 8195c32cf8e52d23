//! Batches: part of revision 2025-03-26 only (basic, "Batching").

use crate::access::policy::Access;
use crate::api::StreamKey;
use crate::client::exchange::Exchange;
use crate::client::request::{ClientEra, Flow, RequestContext};
use crate::client::waiting::Attempt;
use crate::edge::Request;
use crate::gateway::Gateway;
use crate::observation::CallOutcome;
use crate::protocol::json::{BadJson, Envelope, Kind};
use crate::protocol::method::{Legacy, Method};
use crate::protocol::refusal::{Refusal, rpc};
use crate::protocol::{inbound, json};
use crate::trace::Trace;
use crate::upstream::view::View;
use bytes::Bytes;
use ggen_wire::Code;
use std::sync::Arc;

fn refused() -> Refusal {
    Refusal::new(400, rpc::INVALID_REQUEST, Code::BatchRefused, "")
}

impl Gateway {
    /// Takes a batch of messages.
    pub(super) fn post_batch(
        &mut self,
        key: StreamKey,
        request: &Request,
        view: View,
        access: Option<Arc<Access>>,
        text: &str,
        attempt: &Attempt,
    ) -> Result<Flow, Refusal> {
        let parts = json::elements(text).ok_or_else(|| Refusal::bad_json(BadJson::Syntax))?;
        let id = request.header("mcp-session-id").ok_or_else(refused)?;
        let (session, version) =
            self.clients
                .session_of(&self.cx, &mut self.access, request, view, id)?;
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
            self.clients.add_exchange(key, exchange);
        }
        for envelope in &envelopes {
            match &envelope.kind {
                Kind::Request(id, name) => {
                    let era = ClientEra::Legacy(session.clone(), version);
                    let named = (*id, &**name);
                    self.batched(
                        key,
                        request,
                        view,
                        access.clone(),
                        envelope,
                        named,
                        era,
                        attempt,
                    );
                }
                Kind::Notification(name) => {
                    self.calling()
                        .client_notification(&session, name, envelope.params)
                }
                Kind::Result(..) | Kind::Error(..) => {
                    self.questioning().client_answer(&session, envelope)
                }
            }
        }
        if requests == 0 {
            self.cx.full(key, 202, Bytes::new());
        }
        Ok(Flow::Done)
    }

    /// One request of a batch. It cannot wait alone: it is answered with what is known now.
    #[allow(
        clippy::too_many_arguments,
        reason = "what is known of the batch and of its request"
    )]
    fn batched(
        &mut self,
        key: StreamKey,
        request: &Request,
        view: View,
        access: Option<Arc<Access>>,
        envelope: &Envelope<'_>,
        (id, name): (&str, &str),
        era: ClientEra<'_>,
        batch: &Attempt,
    ) {
        let (method, arrived) = (Method::parse(name), batch.arrived);
        // The headers of a batch do not say which of its requests they are about.
        let meta = inbound::meta_of(envelope);
        let mut attempt = Attempt {
            tracing: self
                .spans
                .begin(&mut self.cx, key.edge, &[], (id, method), meta, arrived),
            arrived,
            fresh: batch.fresh,
            tries: batch.tries,
        };
        self.clients.name_client(&mut attempt, &era);
        let trace = match &attempt.tracing {
            Some(tracing) => tracing.trace().cloned(),
            None => Trace::read(&[], meta).map(Arc::new),
        };
        let ctx = RequestContext {
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
            params: envelope.params,
            era,
            trace,
        };
        let flow = match attempt.admit(&mut self.cx, &mut self.access, key, request) {
            Ok(()) if method == Method::Initialize => Err(refused()),
            Ok(()) => self.request(&ctx),
            Err(refusal) => Err(refusal),
        };
        match flow {
            Ok(Flow::Done) => {}
            Ok(Flow::Wait) => self.clients.refuse(
                &mut self.cx,
                &mut self.spans,
                &ctx,
                &Refusal::new(200, rpc::INTERNAL, Code::UpstreamStarting, "").retry(1),
            ),
            Err(refusal) => self
                .clients
                .refuse(&mut self.cx, &mut self.spans, &ctx, &refusal),
        }
        self.spans
            .end(&mut self.cx, attempt.take_span(), CallOutcome::Ok, b"");
    }
}
