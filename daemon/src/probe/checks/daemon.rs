//! Checks the daemon itself: whether it answers, its control socket, what an earlier one left
//! behind, versions.

use crate::{
    platform,
    probe::{client::control::Daemon, context::Context, report::finding::Finding},
};
use ggen_wire::text;
use ggen_wire::{Code, VERSION, status::Phase};
use std::os::unix::fs::{FileTypeExt, MetadataExt};

const START: &str = "ggen mcp server start";
const ANEW: &str = "ggen mcp server stop && ggen mcp server start";

pub(super) fn running(context: &Context) -> Vec<Finding> {
    let path = context.socket.display();
    let refused = || {
        Finding::error(
            Code::NotRunning,
            "Connection refused: the daemon is not running",
        )
    };
    vec![match &context.daemon {
        Daemon::Absent => refused().seen(format!("no socket at {path}")).help(START),
        Daemon::Deserted => refused()
            .seen(format!("nothing listens at {path}"))
            .help(START),
        Daemon::Denied => Finding::error(
            Code::PermissionDenied,
            "Permission denied: the control socket is closed to this user",
        )
        .seen(format!("{path}: {}", owner(context)))
        .help("sudo ggen mcp doctor"),
        Daemon::Unusable(why) => Finding::error(
            Code::ControlProtocol,
            "the control socket cannot be connected to",
        )
        .seen(format!("{path}: {why}"))
        .help(format!("ls -l {path}")),
        Daemon::Mute { pid, why } => mute(context, *pid, why),
        Daemon::Answers(status) => {
            let seen = format!(
                "pid {}, {}, up {}",
                status.pid,
                status.phase.as_str(),
                text::uptime(status.uptime_ms)
            );
            match status.phase {
                Phase::Draining => Finding::warning(Code::NotRunning, "the daemon is stopping")
                    .seen(seen)
                    .help("ggen mcp server status"),
                Phase::Starting if status.uptime_ms > 30_000 => {
                    Finding::warning(Code::WorkerDied, "the daemon has not finished its start")
                        .seen(seen)
                        .help("ggen mcp server logs --level error --tail 20")
                }
                _ => Finding::note(format!("the daemon answers ({seen})")),
            }
        }
    }]
}

/// Somebody accepts, and does not answer: half dead.
fn mute(context: &Context, pid: u32, why: &str) -> Finding {
    let path = context.socket.display();
    let found = Finding::error(
        Code::ControlProtocol,
        "the daemon is there and does not answer",
    );
    let who = if pid == 0 {
        String::new()
    } else {
        format!(" (pid {pid})")
    };
    if platform::is_stopped(pid) == Some(true) {
        return found
            .seen(format!("{path}{who}: {why}; the process is stopped"))
            .help(format!("kill -CONT {pid}"));
    }
    let last = if pid == 0 {
        "ss -xlp".to_owned()
    } else {
        format!("kill -9 {pid} && {START}")
    };
    let help = format!("ggen mcp server status --timeout 60   (and if that fails: {last})");
    found.seen(format!("{path}{who}: {why}")).help(help)
}

fn owner(context: &Context) -> String {
    std::fs::metadata(&context.socket).map_or_else(
        |_| "its directory is closed".to_owned(),
        |file| {
            format!(
                "uid {}, gid {}, mode {:04o}",
                file.uid(),
                file.gid(),
                file.mode() & 0o7777
            )
        },
    )
}

pub(super) fn socket(context: &Context) -> Vec<Finding> {
    let path = &context.socket;
    let Ok(file) = std::fs::metadata(path).inspect_err(|_| ()) else {
        return vec![Finding::note("there is no control socket")];
    };
    let mut found = Vec::new();
    let unsafe_mode =
        |what: String, help: String| Finding::warning(Code::SocketMode, what).help(help);
    if file.file_type().is_socket() && file.mode() & 0o007 != 0 {
        found.push(
            unsafe_mode(
                "every user of this host may use the control socket".to_owned(),
                format!("chmod 660 {}", path.display()),
            )
            .seen(format!("{}: {}", path.display(), owner(context))),
        );
    }
    let directory = path
        .parent()
        .and_then(|directory| Some((directory, std::fs::metadata(directory).ok()?)));
    if let Some((directory, facts)) = directory {
        // A sticky directory lets others make files, and not take ours away.
        let mode = facts.mode();
        if mode & 0o022 != 0 && mode & 0o1000 == 0 {
            found.push(
                unsafe_mode(
                    "others may put another socket in the place of the daemon's".to_owned(),
                    format!("chmod go-w {}", directory.display()),
                )
                .seen(format!(
                    "{}: uid {}, mode {:04o}",
                    directory.display(),
                    facts.uid(),
                    mode & 0o7777
                )),
            );
        }
    }
    if found.is_empty() {
        found.push(Finding::note(format!(
            "the control socket is safe ({})",
            owner(context)
        )));
    }
    found
}

pub(super) fn leftovers(context: &Context) -> Vec<Finding> {
    let lock = context.socket.with_extension("lock");
    let holder = platform::lock_holder(&lock);
    match (&context.daemon, holder) {
        (Daemon::Deserted | Daemon::Absent, Some(pid)) => vec![
            Finding::error(
                Code::RuntimeLeftover,
                "a daemon that does not serve holds the lock",
            )
            .seen(format!("{} is locked by pid {pid}", lock.display()))
            .help(if pid == 0 {
                "ss -xlp".to_owned()
            } else {
                format!("kill {pid} && {START}")
            }),
        ],
        (Daemon::Deserted, None) => vec![
            Finding::warning(
                Code::RuntimeLeftover,
                "an earlier daemon was killed and left its socket behind",
            )
            .seen(format!("{} has no listener", context.socket.display()))
            .help(START),
        ],
        _ => vec![Finding::note("nothing is left over of an earlier daemon")],
    }
}

pub(super) fn versions(context: &Context) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Some(client) = context
        .client
        .as_deref()
        .filter(|client| *client != VERSION)
    {
        found.push(
            Finding::warning(
                Code::VersionSkew,
                "ggen and ggend are of different versions",
            )
            .seen(format!("ggen {client}, ggend beside it {VERSION}"))
            .help("ggend --version"),
        );
    }
    if let Some(status) = context.status() {
        if status.version != VERSION {
            found.push(
                Finding::warning(
                    Code::VersionSkew,
                    "the running daemon is of another version than what is installed",
                )
                .seen(format!("running {}, installed {VERSION}", status.version))
                .help(ANEW),
            );
        }
        let replaced = std::fs::read_link(format!("/proc/{}/exe", status.pid))
            .is_ok_and(|exe| exe.to_string_lossy().ends_with(" (deleted)"));
        if replaced && found.is_empty() {
            found.push(Finding::note(
                "the daemon's binary was replaced by one of the same version since it started",
            ));
        }
    }
    if found.is_empty() {
        found.push(Finding::note(format!("all are of version {VERSION}")));
    }
    found
}
