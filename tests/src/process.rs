//! What `/proc` says about a sandbox's processes. Every process that a daemon starts keeps the
//! daemon's `HOME`, which no other sandbox has.

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

/// A live process.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its parent's.
    pub parent: u32,
    /// Its command line, blanks between the arguments.
    pub command: String,
}

/// Sends a signal; a process that is gone is no error.
pub fn signal(pid: u32, signal: Signal) {
    let _ = kill(Pid::from_raw(pid.cast_signed()), signal);
}

/// Whether the process exists and is no zombie.
#[must_use]
pub fn is_alive(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| state != 'Z' && state != 'X')
}

/// State letter and parent.
fn stat(pid: u32) -> Option<(char, u32)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold blanks and parentheses; what follows its end does not.
    let mut fields = text[text.rfind(')')? + 1..].split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

fn pids() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The processes that carry `HOME=home` in their environment, or descend from `root`. Zombies do
/// not count: they hold nothing but their number.
#[must_use]
pub fn of_sandbox(home: &Path, root: Option<u32>) -> Vec<Process> {
    let marker = [b"HOME=".as_slice(), home.as_os_str().as_encoded_bytes()].concat();
    let alive: Vec<_> = pids()
        .filter_map(|pid| {
            stat(pid)
                .filter(|(state, _)| *state != 'Z')
                .map(|(_, parent)| (pid, parent))
        })
        .collect();
    let carries = |pid: u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment
            .split(|byte| *byte == 0)
            .any(|entry| entry == marker)
    };
    let mut found: HashSet<u32> = alive
        .iter()
        .map(|(pid, _)| *pid)
        .filter(|pid| Some(*pid) == root || carries(*pid))
        .collect();
    loop {
        let before = found.len();
        found.extend(
            alive
                .iter()
                .filter(|(_, parent)| found.contains(parent))
                .map(|(pid, _)| *pid)
                .collect::<Vec<_>>(),
        );
        if found.len() == before {
            break;
        }
    }
    let process = |(pid, parent): &(u32, u32)| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        Process {
            pid: *pid,
            parent: *parent,
            command: String::from_utf8_lossy(&line)
                .replace('\0', " ")
                .trim_end()
                .to_owned(),
        }
    };
    alive
        .iter()
        .filter(|(pid, _)| found.contains(pid))
        .map(process)
        .collect()
}

/// Regular files outside `allowed` that the process holds open for writing.
#[must_use]
pub fn files_written_outside(pid: u32, allowed: &Path) -> Vec<PathBuf> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten()
        .flatten();
    let written = descriptors.filter_map(|entry| {
        let target = fs::read_link(entry.path()).ok()?;
        let info = fs::read_to_string(format!(
            "/proc/{pid}/fdinfo/{}",
            entry.file_name().to_str()?
        ))
        .ok()?;
        let flags = info
            .lines()
            .find_map(|line| u32::from_str_radix(line.strip_prefix("flags:")?.trim(), 8).ok())?;
        let is_file = target.is_absolute()
            && !target.starts_with("/dev")
            && !target.starts_with("/proc")
            && !target.to_string_lossy().starts_with("/memfd:");
        // O_ACCMODE: 0 is read only.
        (is_file && flags & 3 != 0 && !target.starts_with(allowed)).then_some(target)
    });
    written.collect()
}
