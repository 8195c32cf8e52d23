//! Checks the host: the name `localhost`, space on the disk, the clock.

use crate::{
    platform,
    probe::{client::http, context::Context, report::finding::Finding},
};
use ggen_wire::text;
use ggen_wire::{Code, paths::Host};
use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// Less than this is called full: a log and a socket need little.
const LEAST_BYTES: u64 = 16 << 20;
const LEAST_INODES: u64 = 64;
/// 2024-01-01 and 2100-01-01, in seconds since the epoch.
const SANE: std::ops::Range<u64> = 1_704_067_200..4_102_444_800;

pub(super) fn localhost(_: &Context) -> Vec<Finding> {
    let help = "echo '127.0.0.1 localhost' | sudo tee -a /etc/hosts";
    vec![
        match http::resolve("localhost", 0, Duration::from_secs(3)) {
            Err(why) => {
                Finding::warning(Code::NameUnresolved, "the name localhost does not resolve")
                    .seen(why)
                    .help(help)
            }
            Ok(found) => {
                let foreign: Vec<String> = found
                    .iter()
                    .map(|one| one.ip())
                    .filter(|ip| !ip.is_loopback())
                    .map(|ip| ip.to_string())
                    .collect();
                if foreign.is_empty() {
                    let all: std::collections::BTreeSet<String> =
                        found.iter().map(|one| one.ip().to_string()).collect();
                    Finding::note(format!(
                        "localhost is {}",
                        all.into_iter().collect::<Vec<_>>().join(", ")
                    ))
                } else {
                    Finding::warning(
                        Code::NameUnresolved,
                        "the name localhost points away from this host",
                    )
                    .seen(foreign.join(", "))
                    .help(help)
                }
            }
        },
    ]
}

pub(super) fn disk(context: &Context) -> Vec<Finding> {
    let env = |name: &str| std::env::var_os(name);
    let runtime = context.socket.parent().map_or_else(
        || {
            Host {
                env: &env,
                root: platform::own_uid() == 0,
            }
            .runtime_dir()
        },
        Path::to_path_buf,
    );
    let Some(directory) = existing(&runtime) else {
        return vec![Finding::note(format!(
            "{} cannot be looked at",
            runtime.display()
        ))];
    };
    let shown = directory.display();
    let mut found = Vec::new();
    if let Some((bytes, inodes)) = platform::free_space(&directory) {
        let seen = format!(
            "{shown}: {} MiB and {} inodes free",
            bytes >> 20,
            if inodes == u64::MAX {
                "unlimited".to_owned()
            } else {
                inodes.to_string()
            }
        );
        if bytes < LEAST_BYTES || inodes < LEAST_INODES {
            found.push(
                Finding::error(
                    Code::DiskUnusable,
                    "the file system of the runtime directory is full",
                )
                .seen(seen)
                .help(format!("df -h {shown}")),
            );
        } else {
            found.push(Finding::note(seen));
        }
    }
    // While the daemon runs it has what it needs; only who would start it has to be able to write.
    if context.is_down() && !platform::may_write(&directory) {
        found.push(
            Finding::error(
                Code::DiskUnusable,
                "this user may not write the runtime directory",
            )
            .seen(format!(
                "{shown} is not writable for uid {}",
                platform::own_uid()
            ))
            .help(format!("ls -ld {shown}")),
        );
    }
    found
}

/// The directory, or the nearest one above it that exists: there the missing ones would be made.
fn existing(directory: &Path) -> Option<PathBuf> {
    let directory = if directory.as_os_str().is_empty() {
        Path::new(".")
    } else {
        directory
    };
    directory
        .ancestors()
        .find(|candidate| candidate.is_dir())
        .map(Path::to_path_buf)
}

pub(super) fn clock(context: &Context) -> Vec<Finding> {
    let wrong = |what: &str, seen: String| {
        vec![
            Finding::warning(Code::ClockWrong, what)
                .seen(seen)
                .help("timedatectl"),
        ]
    };
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    if !SANE.contains(&now.as_secs()) {
        return wrong(
            "the clock is wrong",
            format!("{} s since 1970", now.as_secs()),
        );
    }
    let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    if let Some(ahead) = context
        .status()
        .and_then(|status| status.started_ms.checked_sub(now))
        .filter(|ahead| *ahead > 60_000)
    {
        return wrong(
            "the clock was set back since the daemon started",
            format!("its start lies {} ahead", text::uptime(ahead)),
        );
    }
    vec![Finding::note("the clock is sane")]
}
