//! A real daemon in a directory of its own, and a blocking control client. Kills what it started
//! when dropped.

use ggen_wire::{
    control::{Answer, Body, Call, Failure},
    status::{Status, Upstream, Worker},
    varlink::{self, Reply, Request},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `what` gives a value.
pub(crate) fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < end, "not in time: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// Whether a process is gone or only waits to be reaped by somebody else.
pub(crate) fn is_gone(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| {
            stat.rsplit_once(')')
                .map(|(_, rest)| rest.trim_start().starts_with(['Z', 'X']))
        })
        .unwrap_or(true)
}

pub(crate) fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
}

/// All descendants of a process, and all that carry the mark in their environment.
pub(crate) fn descendants(root: u32) -> Vec<u32> {
    let mut found = vec![root];
    let mut at = 0;
    while let Some(parent) = found.get(at).copied() {
        at += 1;
        let Ok(tasks) = std::fs::read_dir(format!("/proc/{parent}/task")) else {
            continue;
        };
        for task in tasks.flatten() {
            let children =
                std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            found.extend(
                children
                    .split_ascii_whitespace()
                    .filter_map(|pid| pid.parse::<u32>().ok()),
            );
        }
    }
    found
}

pub(crate) struct Daemon {
    pub(crate) child: Child,
    pub(crate) directory: tempfile::TempDir,
    pub(crate) line: String,
    seen: Vec<u32>,
}

impl Daemon {
    /// Starts with these servers (JSON of `mcpServers`) and waits for the line on stdout.
    pub(crate) fn start(servers: &str) -> Self {
        Self::start_with(&config("", servers), |_| {})
    }

    pub(crate) fn start_with(config: &str, adjust: impl FnOnce(&mut Command)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("mcp.json"), config).unwrap();
        let mut command = Self::command(directory.path());
        adjust(&mut command);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let log = || std::fs::read_to_string(directory.path().join("log")).unwrap_or_default();
        assert!(
            line.starts_with("ggend "),
            "no line on stdout, log: {}",
            log()
        );
        Self {
            child,
            directory,
            line,
            seen: Vec::new(),
        }
    }

    /// The command line of a daemon in that directory; stderr goes to `log`.
    pub(crate) fn command(directory: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ggend"));
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(directory.join("log"))
            .unwrap();
        command
            .arg("--config")
            .arg(directory.join("mcp.json"))
            .arg("--verbose")
            .env("GGEN_RUNTIME_DIR", directory.join("run"))
            .env("GGEN_STATE_DIR", directory.join("state"))
            .env("HOME", directory)
            .env_remove("RUST_LOG")
            .env_remove("NOTIFY_SOCKET")
            .current_dir(directory)
            .stdin(Stdio::null())
            .stderr(log);
        command
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("run/ggend.sock")
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap()
    }

    pub(crate) fn call(&self, call: &Call) -> Result<Body, Failure> {
        Client::connect(&self.socket()).call(call)
    }

    pub(crate) fn status(&self) -> Status {
        match self.call(&Call::GetStatus {}) {
            Ok(Body::Status(status)) => *status,
            other => panic!("no status: {other:?}"),
        }
    }

    /// The status once it fulfils a condition.
    pub(crate) fn status_when(&self, what: &str, condition: impl Fn(&Status) -> bool) -> Status {
        eventually(what, || Some(self.status()).filter(&condition))
    }

    pub(crate) fn worker(&self, name: &str) -> Worker {
        self.status()
            .workers
            .into_iter()
            .find(|worker| {
                worker.name == name && worker.phase != ggen_wire::status::Phase::Draining
            })
            .unwrap()
    }

    pub(crate) fn upstream(&self, name: &str) -> Upstream {
        self.status()
            .upstreams
            .into_iter()
            .find(|upstream| upstream.name == name)
            .unwrap()
    }

    /// An upstream once it fulfils a condition.
    pub(crate) fn upstream_when(
        &self,
        name: &str,
        what: &str,
        condition: impl Fn(&Upstream) -> bool,
    ) -> Upstream {
        eventually(what, || Some(self.upstream(name)).filter(&condition))
    }

    pub(crate) fn address(&self, transport: &str) -> SocketAddr {
        let status = self.status();
        status
            .listeners
            .iter()
            .find(|listener| listener.transport == transport)
            .unwrap()
            .address
            .parse()
            .unwrap()
    }

    /// Remembers every process below the daemon, for [`Daemon::assert_nothing_is_left`].
    pub(crate) fn note_processes(&mut self) -> Vec<u32> {
        let found = descendants(self.child.id());
        self.seen.extend(&found);
        found
    }

    pub(crate) fn assert_nothing_is_left(&self) {
        for pid in &self.seen {
            eventually(&format!("the end of process {pid}"), || {
                is_gone(*pid).then_some(())
            });
        }
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        eventually("the end of the daemon", || self.child.try_wait().unwrap())
    }

    pub(crate) fn terminate(&mut self) -> ExitStatus {
        self.note_processes();
        signal(self.child.id(), Signal::SIGTERM);
        self.wait()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            // Its own promise: a killed supervisor leaves nothing behind.
            self.child.kill().unwrap_or_default();
            self.child.wait().ok();
        }
    }
}

/// The same program, started by a shell that runs `text` first and is then replaced by it. Standard
/// error still goes to `log`.
pub(crate) fn through_shell(command: &Command, text: &str) -> Command {
    let directory = command.get_current_dir().unwrap();
    let log = std::fs::OpenOptions::new()
        .append(true)
        .open(directory.join("log"))
        .unwrap();
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg(format!("{text}\nexec \"$0\" \"$@\""))
        .arg(command.get_program())
        .args(command.get_args())
        .current_dir(directory)
        .stdin(Stdio::null())
        .stderr(log);
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
}

pub(crate) fn config(more: &str, servers: &str) -> String {
    format!(
        r#"{{"transports":{{"http":{{"port":0}}}},"metrics":{{"port":0}},{more}"mcpServers":{{{servers}}}}}"#
    )
}

/// An entry of `mcpServers` that runs a shell script.
pub(crate) fn script(name: &str, text: &str, more: &str) -> String {
    let text = serde_json::to_string(text).unwrap();
    format!(r#""{name}":{{"command":"sh","args":["-c",{text}]{more}}}"#)
}

pub(crate) struct Client(pub(crate) BufReader<UnixStream>);

impl Client {
    pub(crate) fn connect(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(stream))
    }

    pub(crate) fn send(&mut self, request: &Request) {
        varlink::write_message(self.0.get_mut(), request).unwrap();
    }

    pub(crate) fn receive(&mut self) -> Reply {
        varlink::read_message(&mut self.0).unwrap()
    }

    pub(crate) fn raw(&mut self, method: &str, parameters: serde_json::Value) -> Reply {
        let parameters = parameters.as_object().cloned().unwrap_or_default();
        self.send(&Request {
            method: method.to_owned(),
            parameters,
            ..Request::default()
        });
        self.receive()
    }

    pub(crate) fn call(&mut self, call: &Call) -> Result<Body, Failure> {
        self.send(&Request::new(call, false).unwrap());
        outcome(self.receive())
    }
}

pub(crate) fn outcome(reply: Reply) -> Result<Body, Failure> {
    match reply.error {
        None => Ok(serde_json::from_value::<Answer>(reply.parameters)
            .unwrap()
            .body),
        Some(name) if name == ggen_wire::control::FAILED => {
            Err(serde_json::from_value(reply.parameters).unwrap())
        }
        Some(name) => panic!("{name}: {}", reply.parameters),
    }
}
