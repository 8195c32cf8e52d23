//! The program `ggend`: the supervisor, its children, and its commands, as real processes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails where it stands"
)]

mod configure;
mod key_store;
mod measure;
mod notify;
mod sessions;
mod shim;
mod supervisor;
mod support;
mod upstreams;
