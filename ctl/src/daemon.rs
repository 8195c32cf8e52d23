//! The `ggend` binary: where it is, how it is started, and what the last one wrote. May not: talk
//! to the control socket.

use crate::{
    context::Context,
    failed::{Exit, Failed},
};
use ggen_wire::paths::Host;
use ggen_wire::text;
use std::{
    ffi::OsString,
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::{
        fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// A log of this size is moved aside before a start, so that two of them are all there ever is.
const LOG_LIMIT: u64 = 8 << 20;

/// `GGEN_DAEMON` (a path, for packagers and tests), the `ggend` beside this `ggen`, or the first
/// one in PATH.
pub(crate) fn find() -> Result<PathBuf, Failed> {
    if let Some(path) = std::env::var_os("GGEN_DAEMON").filter(|path| !path.is_empty()) {
        return Ok(path.into());
    }
    let beside = std::env::current_exe()
        .ok()
        .map(|ggen| ggen.with_file_name("ggend"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let candidates = beside
        .iter()
        .cloned()
        .chain(std::env::split_paths(&path).map(|directory| directory.join("ggend")));
    candidates
        .into_iter()
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| {
            let place = beside.map_or_else(String::new, |beside| {
                format!(" at {} nor", beside.display())
            });
            Failed::plain(
                Exit::Unavailable,
                format!("ggend is neither{place} in PATH"),
                "install ggend in the directory of ggen",
            )
        })
}

/// Becomes `ggend` with these arguments; returns only when that fails.
pub(crate) fn become_daemon(arguments: &[OsString]) -> Failed {
    match find() {
        Ok(ggend) => {
            let error = Command::new(&ggend).args(arguments).exec();
            Failed::plain(
                Exit::Unavailable,
                format!("{} cannot be run: {error}", ggend.display()),
                "",
            )
        }
        Err(failed) => failed,
    }
}

/// A detached `ggend` that may still be starting.
pub(crate) struct Detached {
    /// The process, ours until ggen ends.
    pub(crate) child: Child,
    /// Where its output goes.
    pub(crate) log: PathBuf,
    /// Where its output begins in that file.
    pub(crate) from: u64,
}

/// Starts `ggend` in a session of its own, its output appended to the log beside the socket.
///
/// The way leads through `ggen __detach`: only a process that leads no group may make a session,
/// and only it itself may.
pub(crate) fn detach(context: &Context, arguments: &[OsString]) -> Result<Detached, Failed> {
    let ggend = find()?;
    let log = Host::detached_log(&context.socket);
    let failed = |what: &Path, error: &io::Error| {
        Failed::plain(
            Exit::Unavailable,
            format!("{}: {error}", what.display()),
            "",
        )
    };
    let directory = log.parent().unwrap_or(Path::new("."));
    let mode = if nix::unistd::geteuid().is_root() {
        0o750
    } else {
        0o700
    };
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(directory)
        .map_err(|error| failed(directory, &error))?;
    if let Some(why) = somebody_elses(directory) {
        return Err(Failed::plain(
            Exit::NoPermission,
            format!(
                "{}: {why}, who could lead the log elsewhere",
                directory.display()
            ),
            "sudo systemctl start ggend",
        ));
    }
    if std::fs::metadata(&log).is_ok_and(|file| file.len() > LOG_LIMIT) {
        // Without the move the file only grows further.
        let _ = std::fs::rename(&log, log.with_extension("log.1"));
    }
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .custom_flags(nix::fcntl::OFlag::O_NOFOLLOW.bits())
        .open(&log)
        .map_err(|error| failed(&log, &error))?;
    let from = file
        .seek(SeekFrom::End(0))
        .map_err(|error| failed(&log, &error))?;
    let errors = file.try_clone().map_err(|error| failed(&log, &error))?;
    let ggen = std::env::current_exe().map_err(|error| failed(Path::new("ggen"), &error))?;
    let child = Command::new(&ggen)
        .arg("__detach")
        .arg(&ggend)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(errors)
        .spawn()
        .map_err(|error| failed(&ggen, &error))?;
    Ok(Detached { child, log, from })
}

/// Whose a directory is that a log is written to, if it is neither root's nor ours; or that others
/// may write to it.
fn somebody_elses(directory: &Path) -> Option<String> {
    let facts = std::fs::metadata(directory).ok()?;
    let own = nix::unistd::geteuid().as_raw();
    if facts.uid() != 0 && facts.uid() != own {
        return Some(format!("it belongs to user {}", facts.uid()));
    }
    (facts.mode() & 0o1002 == 0o002).then(|| "it can be written by everybody".to_owned())
}

/// What was written to a log from a position on, at most its last 64 KiB, without escape codes.
pub(crate) fn written_since(log: &Path, from: u64) -> Vec<String> {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let end = file.metadata()?.len();
        file.seek(SeekFrom::Start(from.max(end.saturating_sub(64 << 10))))?;
        let mut bytes = Vec::new();
        file.take(64 << 10).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    // A log that cannot be read says nothing; the caller has its own words for that.
    String::from_utf8_lossy(&read().unwrap_or_default())
        .lines()
        .map(text::plain)
        .collect()
}

/// Why a daemon did not start: the last error that it printed with its code and help, else its last
/// lines about errors, else its last lines.
///
/// Errors look like `error[GGEN-E1101]: …`, `help: …` or `ggend: … [GGEN-E1101]`, `try: …`.
pub(crate) fn reason(lines: &[String]) -> Option<Failed> {
    let printed = |line: &String| {
        ["error[", "error: ", "ggend: "]
            .iter()
            .any(|start| line.starts_with(start))
    };
    if let Some(at) = lines.iter().rposition(printed) {
        let (label, mut message) = lines[at].split_once(": ")?;
        let mut code = label
            .strip_prefix("error[")
            .and_then(|label| label.strip_suffix(']'));
        if let Some((text, last)) = message
            .strip_suffix(']')
            .and_then(|rest| rest.rsplit_once(" ["))
            .filter(|(_, last)| last.starts_with("GGEN-"))
        {
            (message, code) = (text, code.or(Some(last)));
        }
        let helps = lines[at + 1..].iter().map(|line| line.trim_start());
        let help = helps
            .into_iter()
            .find_map(|line| {
                line.strip_prefix("help: ")
                    .or_else(|| line.strip_prefix("try: "))
            })
            .unwrap_or_default();
        let exit = code
            .and_then(|code| code.parse().ok())
            .map_or(Exit::Bad, crate::failed::exit_of);
        return Some(Failed {
            code: code.map(str::to_owned),
            ..Failed::plain(exit, message, help)
        });
    }
    let about_errors = |line: &&String| {
        ["ERROR", "error", "panicked"]
            .iter()
            .any(|word| line.contains(word))
    };
    let mut chosen: Vec<&String> = lines.iter().filter(about_errors).collect();
    if chosen.is_empty() {
        chosen = lines
            .iter()
            .filter(|line| !line.trim().is_empty())
            .collect();
    }
    let last = &chosen[chosen.len().saturating_sub(3)..];
    let message = last
        .iter()
        .map(|line| line.trim())
        .collect::<Vec<_>>()
        .join("\n  ");
    (!message.is_empty()).then(|| Failed::plain(Exit::Bad, message, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason_of(log: &str) -> Option<(Option<String>, String, String)> {
        let lines: Vec<String> = log.lines().map(text::plain).collect();
        reason(&lines).map(|failed| (failed.code, failed.message, failed.help))
    }

    #[test]
    fn a_printed_error_is_taken_with_its_code_and_help() {
        let log = "starting\nerror[GGEN-E1101]: port 3000 is taken by nginx (pid 812)\nhelp: ggen mcp server start --port 3001\nbye\n";
        let (code, message, help) = reason_of(log).unwrap();
        assert_eq!(code.as_deref(), Some("GGEN-E1101"));
        assert_eq!(message, "port 3000 is taken by nginx (pid 812)");
        assert_eq!(help, "ggen mcp server start --port 3001");
        let log =
            "ggend: the lock cannot be taken [GGEN-E6004]\n       try: ggen mcp server status\n";
        let (code, message, help) = reason_of(log).unwrap();
        assert_eq!(code.as_deref(), Some("GGEN-E6004"));
        assert_eq!(
            (message.as_str(), help.as_str()),
            ("the lock cannot be taken", "ggen mcp server status")
        );
    }

    #[test]
    fn without_one_the_last_lines_speak() {
        assert_eq!(
            reason_of("a\n\u{1b}[31mERROR\u{1b}[0m b\nc\n").unwrap().1,
            "ERROR b"
        );
        assert_eq!(reason_of("a\n\nb\nc\nd\n").unwrap().1, "b\n  c\n  d");
        assert_eq!(reason_of("\n"), None);
    }
}
