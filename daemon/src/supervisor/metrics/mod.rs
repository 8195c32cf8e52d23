//! The supervisor's own metrics: lives and deaths of workers and servers, memory and processor time
//! of every process.

pub(in crate::supervisor) mod ledger;

use crate::{
    ipc::messages::Role,
    metrics::{Family, Kind, Sample, Value},
    platform::{self, Usage},
    supervisor::{Supervisor, upstreams::Phase as UpstreamPhase, workers::Stage},
};
use ggen_wire::{
    Code,
    status::{Phase, UpstreamState},
};
use std::{borrow::Cow, collections::BTreeMap, time::Duration};

/// How often /proc is read.
pub(crate) const SCAN: Duration = Duration::from_secs(5);

/// Why workers end, as `workers.rs` names it.
const EXITS: [&str; 4] = ["drained", "hung", "exit", "signal"];

/// A role, a kind, a reason: ours, or that of the binary before us.
pub(crate) type Name = Cow<'static, str>;

/// What is counted over the daemon's life.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) restarts: BTreeMap<Name, u64>,
    pub(crate) exits: BTreeMap<(Name, Name), u64>,
    pub(crate) upstream_exits: BTreeMap<(String, Name), u64>,
    /// Processor time of processes that are gone, and what the living ones had at the last look:
    /// (retired, last).
    pub(crate) cpu_ms: BTreeMap<(Name, String), (u64, u64)>,
    /// Descriptors that our processes have open, and may have open.
    files: BTreeMap<String, (u64, u64)>,
}

impl Counters {
    pub(crate) fn worker_exit(&mut self, role: Role, reason: &'static str) {
        *self
            .exits
            .entry((role.as_str().into(), reason.into()))
            .or_default() += 1;
    }

    pub(crate) fn worker_restart(&mut self, role: Role) {
        *self.restarts.entry(role.as_str().into()).or_default() += 1;
    }

    pub(crate) fn upstream_exit(&mut self, upstream: &str, code: Code) {
        let reason = match code {
            Code::CommandNotFound => "not-found",
            Code::UpstreamSilent | Code::UpstreamTimeout => "silent",
            Code::UpstreamGarbage | Code::UpstreamTooLarge => "garbage",
            Code::UpstreamRefused => "refused",
            Code::UpstreamExited => "exit",
            Code::UpstreamOutOfMemory => "memory",
            _ => "other",
        };
        *self
            .upstream_exits
            .entry((upstream.to_owned(), reason.into()))
            .or_default() += 1;
    }

    /// A process's time can only grow; less than at the last look is another process.
    fn cpu(&mut self, kind: &'static str, name: &str, ms: u64) {
        let (retired, last) = self
            .cpu_ms
            .entry((kind.into(), name.to_owned()))
            .or_default();
        if ms < *last {
            *retired += *last;
        }
        *last = ms;
    }

    /// All that a life has used that is over; the next one begins at 0.
    pub(crate) fn cpu_of_life(&mut self, kind: &'static str, name: &str, ms: u64) {
        let (retired, last) = self
            .cpu_ms
            .entry((kind.into(), name.to_owned()))
            .or_default();
        *retired += ms.max(*last);
        *last = 0;
    }

    /// What a process had used that has ended, beside the one that is looked at.
    pub(crate) fn cpu_of_ended(&mut self, kind: &'static str, name: &str, ms: u64) {
        self.cpu_ms
            .entry((kind.into(), name.to_owned()))
            .or_default()
            .0 += ms;
    }
}

impl Supervisor {
    /// Looks at memory and processor time of every process.
    #[allow(
        clippy::cast_precision_loss,
        reason = "metrics are floating-point numbers"
    )]
    pub(crate) fn scan(&mut self) {
        let own = platform::process(std::process::id());
        self.usage = own.map_or_else(Usage::default, |own| Usage {
            rss_bytes: own.rss_bytes,
            cpu_ms: own.cpu_ms,
            ..Usage::default()
        });
        self.counters
            .cpu("process", "supervisor", self.usage.cpu_ms);
        for proc in self.workers.procs.values_mut() {
            if let Some(found) = platform::process(proc.pid) {
                proc.usage = Usage {
                    rss_bytes: found.rss_bytes,
                    cpu_ms: found.cpu_ms,
                    ..Usage::default()
                };
                if proc.is_current() {
                    self.counters.cpu("process", &proc.name, found.cpu_ms);
                }
            }
        }
        // Workers hide from everybody but root, us included; they count theirs themselves.
        let ours = self.workers.procs.values().filter(|proc| proc.is_current());
        let ours = ours.filter_map(|proc| {
            Some((
                proc.name.clone(),
                proc.beat.files.or_else(|| platform::open_files(proc.pid))?,
            ))
        });
        let own =
            platform::open_files(std::process::id()).map(|found| ("supervisor".to_owned(), found));
        self.counters.files = ours.chain(own).collect();
        let roots: Vec<u32> = self
            .upstreams
            .iter()
            .filter_map(|upstream| upstream.pid)
            .chain(self.lease_pids())
            .collect();
        if !roots.is_empty() {
            let mut found = platform::usage_of_trees(&platform::processes(), &roots);
            let groups: BTreeMap<_, _> = self.look_at_cgroups().into_iter().collect();
            let mut find = |shim, pid| {
                let seen = found.remove(&pid)?;
                Some(groups.get(&shim).map_or(seen, |group| seen.counted(*group)))
            };
            for upstream in &mut self.upstreams {
                upstream.usage = upstream
                    .shim()
                    .zip(upstream.pid)
                    .and_then(|(shim, pid)| find(shim, pid))
                    .unwrap_or_default();
                self.counters
                    .cpu("upstream", &upstream.name, upstream.usage.cpu_ms);
            }
            self.put_lease_usage(find);
        }
        // In the ledger, because the workers count theirs under the same name.
        let dropped = sample(&[], self.hub.console.dropped() as f64);
        self.ledger.take(
            0,
            vec![family(
                "ggend_log_lines_dropped_total",
                "Log lines lost to a full queue.",
                Kind::Counter,
                [dropped],
            )],
        );
        if std::process::id() == 1 {
            self.note_foreign();
        }
    }

    /// All metrics of the daemon, retired workers included, by name.
    pub(crate) fn all_metrics(&self) -> Vec<Family> {
        let mut all = self.ledger.snapshot();
        all.extend(self.own_metrics());
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }

    #[allow(
        clippy::cast_precision_loss,
        reason = "metrics are floating-point numbers"
    )]
    fn own_metrics(&self) -> Vec<Family> {
        let now = self.now();
        let flag = |on: bool| f64::from(u8::from(on));
        let seconds = |ms: u64| ms as f64 / 1000.0;
        let current = || {
            self.workers.slots.iter().map(|slot| {
                (
                    slot,
                    slot.current.and_then(|id| self.workers.procs.get(&id)),
                )
            })
        };
        let cpu = |wanted: &'static str, label: &'static str| {
            let mine = self
                .counters
                .cpu_ms
                .iter()
                .filter(move |((kind, _), _)| *kind == wanted);
            let leased = move |name: &str| {
                if wanted == "upstream" {
                    self.leased_of(name).1.cpu_ms
                } else {
                    0
                }
            };
            mine.map(move |((_, name), (retired, last))| {
                sample(&[(label, name)], seconds(retired + last + leased(name)))
            })
        };
        let rss = [("supervisor", self.usage.rss_bytes)].into_iter().chain(
            current().filter_map(|(slot, proc)| Some((slot.name.as_str(), proc?.usage.rss_bytes))),
        );
        // Each from 0 on: a series that begins with 1 has not increased for who watches it.
        let mut exits: BTreeMap<(&str, &str), u64> = self
            .workers
            .slots
            .iter()
            .flat_map(|slot| EXITS.map(|reason| ((slot.role.as_str(), reason), 0)))
            .collect();
        exits.extend(
            self.counters
                .exits
                .iter()
                .map(|((role, reason), count)| ((&**role, &**reason), *count)),
        );
        let files = |which: fn((u64, u64)) -> u64| {
            self.counters
                .files
                .iter()
                .map(move |(process, files)| sample(&[("process", process)], which(*files) as f64))
        };
        let (gauge, counter) = (Kind::Gauge, Kind::Counter);
        vec![
            family(
                "ggend_build_info",
                "The running version.",
                gauge,
                [sample(&[("version", ggen_wire::VERSION)], 1.0)],
            ),
            family(
                "ggend_config_generation",
                "Generation of the configuration in force.",
                gauge,
                [sample(&[], f64::from(self.generation))],
            ),
            family(
                "ggend_start_time_seconds",
                "When the supervisor started, since the Unix epoch.",
                gauge,
                [sample(&[], seconds(self.started_ms))],
            ),
            family(
                "ggend_certificate_expiry_timestamp_seconds",
                "When a certificate that is served expires, since the Unix epoch.",
                gauge,
                self.tls.found.certificates.iter().map(|(path, facts)| {
                    sample(
                        &[("file", &path.display().to_string()), ("name", &facts.name)],
                        facts.not_after as f64,
                    )
                }),
            ),
            family(
                "ggend_transport_up",
                "Whether a transport that is configured is served; 0 also while it is stopped on request.",
                gauge,
                self.transports()
                    .iter()
                    .map(|it| sample(&[("transport", &it.name)], flag(it.phase == Phase::Running))),
            ),
            family(
                "ggend_worker_restarts_total",
                "Starts of workers after one died.",
                counter,
                self.counters
                    .restarts
                    .iter()
                    .map(|(role, count)| sample(&[("role", role)], *count as f64)),
            ),
            family(
                "ggend_worker_exits_total",
                "Ends of worker processes, by reason.",
                counter,
                exits.iter().map(|((role, reason), count)| {
                    sample(&[("reason", reason), ("role", role)], *count as f64)
                }),
            ),
            family(
                "ggend_worker_up",
                "Whether a worker is ready.",
                gauge,
                current().map(|(slot, proc)| {
                    sample(
                        &[("worker", &slot.name)],
                        flag(proc.is_some_and(|proc| proc.stage == Stage::Ready)),
                    )
                }),
            ),
            family(
                "ggend_worker_beat_age_seconds",
                "Time since a worker's last beat.",
                gauge,
                current().filter_map(|(slot, proc)| {
                    Some(sample(
                        &[("worker", &slot.name)],
                        now.saturating_sub(proc?.beat_at).as_secs_f64(),
                    ))
                }),
            ),
            family(
                "ggend_worker_loop_lag_seconds",
                "Longest delay of a worker's event loop between its last two beats.",
                gauge,
                current().filter_map(|(slot, proc)| {
                    Some(sample(
                        &[("worker", &slot.name)],
                        proc?.beat.lag_us as f64 / 1e6,
                    ))
                }),
            ),
            family(
                "ggend_worker_requests",
                "HTTP requests that the present process of a worker has answered.",
                gauge,
                current().filter_map(|(slot, _)| {
                    Some(sample(
                        &[("worker", &slot.name)],
                        self.ledger
                            .sum_of(slot.current?, "ggend_http_requests_total")?,
                    ))
                }),
            ),
            family(
                "ggend_process_resident_memory_bytes",
                "Resident memory of our own processes.",
                gauge,
                rss.map(|(process, bytes)| sample(&[("process", process)], bytes as f64)),
            ),
            family(
                "ggend_process_open_fds",
                "Descriptors that our own processes have open.",
                gauge,
                files(|(open, _)| open),
            ),
            family(
                "ggend_process_max_fds",
                "Descriptors that they may have open.",
                gauge,
                files(|(_, most)| most),
            ),
            family(
                "ggend_process_cpu_seconds_total",
                "Processor time of our own processes.",
                counter,
                cpu("process", "process"),
            ),
            family(
                "ggend_upstream_up",
                "Whether an upstream server is ready.",
                gauge,
                self.upstreams.iter().map(|it| {
                    sample(
                        &[("upstream", &it.name)],
                        flag(it.state(now) == UpstreamState::Ready),
                    )
                }),
            ),
            family(
                "ggend_upstream_restarts_total",
                "Starts of an upstream server after the first one.",
                counter,
                self.upstreams
                    .iter()
                    .map(|it| sample(&[("upstream", &it.name)], it.restarts as f64)),
            ),
            family(
                "ggend_upstream_exits_total",
                "Ends of an upstream server, by reason.",
                counter,
                self.counters
                    .upstream_exits
                    .iter()
                    .map(|((name, reason), count)| {
                        sample(&[("reason", reason), ("upstream", name)], *count as f64)
                    }),
            ),
            family(
                "ggend_upstream_resident_memory_bytes",
                "Resident memory of an upstream server and its descendants.",
                gauge,
                self.upstreams.iter().map(|it| {
                    let bytes = it.usage.rss_bytes + self.leased_of(&it.name).1.rss_bytes;
                    sample(&[("upstream", &it.name)], bytes as f64)
                }),
            ),
            family(
                "ggend_upstream_memory_bytes",
                "Memory of an upstream server and its descendants as their control groups count it, the cache of their files included.",
                gauge,
                self.upstreams.iter().filter_map(|it| {
                    let bytes = it.usage.and(self.leased_of(&it.name).1).memory_bytes?;
                    Some(sample(&[("upstream", &it.name)], bytes as f64))
                }),
            ),
            family(
                "ggend_upstream_processes",
                "Processes of an upstream server, itself, its other children and their descendants.",
                gauge,
                self.upstreams
                    .iter()
                    .filter(|it| it.phase != UpstreamPhase::Remote)
                    .map(|it| {
                        let count = it.usage.processes + self.leased_of(&it.name).1.processes;
                        sample(&[("upstream", &it.name)], f64::from(count))
                    }),
            ),
            family(
                "ggend_upstream_children",
                "Children of an upstream server that run beside the shared one.",
                gauge,
                self.upstreams.iter().map(|it| {
                    sample(
                        &[("upstream", &it.name)],
                        f64::from(self.leased_of(&it.name).0),
                    )
                }),
            ),
            family(
                "ggend_upstream_cpu_seconds_total",
                "Processor time of an upstream server and its descendants; without a control group, of the living ones.",
                counter,
                cpu("upstream", "upstream"),
            ),
        ]
    }
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
