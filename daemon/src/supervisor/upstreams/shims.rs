//! The shims: one process per running stdio server, which runs it and leaves nothing of it behind
//! (see `shim/`). Each server has a control group of its own where there are any (`cgroups.rs`).

use super::{
    cgroups::{Cgroups, NotStarted},
    stderr,
    upstream::Pipes,
};
use crate::{
    ipc::{
        channel,
        launch::{FromShim, Launch, ToShim},
    },
    log::Sink,
    platform::{self, Group, GroupUse},
    supervisor::{
        channels::{Reader, Writer},
        event::{PausedChannel, PausedStderr, ShimId},
        processes::environment,
    },
};
use ggen_wire::Code;
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, io, os::fd::OwnedFd, sync::Arc, time::Duration};
use tokio::sync::oneshot;

/// Between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(2);
/// How long a shim may take beyond that before it is killed itself.
const SLACK: Duration = Duration::from_secs(7);
/// Messages that may wait for a shim.
const QUEUE: usize = 8;

/// A shim.
struct Shim {
    facts: Facts,
    writer: Writer<ToShim>,
    words: stderr::Words,
    /// Where a gateway worker notes that it has written a part of a message to the server.
    torn: Option<Arc<OwnedFd>>,
}

/// What is known of a shim. Its form is that of the state that one binary hands to the next.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Facts {
    id: ShimId,
    /// Its process id.
    pid: u32,
    /// The server's name.
    name: String,
    /// The server's process id, which is its process group as well.
    child: Option<u32>,
    /// What it said last of the server.
    verdict: Option<FromShim>,
    /// The server's control group.
    #[serde(default)]
    group: Option<Group>,
    /// How many of the server's processes are known to have been killed for want of memory.
    #[serde(default)]
    killed_for_memory: u64,
    /// When SIGTERM is due.
    stop_at: Option<Duration>,
    /// When the shim itself is killed.
    kill_at: Option<Duration>,
}

/// A server that was started.
pub(super) struct Started {
    pub(super) shim: ShimId,
    /// The shim's process id.
    pub(super) pid: u32,
    pub(super) pipes: Pipes,
}

/// A shim that is gone.
pub(super) struct Ended {
    /// Its process id.
    pub(super) pid: u32,
    /// The server's process group.
    pub(super) child: Option<u32>,
    /// What it said last; nothing if it was killed.
    pub(super) verdict: Option<FromShim>,
    /// Processes of the server were killed for want of memory, and why.
    pub(super) starved: Option<String>,
    /// Processor time that the server used, if it was counted.
    pub(super) cpu_ms: Option<u64>,
}

/// All shims that live, and the control groups of their servers.
pub(crate) struct Shims {
    last: ShimId,
    all: BTreeMap<ShimId, Shim>,
    pub(super) cgroups: Cgroups,
    log: Arc<dyn Sink>,
    /// Starts a process that is a shim; its standard input is the other end of its channel.
    spawn: fn(OwnedFd) -> io::Result<u32>,
}

impl Shims {
    pub(super) fn new(log: Arc<dyn Sink>, cgroups: Cgroups) -> Self {
        Self {
            last: ShimId::default(),
            all: BTreeMap::new(),
            cgroups,
            log,
            spawn: |channel| platform::spawn_self(&["shim"], channel, environment::of_worker()),
        }
    }

    /// Those of a test, which starts no processes.
    #[cfg(test)]
    pub(super) fn for_test(log: Arc<dyn Sink>, spawn: fn(OwnedFd) -> io::Result<u32>) -> Self {
        Self {
            spawn,
            ..Self::new(log, Cgroups::none())
        }
    }

    /// The number that the next one gets.
    pub(super) const fn next_id(&self) -> ShimId {
        self.last.next()
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.all.len()
    }

    /// All of them.
    pub(super) fn ids(&self) -> Vec<ShimId> {
        self.all.keys().copied().collect()
    }

    /// Starts a shim with a server in it. `life`: which of the server's lives it is, for the name
    /// of its control group.
    ///
    /// # Errors
    /// [`NotStarted`]
    pub(super) fn start(
        &mut self,
        name: &str,
        life: &str,
        mut launch: Launch,
        reader: &mut dyn FnMut(ShimId) -> Reader,
    ) -> Result<Started, NotStarted> {
        let limits = launch
            .sandbox
            .as_ref()
            .map(|sandbox| sandbox.limits.family)
            .unwrap_or_default();
        let group = self.cgroups.make(name, life, self.next_id(), limits)?;
        launch.group.clone_from(&group);
        Ok(self.launch(name, launch, reader).inspect_err(|_| {
            if let Some(group) = &group {
                group.remove().unwrap_or_default();
            }
        })?)
    }

    fn launch(
        &mut self,
        name: &str,
        launch: Launch,
        reader: &mut dyn FnMut(ShimId) -> Reader,
    ) -> io::Result<Started> {
        let (stdin_theirs, stdin) = platform::pipe()?;
        let (stdout, stdout_theirs) = platform::pipe()?;
        let (errors, errors_theirs) = platform::pipe()?;
        let (ours, theirs) = platform::socket_pair()?;
        let (sender, receiver) = channel::channel(ours)?;
        let pid = (self.spawn)(theirs)?;
        let id = self.next_id();
        self.last = id;

        let writer = Writer::start(sender, QUEUE);
        let stderr = PausedStderr {
            pipe: errors,
            line: Vec::new(),
        };
        let paused = PausedChannel {
            receiver,
            stderr: Some(stderr),
            last_line: String::new(),
        };
        let words = self.read(id, name, paused, reader(id));
        let theirs = [stdin_theirs, stdout_theirs, errors_theirs].map(Arc::new);
        let group = launch.group.clone();
        writer
            .send(ToShim::Launch(launch), theirs.into())
            .map_err(|_| io::Error::other("its queue is full"))?;
        let facts = Facts {
            id,
            pid,
            name: name.to_owned(),
            child: None,
            verdict: None,
            group,
            killed_for_memory: 0,
            stop_at: None,
            kill_at: None,
        };
        let shim = Shim {
            facts,
            writer,
            words,
            torn: platform::memory_file().ok().map(Arc::new),
        };
        self.all.insert(id, shim);
        Ok(Started {
            shim: id,
            pid,
            pipes: Pipes {
                stdin: Arc::new(stdin),
                stdout: Arc::new(stdout),
            },
        })
    }

    /// Reads a shim's channel and its server's stderr, in tasks of their own.
    fn read(
        &self,
        id: ShimId,
        name: &str,
        channel: PausedChannel,
        reader: Reader,
    ) -> stderr::Words {
        let PausedChannel {
            receiver,
            stderr,
            last_line,
        } = channel;
        let words = stderr::Words::of(last_line);
        let (name, log, said) = (name.to_owned(), Arc::clone(&self.log), words.clone());
        let paused = reader.paused();
        let reading = tokio::spawn(async move {
            match stderr {
                Some(stderr) => stderr::read(stderr, name, log, said, paused).await,
                None => None,
            }
        });
        let said = words.clone();
        reader.shim(id, receiver, reading, move || said.reason());
        words
    }

    /// Saves them, and the number given last.
    pub(super) fn saved(&self) -> (Vec<Facts>, ShimId) {
        let facts = self.all.values().map(|shim| shim.facts.clone());
        (facts.collect(), self.last)
    }

    /// Takes over what is known of the shims of the previous binary. Nothing can be sent to one
    /// before its channel is taken over.
    pub(super) fn restore(&mut self, shims: Vec<Facts>, last: ShimId) {
        self.last = last;
        let shim = |facts: Facts| {
            let (writer, words) = (Writer::closed(), stderr::Words::default());
            let shim = Shim {
                facts,
                writer,
                words,
                torn: None,
            };
            (shim.facts.id, shim)
        };
        self.all = shims.into_iter().map(shim).collect();
    }

    /// Takes over a channel of the previous binary.
    pub(super) fn resume(
        &mut self,
        id: ShimId,
        sender: channel::Sender,
        channel: PausedChannel,
        reader: Reader,
    ) {
        if let Some(shim) = self.all.get_mut(&id) {
            shim.writer = Writer::start(sender, QUEUE);
        }
        self.unpause(id, channel, reader);
    }

    /// Reads a channel again, which had paused.
    pub(super) fn unpause(&mut self, id: ShimId, channel: PausedChannel, reader: Reader) {
        let shim = self.all.get(&id);
        let name = shim.map_or("", |shim| shim.facts.name.as_str());
        let words = self.read(id, name, channel, reader);
        if let Some(shim) = self.all.get_mut(&id) {
            shim.words = words;
        }
    }

    /// Where a gateway worker notes that it has written a part of a message to the server.
    pub(super) fn torn(&self, id: ShimId) -> Option<&Arc<OwnedFd>> {
        self.all.get(&id)?.torn.as_ref()
    }

    /// The same of all that have one.
    pub(super) fn all_torn(&self) -> impl Iterator<Item = (ShimId, &OwnedFd)> {
        self.all
            .iter()
            .filter_map(|(id, shim)| Some((*id, shim.torn.as_deref()?)))
    }

    /// Takes over what the previous binary had of that.
    pub(super) fn restore_torn(&mut self, id: ShimId, file: Option<Arc<OwnedFd>>) {
        if let Some(shim) = self.all.get_mut(&id) {
            shim.torn = file;
        }
    }

    /// The last line that a shim's server wrote on its standard error.
    pub(super) fn last_line(&self, id: ShimId) -> Option<String> {
        let line = self.all.get(&id)?.words.last();
        (!line.is_empty()).then_some(line)
    }

    /// For each shim, what it is called, and what resolves when everything is written that waits
    /// for it; `None`: it does not read.
    pub(super) fn flushed(&self) -> Vec<(String, Option<oneshot::Receiver<()>>)> {
        let flushed = |shim: &Shim| {
            let name = format!("the shim of {}", shim.facts.name);
            (name, shim.writer.flushed())
        };
        self.all.values().map(flushed).collect()
    }

    /// A shim's server runs.
    pub(super) fn runs(&mut self, id: ShimId, child: u32) {
        if let Some(shim) = self.all.get_mut(&id) {
            shim.facts.child = Some(child);
        }
    }

    /// A shim's last word about its server. What it means is decided when its channel has been read
    /// to the end.
    pub(super) fn says(&mut self, id: ShimId, verdict: FromShim) {
        if let Some(shim) = self.all.get_mut(&id) {
            shim.facts.verdict = Some(verdict);
        }
    }

    /// Ends a server: SIGTERM after `patience` (in which the end of its stdin may do it), SIGKILL
    /// later.
    pub(super) fn end(&mut self, id: ShimId, patience: Duration, now: Duration) {
        if let Some(shim) = self.all.get_mut(&id) {
            let due = now + patience;
            shim.facts.stop_at = Some(shim.facts.stop_at.unwrap_or(due).min(due));
        }
        self.on_time(now);
    }

    /// Ends all servers without any grace.
    pub(super) fn kill_all(&mut self, now: Duration) {
        for shim in self.all.values_mut() {
            shim.stop(Duration::ZERO, now + Duration::from_secs(1));
        }
    }

    /// Does what is due by now.
    pub(super) fn on_time(&mut self, now: Duration) {
        for shim in self.all.values_mut() {
            if shim.facts.stop_at.is_some_and(|at| at <= now) {
                shim.stop(GRACE, now + GRACE + SLACK);
            }
            if shim.facts.kill_at.is_some_and(|at| at <= now) {
                shim.facts.kill_at = None;
                platform::signal_process(shim.facts.pid, Signal::SIGKILL);
            }
        }
    }

    /// When something has to be done if nothing happens.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.all
            .values()
            .flat_map(|shim| [shim.facts.stop_at, shim.facts.kill_at])
            .flatten()
            .min()
    }

    /// A shim's channel has been read to the end. Its server's control group goes.
    pub(super) fn closed(&mut self, id: ShimId, now: Duration) -> Option<Ended> {
        let facts = self.all.remove(&id)?.facts;
        let (mut starved, mut cpu_ms) = (None, None);
        if let Some(group) = facts.group {
            let (count, met) = group.killed_for_memory();
            cpu_ms = group.usage().cpu_ms;
            if count > facts.killed_for_memory {
                starved = Some(starved_by(count - facts.killed_for_memory, met));
            }
            self.cgroups.end(group, now);
        }
        Some(Ended {
            pid: facts.pid,
            child: facts.child,
            verdict: facts.verdict,
            starved,
            cpu_ms,
        })
    }

    /// Looks at the servers' control groups: what they use. Logs whose processes were killed for
    /// want of memory since the last look.
    pub(super) fn measure_groups(&mut self) -> BTreeMap<ShimId, GroupUse> {
        let mut found = BTreeMap::new();
        for (id, shim) in &mut self.all {
            let facts = &mut shim.facts;
            let Some(group) = &facts.group else { continue };
            found.insert(*id, group.usage());
            let (killed, met) = group.killed_for_memory();
            if killed > facts.killed_for_memory {
                let why = starved_by(killed - facts.killed_for_memory, met);
                tracing::warn!(target: "tools", upstream = %facts.name, code = %Code::UpstreamOutOfMemory, "{why}");
                facts.killed_for_memory = killed;
            }
        }
        found
    }

    /// Ends the control groups that an earlier life of the daemon has left.
    pub(super) fn end_old_groups(&mut self, now: Duration) {
        let groups = self
            .all
            .values()
            .filter_map(|shim| shim.facts.group.as_ref());
        let known: Vec<String> = groups.map(|group| group.name().to_owned()).collect();
        self.cgroups.end_others(&known, now);
    }
}

impl Shim {
    /// Tells it to end its server; the shim itself is killed later.
    fn stop(&mut self, grace: Duration, kill_at: Duration) {
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        self.writer
            .send(ToShim::Stop { grace_ms }, Vec::new())
            .unwrap_or_default();
        (self.facts.stop_at, self.facts.kill_at) = (None, Some(kill_at));
    }
}

/// `met`: a limit of the server was met.
fn starved_by(count: u64, met: bool) -> String {
    let limit = if met {
        "sandbox.limits.family.memory was reached"
    } else {
        "the host ran out of memory"
    };
    let who = if count == 1 {
        "1 process".to_owned()
    } else {
        format!("{count} processes")
    };
    format!("{limit}, and the kernel killed {who}")
}
