//! What goes on when processes die, hang, are replaced or reconfigured under traffic.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails where it stands; figures are printed"
)]

mod chaos;
mod faults;
mod load;
mod operator_stops;
mod reload;
mod settings;
mod starts;
mod survive;
mod upgrade;
