//! Putting another configuration in force without dropping a connection, a session or a call. In
//! steps, each of which the loop goes on from: read and compare ([`Stage::Asking`] for the tools
//! that are concerned) → bind new listeners and start additional workers ([`Stage::Preparing`];
//! whatever fails up to here leaves everything as it was) → tell every process
//! ([`Stage::Switching`]) → see what becomes of the upstreams that were touched
//! ([`Stage::Settling`]) → answer.

pub(in crate::supervisor) mod plan;

use crate::{
    config::{self, Loaded, Problem},
    ipc::messages::{Question, Role, ToWorker},
    log,
    supervisor::{
        Supervisor,
        event::{ProcId, Reply},
        listeners::Listeners,
        reload::plan::Step,
        upstreams::{Phase, operator_stops::Switch},
        workers::{Slot, slots::wanted_slots},
    },
};
use ggen_wire::{
    Code,
    control::{Body, Failure},
    plan::{Effect, Plan},
    status::{Tool, UpstreamState},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// How long the answer waits for upstreams that were touched.
const SETTLING: Duration = Duration::from_secs(10);

/// Somebody who waits for the outcome.
#[derive(Debug)]
pub(crate) struct Watcher {
    reply: Reply,
    more: bool,
    switch: Option<Switch>,
}

/// What the next reload is to take up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Again {
    /// Nothing: there is none.
    #[default]
    No,
    /// What has been stopped and started by name; files are not read.
    Switches,
    /// The files, and that too.
    Files,
}

/// A configuration that is not in force yet.
pub(crate) struct Candidate {
    pub(crate) loaded: Loaded,
    pub(crate) listeners: Listeners,
    pub(crate) tls: crate::supervisor::secrets::Tls,
    pub(crate) generation: u32,
    pub(crate) log_filter: String,
    pub(crate) run_as: Option<crate::ipc::messages::RunAs>,
    plan: Plan,
    /// Slots whose first process is not Ready yet.
    waiting: BTreeSet<String>,
}

/// How far it has come.
#[derive(Default)]
pub(crate) enum Stage {
    /// Nothing is under way.
    #[default]
    Idle,
    /// The gateway is asked for the tools that are concerned.
    Asking(Box<Candidate>),
    /// Additional workers start.
    Preparing(Box<Candidate>),
    /// Workers have been told, and have not confirmed yet; `true`: one that is to go then.
    Switching(BTreeMap<ProcId, bool>, BTreeSet<String>),
    /// Upstreams that were touched are starting, until that time.
    Settling(BTreeSet<String>, Duration),
}

/// A reload, and who wants the next one.
#[derive(Default)]
pub(crate) struct Reload {
    pub(crate) stage: Stage,
    watchers: Vec<Watcher>,
    queued: Vec<Watcher>,
    again: Again,
}

impl Reload {
    /// When something has to be done if nothing happens.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        if let Stage::Settling(_, until) = &self.stage {
            Some(*until)
        } else {
            None
        }
    }

    fn say(&self, body: &Body) {
        // Who has switched something by name knows what differs.
        let plan = matches!(body, Body::Plan(_));
        self.watchers
            .iter()
            .filter(|watcher| watcher.more && !(plan && watcher.switch.is_some()))
            .for_each(|watcher| watcher.reply.progress(body.clone()));
    }
}

fn refused(problems: &[Problem]) -> Failure {
    for problem in problems {
        tracing::error!(target: "mcp_server", event = "refused", code = %problem.code, "configuration refused, the old one stays in force: {problem}");
    }
    let first = problems
        .iter()
        .find(|problem| problem.is_error())
        .or(problems.first());
    let code = first.map_or(Code::ConfigValue, |problem| problem.code);
    let message = problems
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n");
    crate::supervisor::control::calls::failure(code, &message, "ggend check")
}

impl Supervisor {
    /// Checks the configuration, and does nothing.
    pub(crate) fn validate(&self, reply: &Reply, more: bool) {
        reply.last(
            config::load(&self.load_options)
                .map_err(|problems| refused(&problems))
                .map(|loaded| {
                    let warnings = loaded.warnings.iter().map(ToString::to_string);
                    warnings
                        .filter(|_| more)
                        .for_each(|warning| reply.progress(Body::Done(warning)));
                    Body::Done("the configuration is valid".to_owned())
                }),
        );
    }

    /// Says what a reload would do, and does nothing.
    pub(crate) fn show_plan(&mut self, reply: Reply) {
        match config::load(&self.load_options) {
            Err(problems) => reply.last(Err(refused(&problems))),
            Ok(loaded) => {
                let loaded = loaded.with_stopped(&self.stopped);
                let plan = plan::plan(&self.loaded.config, &loaded.config, self.generation);
                self.ask_for_tools(plan, Some(reply));
            }
        }
    }

    /// Reads the configuration and puts it in force, or leaves everything as it was and says why.
    /// While one is under way, the next one waits.
    pub(crate) fn reload(&mut self, watcher: Option<(Reply, bool)>) {
        self.reload
            .queued
            .extend(watcher.map(|(reply, more)| Watcher {
                reply,
                more,
                switch: None,
            }));
        self.reload.again = Again::Files;
        self.next_reload();
    }

    /// Puts what is stopped and started by name in force.
    pub(crate) fn switch_and_reload(&mut self, switch: Switch, reply: Reply, more: bool) {
        self.reload.queued.push(Watcher {
            reply,
            more,
            switch: Some(switch),
        });
        self.reload.again = self.reload.again.max(Again::Switches);
        self.next_reload();
    }

    fn next_reload(&mut self) {
        if !matches!(self.reload.stage, Stage::Idle) || self.stop.is_stopping() {
            return;
        }
        let again = std::mem::take(&mut self.reload.again);
        if again == Again::No {
            return;
        }
        self.reload.watchers = std::mem::take(&mut self.reload.queued);
        self.service_manager.reloading(self.now());
        let read = if again == Again::Files {
            config::load(&self.load_options)
        } else {
            Ok(self.loaded.clone())
        };
        let loaded = match read {
            Ok(loaded) => loaded.with_stopped(&self.stopped),
            Err(problems) => return self.end_reload(Err(refused(&problems))),
        };
        let tls = match crate::supervisor::secrets::Tls::read(&loaded) {
            Ok(tls) => tls,
            Err(error) => return self.end_reload(Err(crate::supervisor::secrets::refused(&error))),
        };
        let run_as = match crate::supervisor::workers::sandbox::run_as(&loaded.config) {
            Ok(run_as) => run_as,
            Err(error) => {
                tracing::error!(target: "mcp_server", event = "refused", code = %error.code, "configuration refused, the old one stays in force: {error}");
                let failure = crate::supervisor::control::calls::failure(
                    error.code,
                    &error.to_string(),
                    "ggen mcp config get server",
                );
                return self.end_reload(Err(failure));
            }
        };
        if loaded.config == self.loaded.config && loaded.stopped == self.loaded.stopped {
            self.loaded = loaded;
            self.refresh_auth();
            self.take_tls(tls);
            self.lay_out_slots();
            self.revive();
            return self.end_reload(Ok(format!(
                "no change, generation {} stays in force",
                self.generation
            )));
        }
        let listeners = match Listeners::open(&loaded, &self.usable_listeners(), Vec::new()) {
            Ok(listeners) => listeners,
            Err(error) => {
                tracing::error!(target: "transport", event = "refused", code = %error.code, "configuration refused, the old one stays in force: {error}");
                let message = format!("{error}; generation {} stays in force", self.generation);
                return self.end_reload(Err(crate::supervisor::control::calls::failure(
                    error.code,
                    &message,
                    "ggen mcp server status",
                )));
            }
        };
        let plan = plan::plan(&self.loaded.config, &loaded.config, self.generation);
        let log_filter = log::filter_text(
            &loaded.config.logging,
            self.level,
            std::env::var("RUST_LOG").ok().as_deref(),
        );
        let generation = self.generation + 1;
        let candidate = Candidate {
            loaded,
            listeners,
            tls,
            generation,
            log_filter,
            run_as,
            plan: plan.clone(),
            waiting: BTreeSet::new(),
        };
        self.reload.stage = Stage::Asking(Box::new(candidate));
        self.ask_for_tools(plan, None);
    }

    /// Completes a plan with the tools that are concerned; `asked_by`: it is all that is wanted.
    fn ask_for_tools(&mut self, plan: Plan, asked_by: Option<Reply>) {
        let concerns = |effect| {
            matches!(
                effect,
                Effect::Removed | Effect::Restarted | Effect::Reconnected
            )
        };
        if plan.changes.iter().any(|change| concerns(change.effect))
            && self.workers.gateway().is_some()
        {
            self.ask_gateway(
                Question::Tools,
                crate::supervisor::control::calls::Asker::Plan(plan, asked_by),
            );
        } else {
            self.planned(plan, Vec::new(), asked_by);
        }
    }

    /// The tools are known, or will not be.
    pub(crate) fn planned(&mut self, mut plan: Plan, tools: Vec<Tool>, asked_by: Option<Reply>) {
        for change in &mut plan.changes {
            if let Some(name) = change.setting.strip_prefix("mcpServers.")
                && matches!(
                    change.effect,
                    Effect::Removed | Effect::Restarted | Effect::Reconnected
                )
            {
                change.tools = tools
                    .iter()
                    .filter(|tool| tool.server == name)
                    .map(|tool| tool.name.clone())
                    .collect();
            }
        }
        if let Some(reply) = asked_by {
            return reply.last(Ok(Body::Plan(plan)));
        }
        let Stage::Asking(mut candidate) = std::mem::take(&mut self.reload.stage) else {
            return;
        };
        if self.stop.is_stopping() {
            return;
        }
        for change in &plan.changes {
            tracing::info!(target: "mcp_server", "reload: {}", change.line());
        }
        self.reload.say(&Body::Plan(plan.clone()));
        candidate.plan = plan;
        self.prepare(candidate);
    }

    /// Starts the workers that are additional.
    fn prepare(&mut self, mut candidate: Box<Candidate>) {
        let wanted = wanted_slots(
            &candidate.loaded.config,
            &candidate.listeners,
            candidate.tls.is_any(),
        );
        let fresh: Vec<_> = wanted
            .into_iter()
            .filter(|(name, _)| !self.workers.slots.iter().any(|slot| slot.name == *name))
            .collect();
        let names: Vec<String> = fresh.iter().map(|(name, _)| name.clone()).collect();
        if names.is_empty() {
            return self.switch(candidate);
        }
        self.reload
            .say(&Body::Done(format!("starting {}", names.join(", "))));
        candidate.waiting = names.iter().cloned().collect();
        self.reload.stage = Stage::Preparing(candidate);
        self.workers.slots.extend(
            fresh
                .into_iter()
                .map(|(name, role)| Slot::prospective(name, role)),
        );
        for name in names {
            // One that cannot be started ends this reload, and the next one may have begun with
            // slots of the same names.
            if self
                .workers
                .slot_mut(&name)
                .is_some_and(|slot| slot.prospective && slot.current.is_none())
            {
                self.start_worker(&name, false);
            }
        }
    }

    /// The first process of an additional slot serves.
    pub(crate) fn prepared(&mut self, name: &str) {
        let Stage::Preparing(candidate) = &mut self.reload.stage else {
            return;
        };
        candidate.waiting.remove(name);
        if candidate.waiting.is_empty()
            && let Stage::Preparing(candidate) = std::mem::take(&mut self.reload.stage)
        {
            self.switch(candidate);
        }
    }

    /// An additional process died before it served: nothing has changed, and nothing will.
    pub(crate) fn reload_failed(&mut self, name: &str, reason: &str) {
        if !matches!(self.reload.stage, Stage::Preparing(_)) {
            return;
        }
        // The new listeners close with the candidate.
        self.reload.stage = Stage::Idle;
        let (gone, slots) = std::mem::take(&mut self.workers.slots)
            .into_iter()
            .partition(|slot| slot.prospective);
        self.workers.slots = slots;
        for id in Vec::<Slot>::into_iter(gone).filter_map(|slot| slot.current) {
            self.drain_worker(id);
        }
        let message = format!(
            "the new {name} died before it was ready ({reason}); generation {} stays in force, nothing has changed",
            self.generation
        );
        tracing::error!(target: "mcp_server", code = %Code::WorkerDied, "{message}");
        self.end_reload(Err(crate::supervisor::control::calls::failure(
            Code::WorkerDied,
            &message,
            "ggen mcp server logs --level error",
        )));
    }

    /// From here on the new configuration is the one in force.
    fn switch(&mut self, candidate: Box<Candidate>) {
        let Candidate {
            loaded,
            listeners,
            tls,
            generation,
            log_filter,
            run_as,
            ..
        } = *candidate;
        let had_issuer = self.secrets.auth.has_issuer();
        let steps = plan::steps(&self.loaded.config, &loaded.config);
        (self.generation, self.run_as) = (generation, run_as);
        self.loaded = loaded;
        // Our own descriptors of listeners that are not wanted any more close here; the last worker
        // that has one takes who waits there.
        self.listeners = listeners;
        self.listeners.enter_force(self.now());
        self.listeners.log_left_out();
        self.take_tls(tls);
        self.keep_listeners(&[]);
        self.log_filter = log_filter;
        self.put_log_filter();
        self.hub
            .console
            .set(&self.loaded.config.logging, generation);
        tracing::info!(target: "mcp_server", event = "reloaded", generation, "configuration in force");
        self.tell_warnings();
        self.refresh_auth();
        let surplus = self.lay_out_slots();
        let port = self.listeners.quic_port();
        self.workers.steer(port);
        let moved = self.workers.at_other_quic_ports(port);
        let ends = |step: &Step| {
            matches!(
                step,
                Step::Vanishes | Step::Replaced | Step::Restarts | Step::Reconnects
            )
        };
        let mut retiring: BTreeSet<String> = steps
            .iter()
            .filter(|(_, step)| ends(step))
            .map(|(name, _)| name.clone())
            .collect();
        retiring.extend(self.leaving_names());
        let procs = self
            .workers
            .procs
            .iter()
            .filter(|(_, proc)| proc.is_current() && proc.generation != generation);
        let procs: Vec<_> = procs
            .map(|(id, proc)| (*id, proc.name.clone(), proc.role))
            .collect();
        let mut pending = BTreeMap::new();
        for (id, name, role) in procs {
            if role == Role::Gateway {
                let upstreams = retiring.iter().cloned().collect();
                self.tell(
                    id,
                    ToWorker::Retire {
                        upstreams,
                        within_ms: self.loaded.config.server.drain_timeout_ms,
                    },
                    Vec::new(),
                );
            }
            let start = self.start_message(&name, role);
            let sockets = self.listeners.sockets_for(role);
            if self.tell(id, ToWorker::Reconfigure(Box::new(start)), sockets) {
                pending.insert(id, surplus.contains(&id));
            }
        }
        if !moved.is_empty() {
            self.roll_through(moved, "QUIC has moved".to_owned(), None);
        }
        self.lay_out_upstreams();
        let touched = steps.into_iter().filter(|(name, step)| {
            let serves = self
                .loaded
                .config
                .mcp_servers
                .get(name)
                .is_some_and(|upstream| upstream.enabled && !upstream.is_self);
            serves
                && matches!(
                    step,
                    Step::Appears | Step::Replaced | Step::Restarts | Step::Reconnects
                )
        });
        self.reload.stage = Stage::Switching(pending, touched.map(|(name, _)| name).collect());
        if self.workers.gateway().is_none() {
            self.release_all();
        }
        self.let_call_out(had_issuer);
        self.go_on_reloading();
    }

    /// A worker has taken the configuration over, or is gone.
    pub(crate) fn reconfigured(&mut self, id: ProcId, generation: Option<u32>) {
        if let (Some(proc), Some(generation)) = (self.workers.procs.get_mut(&id), generation) {
            proc.generation = generation;
        }
        if generation.is_some_and(|generation| generation != self.generation) {
            return;
        }
        if let Stage::Switching(pending, _) = &mut self.reload.stage
            && let Some(surplus) = pending.remove(&id)
        {
            if surplus {
                self.drain_worker(id);
            }
            self.go_on_reloading();
        }
    }

    /// Takes the next step if the one before is finished.
    pub(crate) fn go_on_reloading(&mut self) {
        let now = self.now();
        if let Stage::Switching(pending, touched) = &mut self.reload.stage
            && pending.is_empty()
        {
            let touched = std::mem::take(touched);
            self.reload.stage = Stage::Settling(touched, now + SETTLING);
            let in_force = format!("generation {} in force", self.generation);
            if matches!(&self.reload.stage, Stage::Settling(touched, _) if !touched.is_empty()) {
                self.reload.say(&Body::Done(in_force));
            }
        }
        let Stage::Settling(touched, until) = &mut self.reload.stage else {
            return;
        };
        let (until, names) = (*until, touched.clone());
        for name in names {
            if let Some(outcome) = self.outcome_of(&name) {
                self.reload.say(&Body::Done(format!("{name}: {outcome}")));
                if let Stage::Settling(touched, _) = &mut self.reload.stage {
                    touched.remove(&name);
                }
            }
        }
        let Stage::Settling(touched, _) = &self.reload.stage else {
            return;
        };
        if touched.is_empty() || until <= now {
            let rest = touched
                .iter()
                .map(String::as_str)
                .collect::<Vec<_>>()
                .join(", ");
            let rest = if rest.is_empty() {
                rest
            } else {
                format!("; not ready yet: {rest}")
            };
            self.reload.stage = Stage::Idle;
            self.end_reload(Ok(format!("generation {} in force{rest}", self.generation)));
        }
    }

    /// What has become of an upstream; `None` while that is not known.
    fn outcome_of(&self, name: &str) -> Option<String> {
        let now = self.now();
        let Some(upstream) = self.upstreams.iter().find(|upstream| upstream.name == name) else {
            return Some("gone".to_owned());
        };
        if upstream.leaving_by.is_some() {
            return None;
        }
        let reported = upstream.report.as_ref().filter(|report| {
            !matches!(
                report.state,
                UpstreamState::Starting | UpstreamState::Disabled
            )
        });
        let known = match upstream.phase {
            Phase::Ending(_) => false,
            Phase::Running(_) | Phase::Remote => reported.is_some(),
            Phase::Idle | Phase::Queued | Phase::Starting(..) | Phase::Backoff(_) => {
                upstream.life.quick() > 0
            }
            Phase::Stopped | Phase::Disabled => true,
        };
        let tools = reported.map_or(0, |report| report.tools);
        known.then(
            || match (upstream.state(now), upstream.last_exit.as_ref()) {
                (UpstreamState::Ready, _) => format!("ready, {tools} tools"),
                (state, Some(reason)) => format!("{}: {reason}", state.as_str()),
                (state, None) => state.as_str().to_owned(),
            },
        )
    }

    fn end_reload(&mut self, outcome: Result<String, Failure>) {
        self.refused = outcome
            .as_ref()
            .err()
            .map(|failure| failure.message.clone());
        let status = self.status_line();
        self.service_manager.reloaded(&status, self.now());
        for watcher in std::mem::take(&mut self.reload.watchers) {
            watcher.reply.last(match (&outcome, &watcher.switch) {
                (Ok(_), Some(switch)) => self.switched(switch),
                (Err(failure), Some(switch)) => {
                    self.unswitch(switch);
                    Err(failure.clone())
                }
                (outcome, None) => outcome.clone().map(Body::Done),
            });
        }
        self.next_reload();
    }

    /// What had been given up until the next reload is tried again.
    fn revive(&mut self) {
        let now = self.now();
        for slot in self.workers.slots.iter_mut().filter(|slot| slot.failed) {
            (slot.failed, slot.start_at) = (false, Some(now));
        }
        self.revive_upstreams();
    }
}
