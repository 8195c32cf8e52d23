//! The driver with real pipes and sockets, a scripted relay, and the test in the supervisor's
//! place.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod children;
mod edges;
mod reconfigure;
mod remotes;
mod supervisor;

use super::driver::{Core, Driver};
use crate::{
    config::Config,
    ipc::{
        channel::{Receiver, Sender, channel},
        messages::{Child, Role, Start, ToSupervisor, ToWorker},
    },
    platform::{pipe, socket_pair},
    worker::Context,
};
use ggen_mcp::{
    api::{Input, Micros, Output, UpId},
    gateway::Counts,
};
use std::{
    cell::RefCell,
    fs::File,
    future::Future,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    process::ExitCode,
    rc::Rc,
    time::Duration,
};
use tokio::sync::Notify;

/// Nothing in these tests takes longer.
const DEADLINE: Duration = Duration::from_secs(30);

pub(super) fn start(config: Config) -> Start {
    Start::to_try(Role::Gateway, config)
}

/// A configuration with upstreams from JSON.
fn config(upstreams: serde_json::Value) -> Config {
    Config {
        mcp_servers: serde_json::from_value(upstreams).unwrap(),
        ..Config::default()
    }
}

/// One stdio upstream for every name.
fn stdio(names: &[&str]) -> Config {
    config(
        names
            .iter()
            .map(|name| ((*name).to_owned(), serde_json::json!({"command": "true"})))
            .collect(),
    )
}

/// What the scripted relay does with an input.
type React = Box<dyn FnMut(&Input, &mut Vec<Output>)>;

/// A relay that keeps its inputs and answers them with a closure.
struct Script {
    react: React,
    seen: Seen,
}

/// What the scripted relay was told, ticks left out; and what it claims to have open.
#[derive(Clone, Default)]
struct Seen {
    inputs: Rc<RefCell<Vec<(Micros, Input)>>>,
    ticks: Rc<RefCell<Vec<Micros>>>,
    counts: Rc<RefCell<Counts>>,
    busy: Rc<RefCell<Vec<UpId>>>,
    changed: Rc<Notify>,
}

impl Core for Script {
    fn input(&mut self, now: Micros, input: Input, out: &mut Vec<Output>) {
        (self.react)(&input, out);
        match input {
            Input::Tick => self.seen.ticks.borrow_mut().push(now),
            input => self.seen.inputs.borrow_mut().push((now, input)),
        }
        self.seen.changed.notify_waiters();
    }

    fn counts(&self) -> Counts {
        *self.seen.counts.borrow()
    }

    fn in_flight_of(&self, up: UpId) -> usize {
        self.seen
            .busy
            .borrow()
            .iter()
            .filter(|busy| **busy == up)
            .count()
    }
}

impl Seen {
    /// Waits until `find` finds something in the inputs.
    async fn wait<T>(&self, mut find: impl FnMut(&[(Micros, Input)]) -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified();
            if let Some(found) = find(&self.inputs.borrow()) {
                return found;
            }
            changed.await;
        }
    }

    fn len(&self) -> usize {
        self.inputs.borrow().len()
    }
}

/// The test in the supervisor's place.
struct Supervisor {
    sender: Sender,
    receiver: Receiver,
}

impl Supervisor {
    /// The next message that is neither a beat nor a log line nor `Ready`.
    async fn next(&mut self) -> ToSupervisor {
        loop {
            match self.receiver.receive().await.unwrap().unwrap().0 {
                ToSupervisor::Beat(_) | ToSupervisor::Log(_) | ToSupervisor::Ready => {}
                message => return message,
            }
        }
    }

    /// Hands a new edge over; returns the edge's end.
    async fn link(&mut self, edge: u32) -> tokio::net::UnixStream {
        let (ours, theirs) = socket_pair().unwrap();
        self.sender
            .send(
                &ToWorker::Link {
                    edge,
                    peer: "http-0".to_owned(),
                },
                &[theirs.as_fd()],
            )
            .await
            .unwrap();
        let ours = UnixStream::from(ours);
        ours.set_nonblocking(true).unwrap();
        tokio::net::UnixStream::from_std(ours).unwrap()
    }

    /// Hands a new stdio server over; returns the server's stdin and stdout.
    async fn child(&mut self, upstream: &str, handoff: Option<&str>) -> (File, File) {
        let torn = crate::platform::memory_file().unwrap();
        self.child_with(upstream, handoff, torn.as_fd()).await
    }

    /// The same with a note about torn messages.
    async fn child_with(
        &mut self,
        upstream: &str,
        handoff: Option<&str>,
        torn: BorrowedFd<'_>,
    ) -> (File, File) {
        let (stdin, to_stdin) = pipe().unwrap();
        let (from_stdout, stdout) = pipe().unwrap();
        let child = Child {
            upstream: upstream.to_owned(),
            lease: 0,
            incarnation: 1,
            pid: 1,
            handoff: handoff.map(str::to_owned),
        };
        self.sender
            .send(
                &ToWorker::Child(child),
                &[to_stdin.as_fd(), from_stdout.as_fd(), torn],
            )
            .await
            .unwrap();
        (stdin.into(), stdout.into())
    }
}

/// A driver whose relay is `react`.
fn world(
    config: Config,
    react: impl FnMut(&Input, &mut Vec<Output>) + 'static,
) -> (Driver<Script>, Supervisor, Seen) {
    let (ours, theirs) = socket_pair().unwrap();
    let (sender, receiver) = channel(ours).unwrap();
    let start = start(config);
    let (settings, targets) = super::settings::settings(&start);
    let seen = Seen::default();
    let script = Script {
        react: Box::new(react),
        seen: seen.clone(),
    };
    let context = Context::for_test(start, Vec::new(), theirs).unwrap();
    (
        Driver::new(context, script, settings.upstreams, targets).unwrap(),
        Supervisor { sender, receiver },
        seen,
    )
}

/// Waits until something is so that nobody tells.
async fn until(mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Runs the driver beside the test's own steps; fails if the driver ends first.
async fn beside<T>(driver: Driver<Script>, steps: impl Future<Output = T>) -> T {
    let both = async {
        tokio::select! {
            _ = driver.run() => panic!("the driver ended"),
            found = steps => found,
        }
    };
    tokio::time::timeout(DEADLINE, both).await.expect("in time")
}

/// Runs both to their end.
async fn to_the_end<T>(driver: Driver<Script>, steps: impl Future<Output = T>) -> (ExitCode, T) {
    tokio::time::timeout(DEADLINE, async { tokio::join!(driver.run(), steps) })
        .await
        .expect("in time")
}
