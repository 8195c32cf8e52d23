//! The command line of `ggen`. Definitions only. May not: read the environment, do anything.

mod auth;
mod clients;

pub(crate) use auth::{Auth, GenerateCa, GenerateCert, Made};
pub(crate) use clients::{Import, Install};

use clap::{Args as Group, Parser, Subcommand, ValueEnum};
use ggen_wire::log::Level;
use std::{ffi::OsString, path::PathBuf, time::Duration};

/// Looks after ggend, the MCP gateway daemon.
#[derive(Debug, Parser)]
#[command(
    name = "ggen",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
pub(crate) struct Args {
    /// Flags of every command.
    #[command(flatten)]
    pub(crate) global: Global,
    /// What is talked about.
    #[command(subcommand)]
    pub(crate) noun: Noun,
}

/// Flags of every command, in front of it or behind it.
#[derive(Clone, Debug, Group)]
pub(crate) struct Global {
    /// How to print
    #[arg(long, global = true, value_enum, value_name = "FORMAT")]
    pub(crate) format: Option<Format>,
    /// The same as --format json
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print results and errors only
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Print more
    #[arg(long, short, global = true)]
    pub(crate) verbose: bool,
    /// Print what passes between ggen and the daemon; with `server start`, let the daemon log
    /// everything
    #[arg(long, global = true)]
    pub(crate) debug: bool,
    /// The configuration file, for commands that hand one to ggend
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The daemon's control socket
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// How long to wait for the daemon
    #[arg(long, global = true, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) timeout: Option<Duration>,
}

/// Ways to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Human,
    /// For programs; the schema is that of the control interface
    Json,
    /// For spreadsheets (RFC 4180); `list` only
    Csv,
    /// A table for documents; `list` only
    Markdown,
}

/// Nouns.
#[derive(Debug, Subcommand)]
pub(crate) enum Noun {
    /// The gateway, its tools and its upstream servers
    #[command(subcommand, arg_required_else_help = true)]
    Mcp(Mcp),
    /// Print the completion script of a shell
    Completion {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Takes a session of its own and becomes the given program
    #[command(name = "__detach", hide = true, disable_help_flag = true)]
    Detach {
        /// The program and its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<OsString>,
    },
}

/// Shells that ggen completes for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs, reason = "the names say it")]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// `ggen mcp …`
#[derive(Debug, Subcommand)]
pub(crate) enum Mcp {
    /// Start, stop and inspect the daemon
    #[command(subcommand, arg_required_else_help = true)]
    Server(Server),
    /// List the tools that clients see
    List(List),
    /// Show one tool
    Status {
        /// The tool's name, as `ggen mcp list` shows it
        tool: String,
        /// Print its definition too
        #[arg(long)]
        schema: bool,
    },
    /// Call one tool for real
    Test {
        /// The tool's name, as `ggen mcp list` shows it
        tool: String,
        /// Its arguments, a JSON object
        #[arg(long, value_name = "JSON", default_value = "{}")]
        args: String,
    },
    /// Print the definitions of all tools
    Schemas {
        /// Only tools of one server (`core` is the gateway's own)
        #[arg(long, value_name = "NAME")]
        server: Option<String>,
    },
    /// Explain an error code: meaning, causes, fixes
    Explain {
        /// GGEN-E1101 or E1101; without one, every code is listed
        code: Option<String>,
    },
    /// Find what is wrong: the daemon, its configuration, its connections, its servers, this
    /// host
    Doctor(Doctor),
    /// Connect as a client does, and name the layer that fails
    TestConnection(TestConnection),
    /// API keys and tokens: who may ask
    #[command(subcommand, arg_required_else_help = true)]
    Auth(Auth),
    /// Show and change the configuration
    #[command(subcommand, arg_required_else_help = true)]
    Config(Config),
    /// Take over the servers of other MCP clients; without --yes, show what would happen
    Import(Import),
    /// Put ggend's entry into the file of an MCP client
    Install(Install),
    /// The same as `mcp server start`
    #[command(name = "start", hide = true)]
    Begin(Start),
    /// As other tools of this family have it: `mcp server start`, or `mcp server stdio`
    #[command(hide = true)]
    StartServer {
        /// http, websocket, quic or stdio
        #[arg(long, value_name = "TRANSPORT", default_value = "http")]
        transport: String,
        /// The HTTP port, instead of the configured one
        #[arg(long, value_name = "N")]
        port: Option<u16>,
    },
}

/// `ggen mcp server …`
#[derive(Debug, Subcommand)]
pub(crate) enum Server {
    /// Start the daemon and wait until it serves
    Start(Start),
    /// Finish what is in flight and stop
    Stop {
        /// One transport (http, https, websocket, quic, admin) or upstream alone, until it is
        /// started again
        #[arg(long, value_name = "NAME", conflicts_with = "force")]
        server: Option<String>,
        /// Do not wait for what is in flight
        #[arg(long)]
        force: bool,
    },
    /// Replace the workers one after another, or one upstream
    Restart {
        /// A worker role (http, websocket, quic, gateway, admin) or an upstream's name
        #[arg(long, value_name = "NAME")]
        server: Option<String>,
    },
    /// Put the changed configuration in force, without dropping a connection
    Reload {
        /// Only check the configuration
        #[arg(long)]
        validate: bool,
        /// Only show what would happen
        #[arg(long, conflicts_with = "validate")]
        plan: bool,
    },
    /// Become the binary that is installed now, in place: no connection, session or server is lost
    Upgrade {
        /// Another binary
        #[arg(long, value_name = "PATH")]
        binary: Option<PathBuf>,
    },
    /// Show whether it runs, where, and the state of its parts
    Status {
        /// Print the metrics: JSON into a pipe or file, a table on a terminal
        #[arg(long)]
        metrics: bool,
    },
    /// Wait until the daemon runs and every upstream has settled
    Wait,
    /// Show the logs of the daemon, its workers and the upstream servers
    Logs(Logs),
    /// Change what is logged while the daemon runs
    LogLevel(LogLevel),
    /// Watch the daemon: a full screen on a terminal, a line a second elsewhere
    Monitor(Monitor),
    /// Relay standard input and output to the daemon, for clients that know only stdio
    Stdio {
        /// Only one upstream server, under its own names
        #[arg(long, value_name = "NAME")]
        server: Option<String>,
    },
}

/// `ggen mcp server log-level`
#[derive(Debug, Group)]
pub(crate) struct LogLevel {
    /// The level (error, warn, info, debug, trace), or `default` for the configured one; of one
    /// category or of all: mcp_server, transport, auth, tools, protocol
    #[arg(value_name = "[CATEGORY=]LEVEL")]
    pub(crate) spec: String,
    /// How long: 30s, 10m, 2h; without it, while the daemon runs
    #[arg(long = "for", value_name = "TIME", value_parser = ggen_wire::text::parse_duration)]
    pub(crate) time: Option<Duration>,
}

/// `ggen mcp server monitor`
#[derive(Debug, Group)]
pub(crate) struct Monitor {
    /// Lines instead of a screen, on a terminal too
    #[arg(long)]
    pub(crate) plain: bool,
    /// Between two samples: 500ms, 1s, 10s
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = ggen_wire::text::parse_duration)]
    pub(crate) interval: Duration,
    /// End after N lines
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u32>,
}

/// `ggen mcp server start`
#[derive(Debug, Group)]
pub(crate) struct Start {
    /// Stay in the foreground: ggen becomes ggend
    #[arg(long)]
    pub(crate) foreground: bool,
    /// The HTTP port, instead of the configured one
    #[arg(long, value_name = "N")]
    pub(crate) port: Option<u16>,
    /// One transport (http, https, websocket, quic, admin) or upstream of a running daemon
    #[arg(long, value_name = "NAME", conflicts_with = "foreground")]
    pub(crate) server: Option<String>,
}

/// `ggen mcp server logs`
#[derive(Debug, Group)]
pub(crate) struct Logs {
    /// Only the newest N lines
    #[arg(long, value_name = "N")]
    pub(crate) tail: Option<u32>,
    /// Go on with new lines as they come
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Only lines that contain TEXT, whatever the case
    #[arg(long, value_name = "TEXT")]
    pub(crate) grep: Option<String>,
    /// This level and more severe ones: error, warn, info, debug, trace
    #[arg(long, value_name = "LEVEL", value_parser = level)]
    pub(crate) level: Option<Level>,
    /// Only lines of the last 30s, 10m, 2h, 1d
    #[arg(long, value_name = "TIME", value_parser = ggen_wire::text::parse_duration)]
    pub(crate) since: Option<Duration>,
    /// One category: mcp_server, transport, auth, tools, protocol, upstream
    #[arg(long, value_name = "CATEGORY")]
    pub(crate) category: Option<String>,
    /// One upstream server
    #[arg(long, value_name = "NAME")]
    pub(crate) upstream: Option<String>,
    /// What was said of one call, by the id of its request or of its trace
    #[arg(long, value_name = "ID")]
    pub(crate) call: Option<String>,
}

/// `ggen mcp list`
#[derive(Debug, Group)]
pub(crate) struct List {
    /// Only tools of one server (`core` is the gateway's own)
    #[arg(long, value_name = "NAME")]
    pub(crate) server: Option<String>,
    /// Only the gateway's own tools, or only those of upstream servers
    #[arg(long = "type", value_enum, value_name = "TYPE")]
    pub(crate) kind: Option<Kind>,
    /// Show the status of every tool; with a value, only tools with that status
    #[arg(long, value_name = "STATUS", num_args = 0..=1, default_missing_value = "")]
    pub(crate) status: Option<String>,
    /// Only tools whose name or description contains TEXT, whatever the case
    #[arg(long, value_name = "TEXT")]
    pub(crate) search: Option<String>,
    /// All tools, however many there are; without it, more than 100 are shown as a number for each
    /// server
    #[arg(long)]
    pub(crate) all: bool,
    /// Let the gateway ask every server for its tools again first
    #[arg(long)]
    pub(crate) refresh: bool,
}

/// Kinds of tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// The gateway's own
    Core,
    /// Of upstream servers
    Upstream,
}

/// `ggen mcp doctor`
#[derive(Debug, Group)]
pub(crate) struct Doctor {
    /// Apply the fixes that are safe: start what is down, put a changed configuration in force,
    /// close files to others. Asks before each
    #[arg(long)]
    pub(crate) fix: bool,
    /// With --fix: do not ask
    #[arg(long, requires = "fix")]
    pub(crate) yes: bool,
    /// Write what a report needs into a tar archive, secrets hidden: findings, status,
    /// configuration, last log lines, metrics, versions
    #[arg(long, value_name = "FILE")]
    pub(crate) bundle: Option<PathBuf>,
}

/// `ggen mcp test-connection`
#[derive(Debug, Group)]
pub(crate) struct TestConnection {
    /// The MCP endpoint; otherwise that of the running daemon, else that of the configuration
    pub(crate) url: Option<String>,
    /// Which way
    #[arg(long, value_enum, value_name = "TRANSPORT", default_value_t = Transport::All)]
    pub(crate) transport: Transport,
    /// A tool that has to be there
    #[arg(long, value_name = "NAME")]
    pub(crate) tool: Option<String>,
    /// A file with the API key to send; otherwise GGEN_MCP_API_KEY, to this host only
    #[arg(long, value_name = "FILE")]
    pub(crate) api_key_file: Option<PathBuf>,
    /// The client certificate to show, PEM; it may hold the key, too
    #[arg(long, value_name = "FILE")]
    pub(crate) client_cert: Option<PathBuf>,
    /// The private key of the client certificate, PEM
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    pub(crate) client_key: Option<PathBuf>,
}

/// Ways to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Transport {
    /// HTTP without TLS
    Http,
    /// HTTP with TLS
    Https,
    /// WebSocket
    Websocket,
    /// HTTP/3 over QUIC
    Quic,
    /// Every one that is served
    All,
}

impl Transport {
    /// The name as ggend takes it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Websocket => "websocket",
            Self::Quic => "quic",
            Self::All => "all",
        }
    }
}

/// `ggen mcp config …`: what ggend answers, with or without a running daemon.
#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Write a new configuration file
    Init {
        /// With entries of mcpServers to start from, switched off
        #[arg(long)]
        examples: bool,
        /// The file, instead of ./.mcp.json
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// Replace a file that exists
        #[arg(long)]
        force: bool,
    },
    /// Show every value and where it comes from; secrets are hidden, and a pipe or file gets JSON
    Show {
        /// Entries of mcpServers as they are run: defaults filled in, variables replaced
        #[arg(long)]
        effective: bool,
    },
    /// Print one value or section
    Get {
        /// Such as transports.http.port
        key: String,
    },
    /// Change values in the file: all of them, or none if the result would not be valid
    Set {
        /// Such as transports.http.port=3001; lists and objects as JSON
        #[arg(required = true, value_name = "KEY=VALUE")]
        assignments: Vec<String>,
    },
    /// Take values out of the file
    Unset {
        /// Such as transports.http.port
        #[arg(required = true, value_name = "KEY")]
        keys: Vec<String>,
    },
    /// Check the configuration; commands, folders and ports are tried
    Validate {
        /// The file to check, instead of the one in force
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Print where configuration files are looked for, and which are there
    Path,
    /// Print the JSON Schema of the file, for editors
    Schema,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| "expected a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|time| !time.is_zero() && time.as_secs() <= 86_400)
        .ok_or_else(|| "expected more than 0 and at most 86400 seconds".to_owned())
}

fn level(text: &str) -> Result<Level, String> {
    parse_level(text).ok_or_else(|| "expected error, warn, info, debug or trace".to_owned())
}

/// A level's name, whatever the case.
pub(crate) fn parse_level(text: &str) -> Option<Level> {
    serde_json::from_value(serde_json::Value::String(text.to_ascii_lowercase())).ok()
}

#[cfg(test)]
#[path = "../../wire/tests/support/printed.rs"]
mod printed;

#[cfg(test)]
mod tests;
