//! Shows a long text page by page on a terminal, as `git log` does: `$PAGER`, or `less -FRX`, which
//! prints a text that fits on the screen and ends.

use std::{
    io::{self, Write},
    process::{Command, Stdio},
};

/// What a shell exits with when it cannot execute a program, or finds none (POSIX, "Exit Status for
/// Commands").
const NOT_RUN: [Option<i32>; 2] = [Some(126), Some(127)];

/// Shows the text. False: there is no pager, and nothing was shown.
///
/// # Errors
/// When the pager cannot be written to.
pub(crate) fn show(text: &str) -> io::Result<bool> {
    let pager = std::env::var("PAGER").ok();
    let command = match pager.as_deref().map(str::trim) {
        None | Some("") => {
            let mut command = Command::new("less");
            command.arg("-FRX");
            command
        }
        // It may have arguments.
        Some(pager) => {
            let mut command = Command::new("sh");
            command.args(["-c", pager]);
            command
        }
    };
    run(command, text)
}

fn run(mut command: Command, text: &str) -> io::Result<bool> {
    let Ok(mut child) = command.stdin(Stdio::piped()).spawn() else {
        return Ok(false);
    };
    let written = child
        .stdin
        .take()
        .map_or(Ok(()), |mut stdin| stdin.write_all(text.as_bytes()));
    let status = child.wait()?;
    match written {
        // Somebody who leaves the pager early has seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(!NOT_RUN.contains(&status.code())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdout(Stdio::null());
        command
    }

    #[test]
    fn a_text_is_shown_by_a_pager_that_is_there() {
        let text = "line\n".repeat(100_000);
        assert!(run(shell("cat"), &text).unwrap());
        assert!(run(shell("head -n 1"), &text).unwrap(), "left early");
        assert!(!run(shell("exec no-such-pager 2>/dev/null"), "x").unwrap());
        assert!(!run(Command::new("no-such-pager"), "x").unwrap());
    }
}
