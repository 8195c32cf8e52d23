//! Metrics of upstream servers.

use super::{Facts, family, flag, float, sample, seconds};
use crate::{
    metrics::{Family, Kind},
    supervisor::metrics::counters::{self, Counters},
};

/// Lives of servers, and how they are.
pub(super) fn families(counters: &Counters, facts: &Facts<'_>) -> Vec<Family> {
    vec![
        family(
            "ggend_upstream_up",
            "Whether an upstream server is ready.",
            Kind::Gauge,
            facts
                .upstreams
                .iter()
                .map(|it| sample(&[("upstream", it.name)], flag(it.is_ready))),
        ),
        family(
            "ggend_upstream_restarts_total",
            "Starts of an upstream server after the first one.",
            Kind::Counter,
            facts
                .upstreams
                .iter()
                .map(|it| sample(&[("upstream", it.name)], float(it.restarts))),
        ),
        family(
            "ggend_upstream_exits_total",
            "Ends of an upstream server, by reason.",
            Kind::Counter,
            counters.upstream_exits().map(|(name, reason, count)| {
                sample(&[("reason", reason), ("upstream", name)], float(count))
            }),
        ),
    ]
}

/// What servers use.
pub(super) fn resources(counters: &Counters, facts: &Facts<'_>) -> Vec<Family> {
    vec![
        family(
            "ggend_upstream_resident_memory_bytes",
            "Resident memory of an upstream server and its descendants.",
            Kind::Gauge,
            facts
                .upstreams
                .iter()
                .map(|it| sample(&[("upstream", it.name)], float(it.usage.rss_bytes))),
        ),
        family(
            "ggend_upstream_memory_bytes",
            "Memory of an upstream server and its descendants as their control groups count it, the cache of their files included.",
            Kind::Gauge,
            facts.upstreams.iter().filter_map(|it| {
                let bytes = it.usage.memory_bytes?;
                Some(sample(&[("upstream", it.name)], float(bytes)))
            }),
        ),
        family(
            "ggend_upstream_processes",
            "Processes of an upstream server, itself, its other children and their descendants.",
            Kind::Gauge,
            facts
                .upstreams
                .iter()
                .filter(|it| !it.is_remote)
                .map(|it| sample(&[("upstream", it.name)], f64::from(it.usage.processes))),
        ),
        family(
            "ggend_upstream_children",
            "Children of an upstream server that run beside the shared one.",
            Kind::Gauge,
            facts
                .upstreams
                .iter()
                .map(|it| sample(&[("upstream", it.name)], f64::from(it.children))),
        ),
        family(
            "ggend_upstream_cpu_seconds_total",
            "Processor time of an upstream server and its descendants; without a control group, of the living ones.",
            Kind::Counter,
            counters.cpu_ms(counters::Kind::Upstream).map(|(name, ms)| {
                let leased = facts.leased_cpu_ms.get(name).copied().unwrap_or(0);
                sample(&[("upstream", name)], seconds(ms + leased))
            }),
        ),
    ]
}
