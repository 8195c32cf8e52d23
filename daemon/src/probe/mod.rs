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

/// The command line is wrong.
const USAGE: u8 = 2;
/// `EX_CANTCREAT` of sysexits.h.
const CANNOT_CREATE: u8 = 73;

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
    let json = |json: bool, format: Format| json || format == Format::Json;
    let (text, code) = match verb {
        Verb::Doctor(options) => examined(&options, load, socket, &paint),
        Verb::Connection(options) => {
            let as_json = json(options.json, options.format);
            let context = Context::gather(load, socket.as_deref(), None);
            let outcome = connection::walk(&context, &options);
            let text = if as_json {
                format!("{:#}\n", outcome.json())
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

/// Examines; with `--fix`, applies safe fixes and examines again.
fn examined(
    options: &Doctor,
    load: LoadOptions,
    socket: Option<PathBuf>,
    paint: &report::Paint,
) -> (String, u8) {
    let as_json = options.json || options.format == Format::Json;
    if options.fix && !options.yes && (as_json || !std::io::stdin().is_terminal()) {
        complain(
            "--fix asks before each command, and there is nobody to answer\nhelp: ggen mcp doctor --fix --yes",
        );
        return (String::new(), USAGE);
    }
    let look = || {
        doctor::examine(Context::gather(
            load.clone(),
            socket.as_deref(),
            options.client.clone(),
        ))
    };
    let (mut context, results) = look();
    let mut report = report::Report::new(&context, results);
    let (mut before, mut done) = (String::new(), Vec::new());
    let commands = fix::commands(report.issues());
    if options.fix && !commands.is_empty() {
        if !as_json {
            let human = report.human(paint, options.verbose);
            drop(writeln!(std::io::stdout(), "{human}"));
        }
        let fixer = fix::Fixer {
            config: load.config_path.clone(),
            socket: socket.clone(),
            yes: options.yes,
        };
        done = apply(&fixer, commands, as_json);
        before = "\n".to_owned();
        let (again, results) = look();
        context = again;
        report = report::Report::new(&context, results);
    } else if options.fix {
        before =
            "None of this can be fixed by a command that is safe to run unasked.\n\n".to_owned();
    }
    let mut json = report.json();
    if options.fix {
        json["fixed"] = done.iter().map(fix::Done::json).collect();
    }
    let mut human = before + &report.human(paint, options.verbose);
    let exit = report.exit();
    if let Some(file) = options.bundle.as_deref() {
        let plain = report.human(&report::Paint(false), true);
        match report::bundle::write(file, &context, &plain, &json) {
            Ok(parts) => {
                human += &format!(
                    "\nBundle: {} files. Secrets are hidden; look through it before you give it away.\n",
                    parts.len()
                );
                json["bundle"] = parts.into();
            }
            Err(error) => {
                complain(&format!(
                    "no bundle was written: {}: {error}",
                    file.display()
                ));
                // What was found is printed for people, whatever was asked for.
                return (human, CANNOT_CREATE);
            }
        }
    }
    if as_json {
        (format!("{json:#}\n"), exit)
    } else {
        (human, exit)
    }
}

/// Runs the commands; what is asked and said goes to standard output, unless that is for JSON.
fn apply(fixer: &fix::Fixer, commands: Vec<String>, as_json: bool) -> Vec<fix::Done> {
    let answers = &mut std::io::stdin().lock();
    if as_json {
        fixer.apply(commands, &mut std::io::sink(), answers)
    } else {
        fixer.apply(commands, &mut std::io::stdout(), answers)
    }
}

fn complain(words: &str) {
    drop(writeln!(std::io::stderr(), "error: {words}"));
}
