//! The shim as a real process, with the test in the supervisor's place: whatever a server does,
//! nothing of it is left.

use crate::support::{descendants, eventually, is_gone, signal};
use ggend::{
    ipc::{
        channel::Blocking,
        launch::{FromShim, Launch, ToShim},
    },
    platform::{pipe, socket_pair},
};
use nix::sys::signal::Signal;
use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    os::fd::AsFd,
    process::{Child, Command, Stdio},
    time::Instant,
};

struct Shim {
    process: Child,
    channel: Blocking,
    stdin: Option<File>,
    stdout: BufReader<File>,
}

impl Shim {
    fn start(script: &str) -> Self {
        Self::launch("sh", &["-c", script])
    }

    fn launch(command: &str, args: &[&str]) -> Self {
        let (ours, theirs) = socket_pair().unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_ggend"))
            .arg("shim")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let (stdin_theirs, stdin) = pipe().unwrap();
        let (stdout, stdout_theirs) = pipe().unwrap();
        let errors = File::options().write(true).open("/dev/null").unwrap();
        let mut channel = Blocking::new(ours).unwrap();
        let launch = Launch {
            command: command.to_owned(),
            args: args.iter().map(|text| (*text).to_owned()).collect(),
            env: [("PATH".to_owned(), std::env::var("PATH").unwrap())].into(),
            cwd: None,
            sandbox: None,
            group: None,
        };
        channel
            .send(
                &ToShim::Launch(launch),
                &[stdin_theirs.as_fd(), stdout_theirs.as_fd(), errors.as_fd()],
            )
            .unwrap();
        Self {
            process,
            channel,
            stdin: Some(stdin.into()),
            stdout: BufReader::new(stdout.into()),
        }
    }

    fn next(&mut self) -> FromShim {
        self.channel.receive().unwrap().unwrap().0
    }

    fn started(&mut self) -> u32 {
        match self.next() {
            FromShim::Started { pid } => pid,
            other => panic!("{other:?}"),
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    /// The process ids on a line.
    fn pids(&mut self) -> Vec<u32> {
        self.line()
            .split_ascii_whitespace()
            .map(|pid| pid.parse().unwrap())
            .collect()
    }

    fn ended(&mut self) -> (String, Option<i32>, u32) {
        let ended = match self.next() {
            FromShim::Exited {
                reason,
                status,
                swept,
            } => (reason, status, swept),
            other => panic!("{other:?}"),
        };
        assert!(self.process.wait().unwrap().success());
        ended
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        self.process.kill().unwrap_or_default();
        self.process.wait().ok();
    }
}

/// A child in the group, one that has left it, and one that is an orphan and has left everything.
const FORKS: &str = "sleep 1000 & a=$!; setsid sleep 1000 & b=$!; (setsid sh -c 'sleep 1000 & echo $! >&3; wait' & ) 3>&1 | { read c; echo $c; }";

#[test]
fn a_server_gets_its_pipes_and_its_end_is_reported() {
    let mut shim = Shim::start("read line; echo got $line; cat >/dev/null; exit 3");
    let pid = shim.started();
    shim.stdin.as_mut().unwrap().write_all(b"hello\n").unwrap();
    assert_eq!(shim.line(), "got hello");
    shim.stdin = None;
    assert_eq!(shim.ended(), ("exit status 3".to_owned(), Some(3), 0));
    assert!(is_gone(pid));
}

#[test]
fn a_command_that_is_not_there_is_told_apart() {
    let mut shim = Shim::launch("there-is-no-such-command", &[]);
    assert!(matches!(
        shim.next(),
        FromShim::SpawnFailed { missing: true, .. }
    ));
}

#[test]
fn children_that_fork_and_leave_the_group_are_swept_when_the_server_dies() {
    let mut shim = Shim::start(
        "sleep 1000 & a=$!; setsid sleep 1000 & b=$!; setsid sh -c 'sleep 1000 & sleep 1000' & echo $a $b $!; read go; exit 0",
    );
    shim.started();
    let pids = shim.pids();
    // The shim, the server, two children, and two or three (as the shell likes) behind the last
    // one.
    eventually("its children", || {
        (descendants(shim.process.id()).len() >= 6).then_some(())
    });
    shim.stdin = None;
    let (reason, _, swept) = shim.ended();
    assert_eq!(reason, "exit status 0");
    assert!(swept >= 4, "{swept}");
    assert!(pids.iter().all(|pid| is_gone(*pid)));
}

#[test]
fn double_forked_orphans_are_swept_too() {
    let mut shim = Shim::start(&format!("{FORKS}; read go; exit 0"));
    shim.started();
    let orphan = shim.pids()[0];
    assert!(!is_gone(orphan));
    shim.stdin = None;
    shim.ended();
    assert!(is_gone(orphan));
}

#[test]
fn one_that_ignores_sigterm_is_killed_after_its_grace_and_one_that_listens_is_not() {
    let mut deaf = Shim::start("trap '' TERM; echo ready; while :; do sleep 0.05; done");
    deaf.started();
    assert_eq!(deaf.line(), "ready");
    let begun = Instant::now();
    deaf.channel
        .send(&ToShim::Stop { grace_ms: 300 }, &[])
        .unwrap();
    let (reason, status, _) = deaf.ended();
    assert!(begun.elapsed().as_millis() >= 300);
    assert_eq!(
        (reason.as_str(), status),
        ("killed by signal 9 (SIGKILL)", None)
    );

    let mut polite = Shim::start("trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done");
    polite.started();
    assert_eq!(polite.line(), "ready");
    polite
        .channel
        .send(&ToShim::Stop { grace_ms: 20_000 }, &[])
        .unwrap();
    assert_eq!(polite.ended().1, Some(5));
}

#[test]
fn when_the_supervisor_is_gone_everything_goes() {
    let mut shim =
        Shim::start("trap '' TERM; setsid sleep 1000 & echo $$ $!; while :; do sleep 0.05; done");
    shim.started();
    let pids = shim.pids();
    let (gone, _keep) = socket_pair().unwrap();
    shim.channel = Blocking::new(gone).unwrap();
    assert!(eventually("the shim's end", || shim.process.try_wait().unwrap()).success());
    assert!(pids.iter().all(|pid| is_gone(*pid)));
}

#[test]
fn a_stopped_server_is_killed_all_the_same() {
    let mut shim = Shim::start("echo ready; sleep 1000");
    let pid = shim.started();
    assert_eq!(shim.line(), "ready");
    signal(pid, Signal::SIGSTOP);
    shim.channel
        .send(&ToShim::Stop { grace_ms: 100 }, &[])
        .unwrap();
    assert_eq!(shim.ended().1, None);
    assert!(is_gone(pid));
}
