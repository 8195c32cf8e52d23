//! What the supervisor counts over the daemon's life: ends of workers and servers, restarts, and
//! processor time.

use crate::ipc::messages::Role;
use ggen_wire::Code;
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, collections::BTreeMap};

/// How a worker process has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WorkerExit {
    /// It was told to finish and did, or its time was up.
    Drained,
    /// It sent no beats and was killed.
    Hung,
    /// It exited by itself.
    Exit,
    /// A signal killed it.
    Signal,
}

impl WorkerExit {
    /// All of them.
    pub(super) const ALL: [Self; 4] = [Self::Drained, Self::Hung, Self::Exit, Self::Signal];

    /// The label.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Drained => "drained",
            Self::Hung => "hung",
            Self::Exit => "exit",
            Self::Signal => "signal",
        }
    }
}

/// Why a server has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UpstreamExit {
    /// Its command does not exist.
    NotFound,
    /// It did not answer in time.
    Silent,
    /// It wrote what is no message.
    Garbage,
    /// It refused to talk to us.
    Refused,
    /// It exited, or was killed.
    Exit,
    /// Memory ran out.
    Memory,
    /// Another reason.
    Other,
}

impl UpstreamExit {
    /// What a code stands for.
    pub(crate) const fn of(code: Code) -> Self {
        match code {
            Code::CommandNotFound => Self::NotFound,
            Code::UpstreamSilent | Code::UpstreamTimeout => Self::Silent,
            Code::UpstreamGarbage | Code::UpstreamTooLarge => Self::Garbage,
            Code::UpstreamRefused => Self::Refused,
            Code::UpstreamExited => Self::Exit,
            Code::UpstreamOutOfMemory => Self::Memory,
            _ => Self::Other,
        }
    }

    /// The label.
    const fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not-found",
            Self::Silent => "silent",
            Self::Garbage => "garbage",
            Self::Refused => "refused",
            Self::Exit => "exit",
            Self::Memory => "memory",
            Self::Other => "other",
        }
    }
}

/// What a processor's time was spent for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A process of ours.
    Process,
    /// A server with its descendants.
    Upstream,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Upstream => "upstream",
        }
    }
}

/// A label: one that this binary knows, or one of the binary before.
type Label = Cow<'static, str>;

/// Processor time of something that has several lives.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct CpuTime {
    /// Of the lives that are over.
    retired_ms: u64,
    /// Of the present one, when it was measured last.
    last_ms: u64,
}

/// The counters.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// By role.
    restarts: BTreeMap<Label, u64>,
    /// By role and reason.
    exits: BTreeMap<(Label, Label), u64>,
    /// By upstream and reason.
    upstream_exits: BTreeMap<(String, Label), u64>,
    /// By kind and name.
    cpu: BTreeMap<(Label, String), CpuTime>,
    /// Descriptors that our processes have open, and may have open.
    files: BTreeMap<String, (u64, u64)>,
}

/// The counters on their way from one binary to the next. JSON has no maps by pairs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Carried {
    pub(crate) restarts: Vec<(Label, u64)>,
    pub(crate) exits: Vec<((Label, Label), u64)>,
    pub(crate) upstream_exits: Vec<((String, Label), u64)>,
    pub(crate) cpu_ms: Vec<((Label, String), (u64, u64))>,
}

impl Counters {
    pub(super) fn of(carried: Carried) -> Self {
        let time = |(key, (retired_ms, last_ms))| {
            let time = CpuTime {
                retired_ms,
                last_ms,
            };
            (key, time)
        };
        Self {
            restarts: carried.restarts.into_iter().collect(),
            exits: carried.exits.into_iter().collect(),
            upstream_exits: carried.upstream_exits.into_iter().collect(),
            cpu: carried.cpu_ms.into_iter().map(time).collect(),
            files: BTreeMap::new(),
        }
    }

    pub(super) fn carried(&self) -> Carried {
        let time = |(key, time): (&(Label, String), &CpuTime)| {
            (key.clone(), (time.retired_ms, time.last_ms))
        };
        Carried {
            restarts: pairs(&self.restarts),
            exits: pairs(&self.exits),
            upstream_exits: pairs(&self.upstream_exits),
            cpu_ms: self.cpu.iter().map(time).collect(),
        }
    }

    pub(super) fn worker_exit(&mut self, role: Role, exit: WorkerExit) {
        let key = (role.as_str().into(), exit.as_str().into());
        *self.exits.entry(key).or_default() += 1;
    }

    pub(super) fn worker_restart(&mut self, role: Role) {
        *self.restarts.entry(role.as_str().into()).or_default() += 1;
    }

    pub(super) fn upstream_exit(&mut self, upstream: &str, exit: UpstreamExit) {
        let key = (upstream.to_owned(), exit.as_str().into());
        *self.upstream_exits.entry(key).or_default() += 1;
    }

    /// The present life was measured. Its time can only grow: less than before is another process.
    pub(super) fn cpu(&mut self, kind: Kind, name: &str, ms: u64) {
        let time = self.cpu_entry(kind, name);
        if ms < time.last_ms {
            time.retired_ms += time.last_ms;
        }
        time.last_ms = ms;
    }

    /// The present life is over, and this is all that it used. The next one begins at 0.
    pub(super) fn cpu_of_life(&mut self, kind: Kind, name: &str, ms: u64) {
        let time = self.cpu_entry(kind, name);
        time.retired_ms += ms.max(time.last_ms);
        time.last_ms = 0;
    }

    /// A process beside the one that is measured has ended, and this is all that it used.
    pub(super) fn cpu_of_ended(&mut self, kind: Kind, name: &str, ms: u64) {
        self.cpu_entry(kind, name).retired_ms += ms;
    }

    fn cpu_entry(&mut self, kind: Kind, name: &str) -> &mut CpuTime {
        let key = (kind.as_str().into(), name.to_owned());
        self.cpu.entry(key).or_default()
    }

    pub(super) fn set_files(&mut self, files: BTreeMap<String, (u64, u64)>) {
        self.files = files;
    }

    pub(super) fn restarts(&self) -> impl Iterator<Item = (&str, u64)> {
        self.restarts.iter().map(|(role, count)| (&**role, *count))
    }

    /// Role, reason, count.
    pub(super) fn exits(&self) -> impl Iterator<Item = (&str, &str, u64)> {
        self.exits
            .iter()
            .map(|((role, reason), count)| (&**role, &**reason, *count))
    }

    /// Upstream, reason, count.
    pub(super) fn upstream_exits(&self) -> impl Iterator<Item = (&str, &str, u64)> {
        self.upstream_exits
            .iter()
            .map(|((name, reason), count)| (name.as_str(), &**reason, *count))
    }

    /// Name, and milliseconds over all lives.
    pub(super) fn cpu_ms(&self, kind: Kind) -> impl Iterator<Item = (&str, u64)> {
        self.cpu
            .iter()
            .filter(move |((known, _), _)| *known == kind.as_str())
            .map(|((_, name), time)| (name.as_str(), time.retired_ms + time.last_ms))
    }

    /// Process, and descriptors that it has open and may have open.
    pub(super) fn files(&self) -> impl Iterator<Item = (&str, (u64, u64))> {
        self.files
            .iter()
            .map(|(name, files)| (name.as_str(), *files))
    }
}

fn pairs<K: Clone, V: Clone>(map: &BTreeMap<K, V>) -> Vec<(K, V)> {
    map.iter()
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpu_of(counters: &Counters, name: &str) -> Option<u64> {
        counters
            .cpu_ms(Kind::Upstream)
            .find(|(known, _)| *known == name)
            .map(|(_, ms)| ms)
    }

    #[test]
    fn processor_time_adds_up_over_lives_and_never_shrinks() {
        let mut counters = Counters::default();
        counters.cpu(Kind::Upstream, "s", 100);
        counters.cpu(Kind::Upstream, "s", 150);
        assert_eq!(cpu_of(&counters, "s"), Some(150));
        // Another process: what the first had used counts on.
        counters.cpu(Kind::Upstream, "s", 20);
        assert_eq!(cpu_of(&counters, "s"), Some(170));
        counters.cpu_of_life(Kind::Upstream, "s", 50);
        assert_eq!(cpu_of(&counters, "s"), Some(200));
        counters.cpu(Kind::Upstream, "s", 5);
        counters.cpu_of_ended(Kind::Upstream, "s", 7);
        assert_eq!(cpu_of(&counters, "s"), Some(212));
        assert!(counters.cpu_ms(Kind::Process).next().is_none());
    }

    #[test]
    fn the_form_for_the_next_binary_is_that_of_the_first_version() {
        let mut counters = Counters::default();
        counters.worker_exit(Role::Http, WorkerExit::Drained);
        counters.worker_restart(Role::Http);
        counters.upstream_exit("s", UpstreamExit::of(Code::CommandNotFound));
        counters.cpu(Kind::Process, "http-0", 9);
        let text = serde_json::to_string(&counters.carried()).unwrap();
        assert_eq!(
            text,
            r#"{"restarts":[["http",1]],"exits":[[["http","drained"],1]],"upstream_exits":[[["s","not-found"],1]],"cpu_ms":[[["process","http-0"],[0,9]]]}"#
        );
        let again = Counters::of(serde_json::from_str(&text).unwrap());
        assert_eq!(serde_json::to_string(&again.carried()).unwrap(), text);
    }
}
