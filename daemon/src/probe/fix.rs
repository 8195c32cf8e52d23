//! `ggen mcp doctor --fix`: runs the fixes that are safe, each as it is printed. This file alone
//! changes anything, and only by commands that an operator could type. A fix is safe if it can be
//! undone, loses nothing that runs and needs no choice.

use super::report::finding::Finding;
use serde_json::{Value, json};
use std::{
    ffi::OsString,
    io::{BufRead, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Verbs of `ggen` that are run: one brings up what is down, the other checks before it changes
/// anything and changes nothing if that fails.
const VERBS: [&str; 2] = ["ggen mcp server start", "ggen mcp server reload"];
/// Changes of a mode that close a file to others than its owner and group, and never open it.
const MODES: [&str; 5] = ["600", "660", "go-w", "o-w", "o-r"];

/// Runs the commands, with the options of the command line.
pub(super) struct Fixer {
    /// As it was named on the command line.
    pub(super) config: Option<PathBuf>,
    /// As it was named on the command line.
    pub(super) socket: Option<PathBuf>,
    /// Whether every command is run without a question.
    pub(super) yes: bool,
}

/// A command that was run, or not.
pub(super) struct Done {
    command: String,
    /// What came of it; `None`: it was declined.
    outcome: Option<Result<String, String>>,
}

impl Done {
    pub(super) fn json(&self) -> Value {
        match &self.outcome {
            None => json!({ "command": self.command, "status": "declined" }),
            Some(Ok(said)) => json!({ "command": self.command, "status": "done", "output": said }),
            Some(Err(said)) => {
                json!({ "command": self.command, "status": "failed", "output": said })
            }
        }
    }
}

/// The arguments of a help, if it is safe.
fn safe(help: &str) -> Option<Vec<&str>> {
    if VERBS.contains(&help) {
        return Some(help.split(' ').collect());
    }
    let (mode, path) = help.strip_prefix("chmod ")?.split_once(' ')?;
    (MODES.contains(&mode) && Path::new(path).is_absolute())
        .then(|| vec!["chmod", mode, "--", path])
}

/// The commands that are safe, each once, in the order of the issues. What has to be closed comes
/// before what has to be started.
pub(super) fn commands<'a>(issues: impl Iterator<Item = &'a Finding>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for finding in issues {
        if safe(&finding.help).is_some() && !found.contains(&finding.help) {
            found.push(finding.help.clone());
        }
    }
    found.sort_by_key(|command| command.starts_with("ggen "));
    found
}

impl Fixer {
    /// Asks, and runs.
    pub(super) fn apply(
        &self,
        commands: Vec<String>,
        say: &mut dyn Write,
        answers: &mut dyn BufRead,
    ) -> Vec<Done> {
        commands
            .into_iter()
            .map(|command| {
                let outcome = self
                    .agreed(&command, say, answers)
                    .then(|| self.run(&command));
                if let Some(Ok(said) | Err(said)) = &outcome {
                    for line in said.lines() {
                        drop(writeln!(say, "  {line}"));
                    }
                }
                Done { command, outcome }
            })
            .collect()
    }

    fn agreed(&self, command: &str, say: &mut dyn Write, answers: &mut dyn BufRead) -> bool {
        if self.yes {
            drop(writeln!(say, "$ {command}"));
            return true;
        }
        drop(write!(say, "$ {command}\n  Run it? [y/N] "));
        drop(say.flush());
        let mut answer = String::new();
        answers.read_line(&mut answer).is_ok()
            && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
    }

    /// What it said; in the error case, too.
    fn run(&self, help: &str) -> Result<String, String> {
        let words = safe(help).ok_or("not a command of this table")?;
        let (program, arguments) = words.split_first().ok_or("no command")?;
        let mut command = if *program == "ggen" {
            let mut ggen = Command::new(beside());
            ggen.args(named("--config", self.config.as_deref()))
                .args(named("--socket", self.socket.as_deref()));
            ggen
        } else {
            Command::new(program)
        };
        let output = command
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("{program}: {error}"))?;
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        if output.status.success() {
            Ok(said)
        } else {
            Err(format!("{said}{}", output.status))
        }
    }
}

fn named(flag: &str, value: Option<&Path>) -> Vec<OsString> {
    value.map_or_else(Vec::new, |value| vec![flag.into(), value.into()])
}

/// The `ggen` that came with this `ggend`, else the first one in PATH.
fn beside() -> PathBuf {
    std::env::current_exe()
        .ok()
        .map(|own| own.with_file_name("ggen"))
        .filter(|ggen| ggen.is_file())
        .unwrap_or_else(|| "ggen".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ggen_wire::Code;

    fn issue(help: &str) -> Finding {
        Finding::error(Code::NotRunning, "something").help(help)
    }

    #[test]
    fn nothing_but_what_is_safe_is_run() {
        for help in [
            "kill -9 12 && ggen mcp server start",
            "ggen mcp server start; reboot",
            "ggen mcp server restart",
            "chmod 777 /etc/ggen/mcp.json",
            "chmod 600 relative",
            "chmod 600",
            "sudo ggen mcp doctor",
            "",
        ] {
            assert_eq!(commands([issue(help)].iter()), [""; 0], "{help}");
        }
        let all = [
            "ggen mcp server start",
            "chmod o-w /etc/a b/mcp.json",
            "ggen mcp server start",
        ]
        .map(issue);
        assert_eq!(
            commands(all.iter()),
            ["chmod o-w /etc/a b/mcp.json", "ggen mcp server start"]
        );
        assert_eq!(
            safe("chmod o-w /etc/a b/mcp.json"),
            Some(vec!["chmod", "o-w", "--", "/etc/a b/mcp.json"])
        );
    }

    #[test]
    fn who_does_not_say_yes_has_nothing_run() {
        let fixer = Fixer {
            config: None,
            socket: None,
            yes: false,
        };
        for answer in ["", "\n", "n\n", "no\n", "yesterday\n"] {
            let mut said = Vec::new();
            let done = fixer.apply(
                vec!["chmod 600 /nowhere/at/all".to_owned()],
                &mut said,
                &mut answer.as_bytes(),
            );
            assert!(done.iter().all(|done| done.outcome.is_none()), "{answer:?}");
        }
        let done = fixer.apply(
            vec!["chmod 600 /nowhere/at/all".to_owned()],
            &mut Vec::new(),
            &mut "y\n".as_bytes(),
        );
        assert!(matches!(&done[0].outcome, Some(Err(said)) if said.contains("/nowhere/at/all")));
    }
}
