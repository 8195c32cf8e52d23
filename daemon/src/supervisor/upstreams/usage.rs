//! Memory and processor time of servers, from `/proc` and from control groups.

use super::Upstreams;
use crate::{
    platform::{self, Usage},
    supervisor::event::ShimId,
};
use std::collections::BTreeMap;

impl Upstreams {
    /// Measures every server. Returns the processor time of each shared child, in milliseconds.
    pub(crate) fn measure(&mut self) -> Vec<(String, u64)> {
        let shared = self.all.iter().filter_map(|upstream| upstream.pid);
        let roots: Vec<u32> = shared.chain(self.leases.pids()).collect();
        if roots.is_empty() {
            return Vec::new();
        }
        let mut found = platform::usage_of_trees(&platform::processes(), &roots);
        let groups = self.shims.measure_groups();
        let mut find = |shim: ShimId, pid: u32| {
            let seen = found.remove(&pid)?;
            Some(groups.get(&shim).map_or(seen, |group| seen.counted(*group)))
        };
        for upstream in &mut self.all {
            upstream.usage = upstream
                .shim()
                .zip(upstream.pid)
                .and_then(|(shim, pid)| find(shim, pid))
                .unwrap_or_default();
        }
        self.leases.measured(find);
        self.all
            .iter()
            .map(|upstream| (upstream.name.clone(), upstream.usage.cpu_ms))
            .collect()
    }

    /// Number and usage of the leased children of a server.
    pub(crate) fn leased_of(&self, name: &str) -> (u32, Usage) {
        self.leases.of(name)
    }

    /// Processor time of leased children that live, in milliseconds by upstream.
    pub(crate) fn leased_cpu_ms(&self) -> BTreeMap<&str, u64> {
        self.leases.cpu_ms()
    }
}
