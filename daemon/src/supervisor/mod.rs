//! The supervisor: owns the listeners, the child processes, the configuration in force and the
//! counters. One structure holds its rooms, one loop drives it. It parses no bytes from the network,
//! and no worker code runs here.

mod boot;
mod channels;
mod control;
mod event;
mod hub;
mod lifecycle;
mod listeners;
mod metrics;
pub(crate) mod processes;
mod reload;
mod reply;
mod routing;
mod secrets;
mod service_manager;
mod sessions;
mod settings;
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
    ipc::messages::{Role, ToSupervisor},
    log::Sink,
};
use channels::Channels;
use control::{Control, status};
use event::{Event, Owner, ProcId};
use ggen_wire::status::{Issue, Status, Transport};
use hub::Hub;
use lifecycle::Lifecycle;
use listeners::Listeners;
use metrics::Metrics;
use processes::reaper::Children;
use reload::{Input, Reload, Scope, candidate::Candidate};
use secrets::WorkerSecrets;
use service_manager::{
    ServiceManager,
    status_line::{self, status_line, urls},
};
use sessions::SessionStore;
use settings::Settings;
use signals::{Asked, Signals};
use std::{
    io::Write,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::sync::mpsc;
use upgrade::Upgrade;
use upstreams::{LeaseId, Upstreams};
use workers::Workers;

/// Events handled in one turn before the clock is looked at again.
const TURN: usize = 256;
/// A turn that comes so late means that the supervisor was not running itself, and that silence of
/// workers says nothing.
const STALL: Duration = Duration::from_millis(500);
/// Without anything to do, the loop turns once in so long.
const IDLE: Duration = Duration::from_secs(3600);

/// The whole state.
struct Supervisor {
    lifecycle: Lifecycle,
    settings: Settings,
    hub: Arc<Hub>,
    channels: Channels,
    children: Children,
    listeners: Listeners,
    secrets: WorkerSecrets,
    workers: Workers,
    upstreams: Upstreams,
    metrics: Metrics,
    control: Control,
    sessions: SessionStore,
    reload: Reload<Candidate>,
    service_manager: ServiceManager,
    upgrade: Upgrade,
}

impl Supervisor {
    /// Time since the supervisor's start.
    fn now(&self) -> Duration {
        self.lifecycle.now()
    }

    /// Turns until the daemon has stopped, or another binary is to take over.
    async fn run(&mut self, events: &mut mpsc::Receiver<Event>, signals: &mut Signals) {
        self.on_time();
        while !self.lifecycle.stop.is_done() && !self.upgrade.is_due() {
            let due = self.deadline().max(self.now());
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
                self.workers.excuse(late);
            }
            self.on_time();
        }
    }

    fn signal(&mut self, asked: Asked) {
        match asked {
            Asked::Reap => self.reap(),
            Asked::Stop => self.begin_stop(false, None),
            Asked::Reload if self.lifecycle.is_stopping() => {}
            Asked::Reload => self.reload(Input::Requested(Scope::Files, None)),
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
                self.channels.closed(Owner::Worker(id));
                self.metrics.retire(id);
            }
            Event::Paused(owner, channel) => {
                self.channels.closed(owner);
                self.upgrade.paused(owner, *channel);
            }
            Event::Shim(id, message) => {
                self.with_upstreams(|upstreams, context| upstreams.shim_says(id, message, context))
            }
            Event::ShimClosed(id, last_line) => {
                self.channels.closed(Owner::Shim(id));
                self.with_upstreams(|upstreams, context| {
                    upstreams.shim_closed(id, &last_line, context)
                });
            }
            Event::Checked(pid, stdout, stderr) => {
                let busy = self.upgrade_is_late();
                self.upgrade.said(pid, stdout, stderr, busy);
            }
            Event::Keys(snapshot) => {
                self.secrets.keys_changed(*snapshot);
                self.refresh_auth();
            }
            Event::Store(outcome) => {
                let effects = self.sessions.outcome(outcome);
                self.sessions_want(effects);
            }
            Event::Call(incoming) => self.call(incoming),
            Event::Tls(read) => {
                if let Some(tls) = self.secrets.changed_tls(*read) {
                    self.put_tls(tls);
                    // The first certificate is what workers of QUIC waited for.
                    self.lay_out_slots();
                }
            }
        }
    }

    fn worker_says(&mut self, id: ProcId, message: ToSupervisor) {
        match message {
            ToSupervisor::Sandboxed(state) => self.workers.sandboxed(id, state),
            ToSupervisor::Ready => self.worker_ready(id),
            ToSupervisor::Beat(beat) => self.worker_beat(id, beat),
            ToSupervisor::Log(lines) => lines.into_iter().for_each(|line| self.hub.take(line)),
            ToSupervisor::Ask {
                id: number,
                question,
            } => self.worker_asks(id, number, question),
            ToSupervisor::Answer { id: number, result } => {
                let effect = self.control.questions.answered(id, number, result);
                self.answer(effect);
            }
            ToSupervisor::Reconfigured { generation } => {
                self.workers.confirmed(id, generation);
                if generation == self.settings.generation {
                    self.reload(Input::Confirmed(id));
                }
            }
            message => self.gateway_says(id, message),
        }
    }

    fn gateway_says(&mut self, id: ProcId, message: ToSupervisor) {
        // Only the present gateway has a say about servers; what a draining one says would be about
        // its successor's.
        let is_gateway = self.workers.gateway() == Some(id);
        let proc = self.workers.proc(id);
        let may_lease = proc.is_some_and(|proc| proc.role == Role::Gateway);
        match message {
            ToSupervisor::Released { upstream } if is_gateway => {
                self.with_upstreams(|upstreams, context| upstreams.released(&upstream, context));
            }
            ToSupervisor::Want { upstream, lease: 0 } if is_gateway => {
                self.with_upstreams(|upstreams, context| upstreams.want(&upstream, context));
            }
            // Each gateway worker has its own; one that drains may need some for the calls that it
            // still has.
            ToSupervisor::Want { upstream, lease } if lease > 0 && may_lease => {
                let lease = LeaseId(lease);
                self.with_upstreams(|it, context| it.lease(id, &upstream, lease, context));
            }
            ToSupervisor::Unlease {
                upstream,
                lease,
                kill,
            } => {
                let lease = LeaseId(lease);
                self.with_upstreams(|it, context| it.unlease(id, &upstream, lease, kill, context));
            }
            ToSupervisor::Recycle {
                upstream,
                incarnation,
                code,
                detail,
            } if is_gateway => self.with_upstreams(|upstreams, context| {
                upstreams.recycle(&upstream, incarnation, code, detail, context)
            }),
            ToSupervisor::Probe {
                upstream,
                incarnation,
                outstanding,
            } if is_gateway => self.upstreams.probe(&upstream, incarnation, outstanding),
            // Also the last words of one that has died.
            ToSupervisor::Keep(keep) if self.sessions.trusts(id) => {
                let (serving, config) = (self.workers.gateway(), self.settings.config());
                let effects = self.sessions.keep(id, keep, serving, config, seconds_now());
                self.sessions_want(effects);
            }
            ToSupervisor::Upstream(report) if is_gateway => {
                self.with_upstreams(|upstreams, context| upstreams.report(report, context));
            }
            _ => {}
        }
    }

    /// Does what the session store wants others to do.
    fn sessions_want(&mut self, effects: Vec<sessions::Effect>) {
        for sessions::Effect::Tell(worker, message) in effects {
            self.workers.tell(worker, message, Vec::new());
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

    /// All metrics of the daemon.
    fn all_metrics(&self) -> Vec<crate::metrics::Family> {
        self.metrics.all(&metrics::Facts {
            generation: self.settings.generation,
            started_ms: self.lifecycle.started_ms,
            certificates: self.secrets.tls().facts(),
            transports: self.transports(),
            workers: self.workers.facts(self.now()),
            upstreams: self.upstreams.facts(self.now()),
            leased_cpu_ms: self.upstreams.leased_cpu_ms(),
        })
    }

    /// The status as of now.
    fn status(&self) -> Status {
        let now = self.now();
        let issues = self.issues(now);
        Status {
            version: ggen_wire::VERSION.to_owned(),
            pid: std::process::id(),
            phase: self.lifecycle.phase(!issues.is_empty()),
            started_ms: self.lifecycle.started_ms,
            uptime_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
            generation: self.settings.generation,
            config_file: self
                .settings
                .loaded
                .file
                .as_ref()
                .map(|path| path.display().to_string()),
            config_version: self.settings.loaded.config.version.clone(),
            transports: self.transports(),
            listeners: self.listeners.status(),
            workers: self.workers.rows(self.settings.generation, now),
            upstreams: self.upstreams.rows(
                now,
                |name| self.workers.calls_of(name),
                |name| self.settings.is_stopped(name),
            ),
            tools: self.workers.tools(),
            sessions: self.workers.sessions(),
            in_flight: self.workers.in_flight(),
            slow: self.metrics.slow_calls().to_vec(),
            limits: status::limits(self.settings.config()),
            cgroups: Some(self.upstreams.cgroups_status()),
            log_levels: self.control.logging.status(now),
            issues,
            warnings: self.settings.warnings(),
        }
    }

    /// What is wrong.
    fn issues(&self, now: Duration) -> Vec<Issue> {
        let mut issues: Vec<Issue> = self.sessions.issue().into_iter().collect();
        issues.extend(self.workers.issues(now));
        issues.extend(self.workers.shortages(self.settings.config(), now));
        issues.extend(self.listeners.quic_issue());
        if self.listeners.quic_port().is_some() && !self.secrets.tls().is_any() {
            issues.push(status::no_certificate());
        }
        issues.extend(self.upstreams.issues(now));
        issues
    }

    fn transports(&self) -> Vec<Transport> {
        status::transports(
            &self.settings.loaded,
            &self.listeners,
            &self.workers,
            self.now(),
        )
    }

    /// The line of status for the service manager.
    fn status_line(&self) -> String {
        let now = self.now();
        let (ready, servers) = self.upstreams.ready_and_served(now);
        status_line(&status_line::Facts {
            addresses: self.listeners.addresses("http"),
            servers,
            ready,
            generation: self.settings.generation,
            refused: self.settings.refused.as_deref(),
            issues: self.issues(now),
        })
    }

    /// When the loop has to turn if nothing happens.
    fn deadline(&self) -> Duration {
        let now = self.now();
        let others = [
            self.upstreams.deadline(),
            self.reload.deadline(),
            self.workers.deadline(),
            self.control.questions.deadline(),
            self.control.logging.deadline(),
            self.lifecycle.stop.deadline(now),
            self.service_manager.deadline(now),
            self.upgrade.deadline(),
            self.children.deadline(now),
            self.listeners.deadline(),
            Some(self.metrics.deadline()),
        ];
        others.into_iter().flatten().min().unwrap_or(now + IDLE)
    }

    /// Does everything that is due.
    fn on_time(&mut self) {
        let now = self.now();
        if !self.lifecycle.is_stopping() {
            if self.listeners.on_time(self.settings.config(), now) {
                self.quic_is_open();
            }
            self.workers_on_time(now);
            self.with_upstreams(Upstreams::on_time);
            self.settle_reload(now);
        } else {
            self.upstreams.stop_on_time(now);
            self.reap();
            // No slot is due while stopping, so this only kills who outlives the drain.
            self.workers.stop_starting();
            self.workers_on_time(now);
            self.go_on_stopping();
        }
        self.upstreams.cgroups_on_time(now);
        let late = self.control.questions.on_time(now);
        self.answer(late);
        self.answer_waiting();
        self.upgrade.on_time(now, self.lifecycle.is_stopping());
        if self.control.logging.expire(now) {
            tracing::info!(target: "mcp_server", "log levels are the configured ones again");
            self.put_log_filter();
        }
        if self.service_manager.may_tell(now) {
            self.service_manager.tell_status(&self.status_line(), now);
        }
        self.service_manager.on_time(now);
        self.children.on_time(now);
        if self.metrics.is_scan_due(now) {
            self.hub.tell_repeats();
            let (workers, upstreams) = (self.workers.measure(), self.upstreams.measure());
            let dropped = self.hub.console.dropped();
            self.metrics.measured(workers, upstreams, dropped);
            if std::process::id() == 1 {
                self.children.note_foreign(now);
            }
        }
    }

    /// Tells the reload what has become of upstreams that it waits for.
    fn settle_reload(&mut self, now: Duration) {
        let known = self
            .reload
            .touched()
            .filter_map(|name| Some((name.clone(), self.upstreams.outcome_of(name, now)?)));
        let known = known.collect();
        self.reload(Input::Outcomes(known));
    }

    /// Once every worker serves for the first time, says so to the service manager and to whoever
    /// looks at the terminal.
    fn announce_if_ready(&mut self) {
        self.answer_waiting();
        if self.lifecycle.announced || !self.workers.all_ready() || self.lifecycle.is_stopping() {
            return;
        }
        self.lifecycle.announced = true;
        let control = self.control.instance.path().display();
        let (version, pid) = (ggen_wire::VERSION, std::process::id());
        let addresses = self.listeners.addresses("http");
        let what = if addresses.is_empty() {
            "running without an HTTP listener".to_owned()
        } else {
            format!("serving MCP on {}", urls(&addresses))
        };
        let line = format!("ggend {version} {what} (pid {pid}, control {control})\n");
        // A closed stdout is no reason to fail.
        std::io::stdout()
            .write_all(line.as_bytes())
            .unwrap_or_default();
        let status = self.status_line();
        self.service_manager.ready(&status, self.now());
        tracing::info!(target: "mcp_server", event = "ready", version, pid, "ready in {} ms", self.now().as_millis());
    }
}

/// Now, in seconds since 1970.
fn seconds_now() -> u64 {
    crate::auth::seconds(SystemTime::now())
}

/// A random number between -1 and 1.
fn jitter() -> f64 {
    let mut bytes = [0; 2];
    getrandom::fill(&mut bytes).unwrap_or_default();
    f64::from(u16::from_le_bytes(bytes)) / 32767.5 - 1.0
}
