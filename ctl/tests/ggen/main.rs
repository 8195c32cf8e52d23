//! The program `ggen`, against daemons that replay.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails where it stands"
)]

mod errors;
mod life;
mod monitor;
mod support;
mod verbs;
