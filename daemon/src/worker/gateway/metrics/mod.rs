//! What the gateway worker counts and logs: observations become metrics and the list of slow calls,
//! notes become log events. Every label is bounded: upstreams by the configuration, methods and
//! outcomes by the relay, tools here.

use crate::{
    ipc::messages::Beat,
    log::now_us,
    metrics::{Exemplars, Family, gather},
};
use ggen_mcp::access::rules::Audited;
use ggen_mcp::api::{Micros, Note, Observation, UpId};
use ggen_mcp::gateway::Counts;
use ggen_wire::{log::Level, status::SlowCall};
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    core::Collector,
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

/// Distinct tools that are counted under their own name; later ones are `other`.
const TOOLS: usize = 500;
/// Calls that are shown as slow, between two beats.
const SLOW: usize = 10;
/// A call is slow from here on, in microseconds.
const SLOW_FROM: Micros = 1_000_000;
/// The histogram that has exemplars.
const REQUESTS: &str = "ggend_request_duration_seconds";
/// Upper bounds in seconds: 100 µs (the gateway's own share) to a minute (the default time-out).
const SECONDS: &[f64] = &[
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 30.0, 60.0,
];

/// Handles of one series, looked up once: a call costs a few atomic additions and no formatting.
struct Series {
    total: IntCounterVec,
    seconds: HistogramVec,
}

/// The counters of one label set.
struct Counted {
    outcomes: Vec<(&'static str, IntCounter)>,
    duration: Histogram,
}

impl Counted {
    fn count(&mut self, series: &Series, labels: &[&str], outcome: &'static str, duration: Micros) {
        let counter = match self.outcomes.iter().find(|(known, _)| *known == outcome) {
            Some((_, counter)) => counter,
            None => {
                let labels: Vec<&str> = labels.iter().copied().chain([outcome]).collect();
                self.outcomes
                    .push((outcome, series.total.with_label_values(&labels)));
                let Some((_, counter)) = self.outcomes.last() else {
                    return;
                };
                counter
            }
        };
        counter.inc();
        self.duration.observe(seconds(duration));
    }
}

/// Counts; owned by the driver. What the beat needs of it is in [`Shared`].
pub(crate) struct Observer {
    names: Vec<Arc<str>>,
    requests: Series,
    calls: Series,
    tools: Series,
    dropped: IntCounterVec,
    limited: IntCounterVec,
    denied: IntCounterVec,
    spans: IntCounterVec,
    /// Transports of links, by number.
    transports: BTreeMap<u32, Box<str>>,
    by_method: Vec<((&'static str, &'static str), Counted)>,
    by_upstream: Vec<Option<Counted>>,
    by_tool: HashMap<(u32, Arc<str>), Counted>,
    other: HashMap<u32, Counted>,
    shared: Arc<Shared>,
}

/// What the beat reads.
pub(crate) struct Shared {
    registry: Registry,
    sessions: IntGauge,
    in_flight: IntGauge,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    counts: Counts,
    /// Calls in flight, by upstream.
    busy: Vec<(String, u32)>,
    slow: Vec<SlowCall>,
    exemplars: Exemplars,
}

impl Observer {
    /// Declares the metrics. `names` are the upstreams in the settings' order.
    ///
    /// # Errors
    /// A name is not valid or appears twice: a mistake in this file.
    pub(crate) fn new(names: Vec<Arc<str>>) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counter = |name: &str, help: &str, labels: &[&str]| {
            add(
                &registry,
                IntCounterVec::new(Opts::new(name, help), labels)?,
            )
        };
        let histogram = |name: &str, help: &str, labels: &[&str]| {
            add(
                &registry,
                HistogramVec::new(
                    HistogramOpts::new(name, help).buckets(SECONDS.to_vec()),
                    labels,
                )?,
            )
        };
        let gauge = |name: &str, help: &str| add(&registry, IntGauge::new(name, help)?);
        let by_upstream = names.iter().map(|_| None).collect();
        Ok(Self {
            names,
            requests: Series {
                total: counter(
                    "ggend_requests_total",
                    "MCP requests of clients.",
                    &["method", "era", "outcome"],
                )?,
                seconds: histogram(
                    REQUESTS,
                    "From a client's request to its answer.",
                    &["method"],
                )?,
            },
            calls: Series {
                total: counter(
                    "ggend_upstream_calls_total",
                    "Requests to upstreams.",
                    &["upstream", "outcome"],
                )?,
                seconds: histogram(
                    "ggend_upstream_call_duration_seconds",
                    "From a request to an upstream to its answer.",
                    &["upstream"],
                )?,
            },
            tools: Series {
                total: counter(
                    "ggend_tool_calls_total",
                    "Tool calls.",
                    &["upstream", "tool", "outcome"],
                )?,
                seconds: histogram(
                    "ggend_tool_call_duration_seconds",
                    "From a tool call to its answer.",
                    &["upstream", "tool"],
                )?,
            },
            dropped: counter(
                "ggend_dropped_total",
                "Messages that were dropped.",
                &["upstream", "reason"],
            )?,
            limited: counter(
                "ggend_rate_limited_total",
                "Requests that were one too many.",
                &["limit"],
            )?,
            spans: counter(
                "ggend_otlp_spans_total",
                "Spans for the collector.",
                &["outcome"],
            )?,
            denied: counter(
                "ggend_denied_total",
                "Requests for what the policy hides from the client.",
                &["what"],
            )?,
            transports: BTreeMap::new(),
            by_method: Vec::new(),
            by_upstream,
            by_tool: HashMap::new(),
            other: HashMap::new(),
            shared: Arc::new(Shared {
                sessions: gauge("ggend_sessions", "Legacy sessions that are open.")?,
                in_flight: gauge("ggend_in_flight_calls", "Calls in flight.")?,
                state: Mutex::default(),
                registry: registry.clone(),
            }),
        })
    }

    /// One more upstream, with the next number.
    pub(crate) fn add(&mut self, name: Arc<str>) {
        self.names.push(name);
        self.by_upstream.push(None);
    }

    /// What the beat reads.
    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Counts.
    pub(crate) fn observe(&mut self, observation: Observation) {
        match observation {
            Observation::Request {
                method,
                era,
                outcome,
                duration,
                trace,
            } => {
                if let Some(trace) = trace {
                    self.shared
                        .exemplar(method, seconds(duration), trace.to_string());
                }
                let at = self
                    .by_method
                    .iter()
                    .position(|(known, _)| *known == (method, era))
                    .unwrap_or_else(|| {
                        self.by_method
                            .push(((method, era), counted(&self.requests, &[method])));
                        self.by_method.len() - 1
                    });
                self.by_method[at]
                    .1
                    .count(&self.requests, &[method, era], outcome, duration);
            }
            Observation::Call {
                up,
                tool,
                outcome,
                duration,
            } => self.call(up, tool, outcome, duration),
            Observation::Limited(limit) => self.limited.with_label_values(&[limit]).inc(),
            Observation::Denied(what) => self.denied.with_label_values(&[what]).inc(),
            Observation::Audit(audited) => self.audit(&audited),
            // The driver has it.
            Observation::Span(_) => {}
            Observation::Dropped { up, reason } => {
                let name = up.and_then(|up| self.name(up)).unwrap_or_default();
                self.dropped.with_label_values(&[&*name, reason]).inc();
            }
        }
    }

    /// A link is there, from a worker of that name (`http-0`).
    pub(crate) fn link(&mut self, edge: u32, peer: &str) {
        self.transports
            .insert(edge, peer.split('-').next().unwrap_or(peer).into());
    }

    /// A link is gone.
    pub(crate) fn unlink(&mut self, edge: u32) {
        self.transports.remove(&edge);
    }

    /// Where spans are counted.
    pub(crate) fn spans(&self) -> IntCounterVec {
        self.spans.clone()
    }

    /// The transport of a link.
    pub(crate) fn transport(&self, edge: u32) -> &str {
        self.transports
            .get(&edge)
            .map_or("control", |transport| &**transport)
    }

    /// One line of the category `auth`.
    fn audit(&self, audited: &Audited) {
        let upstream = audited.up.and_then(|up| self.name(up));
        let transport = self.transport(audited.edge);
        tracing::info!(
            target: "auth",
            principal = &*audited.principal,
            method = audited.method,
            name = &*audited.name,
            tool = (audited.method == "tools/call").then_some(&*audited.name),
            upstream = upstream.as_deref(),
            outcome = audited.outcome,
            code = audited.code.map(ggen_wire::Code::as_str),
            duration_us = audited.duration,
            bytes_in = audited.bytes_in,
            bytes_out = audited.bytes_out,
            transport,
            request = &*audited.id,
            trace_id = audited.trace.map(|trace| trace.to_string()),
            arguments = audited.arguments.as_deref(),
            "call"
        );
    }

    fn call(&mut self, up: UpId, tool: Option<Arc<str>>, outcome: &'static str, duration: Micros) {
        let Some(name) = self.name(up) else { return };
        if let Some(slot) = self.by_upstream.get_mut(up.0 as usize) {
            slot.get_or_insert_with(|| counted(&self.calls, &[&name]))
                .count(&self.calls, &[&name], outcome, duration);
        }
        if duration >= SLOW_FROM {
            self.shared.slow(SlowCall {
                what: tool
                    .as_ref()
                    .map_or_else(|| "request".to_owned(), |tool| format!("tools/call {tool}")),
                upstream: name.to_string(),
                duration_ms: duration / 1000,
                ended_ms: now_us() / 1000,
            });
        }
        let Some(tool) = tool else { return };
        let room = self.by_tool.len() < TOOLS;
        let key = (up.0, tool);
        if !room && !self.by_tool.contains_key(&key) {
            let other = self
                .other
                .entry(up.0)
                .or_insert_with(|| counted(&self.tools, &[&name, "other"]));
            return other.count(&self.tools, &[&name, "other"], outcome, duration);
        }
        let tool = Arc::clone(&key.1);
        let known = self
            .by_tool
            .entry(key)
            .or_insert_with(|| counted(&self.tools, &[&name, &tool]));
        known.count(&self.tools, &[&name, &tool], outcome, duration);
    }

    fn name(&self, up: UpId) -> Option<Arc<str>> {
        self.names.get(up.0 as usize).cloned()
    }

    /// Logs.
    pub(crate) fn log(&self, note: &Note) {
        let upstream = note.up.and_then(|up| self.name(up));
        let (upstream, code) = (upstream.as_deref(), note.code.map(ggen_wire::Code::as_str));
        let about = note.about.as_deref();
        let (principal, request) = (
            about.map(|about| &*about.principal),
            about.map(|about| &*about.request),
        );
        let trace_id = about
            .and_then(|about| about.trace)
            .map(|trace| trace.to_string());
        let (method, tool) = (
            about.map(|about| about.method),
            about.and_then(|about| about.tool.as_deref()),
        );
        macro_rules! emit {
            ($($category:literal),*) => {
                match note.category {
                    $($category => emit!(@ $category),)*
                    _ => emit!(@ "mcp_server"),
                }
            };
            (@ $category:literal) => {
                match note.level {
                    Level::Error => tracing::error!(target: $category, upstream, tool, method, principal, request, trace_id, code, "{}", note.text),
                    Level::Warn => tracing::warn!(target: $category, upstream, tool, method, principal, request, trace_id, code, "{}", note.text),
                    Level::Info => tracing::info!(target: $category, upstream, tool, method, principal, request, trace_id, code, "{}", note.text),
                    Level::Debug => tracing::debug!(target: $category, upstream, tool, method, principal, request, trace_id, code, "{}", note.text),
                    Level::Trace => tracing::trace!(target: $category, upstream, tool, method, principal, request, trace_id, code, "{}", note.text),
                }
            };
        }
        emit!("tools", "protocol", "transport");
    }
}

impl Shared {
    /// What is open now, for the next beat.
    pub(crate) fn set(&self, counts: Counts, busy: Vec<(String, u32)>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.counts = counts;
        state.busy = busy;
    }

    fn exemplar(&self, method: &'static str, seconds: f64, trace: String) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state
            .exemplars
            .take(method, seconds, trace, now_us() / 1000, SECONDS);
    }

    fn slow(&self, call: SlowCall) {
        let slow = &mut self
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .slow;
        slow.push(call);
        if slow.len() > SLOW {
            slow.sort_by_key(|call| std::cmp::Reverse(call.duration_ms));
            slow.truncate(SLOW);
        }
    }

    /// The worker's part of a beat.
    pub(crate) fn beat(&self) -> Beat {
        let State {
            counts,
            busy,
            slow,
            exemplars,
        } = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            State {
                counts: state.counts,
                busy: state.busy.clone(),
                slow: std::mem::take(&mut state.slow),
                exemplars: state.exemplars.clone(),
            }
        };
        self.sessions
            .set(i64::try_from(counts.sessions).unwrap_or(i64::MAX));
        self.in_flight
            .set(i64::try_from(counts.in_flight).unwrap_or(i64::MAX));
        let mut metrics: Vec<Family> = gather(&self.registry);
        exemplars.show(&mut metrics, REQUESTS, "method");
        let Counts {
            sessions,
            in_flight,
            tools,
        } = counts;
        Beat {
            in_flight,
            sessions,
            tools,
            metrics,
            busy,
            slow,
            ..Beat::default()
        }
    }
}

fn add<M: Collector + Clone + 'static>(
    registry: &Registry,
    metric: M,
) -> Result<M, prometheus::Error> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn counted(series: &Series, labels: &[&str]) -> Counted {
    Counted {
        outcomes: Vec::new(),
        duration: series.seconds.with_label_values(labels),
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "metrics are floating-point numbers"
)]
fn seconds(duration: Micros) -> f64 {
    duration as f64 / 1e6
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        reason = "a test fails by panicking"
    )]

    use super::*;
    use crate::metrics::Value;

    fn call(tool: &str, duration: Micros) -> Observation {
        Observation::Call {
            up: UpId(0),
            tool: Some(tool.into()),
            outcome: "ok",
            duration,
        }
    }

    fn samples(beat: &Beat, name: &str) -> Vec<(Vec<String>, Value)> {
        let family = beat
            .metrics
            .iter()
            .find(|family| family.name == name)
            .unwrap();
        let label = |(_, value): &(String, String)| value.clone();
        family
            .samples
            .iter()
            .map(|sample| {
                (
                    sample.labels.iter().map(label).collect(),
                    sample.value.clone(),
                )
            })
            .collect()
    }

    #[test]
    fn tools_are_counted_by_name_up_to_the_bound() {
        let mut observer = Observer::new(vec!["up".into()]).unwrap();
        for number in 0..TOOLS + 20 {
            observer.observe(call(&format!("tool{number}"), 10));
            observer.observe(call("tool0", 10));
        }
        let beat = observer.shared().beat();
        let tools = samples(&beat, "ggend_tool_calls_total");
        assert_eq!(tools.len(), TOOLS + 1);
        let count = |name: &str| {
            tools
                .iter()
                .find(|(labels, _)| labels.contains(&name.to_owned()))
                .unwrap()
                .1
                .clone()
        };
        assert_eq!(
            (count("tool0"), count("other")),
            (Value::Number(521.0), Value::Number(20.0))
        );
        assert_eq!(
            samples(&beat, "ggend_upstream_calls_total"),
            [(
                vec!["ok".to_owned(), "up".to_owned()],
                Value::Number(1040.0)
            )]
        );
    }

    #[test]
    fn the_slowest_calls_stay_until_the_beat() {
        let mut observer = Observer::new(vec!["up".into()]).unwrap();
        (0..20).for_each(|number| observer.observe(call("slow", SLOW_FROM + number * 1000)));
        observer.observe(call("quick", SLOW_FROM - 1));
        observer.shared().set(
            Counts {
                sessions: 3,
                in_flight: 2,
                tools: 7,
            },
            vec![("one".to_owned(), 2)],
        );
        let beat = observer.shared().beat();
        assert_eq!(
            (
                beat.slow.len(),
                beat.slow.iter().map(|call| call.duration_ms).min()
            ),
            (SLOW, Some(1010))
        );
        assert_eq!((beat.sessions, beat.in_flight, beat.tools), (3, 2, 7));
        assert_eq!(
            samples(&beat, "ggend_sessions"),
            [(Vec::new(), Value::Number(3.0))]
        );
        assert!(observer.shared().beat().slow.is_empty());
    }

    #[test]
    fn requests_are_counted_by_method_era_and_outcome() {
        let mut observer = Observer::new(Vec::new()).unwrap();
        for (era, outcome) in [
            ("legacy", "ok"),
            ("modern", "ok"),
            ("modern", "error"),
            ("modern", "ok"),
        ] {
            observer.observe(Observation::Request {
                method: "tools/list",
                era,
                outcome,
                duration: 1500,
                trace: None,
            });
        }
        observer.observe(Observation::Dropped {
            up: None,
            reason: "late_response",
        });
        let beat = observer.shared().beat();
        assert_eq!(samples(&beat, "ggend_requests_total").len(), 3);
        let Value::Histogram { count, .. } = samples(&beat, "ggend_request_duration_seconds")[0].1
        else {
            panic!("a histogram")
        };
        assert_eq!(count, 4);
        assert_eq!(samples(&beat, "ggend_dropped_total").len(), 1);
    }
}
