//! The OpenMetrics 1.0 text format
//! (<https://github.com/prometheus/OpenMetrics/blob/v1.0.0/specification/OpenMetrics.md>): for
//! scrapers that ask for it, because only it has exemplars. Pure.

use super::{Family, Kind, Value, text::Labels, text::Number};
use std::fmt::{self, Write};

/// The `Content-Type` of [`render`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Whether a scraper's `Accept` wants OpenMetrics at least as much as the older format.
#[must_use]
pub fn is_asked_for(accept: &str) -> bool {
    let weight = |kind: &str| {
        let ranges = accept
            .split(',')
            .map(|range| range.split(';').map(str::trim));
        let of = ranges.filter_map(|mut parts| {
            if !parts.next()?.eq_ignore_ascii_case(kind) {
                return None;
            }
            let mut weight = 1.0;
            for (name, value) in parts.filter_map(|part| part.split_once('=')) {
                match name.trim() {
                    "q" => weight = value.trim().parse::<f32>().ok()?,
                    "version"
                        if kind != "text/plain" && !matches!(value.trim(), "1.0.0" | "0.0.1") =>
                    {
                        return None;
                    }
                    _ => {}
                }
            }
            Some(weight)
        });
        of.fold(0.0, f32::max)
    };
    let wanted = weight("application/openmetrics-text");
    wanted > 0.0 && wanted >= weight("text/plain")
}

/// All families as text, in the order given.
#[must_use]
pub fn render(families: &[Family]) -> String {
    let mut out = String::with_capacity(
        families
            .iter()
            .map(|family| 128 + family.samples.len() * 96)
            .sum(),
    );
    for family in families {
        // Writing to a String never fails.
        let _ = write_family(&mut out, family);
    }
    out.push_str("# EOF\n");
    out
}

fn write_family(out: &mut String, family: &Family) -> fmt::Result {
    let name = family.name.as_str();
    // A counter is declared by its name without the ending; one without the ending would not be a
    // counter there.
    let (declared, kind) = match (family.kind, name.strip_suffix("_total")) {
        (Kind::Counter, Some(declared)) => (declared, "counter"),
        (Kind::Counter, None) => (name, "unknown"),
        (Kind::Gauge, _) => (name, "gauge"),
        (Kind::Histogram, _) => (name, "histogram"),
    };
    writeln!(out, "# TYPE {declared} {kind}")?;
    writeln!(
        out,
        "# HELP {declared} {}",
        family
            .help
            .replace('\\', "\\\\")
            .replace('\n', "\\n")
            .replace('"', "\\\"")
    )?;
    for sample in &family.samples {
        let labels = &sample.labels;
        match &sample.value {
            Value::Number(value) => {
                writeln!(out, "{name}{} {}", Labels(labels, None), Number(*value))?
            }
            Value::Histogram { .. } => write_histogram(out, name, labels, &sample.value)?,
        }
    }
    Ok(())
}

fn write_histogram(
    out: &mut String,
    name: &str,
    labels: &[(String, String)],
    value: &Value,
) -> fmt::Result {
    let Value::Histogram {
        buckets,
        sum,
        count,
        exemplars,
    } = value
    else {
        return Ok(());
    };
    let bounds: Vec<f64> = buckets
        .iter()
        .map(|(bound, _)| *bound)
        .filter(|bound| bound.is_finite())
        .collect();
    let counts = buckets
        .iter()
        .map(|(_, below)| below)
        .take(bounds.len())
        .chain([count]);
    for (at, below) in counts.enumerate() {
        let bound = bounds.get(at).copied().unwrap_or(f64::INFINITY);
        write!(out, "{name}_bucket{} {below}", Bucket(labels, bound))?;
        if let Some(exemplar) = exemplars
            .iter()
            .find(|exemplar| exemplar.bucket(&bounds) == at)
        {
            let (seconds, millis) = (exemplar.at_ms / 1000, exemplar.at_ms % 1000);
            let (trace, value) = (&exemplar.trace, Number(exemplar.value));
            write!(
                out,
                " # {{trace_id=\"{trace}\"}} {value} {seconds}.{millis:03}"
            )?;
        }
        out.push('\n');
    }
    writeln!(out, "{name}_sum{} {}", Labels(labels, None), Number(*sum))?;
    writeln!(out, "{name}_count{} {count}", Labels(labels, None))
}

/// The labels of a bucket: bounds are numbers with a point in this format ("Considerations:
/// Canonical Numbers").
struct Bucket<'a>(&'a [(String, String)], f64);

impl fmt::Display for Bucket<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bound = if self.1.is_finite() {
            format!("{:?}", self.1)
        } else {
            "+Inf".to_owned()
        };
        let mut labels = self.0.to_vec();
        labels.push(("le".to_owned(), bound));
        write!(f, "{}", Labels(&labels, None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Exemplar, Sample};

    #[test]
    fn counters_histograms_and_exemplars_read_as_the_format_says() {
        let exemplar = |trace: &str, value| Exemplar {
            trace: trace.to_owned(),
            value,
            at_ms: 1_700_000_000_042,
        };
        let value = Value::Histogram {
            buckets: vec![(0.0001, 1), (1.0, 2), (f64::INFINITY, 3)],
            sum: 4.5,
            count: 3,
            exemplars: vec![exemplar("0af7", 0.0001), exemplar("1bf7", 3.0)],
        };
        let family = |name: &str, kind, value| Family {
            name: name.to_owned(),
            help: "A \"help\".".to_owned(),
            kind,
            samples: vec![Sample {
                labels: vec![("m".to_owned(), "x".to_owned())],
                value,
            }],
        };
        let text = render(&[
            family("ggend_a_total", Kind::Counter, Value::Number(1.0)),
            family("ggend_b", Kind::Counter, Value::Number(2.0)),
            family("ggend_seconds", Kind::Histogram, value),
        ]);
        let wanted = "\
            # TYPE ggend_a counter\n# HELP ggend_a A \\\"help\\\".\nggend_a_total{m=\"x\"} 1\n\
            # TYPE ggend_b unknown\n# HELP ggend_b A \\\"help\\\".\nggend_b{m=\"x\"} 2\n\
            # TYPE ggend_seconds histogram\n# HELP ggend_seconds A \\\"help\\\".\n\
            ggend_seconds_bucket{m=\"x\",le=\"0.0001\"} 1 # {trace_id=\"0af7\"} 0.0001 1700000000.042\n\
            ggend_seconds_bucket{m=\"x\",le=\"1.0\"} 2\n\
            ggend_seconds_bucket{m=\"x\",le=\"+Inf\"} 3 # {trace_id=\"1bf7\"} 3 1700000000.042\n\
            ggend_seconds_sum{m=\"x\"} 4.5\nggend_seconds_count{m=\"x\"} 3\n# EOF\n";
        assert_eq!(text, wanted);
    }

    #[test]
    fn who_asks_for_it_gets_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,\
                          text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, wanted) in [
            (prometheus, true),
            ("application/openmetrics-text", true),
            (
                "Application/OpenMetrics-Text; version=1.0.0; charset=utf-8, text/plain;q=0.5",
                true,
            ),
            ("", false),
            ("*/*", false),
            ("text/plain", false),
            ("application/openmetrics-text;q=0", false),
            (
                "application/openmetrics-text;version=2.0.0,text/plain;q=0.5",
                false,
            ),
            ("application/openmetrics-text;q=0.2,text/plain;q=0.9", false),
        ] {
            assert_eq!(is_asked_for(accept), wanted, "{accept}");
        }
    }
}
