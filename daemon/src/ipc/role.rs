//! The roles of workers, and what follows from a role alone. A new role is one line in each of
//! these, in `supervisor/workers/slots.rs` (how many) and in `worker/mod.rs` (what it runs).

use serde::{Deserialize, Serialize};

/// What a worker process is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The MCP relay.
    Gateway,
    /// HTTP/1.1 and HTTP/2.
    Http,
    /// MCP over WebSocket: connections that http workers pass on, and those of a listener of its
    /// own.
    Websocket,
    /// HTTP/3.
    Quic,
    /// `/livez`, `/readyz`, `/metrics`.
    Admin,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Gateway,
        Self::Http,
        Self::Websocket,
        Self::Quic,
        Self::Admin,
    ];

    /// The name as it is written in `ggend worker <role>`, in worker names and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Http => "http",
            Self::Websocket => "websocket",
            Self::Quic => "quic",
            Self::Admin => "admin",
        }
    }

    /// The role of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == name)
    }

    /// Whether it speaks with clients of MCP: linked with the gateway worker, told the secrets, and
    /// drained before it when the daemon stops.
    #[must_use]
    pub const fn is_edge(self) -> bool {
        match self {
            Self::Http | Self::Websocket | Self::Quic => true,
            Self::Gateway | Self::Admin => false,
        }
    }

    /// Whether it tells apart who asks, and so is told the secrets.
    #[must_use]
    pub const fn knows_secrets(self) -> bool {
        self.is_edge() || matches!(self, Self::Admin)
    }

    /// The transports whose listening sockets it is given.
    #[must_use]
    pub const fn transports(self) -> &'static [&'static str] {
        match self {
            Self::Http => &["http", "https"],
            Self::Websocket => &["websocket"],
            Self::Admin => &["admin"],
            // Its socket comes with its socket slot.
            Self::Gateway | Self::Quic => &[],
        }
    }
}
