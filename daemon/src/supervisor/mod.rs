//! The supervisor: owns the listeners, the child processes, the configuration in force and the
//! counters. One structure holds its state, one loop drives it. It parses no bytes from the network,
//! and no worker code runs here.

mod boot;
mod channels;
mod control;
mod event;
mod listeners;
mod metrics;
pub(crate) mod processes;
mod reload;
mod secrets;
mod service_manager;
mod sessions;
mod signals;
mod stop;
#[cfg(test)]
mod testing;
mod upgrade;
mod upstreams;
mod workers;

pub use boot::{Options, main};
pub use upgrade::check as upgrade_check;

use crate::{
    config::{LoadOptions, Loaded, LogLevel},
    ipc::messages::ToSupervisor,
    log::{Console, Control, Repeats, Ring, Sink},
};
use channels::Owner;
use event::{Event, ProcId};
use ggen_wire::{log::LogLine, status::UpstreamState};
use service_manager::status_line::{self, status_line};
use signals::{Asked, Signals};
use std::{
    collections::BTreeSet,
    io::Write,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};
use tokio::sync::mpsc;

/// Events handled in one turn before the clock is looked at again.
const TURN: usize = 256;
/// A turn that comes so late means that we were not running ourselves, and that silence of workers
/// says nothing.
const STALL: Duration = Duration::from_millis(500);
/// Without anything to do, the loop turns once in so long.
const IDLE: Duration = Duration::from_secs(3600);

/// Where the log lines of all processes meet: the ring and the console.
pub(crate) struct Hub {
    pub(crate) ring: Ring,
    pub(crate) repeats: Mutex<Repeats>,
    pub(crate) console: Console,
}

impl Sink for Hub {
    fn take(&self, line: LogLine) {
        let (before, passes) = self
            .repeats
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .judge(&line);
        before
            .into_iter()
            .chain(passes.then_some(line))
            .for_each(|line| self.pass(line));
    }
}

impl Hub {
    fn pass(&self, line: LogLine) {
        self.console.print(self.ring.push(line));
    }

    /// Says what was held back of lines that have stopped coming.
    fn tell_repeats(&self) {
        let held = self
            .repeats
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .expire(crate::log::now_us());
        held.into_iter().for_each(|line| self.pass(line));
    }
}

/// The whole state.
struct Supervisor {
    began: Instant,
    started_ms: u64,
    load_options: LoadOptions,
    loaded: Loaded,
    generation: u32,
    level: Option<LogLevel>,
    log_filter: String,
    levels: control::log_levels::LogLevels,
    log_control: Control,
    hub: Arc<Hub>,
    events: mpsc::Sender<Event>,
    instance: control::instance::Instance,
    listeners: listeners::Listeners,
    secrets: crate::ipc::secrets::Secrets,
    tls: secrets::Tls,
    workers: workers::Workers,
    upstreams: Vec<upstreams::Upstream>,
    leased: Vec<upstreams::leases::Leased>,
    shims: upstreams::shims::Shims,
    cgroups: upstreams::cgroups::Cgroups,
    pids: processes::reaper::Pids,
    strangers: processes::reaper::Strangers,
    metrics: metrics::Metrics,
    questions: control::calls::Questions,
    keys: secrets::api_keys::Keys,
    sessions: sessions::SessionStore,
    leaving: Vec<upstreams::draining::DrainingUpstream>,
    reload: reload::Reload,
    rolling: workers::rolling_restart::RollingRestart,
    stop: stop::Stop,
    service_manager: service_manager::ServiceManager,
    seal: crate::ipc::seal::SealKey,
    /// Who workers become.
    run_as: Option<crate::ipc::messages::RunAs>,
    /// Why the last reload was refused.
    refused: Option<String>,
    last_link: u32,
    announced: bool,
    /// Transports and upstreams that an operator wants to be stopped.
    stopped: BTreeSet<String>,
    /// The channels that a task hears.
    heard: BTreeSet<Owner>,
    /// Has those tasks pause.
    pause: tokio::sync::watch::Sender<bool>,
    upgrade: upgrade::Upgrade,
    /// What was asked for while another binary was to take over.
    again: Vec<Asked>,
    /// After that: what to say when the workers are replaced, and to whom.
    upgrade_reply: Option<(String, Option<event::Reply>)>,
}

impl Supervisor {
    /// Time since the supervisor's start.
    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Something between -1 and 1.
    fn jitter(&self) -> f64 {
        let mut bytes = [0; 2];
        getrandom::fill(&mut bytes).unwrap_or_default();
        f64::from(u16::from_le_bytes(bytes)) / 32767.5 - 1.0
    }

    /// Turns until the daemon has stopped, or another binary is to take over.
    async fn run(&mut self, events: &mut mpsc::Receiver<Event>, signals: &mut Signals) {
        self.on_time();
        while !self.stop.is_done() && !self.upgrade.is_due() {
            let due = self.deadline();
            tokio::select! {
                biased;
                asked = signals.next() => self.signal(asked),
                Some(event) = events.recv() => self.event(event),
                () = tokio::time::sleep(due.saturating_sub(self.now())) => {}
            }
            for _ in 0..TURN {
                match events.try_recv() {
                    Ok(event) => self.event(event),
                    Err(_) => break,
                }
            }
            let late = self.now().saturating_sub(due);
            if late > STALL {
                self.workers
                    .procs
                    .values_mut()
                    .for_each(|proc| proc.beat_at += late);
            }
            self.on_time();
        }
    }

    fn signal(&mut self, asked: Asked) {
        match asked {
            Asked::Reap => self.reap(),
            Asked::Stop => self.begin_stop(false, None),
            Asked::Reload if self.stop.is_stopping() => {}
            Asked::Reload => self.reload(None),
            Asked::Dump => {
                let status = serde_json::to_string(&self.status()).unwrap_or_default();
                tracing::info!(target: "mcp_server", status, "status");
            }
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Worker(id, message) => self.worker_says(id, message),
            Event::WorkerClosed(id) => {
                self.heard.remove(&Owner::Worker(id));
                self.metrics.retire(id);
            }
            Event::Paused(whose, rest) => self.paused(whose, *rest),
            Event::WorkerStuck(id) => {
                self.abort_worker(id, "worker does not read its control channel")
            }
            Event::Shim(id, message) => self.shim_says(id, message),
            Event::ShimClosed(id, last_line) => {
                self.heard.remove(&Owner::Shim(id));
                self.shim_closed(id, &last_line);
            }
            Event::Checked(pid, stdout, stderr) => self.upgrade_said(pid, stdout, stderr),
            Event::Keys(snapshot) => self.keys_changed(*snapshot),
            Event::Store(outcome) => {
                let effects = self.sessions.outcome(outcome);
                self.sessions_want(effects);
            }
            Event::Call(incoming) => self.call(incoming),
            Event::Tls(read) => self.tls_changed(*read),
        }
    }

    fn worker_says(&mut self, id: ProcId, message: ToSupervisor) {
        // Only the gateway of now has a say about servers; a draining one's words would be about
        // its successor's.
        let is_gateway = self.workers.gateway() == Some(id);
        let may_lease = self
            .workers
            .procs
            .get(&id)
            .is_some_and(|proc| proc.role == crate::ipc::messages::Role::Gateway);
        match message {
            ToSupervisor::Sandboxed(standing) => self.worker_sandboxed(id, standing),
            ToSupervisor::Ready => self.worker_ready(id),
            ToSupervisor::Beat(beat) => self.worker_beat(id, beat),
            ToSupervisor::Log(lines) => lines.into_iter().for_each(|line| self.hub.take(line)),
            ToSupervisor::Ask {
                id: number,
                question,
            } => self.worker_asks(id, number, question),
            ToSupervisor::Answer { id: number, result } => self.worker_answers(id, number, result),
            ToSupervisor::Reconfigured { generation } => self.reconfigured(id, Some(generation)),
            ToSupervisor::Released { upstream } if is_gateway => self.released(&upstream),
            ToSupervisor::Want { upstream, lease: 0 } if is_gateway => self.want(&upstream),
            // Each gateway worker has its own; one that drains may need some for the calls that it
            // still has.
            ToSupervisor::Want { upstream, lease } if lease > 0 && may_lease => {
                self.lease(id, &upstream, lease)
            }
            ToSupervisor::Unlease {
                upstream,
                lease,
                kill,
            } => self.unlease(id, &upstream, lease, kill),
            ToSupervisor::Recycle {
                upstream,
                incarnation,
                code,
                detail,
            } if is_gateway => self.recycle(&upstream, incarnation, code, detail),
            // Also the last words of one that has died.
            ToSupervisor::Keep(keep) if self.sessions.trusts(id) => {
                let (serving, config) = (self.workers.gateway(), &self.loaded.config);
                let effects = self.sessions.keep(id, keep, serving, config, seconds_now());
                self.sessions_want(effects);
            }
            ToSupervisor::Upstream(report) if is_gateway => self.upstream_report(report),
            ToSupervisor::Want { .. }
            | ToSupervisor::Recycle { .. }
            | ToSupervisor::Upstream(_)
            | ToSupervisor::Released { .. }
            | ToSupervisor::Keep(_) => {}
        }
    }

    /// What a gateway worker that is being started has to know of sessions.
    fn sessions_recalled(&mut self, id: ProcId) -> Vec<crate::ipc::messages::ToWorker> {
        let config = &self.loaded.config;
        let (messages, effects) = self.sessions.recall(id, config, seconds_now());
        self.sessions_want(effects);
        messages
    }

    /// Does what the session store wants others to do.
    fn sessions_want(&mut self, effects: Vec<sessions::Effect>) {
        for sessions::Effect::Tell(worker, message) in effects {
            self.tell(worker, message, Vec::new());
        }
    }

    /// Tries the QUIC port again now, which was taken.
    fn retry_quic(&mut self) {
        let now = self.now();
        if self.listeners.retry_quic(&self.loaded.config, now) {
            self.quic_is_open();
        }
    }

    /// The QUIC port was taken and is ours now.
    fn quic_is_open(&mut self) {
        self.keep_listeners(&[]);
        self.lay_out_slots();
    }

    /// Has the service manager keep our own listening sockets, and no others. `inherited`: names of
    /// those that came with this start and may not be wanted any more.
    fn keep_listeners(&mut self, inherited: &[String]) {
        let own = self.listeners.own();
        self.service_manager.keep_sockets(own, inherited);
    }

    /// Looks at memory and processor time of every process.
    fn measure(&mut self) {
        let workers = self.workers.measure();
        let upstreams = self.measure_upstreams();
        let dropped = self.hub.console.dropped();
        self.metrics.measured(workers, upstreams, dropped);
        if std::process::id() == 1 {
            self.note_foreign();
        }
    }

    /// All metrics of the daemon.
    fn all_metrics(&self) -> Vec<crate::metrics::Family> {
        let certificates = self.tls.found.certificates.iter().map(|(path, facts)| {
            let path = path.display().to_string();
            (path, facts.name.clone(), facts.not_after)
        });
        self.metrics.all(&metrics::Facts {
            generation: self.generation,
            started_ms: self.started_ms,
            certificates: certificates.collect(),
            transports: self.transports(),
            workers: self.workers.facts(self.now()),
            upstreams: self.upstream_facts(),
            leased_cpu_ms: self.leased_cpu_ms(),
        })
    }

    /// The line of status for the service manager.
    fn status_line(&self) -> String {
        let now = self.now();
        let is_served =
            |upstream: &&upstreams::Upstream| upstream.config.enabled && !upstream.config.is_self;
        let served = self.upstreams.iter().filter(is_served);
        let is_ready =
            |upstream: &&upstreams::Upstream| upstream.state(now) == UpstreamState::Ready;
        status_line(&status_line::Facts {
            address: self.listeners.address("http"),
            servers: served.clone().count(),
            ready: served.filter(is_ready).count(),
            generation: self.generation,
            refused: self.refused.as_deref(),
            issues: self.issues(now),
        })
    }

    /// When the loop has to turn if nothing happens.
    fn deadline(&self) -> Duration {
        let now = self.now();
        let workers = self
            .workers
            .procs
            .values()
            .filter_map(workers::Proc::deadline);
        let starts = self.workers.slots.iter().filter_map(|slot| slot.start_at);
        let others = [
            self.upstreams_deadline(),
            self.leaving_deadline(),
            self.reload.deadline(),
            self.questions.deadline(),
            self.levels.deadline(),
            self.stop.deadline(now),
            self.service_manager.deadline(now),
            self.upgrade.deadline(),
            self.strangers.deadline(now),
            self.listeners.deadline(),
            self.cgroups.deadline(),
            Some(self.metrics.deadline()),
        ];
        workers
            .chain(starts)
            .chain(others.into_iter().flatten())
            .min()
            .unwrap_or(now + IDLE)
    }

    /// Does everything that is due.
    fn on_time(&mut self) {
        let now = self.now();
        if !self.stop.is_stopping() {
            if self.listeners.on_time(&self.loaded.config, now) {
                self.quic_is_open();
            }
            self.workers_on_time(now);
            self.leaving_on_time(now);
            self.upstreams_on_time(now);
            self.go_on_reloading();
        } else {
            self.shims.on_time(now);
            self.reap_and_kill_late_workers(now);
            self.go_on_stopping();
        }
        self.cgroups.on_time(now);
        self.questions_on_time(now);
        self.upgrade_on_time(now);
        if self.levels.expire(now) {
            tracing::info!(target: "mcp_server", "log levels are the configured ones again");
            self.put_log_filter();
        }
        if self.service_manager.may_tell(now) {
            self.service_manager.tell_status(&self.status_line(), now);
        }
        self.service_manager.on_time(now);
        if self.strangers.deadline(now).is_some() {
            self.sweep();
        }
        if self.metrics.is_scan_due(now) {
            self.hub.tell_repeats();
            self.measure();
        }
    }

    fn reap_and_kill_late_workers(&mut self, now: Duration) {
        self.reap();
        // No slot is due while stopping, so this only kills who outlives the drain.
        self.workers
            .slots
            .iter_mut()
            .for_each(|slot| slot.start_at = None);
        self.workers_on_time(now);
    }

    /// Once every worker serves for the first time, says so to the service manager and to whoever
    /// looks at the terminal.
    fn announce_if_ready(&mut self) {
        self.answer_waiters();
        if self.announced || !self.workers.all_ready() || self.stop.is_stopping() {
            return;
        }
        self.announced = true;
        let control = self.instance.path.display();
        let (version, pid) = (ggen_wire::VERSION, std::process::id());
        let line = match self.listeners.address("http") {
            Some(address) => format!(
                "ggend {version} serving MCP on http://{address}/mcp (pid {pid}, control {control})\n"
            ),
            None => format!(
                "ggend {version} running without an HTTP listener (pid {pid}, control {control})\n"
            ),
        };
        // A closed stdout is no reason to fail.
        std::io::stdout()
            .write_all(line.as_bytes())
            .unwrap_or_default();
        let status = self.status_line();
        self.service_manager.ready(&status, self.now());
        tracing::info!(target: "mcp_server", event = "ready", version, pid, "ready in {} ms", self.now().as_millis());
    }

    fn shim_says(&mut self, id: upstreams::shims::ShimId, message: crate::ipc::launch::FromShim) {
        use crate::ipc::launch::FromShim;
        let Some(shim) = self.shims.all.get_mut(&id) else {
            return;
        };
        match message {
            FromShim::Started { pid } => {
                shim.child = Some(pid);
                self.upstream_started(id, pid);
                self.lease_started(id, pid);
            }
            verdict @ (FromShim::SpawnFailed { .. } | FromShim::Exited { .. }) => {
                shim.verdict = Some(verdict)
            }
        }
    }

    /// Logs what does not stop the start.
    fn tell_warnings(&self) {
        for problem in &self.loaded.warnings {
            tracing::warn!(target: "mcp_server", code = %problem.code, "{problem}");
        }
    }
}

/// Now, in seconds since 1970.
fn seconds_now() -> u64 {
    crate::auth::seconds(SystemTime::now())
}
