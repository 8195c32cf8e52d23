//! `ggend auth …`, which `ggen mcp auth …` becomes: makes, lists and revokes API keys, makes and
//! verifies tokens. It works on the key store and the configuration, with or without a running
//! daemon, which notices changes of the store. Exit codes are those of `ggen`. May not: use the
//! network other than through what the caller passes in; show a secret that was not just made.

mod api_keys;
#[cfg(test)]
mod tests;
mod tokens;

use super::{
    duration,
    keys::Keys,
    rulebook::Source,
    store::{Store, StoreError},
};
use crate::{
    config::{LoadOptions, Problem, state},
    print_options::PrintOptions,
};
use clap::{Args, Subcommand};
use ggen_wire::{Code, escape};
use serde_json::{Value, json};
use std::{
    error::Error,
    fmt::Write as _,
    io::{self, IsTerminal, Read, Write as _},
    path::PathBuf,
    process::ExitCode,
    time::SystemTime,
};

/// The check failed.
const BAD: u8 = 1;
/// The command line is wrong.
const USAGE: u8 = 2;
/// Not allowed.
const NO_PERMISSION: u8 = 4;
/// Something outside of the command line cannot be used.
const UNAVAILABLE: u8 = 69;
/// The configuration is wrong, or lacks what is needed.
const CONFIG: u8 = 78;
/// Bytes of standard input, at most.
const MOST: u64 = 64 << 10;

/// Arguments of `ggend auth`.
#[derive(Debug, Args)]
pub struct Options {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    print: PrintOptions,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make an API key; it is shown once.
    GenerateApiKey(api_keys::New),
    /// List the API keys: what they are for, and how they stand.
    ListApiKeys,
    /// Revoke an API key, in force within a second.
    RevokeApiKey {
        /// Its id, as the list shows it; `-`: the key itself, from standard input.
        id: String,
    },
    /// Make a secret for signed tokens (auth.jwt.secret).
    GenerateJwtSecret,
    /// Make a token, signed with auth.jwt.secret.
    GenerateToken(tokens::New),
    /// Verify a token or an API key as the daemon does, and name the check that fails.
    VerifyToken {
        /// The token; `-` or nothing: from standard input, so that no list of processes shows it.
        #[arg(default_value = "-")]
        token: String,
    },
    /// Show what a token says, without verifying it.
    DecodeToken {
        /// The token; `-` or nothing: from standard input.
        #[arg(default_value = "-")]
        token: String,
    },
    /// Revoke a token by its jti, in force within a second.
    RevokeToken {
        /// The token, or the id of one that was made here; `-` or nothing: from standard input.
        #[arg(default_value = "-")]
        token: String,
        /// The jti of a token of any issuer, as it is.
        #[arg(long, value_name = "ID", conflicts_with = "token")]
        jti: Option<String>,
    },
    #[command(flatten)]
    Certificates(crate::tls::command::Verb),
}

impl Options {
    /// Whether the verb works on the key store; certificates are made elsewhere.
    #[must_use]
    pub const fn uses_store(&self) -> bool {
        !matches!(self.verb, Verb::Certificates(_))
    }
}

/// What a verb works with.
pub struct Environment<'a> {
    /// How the configuration is read.
    pub load: &'a LoadOptions,
    /// The state directory.
    pub state: PathBuf,
    /// The time.
    pub now: SystemTime,
    /// Fetches the keys of an issuer.
    pub fetch: &'a dyn Fn(&Source) -> Result<Keys, String>,
    /// Standard input.
    pub input: &'a dyn Fn() -> io::Result<String>,
}

/// What a verb has to say.
#[derive(Debug, Default, PartialEq)]
struct Answer {
    /// For people.
    text: String,
    /// For `--quiet`: the value alone.
    value: String,
    /// For programs.
    json: Value,
    exit: u8,
}

/// Why a verb did nothing.
#[derive(Debug, PartialEq)]
struct Refusal {
    exit: u8,
    code: Option<Code>,
    message: String,
    help: Vec<String>,
}

impl Refusal {
    fn new(exit: u8, code: impl Into<Option<Code>>, message: impl Into<String>) -> Self {
        Self {
            exit,
            code: code.into(),
            message: message.into(),
            help: Vec::new(),
        }
    }

    fn help(mut self, command: impl Into<String>) -> Self {
        self.help.push(command.into());
        self
    }

    fn of(problems: &[Problem]) -> Self {
        let first = problems.iter().find(|problem| problem.is_error());
        let text = first.map_or_else(
            || "the configuration is refused".to_owned(),
            ToString::to_string,
        );
        Self::new(CONFIG, None, text).help("ggen mcp config validate")
    }

    fn random(error: getrandom::Error) -> Self {
        Self::new(
            UNAVAILABLE,
            Code::Internal,
            format!("the operating system gives no random bytes: {error}"),
        )
    }

    fn human(&self, colour: bool) -> String {
        let (bad, strong, end) = if colour {
            ("\x1b[31m", "\x1b[1m", "\x1b[0m")
        } else {
            ("", "", "")
        };
        let label = self
            .code
            .map_or_else(|| "error".to_owned(), |code| format!("error[{code}]"));
        let mut text = format!("{bad}{label}{end}: {}\n", self.message);
        for command in &self.help {
            let _ = writeln!(text, "{strong}help{end}: {command}");
        }
        text
    }

    fn json(&self) -> Value {
        let code = self.code.map(|code| code.to_string());
        json!({"error": {"code": code, "message": self.message, "help": self.help.first().map_or("", String::as_str), "commands": self.help}})
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let _ = write!(text, ": {error}");
            cause = error.source();
        }
        match &error {
            StoreError::File(_, cause) if cause.kind() == io::ErrorKind::PermissionDenied => {
                Self::new(NO_PERMISSION, Code::KeyStoreUnusable, text)
                    .help("sudo ggen mcp auth …   (or GGEN_STATE_DIR=… for a daemon of your own)")
            }
            _ => Self::new(UNAVAILABLE, Code::KeyStoreUnusable, text),
        }
    }
}

impl Environment<'_> {
    fn seconds(&self) -> u64 {
        super::seconds(self.now)
    }

    /// The store; made if it is not there.
    fn store(&self) -> Result<Store, Refusal> {
        state::make(&self.state).map_err(|error| StoreError::File(self.state.clone(), error))?;
        Ok(Store::open(&self.state)?)
    }

    /// The store, if there is one.
    fn known_store(&self) -> Result<Option<Store>, Refusal> {
        Ok(if self.state.join(super::FILE).exists() {
            Some(Store::open(&self.state)?)
        } else {
            None
        })
    }

    /// A secret that may have been left out of the command line.
    fn text(&self, given: &str) -> Result<String, Refusal> {
        if given != "-" {
            return Ok(given.trim().to_owned());
        }
        let text = (self.input)().map_err(|error| {
            Refusal::new(
                USAGE,
                None,
                format!("standard input cannot be read: {error}"),
            )
        })?;
        let text = text.trim().to_owned();
        if text.is_empty() {
            Err(Refusal::new(USAGE, None, "nothing came on standard input"))
        } else {
            Ok(text)
        }
    }
}

/// Standard input, at most [`MOST`] bytes.
///
/// # Errors
/// Those of reading.
pub fn standard_input() -> io::Result<String> {
    let mut text = String::new();
    io::stdin().lock().take(MOST).read_to_string(&mut text)?;
    Ok(text)
}

fn play(verb: &Verb, environment: &Environment<'_>) -> Result<Answer, Refusal> {
    match verb {
        Verb::GenerateApiKey(new) => api_keys::generate(environment, new),
        Verb::ListApiKeys => api_keys::list(environment),
        Verb::RevokeApiKey { id } => api_keys::revoke(environment, id),
        Verb::GenerateJwtSecret => tokens::secret(),
        Verb::GenerateToken(new) => tokens::generate(environment, new),
        Verb::VerifyToken { token } => tokens::verify(environment, token),
        Verb::DecodeToken { token } => tokens::decode(environment, token),
        Verb::RevokeToken { token, jti } => tokens::revoke(environment, token, jti.as_deref()),
        // Played before: it has its own way of saying what it did.
        Verb::Certificates(_) => Ok(Answer::default()),
    }
}

/// Plays a verb and prints what it says.
#[must_use]
pub fn run(options: &Options, environment: &Environment<'_>) -> ExitCode {
    if let Verb::Certificates(verb) = &options.verb {
        return crate::tls::command::run(verb);
    }
    let (stdout, stderr) = (io::stdout(), io::stderr());
    let json = options.print.is_json();
    // Whoever closes the pipe early has read enough; the exit code still tells.
    match play(&options.verb, environment) {
        Ok(answer) => {
            let text = if json {
                escape::pretty_json(&answer.json) + "\n"
            } else if options.print.quiet {
                answer.value
            } else {
                answer.text
            };
            let _ = stdout.lock().write_all(text.as_bytes());
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

/// `2026-01-31T12:00:00Z (in 3d)`, or what stands for no time.
fn when(time: Option<u64>, now: u64, none: &str) -> String {
    time.map_or_else(
        || none.to_owned(),
        |time| {
            let date = duration::date(time);
            if time > now {
                format!("{date} (in {})", duration::show(time - now))
            } else {
                format!("{date} ({} ago)", duration::show(now - time))
            }
        },
    )
}
