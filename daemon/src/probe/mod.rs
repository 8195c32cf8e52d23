//! `ggend probe …`: finds what is wrong by trying. It works with the daemon up, down, half dead or
//! not configured. It shares the daemon's own code where that says what the daemon would do
//! (configuration, environment, shim), and none of it where it is a client. Threads and blocking
//! calls, each bounded. May not: change anything or start the daemon (only `fix` does, by commands),
//! talk to workers other than as a client.

mod checks;
mod client;
mod connection;
mod context;
mod doctor;
mod doctor_command;
mod fix;
mod report;

pub use checks::{ALL, Check};
pub use context::Context;
pub use report::finding::{Finding, Severity};

use crate::{check::Format, config::LoadOptions};
use std::{
    io::{IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
};

/// What is examined.
#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// Everything: the daemon, its configuration, its connections, its servers, this host.
    Doctor(Doctor),
    /// One connection, layer by layer, as a client makes it.
    Connection(Connection),
}

/// Arguments of `ggend probe doctor`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Doctor {
    /// Show healthy checks too, and how long each took.
    #[arg(long)]
    verbose: bool,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// The same as `--format json`.
    #[arg(long)]
    json: bool,
    /// Run the fixes that are safe, each after a question.
    #[arg(long)]
    fix: bool,
    /// With --fix: do not ask.
    #[arg(long, requires = "fix")]
    yes: bool,
    /// Write what a report needs into this tar archive, secrets hidden.
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// The version of the ggen that asks.
    #[arg(long, value_name = "VERSION", hide = true)]
    client: Option<String>,
}

/// Arguments of `ggend probe connection`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Connection {
    /// The MCP endpoint; otherwise that of the running daemon, else that of the configuration.
    url: Option<String>,
    /// Which way.
    #[arg(long, value_enum, default_value_t)]
    transport: Transport,
    /// A tool that has to be there.
    #[arg(long, value_name = "NAME")]
    tool: Option<String>,
    /// A file with the API key to send.
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// The client certificate to show, PEM; it may hold the key, too.
    #[arg(long, value_name = "FILE")]
    client_cert: Option<PathBuf>,
    /// The private key of the client certificate, PEM.
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    client_key: Option<PathBuf>,
    /// How long each step may take, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    timeout_ms: u64,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// The same as `--format json`.
    #[arg(long)]
    json: bool,
}

/// Ways to connect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Transport {
    /// HTTP without TLS.
    Http,
    /// HTTP with TLS.
    Https,
    /// WebSocket.
    Websocket,
    /// HTTP/3 over QUIC.
    Quic,
    /// Every one that is served.
    #[default]
    All,
}

/// Examines and prints; the exit code is the answer.
#[must_use]
pub fn run(verb: Verb, load: LoadOptions, socket: Option<PathBuf>) -> ExitCode {
    let terminal = std::io::stdout().is_terminal();
    let paint = report::Paint(terminal && std::env::var_os("NO_COLOR").is_none());
    let (text, code) = match verb {
        Verb::Doctor(options) => doctor_command::run(&options, &load, socket.as_deref(), &paint),
        Verb::Connection(options) => {
            let as_json = options.json || options.format == Format::Json;
            let context = Context::gather(load, socket.as_deref(), None);
            let outcome = connection::walk(&context, &options);
            let text = if as_json {
                ggen_wire::escape::pretty_json(&outcome.json()) + "\n"
            } else {
                outcome.human(&paint)
            };
            (text, u8::from(!outcome.is_good()))
        }
    };
    let mut out = std::io::stdout().lock();
    // Whoever closes the pipe early has read enough; the exit code still tells.
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
    ExitCode::from(code)
}

fn complain(words: &str) {
    drop(writeln!(std::io::stderr(), "error: {words}"));
}
