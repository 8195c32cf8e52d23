//! The supervisor's own metrics, as families. A new one is added in the file of what it tells of.

mod daemon;
mod upstreams;
mod workers;

use super::{counters::Counters, ledger::Ledger};
use crate::{
    ipc::messages::Role,
    metrics::{Family, Kind, Sample, Value},
    platform::Usage,
    supervisor::event::ProcId,
};
use ggen_wire::status::Transport;
use std::{collections::BTreeMap, time::Duration};

/// What is shown and not counted here, as of now.
#[derive(Debug, Default)]
pub(crate) struct Facts<'a> {
    /// Generation of the configuration in force.
    pub(crate) generation: u32,
    /// When the daemon started, in milliseconds since 1970.
    pub(crate) started_ms: u64,
    /// Certificates that are served: file, name, and when it expires, in seconds since 1970.
    pub(crate) certificates: Vec<(String, String, i64)>,
    /// Transports that are configured.
    pub(crate) transports: Vec<Transport>,
    /// Slots of workers.
    pub(crate) workers: Vec<WorkerFacts<'a>>,
    /// Upstreams.
    pub(crate) upstreams: Vec<UpstreamFacts<'a>>,
    /// Processor time of leased children that live, in milliseconds by upstream.
    pub(crate) leased_cpu_ms: BTreeMap<&'a str, u64>,
}

/// A slot for a worker.
#[derive(Debug)]
pub(crate) struct WorkerFacts<'a> {
    pub(crate) name: &'a str,
    pub(crate) role: Role,
    /// The process that serves, or is about to.
    pub(crate) process: Option<ProcessFacts>,
}

/// The process in a slot.
#[derive(Debug)]
pub(crate) struct ProcessFacts {
    pub(crate) id: ProcId,
    pub(crate) is_ready: bool,
    /// Time since its last beat.
    pub(crate) beat_age: Duration,
    /// Longest delay of its event loop, in microseconds.
    pub(crate) lag_us: u64,
    pub(crate) rss_bytes: u64,
}

/// An upstream server.
#[derive(Debug)]
pub(crate) struct UpstreamFacts<'a> {
    pub(crate) name: &'a str,
    pub(crate) is_ready: bool,
    /// It is reached by its URL, and has no process of ours.
    pub(crate) is_remote: bool,
    pub(crate) restarts: u64,
    /// Leased children.
    pub(crate) children: u32,
    /// Of the shared child, the leased ones and their descendants.
    pub(crate) usage: Usage,
}

/// All families.
pub(super) fn own(
    counters: &Counters,
    ledger: &Ledger,
    own: &Usage,
    facts: &Facts<'_>,
) -> Vec<Family> {
    let mut all = daemon::families(facts);
    all.extend(workers::families(counters, ledger, facts));
    all.extend(workers::processes(counters, own, facts));
    all.extend(upstreams::families(counters, facts));
    all.extend(upstreams::resources(counters, facts));
    all
}

/// Log lines that were dropped. Workers count theirs under the same name.
pub(super) fn dropped_lines(count: u64) -> Family {
    family(
        "ggend_log_lines_dropped_total",
        "Log lines lost to a full queue.",
        Kind::Counter,
        [sample(&[], float(count))],
    )
}

fn sample(labels: &[(&str, &str)], value: f64) -> Sample {
    let labels = labels
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Sample {
        labels,
        value: Value::Number(value),
    }
}

fn family(name: &str, help: &str, kind: Kind, samples: impl IntoIterator<Item = Sample>) -> Family {
    Family {
        name: name.to_owned(),
        help: help.to_owned(),
        kind,
        samples: samples.into_iter().collect(),
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "metrics are floating-point numbers"
)]
const fn float(number: u64) -> f64 {
    number as f64
}

fn seconds(ms: u64) -> f64 {
    float(ms) / 1000.0
}

fn flag(on: bool) -> f64 {
    f64::from(u8::from(on))
}
