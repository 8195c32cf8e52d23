//! The relay's part in traces: a span for each request of a client, and one for each call that is
//! made for it. The call's span is the parent that the server sees (W3C Trace Context). The flag of
//! the client's parent decides whether there are spans; without a parent the configured share
//! decides. While tracing is off, nothing is allocated.

use crate::api::{Micros, Observation, Output, UpId};
use crate::context::Context;
use crate::observation::CallOutcome;
use crate::protocol::excerpt::{LONGEST, cut};
use crate::protocol::json;
use crate::protocol::method::Method;
use crate::protocol::refusal::Refusal;
use crate::trace::span::{Failure, Ratio, Side, Span, SpanId};
use crate::trace::{Origin, Trace, TraceId};
use bytes::Bytes;
use ggen_wire::Code;
use std::cell::Cell;
use std::sync::Arc;

/// The trace of one request of a client. It stays the same however often the request is tried.
#[derive(Default)]
pub(crate) struct Tracing {
    /// What the server gets, except for the parent: that is the call's own span.
    trace: Option<Arc<Trace>>,
    /// The request's span, until whoever answers the request takes it. None: it is not recorded.
    span: Cell<Option<Box<Span>>>,
}

impl Tracing {
    pub(crate) const fn new(trace: Option<Arc<Trace>>, span: Option<Box<Span>>) -> Self {
        Self {
            trace,
            span: Cell::new(span),
        }
    }

    pub(crate) const fn trace(&self) -> Option<&Arc<Trace>> {
        self.trace.as_ref()
    }

    /// The request's span, for whoever answers the request.
    pub(crate) fn take_span(&self) -> Option<Box<Span>> {
        self.span.take()
    }

    /// Says who asks: the revision, and the digest of the session.
    pub(crate) fn set_client(&mut self, version: &'static str, session: Option<&str>) {
        if let Some(span) = self.span.get_mut() {
            span.version = version;
            span.session = session.map(Into::into);
        }
    }

    /// Says what is asked for, by the name that the client knows.
    pub(crate) fn set_target(&self, target: Option<&Arc<str>>) {
        if let Some(mut span) = self.span.take() {
            span.target = target.cloned();
            self.span.set(Some(span));
        }
    }

    /// The trace, the id and the state that a span below the request's span names.
    fn parent(&self) -> Option<(TraceId, SpanId, Option<Arc<str>>)> {
        let span = self.span.take()?;
        let parent = (span.trace, span.id, span.state.clone());
        self.span.set(Some(span));
        Some(parent)
    }
}

/// What a span of a call says of the call.
pub(crate) struct CallFacts {
    pub(crate) up: UpId,
    /// The revision that the server speaks; empty if that is not known.
    pub(crate) version: &'static str,
    pub(crate) method: Method,
    /// The id that the call is sent with.
    pub(crate) number: u64,
    /// The tool or prompt, by the name that the server knows.
    pub(crate) target: Option<Arc<str>>,
}

/// Begins and ends spans.
#[derive(Default)]
pub(crate) struct Spans {
    /// The share of the traces that begin here and are recorded; none: tracing is off.
    ratio: Option<Ratio>,
    /// Spans that are not over.
    open: usize,
}

impl Spans {
    pub(crate) const fn set_ratio(&mut self, ratio: Option<Ratio>) {
        self.ratio = ratio;
    }

    /// The number of spans that are not over.
    pub(crate) const fn open(&self) -> usize {
        self.open
    }

    /// A request has come over a link. `None`: tracing is off.
    pub(crate) fn begin(
        &mut self,
        cx: &mut Context,
        link: u32,
        headers: &[(Box<str>, Box<[u8]>)],
        (id, method): (&str, Method),
        meta: Option<&str>,
        arrived: Micros,
    ) -> Option<Tracing> {
        let ratio = self.ratio?;
        let trace = Trace::read(headers, meta);
        let origin = trace.as_ref().and_then(Trace::origin);
        if origin.as_ref().is_some_and(|origin| !origin.sampled) {
            return Some(Tracing::new(trace.map(Arc::new), None));
        }
        let own = span_id(cx);
        let (trace, id_of_trace, recorded) = match &origin {
            Some(origin) => (trace, origin.trace, true),
            None => {
                let begun = trace_id(cx);
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
                request: cut(id, LONGEST),
                began: arrived,
                ..request_span(id_of_trace, own, link, method, origin)
            })
        });
        self.open += usize::from(recorded);
        Some(Tracing::new(trace.map(Arc::new), span))
    }

    /// The span of a call that is about to be made for a request, and the trace as the call's
    /// server gets it. `trace` is the request's.
    pub(crate) fn begin_call(
        &mut self,
        cx: &mut Context,
        tracing: Option<&Tracing>,
        trace: Option<&Arc<Trace>>,
        facts: CallFacts,
    ) -> (Option<Arc<Trace>>, Option<Box<Span>>) {
        let Some((of, parent, state)) = tracing.and_then(Tracing::parent) else {
            return (trace.cloned(), None);
        };
        let id = span_id(cx);
        self.open += 1;
        let span = Span {
            trace: of,
            id,
            parent: Some(parent),
            state,
            link: None,
            side: Side::Upstream(facts.up),
            method: facts.method.name(),
            target: facts.target,
            request: facts.number.to_string().into(),
            session: None,
            version: facts.version,
            began: cx.now,
            ended: 0,
            failure: None,
        };
        (
            trace.map(|trace| Arc::new(Trace::clone(trace).below(id))),
            Some(Box::new(span)),
        )
    }

    /// The same call of a modern server is made once more, with answers. It gets a span of its own,
    /// and the body that is returned names that span instead of the one before. `None`: the call
    /// has no span.
    pub(crate) fn begin_call_again(
        &mut self,
        cx: &mut Context,
        sent: Option<&mut Span>,
        trace: &mut Option<Arc<Trace>>,
        number: u64,
        body: &Bytes,
    ) -> Option<Bytes> {
        let span = sent?;
        let id = span_id(cx);
        let known = trace.take()?;
        let before = format!("-{}-", span.id);
        (span.id, span.began, span.ended, span.failure, span.request) =
            (id, cx.now, 0, None, number.to_string().into());
        self.open += 1;
        *trace = Some(Arc::new(Trace::clone(&known).below(id)));
        let parent = format!("{}{before}", span.trace);
        Some(
            String::from_utf8_lossy(body)
                .replacen(&parent, &format!("{}-{id}-", span.trace), 1)
                .into(),
        )
    }

    /// A request is answered.
    pub(crate) fn end(
        &mut self,
        cx: &mut Context,
        span: Option<Box<Span>>,
        outcome: CallOutcome,
        body: &[u8],
    ) {
        if let Some(span) = span {
            self.finish(cx, span, failure(outcome, body));
        }
    }

    /// A request is refused.
    pub(crate) fn refuse(&mut self, cx: &mut Context, span: Option<Box<Span>>, refusal: &Refusal) {
        if let Some(span) = span {
            let failure = Failure {
                outcome: CallOutcome::Error,
                rpc: Some(refusal.rpc),
                code: Some(refusal.code),
            };
            self.finish(cx, span, Some(failure));
        }
    }

    /// The server's part in a call is over. `sent` is the call's span.
    pub(crate) fn end_call(
        &mut self,
        cx: &mut Context,
        sent: Option<&Span>,
        outcome: CallOutcome,
        body: &[u8],
    ) {
        if let Some(span) = sent.filter(|span| span.ended == 0) {
            // An error that the relay made says nothing of what the server answered.
            let failure = failure(outcome, body).map(|failure| Failure {
                rpc: failure.rpc.filter(|_| failure.code.is_none()),
                ..failure
            });
            self.finish(cx, Box::new(span.clone()), failure);
        }
    }

    /// The server's part in a call is over for now: it asks for something, or was lost and the call
    /// is made again.
    pub(crate) fn pause_call(
        &mut self,
        cx: &mut Context,
        sent: Option<&mut Span>,
        outcome: CallOutcome,
    ) {
        self.end_call(cx, sent.as_deref(), outcome, b"");
        if let Some(span) = sent {
            span.ended = cx.now.max(1);
        }
    }

    fn finish(&mut self, cx: &mut Context, mut span: Box<Span>, failure: Option<Failure>) {
        (span.ended, span.failure) = (cx.now, failure);
        self.open = self.open.saturating_sub(1);
        cx.emit(Output::Observe(Observation::Span(span)));
    }
}

fn request_span(
    trace: TraceId,
    id: SpanId,
    link: u32,
    method: Method,
    origin: Option<Origin>,
) -> Span {
    Span {
        trace,
        id,
        parent: origin.as_ref().map(|origin| origin.span),
        link: origin.as_ref().and_then(|origin| origin.link),
        state: origin.and_then(|origin| origin.state.as_deref().map(Arc::from)),
        side: Side::Client(link),
        method: method.name(),
        target: None,
        request: Box::default(),
        session: None,
        version: "",
        began: 0,
        ended: 0,
        failure: None,
    }
}

fn span_id(cx: &mut Context) -> SpanId {
    loop {
        let mut bits = [0; 8];
        cx.random(&mut bits);
        if bits != [0; 8] {
            return SpanId(u64::from_be_bytes(bits));
        }
    }
}

fn trace_id(cx: &mut Context) -> TraceId {
    loop {
        let mut bits = [0; 16];
        cx.random(&mut bits);
        if bits != [0; 16] {
            return TraceId(u128::from_be_bytes(bits));
        }
    }
}

/// Why an answer is a failure.
fn failure(outcome: CallOutcome, body: &[u8]) -> Option<Failure> {
    if outcome == CallOutcome::Ok {
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
