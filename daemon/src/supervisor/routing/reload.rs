//! What the reload machine wants done, and what comes of it.

use crate::supervisor::{
    Supervisor,
    control::questions::Asker,
    event::ProcId,
    reload::{
        Effect, Input, Proposal, Scope, Watcher,
        candidate::{self, Candidate, Present, Reading},
        operator_stops::{self, role_of},
        plan::{self, Step},
    },
    upstreams::Upstreams,
    workers::{Proc, wanted_slots},
};
use crate::{
    config::SandboxMode,
    ipc::messages::{Question, Role, ToWorker},
    platform,
};
use ggen_wire::{
    control::{Body, Failure},
    plan::Plan,
};
use std::collections::{BTreeMap, BTreeSet};

impl Supervisor {
    /// Takes the reload further, and does what that takes. Every reload comes and goes through
    /// here.
    pub(in crate::supervisor) fn reload(&mut self, input: Input<Candidate>) {
        let now = self.now();
        for effect in self.reload.input(input, now) {
            self.reload_effect(effect);
        }
    }

    fn reload_effect(&mut self, effect: Effect<Candidate>) {
        match effect {
            Effect::Read(scope) => {
                self.service_manager.reloading(self.now());
                let input = self.read_configuration(scope);
                self.reload(input);
            }
            Effect::Complete { asks_tools: true } => {
                self.ask_gateway(Question::Tools, Asker::Reload);
            }
            Effect::Complete { asks_tools: false } => {
                let slots = self.workers.slot_names();
                self.reload(Input::Tools(Vec::new(), slots));
            }
            Effect::Planned(plan) => log_plan(&plan),
            Effect::Progress(told, body) => {
                told.iter().for_each(|reply| reply.progress(body.clone()));
            }
            Effect::StartAdditional(slots) => self.start_additional(&slots),
            Effect::DropAdditional => {
                for id in self.workers.remove_prospective() {
                    self.drain_worker(id);
                }
            }
            Effect::Switch(candidate) => self.switch(*candidate),
            Effect::Drain(id) => self.drain_worker(id),
            Effect::Finish(outcome, watchers) => self.finish_reload(&outcome, watchers),
        }
    }

    fn read_configuration(&mut self, scope: Scope) -> Input<Candidate> {
        let mut listeners = self.listeners.clone();
        // Sockets of the port are bound to it as long as a worker that drains reads from one of
        // them, and nobody else gets it.
        if let (Some(port), None, true) = (
            self.workers.quic_ports().next(),
            listeners.quic_port(),
            platform::STEERS,
        ) {
            listeners.go_on_with(port);
        }
        let present = Present {
            options: &self.settings.options,
            level: self.settings.level,
            stopped: &self.settings.stopped,
            loaded: &self.settings.loaded,
            generation: self.settings.generation,
            listeners: &listeners,
        };
        match candidate::read(scope, &present) {
            Err(failure) => Input::Refused(failure),
            Ok(Reading::Changed(read)) => {
                let (candidate, plan) = *read;
                let slots = wanted_slots(
                    &candidate.loaded.config,
                    &candidate.listeners,
                    candidate.tls.is_any(),
                );
                Input::Changed(Box::new(Proposal {
                    candidate,
                    plan,
                    slots,
                }))
            }
            Ok(Reading::Unchanged(read)) => {
                let (loaded, tls) = *read;
                self.settings.loaded = loaded;
                self.refresh_auth();
                self.put_tls(tls);
                self.lay_out_slots();
                // What had been given up until the next reload is tried again.
                self.workers.revive(self.now());
                self.with_upstreams(Upstreams::revive);
                Input::Unchanged
            }
        }
    }

    fn start_additional(&mut self, slots: &[(String, Role)]) {
        self.workers.add_prospective(slots);
        for (name, _) in slots {
            // One that cannot be started ends this reload, and the next one may have begun with
            // slots of the same names.
            if self.workers.awaits_first_process(name) {
                self.start_worker(name, false);
            }
        }
    }

    /// From here on the new configuration is the one in force.
    fn switch(&mut self, candidate: Candidate) {
        let Candidate {
            loaded,
            listeners,
            tls,
            generation,
            log_filter,
            run_as,
        } = candidate;
        let had_issuer = self.secrets.has_issuer();
        let steps = plan::steps(self.settings.config(), &loaded.config);
        self.settings.put(loaded, generation, run_as);
        // Our own descriptors of listeners that are not wanted any more close here; the last worker
        // that has one takes who waits there.
        self.listeners = listeners;
        self.listeners.enter_force(self.now());
        self.listeners.log_left_out();
        self.put_tls(tls);
        self.keep_listeners(&[]);
        self.control.logging.configure(log_filter);
        self.put_log_filter();
        self.hub
            .console
            .set(&self.settings.loaded.config.logging, generation);
        tracing::info!(target: "mcp_server", event = "reloaded", generation, "configuration in force");
        self.settings.log_warnings();
        self.refresh_auth();
        let surplus = self.lay_out_slots();
        let port = self.listeners.quic_port();
        self.workers.steer(port);
        let moved = self.workers.at_other_quic_ports(port);
        let told = self.reconfigure_workers(&steps, &surplus);
        if !moved.is_empty() {
            self.roll_through(moved, "QUIC has moved".to_owned(), None);
        }
        self.with_upstreams(Upstreams::lay_out);
        if self.workers.gateway().is_none() {
            self.with_upstreams(Upstreams::release_all);
        }
        self.let_call_out(had_issuer);
        let touched = plan::touched(steps, self.settings.config());
        self.reload(Input::Switched(told, touched));
    }

    /// Tells every worker the configuration in force. Returns those that are to confirm it, and
    /// whether they are not wanted any more.
    fn reconfigure_workers(
        &mut self,
        steps: &BTreeMap<String, Step>,
        surplus: &[ProcId],
    ) -> BTreeMap<ProcId, bool> {
        let ends = |step: &Step| {
            matches!(
                step,
                Step::Vanishes | Step::Replaced | Step::Restarts | Step::Reconnects
            )
        };
        let ending = steps.iter().filter(|(_, step)| ends(step));
        let mut retiring: BTreeSet<String> = ending.map(|(name, _)| name.clone()).collect();
        retiring.extend(self.upstreams.draining_names());
        let generation = self.settings.generation;
        let procs: Vec<_> = self
            .workers
            .procs()
            .filter(|(_, proc)| proc.is_current() && proc.generation != generation)
            .map(|(id, proc)| (id, proc.name.clone(), proc.role))
            .collect();
        let mut told = BTreeMap::new();
        for (id, name, role) in procs {
            if role == Role::Gateway {
                let retire = ToWorker::Retire {
                    upstreams: retiring.iter().cloned().collect(),
                    within_ms: self.settings.loaded.config.server.drain_timeout_ms,
                };
                self.workers.tell(id, retire, Vec::new());
            }
            let start = Box::new(self.view().start_message(&name, role));
            let sockets = self.listeners.sockets_for(role);
            if self.workers.tell(id, ToWorker::Reconfigure(start), sockets) {
                told.insert(id, surplus.contains(&id));
            }
        }
        told
    }

    /// The first issuer of tokens has appeared: workers that were sandboxed without the network
    /// cannot ask it for its keys, and are replaced one by one, each when its successor serves.
    fn let_call_out(&mut self, had_issuer: bool) {
        if had_issuer
            || !self.secrets.has_issuer()
            || self.settings.loaded.config.server.sandbox == SandboxMode::Off
        {
            return;
        }
        let slots = self.workers.slots().iter();
        let slots = slots.filter(|slot| slot.role.knows_secrets() && slot.current.is_some());
        let names = slots.map(|slot| slot.name.clone()).collect();
        tracing::info!(target: "mcp_server", "workers are replaced, so that they can ask the issuer of tokens for its keys");
        self.roll_through(names, "workers replaced".to_owned(), None);
    }

    fn finish_reload(&mut self, outcome: &Result<String, Failure>, watchers: Vec<Watcher>) {
        self.settings.refused = outcome
            .as_ref()
            .err()
            .map(|failure| failure.message.clone());
        let status = self.status_line();
        self.service_manager.reloaded(&status, self.now());
        for watcher in watchers {
            watcher.reply.last(match (outcome, &watcher.switch) {
                (Ok(_), Some(switch)) => {
                    let role = role_of(&switch.name);
                    let is_draining = |proc: &Proc| Some(proc.role) == role && proc.is_draining();
                    let draining = self.workers.connections(is_draining);
                    operator_stops::outcome(switch, self.listeners.quic_issue(), draining)
                }
                (Err(failure), Some(switch)) => {
                    // A change that could not be put in force was none.
                    self.settings.undo(switch);
                    Err(failure.clone())
                }
                (outcome, None) => outcome.clone().map(Body::Done),
            });
        }
    }
}

fn log_plan(plan: &Plan) {
    for change in &plan.changes {
        tracing::info!(target: "mcp_server", "reload: {}", change.line());
    }
}
