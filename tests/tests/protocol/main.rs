//! MCP between real processes: both eras, bad input, questions of servers, tasks, trace context.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails where it stands; figures are printed"
)]

mod affinity;
mod bad_input;
mod interactive;
mod leases;
mod odd_remotes;
mod odd_servers;
mod tasks;
mod trace;
