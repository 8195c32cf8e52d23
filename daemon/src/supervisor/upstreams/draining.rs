//! Draining upstreams: their entry has changed or is gone, and their last calls are being answered.
//! The gateway worker says when they are; the drain's time-out bounds it.

use super::{Context, Effect, PATIENCE, Upstreams, upstream::Upstream};
use ggen_wire::Code;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// On top of the drain's time-out, which the gateway worker keeps itself.
pub(super) const SLACK: Duration = Duration::from_secs(2);

/// A server that is not configured any more. Its form is that of the state that one binary hands to
/// the next.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Draining {
    pub(super) upstream: Upstream,
    pub(super) until: Duration,
}

impl Upstreams {
    /// An upstream is not configured any more: it ends once its calls are over.
    pub(super) fn drain(&mut self, upstream: Upstream, context: &mut Context<'_>) {
        if upstream.shim().is_some() {
            let until = context.drain_until();
            self.draining.push(Draining { upstream, until });
        }
    }

    /// Those whose calls are not over yet.
    pub(crate) fn draining_names(&self) -> Vec<String> {
        let changed = self
            .all
            .iter()
            .filter(|upstream| upstream.drain_until.is_some());
        changed
            .chain(self.draining.iter().map(|draining| &draining.upstream))
            .map(|upstream| upstream.name.clone())
            .collect()
    }

    /// Nothing is in flight at an upstream any more.
    pub(crate) fn released(&mut self, name: &str, context: &mut Context<'_>) -> Vec<Effect> {
        let shims = &mut self.shims;
        let mut effects = self.leases.end_of_upstream(name, shims, context);
        for gone in self.draining.extract_if(.., |it| it.upstream.name == name) {
            if let Some(shim) = gone.upstream.shim() {
                // Its pipes close with `gone`.
                shims.end(shim, PATIENCE, context.now);
            }
        }
        let Some(upstream) = self.get_mut(name) else {
            return effects;
        };
        if upstream.drain_until.take().is_some()
            && let Some(shim) = upstream.live_shim()
        {
            upstream.forgive(context.now);
            let why = "its entry has changed".to_owned();
            upstream.complaint = Some((Code::UpstreamExited, why));
            self.end(shim, PATIENCE, context.now);
        }
        effects.extend(self.start_queued(context));
        effects
    }

    /// Nobody can say any more what is in flight.
    pub(crate) fn release_all(&mut self, context: &mut Context<'_>) -> Vec<Effect> {
        self.draining_names()
            .iter()
            .flat_map(|name| self.released(name, context))
            .collect()
    }

    /// Ends those whose time is up.
    pub(super) fn drain_on_time(&mut self, context: &mut Context<'_>) -> Vec<Effect> {
        let changed = self.all.iter().filter(|upstream| {
            upstream
                .drain_until
                .is_some_and(|until| until <= context.now)
        });
        let gone = self
            .draining
            .iter()
            .filter(|draining| draining.until <= context.now)
            .map(|draining| &draining.upstream);
        let names: Vec<String> = changed
            .chain(gone)
            .map(|upstream| upstream.name.clone())
            .collect();
        names
            .iter()
            .flat_map(|name| self.released(name, context))
            .collect()
    }

    /// When the next one's time is up.
    pub(super) fn drain_deadline(&self) -> Option<Duration> {
        self.all
            .iter()
            .filter_map(|upstream| upstream.drain_until)
            .chain(self.draining.iter().map(|draining| draining.until))
            .min()
    }
}
