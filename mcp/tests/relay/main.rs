//! The relay as a whole, one event at a time: inputs on one side, outputs on the other.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails where it stands"
)]

mod affinity;
mod bounds;
mod extensions;
mod fidelity;
mod hosts;
mod interactive;
mod keep;
mod lists;
mod lost_session;
mod measure;
mod offers;
mod policy;
mod rules;
mod servers;
mod socket;
mod spans;
mod stream_limit;
mod support;
mod task_bridge;
mod task_owners;
mod trace;
