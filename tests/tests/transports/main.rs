//! Each transport of a whole daemon, and the clients that use it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails where it stands; figures are printed"
)]

mod addresses;
mod http2;
mod quic;
mod rmcp;
mod serve;
mod sse_upstream;
mod stdio_relay;
mod websocket;
mod wss;
