//! Calls that are sent once more because their server was lost.

use crate::access::rules::ToolRule;
use crate::api::UpId;
use crate::call::Calling;
use crate::client::request::RequestContext;
use crate::client::waiting::{Attempt, Waiting};
use crate::in_flight::record::{Again, Call, Purpose};
use crate::observation::CallOutcome;
use crate::protocol::json;
use crate::trace::Tracing;
use crate::upstream::list::ListKind;
use crate::upstream::view::View;

impl Calling<'_> {
    /// What it takes to send a call once more, if its tool says that this does no harm (tools,
    /// "Tool annotations").
    pub(crate) fn again(
        &self,
        ctx: &RequestContext<'_>,
        up: UpId,
        original: &str,
        rule: ToolRule,
    ) -> Option<Box<Again>> {
        let tries = ctx.attempt.tries;
        if rule.retries <= tries
            || self
                .clients
                .exchange(ctx.key)
                .is_some_and(crate::client::exchange::Exchange::is_batch)
        {
            return None;
        }
        let text = std::str::from_utf8(
            &self
                .ups
                .table(View::One(up), ListKind::Tools)
                .get(original)?
                .text,
        )
        .ok()?;
        let [read_only, idempotent] = json::pick(text, ["annotations"])
            .and_then(|[raw]| json::pick(raw?, ["readOnlyHint", "idempotentHint"]))
            .unwrap_or_default();
        (read_only == Some("true") || idempotent == Some("true")).then(|| {
            Box::new(Again {
                request: ctx.request.clone(),
                tries: tries + 1,
            })
        })
    }

    /// Has a call wait for its server, which was lost, to be sent again. False: it is not to be.
    pub(crate) fn retry(&mut self, number: u64, call: &mut Call) -> bool {
        let arrived = self.cx.now;
        let Purpose::Client(client) = &mut call.purpose else {
            return false;
        };
        let Some(again) = client.again.take() else {
            return false;
        };
        let key = client.key;
        if self.clients.waiting() >= self.cx.limits.calls {
            return false;
        }
        let Some(exchange) = self
            .clients
            .exchange_mut(key)
            .filter(|exchange| exchange.connected || exchange.buffer.is_some())
        else {
            return false;
        };
        exchange.calls.retain(|other| *other != number);
        let Again { request, tries } = *again;
        self.spans
            .pause_call(self.cx, client.sent.as_deref_mut(), CallOutcome::Lost);
        let tracing = client
            .span
            .take()
            .map(|span| Tracing::new(client.trace.clone(), Some(span)));
        self.clients.wait(Waiting {
            key,
            request,
            attempt: Attempt {
                arrived,
                fresh: false,
                tries,
                tracing,
            },
        });
        true
    }
}
