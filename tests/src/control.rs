//! The daemon's control socket, asked with one connection a call.

use ggen_wire::{
    control::{Answer, Body, Call, Failure, LogQuery},
    log::LogLine,
    status::Status,
    varlink::{Reply, Request, read_message, write_message},
};
use std::{io::BufReader, os::unix::net::UnixStream, path::Path, time::Duration};

/// Asks; `None` when nobody answers.
#[must_use]
pub fn ask(socket: &Path, call: &Call) -> Option<Result<Body, Failure>> {
    let stream = UnixStream::connect(socket).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .ok()?;
    let mut writer = stream.try_clone().ok()?;
    write_message(&mut writer, &Request::new(call, false).unwrap()).ok()?;
    let reply: Reply = read_message(&mut BufReader::new(stream)).ok()?;
    Some(match reply.error {
        None => Ok(serde_json::from_value::<Answer>(reply.parameters)
            .expect("an answer of the interface")
            .body),
        Some(name) => Err(serde_json::from_value(reply.parameters)
            .unwrap_or_else(|error| panic!("{name}: {error}"))),
    })
}

/// The daemon's status; `None` when nobody answers.
#[must_use]
pub fn status(socket: &Path) -> Option<Status> {
    match ask(socket, &Call::GetStatus {})? {
        Ok(Body::Status(status)) => Some(*status),
        other => panic!("no status: {other:?}"),
    }
}

/// Log lines that contain `grep`.
#[must_use]
pub fn logs(socket: &Path, grep: &str) -> Vec<LogLine> {
    let query = LogQuery {
        grep: Some(grep.to_owned()),
        ..LogQuery::default()
    };
    match ask(socket, &Call::GetLogs(query)) {
        Some(Ok(Body::Lines(lines))) => lines,
        other => panic!("no log lines: {other:?}"),
    }
}
