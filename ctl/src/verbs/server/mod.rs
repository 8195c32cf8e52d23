//! `ggen mcp server …`: one file per verb.

pub(super) mod detach;
mod log_level;
mod logs;
mod monitor;
mod progress;
mod reload;
mod restart;
mod start;
mod status;
mod stdio;
mod stop;
mod upgrade;
mod wait;

use crate::{
    args::Server,
    context::Context,
    failed::{Exit, Failed},
};

/// Runs the verb that was asked for.
pub(crate) fn run(context: &mut Context, verb: Server) -> Result<Exit, Failed> {
    match verb {
        Server::Start(options) => start::run(context, &options),
        Server::Stop {
            server: Some(name), ..
        } => stop::one(context, name),
        Server::Stop {
            force,
            server: None,
        } => stop::run(context, force),
        Server::Restart { server } => restart::run(context, server),
        Server::Reload { validate, plan } => reload::run(context, validate, plan),
        Server::Upgrade { binary } => upgrade::run(context, binary),
        Server::Status { metrics: false } => status::run(context),
        Server::Status { metrics: true } => status::metrics(context),
        Server::Wait => wait::run(context),
        Server::Logs(options) => logs::run(context, &options),
        Server::LogLevel(wanted) => log_level::run(context, &wanted),
        Server::Monitor(options) => monitor::run(context, &options),
        Server::Stdio { server } => Err(stdio::run(context, server)),
    }
}
