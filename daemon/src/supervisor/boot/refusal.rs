//! Why the daemon did not start: one clear line, what to try, and an exit code of `sysexits.h`.

use crate::{
    config::{Problem, Severity},
    supervisor::{control::InstanceError, listeners::ListenError, processes::run_as::CannotRunAs},
    tls::Unusable,
};
use ggen_wire::Code;
use std::{
    error::Error,
    io::{self, ErrorKind, Write},
    process::ExitCode,
};

/// EX_UNAVAILABLE, EX_SOFTWARE, EX_NOPERM, EX_CONFIG of `sysexits.h`.
const UNAVAILABLE: u8 = 69;
pub(super) const SOFTWARE: u8 = 70;
const NO_PERMISSION: u8 = 77;
const CONFIG: u8 = 78;

/// Why the daemon did not start: what to say, and the exit code.
pub(super) struct Refusal {
    lines: Vec<String>,
    code: u8,
}

impl Refusal {
    fn with_code(code: u8, stable: Code, error: &dyn Error, help: &str) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text.push_str(&format!(": {error}"));
            cause = error.source();
        }
        let stable = if text.contains(stable.as_str()) {
            String::new()
        } else {
            format!(" [{stable}]")
        };
        Self {
            lines: vec![
                format!("ggend: {text}{stable}"),
                format!("       try: {help}"),
            ],
            code,
        }
    }

    /// The configuration is wrong.
    pub(super) fn of_problems(problems: &[Problem]) -> Self {
        let lines = problems.iter().map(|problem| format!("ggend: {problem}"));
        // Of the first error; most often it has the others in its train.
        let help = problems
            .iter()
            .find(|problem| problem.severity == Severity::Error)
            .and_then(|problem| problem.commands().into_iter().next())
            .map(|command| format!("       try: {command}"));
        Self {
            lines: lines.chain(help).collect(),
            code: CONFIG,
        }
    }

    /// The state of the binary before this one cannot be taken over.
    pub(super) fn of_upgrade(error: &dyn Error) -> Self {
        Self::with_code(
            SOFTWARE,
            Code::UpgradeRefused,
            error,
            "ggen mcp server start",
        )
    }

    /// The system does not do what it should.
    pub(super) fn internal(error: io::Error) -> Self {
        Self::with_code(SOFTWARE, Code::Internal, &error, "ggend --debug")
    }

    /// The control socket is not to be had.
    pub(super) fn of_instance(error: &InstanceError) -> Self {
        let (code, stable, help) = match error {
            InstanceError::Running(_) => {
                (UNAVAILABLE, Code::AlreadyRunning, "ggen mcp server status")
            }
            InstanceError::Place(_, cause) if cause.kind() == ErrorKind::PermissionDenied => {
                (NO_PERMISSION, Code::PermissionDenied, "ggend --socket PATH")
            }
            InstanceError::Place(..) => (UNAVAILABLE, Code::Internal, "ggend --socket PATH"),
        };
        Self::with_code(code, stable, error, help)
    }

    /// A listener is not to be had.
    pub(super) fn of_listener(error: &ListenError) -> Self {
        let kind = error
            .source()
            .and_then(|cause| cause.downcast_ref::<io::Error>())
            .map(io::Error::kind);
        let code = if kind == Some(ErrorKind::PermissionDenied) {
            NO_PERMISSION
        } else {
            UNAVAILABLE
        };
        let help = if error.code == Code::PortTaken {
            "ggend --port N, or end the other process"
        } else {
            "ggend check"
        };
        Self::with_code(code, error.code, error, help)
    }

    /// A certificate cannot be used.
    pub(super) fn of_tls(error: &Unusable) -> Self {
        let help = "ggen mcp config get transports.http.ssl";
        Self::with_code(CONFIG, error.code, error, help)
    }

    /// Workers cannot run as the configured user.
    pub(super) fn of_user(error: &CannotRunAs) -> Self {
        Self::with_code(CONFIG, error.code, error, "ggen mcp config get server")
    }

    /// Writes it to standard error, whatever the log format: logging may not be up. Returns the
    /// exit code.
    pub(super) fn print(&self) -> ExitCode {
        let text: String = self.lines.iter().map(|line| format!("{line}\n")).collect();
        io::stderr().write_all(text.as_bytes()).unwrap_or_default();
        ExitCode::from(self.code)
    }
}
