//! The daemon in all its roles: supervisor, workers, shim, the relay of `ggend stdio`, the probe
//! and its visitor. Which one a process plays is the command line's to say.

pub mod auth;
pub mod check;
pub mod cli;
pub mod config;
mod http3;
mod http3_probe;
pub mod ipc;
pub mod log;
pub mod metrics;
pub mod platform;
pub mod probe;
pub mod shim;
pub mod stdio_client;
pub mod supervisor;
pub mod tls;
pub mod worker;

use std::process::ExitCode;

/// Plays the role that the command line names.
#[must_use]
pub fn run() -> ExitCode {
    match cli::read(std::env::args_os()) {
        cli::Play::Supervisor(options) => supervisor::main(*options),
        cli::Play::Worker(role) => worker::main(role),
        cli::Play::Shim => shim::main(),
        cli::Play::Visitor => http3_probe::main(),
        cli::Play::Finished(code) => code,
    }
}
