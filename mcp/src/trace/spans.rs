//! The relay's part in traces: a span for each request of a client, and one for each call that is
//! made for it, whose id the server gets as its parent (W3C Trace Context). The parent's flag
//! decides whether there are spans, without a parent the configured share. Costs nothing while it
//! is off.

use crate::access::rules::{LONGEST, cut};
use crate::api::{Micros, Observation, Output, StreamKey, UpId};
use crate::call::record::ClientCall;
use crate::client::request::{ClientEra, Ctx};
use crate::edge::Request;
use crate::gateway::Gateway;
use crate::protocol::json;
use crate::protocol::method::{MODERN, Method};
use crate::protocol::refusal::Refusal;
use crate::trace::span::{Failure, Side, Span, SpanId};
use crate::trace::{Trace, TraceId};
use crate::upstream::UpEra;
use bytes::Bytes;
use ggen_wire::Code;
use std::sync::Arc;

/// What is known of the trace of the request at hand. It stays the same however often the request
/// is tried.
#[derive(Debug, Default)]
pub(crate) struct Tracing {
    /// What its server gets, but for the call's own span.
    pub(crate) trace: Option<Arc<Trace>>,
    /// Its span; none: it is not recorded.
    pub(crate) span: Option<Box<Span>>,
}

impl Gateway {
    /// A request has come; nothing is done for one that comes again.
    pub(crate) fn begin_span(
        &mut self,
        key: StreamKey,
        headers: &[(Box<str>, Box<[u8]>)],
        (id, method): (&str, Method),
        meta: Option<&str>,
        arrived: Micros,
    ) {
        let Some(ratio) = self.rules.spans.filter(|_| self.at_hand.is_none()) else {
            return;
        };
        let trace = Trace::read(headers, meta);
        let origin = trace.as_ref().and_then(Trace::origin);
        if origin.as_ref().is_some_and(|origin| !origin.sampled) {
            self.at_hand = Some(Tracing {
                trace: trace.map(Arc::new),
                span: None,
            });
            return;
        }
        let own = self.span_id();
        let (trace, id_of_trace, recorded) = match &origin {
            Some(origin) => (trace, origin.trace, true),
            None => {
                let begun = self.trace_id();
                let recorded = ratio.takes(begun);
                (
                    Some(trace.unwrap_or_default().begun(begun, own, recorded)),
                    begun,
                    recorded,
                )
            }
        };
        let span = recorded.then(|| {
            Box::new(Span {
                trace: id_of_trace,
                id: own,
                parent: origin.as_ref().map(|origin| origin.span),
                state: origin
                    .as_ref()
                    .and_then(|origin| origin.state.as_deref().map(Arc::from)),
                link: origin.as_ref().and_then(|origin| origin.link),
                side: Side::Client(key.edge),
                method: method.name(),
                target: None,
                request: cut(id, LONGEST),
                session: None,
                version: "",
                began: arrived,
                ended: 0,
                failure: None,
            })
        });
        self.spans += usize::from(recorded);
        self.at_hand = Some(Tracing {
            trace: trace.map(Arc::new),
            span,
        });
    }

    /// The trace of the request at hand.
    pub(crate) fn trace_of(&self, request: &Request, meta: Option<&str>) -> Option<Arc<Trace>> {
        match &self.at_hand {
            Some(tracing) => tracing.trace.clone(),
            None => Trace::read(&request.headers, meta).map(Arc::new),
        }
    }

    /// Who asks: the revision, and the session.
    pub(crate) fn span_of(&mut self, era: &ClientEra<'_>) {
        let Some(span) = self
            .at_hand
            .as_mut()
            .and_then(|tracing| tracing.span.as_mut())
        else {
            return;
        };
        match era {
            ClientEra::Modern(_) => span.version = MODERN,
            ClientEra::Legacy(session, version) => {
                span.version = version.as_str();
                let session = self
                    .sessions
                    .get(session)
                    .filter(|session| !session.digest.is_empty());
                span.session = session.map(|session| session.digest.clone());
            }
        }
    }

    /// What is asked for, as the client knows it.
    pub(crate) fn span_target(&mut self, target: Option<&Arc<str>>) {
        if let Some(span) = self
            .at_hand
            .as_mut()
            .and_then(|tracing| tracing.span.as_mut())
        {
            span.target = target.cloned();
        }
    }

    /// The span of the request at hand, for whoever answers it later.
    pub(crate) fn take_span(&mut self) -> Option<Box<Span>> {
        self.at_hand.as_mut()?.span.take()
    }

    /// The span of a call that is about to be made for the request at hand, and the trace as its
    /// server gets it.
    pub(crate) fn call_span(
        &mut self,
        ctx: &Ctx<'_>,
        up: UpId,
        number: u64,
        target: Option<Arc<str>>,
    ) -> (Option<Arc<Trace>>, Option<Box<Span>>) {
        let Some(above) = self
            .at_hand
            .as_ref()
            .and_then(|tracing| tracing.span.as_ref())
        else {
            return (ctx.trace.clone(), None);
        };
        let (trace, parent, state) = (above.trace, above.id, above.state.clone());
        let id = self.span_id();
        self.spans += 1;
        let version = match self.up_ref(up).era {
            Some(UpEra::Modern) => MODERN,
            Some(UpEra::Legacy(version)) => version.as_str(),
            None => "",
        };
        let span = Span {
            trace,
            id,
            parent: Some(parent),
            state,
            link: None,
            side: Side::Upstream(up),
            method: ctx.method.name(),
            target,
            request: number.to_string().into(),
            session: None,
            version,
            began: self.cx.now,
            ended: 0,
            failure: None,
        };
        (
            ctx.trace
                .as_ref()
                .map(|trace| Arc::new(Trace::clone(trace).below(id))),
            Some(Box::new(span)),
        )
    }

    /// The same call of a modern server once more, with answers: a span of its own, which the body
    /// names in the place of the one before.
    pub(crate) fn call_span_again(
        &mut self,
        call: &mut ClientCall,
        number: u64,
        body: &Bytes,
    ) -> Option<Bytes> {
        let id = call.sent.as_ref().map(|_| self.span_id())?;
        let (span, trace) = (call.sent.as_mut()?, call.trace.take()?);
        let before = format!("-{}-", span.id);
        (span.id, span.began, span.ended, span.failure, span.request) =
            (id, self.cx.now, 0, None, number.to_string().into());
        self.spans += 1;
        call.trace = Some(Arc::new(Trace::clone(&trace).below(id)));
        let parent = format!("{}{before}", span.trace);
        Some(
            String::from_utf8_lossy(body)
                .replacen(&parent, &format!("{}-{id}-", span.trace), 1)
                .into(),
        )
    }

    /// A request is answered.
    pub(crate) fn end_span(&mut self, span: Option<Box<Span>>, outcome: &'static str, body: &[u8]) {
        if let Some(span) = span {
            self.finish_span(span, failure(outcome, body));
        }
    }

    /// A request is refused.
    pub(crate) fn refuse_span(&mut self, span: Option<Box<Span>>, refusal: &Refusal) {
        if let Some(span) = span {
            self.finish_span(
                span,
                Some(Failure {
                    outcome: "error",
                    rpc: Some(refusal.rpc),
                    code: Some(refusal.code),
                }),
            );
        }
    }

    /// The server's part in a call is over.
    pub(crate) fn end_call_span(
        &mut self,
        client: &ClientCall,
        outcome: &'static str,
        body: &[u8],
    ) {
        if let Some(span) = client.sent.as_ref().filter(|span| span.ended == 0) {
            // An error that we made says nothing of what the server answered.
            let failure = failure(outcome, body).map(|failure| Failure {
                rpc: failure.rpc.filter(|_| failure.code.is_none()),
                ..failure
            });
            self.finish_span(span.clone(), failure);
        }
    }

    /// The server's part in a call is over for now: it asks for something, or was lost and the call
    /// is made again.
    pub(crate) fn pause_call_span(&mut self, call: &mut ClientCall, outcome: &'static str) {
        self.end_call_span(call, outcome, b"");
        let now = self.cx.now;
        call.sent
            .iter_mut()
            .for_each(|span| span.ended = now.max(1));
    }

    fn finish_span(&mut self, mut span: Box<Span>, failure: Option<Failure>) {
        (span.ended, span.failure) = (self.cx.now, failure);
        self.spans = self.spans.saturating_sub(1);
        self.cx.emit(Output::Observe(Observation::Span(span)));
    }

    fn span_id(&mut self) -> SpanId {
        loop {
            let mut bits = [0; 8];
            self.cx.random(&mut bits);
            if bits != [0; 8] {
                return SpanId(u64::from_be_bytes(bits));
            }
        }
    }

    fn trace_id(&mut self) -> TraceId {
        loop {
            let mut bits = [0; 16];
            self.cx.random(&mut bits);
            if bits != [0; 16] {
                return TraceId(u128::from_be_bytes(bits));
            }
        }
    }
}

/// Why an answer is a failure.
fn failure(outcome: &'static str, body: &[u8]) -> Option<Failure> {
    if outcome == "ok" {
        return None;
    }
    let text = std::str::from_utf8(body).unwrap_or_default();
    let [code, data] = json::pick(text, ["error"])
        .and_then(|[error]| json::pick(error?, ["code", "data"]))
        .unwrap_or_default();
    let ours = data
        .and_then(|data| json::pick(data, ["code"])?[0])
        .and_then(json::string);
    Some(Failure {
        outcome,
        rpc: code.and_then(|code| code.parse().ok()),
        code: ours.and_then(|ours| {
            ours.starts_with("GGEN-")
                .then(|| ours.parse::<Code>().ok())?
        }),
    })
}
