//! The Prometheus text exposition format 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>). Pure.

use super::{Family, Kind, Value};
use std::fmt::{self, Write};

/// The `Content-Type` of [`render`]'s text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

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
    out
}

fn write_family(out: &mut String, family: &Family) -> fmt::Result {
    let name = &family.name;
    writeln!(out, "# HELP {name} {}", Escaped(&family.help, false))?;
    let kind = match family.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    writeln!(out, "# TYPE {name} {kind}")?;
    for sample in &family.samples {
        let labels = &sample.labels;
        match &sample.value {
            Value::Number(value) => {
                writeln!(out, "{name}{} {}", Labels(labels, None), Number(*value))?
            }
            Value::Histogram {
                buckets,
                sum,
                count,
                ..
            } => {
                for (bound, below) in buckets.iter().filter(|(bound, _)| bound.is_finite()) {
                    writeln!(out, "{name}_bucket{} {below}", Labels(labels, Some(*bound)))?;
                }
                writeln!(
                    out,
                    "{name}_bucket{} {count}",
                    Labels(labels, Some(f64::INFINITY))
                )?;
                writeln!(out, "{name}_sum{} {}", Labels(labels, None), Number(*sum))?;
                writeln!(out, "{name}_count{} {count}", Labels(labels, None))?;
            }
        }
    }
    Ok(())
}

pub(super) struct Labels<'a>(pub(super) &'a [(String, String)], pub(super) Option<f64>);

impl fmt::Display for Labels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sign = '{';
        for (name, value) in self.0 {
            write!(f, "{sign}{name}=\"{}\"", Escaped(value, true))?;
            sign = ',';
        }
        if let Some(bound) = self.1 {
            write!(f, "{sign}le=\"{}\"", Number(bound))?;
            sign = ',';
        }
        if sign == ',' {
            f.write_char('}')
        } else {
            Ok(())
        }
    }
}

/// Line feeds and backslashes are escaped everywhere, quotes in label values only.
struct Escaped<'a>(&'a str, bool);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '"' if self.1 => f.write_str("\\\"")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

pub(super) struct Number(pub(super) f64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_finite() {
            write!(f, "{}", self.0)
        } else if self.0.is_nan() {
            f.write_str("NaN")
        } else {
            f.write_str(if self.0 > 0.0 { "+Inf" } else { "-Inf" })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::render;
    use crate::metrics::{Family, Kind, Sample, Value};

    #[test]
    fn numbers_labels_and_histograms_read_as_the_format_says() {
        let labels = vec![("tool".to_owned(), "a\"b\\c\nd".to_owned())];
        let text = render(&[
            Family {
                name: "ggend_calls_total".to_owned(),
                help: "Calls,\nall \\ of them.".to_owned(),
                kind: Kind::Counter,
                samples: vec![Sample {
                    labels: labels.clone(),
                    value: Value::Number(3.0),
                }],
            },
            Family {
                name: "ggend_seconds".to_owned(),
                help: "Time.".to_owned(),
                kind: Kind::Histogram,
                samples: vec![Sample {
                    labels: vec![],
                    value: Value::Histogram {
                        buckets: vec![(0.5, 1), (1.0, 2), (f64::INFINITY, 3)],
                        sum: 4.5,
                        count: 3,
                        exemplars: Vec::new(),
                    },
                }],
            },
            Family {
                name: "ggend_up".to_owned(),
                help: "Up.".to_owned(),
                kind: Kind::Gauge,
                samples: vec![Sample {
                    labels: vec![],
                    value: Value::Number(f64::INFINITY),
                }],
            },
        ]);
        assert_eq!(
            text,
            "# HELP ggend_calls_total Calls,\\nall \\\\ of them.\n# TYPE ggend_calls_total counter\n\
             ggend_calls_total{tool=\"a\\\"b\\\\c\\nd\"} 3\n\
             # HELP ggend_seconds Time.\n# TYPE ggend_seconds histogram\n\
             ggend_seconds_bucket{le=\"0.5\"} 1\nggend_seconds_bucket{le=\"1\"} 2\nggend_seconds_bucket{le=\"+Inf\"} 3\n\
             ggend_seconds_sum 4.5\nggend_seconds_count 3\n\
             # HELP ggend_up Up.\n# TYPE ggend_up gauge\nggend_up +Inf\n"
        );
    }
}
