//! Who is let in, what is kept secret, and what workers and servers are kept from.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails where it stands; figures are printed"
)]

mod auth;
#[cfg(target_os = "linux")]
mod cgroups;
mod found_configuration;
mod known_network;
mod known_others;
mod packages;
mod policy;
mod sandbox;
mod secrets;
mod server_sandbox;
mod tls;
#[cfg(target_os = "linux")]
mod upstream_user;
