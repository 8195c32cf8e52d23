//! Metrics as they travel: worker registry → beat → supervisor's ledger → admin worker → scrape. Names and units follow the Prometheus conventions.

mod gather;
mod text;

pub use gather::gather;
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
    /// Histogram: upper bounds with cumulative counts (the last bound, +Inf, is `count`), sum and count.
    Histogram {
        /// (upper bound, cumulative count)
        buckets: Vec<(f64, u64)>,
        /// Sum of the observations.
        sum: f64,
        /// Number of observations.
        count: u64,
    },
}
