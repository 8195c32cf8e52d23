//! Attacks and large sizes: bounded memory, and good clients that are served meanwhile.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails where it stands; figures are printed"
)]

mod attacks;
mod sizes;
mod unread;
