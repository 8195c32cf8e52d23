//! Answers to requests that were not passed on.

use crate::api::{Observation, Output};
use crate::client::exchange::Exchange;
use crate::client::request::RequestContext;
use crate::gateway::Gateway;
use crate::protocol::refusal::Refusal;
use bytes::Bytes;

impl Gateway {
    /// Answers a request with an error.
    pub(crate) fn refuse(&mut self, ctx: &RequestContext<'_>, refusal: &Refusal) {
        self.answer_now(
            ctx,
            refusal.status,
            refusal.retry_after,
            refusal.body(Some(ctx.id)),
            "error",
        );
    }

    /// Answers a request with the members of a result.
    pub(crate) fn result(&mut self, ctx: &RequestContext<'_>, result: &str) {
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
        ctx: &RequestContext<'_>,
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
        match self.clients.exchange_mut(ctx.key) {
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

    pub(super) fn observe_refusal(&mut self, refusal: &Refusal) {
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
