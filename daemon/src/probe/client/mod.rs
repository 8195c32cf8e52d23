//! Clients of the probe, one file for each protocol. Every call blocks and is bounded in time. They
//! share no code with what serves, because a fault of the server must not hide in its own client.

pub(super) mod control;
pub(super) mod credentials;
pub(super) mod http;
pub(super) mod http3;
pub(super) mod mcp;
pub(super) mod quic;
pub(super) mod stdio;
pub(super) mod stream;
pub(super) mod websocket;
