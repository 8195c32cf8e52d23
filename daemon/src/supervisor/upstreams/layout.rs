//! Which upstreams there are: those of the configuration. New ones appear, what vanished or changed
//! ends once its calls are over, and what has not changed is not touched.

use super::{
    Context, Effect, Upstreams,
    upstream::{Phase, Upstream},
};
use crate::{
    config::{self, Config},
    supervisor::{
        processes::restart_backoff::Life,
        reload::plan::{self, Step},
    },
};

impl Upstreams {
    /// Makes the upstreams fit the configuration.
    pub(crate) fn lay_out(&mut self, context: &mut Context<'_>) -> Vec<Effect> {
        let mut old = std::mem::take(&mut self.all);
        for (name, wanted) in entries(context.config()) {
            let known = old.iter().position(|upstream| upstream.name == *name);
            let known = known.map(|at| old.swap_remove(at));
            let mut upstream = self.fit(name, wanted, known, context);
            if let Some(problem) = context.loaded.blocked.get(name) {
                upstream.phase = Phase::Disabled;
                upstream.code = Some(problem.code);
                upstream.last_exit = Some(problem.to_string());
            }
            self.all.push(upstream);
        }
        for upstream in old {
            self.drain(upstream, context);
        }
        let draining = self.draining_names();
        let mut effects = self.leases.end_stale(&draining, &mut self.shims, context);
        effects.extend(self.revive(context));
        effects
    }

    /// An upstream for an entry: the known one, as far as the entry allows.
    fn fit(
        &mut self,
        name: &str,
        wanted: &config::Upstream,
        known: Option<Upstream>,
        context: &mut Context<'_>,
    ) -> Upstream {
        let step = plan::step(known.as_ref().map(|known| &known.config), Some(wanted));
        match (known, step) {
            (Some(known), None | Some(Step::InPlace)) => Upstream {
                config: wanted.clone(),
                ..known
            },
            (Some(known), Some(Step::Reconnects)) => Upstream {
                config: wanted.clone(),
                report: None,
                code: None,
                ..known
            },
            (Some(mut known), Some(Step::Restarts)) => {
                known.config = wanted.clone();
                match known.phase {
                    Phase::Starting(..) | Phase::Running(_) => {
                        known.drain_until = Some(context.drain_until());
                    }
                    Phase::Backoff(_) | Phase::Stopped => {
                        (known.phase, known.life) = (Phase::Queued, Life::default());
                    }
                    _ => {}
                }
                known
            }
            (known, _) => self.appear(name, wanted, known, context),
        }
    }

    /// An upstream that is new, or takes the place of another one. Numbers of lives go on, so that
    /// a late word about an old life is not taken for the new one.
    fn appear(
        &mut self,
        name: &str,
        wanted: &config::Upstream,
        known: Option<Upstream>,
        context: &mut Context<'_>,
    ) -> Upstream {
        let mut fresh = Upstream::new(name, wanted);
        fresh.incarnation = known.as_ref().map_or(0, |known| known.incarnation);
        let draining = self
            .draining
            .iter()
            .position(|draining| draining.upstream.name == name);
        if let Some(at) = draining {
            let draining = self.draining.swap_remove(at).upstream;
            if fresh.phase == Phase::Idle {
                // Switched off and on again while its last calls are answered: the gateway worker
                // may not know of the first, so it is a restart.
                return Upstream {
                    config: wanted.clone(),
                    drain_until: Some(context.drain_until()),
                    ..draining
                };
            }
            self.drain(draining, context);
        }
        if let Some(known) = known {
            self.drain(known, context);
        }
        fresh
    }

    /// Those that had been given up until a reload are tried again.
    pub(crate) fn revive(&mut self, context: &mut Context<'_>) -> Vec<Effect> {
        let stopped = self
            .all
            .iter_mut()
            .filter(|upstream| upstream.phase == Phase::Stopped);
        for upstream in stopped {
            upstream.phase = if upstream.wanted {
                Phase::Queued
            } else {
                Phase::Idle
            };
            (upstream.life, upstream.restarts) = (Life::default(), 0);
        }
        self.start_queued(context)
    }
}

/// The entries of the configuration, in the order in which they are written as far as it is known.
fn entries(config: &Config) -> impl Iterator<Item = (&String, &config::Upstream)> {
    let ordered = config
        .order
        .iter()
        .filter_map(|name| Some((name, config.mcp_servers.get(name)?)));
    let others = config
        .mcp_servers
        .iter()
        .filter(|(name, _)| !config.order.contains(name));
    ordered.chain(others)
}
