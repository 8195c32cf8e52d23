//! The command line of `ggend`. The internal roles are recognised before the command line is
//! parsed, because a worker has to start within milliseconds.

use crate::{
    auth, check,
    config::{self, Flag, LoadOptions, LogLevel, SandboxMode, commands},
    ipc::messages::Role,
    probe, stdio_client,
    supervisor::{Options, upgrade_check},
    worker,
};
use clap::{Parser, Subcommand};
use ggen_wire::paths::Host;
use std::{
    ffi::OsString,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
    time::SystemTime,
};

/// EX_USAGE of `sysexits.h`.
const USAGE: u8 = 64;
/// EX_UNAVAILABLE of `sysexits.h`.
const UNAVAILABLE: u8 = 69;

/// Serves the MCP servers of a configuration over HTTP.
#[derive(Debug, Parser)]
#[command(name = "ggend", version, about)]
struct Arguments {
    /// The configuration file; otherwise GGEN_MCP_CONFIG, ./.mcp.json, ~/.ggen/mcp/config.json and
    /// /etc/ggen/mcp.json are looked for.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The port of the HTTP listener.
    #[arg(long, value_name = "N")]
    port: Option<u16>,
    /// The control socket.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Log at level debug.
    #[arg(long)]
    verbose: bool,
    /// Log at level trace.
    #[arg(long)]
    debug: bool,
    /// Stay in the foreground, which is what it does anyway.
    #[arg(long)]
    foreground: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check a configuration and say what is wrong with it.
    Check(check::Options),
    /// Show the configuration and change its file.
    Config(commands::Options),
    /// Make, list and revoke API keys; make and verify tokens; make certificates.
    Auth(auth::commands::Options),
    /// Find what is wrong: with the daemon, its configuration, its connections, this host.
    #[command(subcommand)]
    Probe(probe::Verb),
    /// Check that this binary can take over from the running one, which runs this.
    #[command(hide = true)]
    UpgradeCheck,
    /// Relay standard input and output to the running daemon, for MCP clients that know only stdio.
    Stdio(stdio_client::Options),
}

/// What this process runs as.
#[derive(Debug)]
pub enum Invocation {
    /// The supervisor.
    Supervisor(Box<Options>),
    /// A worker.
    Worker(Role),
    /// A shim.
    Shim,
    /// The HTTP/3 client of the probe.
    Http3Probe,
    /// Nothing more; the output is written.
    Finished(ExitCode),
}

/// Reads the command line.
#[must_use]
pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Invocation {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let word = |at: usize| arguments.get(at).and_then(|word| word.to_str());
    match (word(1), word(2), arguments.len()) {
        (Some("shim"), None, 2) => return Invocation::Shim,
        (Some("http3-probe"), None, 2) => return Invocation::Http3Probe,
        (Some("worker"), Some("--try-sandbox" | "--try-walls"), 4 | 5) => {
            if let Some(role) = word(3).and_then(Role::named) {
                let mode = if word(4) == Some("off") {
                    SandboxMode::Off
                } else {
                    SandboxMode::Auto
                };
                return Invocation::Finished(worker::try_sandbox(role, mode));
            }
        }
        (Some("worker"), Some(name), 3) => {
            if let Some(role) = Role::named(name) {
                return Invocation::Worker(role);
            }
        }
        _ => {}
    }
    match Arguments::try_parse_from(&arguments) {
        Ok(parsed) => act(parsed),
        Err(error) => {
            // clap reports help and version as errors, too.
            error.print().unwrap_or_default();
            Invocation::Finished(if error.use_stderr() {
                ExitCode::from(USAGE)
            } else {
                ExitCode::SUCCESS
            })
        }
    }
}

fn act(parsed: Arguments) -> Invocation {
    let mut load = load_options(parsed.config);
    if let Some(port) = parsed.port {
        load.flags.push(Flag {
            name: "--port".to_owned(),
            path: "transports.http.port".to_owned(),
            value: port.into(),
        });
    }
    match parsed.command {
        Some(Command::Check(mut options)) => {
            options.file = options.file.or(load.config_path);
            Invocation::Finished(check::run(
                &options,
                &client_socket(parsed.socket.as_deref()),
            ))
        }
        Some(Command::Config(options)) => Invocation::Finished(commands::run(
            &options,
            &load,
            &client_socket(parsed.socket.as_deref()),
        )),
        Some(Command::Auth(options)) => Invocation::Finished(authenticate(&options, &load)),
        Some(Command::Probe(verb)) => {
            Invocation::Finished(probe::run(verb, load.to_run(), parsed.socket))
        }
        Some(Command::UpgradeCheck) => Invocation::Finished(upgrade_check(&load)),
        Some(Command::Stdio(options)) => {
            Invocation::Finished(stdio_client::main(&options, parsed.socket))
        }
        None => {
            let level = if parsed.debug {
                Some(LogLevel::Trace)
            } else {
                parsed.verbose.then_some(LogLevel::Debug)
            };
            Invocation::Supervisor(Box::new(Options {
                load: load.to_run(),
                level,
                socket: parsed.socket,
            }))
        }
    }
}

fn authenticate(options: &auth::commands::Options, load: &LoadOptions) -> ExitCode {
    let state = config::state::directory();
    if options.uses_store()
        && let Err(error) = config::state::become_owner(&state)
    {
        let text = format!(
            "error: the owner of {} is not us, and we cannot become that user: {error}\n",
            state.display()
        );
        drop(std::io::stderr().write_all(text.as_bytes()));
        return ExitCode::from(UNAVAILABLE);
    }
    let environment = auth::commands::Environment {
        load,
        state,
        now: SystemTime::now(),
        fetch: &worker::fetch_keys,
        input: &auth::commands::standard_input,
    };
    auth::commands::run(options, &environment)
}

/// Where a client would look for a running daemon.
fn client_socket(flag: Option<&Path>) -> PathBuf {
    let env = |name: &str| std::env::var_os(name);
    Host {
        env: &env,
        root: nix::unistd::geteuid().is_root(),
    }
    .client_socket(flag, &|path| path.exists())
}

fn load_options(config_path: Option<PathBuf>) -> LoadOptions {
    let set = |name: &str| std::env::var(name).is_ok_and(|value| !value.is_empty());
    // systemd names the process that it started itself; a person's shell may have inherited the
    // variable from somewhere above.
    let started_by_systemd =
        std::env::var("SYSTEMD_EXEC_PID").is_ok_and(|pid| pid == std::process::id().to_string());
    let service = set("NOTIFY_SOCKET") || started_by_systemd;
    LoadOptions {
        config_path,
        ..LoadOptions::from_process(!service)
    }
}

#[cfg(test)]
#[path = "../../wire/tests/support/printed.rs"]
mod printed;
#[cfg(test)]
#[path = "cli_tests.rs"]
mod tests;
