//! `ggen mcp auth generate-ca` and `generate-cert`: become `ggend auth`, which writes the files and
//! needs no running daemon.

use crate::{
    args::{GenerateCa, GenerateCert, Made},
    context::Context,
    daemon,
    failed::Failed,
};
use std::ffi::OsString;

/// Becomes `ggend auth generate-ca`; returns only when that fails.
pub(crate) fn authority(context: &Context, options: &GenerateCa) -> Failed {
    let mut line: Vec<OsString> = vec!["auth".into(), "generate-ca".into()];
    line.extend(
        options
            .name
            .iter()
            .map(|name| format!("--name={name}").into()),
    );
    made(&mut line, &options.made);
    context.say_program(&line);
    daemon::become_daemon(&line)
}

/// Becomes `ggend auth generate-cert`; returns only when that fails.
pub(crate) fn signed(context: &Context, options: &GenerateCert) -> Failed {
    let mut line: Vec<OsString> = vec!["auth".into(), "generate-cert".into()];
    line.extend(
        options
            .server
            .iter()
            .map(|host| format!("--server={host}").into()),
    );
    line.extend(
        options
            .client
            .iter()
            .map(|name| format!("--client={name}").into()),
    );
    line.extend(
        options
            .ca
            .iter()
            .flat_map(|file| ["--ca".into(), file.into()]),
    );
    line.extend(
        options
            .ca_key
            .iter()
            .flat_map(|file| ["--ca-key".into(), file.into()]),
    );
    made(&mut line, &options.made);
    context.say_program(&line);
    daemon::become_daemon(&line)
}

fn made(line: &mut Vec<OsString>, made: &Made) {
    line.extend(
        made.out
            .iter()
            .flat_map(|folder| ["--out".into(), folder.into()]),
    );
    line.extend(made.days.iter().map(|days| format!("--days={days}").into()));
    line.extend(made.force.then(|| "--force".into()));
}
