//! One call at the daemon's control socket: blocking and bounded in time. Each way of not answering
//! is a case of its own.

use crate::platform;
use ggen_wire::{
    control::{Answer, Body, Call, FAILED, Failure},
    status::Status,
    varlink::{self, ReadError, Reply, Request},
};
use std::{
    io::{self, BufReader},
    os::unix::net::UnixStream,
    path::Path,
    sync::mpsc,
    time::Duration,
};

/// How a daemon that is asked for its status behaves.
#[derive(Clone, Debug)]
pub enum Daemon {
    /// It answers.
    Answers(Box<Status>),
    /// There is no socket.
    Absent,
    /// There is a socket, and nobody listens at it.
    Deserted,
    /// We may not connect.
    Denied,
    /// Somebody accepts the connection and gives no answer that can be used.
    Mute {
        /// Who listens, 0 where the system does not tell.
        pid: u32,
        /// What came instead of the answer.
        why: String,
    },
    /// The path cannot be connected to at all.
    Unusable(String),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unanswered {
    /// No connection.
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    /// A connection, and no answer that can be used.
    #[error("{why}")]
    Mute { pid: u32, why: String },
    /// The daemon says no.
    #[error("{}", .0.message)]
    Refused(Failure),
}

/// Asks for the status.
pub(crate) fn find_daemon(socket: &Path, patience: Duration) -> Daemon {
    match ask(socket, &Call::GetStatus {}, patience) {
        Ok(Body::Status(status)) => Daemon::Answers(status),
        Ok(_) => Daemon::Mute {
            pid: 0,
            why: "it answered with something that is no status".to_owned(),
        },
        Err(Unanswered::Mute { pid, why }) => Daemon::Mute { pid, why },
        Err(Unanswered::Refused(failure)) => Daemon::Mute {
            pid: 0,
            why: format!("it answered {}: {}", failure.code, failure.message),
        },
        Err(Unanswered::Connect(error)) => match error.kind() {
            io::ErrorKind::NotFound => Daemon::Absent,
            io::ErrorKind::TimedOut => Daemon::Mute {
                pid: 0,
                why: format!(
                    "no connection within {}: too many wait for it already",
                    ggen_wire::text::took(patience)
                ),
            },
            io::ErrorKind::PermissionDenied => Daemon::Denied,
            io::ErrorKind::ConnectionRefused if is_socket(socket) => Daemon::Deserted,
            io::ErrorKind::ConnectionRefused => Daemon::Unusable("it is not a socket".to_owned()),
            _ => Daemon::Unusable(error.to_string()),
        },
    }
}

fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    std::fs::metadata(path).is_ok_and(|file| file.file_type().is_socket())
}

/// Connects in a thread of its own: where the accept queue is full, the system would have us wait
/// for ever.
fn connect(socket: &Path, patience: Duration) -> io::Result<UnixStream> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let path = socket.to_path_buf();
    std::thread::Builder::new()
        .name("connect".to_owned())
        .spawn(move || drop(sender.send(UnixStream::connect(path))))?;
    receiver
        .recv_timeout(patience)
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Asks anything. The answer may take `patience`.
pub(crate) fn ask(socket: &Path, call: &Call, patience: Duration) -> Result<Body, Unanswered> {
    let stream = connect(socket, patience).map_err(Unanswered::Connect)?;
    let pid = platform::peer(&stream).map_or(0, |peer| peer.pid);
    let mute = |why: String| Unanswered::Mute { pid, why };
    let prepared = stream
        .set_read_timeout(Some(patience))
        .and_then(|()| stream.set_write_timeout(Some(patience)));
    prepared.map_err(|error| mute(error.to_string()))?;
    let mut stream = BufReader::new(stream);
    let request = Request::new(call, false).map_err(|error| mute(error.to_string()))?;
    // A daemon that closes early may have said why: the reply decides, not the failed write.
    let written = varlink::write_message(stream.get_mut(), &request);
    let reply: Reply = varlink::read_message(&mut stream).map_err(|error| {
        mute(match (&error, written) {
            _ if error.is_timeout() => {
                format!("no answer within {}", ggen_wire::text::took(patience))
            }
            (ReadError::Closed | ReadError::Io(_), Err(cause)) => {
                format!("the call could not be sent: {cause}")
            }
            (ReadError::Io(cause), Ok(())) => format!("the connection broke: {cause}"),
            (ReadError::Garbage(cause), _) => format!("the answer is not that of a ggend: {cause}"),
            (error, _) => error.to_string(),
        })
    })?;
    match reply.error.as_deref() {
        None => serde_json::from_value::<Answer>(reply.parameters)
            .map(|answer| answer.body)
            .map_err(|error| mute(format!("the answer has an unexpected form: {error}"))),
        Some(FAILED) => {
            let failure = serde_json::from_value(reply.parameters)
                .map_err(|error| mute(format!("an error that is not understood: {error}")))?;
            Err(Unanswered::Refused(failure))
        }
        Some(other) => Err(mute(format!("it answered with the error {other}"))),
    }
}
