//! `transports.quic`. Definitions only.

use super::Host;
use serde::{Deserialize, Serialize};

/// `transports.quic`: HTTP/3. What holds for requests (sizes, time-outs, hosts, origins) is
/// `transports.http`'s.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quic {
    /// Whether it is served.
    pub enabled: bool,
    /// Address to bind.
    pub host: Host,
    /// UDP port to bind; 0 lets the system choose.
    pub port: u16,
    /// The name that clients ask for in their handshake; who asks for another one is answered 421.
    pub server_name: String,
    /// A connection on which nothing happens for so long is closed, in milliseconds. While requests
    /// are in flight it is kept alive.
    pub idle_timeout_ms: u64,
    /// Requests that a connection may have open at once, 1 to 1000.
    pub max_concurrent_streams: u16,
    /// Requests in the first packets of a handshake: cannot be served, and is refused.
    pub enable_zero_rtt: bool,
}

impl Default for Quic {
    fn default() -> Self {
        Self {
            enabled: true,
            host: Host::loopback(),
            port: Self::PORT,
            server_name: "localhost".to_owned(),
            idle_timeout_ms: 30_000,
            max_concurrent_streams: 100,
            enable_zero_rtt: false,
        }
    }
}

impl Quic {
    /// What the user's guide connects to.
    pub(in crate::config) const PORT: u16 = 4433;
}
