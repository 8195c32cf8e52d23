//! Subscriptions of legacy clients to resources.

use crate::call::Calling;
use crate::call::route::Route;
use crate::client::request::{Flow, RequestContext};
use crate::protocol::method::Method;
use crate::protocol::refusal::{Refusal, rpc};
use crate::upstream::UpEra;
use ggen_wire::Code;
use std::sync::Arc;

/// Subscriptions of one session.
const SUBSCRIPTIONS: usize = 1000;
/// Bytes of the URIs in them.
const SUBSCRIBED: usize = 64 << 10;

impl Calling<'_> {
    /// Subscriptions are kept per session. A child that the session has for itself hears of each, the
    /// shared one of the first one of all sessions, and of the end of the last one.
    pub(crate) fn subscribe(&mut self, ctx: &RequestContext<'_>) -> Result<Flow, Refusal> {
        let Some(Route::Up(target)) = self.route(ctx)? else {
            return Ok(Flow::Wait);
        };
        let (up, exposed) = (target.up, target.uri.clone().unwrap_or_default());
        let Some(session) = ctx.session().and_then(|id| self.clients.session_mut(&id)) else {
            return Ok(Flow::Done);
        };
        let original: Arc<str> = (*target.original).into();
        let length = session.subscriptions.iter().map(|uri| uri.len());
        let full = session.subscriptions.len() >= SUBSCRIPTIONS
            || length.sum::<usize>() + exposed.len() > SUBSCRIBED;
        if ctx.method == Method::Subscribe && full {
            return Err(Refusal::new(
                200,
                rpc::INTERNAL,
                Code::Overloaded,
                "too many subscriptions in this session",
            ));
        }
        let changes = if ctx.method == Method::Subscribe {
            session.subscriptions.insert(exposed) && self.ups.add_subscriber(up, &original)
        } else {
            session.subscriptions.remove(&exposed) && self.ups.remove_subscriber(up, &original)
        };
        if let Some(id) = ctx.session() {
            self.clients
                .keep_session(self.cx, self.spans, |up| self.ups.name(up), &id, None);
        }
        let era = self.ups.get(up).era;
        let own = self.has_own_child(ctx, up);
        if changes && era == Some(UpEra::Modern) {
            self.connecting().listen_upstream(up);
        } else if changes && own {
            let subscribes = ctx.method == Method::Subscribe;
            self.connecting()
                .subscribe_upstream(up, &original, subscribes);
        }
        if own || changes && matches!(era, Some(UpEra::Legacy(_))) {
            return self.relay(ctx, target, None);
        }
        self.clients.result(self.cx, self.spans, ctx, "{}");
        Ok(Flow::Done)
    }
}
