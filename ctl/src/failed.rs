//! Why a command failed, and its exit code.

use ggen_wire::Code;
use std::{fmt, io, process::ExitCode};

/// Exit codes of `ggen`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All is well.
    Ok = 0,
    /// Degraded, or the check or call failed.
    Bad = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The daemon is not running.
    NotRunning = 3,
    /// Not allowed.
    NoPermission = 4,
    /// The daemon cannot serve or gave no valid answer (EX_UNAVAILABLE).
    Unavailable = 69,
    /// The configuration is wrong (EX_CONFIG).
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A failure: what, its code, and the next command.
#[derive(Debug)]
pub(crate) struct Failed {
    /// Exit code.
    pub(crate) exit: Exit,
    /// The stable code. Text, because a newer daemon may have codes that this table lacks.
    pub(crate) code: Option<String>,
    /// What is wrong, one line.
    pub(crate) message: String,
    /// The next command; may be empty.
    pub(crate) help: String,
    /// Nobody reads the output any more: say nothing.
    pub(crate) silent: bool,
}

impl Failed {
    /// A failure of the table; the exit code follows from it.
    pub(crate) fn new(code: Code, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            exit: exit_of(code),
            code: Some(code.to_string()),
            message: message.into(),
            help: help.into(),
            silent: false,
        }
    }

    /// A failure that has no page.
    pub(crate) fn plain(exit: Exit, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            exit,
            code: None,
            message: message.into(),
            help: help.into(),
            silent: false,
        }
    }

    /// Whether the daemon is known not to run.
    pub(crate) fn is_not_running(&self) -> bool {
        self.exit == Exit::NotRunning
    }

    /// `error[GGEN-E6001]` or `error`.
    pub(crate) fn label(&self) -> String {
        self.code
            .as_ref()
            .map_or_else(|| "error".to_owned(), |code| format!("error[{code}]"))
    }
}

impl From<io::Error> for Failed {
    /// Only writing the output fails this way.
    fn from(error: io::Error) -> Self {
        let silent = error.kind() == io::ErrorKind::BrokenPipe;
        let exit = if silent { Exit::Ok } else { Exit::Bad };
        Self {
            silent,
            ..Self::plain(exit, format!("the output cannot be written: {error}"), "")
        }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.label(), self.message)
    }
}

/// The exit code that belongs to an error code.
pub(crate) fn exit_of(code: Code) -> Exit {
    match code {
        Code::NotRunning => Exit::NotRunning,
        Code::PermissionDenied => Exit::NoPermission,
        Code::PortTaken
        | Code::BindFailed
        | Code::ControlProtocol
        | Code::VersionSkew
        | Code::GatewayUnavailable => Exit::Unavailable,
        Code::OpenWithoutAuth => Exit::Config,
        code if code.as_str().starts_with("GGEN-E10") => Exit::Config,
        _ => Exit::Bad,
    }
}
