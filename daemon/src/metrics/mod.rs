//! Metrics as they travel: worker registry → beat → supervisor's ledger → admin worker → scrape.
//! Names and units follow the Prometheus conventions.

mod exemplars;
mod gather;
mod label;
mod openmetrics;
mod registry;
mod text;

pub use exemplars::Exemplars;
pub use gather::gather;
pub use label::Bounded;
pub use openmetrics::{CONTENT_TYPE as OPENMETRICS, is_asked_for, render as render_openmetrics};
pub use registry::{CALL_SECONDS, Error, Instrument};
pub(crate) use registry::{buckets, metrics};
pub use text::{CONTENT_TYPE, render};

use serde::{Deserialize, Serialize};

/// The kind of a metric family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes both ways.
    Gauge,
    /// Cumulative buckets.
    Histogram,
}

/// A metric family with its samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Family {
    /// `ggend_requests_total`
    pub name: String,
    /// The HELP text.
    pub help: String,
    /// The kind.
    pub kind: Kind,
    /// One per set of labels.
    pub samples: Vec<Sample>,
}

/// One sample.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Label names and values, sorted by name.
    pub labels: Vec<(String, String)>,
    /// The value.
    pub value: Value,
}

/// The value of a sample.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// Counter or gauge.
    Number(f64),
    /// Histogram: upper bounds with cumulative counts (the last bound, +Inf, is `count`), sum and
    /// count.
    Histogram {
        /// (upper bound, cumulative count)
        buckets: Vec<(f64, u64)>,
        /// Sum of the observations.
        sum: f64,
        /// Number of observations.
        count: u64,
        /// Observations that belong to a recorded trace: at most one for each bucket, in the order
        /// of the buckets.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        exemplars: Vec<Exemplar>,
    },
}

/// One observation of a histogram, and the trace that explains it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exemplar {
    /// The trace, in 32 hexadecimal digits.
    pub trace: String,
    /// What was observed.
    pub value: f64,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
}
