//! `ggend shim`: the parent of one stdio server. It runs the server in a process group of its own, is
//! the subreaper of everything below it, and leaves nothing behind: not when the server dies, not on
//! request, not when the supervisor is killed. May not: touch the server's pipes, open a file. It has
//! no event loop, only two descriptors and a clock.

mod plan;
mod sandbox;
mod waiter;

use crate::{
    ipc::{
        channel::Blocking,
        launch::{FromShim, Launch, ToShim},
    },
    platform::{self, Ended},
};
use ggen_wire::{Code, text};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::Signal,
};
use plan::{Plan, Step};
use std::{
    collections::BTreeSet,
    fs, io,
    os::fd::{AsFd, OwnedFd},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

/// EX_SOFTWARE of `sysexits.h`.
const SOFTWARE: u8 = 70;

/// Runs this process as a shim, with its channel on standard input.
pub fn main() -> ExitCode {
    platform::close_inherited();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(SOFTWARE),
    }
}

fn run() -> io::Result<()> {
    let mut channel = Blocking::new(platform::standard_input()?)?;
    let Some((ToShim::Launch(launch), descriptors)) = channel.receive()? else {
        return Ok(());
    };
    platform::become_subreaper()?;
    // The server's secrets are in our memory, too.
    platform::hide_memory()?;
    let pid = match spawn(&launch, descriptors) {
        Ok(pid) => pid,
        Err(failed) => return channel.send(&failed.message(&launch), &[]),
    };
    // The supervisor may be gone already: then the loop below sees the end of the channel and
    // cleans up.
    channel
        .send(&FromShim::Started { pid }, &[])
        .unwrap_or_default();
    let children = waiter::start()?;
    let plan = attend(&mut channel, &children, pid);
    if let Some(group) = launch.group.filter(|_| !plan.listens()) {
        // Nobody else is left to do it.
        group.kill();
        group.remove().unwrap_or_default();
    }
    let (reason, status) = match plan.ended() {
        Some(Ended::Exited(status)) => (Ended::Exited(status).to_string(), Some(status)),
        Some(ended) => (ended.to_string(), None),
        None => ("could not be killed".to_owned(), None),
    };
    channel
        .send(
            &FromShim::Exited {
                reason,
                status,
                swept: plan.swept(),
            },
            &[],
        )
        .unwrap_or_default();
    Ok(())
}

/// Why there is no server.
enum Failed {
    Sandbox(String),
    Start(io::Error),
}

impl Failed {
    fn message(self, launch: &Launch) -> FromShim {
        match self {
            Self::Sandbox(reason) => FromShim::SpawnFailed {
                missing: false,
                code: Some(Code::SandboxUnavailable),
                reason: text::line(&format!("its sandbox cannot be had: {reason}")),
            },
            Self::Start(error) => FromShim::SpawnFailed {
                missing: matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
                ),
                code: None,
                reason: text::line(&describe(&error, launch)),
            },
        }
    }
}

/// What the error of a start was, and which folder of the search path caused it.
fn describe(error: &io::Error, launch: &Launch) -> String {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return error.to_string();
    }
    let hint = if launch.sandbox.is_some() {
        " (inside its sandbox)"
    } else {
        ""
    };
    match closed_folder(launch) {
        Some(folder) => format!(
            "{} is not found, and {} of its PATH may not be searched: {error}{hint}",
            launch.command,
            folder.display()
        ),
        None => format!("{}: {error}{hint}", launch.command),
    }
}

/// The first folder of the server's PATH that this user may not search. execvp(3) goes on behind
/// it, and in the end reports its error.
fn closed_folder(launch: &Launch) -> Option<PathBuf> {
    let path = launch.env.get("PATH")?;
    let here = launch.cwd.clone().unwrap_or_default();
    let folders = path.split(':').map(|folder| here.join(folder));
    let is_closed = |folder: &PathBuf| {
        fs::metadata(folder.join(&launch.command))
            .is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    };
    if launch.command.contains('/') {
        return None;
    }
    folders.into_iter().find(is_closed)
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Start(error)
    }
}

fn spawn(launch: &Launch, descriptors: Vec<OwnedFd>) -> Result<u32, Failed> {
    let mut descriptors = descriptors.into_iter().map(Stdio::from);
    let mut next = || {
        descriptors
            .next()
            .ok_or_else(|| io::Error::other("the command came without its pipes"))
    };
    let mut command = Command::new(&launch.command);
    command
        .args(&launch.args)
        .env_clear()
        .envs(&launch.env)
        .process_group(0)
        .stdin(next()?)
        .stdout(next()?)
        .stderr(next()?);
    if let Some(cwd) = &launch.cwd {
        // Told apart from a missing command, which gives the same error number.
        if !cwd.is_dir() {
            return Err(io::Error::other(format!(
                "working directory {} is not there",
                cwd.display()
            ))
            .into());
        }
        command.current_dir(cwd);
    }
    sandbox::enter(&mut command, launch).map_err(Failed::Sandbox)?;
    if let Some(sandbox) = &launch.sandbox {
        sandbox::apply(&mut command, launch, sandbox).map_err(Failed::Sandbox)?;
    }
    sandbox::without_capabilities(&mut command);
    Ok(command.spawn()?.id())
}

/// Waits for children, messages and time, and does what the plan says, until nothing is left below
/// this process.
fn attend(channel: &mut Blocking, children: &OwnedFd, pid: u32) -> Plan {
    let mut plan = Plan::new(pid);
    let mut told = BTreeSet::new();
    loop {
        match plan.step(Instant::now()) {
            Step::Done => return plan,
            Step::Wait => {}
            Step::Ask => {
                if told.insert(pid) {
                    platform::signal_group(pid, Signal::SIGTERM);
                }
                for child in platform::children()
                    .into_iter()
                    .filter(|child| told.insert(*child))
                {
                    platform::signal_process(child, Signal::SIGTERM);
                }
            }
            Step::Kill => {
                platform::signal_group(pid, Signal::SIGKILL);
                platform::children()
                    .into_iter()
                    .for_each(|child| platform::signal_process(child, Signal::SIGKILL));
            }
        }
        let timeout = plan
            .timeout(Instant::now())
            .map_or(PollTimeout::NONE, |left| {
                left.try_into().unwrap_or(PollTimeout::MAX)
            });
        let listening = plan.listens();
        let mut sources = [
            PollFd::new(children.as_fd(), PollFlags::POLLIN),
            PollFd::new(channel.as_fd(), PollFlags::POLLIN),
        ];
        let count = if listening { 2 } else { 1 };
        if poll(&mut sources[..count], timeout).is_err() {
            continue;
        }
        let ready = |source: &PollFd<'_>| source.revents().is_some_and(|events| !events.is_empty());
        let (child_ended, message_came) = (ready(&sources[0]), listening && ready(&sources[1]));
        if child_ended {
            plan.reaped(waiter::read(children), Instant::now());
        }
        if message_came {
            match channel.receive::<ToShim>() {
                Ok(Some((ToShim::Stop { grace_ms }, _))) => plan.stop(grace_ms, Instant::now()),
                Ok(Some((ToShim::Launch(_), _))) => {}
                Ok(None) | Err(_) => plan.orphaned(Instant::now()),
            }
        }
    }
}
