//! Metrics of a websocket worker.

use crate::metrics::metrics;
use prometheus::{IntCounter, IntCounterVec, IntGauge};

metrics! {
    /// The metrics of one websocket worker.
    pub(crate) struct Metrics {
        /// Open WebSocket connections.
        pub(crate) websocket_connections: IntGauge,
        /// WebSocket connections taken.
        pub(crate) websocket_connections_total: IntCounter,
        /// Messages on WebSockets, by direction (in, out).
        pub(crate) websocket_messages_total: IntCounterVec ["direction"],
        /// WebSocket connections that ended, by close code; 1006 without a close frame.
        pub(crate) websocket_closes_total: IntCounterVec ["code"],
    }
}
