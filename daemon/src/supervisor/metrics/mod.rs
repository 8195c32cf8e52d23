//! Metrics: what workers count (the ledger), what the supervisor counts itself, and how both are
//! shown. The room knows nothing of other rooms: who wants the supervisor's own families hands over
//! the [`Facts`] that are not counted here.

mod counters;
mod families;
mod ledger;
mod slow_calls;

use super::event::ProcId;
use crate::{
    ipc::messages::Role,
    metrics::Family,
    platform::{self, Usage},
};
use counters::{Counters, Kind};
pub(crate) use counters::{UpstreamExit, WorkerExit};
pub(crate) use families::{Facts, ProcessFacts, UpstreamFacts, WorkerFacts};
use ggen_wire::status::SlowCall;
use ledger::Ledger;
use serde::{Deserialize, Serialize};
use slow_calls::SlowCalls;
use std::time::Duration;

/// How often processes are measured.
const SCAN: Duration = Duration::from_secs(5);
/// The supervisor's place in the ledger; no worker has this number.
const SUPERVISOR: ProcId = ProcId(0);

/// What was measured of a worker's process.
#[derive(Debug)]
pub(crate) struct Measured {
    /// The worker's name.
    pub(crate) name: String,
    /// Its processor time over its life, if it could be read.
    pub(crate) cpu_ms: Option<u64>,
    /// Descriptors that it has open, and may have open.
    pub(crate) files: Option<(u64, u64)>,
}

/// Everything that is counted, on its way from one binary to the next.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Carried {
    pub(crate) ledger: ledger::Pages,
    #[serde(flatten)]
    pub(crate) counters: counters::Carried,
    pub(crate) slow: Vec<SlowCall>,
}

/// All metrics.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    ledger: Ledger,
    counters: Counters,
    slow: SlowCalls,
    /// Memory and processor time of the supervisor.
    own: Usage,
    scan_at: Duration,
}

impl Metrics {
    /// Goes on with what the previous binary counted.
    pub(crate) fn resume(carried: Carried) -> Self {
        let mut ledger = Ledger::of(carried.ledger);
        // What the supervisor counts there itself begins at 0 again.
        ledger.retire(SUPERVISOR);
        Self {
            ledger,
            counters: Counters::of(carried.counters),
            slow: SlowCalls::of(carried.slow),
            ..Self::default()
        }
    }

    /// What the next binary goes on with.
    pub(crate) fn carried(&self) -> Carried {
        Carried {
            ledger: self.ledger.pages(),
            counters: self.counters.carried(),
            slow: self.slow.all().to_vec(),
        }
    }

    /// A worker's beat: its metrics since its start, and its slowest calls since the last beat.
    pub(crate) fn beat(&mut self, worker: ProcId, families: Vec<Family>, slow: Vec<SlowCall>) {
        self.ledger.take(worker, families);
        self.slow.add(slow);
    }

    /// A worker is dead. What it counted stays.
    pub(crate) fn retire(&mut self, worker: ProcId) {
        self.ledger.retire(worker);
    }

    /// A worker process has ended.
    pub(crate) fn worker_exit(&mut self, role: Role, exit: WorkerExit) {
        self.counters.worker_exit(role, exit);
    }

    /// A worker is started again after its process died.
    pub(crate) fn worker_restart(&mut self, role: Role) {
        self.counters.worker_restart(role);
    }

    /// A server has ended.
    pub(crate) fn upstream_exit(&mut self, upstream: &str, exit: UpstreamExit) {
        self.counters.upstream_exit(upstream, exit);
    }

    /// A server's shared child has ended: all the processor time that it used.
    pub(crate) fn cpu_of_shared_child(&mut self, upstream: &str, ms: u64) {
        self.counters.cpu_of_life(Kind::Upstream, upstream, ms);
    }

    /// A leased child of a server has ended: all the processor time that it used.
    pub(crate) fn cpu_of_leased_child(&mut self, upstream: &str, ms: u64) {
        self.counters.cpu_of_ended(Kind::Upstream, upstream, ms);
    }

    /// The slowest recent calls.
    pub(crate) fn slow_calls(&self) -> &[SlowCall] {
        self.slow.all()
    }

    /// When processes are to be measured next.
    pub(crate) const fn deadline(&self) -> Duration {
        self.scan_at
    }

    /// Whether processes are to be measured now.
    pub(crate) fn is_scan_due(&mut self, now: Duration) -> bool {
        let due = self.scan_at <= now;
        if due {
            self.scan_at = now + SCAN;
        }
        due
    }

    /// Processes were measured: workers that serve, servers (the name, and the processor time of
    /// the shared child), and how many log lines were dropped.
    pub(crate) fn measured(
        &mut self,
        workers: Vec<Measured>,
        upstreams: Vec<(String, u64)>,
        dropped_lines: u64,
    ) {
        let pid = std::process::id();
        let own = platform::process(pid);
        self.own = own.map_or_else(Usage::default, |own| Usage {
            rss_bytes: own.rss_bytes,
            cpu_ms: own.cpu_ms,
            ..Usage::default()
        });
        self.counters
            .cpu(Kind::Process, "supervisor", self.own.cpu_ms);
        for worker in &workers {
            if let Some(ms) = worker.cpu_ms {
                self.counters.cpu(Kind::Process, &worker.name, ms);
            }
        }
        for (name, ms) in upstreams {
            self.counters.cpu(Kind::Upstream, &name, ms);
        }
        let files = workers
            .into_iter()
            .filter_map(|worker| Some((worker.name, worker.files?)));
        let own = platform::open_files(pid).map(|files| ("supervisor".to_owned(), files));
        self.counters.set_files(files.chain(own).collect());
        // In the ledger, because workers count theirs under the same name.
        self.ledger
            .take(SUPERVISOR, vec![families::dropped_lines(dropped_lines)]);
    }

    /// All metrics of the daemon by name, those of dead workers included.
    pub(crate) fn all(&self, facts: &Facts<'_>) -> Vec<Family> {
        let mut all = self.ledger.snapshot();
        all.extend(families::own(
            &self.counters,
            &self.ledger,
            &self.own,
            facts,
        ));
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_measured_at_once_and_then_every_five_seconds() {
        let second = Duration::from_secs;
        let mut metrics = Metrics::default();
        assert!(metrics.is_scan_due(second(1)));
        assert!(!metrics.is_scan_due(second(5)));
        assert_eq!(metrics.deadline(), second(6));
        assert!(metrics.is_scan_due(second(6)));
    }

    #[test]
    fn the_next_binary_goes_on_counting() {
        let mut metrics = Metrics::default();
        metrics.worker_exit(Role::Http, WorkerExit::Hung);
        metrics.worker_restart(Role::Http);
        metrics.upstream_exit("s", UpstreamExit::Memory);
        metrics.cpu_of_shared_child("s", 1500);
        metrics.measured(Vec::new(), Vec::new(), 3);
        let text = serde_json::to_string(&metrics.carried()).unwrap();
        let next = Metrics::resume(serde_json::from_str(&text).unwrap());
        let facts = Facts::default();
        let number = |name: &str, reason: &str| {
            let all = next.all(&facts);
            let family = all.iter().find(|family| family.name == name).unwrap();
            let labelled = |sample: &&crate::metrics::Sample| {
                sample.labels.iter().any(|(_, value)| value == reason)
            };
            let sample = family.samples.iter().find(labelled).unwrap();
            match sample.value {
                crate::metrics::Value::Number(number) => number,
                _ => -1.0,
            }
        };
        assert_eq!(number("ggend_worker_exits_total", "hung"), 1.0);
        assert_eq!(number("ggend_worker_restarts_total", "http"), 1.0);
        assert_eq!(number("ggend_upstream_exits_total", "memory"), 1.0);
        assert_eq!(number("ggend_upstream_cpu_seconds_total", "s"), 1.5);
    }
}
