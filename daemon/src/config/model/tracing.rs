//! `tracing`: where spans are sent. Definitions only.

use crate::config::secrets::secret::Secret;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// `tracing`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tracing {
    /// A collector that takes OTLP.
    pub otlp: Otlp,
}

/// `tracing.otlp`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Otlp {
    /// Whether requests and calls become spans, and are sent.
    pub enabled: bool,
    /// The collector's address; spans go to `/v1/traces` below it (OTLP/HTTP, protobuf).
    pub endpoint: String,
    /// Headers of each export, `name=value,…`, values percent-encoded, as in
    /// OTEL_EXPORTER_OTLP_HEADERS. `${VAR}` and `${credential:NAME}` are expanded. In force, also
    /// those of [`Otlp::headers_file`].
    pub headers: Option<Secret>,
    /// A file that holds them; an absolute path.
    pub headers_file: Option<PathBuf>,
    /// Time for one export, in milliseconds, 100 to 60000.
    pub timeout_ms: u64,
    /// The share of traces that begin here and are recorded, 0 to 1. A client's trace is recorded
    /// if the client says so.
    pub sample_ratio: f64,
    /// gzip for exports.
    pub compression: bool,
    /// `service.name` of the resource.
    pub service_name: String,
}

impl Default for Otlp {
    fn default() -> Self {
        Self {
            enabled: false,
            endpoint: "http://127.0.0.1:4318".to_owned(),
            headers: None,
            headers_file: None,
            timeout_ms: 10_000,
            sample_ratio: 1.0,
            compression: false,
            service_name: "ggend".to_owned(),
        }
    }
}
