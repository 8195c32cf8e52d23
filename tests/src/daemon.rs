//! A real `ggend` in a sandbox: its own home, runtime directory, working directory and ports.
//! Whatever a test does, the end of the sandbox checks that no process, no file outside and no
//! socket is left.

use crate::{
    control, process,
    sandbox::{Ran, Sandbox, binary},
    until, within,
};
use ggen_wire::status::{Phase, Status, Upstream, UpstreamState, Worker};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::{
    fs,
    net::SocketAddr,
    process::{Child, Command, ExitStatus},
    time::Duration,
};

/// How long the children of a supervisor that was killed may take to end.
const ORPHANS_END: Duration = Duration::from_secs(20);

/// A daemon to be started.
#[derive(Debug, Default)]
pub struct Plan {
    config: Option<Value>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    wrapper: Vec<String>,
}

/// A daemon with this configuration; `Value::Null`: none at all.
#[must_use]
pub fn daemon(config: Value) -> Plan {
    Plan {
        config: (!config.is_null()).then_some(config),
        ..Plan::default()
    }
}

impl Plan {
    /// Adds an argument.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Adds an environment variable.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts it by another program of this workspace, which becomes the one whose path follows its
    /// arguments.
    #[must_use]
    pub fn by(mut self, program: &[&str]) -> Self {
        self.wrapper = program.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Starts it and waits until it serves.
    #[must_use]
    pub fn start(self) -> Daemon {
        let mut daemon = self.spawn();
        daemon.until_serving();
        daemon
    }

    /// Makes its place, and starts nothing.
    #[must_use]
    pub fn idle(&self) -> Daemon {
        let sandbox = Sandbox::new(self.config.as_ref());
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        Daemon {
            sandbox,
            wrapper: self.wrapper.clone(),
            child: None,
            http: nowhere,
            admin: nowhere,
            pid: 0,
        }
    }

    /// Starts it, whatever becomes of it.
    #[must_use]
    pub fn spawn(self) -> Daemon {
        let mut daemon = self.idle();
        let mut command = daemon.program();
        if self.config.is_some() {
            command.arg("--config").arg(daemon.sandbox.config());
        }
        let child = daemon
            .sandbox
            .spawn(command.args(&self.arguments).envs(self.environment));
        daemon.pid = child.id();
        daemon.child = Some(child);
        daemon
    }
}

/// A running daemon.
#[derive(Debug)]
pub struct Daemon {
    /// Where it lives.
    pub sandbox: Sandbox,
    wrapper: Vec<String>,
    child: Option<Child>,
    /// The supervisor.
    pub pid: u32,
    /// Where MCP is served.
    pub http: SocketAddr,
    /// Where metrics are served.
    pub admin: SocketAddr,
}

impl Daemon {
    /// ggend, by the program that it is to be started by.
    fn program(&self) -> Command {
        let Some((wrapper, arguments)) = self.wrapper.split_first() else {
            return self.sandbox.command("ggend");
        };
        let mut command = self.sandbox.command(wrapper);
        command.args(arguments).arg(binary("ggend"));
        command
    }

    fn until_serving(&mut self) {
        let status = until("the daemon serves", || {
            if let Some(status) = self.child.as_mut().unwrap().try_wait().unwrap() {
                panic!("ggend ended: {status}");
            }
            control::status(&self.sandbox.socket())
                .filter(|status| matches!(status.phase, Phase::Running | Phase::Degraded))
        });
        let address = |transport: &str| {
            status
                .listeners
                .iter()
                .find(|listener| listener.transport == transport)
                .map(|found| found.address.parse())
        };
        self.http = address("http").expect("an http listener").unwrap();
        self.admin = address("admin").map_or(self.admin, Result::unwrap);
    }

    /// Where a transport is served, if it is.
    #[must_use]
    pub fn listener(&self, transport: &str) -> Option<SocketAddr> {
        self.status()
            .listeners
            .iter()
            .find(|listener| listener.transport == transport)?
            .address
            .parse()
            .ok()
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> Status {
        until("the control socket answers", || {
            control::status(&self.sandbox.socket())
        })
    }

    /// One upstream's row.
    #[must_use]
    pub fn upstream(&self, name: &str) -> Upstream {
        self.status()
            .upstreams
            .into_iter()
            .find(|upstream| upstream.name == name)
            .unwrap_or_else(|| panic!("no upstream {name}"))
    }

    /// Waits for an upstream to be as wanted.
    #[track_caller]
    pub fn until_upstream(&self, name: &str, wanted: impl Fn(&Upstream) -> bool) -> Upstream {
        let mut last = None;
        within(crate::DEADLINE, || {
            let now = self.upstream(name);
            last = Some(now.clone());
            wanted(&now).then_some(now)
        })
        .unwrap_or_else(|| panic!("{name} is not as wanted: {last:#?}"))
    }

    /// Waits until all these upstreams are ready.
    #[track_caller]
    pub fn until_ready(&self, names: &[&str]) {
        for name in names {
            self.until_upstream(name, |upstream| upstream.state == UpstreamState::Ready);
        }
    }

    /// The live workers of a role.
    #[must_use]
    pub fn workers(&self, role: &str) -> Vec<Worker> {
        self.status()
            .workers
            .into_iter()
            .filter(|worker| worker.role == role && worker.pid.is_some())
            .collect()
    }

    /// The process of a worker.
    #[must_use]
    pub fn worker_pid(&self, name: &str) -> Option<u32> {
        self.status()
            .workers
            .into_iter()
            .find(|worker| worker.name == name)?
            .pid
    }

    /// Waits until a worker runs in another process than `old`.
    #[track_caller]
    pub fn until_replaced(&self, name: &str, old: u32) -> Worker {
        until(&format!("{name} has a successor"), || {
            let worker =
                self.status().workers.into_iter().find(|worker| {
                    worker.name == name && worker.pid.is_some_and(|pid| pid != old)
                })?;
            matches!(worker.phase, Phase::Running | Phase::Degraded).then_some(worker)
        })
    }

    /// Metrics as the admin worker gives them.
    #[must_use]
    pub fn scrape(&self) -> Option<crate::metrics::Scrape> {
        let answer = crate::Connection::once(self.admin, "GET", "/metrics", &[], b"").ok()?;
        (answer.head.status == 200)
            .then(|| crate::metrics::Scrape::parse(&String::from_utf8(answer.body).unwrap()))
    }

    /// Runs `ggen` with this daemon.
    #[must_use]
    pub fn ggen(&self, arguments: &[&str]) -> Ran {
        let output = self
            .sandbox
            .command("ggen")
            .args(arguments)
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// What the daemon wrote.
    #[must_use]
    pub fn output(&self, name: &str) -> String {
        String::from_utf8_lossy(
            &fs::read(self.sandbox.path("output").join(name)).unwrap_or_default(),
        )
        .into_owned()
    }

    /// Its log, which is its standard error.
    #[must_use]
    pub fn log(&self) -> String {
        self.output("stderr")
    }

    /// Starts the supervisor of a sandbox that had none, with this configuration, and waits until
    /// it serves.
    #[must_use]
    pub fn begin(mut self, config: &Value) -> Self {
        self.sandbox.write_config(config);
        self.restart();
        self
    }

    /// Ends the supervisor with this signal, waits until everything that lived with it has ended,
    /// and starts another one in its place.
    #[track_caller]
    pub fn start_again(&mut self, signal: Signal) {
        self.signal(signal);
        self.wait();
        let gone = within(ORPHANS_END, || {
            self.sandbox.processes(None).is_empty().then_some(())
        });
        assert!(
            gone.is_some(),
            "left behind: {:#?}",
            self.sandbox.processes(None)
        );
        self.restart();
    }

    /// Starts another supervisor in the same sandbox, after the first one's end, and waits until it
    /// serves.
    pub fn restart(&mut self) {
        assert!(self.child.is_none(), "one at a time");
        let mut command = self.program();
        command.arg("--config").arg(self.sandbox.config());
        let child = self.sandbox.spawn(&mut command);
        self.pid = child.id();
        self.child = Some(child);
        self.until_serving();
    }

    /// Sends the supervisor a signal.
    pub fn signal(&self, signal: Signal) {
        process::signal(self.pid, signal);
    }

    /// Waits for the supervisor's end.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("a running daemon");
        let ended = within(crate::DEADLINE, || child.try_wait().unwrap());
        if ended.is_none() {
            self.child = Some(child);
        }
        ended.expect("the daemon ends in time")
    }

    /// Stops it with SIGTERM: exit 0, and nothing left.
    #[track_caller]
    pub fn stop(mut self) -> String {
        self.check_files();
        self.signal(Signal::SIGTERM);
        let status = self.wait();
        assert!(
            status.success(),
            "SIGTERM ends in {status}\n{}",
            tail(&self.log())
        );
        // The supervisor itself sees to it that nobody is left when it exits.
        let left = self.sandbox.processes(None);
        assert!(
            left.is_empty(),
            "left behind by a supervisor that exited 0: {left:#?}"
        );
        self.check_runtime_directory();
        self.log()
    }

    /// Kills the supervisor, and waits until everything that lived with it has ended by itself.
    #[track_caller]
    pub fn kill(mut self) -> Duration {
        self.signal(Signal::SIGKILL);
        let began = std::time::Instant::now();
        self.wait();
        let gone = within(ORPHANS_END, || {
            self.sandbox.processes(None).is_empty().then_some(())
        });
        assert!(
            gone.is_some(),
            "orphans of a killed supervisor: {:#?}",
            self.sandbox.processes(None)
        );
        began.elapsed()
    }

    /// After the end: the socket and the lock are gone.
    #[track_caller]
    pub fn check_runtime_directory(&self) {
        let left: Vec<_> = fs::read_dir(self.sandbox.path("run"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        assert!(left.is_empty(), "left in the runtime directory: {left:?}");
        for place in ["home", "tmp", "work"] {
            let left: Vec<_> = fs::read_dir(self.sandbox.path(place))
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .collect();
            assert!(left.is_empty(), "left in {place}: {left:?}");
        }
    }

    /// No process of the sandbox writes a file outside of it.
    #[track_caller]
    fn check_files(&self) {
        for process in self.sandbox.processes(Some(self.pid)) {
            let files = process::files_written_outside(process.pid, self.sandbox.root());
            assert!(
                files.is_empty(),
                "{} writes outside of its sandbox: {files:?}",
                process.command
            );
        }
    }
}

impl Drop for Daemon {
    #[allow(clippy::print_stderr, reason = "a failed test shows the daemon's log")]
    fn drop(&mut self) {
        let panicking = std::thread::panicking();
        if panicking {
            eprintln!("---- the daemon's log\n{}", tail(&self.log()));
        }
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let mut left = Vec::new();
        let gone = within(ORPHANS_END, || {
            left = self.sandbox.processes(None);
            left.is_empty().then_some(())
        });
        if gone.is_none() {
            left.iter()
                .for_each(|process| process::signal(process.pid, Signal::SIGKILL));
            assert!(panicking, "left behind: {left:#?}");
            eprintln!("---- left behind: {left:#?}");
        }
    }
}

fn tail(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    let shorten = |line: &&str| line.chars().take(300).collect::<String>();
    lines[lines.len().saturating_sub(60)..]
        .iter()
        .map(shorten)
        .collect::<Vec<_>>()
        .join("\n")
}
