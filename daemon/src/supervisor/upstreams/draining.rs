//! Upstreams whose entry has changed or is gone, while their last calls are answered: the gateway
//! says when, the drain's time-out bounds it.

use crate::supervisor::{
    Supervisor,
    processes::restart_backoff::Life,
    upstreams::{Phase, Upstream},
};
use ggen_wire::Code;
use std::time::Duration;

/// On top of the drain's time-out, which the gateway keeps itself.
pub(crate) const SLACK: Duration = Duration::from_secs(2);
/// What a server may do after its stdin has closed, before SIGTERM.
const PATIENCE: Duration = Duration::from_secs(2);

/// A server that is not configured any more.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct DrainingUpstream {
    pub(crate) upstream: Upstream,
    until: Duration,
}

impl Supervisor {
    /// Until when calls of an upstream that is to end now may go on.
    pub(crate) fn leave_by(&self) -> Duration {
        self.now() + Duration::from_millis(self.loaded.config.server.drain_timeout_ms) + SLACK
    }

    /// Has an upstream that is not configured any more end once its calls are over.
    pub(crate) fn leave(&mut self, upstream: Upstream) {
        let until = self.leave_by();
        if upstream.shim().is_some() {
            self.leaving.push(DrainingUpstream { upstream, until });
        }
    }

    /// Those whose calls are not over yet.
    pub(crate) fn leaving_names(&self) -> Vec<String> {
        let changed = self
            .upstreams
            .iter()
            .filter(|upstream| upstream.leaving_by.is_some());
        changed
            .chain(self.leaving.iter().map(|leaving| &leaving.upstream))
            .map(|upstream| upstream.name.clone())
            .collect()
    }

    /// Nothing is in flight at an upstream any more.
    pub(crate) fn released(&mut self, name: &str) {
        let now = self.now();
        self.end_leases_for(name);
        let (gone, rest) = std::mem::take(&mut self.leaving)
            .into_iter()
            .partition(|leaving| leaving.upstream.name == name);
        self.leaving = rest;
        for leaving in Vec::<DrainingUpstream>::into_iter(gone) {
            if let Some(shim) = leaving.upstream.shim() {
                // Its pipes close with `leaving`.
                self.shims.end(shim, PATIENCE, now);
            }
        }
        let Some(upstream) = self
            .upstreams
            .iter_mut()
            .find(|upstream| upstream.name == name)
        else {
            return;
        };
        if upstream.leaving_by.take().is_some()
            && let Phase::Starting(shim, _) | Phase::Running(shim) = upstream.phase
        {
            // As one that had served well, so that it is started again at once.
            upstream.life = Life::default();
            upstream.life.ready(now);
            upstream.complain(Code::UpstreamExited, "its entry has changed");
            self.end_upstream_of(shim, PATIENCE, now);
        }
        self.start_queued();
    }

    /// Nobody can say any more what is in flight.
    pub(crate) fn release_all(&mut self) {
        self.leaving_names()
            .iter()
            .for_each(|name| self.released(name));
    }

    /// What is due by now.
    pub(crate) fn leaving_on_time(&mut self, now: Duration) {
        let changed = self
            .upstreams
            .iter()
            .filter(|upstream| upstream.leaving_by.is_some_and(|by| by <= now));
        let gone = self
            .leaving
            .iter()
            .filter(|leaving| leaving.until <= now)
            .map(|leaving| &leaving.upstream);
        let names: Vec<String> = changed
            .chain(gone)
            .map(|upstream| upstream.name.clone())
            .collect();
        names.iter().for_each(|name| self.released(name));
    }

    /// When something has to be done if nothing happens.
    pub(crate) fn leaving_deadline(&self) -> Option<Duration> {
        self.upstreams
            .iter()
            .filter_map(|upstream| upstream.leaving_by)
            .chain(self.leaving.iter().map(|leaving| leaving.until))
            .min()
    }
}
