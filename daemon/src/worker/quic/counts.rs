//! Metrics of the quic worker's connections; requests are counted as in the http worker.

use crate::metrics::{Error, metrics};
use prometheus::{IntCounter, IntCounterVec, IntGauge};
use std::sync::atomic::AtomicUsize;

metrics! {
    /// The metrics of one quic worker.
    pub(crate) struct Metrics {
        /// Open QUIC connections.
        pub(crate) quic_connections: IntGauge,
        /// QUIC connections accepted, after their handshake.
        pub(crate) quic_connections_total: IntCounter,
        /// QUIC handshakes that were begun and not completed.
        pub(crate) quic_handshakes_failed_total: IntCounter,
        /// QUIC packets, by direction (`sent`, `received`).
        pub(crate) quic_packets_total: IntCounterVec ["direction"],
        /// Bytes in UDP datagrams, by direction (`sent`, `received`).
        pub(crate) quic_bytes_total: IntCounterVec ["direction"],
        /// QUIC packets that were sent and lost.
        pub(crate) quic_packets_lost_total: IntCounter,
        /// Stateless resets sent: clients of a worker that died were told.
        pub(crate) quic_stateless_resets_total: IntCounter,
        /// Clients that were asked to prove their address first.
        pub(crate) quic_retries_total: IntCounter,
    }
}

/// The metrics, with those at hand that are counted per packet.
#[derive(Debug)]
pub(crate) struct Counts {
    pub(crate) metrics: Metrics,
    pub(crate) packets_sent: IntCounter,
    pub(crate) packets_received: IntCounter,
    pub(crate) bytes_sent: IntCounter,
    pub(crate) bytes_received: IntCounter,
    /// Connections that the transport knows, those whose handshake is under way among them.
    pub(crate) alive: AtomicUsize,
}

impl Counts {
    /// # Errors
    /// See [`Metrics::new`].
    pub(crate) fn new() -> Result<Self, Error> {
        let metrics = Metrics::new()?;
        let [packets_sent, packets_received] =
            ["sent", "received"].map(|way| metrics.quic_packets_total.with_label_values(&[way]));
        let [bytes_sent, bytes_received] =
            ["sent", "received"].map(|way| metrics.quic_bytes_total.with_label_values(&[way]));
        Ok(Self {
            metrics,
            packets_sent,
            packets_received,
            bytes_sent,
            bytes_received,
            alive: AtomicUsize::new(0),
        })
    }
}
