//! Worker processes: slots with a life each, the processes in them, beats, hang detection, drains and rolling replacement.

use super::{
    Supervisor,
    event::{Event, ProcId},
    life::{Life, Next},
    listeners::Listeners,
    reload::{self, Candidate},
};
use crate::{
    config::Config,
    ipc::{
        channel,
        messages::{Beat, Role, Start, ToSupervisor, ToWorker},
    },
    platform::{self, Ended, Usage},
};
use ggen_wire::Code;
use nix::sys::signal::Signal;
use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::Duration,
};
use tokio::sync::mpsc;

/// Between two beats.
pub(crate) const BEAT: Duration = Duration::from_secs(1);
/// Without a beat for so long, a worker hangs: three missed, and a little for the way.
const SILENCE: Duration = Duration::from_millis(3250);
/// Before its first beat, a worker has so long to be loaded on a busy machine.
const LOADING: Duration = Duration::from_secs(10);
/// Between SIGABRT and SIGKILL.
const ABORT_GRACE: Duration = Duration::from_secs(2);
/// How long a worker may outlive its drain's deadline.
const DRAIN_SLACK: Duration = Duration::from_secs(1);
/// Messages that may wait for a worker; more means that it does not read.
const QUEUE: usize = 1024;

/// A message to a worker with its descriptors.
pub(crate) type Outgoing = (ToWorker, Vec<Arc<OwnedFd>>);

/// Where a process stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Not Ready yet.
    Starting,
    /// Serving.
    Ready,
    /// Told to finish; killed at that time.
    Draining(Duration),
    /// It hangs; SIGABRT is sent, SIGKILL follows at that time.
    Aborted(Duration),
    /// SIGKILL is sent.
    Killed,
}

/// A worker process.
pub(crate) struct Proc {
    /// Its process id.
    pub(crate) pid: u32,
    /// Its slot's name.
    pub(crate) name: String,
    /// Its role.
    pub(crate) role: Role,
    /// The generation that it was started with.
    pub(crate) generation: u32,
    /// Where it stands.
    pub(crate) stage: Stage,
    /// Its last beat, without the metrics.
    pub(crate) beat: Beat,
    /// When that came; before the first one, when it was started.
    pub(crate) beat_at: Duration,
    /// Memory and processor time.
    pub(crate) usage: Usage,
    queue: mpsc::Sender<Outgoing>,
}

impl Proc {
    /// Whether it is the one that serves, or is about to.
    pub(crate) fn is_current(&self) -> bool {
        matches!(self.stage, Stage::Starting | Stage::Ready)
    }

    fn silent_at(&self) -> Duration {
        let loading = self.stage == Stage::Starting && self.beat.seq == 0;
        self.beat_at + if loading { LOADING } else { SILENCE }
    }

    /// When something has to be done about it if nothing happens.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        match self.stage {
            Stage::Starting | Stage::Ready => Some(self.silent_at()),
            Stage::Draining(until) | Stage::Aborted(until) => Some(until),
            Stage::Killed => None,
        }
    }
}

/// A place for a worker, with the record of its lives.
pub(crate) struct Slot {
    /// `http-0`
    pub(crate) name: String,
    /// Its role.
    pub(crate) role: Role,
    /// Its record.
    pub(crate) life: Life,
    /// The process that serves, or is about to.
    pub(crate) current: Option<ProcId>,
    /// The process that is to take over once it is Ready.
    pub(crate) successor: Option<ProcId>,
    /// When it is to be started again.
    pub(crate) start_at: Option<Duration>,
    /// Starts after the first one.
    pub(crate) restarts: u64,
    /// Why the last process ended that was not asked to.
    pub(crate) last_exit: Option<String>,
    /// Not started again until a reload.
    pub(crate) failed: bool,
    /// It belongs to a configuration that is not in force yet.
    pub(crate) prospective: bool,
    starts: u64,
}

impl Slot {
    fn new(name: String, role: Role) -> Self {
        Self {
            name,
            role,
            life: Life::default(),
            current: None,
            successor: None,
            start_at: Some(Duration::ZERO),
            restarts: 0,
            last_exit: None,
            failed: false,
            prospective: false,
            starts: 0,
        }
    }

    /// A slot of a configuration that is not in force yet.
    pub(crate) fn prospective(name: String, role: Role) -> Self {
        Self { start_at: None, prospective: true, ..Self::new(name, role) }
    }
}

/// All workers.
#[derive(Default)]
pub(crate) struct Workers {
    /// The places, gateway first: it has the most to do.
    pub(crate) slots: Vec<Slot>,
    /// The processes, draining ones included.
    pub(crate) procs: BTreeMap<ProcId, Proc>,
    /// Slots that wait for their turn in a rolling replacement.
    pub(crate) rolling: std::collections::VecDeque<String>,
    last_id: ProcId,
}

impl Workers {
    /// The gateway process that serves or is about to.
    pub(crate) fn gateway(&self) -> Option<ProcId> {
        self.slots.iter().find(|slot| slot.role == Role::Gateway)?.current
    }

    /// Whether every slot has a process that is Ready.
    pub(crate) fn all_ready(&self) -> bool {
        self.slots.iter().all(|slot| slot.current.and_then(|id| self.procs.get(&id)).is_some_and(|proc| proc.stage == Stage::Ready))
    }

    /// The slot with that name.
    pub(crate) fn slot_mut(&mut self, name: &str) -> Option<&mut Slot> {
        self.slots.iter_mut().find(|slot| slot.name == name)
    }
}

impl Supervisor {
    /// Makes the slots fit the configuration; new ones and those that had failed are due at once. Returns the processes of removed ones.
    pub(crate) fn lay_out_slots(&mut self) -> Vec<ProcId> {
        let now = self.now();
        let wanted = wanted_slots(&self.loaded.config);
        let mut old = std::mem::take(&mut self.workers.slots);
        for (name, role) in wanted {
            let at = old.iter().position(|slot| slot.name == name);
            self.workers.slots.push(at.map_or_else(|| Slot::new(name, role), |at| old.swap_remove(at)));
        }
        for slot in &mut self.workers.slots {
            slot.prospective = false;
            if std::mem::take(&mut slot.failed) {
                slot.start_at = Some(now);
            }
        }
        old.into_iter().flat_map(|slot| [slot.current, slot.successor]).flatten().collect()
    }

    /// Starts a process for a slot. `successor`: the one that serves goes on until the new one is Ready.
    pub(crate) fn start_worker(&mut self, name: &str, successor: bool) {
        let Some(slot) = self.workers.slot_mut(name) else { return };
        slot.start_at = None;
        slot.restarts += u64::from(slot.starts > 0);
        slot.starts += 1;
        if !successor {
            slot.life.started();
        }
        let role = slot.role;
        self.workers.last_id += 1;
        let id = self.workers.last_id;
        match self.spawn_worker(id, name, role) {
            Ok(proc) => {
                tracing::debug!(target: "mcp_server", worker = name, pid = proc.pid, "worker started");
                self.pids.insert(proc.pid, super::reaper::Owner::Worker(id));
                self.workers.procs.insert(id, proc);
                if let Some(slot) = self.workers.slot_mut(name) {
                    if successor { slot.successor = Some(id) } else { slot.current = Some(id) }
                }
                self.link_worker(id);
            }
            Err(error) => {
                tracing::error!(target: "mcp_server", worker = name, code = %Code::Internal, error = %error, "worker cannot be started");
                self.plan_restart(name, &format!("cannot be started: {error}"), None);
            }
        }
    }

    fn spawn_worker(&mut self, id: ProcId, name: &str, role: Role) -> io::Result<Proc> {
        let (ours, theirs) = platform::socket_pair()?;
        let (mut sender, mut receiver) = channel::channel(ours)?;
        let pid = platform::spawn_self(&["worker", role.as_str()], theirs, super::environment::of_worker())?;
        let (queue, mut outgoing) = mpsc::channel::<Outgoing>(QUEUE);
        tokio::spawn(async move {
            while let Some((message, descriptors)) = outgoing.recv().await {
                let borrowed: Vec<_> = descriptors.iter().map(|fd| fd.as_fd()).collect();
                if sender.send(&message, &borrowed).await.is_err() {
                    return;
                }
            }
        });
        let events = self.events.clone();
        tokio::spawn(async move {
            // What does not parse ends the channel as well: the worker is told by the end of it.
            while let Ok(Some((message, _))) = receiver.receive::<ToSupervisor>().await {
                events.send(Event::Worker(id, message)).await.ok();
            }
            events.send(Event::WorkerClosed(id)).await.ok();
        });
        let start = self.start_message(name, role);
        let sockets = self.listeners_for(name).sockets_for(role);
        let generation = start.generation;
        queue.try_send((ToWorker::Start(Box::new(start)), sockets)).map_err(io::Error::other)?;
        Ok(Proc {
            pid,
            name: name.to_owned(),
            role,
            generation,
            stage: Stage::Starting,
            beat: Beat::default(),
            beat_at: self.now(),
            usage: Usage::default(),
            queue,
        })
    }

    /// What a worker of that name is told: the configuration in force, or the one that it is to prove.
    pub(crate) fn start_message(&self, name: &str, role: Role) -> Start {
        let slot = self.workers.slots.iter().find(|slot| slot.name == name);
        let candidate = self.candidate_for(name);
        let config = candidate.map_or(&self.loaded.config, |candidate| &candidate.loaded.config);
        Start {
            name: name.to_owned(),
            role,
            generation: candidate.map_or(self.generation, |candidate| candidate.generation),
            incarnation: slot.map_or(0, |slot| slot.starts.saturating_sub(1)),
            beat_ms: u64::try_from(BEAT.as_millis()).unwrap_or(1000),
            log_filter: self.levels.over(candidate.map_or(&self.log_filter, |candidate| &candidate.log_filter)),
            listeners: self.listeners_for(name).bound_for(role),
            seal: (role == Role::Gateway).then(|| self.seal.clone()),
            config: super::environment::config_for(role, config),
        }
    }

    fn listeners_for(&self, name: &str) -> &Listeners {
        self.candidate_for(name).map_or(&self.listeners, |candidate| &candidate.listeners)
    }

    fn candidate_for(&self, name: &str) -> Option<&Candidate> {
        let prospective = self.workers.slots.iter().any(|slot| slot.name == name && slot.prospective);
        if let (reload::Stage::Preparing(candidate), true) = (&self.reload.stage, prospective) { Some(candidate) } else { None }
    }

    /// Queues a message for a worker; never waits. A worker whose queue is full does not read, and is dealt with as hung.
    pub(crate) fn tell(&mut self, id: ProcId, message: ToWorker, descriptors: Vec<Arc<OwnedFd>>) -> bool {
        let Some(proc) = self.workers.procs.get(&id) else { return false };
        match proc.queue.try_send((message, descriptors)) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.events.try_send(Event::WorkerStuck(id)).unwrap_or_default();
                false
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        }
    }

    /// A worker says that it serves.
    pub(crate) fn worker_ready(&mut self, id: ProcId) {
        let now = self.now();
        let Some(proc) = self.workers.procs.get_mut(&id).filter(|proc| proc.stage == Stage::Starting) else { return };
        (proc.stage, proc.beat_at) = (Stage::Ready, now);
        let (name, pid, role) = (proc.name.clone(), proc.pid, proc.role);
        tracing::info!(target: "mcp_server", worker = %name, pid, "worker ready");
        let (mut old, mut prospective) = (None, false);
        if let Some(slot) = self.workers.slot_mut(&name) {
            prospective = slot.prospective;
            if slot.successor == Some(id) {
                old = slot.current.replace(id);
                slot.successor = None;
                slot.life.started();
            }
            slot.life.ready(now);
        }
        if let Some(old) = old {
            self.drain_worker(old);
        }
        if prospective {
            self.prepared(&name);
        }
        if self.workers.rolling.front() == Some(&name) {
            self.workers.rolling.pop_front();
            self.roll();
        }
        if role == Role::Gateway {
            self.deliver_children();
        }
        self.announce_if_ready();
    }

    /// A beat.
    pub(crate) fn worker_beat(&mut self, id: ProcId, mut beat: Beat) {
        let now = self.now();
        self.ledger.take(id, std::mem::take(&mut beat.metrics));
        self.remember_slow(std::mem::take(&mut beat.slow));
        if let Some(proc) = self.workers.procs.get_mut(&id) {
            proc.beat = beat;
            proc.beat_at = now;
        }
    }

    /// Tells a worker to finish what it has and go.
    pub(crate) fn drain_worker(&mut self, id: ProcId) {
        self.drain_worker_within(id, Duration::from_millis(self.loaded.config.server.drain_timeout_ms));
    }

    /// The same with another time limit.
    pub(crate) fn drain_worker_within(&mut self, id: ProcId, limit: Duration) {
        let now = self.now();
        let Some(proc) = self.workers.procs.get_mut(&id).filter(|proc| proc.is_current()) else { return };
        proc.stage = Stage::Draining(now + limit + DRAIN_SLACK);
        let (pid, deadline_ms) = (proc.pid, u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
        if !self.tell(id, ToWorker::Drain { deadline_ms }, Vec::new()) {
            platform::signal_process(pid, Signal::SIGKILL);
        }
    }

    /// A worker hangs: its memory may be of interest (SIGABRT), its life is over (SIGKILL later). SIGCONT because a stopped process would not
    /// even see the first.
    pub(crate) fn abort_worker(&mut self, id: ProcId, why: &str) {
        let now = self.now();
        let Some(proc) = self.workers.procs.get_mut(&id).filter(|proc| proc.is_current()) else { return };
        proc.stage = Stage::Aborted(now + ABORT_GRACE);
        tracing::error!(target: "mcp_server", code = %Code::WorkerHung, worker = %proc.name, pid = proc.pid, "{why}");
        platform::signal_process(proc.pid, Signal::SIGABRT);
        platform::signal_process(proc.pid, Signal::SIGCONT);
    }

    /// What is due by now.
    pub(crate) fn workers_on_time(&mut self, now: Duration) {
        let due: Vec<(ProcId, Stage)> = self
            .workers
            .procs
            .iter()
            .filter(|(_, proc)| proc.deadline().is_some_and(|deadline| deadline <= now))
            .map(|(id, proc)| (*id, proc.stage))
            .collect();
        for (id, stage) in due {
            match stage {
                Stage::Starting | Stage::Ready => self.abort_worker(id, "worker sends no beats"),
                Stage::Draining(_) | Stage::Aborted(_) => {
                    if let Some(proc) = self.workers.procs.get_mut(&id) {
                        proc.stage = Stage::Killed;
                        platform::signal_process(proc.pid, Signal::SIGKILL);
                    }
                }
                Stage::Killed => {}
            }
        }
        let start: Vec<String> =
            self.workers.slots.iter().filter(|slot| slot.start_at.is_some_and(|at| at <= now)).map(|slot| slot.name.clone()).collect();
        for name in start {
            self.start_worker(&name, false);
        }
    }

    /// A worker process has been reaped.
    pub(crate) fn worker_ended(&mut self, id: ProcId, ended: Ended) {
        let Some(proc) = self.workers.procs.remove(&id) else { return };
        let asked = matches!(proc.stage, Stage::Draining(_)) || self.stop.is_stopping();
        let reason = match (proc.stage, ended) {
            (Stage::Aborted(_) | Stage::Killed, _) if !asked => format!("sent no beats, {ended}"),
            _ => ended.to_string(),
        };
        self.counters.worker_exit(proc.role, exit_label(proc.stage, ended));
        self.fail_questions_of(id);
        self.reconfigured(id, None);
        self.end_leases_of(id);
        let (mut was_current, mut was_successor) = (false, false);
        if let Some(slot) = self.workers.slot_mut(&proc.name) {
            was_current = slot.current == Some(id);
            was_successor = slot.successor == Some(id);
            slot.current = slot.current.filter(|current| *current != id);
            slot.successor = slot.successor.filter(|successor| *successor != id);
        }
        if asked {
            tracing::info!(target: "mcp_server", worker = %proc.name, pid = proc.pid, "worker has gone: {reason}");
        } else {
            tracing::error!(target: "mcp_server", code = %Code::WorkerDied, worker = %proc.name, pid = proc.pid, "worker died: {reason}");
        }
        if !self.stop.is_stopping() {
            if was_current {
                let status = if let Ended::Exited(status) = ended { Some(status) } else { None };
                let successor = self.workers.slot_mut(&proc.name).and_then(|slot| slot.successor.take());
                match successor {
                    // It died while its successor was loading: that one is the one now.
                    Some(successor) => {
                        if let Some(slot) = self.workers.slot_mut(&proc.name) {
                            slot.current = Some(successor);
                            slot.life.started();
                        }
                    }
                    None => self.plan_restart(&proc.name, &reason, status),
                }
            } else if was_successor {
                self.rolling_failed(&proc.name, &reason);
            }
        }
        if proc.role == Role::Gateway {
            if was_current {
                // Its calls are lost, and its successor knows only the new entries.
                self.release_all();
            }
            self.deliver_children();
        }
    }

    /// Decides when a slot is started again.
    fn plan_restart(&mut self, name: &str, reason: &str, status: Option<i32>) {
        let (now, jitter) = (self.now(), self.jitter());
        let Some(slot) = self.workers.slot_mut(name) else { return };
        if slot.prospective {
            return self.reload_failed(name, reason);
        }
        slot.last_exit = Some(reason.to_owned());
        let role = slot.role;
        match slot.life.died(now, status, jitter) {
            Next::Now => slot.start_at = Some(now),
            Next::After(delay) => slot.start_at = Some(now + delay),
            Next::AtReload => slot.failed = true,
        }
        if slot.life.is_unwell(now) {
            tracing::error!(target: "transport", code = %Code::TransportDegraded, worker = name, "worker dies again and again; still tried");
        }
        let failed = slot.failed;
        self.counters.worker_restart(role);
        if failed && self.workers.rolling.front().is_some_and(|front| front == name) {
            self.rolling_failed(name, reason);
        }
        self.workers_on_time(now);
    }
}

/// The names and roles of the workers that a configuration asks for, gateway first.
pub(crate) fn wanted_slots(config: &Config) -> Vec<(String, Role)> {
    let mut wanted = vec![("gateway-0".to_owned(), Role::Gateway)];
    if config.transports.http.enabled {
        wanted.extend((0..config.server.workers.max(1)).map(|index| (format!("http-{index}"), Role::Http)));
    }
    if config.metrics.enabled {
        wanted.push(("admin-0".to_owned(), Role::Admin));
    }
    wanted
}

fn exit_label(stage: Stage, ended: Ended) -> &'static str {
    match (stage, ended) {
        (Stage::Draining(_), _) => "drained",
        (Stage::Aborted(_) | Stage::Killed, _) => "hung",
        (_, Ended::Exited(_)) => "exit",
        (_, Ended::Killed(_)) => "signal",
    }
}
