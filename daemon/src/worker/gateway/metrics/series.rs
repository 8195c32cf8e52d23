//! The metrics that are declared, and the handles of their series. Looks at no message.

use ggen_mcp::api::{CallOutcome, Micros};
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    core::Collector,
};

/// The histogram that has exemplars.
pub(super) const REQUESTS: &str = "ggend_request_duration_seconds";
/// Upper bounds in seconds: 100 µs (the gateway's own share) to a minute (the default time-out).
pub(super) const SECONDS: &[f64] = &[
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 30.0, 60.0,
];

/// Declares metrics in a registry.
pub(super) struct Declare<'a>(pub(super) &'a Registry);

impl Declare<'_> {
    pub(super) fn counter(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntCounterVec, prometheus::Error> {
        self.add(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    pub(super) fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        self.add(IntGauge::new(name, help)?)
    }

    fn histogram(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<HistogramVec, prometheus::Error> {
        let options = HistogramOpts::new(name, help).buckets(SECONDS.to_vec());
        self.add(HistogramVec::new(options, labels)?)
    }

    fn add<M: Collector + Clone + 'static>(&self, metric: M) -> Result<M, prometheus::Error> {
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    /// Requests of clients.
    pub(super) fn requests(&self) -> Result<Series, prometheus::Error> {
        Ok(Series {
            total: self.counter(
                "ggend_requests_total",
                "MCP requests of clients.",
                &["method", "era", "outcome"],
            )?,
            seconds: self.histogram(
                REQUESTS,
                "From a client's request to its answer.",
                &["method"],
            )?,
        })
    }

    /// Requests to upstreams.
    pub(super) fn calls(&self) -> Result<Series, prometheus::Error> {
        Ok(Series {
            total: self.counter(
                "ggend_upstream_calls_total",
                "Requests to upstreams.",
                &["upstream", "outcome"],
            )?,
            seconds: self.histogram(
                "ggend_upstream_call_duration_seconds",
                "From a request to an upstream to its answer.",
                &["upstream"],
            )?,
        })
    }

    /// Tool calls.
    pub(super) fn tools(&self) -> Result<Series, prometheus::Error> {
        Ok(Series {
            total: self.counter(
                "ggend_tool_calls_total",
                "Tool calls.",
                &["upstream", "tool", "outcome"],
            )?,
            seconds: self.histogram(
                "ggend_tool_call_duration_seconds",
                "From a tool call to its answer.",
                &["upstream", "tool"],
            )?,
        })
    }
}

/// Handles of one series, looked up once: a call costs a few atomic additions and no formatting.
pub(super) struct Series {
    pub(super) total: IntCounterVec,
    pub(super) seconds: HistogramVec,
}

/// The counters of one label set.
pub(super) struct Counted {
    outcomes: Vec<(CallOutcome, IntCounter)>,
    duration: Histogram,
}

impl Counted {
    pub(super) fn count(
        &mut self,
        series: &Series,
        labels: &[&str],
        outcome: CallOutcome,
        duration: Micros,
    ) {
        let counter = match self.outcomes.iter().find(|(known, _)| *known == outcome) {
            Some((_, counter)) => counter,
            None => {
                let labels: Vec<&str> = labels.iter().copied().chain([outcome.as_str()]).collect();
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

pub(super) fn counted(series: &Series, labels: &[&str]) -> Counted {
    Counted {
        outcomes: Vec::new(),
        duration: series.seconds.with_label_values(labels),
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "metrics are floating-point numbers"
)]
pub(super) fn seconds(duration: Micros) -> f64 {
    duration as f64 / 1e6
}
