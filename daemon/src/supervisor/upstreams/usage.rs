//! Memory and processor time of servers, from `/proc` and from control groups.

use crate::{
    platform::{self, GroupUse},
    supervisor::{Supervisor, metrics::UpstreamFacts, upstreams::shims::ShimId},
};
use ggen_wire::status::UpstreamState;
use std::collections::BTreeMap;

impl Supervisor {
    /// Measures every server. Returns the processor time of each shared child, in milliseconds.
    pub(crate) fn measure_upstreams(&mut self) -> Vec<(String, u64)> {
        let shared = self.upstreams.iter().filter_map(|upstream| upstream.pid);
        let roots: Vec<u32> = shared.chain(self.lease_pids()).collect();
        if roots.is_empty() {
            return Vec::new();
        }
        let mut found = platform::usage_of_trees(&platform::processes(), &roots);
        let groups: BTreeMap<ShimId, GroupUse> = self.look_at_cgroups().into_iter().collect();
        let mut find = |shim: ShimId, pid: u32| {
            let seen = found.remove(&pid)?;
            Some(groups.get(&shim).map_or(seen, |group| seen.counted(*group)))
        };
        for upstream in &mut self.upstreams {
            upstream.usage = upstream
                .shim()
                .zip(upstream.pid)
                .and_then(|(shim, pid)| find(shim, pid))
                .unwrap_or_default();
        }
        self.put_lease_usage(find);
        self.upstreams
            .iter()
            .map(|upstream| (upstream.name.clone(), upstream.usage.cpu_ms))
            .collect()
    }

    /// What metrics show of upstreams.
    pub(crate) fn upstream_facts(&self) -> Vec<UpstreamFacts<'_>> {
        let now = self.now();
        self.upstreams
            .iter()
            .map(|upstream| {
                let (children, leased) = self.leased_of(&upstream.name);
                UpstreamFacts {
                    name: &upstream.name,
                    is_ready: upstream.state(now) == UpstreamState::Ready,
                    is_remote: upstream.phase == super::Phase::Remote,
                    restarts: upstream.restarts,
                    children,
                    usage: upstream.usage.and(leased),
                }
            })
            .collect()
    }
}
