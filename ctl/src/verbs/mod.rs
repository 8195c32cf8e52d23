//! The verbs of `ggen`, one file each. A verb asks the daemon or the `ggend` binary, and prints.
//! May not: decide anything about the gateway.

mod auth;
mod certificates;
mod clients;
mod completion;
mod config;
mod explain;
mod list;
mod probe;
mod schemas;
mod server;
mod tool_status;
mod tool_test;

use crate::{
    args::{Format, Mcp, Noun, Server},
    context::Context,
    failed::{Exit, Failed},
};
use ggen_wire::status::{Listener, Status};
use std::time::Duration;

/// Runs the verb that was asked for.
pub(crate) fn run(context: &mut Context, noun: Noun) -> Result<Exit, Failed> {
    if matches!(context.global.format, Some(Format::Csv | Format::Markdown))
        && !matches!(noun, Noun::Mcp(Mcp::List(_)))
    {
        return Err(Failed::plain(
            Exit::Usage,
            "csv and markdown are formats of `ggen mcp list` only",
            "--format json",
        ));
    }
    match noun {
        Noun::Completion { shell } => completion::run(context, shell),
        Noun::Detach { command } => Err(server::detach::run(&command)),
        Noun::Mcp(Mcp::Server(verb)) => server::run(context, verb),
        Noun::Mcp(Mcp::List(list)) => list::run(context, &list),
        Noun::Mcp(Mcp::Status { tool, schema }) => tool_status::run(context, &tool, schema),
        Noun::Mcp(Mcp::Test { tool, args }) => tool_test::run(context, tool, &args),
        Noun::Mcp(Mcp::Schemas { server }) => schemas::run(context, server.as_deref()),
        Noun::Mcp(Mcp::Explain { code }) => explain::run(context, code.as_deref()),
        Noun::Mcp(Mcp::Doctor(options)) => Err(probe::doctor(context, &options)),
        Noun::Mcp(Mcp::TestConnection(test)) => Err(probe::connection(context, &test)),
        Noun::Mcp(Mcp::Auth(verb)) => Err(auth::run(context, verb)),
        Noun::Mcp(Mcp::Config(verb)) => Err(config::run(context, verb)),
        Noun::Mcp(Mcp::Import(import)) => Err(clients::import(context, import)),
        Noun::Mcp(Mcp::Install(install)) => Err(clients::install(context, install)),
        Noun::Mcp(Mcp::Begin(start)) => server::run(context, Server::Start(start)),
        Noun::Mcp(Mcp::StartServer { transport, port }) => {
            clients::start_server(context, &transport, port)
        }
    }
}

/// The listener that clients use: http, or whatever there is but the admin one.
pub(crate) fn front(status: &Status) -> Option<&Listener> {
    let listeners = &status.listeners;
    listeners
        .iter()
        .find(|listener| listener.transport == "http")
        .or_else(|| {
            listeners
                .iter()
                .find(|listener| listener.transport != "admin")
        })
}

/// The addresses of that listener: `localhost` has two.
pub(crate) fn front_addresses(status: &Status) -> Option<String> {
    let front = front(status)?;
    let of_front = status
        .listeners
        .iter()
        .filter(|listener| listener.transport == front.transport);
    let addresses: Vec<&str> = of_front.map(|listener| listener.address.as_str()).collect();
    Some(addresses.join(", "))
}

/// Waits before something is polled again.
#[allow(
    clippy::disallowed_methods,
    reason = "a command has no event loop that this could block"
)]
fn pause(time: Duration) {
    std::thread::sleep(time);
}
