//! What an operator does and sees: `ggen`, the guide, the runbook, logs and exported spans.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails where it stands; figures are printed"
)]

mod catalogue;
mod control;
mod doctor;
mod errors;
mod guide;
mod log_level;
mod otlp;
mod runbook;
mod test_connection;
