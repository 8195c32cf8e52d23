//! Converts a `prometheus` registry into the families that a beat carries.

use super::{Family, Kind, Sample, Value};
use prometheus::{Registry, proto::MetricType};

/// Everything in the registry, as it stands now.
#[must_use]
pub fn gather(registry: &Registry) -> Vec<Family> {
    registry.gather().iter().filter_map(family).collect()
}

fn family(found: &prometheus::proto::MetricFamily) -> Option<Family> {
    let kind = match found.get_field_type() {
        MetricType::COUNTER => Kind::Counter,
        MetricType::GAUGE => Kind::Gauge,
        MetricType::HISTOGRAM => Kind::Histogram,
        _ => return None,
    };
    let samples = found
        .get_metric()
        .iter()
        .map(|metric| Sample {
            labels: labels(metric),
            value: value(kind, metric),
        })
        .collect();
    Some(Family {
        name: found.name().to_owned(),
        help: found.help().to_owned(),
        kind,
        samples,
    })
}

fn labels(metric: &prometheus::proto::Metric) -> Vec<(String, String)> {
    let mut labels: Vec<_> = metric
        .get_label()
        .iter()
        .map(|pair| (pair.name().to_owned(), pair.value().to_owned()))
        .collect();
    labels.sort();
    labels
}

fn value(kind: Kind, metric: &prometheus::proto::Metric) -> Value {
    match kind {
        Kind::Counter => Value::Number(metric.get_counter().get_value()),
        Kind::Gauge => Value::Number(metric.get_gauge().get_value()),
        Kind::Histogram => {
            let histogram = metric.get_histogram();
            Value::Histogram {
                buckets: histogram
                    .get_bucket()
                    .iter()
                    .map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()))
                    .filter(|(bound, _)| bound.is_finite())
                    .collect(),
                sum: histogram.get_sample_sum(),
                count: histogram.get_sample_count(),
                exemplars: Vec::new(),
            }
        }
    }
}
