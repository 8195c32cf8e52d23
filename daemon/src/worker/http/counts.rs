//! Metrics of the http worker. Counters of usual answers are looked up once, not for each request.

use super::route::CLASSES;
use crate::metrics::{Error, metrics};
use prometheus::{IntCounter, IntCounterVec, IntGauge};
use std::sync::OnceLock;

metrics! {
    /// The metrics of one http worker.
    pub(crate) struct Metrics {
        /// HTTP requests answered, by path and status.
        pub(crate) http_requests_total: IntCounterVec ["path", "status"],
        /// Open client connections.
        pub(crate) http_connections: IntGauge,
        /// Client connections accepted.
        pub(crate) http_connections_total: IntCounter,
        /// TLS handshakes that failed, by reason.
        pub(crate) tls_handshakes_failed_total: IntCounterVec ["reason"],
    }
}

const USUAL: [u16; 15] = [
    101, 200, 202, 204, 400, 403, 404, 405, 406, 413, 415, 429, 502, 503, 504,
];

/// The metrics with their shortcuts.
#[derive(Debug)]
pub(crate) struct Counts {
    pub(crate) metrics: Metrics,
    usual: [[OnceLock<IntCounter>; USUAL.len()]; CLASSES.len()],
}

impl Counts {
    /// # Errors
    /// See [`Metrics::new`].
    pub(crate) fn new() -> Result<Self, Error> {
        Ok(Self {
            metrics: Metrics::new()?,
            usual: Default::default(),
        })
    }

    /// Counts an answer on a path of that class.
    pub(crate) fn answered(&self, class: usize, status: u16) {
        let counter = || {
            self.metrics
                .http_requests_total
                .with_label_values(&[CLASSES[class], status.to_string().as_str()])
        };
        match USUAL.iter().position(|usual| *usual == status) {
            Some(at) => self.usual[class][at].get_or_init(counter).inc(),
            None => counter().inc(),
        }
    }
}
