//! The harness: a real daemon in a sandbox home, clients that share no code with the product, and a
//! check that nothing is left behind. Blocking I/O and threads only; everything waits for a
//! condition with a deadline.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails where it stands"
)]

pub mod connection;
pub mod control;
pub mod daemon;
pub mod exchange;
pub mod fixture;
pub mod http2;
pub mod http3;
pub mod mcp;
pub mod metrics;
pub mod open_files;
pub mod overheard;
pub mod pki;
pub mod process;
pub mod sandbox;
pub mod skip;
pub mod tls;
pub mod traffic;
pub mod wait;
pub mod websocket;

pub use connection::{Answer, Connection};
pub use daemon::{Daemon, daemon};
pub use exchange::{Exchange, Message, Reply};
pub use fixture::RemoteFixture;
pub use mcp::{Client, Era};
pub use open_files::raise_open_files;
pub use sandbox::{Ran, fixture};
pub use skip::{root_or_skipped, skipped};
pub use wait::{DEADLINE, SetOnDrop, until, within};
