//! Rates and latencies computed from two scrapes. Pure.

use crate::metrics::{Family, Sample};
use std::time::Duration;

/// What is shown of the time between two samples; `None` where the daemon counted nothing.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub(crate) struct Rates {
    /// MCP requests a second.
    pub(crate) requests: f64,
    /// Of those, the ones that did not end well, a second.
    pub(crate) errors: f64,
    /// Calls of tools a second.
    pub(crate) calls: f64,
    /// Median, 95th and 99th percentile of the requests' time, in milliseconds: upper estimates, as
    /// histograms allow.
    pub(crate) latency_ms: Option<[f64; 3]>,
}

/// Between two scrapes of one daemon. A counter that went backwards belongs to another life and
/// counts from zero.
pub(crate) fn between(old: &[Family], new: &[Family], time: Duration) -> Rates {
    let seconds = time.as_secs_f64().max(0.001);
    let rate = |name: &str, wanted: &dyn Fn(&Sample) -> bool| {
        let (before, after) = (total(old, name, wanted), total(new, name, wanted));
        (if after < before {
            after
        } else {
            after - before
        }) / seconds
    };
    let all = |_: &Sample| true;
    let failed = |sample: &Sample| {
        sample
            .labels
            .get("outcome")
            .is_some_and(|outcome| outcome != "ok")
    };
    Rates {
        requests: rate("ggend_requests_total", &all),
        errors: rate("ggend_requests_total", &failed),
        calls: rate("ggend_tool_calls_total", &all),
        latency_ms: latency(old, new, "ggend_request_duration_seconds"),
    }
}

/// The sum of a family's samples.
pub(crate) fn total(families: &[Family], name: &str, wanted: &dyn Fn(&Sample) -> bool) -> f64 {
    let family = families.iter().filter(|family| family.name == name);
    family
        .flat_map(|family| &family.samples)
        .filter(|sample| sample.name == name && wanted(sample))
        .filter_map(number)
        .sum()
}

fn number(sample: &Sample) -> Option<f64> {
    sample.value.as_f64()
}

fn latency(old: &[Family], new: &[Family], name: &str) -> Option<[f64; 3]> {
    let (before, mut after) = (buckets(old, name), buckets(new, name));
    let fell = before.iter().zip(&after).any(|(old, new)| new.1 < old.1);
    if before.len() == after.len() && !fell {
        after
            .iter_mut()
            .zip(&before)
            .for_each(|(new, old)| new.1 -= old.1);
    }
    let all = after.last().filter(|(_, count)| *count > 0.0)?.1;
    Some([0.5, 0.95, 0.99].map(|part| quantile(&after, all * part) * 1000.0))
}

// Upper bounds with their cumulated counts, over all label sets, ascending.
fn buckets(families: &[Family], name: &str) -> Vec<(f64, f64)> {
    let mut found: Vec<(f64, f64)> = Vec::new();
    let samples = families
        .iter()
        .filter(|family| family.name == name)
        .flat_map(|family| &family.samples);
    for sample in samples.filter(|sample| sample.name.ends_with("_bucket")) {
        let bound = sample.labels.get("le").and_then(|bound| {
            if bound == "+Inf" {
                Some(f64::INFINITY)
            } else {
                bound.parse().ok()
            }
        });
        let (Some(bound), Some(count)) = (bound, number(sample)) else {
            continue;
        };
        match found.iter_mut().find(|(known, _)| *known == bound) {
            Some((_, sum)) => *sum += count,
            None => found.push((bound, count)),
        }
    }
    found.sort_by(|a, b| a.0.total_cmp(&b.0));
    found
}

// Linear inside a bucket; what lies above the last bound is known to be no shorter than it.
fn quantile(buckets: &[(f64, f64)], rank: f64) -> f64 {
    let (mut below, mut bottom) = (0.0, 0.0);
    for (bound, count) in buckets {
        if *count >= rank {
            let share = if *count > below {
                (rank - below) / (count - below)
            } else {
                1.0
            };
            return if bound.is_finite() {
                bottom + (bound - bottom) * share
            } else {
                bottom
            };
        }
        (below, bottom) = (*count, *bound);
    }
    bottom
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::parse;

    fn scrape(ok: u32, bad: u32, fast: u32, all: u32) -> Vec<Family> {
        parse(&format!(
            "# TYPE ggend_requests_total counter\nggend_requests_total{{outcome=\"ok\"}} {ok}\nggend_requests_total{{outcome=\"error\"}} {bad}\n\
             # TYPE ggend_request_duration_seconds histogram\nggend_request_duration_seconds_bucket{{le=\"0.01\"}} {fast}\n\
             ggend_request_duration_seconds_bucket{{le=\"0.1\"}} {all}\nggend_request_duration_seconds_bucket{{le=\"+Inf\"}} {all}\n"
        ))
    }

    #[test]
    fn rates_are_differences_over_time() {
        let rates = between(
            &scrape(10, 0, 10, 10),
            &scrape(28, 2, 20, 30),
            Duration::from_secs(2),
        );
        assert_eq!(
            (rates.requests, rates.errors, rates.calls),
            (10.0, 1.0, 0.0)
        );
        let [median, slow, slowest] = rates.latency_ms.unwrap();
        assert!(
            (median - 10.0).abs() < 0.01
                && (slow - 91.0).abs() < 0.01
                && (slowest - 98.2).abs() < 0.01,
            "{rates:?}"
        );
    }

    #[test]
    fn another_life_counts_from_zero_and_silence_has_no_latency() {
        let rates = between(
            &scrape(100, 0, 100, 100),
            &scrape(4, 0, 4, 4),
            Duration::from_secs(1),
        );
        assert_eq!(rates.requests, 4.0);
        assert!(rates.latency_ms.is_some());
        let same = scrape(4, 0, 4, 4);
        assert_eq!(
            between(&same, &same, Duration::from_secs(1)),
            Rates::default()
        );
    }
}
