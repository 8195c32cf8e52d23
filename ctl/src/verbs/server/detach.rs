//! `ggen __detach PROGRAM ARGS…`: the second step of a detached start. Begins a new session and
//! becomes the program.

use crate::failed::{Exit, Failed};
use std::{ffi::OsString, os::unix::process::CommandExt, process::Command};

/// Returns only when it fails.
pub(crate) fn run(command: &[OsString]) -> Failed {
    // Fails only for the leader of a group, which then has left its terminal's group already.
    let _ = nix::unistd::setsid();
    let Some((program, arguments)) = command.split_first() else {
        return Failed::plain(Exit::Usage, "nothing to run", "");
    };
    let error = Command::new(program).args(arguments).exec();
    Failed::plain(
        Exit::Unavailable,
        format!("{} cannot be run: {error}", program.to_string_lossy()),
        "",
    )
}
