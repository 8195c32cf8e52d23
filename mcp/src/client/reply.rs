//! Answers to requests that are not passed on.

use crate::api::{Observation, Output};
use crate::client::Clients;
use crate::client::exchange::Exchange;
use crate::client::request::RequestContext;
use crate::context::Context;
use crate::observation::CallOutcome;
use crate::protocol::refusal::Refusal;
use crate::trace::Spans;
use bytes::Bytes;

impl Clients {
    /// Answers a request with an error.
    pub(crate) fn refuse(
        &mut self,
        cx: &mut Context,
        spans: &mut Spans,
        ctx: &RequestContext<'_>,
        refusal: &Refusal,
    ) {
        self.answer_now(
            cx,
            spans,
            ctx,
            (refusal.status, refusal.retry_after),
            refusal.body(Some(ctx.id)),
            CallOutcome::Error,
        );
    }

    /// Answers a request with the members of a result.
    pub(crate) fn result(
        &mut self,
        cx: &mut Context,
        spans: &mut Spans,
        ctx: &RequestContext<'_>,
        result: &str,
    ) {
        self.answer_now(
            cx,
            spans,
            ctx,
            (200, None),
            crate::protocol::refusal::result_message(ctx.id, result),
            CallOutcome::Ok,
        );
    }

    /// Answers a request that was not passed on.
    pub(crate) fn answer_now(
        &mut self,
        cx: &mut Context,
        spans: &mut Spans,
        ctx: &RequestContext<'_>,
        (status, retry_after): (u16, Option<u32>),
        body: Bytes,
        outcome: CallOutcome,
    ) {
        let duration = cx.now.saturating_sub(ctx.arrived);
        let trace = ctx.trace.as_ref().and_then(|trace| trace.sampled());
        spans.end(cx, ctx.attempt.take_span(), outcome, &body);
        cx.emit(Output::Observe(Observation::Request {
            method: ctx.method.name(),
            era: ctx.era_name(),
            outcome,
            duration,
            trace,
        }));
        match self.exchange_mut(ctx.key) {
            Some(exchange) => {
                exchange.answer(ctx.key, None, status, retry_after, body, cx.outputs());
                self.sweep(ctx.key);
            }
            None => {
                let mut exchange = Exchange::new(ctx.request, None, ctx.arrived);
                exchange.answer(ctx.key, None, status, retry_after, body, cx.outputs());
            }
        }
    }
}
