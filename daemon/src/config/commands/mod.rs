//! `ggend config …`, which `ggen mcp config …` becomes: shows the configuration and changes files,
//! with the loader that the daemon uses. Exit codes are those of `ggen`. May not: talk to a running
//! daemon; it only checks whether one listens.

mod change;
mod import;
mod init;
mod install;
mod places;
mod secrets_of;
mod show;
#[cfg(test)]
mod tests;
mod values;

use super::{LoadOptions, Problem, json_schema};
use crate::print_options::{Format, PrintOptions};
use clap::{Args, Subcommand};
use ggen_wire::{Code, escape};
use serde_json::{Value, json};
use std::{
    fmt::Write as _,
    io::{self, IsTerminal, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Done, and yet there are mistakes left in the configuration.
const BAD: u8 = 1;
/// The command line is wrong.
const USAGE: u8 = 2;
/// Not allowed.
const NO_PERMISSION: u8 = 4;
/// The configuration is wrong, or would be.
const CONFIG: u8 = 78;

/// Arguments of `ggend config`.
#[derive(Debug, Args)]
pub struct Options {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    print: PrintOptions,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Write a new configuration file.
    Init {
        /// With entries of mcpServers to start from, switched off.
        #[arg(long)]
        examples: bool,
        /// The file, instead of ./.mcp.json.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// Replace a file that exists.
        #[arg(long)]
        force: bool,
    },
    /// Show every value and its source; secrets are hidden.
    Show {
        /// Entries of mcpServers as they are run: defaults filled in, variables replaced.
        #[arg(long)]
        effective: bool,
    },
    /// Print one value or section.
    Get {
        /// Such as transports.http.port, or mcpServers."a.b".command.
        key: String,
    },
    /// Change values in the file, all of them or none.
    Set {
        /// Such as transports.http.port=3001; lists and objects as JSON.
        #[arg(required = true, value_name = "KEY=VALUE")]
        assignments: Vec<String>,
    },
    /// Take values out of the file.
    Unset {
        /// Such as transports.http.port, or mcpServers.github.
        #[arg(required = true, value_name = "KEY")]
        keys: Vec<String>,
    },
    /// Take over the servers of other MCP clients.
    Import {
        /// A file, or a client: claude-desktop, claude-code, vscode, cursor, windsurf, zed, gemini,
        /// codex, goose, opencode, copilot, cline, lmstudio, jetbrains. Without it, all of them.
        #[arg(value_name = "FILE|CLIENT")]
        what: Option<String>,
        /// Write it; without this, only show what would happen.
        #[arg(long)]
        yes: bool,
        /// Only show what would happen.
        #[arg(long, conflicts_with = "yes")]
        dry_run: bool,
        /// Also replace servers of the same name.
        #[arg(long)]
        replace: bool,
    },
    /// Put ggend's entry into the file of an MCP client.
    Install {
        /// The client, as for import.
        client: String,
        /// Only print the entry.
        #[arg(long, conflicts_with = "remove")]
        print: bool,
        /// Take the entry out again.
        #[arg(long)]
        remove: bool,
        /// By the command `ggen mcp server stdio`, not by address.
        #[arg(long)]
        stdio: bool,
        /// Another address than that of the configuration.
        #[arg(long, value_name = "URL", conflicts_with = "stdio")]
        url: Option<String>,
        /// Another file than the client's usual one.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Print where files are looked for, highest first, and which are there.
    Path,
    /// Print the JSON Schema of the file, for editors.
    Schema,
}

/// What a verb has to say.
#[derive(Debug, Default, PartialEq)]
struct Answer {
    /// For people.
    text: String,
    /// For programs.
    json: Value,
    exit: u8,
    /// `text` is values and nothing but values: printed with `--quiet` too.
    bare: bool,
}

/// Why a verb did nothing.
#[derive(Debug, PartialEq)]
struct Refusal {
    exit: u8,
    code: Option<Code>,
    message: String,
    help: Vec<String>,
    /// Further problems behind the first, which `message` tells.
    more: Vec<Problem>,
}

impl Refusal {
    fn new(exit: u8, code: impl Into<Option<Code>>, message: impl Into<String>) -> Self {
        Self {
            exit,
            code: code.into(),
            message: message.into(),
            help: Vec::new(),
            more: Vec::new(),
        }
    }

    fn usage(message: impl Into<String>) -> Self {
        Self::new(USAGE, None, message)
    }

    fn help(mut self, command: impl Into<String>) -> Self {
        self.help.push(command.into());
        self
    }

    /// The errors of a configuration; never called without one.
    fn of(problems: impl IntoIterator<Item = Problem>) -> Self {
        let mut problems = problems.into_iter().filter(Problem::is_error);
        let Some(first) = problems.next() else {
            return Self::new(CONFIG, None, "the configuration is refused");
        };
        let message = if first.place.source.is_empty() {
            first.text()
        } else {
            format!("{}: {}", first.place, first.text())
        };
        Self {
            help: first.commands(),
            more: problems.collect(),
            ..Self::new(CONFIG, first.code, message)
        }
    }

    fn io(path: &Path, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied => Self::new(
                NO_PERMISSION,
                Code::ConfigUnreadable,
                format!("{}: permission denied", path.display()),
            )
            .help("sudo ggen mcp config …   (or a file of your own: --config FILE)"),
            _ => Self::new(
                CONFIG,
                Code::ConfigUnreadable,
                format!("{}: {error}", path.display()),
            ),
        }
    }

    fn human(&self, colour: bool) -> String {
        let (bad, strong, end) = if colour {
            ("\x1b[31m", "\x1b[1m", "\x1b[0m")
        } else {
            ("", "", "")
        };
        let label = |code: Option<Code>| {
            code.map_or_else(|| "error".to_owned(), |code| format!("error[{code}]"))
        };
        let mut text = format!("{bad}{}{end}: {}\n", label(self.code), self.message);
        for command in &self.help {
            let _ = writeln!(text, "{strong}help{end}: {command}");
        }
        for problem in &self.more {
            let _ = writeln!(
                text,
                "{bad}{}{end}: {}",
                label(Some(problem.code)),
                problem.text()
            );
            for command in problem.commands() {
                let _ = writeln!(text, "{strong}help{end}: {command}");
            }
        }
        text
    }

    fn json(&self) -> Value {
        let code = self.code.map(|code| code.to_string());
        json!({"error": {"code": code, "message": self.message, "help": self.help.first().map_or("", String::as_str), "commands": self.help, "more": self.more}})
    }
}

/// Plays a verb and prints what it says. `socket` is where a running daemon would listen.
#[must_use]
pub fn run(options: &Options, load: &LoadOptions, socket: &Path) -> ExitCode {
    let (stdout, stderr) = (io::stdout(), io::stderr());
    let terminal = stdout.is_terminal();
    let json = options.print.is_json();
    let running = || UnixStream::connect(socket).is_ok();
    let outcome = play(options, load, terminal, &running);
    // Whoever closes the pipe early has read enough; the exit code still tells.
    match outcome {
        Ok(answer) if json => {
            let _ = writeln!(stdout.lock(), "{}", escape::pretty_json(&answer.json));
            ExitCode::from(answer.exit)
        }
        Ok(answer) => {
            if answer.bare || !options.print.quiet {
                let _ = stdout.lock().write_all(answer.text.as_bytes());
            }
            ExitCode::from(answer.exit)
        }
        Err(refusal) if json => {
            let _ = writeln!(stdout.lock(), "{}", escape::pretty_json(&refusal.json()));
            ExitCode::from(refusal.exit)
        }
        Err(refusal) => {
            let colour = stderr.is_terminal() && std::env::var_os("NO_COLOR").is_none();
            let _ = stderr.lock().write_all(refusal.human(colour).as_bytes());
            ExitCode::from(refusal.exit)
        }
    }
}

fn play(
    options: &Options,
    load: &LoadOptions,
    terminal: bool,
    running: &dyn Fn() -> bool,
) -> Result<Answer, Refusal> {
    match &options.verb {
        Verb::Init {
            examples,
            file,
            force,
        } => init::init(load, file.as_deref(), *examples, *force),
        // Saved to a file it has to be JSON, and lines of JSON are found by grep as well.
        Verb::Show { effective } => show::show(
            load,
            *effective,
            options
                .print
                .format()
                .map_or(terminal, |format| format == Format::Human),
        ),
        Verb::Get { key } => show::get(load, key),
        Verb::Set { assignments } => change::set(load, assignments, running),
        Verb::Unset { keys } => change::unset(load, keys, running),
        Verb::Import { .. } | Verb::Install { .. } => of_clients(&options.verb, load, running),
        Verb::Path => places::path(load),
        Verb::Schema => {
            let schema = json_schema();
            Ok(Answer {
                text: format!("{schema:#}\n"),
                json: schema,
                bare: true,
                ..Answer::default()
            })
        }
    }
}

/// The verbs about other client programs.
fn of_clients(
    verb: &Verb,
    load: &LoadOptions,
    running: &dyn Fn() -> bool,
) -> Result<Answer, Refusal> {
    match verb {
        Verb::Import {
            what,
            yes,
            dry_run: _,
            replace,
        } => import::import(
            load,
            &import::Import {
                what: what.as_deref(),
                yes: *yes,
                replace: *replace,
            },
            running,
        ),
        Verb::Install {
            client,
            print,
            remove,
            stdio,
            url,
            file,
        } => install::install(
            load,
            &install::Install {
                client,
                file: file.as_deref(),
                print: *print,
                remove: *remove,
                stdio: *stdio,
                url: url.as_deref(),
            },
        ),
        _ => Ok(Answer::default()),
    }
}

/// The file that changes go to: the one that is named, otherwise the highest that exists, otherwise
/// `./.mcp.json`.
fn target(load: &LoadOptions) -> PathBuf {
    let places = super::load::places(load);
    let named = load.named_file().map(|named| load.cwd.join(named));
    named
        .or_else(|| places.iter().find(|place| place.exists()).cloned())
        .or_else(|| places.first().cloned())
        .unwrap_or_default()
}

/// A path or a place in a file, shorter where it lies below the working directory.
fn short(load: &LoadOptions, place: &str) -> String {
    match place.strip_prefix(&format!("{}/", load.cwd.display())) {
        Some(below) => format!("./{below}"),
        None => place.to_owned(),
    }
}

/// A value as it is printed alone: text without quotes, everything else as JSON.
fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// The commands as other tests need them.
#[cfg(test)]
pub(super) mod testing {
    use super::{import, install};
    use crate::config::LoadOptions;

    /// `config import`: what it says, done or refused.
    pub(in crate::config) fn import(options: &LoadOptions, what: &str, yes: bool) -> String {
        let import = import::Import {
            what: Some(what),
            yes,
            replace: false,
        };
        import::import(options, &import, &|| false)
            .map_or_else(|refusal| refusal.human(false), |answer| answer.text)
    }

    /// `config install`: what it says.
    pub(in crate::config) fn install(
        options: &LoadOptions,
        client: &str,
        remove: bool,
    ) -> Result<String, String> {
        let install = install::Install {
            client,
            file: None,
            print: false,
            remove,
            stdio: false,
            url: None,
        };
        install::install(options, &install)
            .map(|answer| answer.text)
            .map_err(|refusal| refusal.human(false))
    }
}
