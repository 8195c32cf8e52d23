//! The shims: one process per running stdio server, which runs it and leaves nothing of it behind
//! (see `shim/`).

use crate::{
    ipc::{
        channel,
        launch::{FromShim, Launch, ToShim},
    },
    platform::{self, Group},
    supervisor::{
        Supervisor,
        channels::{Owner, Reader, Writer},
        processes::reaper::{ChildKind, Pids},
        upstreams::{Pipes, cgroups::NotStarted, stderr},
    },
};
use nix::sys::signal::Signal;
use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

/// Number of a shim, unique over the daemon's life.
pub(crate) type ShimId = u64;

/// Between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(2);
/// How long a shim may take beyond that before it is killed itself.
const SLACK: Duration = Duration::from_secs(7);
/// Messages that may wait for a shim.
pub(crate) const QUEUE: usize = 8;

/// A shim.
pub(crate) struct Shim {
    /// Its process id.
    pub(crate) pid: u32,
    /// The server's name.
    pub(crate) name: String,
    /// The server's process id, which is its process group as well.
    pub(crate) child: Option<u32>,
    /// What it said at last.
    pub(crate) verdict: Option<FromShim>,
    /// The server's control group.
    pub(crate) group: Option<Group>,
    /// How many of its processes are known to have been killed for want of memory.
    pub(crate) killed_for_memory: u64,
    pub(crate) line: Writer<ToShim>,
    /// When SIGTERM is due.
    pub(crate) stop_at: Option<Duration>,
    /// When the shim itself is killed.
    pub(crate) kill_at: Option<Duration>,
}

/// All shims that live.
#[derive(Default)]
pub(crate) struct Shims {
    pub(crate) last: ShimId,
    pub(crate) all: BTreeMap<ShimId, Shim>,
}

impl Shims {
    /// Starts a shim with a server in it.
    pub(crate) fn start(
        &mut self,
        name: &str,
        launch: Launch,
        reader: Reader,
        hub: &Arc<crate::supervisor::Hub>,
        pids: &mut Pids,
    ) -> io::Result<(ShimId, Pipes)> {
        let (stdin_theirs, stdin) = platform::pipe()?;
        let (stdout, stdout_theirs) = platform::pipe()?;
        let (errors, errors_theirs) = platform::pipe()?;
        let (ours, theirs) = platform::socket_pair()?;
        let (sender, receiver) = channel::channel(ours)?;
        let pid = platform::spawn_self(
            &["shim"],
            theirs,
            crate::supervisor::processes::environment::of_worker(),
        )?;
        self.last += 1;
        let id = self.last;
        pids.insert(pid, ChildKind::Shim(id));

        let line = Writer::start(sender, QUEUE);
        let rest = stderr::PausedStderr {
            pipe: errors,
            line: Vec::new(),
        };
        listen(id, name, receiver, Some(rest), String::new(), reader, hub);
        let theirs = [stdin_theirs, stdout_theirs, errors_theirs].map(Arc::new);
        let group = launch.group.clone();
        line.say(ToShim::Launch(launch), theirs.into())
            .map_err(|_| io::Error::other("its queue is full"))?;
        let (name, child, verdict) = (name.to_owned(), None, None);
        self.all.insert(
            id,
            Shim {
                pid,
                name,
                child,
                verdict,
                group,
                killed_for_memory: 0,
                line,
                stop_at: None,
                kill_at: None,
            },
        );
        Ok((
            id,
            Pipes {
                stdin: Arc::new(stdin),
                stdout: Arc::new(stdout),
            },
        ))
    }

    /// Ends a server: SIGTERM after `patience` (in which the end of its stdin may do it), SIGKILL
    /// later.
    pub(crate) fn end(&mut self, id: ShimId, patience: Duration, now: Duration) {
        if let Some(shim) = self.all.get_mut(&id) {
            shim.stop_at = Some(shim.stop_at.unwrap_or(now + patience).min(now + patience));
        }
        self.on_time(now);
    }

    /// Ends all servers without any grace.
    pub(crate) fn kill_all(&mut self, now: Duration) {
        for shim in self.all.values_mut() {
            shim.line
                .say(ToShim::Stop { grace_ms: 0 }, Vec::new())
                .unwrap_or_default();
            (shim.stop_at, shim.kill_at) = (None, Some(now + Duration::from_secs(1)));
        }
    }

    /// What is due by now.
    pub(crate) fn on_time(&mut self, now: Duration) {
        for shim in self.all.values_mut() {
            if shim.stop_at.is_some_and(|at| at <= now) {
                let grace_ms = u64::try_from(GRACE.as_millis()).unwrap_or(u64::MAX);
                shim.line
                    .say(ToShim::Stop { grace_ms }, Vec::new())
                    .unwrap_or_default();
                (shim.stop_at, shim.kill_at) = (None, Some(now + GRACE + SLACK));
            }
            if shim.kill_at.is_some_and(|at| at <= now) {
                shim.kill_at = None;
                platform::signal_process(shim.pid, Signal::SIGKILL);
            }
        }
    }

    /// When something has to be done if nothing happens.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.all
            .values()
            .flat_map(|shim| [shim.stop_at, shim.kill_at])
            .flatten()
            .min()
    }
}

impl Supervisor {
    /// Starts a shim with a server in it. `life`: which of the server's lives it is, for the name
    /// of its control group.
    pub(crate) fn start_shim(
        &mut self,
        name: &str,
        life: &str,
        mut launch: Launch,
    ) -> Result<(ShimId, Pipes), NotStarted> {
        self.place(name, life, &mut launch)?;
        let (reader, group) = (self.reader(), launch.group.clone());
        let started = self
            .shims
            .start(name, launch, reader, &self.hub, &mut self.pids)
            .inspect_err(|_| {
                group
                    .iter()
                    .for_each(|group| group.remove().unwrap_or_default());
            })?;
        self.heard.insert(Owner::Shim(started.0));
        Ok(started)
    }
}

/// Hears a shim and its server's stderr.
pub(crate) fn listen(
    id: ShimId,
    name: &str,
    receiver: channel::Receiver,
    stderr: Option<stderr::PausedStderr>,
    last_line: String,
    reader: Reader,
    hub: &Arc<crate::supervisor::Hub>,
) {
    let last = Arc::new(Mutex::new(last_line));
    let (name, hub, paused, words) = (
        name.to_owned(),
        Arc::clone(hub),
        reader.paused.clone(),
        Arc::clone(&last),
    );
    let reading = tokio::spawn(async move {
        match stderr {
            Some(rest) => stderr::read(rest, name, hub, words, paused).await,
            None => None,
        }
    });
    reader.shim(id, receiver, reading, last);
}
