//! The daemon in all its roles: supervisor, workers, shim, the client of `ggend stdio`, the probe and
//! its HTTP/3 client. The command line says which one a process is.

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
mod print_options;
pub mod probe;
pub mod shim;
pub mod stdio_client;
pub mod supervisor;
pub mod tls;
pub mod worker;

use std::process::ExitCode;

/// Runs what the command line names.
#[must_use]
pub fn run() -> ExitCode {
    match cli::read(std::env::args_os()) {
        cli::Invocation::Supervisor(options) => supervisor::main(*options),
        cli::Invocation::Worker(role) => worker::main(role),
        cli::Invocation::Shim => shim::main(),
        cli::Invocation::Http3Probe => http3_probe::main(),
        cli::Invocation::Finished(code) => code,
    }
}
