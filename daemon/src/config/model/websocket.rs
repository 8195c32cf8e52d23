//! `transports.websocket`: MCP over WebSocket. Definitions only.

use super::Size;
use serde::{Deserialize, Serialize};

/// `transports.websocket`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Websocket {
    /// Whether it is served.
    pub enabled: bool,
    /// The path on the HTTP port, and on the port of its own.
    pub path: String,
    /// A listener of its own, beside the path on the HTTP port, on the address of
    /// `transports.http.host`; 0 lets the system choose.
    pub port: Option<u16>,
    /// After half of this time without a sign of life, a client is asked for one; after all of it,
    /// the connection is closed. Also the time in which a client must take something of what it is
    /// sent. In milliseconds.
    pub message_timeout_ms: u64,
    /// Largest message from a client.
    pub max_message: Size,
    /// permessage-deflate; not served.
    pub compression: bool,
    /// Open connections per worker, at most.
    pub max_connections: u32,
    /// Whether `?token=` in the address is taken for an `Authorization` header: `loopback` (and
    /// over TLS), `always` or `never`.
    pub query_token: QueryToken,
}

/// `transports.websocket.query_token`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QueryToken {
    /// From a loopback address, and over TLS.
    #[default]
    Loopback,
    /// From everywhere, also where others may read it on its way.
    Always,
    /// From nowhere.
    Never,
}

impl Default for Websocket {
    fn default() -> Self {
        Self {
            enabled: true,
            path: "/ws".to_owned(),
            port: None,
            message_timeout_ms: 30_000,
            max_message: Size(4 << 20),
            compression: false,
            max_connections: 4096,
            query_token: QueryToken::Loopback,
        }
    }
}
