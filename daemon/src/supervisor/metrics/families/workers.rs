//! Metrics of workers and of our own processes.

use super::{Facts, ProcessFacts, WorkerFacts, family, flag, float, sample, seconds};
use crate::{
    metrics::{Family, Kind, Sample},
    platform::Usage,
    supervisor::metrics::{
        counters::{self, Counters, WorkerExit},
        ledger::Ledger,
    },
};
use std::collections::BTreeMap;

/// Lives of workers, and how they are.
pub(super) fn families(counters: &Counters, ledger: &Ledger, facts: &Facts<'_>) -> Vec<Family> {
    let requests = |_: &WorkerFacts<'_>, process: &ProcessFacts| {
        ledger.sum_of(process.id, "ggend_http_requests_total")
    };
    vec![
        family(
            "ggend_worker_restarts_total",
            "Starts of workers after one died.",
            Kind::Counter,
            counters
                .restarts()
                .map(|(role, count)| sample(&[("role", role)], float(count))),
        ),
        family(
            "ggend_worker_exits_total",
            "Ends of worker processes, by reason.",
            Kind::Counter,
            exits(counters, facts),
        ),
        family(
            "ggend_worker_up",
            "Whether a worker is ready.",
            Kind::Gauge,
            facts.workers.iter().map(|worker| {
                let up = worker.process.as_ref();
                let up = up.is_some_and(|process| process.is_ready);
                sample(&[("worker", worker.name)], flag(up))
            }),
        ),
        family(
            "ggend_worker_beat_age_seconds",
            "Time since a worker's last beat.",
            Kind::Gauge,
            each(facts, |_, process| Some(process.beat_age.as_secs_f64())),
        ),
        family(
            "ggend_worker_loop_lag_seconds",
            "Longest delay of a worker's event loop between its last two beats.",
            Kind::Gauge,
            each(facts, |_, process| Some(float(process.lag_us) / 1e6)),
        ),
        family(
            "ggend_worker_requests",
            "HTTP requests that the present process of a worker has answered.",
            Kind::Gauge,
            each(facts, requests),
        ),
    ]
}

/// What our own processes use.
pub(super) fn processes(counters: &Counters, own: &Usage, facts: &Facts<'_>) -> Vec<Family> {
    let workers = facts
        .workers
        .iter()
        .filter_map(|worker| Some((worker.name, worker.process.as_ref()?.rss_bytes)));
    let memory = [("supervisor", own.rss_bytes)].into_iter().chain(workers);
    let files = |which: fn((u64, u64)) -> u64| {
        counters
            .files()
            .map(move |(process, files)| sample(&[("process", process)], float(which(files))))
    };
    vec![
        family(
            "ggend_process_resident_memory_bytes",
            "Resident memory of our own processes.",
            Kind::Gauge,
            memory.map(|(process, bytes)| sample(&[("process", process)], float(bytes))),
        ),
        family(
            "ggend_process_open_fds",
            "Descriptors that our own processes have open.",
            Kind::Gauge,
            files(|(open, _)| open),
        ),
        family(
            "ggend_process_max_fds",
            "Descriptors that they may have open.",
            Kind::Gauge,
            files(|(_, most)| most),
        ),
        family(
            "ggend_process_cpu_seconds_total",
            "Processor time of our own processes.",
            Kind::Counter,
            counters
                .cpu_ms(counters::Kind::Process)
                .map(|(name, ms)| sample(&[("process", name)], seconds(ms))),
        ),
    ]
}

/// A sample for each worker that has a process.
fn each(
    facts: &Facts<'_>,
    value: impl Fn(&WorkerFacts<'_>, &ProcessFacts) -> Option<f64>,
) -> Vec<Sample> {
    let shown = |worker: &WorkerFacts<'_>| {
        let value = value(worker, worker.process.as_ref()?)?;
        Some(sample(&[("worker", worker.name)], value))
    };
    facts.workers.iter().filter_map(shown).collect()
}

/// Each series from 0 on: one that begins with 1 has not increased for who watches it.
fn exits(counters: &Counters, facts: &Facts<'_>) -> Vec<Sample> {
    let mut all: BTreeMap<(&str, &str), u64> = facts
        .workers
        .iter()
        .flat_map(|worker| WorkerExit::ALL.map(|exit| ((worker.role.as_str(), exit.as_str()), 0)))
        .collect();
    all.extend(
        counters
            .exits()
            .map(|(role, reason, count)| ((role, reason), count)),
    );
    all.iter()
        .map(|((role, reason), count)| sample(&[("reason", reason), ("role", role)], float(*count)))
        .collect()
}
