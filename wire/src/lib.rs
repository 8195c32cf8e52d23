//! What the daemon and the control command share: the control interface, the status types, the
//! framing, the socket's place and the table of error codes with their pages. May use serde and
//! std, nothing of ours.

pub mod code;
pub mod control;
pub mod escape;
pub mod log;
pub mod pages;
pub mod paths;
pub mod plan;
pub mod status;
pub mod text;
pub mod varlink;

pub use code::Code;

/// The version of the binaries, sent with every control reply so that skew shows.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
