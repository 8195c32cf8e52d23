//! The sandbox of a server. The shim prepares it; the child closes it just before it becomes the
//! server. If a part of it cannot be had, the start is refused. The shim itself stays outside: it has
//! to end whatever the server becomes. May not: leave out a part silently.

use crate::{
    ipc::launch::{Launch, ServerNetwork, ServerSandbox},
    platform::{self, Limit, Prepared, Reach, Stands},
};
use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

/// Programs and libraries, which may be executed.
const PROGRAMS: [&str; 10] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/opt",
    "/nix/store",
    "/snap",
];
/// Settings, all but ours: they tell the secrets of other servers.
const SETTINGS: &str = "/etc";
const OUR_SETTINGS: &str = "/etc/ggen";
/// What programs look up: the kernel's tables, devices, the host's name servers.
const LOOKED_UP: [&str; 6] = [
    "/proc",
    "/sys",
    "/dev",
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/var/lib/ca-certificates",
];
/// Devices that keep nothing.
const DEVICES: [&str; 6] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
];

/// Has the command enter its control group before its first instruction, and keeps it from writing
/// there or to any other one: the groups are our own user's, who is the server's as well, so that
/// it could walk out or lift its limits. Without limits, a kernel that cannot do that is no
/// obstacle.
///
/// # Errors
/// What cannot be had, and why, in words for the log.
pub(super) fn enter(command: &mut Command, launch: &Launch) -> Result<(), String> {
    let Some(group) = &launch.group else {
        return Ok(());
    };
    let mut membership = group
        .membership_files()
        .map_err(|error| format!("its control group: {error}"))?;
    let layer = Prepared::all_but(&platform::group_mounts());
    let must = launch
        .sandbox
        .as_ref()
        .is_some_and(|sandbox| !sandbox.limits.family.is_none());
    let mut layer = match layer {
        Ok(layer) if layer.stands() == Stands::Whole => Some(layer),
        Ok(_) if must => {
            return Err(
                "limits.family: this kernel's Landlock cannot keep a server from lifting them"
                    .to_owned(),
            );
        }
        Err(error) if must => return Err(format!("limits.family: Landlock: {error}")),
        _ => None,
    };
    platform::before_exec(command, move || {
        membership.enter()?;
        layer.take().map_or(Ok(()), Prepared::close)
    });
    Ok(())
}

/// A daemon that is not root may have capabilities for starting servers as another user; no server
/// gets them.
pub(super) fn without_capabilities(command: &mut Command) {
    if platform::own_uid() != 0 {
        platform::before_exec(command, || platform::drop_privileges(None));
    }
}

/// Applies the sandbox to the command.
///
/// # Errors
/// What of them cannot be had, and why, in words for the log.
pub(super) fn apply(
    command: &mut Command,
    launch: &Launch,
    sandbox: &ServerSandbox,
) -> Result<(), String> {
    let identity = become_user(command, launch, sandbox)?;
    let no_network = sandbox.network == ServerNetwork::None;
    let (reach, no_truncate) = reach(launch, sandbox)?;
    let no_unix = sandbox.confines_unix_sockets();
    let calls = if no_network || no_truncate || no_unix {
        let layer = Prepared::calls(platform::Calls::Server {
            no_network,
            no_unix,
            no_truncate,
        })
        .map_err(|error| format!("seccomp: {error}"))?;
        if layer.stands() == Stands::Not {
            return Err("network, files or unix_sockets: this kernel gives no seccomp".to_owned());
        }
        Some(layer)
    } else {
        None
    };
    let limits = sandbox.limits;
    let limits = [
        (Limit::Memory, limits.memory.map(|size| size.0)),
        (Limit::Processor, limits.cpu_seconds),
        (Limit::Files, limits.open_files),
        (Limit::Processes, limits.processes),
        (Limit::FileSize, limits.file_size.map(|size| size.0)),
    ];
    let mut layers = Some((reach, calls));
    platform::before_exec(command, move || {
        let Some((reach, calls)) = layers.take() else {
            return Ok(());
        };
        limits.iter().try_for_each(|(which, value)| {
            value.map_or(Ok(()), |value| platform::limit(*which, value))
        })?;
        if identity.is_some() {
            platform::drop_privileges(identity)?;
        }
        [reach, calls]
            .into_iter()
            .flatten()
            .try_for_each(Prepared::close)
    });
    Ok(())
}

/// The user that the server becomes, if it is another one. Its environment says so.
fn become_user(
    command: &mut Command,
    launch: &Launch,
    sandbox: &ServerSandbox,
) -> Result<Option<platform::Identity>, String> {
    let Some(name) = &sandbox.user else {
        return Ok(None);
    };
    let found = platform::account(name).map_err(|error| format!("user {name:?}: {error}"))?;
    let found = found.ok_or_else(|| format!("user: there is no user {name:?}"))?;
    let moves = platform::may_become_others();
    if !moves && platform::own_uid() != found.identity.uid {
        return Err(format!(
            "user {name:?}: only a daemon that is root or has CAP_SETUID, CAP_SETGID and CAP_KILL can become somebody else"
        ));
    }
    let home = found.home.to_string_lossy().into_owned();
    for (key, value) in [
        ("HOME", home),
        ("USER", found.name.clone()),
        ("LOGNAME", found.name),
    ] {
        if !launch.env.contains_key(key) {
            command.env(key, value);
        }
    }
    Ok(moves.then_some(found.identity))
}

/// The layer around files and, where the kernel knows ports, a second one around the network; and
/// whether files could still be cut short.
fn reach(launch: &Launch, sandbox: &ServerSandbox) -> Result<(Option<Prepared>, bool), String> {
    let no_network = sandbox.network == ServerNetwork::None;
    let confined = sandbox.confines_files();
    if !confined && !no_network {
        return Ok((None, false));
    }
    let (read, write) = (
        sandbox.read.clone().unwrap_or_default(),
        sandbox.write.clone().unwrap_or_default(),
    );
    if let Some(path) = read.iter().chain(&write).find(|path| !path.exists()) {
        return Err(format!("{} is not there", path.display()));
    }
    let own = read.iter().chain(&write).cloned().chain(program(launch));
    let paths = |all: &[&str]| all.iter().map(PathBuf::from).collect::<Vec<_>>();
    let wanted = Reach {
        read: paths(&LOOKED_UP).into_iter().chain(settings()).collect(),
        list: paths(&[SETTINGS]),
        execute: paths(&PROGRAMS).into_iter().chain(own).collect(),
        write: paths(&DEVICES).into_iter().chain(write).collect(),
        files: confined,
        no_bind: no_network,
        no_connect: no_network,
        no_others: confined,
    };
    let layer = Prepared::reach(&wanted).map_err(|error| format!("Landlock: {error}"))?;
    match layer.stands() {
        Stands::Not if confined => Err("read and write: this kernel gives no Landlock".to_owned()),
        Stands::Not => Ok((None, false)),
        // The first two versions of Landlock do not see truncate(2).
        _ => Ok((Some(layer), confined && platform::landlock_version() < 3)),
    }
}

/// What lies in `/etc`, one by one, because a rule cannot take away what another one gives. A link
/// is left out: what it leads to is judged by its own place.
fn settings() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(SETTINGS).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| !kind.is_symlink()))
        .map(|entry| entry.path())
        .filter(|path| path != Path::new(OUR_SETTINGS))
        .collect()
}

/// The program itself, wherever it lies.
fn program(launch: &Launch) -> Option<PathBuf> {
    if launch.command.contains('/') {
        return Some(
            launch
                .cwd
                .as_deref()
                .unwrap_or(Path::new("."))
                .join(&launch.command),
        );
    }
    let runs = |path: &PathBuf| {
        path.metadata()
            .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    launch
        .env
        .get("PATH")?
        .split(':')
        .map(|folder| Path::new(folder).join(&launch.command))
        .find(runs)
}
