//! A thread that waits for children and reports each through a pipe. So the shim's loop can poll
//! for them without signal handlers (which would need `unsafe`) or a blocked signal mask (which the
//! server would inherit). It ends when no children are left.

use super::plan::Reaped;
use crate::platform::{self, Ended};
use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::OwnedFd,
};

const RECORD: usize = 9;
const EXITED: u8 = 1;
const KILLED: u8 = 2;

/// Starts the thread; to be called when there is a child. What it has to say can be read from the
/// returned pipe.
pub(super) fn start() -> io::Result<OwnedFd> {
    let (reader, writer) = platform::pipe()?;
    let mut writer = File::from(writer);
    std::thread::Builder::new()
        .name("waiter".to_owned())
        .stack_size(64 << 10)
        .spawn(move || {
            while let Ok(found) = platform::reap(true) {
                if let Some((pid, ended)) = found
                    && writer.write_all(&record(pid, ended)).is_err()
                {
                    return;
                }
            }
        })?;
    Ok(reader)
}

/// Reads one report; to be called when the pipe is readable.
pub(super) fn read(pipe: &OwnedFd) -> Reaped {
    let mut record = [0; RECORD];
    let read = pipe
        .try_clone()
        .and_then(|pipe| File::from(pipe).read_exact(&mut record));
    let [kind, p0, p1, p2, p3, v0, v1, v2, v3] = record;
    let (pid, value) = (
        u32::from_le_bytes([p0, p1, p2, p3]),
        i32::from_le_bytes([v0, v1, v2, v3]),
    );
    match (read, kind) {
        (Ok(()), EXITED) => Reaped::One(pid, Ended::Exited(value)),
        (Ok(()), KILLED) => Reaped::One(pid, Ended::Killed(value)),
        // The pipe has closed: the thread saw that no child is left.
        _ => Reaped::All,
    }
}

fn record(pid: u32, ended: Ended) -> [u8; RECORD] {
    let (kind, value) = match ended {
        Ended::Exited(status) => (EXITED, status),
        Ended::Killed(signal) => (KILLED, signal),
    };
    let mut record = [kind, 0, 0, 0, 0, 0, 0, 0, 0];
    record[1..5].copy_from_slice(&pid.to_le_bytes());
    record[5..].copy_from_slice(&value.to_le_bytes());
    record
}
