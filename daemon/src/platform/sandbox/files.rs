//! Landlock: rules for files, TCP ports, signals and abstract sockets
//! (<https://docs.kernel.org/userspace-api/landlock.html>). Rules that the running kernel does not
//! support are left out, and the result says so.

#![allow(unsafe_code, reason = "the crate does not tell what the kernel knows")]

use super::{Reach, Stands};
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, Scope,
};
use nix::libc;
use std::{
    io,
    os::fd::AsFd,
    path::{Path, PathBuf},
};

/// The newest rules that are asked for: Linux 6.12.
const NEWEST: ABI = ABI::V6;

/// The rules, ready to be put in force, and how much of them the kernel knows; `None`: it knows
/// nothing.
pub(super) fn build(reach: &Reach) -> io::Result<(Option<RulesetCreated>, Stands)> {
    let known = known();
    if known < 1 {
        return Ok((None, Stands::Not));
    }
    let mut ruleset = Ruleset::default().set_compatibility(CompatLevel::BestEffort);
    // TCP ports came with the fourth version, scopes with the sixth. Whoever asks for these has a
    // filter of system calls beside it.
    if reach.files {
        ruleset = ruleset
            .handle_access(AccessFs::from_all(NEWEST))
            .map_err(io::Error::other)?;
    }
    for (wanted, access) in [
        (reach.no_bind, AccessNet::BindTcp),
        (reach.no_connect, AccessNet::ConnectTcp),
    ] {
        if wanted {
            ruleset = ruleset.handle_access(access).map_err(io::Error::other)?;
        }
    }
    if reach.no_others {
        ruleset = ruleset
            .scope(Scope::AbstractUnixSocket | Scope::Signal)
            .map_err(io::Error::other)?;
    }
    let mut created = ruleset.create().map_err(io::Error::other)?;
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    for (paths, access) in [
        (&reach.read, read),
        (&reach.list, AccessFs::ReadDir.into()),
        (&reach.execute, read | AccessFs::Execute),
        (
            &reach.write,
            AccessFs::from_all(NEWEST) & !BitFlags::from(AccessFs::Execute),
        ),
    ] {
        for path in paths.iter().filter(|_| reach.files) {
            if let Some(rule) = rule(path, access)? {
                created = created.add_rule(rule).map_err(io::Error::other)?;
            }
        }
    }
    Ok((
        Some(created),
        if known >= 6 {
            Stands::Whole
        } else {
            Stands::Partly
        },
    ))
}

/// The first version that lets files be moved between folders at all.
const MOVES: i64 = 2;

/// Rules that leave everything as it is, but for writing below `spared`: Landlock only knows what
/// is allowed, so that is everything beside it. `None`: the kernel could only do that by forbidding
/// more.
pub(super) fn all_but(spared: &[PathBuf]) -> io::Result<Option<RulesetCreated>> {
    if known() < MOVES {
        return Ok(None);
    }
    // Opening for writing, making and removing folders: more cannot be done to a control group. The
    // last one is refused wherever it is not asked for.
    let access = AccessFs::WriteFile | AccessFs::MakeDir | AccessFs::RemoveDir | AccessFs::Refer;
    let ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    let mut created = ruleset
        .handle_access(access)
        .map_err(io::Error::other)?
        .create()
        .map_err(io::Error::other)?;
    let mut open = vec![PathBuf::from("/")];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder)?.flatten() {
            let path = entry.path();
            // What a link leads to has its own place, and may be spared.
            if spared.contains(&path) || entry.file_type().is_ok_and(|kind| kind.is_symlink()) {
                continue;
            }
            if spared.iter().any(|one| one.starts_with(&path)) {
                open.push(path);
            } else if let Some(rule) = rule(&path, access)? {
                created = created.add_rule(rule).map_err(io::Error::other)?;
            }
        }
    }
    Ok(Some(created))
}

fn rule(path: &Path, access: BitFlags<AccessFs>) -> io::Result<Option<PathBeneath<PathFd>>> {
    let opened = match PathFd::new(path) {
        Ok(opened) => opened,
        // Not there, or not for us: then no rule can open it either.
        Err(_) => return Ok(None),
    };
    let folder = nix::sys::stat::fstat(opened.as_fd())?.st_mode & libc::S_IFMT == libc::S_IFDIR;
    let access = if folder {
        access
    } else {
        access & AccessFs::from_file(NEWEST)
    };
    Ok(Some(PathBeneath::new(opened, access)))
}

/// The version of the kernel's Landlock; 0: it has none, or it is switched off.
pub(super) fn known() -> i64 {
    /// `LANDLOCK_CREATE_RULESET_VERSION`
    const VERSION: libc::c_uint = 1;
    // SAFETY: with this flag the call reads no memory and makes nothing; it answers a number
    // (landlock_create_ruleset(2)).
    unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<libc::c_void>(),
            0_usize,
            VERSION,
        )
    }
    .max(0)
}
