//! The client of the control socket: blocking, one connection, one call at a time. Each way in
//! which a daemon can fail to answer becomes one clear error. May not: print anything but the
//! warning about different versions and, with `--debug`, the traffic.

use crate::{
    failed::{Exit, Failed, exit_of},
    render,
};
use ggen_wire::{
    Code, VERSION,
    control::{Answer, Body, Call, FAILED},
    status::Status,
    varlink::{self, ReadError, Reply, Request},
};
use serde_json::Value;
use std::{
    io::{self, BufReader},
    os::unix::{
        fs::{FileTypeExt, MetadataExt},
        net::UnixStream,
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

const START: &str = "ggen mcp server start";

/// How a client behaves beside its calls.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientOptions {
    /// Print the traffic on standard error.
    pub(crate) debug: bool,
    /// Say nothing of a difference of versions.
    pub(crate) quiet: bool,
    /// Take control characters out of every text, so that no upstream's words steer a terminal. Off
    /// where the output is JSON, which escapes them.
    pub(crate) clean: bool,
}

/// What a reader of a stream wants next.
pub(crate) enum Next {
    /// Another reply, if there is one.
    More,
    /// No further one.
    Enough,
}

/// A connection to the daemon.
pub(crate) struct Client {
    stream: BufReader<UnixStream>,
    socket: PathBuf,
    timeout: Duration,
    client_options: ClientOptions,
    // Whether a difference of versions has been reported, or shall not be.
    skew_told: bool,
}

impl Client {
    /// Connects; each call may take `timeout`.
    pub(crate) fn connect(
        socket: &Path,
        timeout: Duration,
        client_options: ClientOptions,
    ) -> Result<Self, Failed> {
        let stream = UnixStream::connect(socket).map_err(|error| refused(socket, &error))?;
        Ok(Self {
            stream: BufReader::new(stream),
            socket: socket.to_path_buf(),
            timeout,
            client_options,
            skew_told: client_options.quiet,
        })
    }

    /// The same without a word about a difference of versions.
    pub(crate) fn tolerant(mut self) -> Self {
        self.skew_told = true;
        self
    }

    /// Calls and takes the one reply.
    pub(crate) fn call(&mut self, call: &Call) -> Result<Body, Failed> {
        let mut last = None;
        self.exchange(call, false, Some(self.timeout), &mut |body, _| {
            last = Some(body);
            Ok(Next::Enough)
        })?;
        last.ok_or_else(|| self.invalid("the daemon gave no answer"))
    }

    /// Calls with `more`; `each` gets every reply, and whether another one follows. `None` waits
    /// for ever between two replies.
    pub(crate) fn stream(
        &mut self,
        call: &Call,
        timeout: Option<Duration>,
        each: &mut dyn FnMut(Body, bool) -> Result<Next, Failed>,
    ) -> Result<(), Failed> {
        self.exchange(call, true, timeout, each)
    }

    /// The daemon's status.
    pub(crate) fn status(&mut self) -> Result<Status, Failed> {
        match self.call(&Call::GetStatus {})? {
            Body::Status(status) => Ok(*status),
            other => Err(self.unexpected(&other)),
        }
    }

    /// An answer of a kind that does not belong to the call.
    pub(crate) fn unexpected(&self, body: &Body) -> Failed {
        let kind = match body {
            Body::Status(_) => "a status",
            Body::Lines(_) => "log lines",
            Body::Tools(_) => "a list of tools",
            Body::Value(_) => "a value",
            Body::Text(_) => "a text",
            Body::Plan(_) => "a plan",
            Body::Done(_) => "an outcome",
        };
        self.invalid(&format!(
            "the daemon answered with {kind}, which does not belong to the call"
        ))
    }

    fn exchange(
        &mut self,
        call: &Call,
        more: bool,
        timeout: Option<Duration>,
        each: &mut dyn FnMut(Body, bool) -> Result<Next, Failed>,
    ) -> Result<(), Failed> {
        let request = Request::new(call, more)
            .map_err(|error| self.invalid(&format!("the call cannot be written: {error}")))?;
        if self.client_options.debug {
            render::note(&format!("debug: → {}", shown(&request)));
        }
        let began = Instant::now();
        self.set_timeouts(timeout)?;
        // A daemon that closes early may have said why: the reply decides, not the failed write.
        let written = varlink::write_message(self.stream.get_mut(), &request);
        loop {
            let reply: Reply = varlink::read_message(&mut self.stream).map_err(|error| {
                match (&written, &error) {
                    (Err(cause), ReadError::Closed | ReadError::Io(_)) => {
                        self.invalid(&format!("the call could not be sent: {cause}"))
                    }
                    _ => self.unreadable(&error, timeout),
                }
            })?;
            if self.client_options.debug {
                render::note(&format!(
                    "debug: ← {} ({} µs)",
                    shown(&reply),
                    began.elapsed().as_micros()
                ));
            }
            let continues = reply.continues;
            let body = self.open(reply)?;
            if !matches!((each(body, continues)?, continues), (Next::More, true)) {
                return Ok(());
            }
        }
    }

    fn set_timeouts(&self, timeout: Option<Duration>) -> Result<(), Failed> {
        let stream = self.stream.get_ref();
        stream
            .set_read_timeout(timeout)
            .and_then(|()| stream.set_write_timeout(timeout))
            .map_err(|error| self.invalid(&format!("the time-out cannot be set: {error}")))
    }

    fn open(&mut self, mut reply: Reply) -> Result<Body, Failed> {
        if self.client_options.clean {
            ggen_wire::text::clean(&mut reply.parameters);
        }
        let theirs = reply
            .parameters
            .get("version")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        if !theirs.is_empty() && theirs != VERSION && !self.skew_told {
            self.skew_told = true;
            render::warning(Code::VersionSkew, &skew(&theirs));
        }
        match reply.error {
            None => serde_json::from_value::<Answer>(reply.parameters).map(|answer| answer.body).map_err(|error| {
                if theirs.is_empty() || theirs == VERSION {
                    self.invalid(&format!("the daemon's answer has an unexpected form: {error}"))
                } else {
                    let message = format!("ggend {theirs} answers in a form that ggen {VERSION} does not know: {error}");
                    Failed::new(Code::VersionSkew, message, "install ggen and ggend of one version")
                }
            }),
            Some(name) => Err(self.reported(&name, &reply.parameters)),
        }
    }

    // An error that the daemon reports. Read by hand: a newer daemon's codes may be unknown here.
    fn reported(&self, name: &str, parameters: &Value) -> Failed {
        let text = |key: &str| {
            parameters
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        match name {
            FAILED => {
                let exit = text("code").parse().map_or(Exit::Bad, exit_of);
                Failed {
                    exit,
                    code: Some(text("code").to_owned()),
                    message: text("message").to_owned(),
                    help: text("help").to_owned(),
                    silent: false,
                }
            }
            varlink::errors::METHOD_NOT_FOUND | varlink::errors::INTERFACE_NOT_FOUND => {
                let what = if text("method").is_empty() {
                    text("interface")
                } else {
                    text("method")
                };
                let message = format!(
                    "the running ggend does not know {what}: it is older than ggen {VERSION}"
                );
                Failed::new(
                    Code::VersionSkew,
                    message,
                    "ggen mcp server stop && ggen mcp server start",
                )
            }
            varlink::errors::INVALID_PARAMETER => self.invalid(&format!(
                "the daemon does not accept a parameter of the call: {}",
                text("parameter")
            )),
            other => self.invalid(&format!(
                "the daemon answered with the unknown error {other}"
            )),
        }
    }

    fn unreadable(&self, error: &ReadError, timeout: Option<Duration>) -> Failed {
        let path = self.socket.display();
        match error {
            _ if error.is_timeout() => {
                let time =
                    ggen_wire::text::duration_ms(timeout.unwrap_or_default().as_millis() as u64);
                let message =
                    format!("Connection timeout: the daemon did not answer within {time} ({path})");
                Failed::new(
                    Code::ControlProtocol,
                    message,
                    "ggen mcp server status --timeout 60",
                )
            }
            ReadError::Closed => self.invalid("the daemon closed the connection without an answer"),
            ReadError::Cut(bytes) => self.invalid(&format!(
                "the daemon closed the connection in the middle of its answer, after {bytes} bytes"
            )),
            ReadError::TooLarge(limit) => {
                self.invalid(&format!("the answer is longer than {limit} bytes"))
            }
            ReadError::Garbage(cause) => self.invalid(&format!(
                "what answers at {path} does not speak ggend's protocol: {cause}"
            )),
            ReadError::Io(cause) => self.invalid(&format!("the connection broke: {cause}")),
        }
    }

    fn invalid(&self, message: &str) -> Failed {
        Failed::new(
            Code::ControlProtocol,
            message,
            "ggen mcp server logs --tail 20",
        )
    }
}

fn refused(socket: &Path, error: &io::Error) -> Failed {
    let path = socket.display();
    let not_running = |why: String| {
        Failed::new(
            Code::NotRunning,
            format!("{}{why}", "Connection refused: the daemon is not running "),
            START,
        )
    };
    match error.kind() {
        io::ErrorKind::NotFound => not_running(format!("(no socket at {path})")),
        io::ErrorKind::ConnectionRefused => match std::fs::metadata(socket) {
            Ok(file) if !file.file_type().is_socket() => Failed::new(
                Code::ControlProtocol,
                format!("{path} is not a socket"),
                format!("ls -l {path}"),
            ),
            _ => not_running(format!(
                "(nothing listens at {path}, the socket is a leftover)"
            )),
        },
        io::ErrorKind::PermissionDenied => {
            let uid = nix::unistd::geteuid();
            let whose = std::fs::metadata(socket).map_or_else(
                |_| "its directory is closed to".to_owned(),
                |file| {
                    format!(
                        "it belongs to uid {} gid {} with mode {:04o}, closed to",
                        file.uid(),
                        file.gid(),
                        file.mode() & 0o7777
                    )
                },
            );
            Failed::new(
                Code::PermissionDenied,
                format!("Permission denied: {path}: {whose} uid {uid}"),
                "sudo ggen mcp server status",
            )
        }
        io::ErrorKind::InvalidInput => {
            let length = socket.as_os_str().len();
            Failed::plain(
                Exit::Usage,
                format!(
                    "the socket's path has {length} bytes, more than the system allows: {path}"
                ),
                "",
            )
        }
        _ => Failed::new(
            Code::ControlProtocol,
            format!("{path} cannot be connected to: {error}"),
            format!("ls -l {path}"),
        ),
    }
}

// A message for `--debug`: what stands under a name that secrets have is left out, however it got
// there.
fn shown(message: &impl serde::Serialize) -> String {
    let mut value = serde_json::to_value(message).unwrap_or_default();
    ggen_wire::text::mask(&mut value);
    ggen_wire::text::clean(&mut value);
    ggen_wire::escape::json(&value)
}

// One line for a daemon of another version.
fn skew(theirs: &str) -> String {
    let numbers = |version: &str| {
        version
            .split(['.', '-', '+'])
            .map_while(|part| part.parse::<u64>().ok())
            .collect::<Vec<_>>()
    };
    let (relation, help) = if numbers(theirs) > numbers(VERSION) {
        ("newer", "update ggen")
    } else {
        ("older", "upgrade the daemon: ggen mcp server upgrade")
    };
    format!("Versions differ: the running ggend {theirs} is {relation} than ggen {VERSION}; {help}")
}
