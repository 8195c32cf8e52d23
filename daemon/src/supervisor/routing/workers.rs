//! What the ends, starts and beats of workers mean for other rooms. Each function carries one result
//! over to the rooms that it concerns; the decisions are made there.

use crate::supervisor::{
    Supervisor,
    event::ProcId,
    processes::reaper::ChildKind,
    reload::Input,
    reply::{Reply, failure},
    routing::start_messages::View,
    secrets::Tls,
    upstreams::Upstreams,
    workers::{Launch, Place, Restart, rolling_restart, wanted_slots},
};
use crate::{
    ipc::messages::{Beat, Role},
    platform::Ended,
};
use ggen_wire::{Code, control::Body};
use std::time::Duration;

impl Supervisor {
    /// Reaps what has ended.
    pub(in crate::supervisor) fn reap(&mut self) {
        for (kind, ended) in self.children.reap(self.now()) {
            match kind {
                ChildKind::Worker(id) => self.worker_ended(id, ended),
                // What it means is decided when its channel has been read to the end.
                ChildKind::Shim(_) => {}
                ChildKind::Check => self.upgrade.ended(ended, self.upgrade_is_late()),
            }
        }
    }

    fn worker_ended(&mut self, id: ProcId, ended: Ended) {
        let stopping = self.lifecycle.is_stopping();
        let Some(gone) = self.workers.ended(id, ended, stopping) else {
            return;
        };
        self.metrics.worker_exit(gone.role, gone.exit);
        let lost = self.control.questions.worker_gone(id);
        self.answer(lost);
        self.reload(Input::Confirmed(id));
        self.with_upstreams(|upstreams, context| upstreams.owner_gone(id, context));
        if !stopping {
            match gone.place {
                Place::Vacant(status) => self.plan_restart(&gone.name, &gone.reason, status),
                Place::Successor => {
                    let (name, reason) = (gone.name.clone(), gone.reason.clone());
                    self.roll(rolling_restart::Input::Failed { name, reason });
                }
                Place::Succeeded | Place::Left => {}
            }
        }
        match gone.role {
            Role::Quic => self.workers.steer(self.listeners.quic_port()),
            Role::Gateway => {
                if matches!(gone.place, Place::Vacant(_) | Place::Succeeded) {
                    // Its calls are lost, and its successor knows only the new entries.
                    self.with_upstreams(Upstreams::release_all);
                }
                self.with_upstreams(Upstreams::deliver);
                let old_gateway_lives = self.workers.old_gateway_lives();
                if !stopping {
                    self.roll(rolling_restart::Input::GatewayGone { old_gateway_lives });
                }
            }
            _ => {}
        }
    }

    /// Decides when a slot whose process has ended is started again.
    fn plan_restart(&mut self, name: &str, reason: &str, status: Option<i32>) {
        let (now, jitter) = (self.now(), crate::supervisor::jitter());
        let Some(role) = self.workers.slot(name).map(|slot| slot.role) else {
            return;
        };
        let (name, reason) = (name.to_owned(), reason.to_owned());
        match self
            .workers
            .plan_restart(&name, &reason, status, now, jitter)
        {
            Restart::Refused => return self.reload(Input::WorkerDied { name, reason }),
            Restart::None => return,
            Restart::Planned => self.metrics.worker_restart(role),
            Restart::Failed => {
                self.metrics.worker_restart(role);
                self.roll(rolling_restart::Input::GivenUp { name, reason });
            }
        }
        self.workers_on_time(now);
    }

    /// Ends workers that hang or are out of time, and starts those that are due.
    pub(in crate::supervisor) fn workers_on_time(&mut self, now: Duration) {
        for name in self.workers.on_time(now) {
            self.start_worker(&name, false);
        }
    }

    /// Starts a process in a slot. `successor`: the one that serves goes on until it is ready.
    pub(in crate::supervisor) fn start_worker(&mut self, name: &str, successor: bool) {
        let now = self.now();
        let Some((id, role)) = self.workers.begin_start(name, successor) else {
            return;
        };
        let launch = self.launch(id, name, role);
        match self
            .workers
            .spawn(id, launch, successor, &mut self.channels, now)
        {
            Ok(pid) => {
                self.children.add(pid, ChildKind::Worker(id));
                if role == Role::Gateway {
                    self.upstreams.gateway_replaced();
                }
                self.workers.link(id, now);
            }
            Err(error) => {
                tracing::error!(target: "mcp_server", worker = name, code = %Code::Internal, error = %error, "worker cannot be started");
                self.plan_restart(name, &format!("cannot be started: {error}"), None);
            }
        }
    }

    /// Everything that a new worker is told.
    fn launch(&mut self, id: ProcId, name: &str, role: Role) -> Launch {
        let view = self.view();
        let secrets = view.secrets_message(name, role);
        let mut launch = view.launch(name, role);
        if role == Role::Gateway {
            let config = self.settings.config();
            let (recalled, effects) =
                self.sessions
                    .recall(id, config, crate::supervisor::seconds_now());
            self.sessions_want(effects);
            launch.messages = recalled;
        }
        launch.messages.extend(secrets);
        launch
    }

    /// What messages to workers are made from.
    pub(in crate::supervisor) fn view(&self) -> View<'_> {
        View {
            settings: &self.settings,
            listeners: &self.listeners,
            secrets: &self.secrets,
            logging: &self.control.logging,
            workers: &self.workers,
            candidate: self.reload.candidate(),
        }
    }

    /// Tells workers of some roles their secrets anew.
    fn tell_secrets(&mut self, is_told: impl Fn(Role) -> bool) {
        let view = self.view();
        let told = self
            .workers
            .procs()
            .filter(|(_, proc)| is_told(proc.role))
            .filter_map(|(id, proc)| Some((id, view.secrets_message(&proc.name, proc.role)?)));
        for (id, message) in told.collect::<Vec<_>>() {
            self.workers.tell(id, message, Vec::new());
        }
    }

    /// Brings what edge workers know of callers up to date.
    pub(in crate::supervisor) fn refresh_auth(&mut self) {
        let local = self.listeners.are_local();
        let differs = self.secrets.refresh_auth(&self.settings.loaded, local);
        // Whether the admin listener is for everybody may have changed without the rest.
        self.tell_secrets(|role| differs || role == Role::Admin);
    }

    /// Puts certificates in force.
    pub(in crate::supervisor) fn put_tls(&mut self, tls: Tls) {
        if self.secrets.put_tls(tls) {
            self.tell_secrets(|_| true);
        }
    }

    /// A worker serves.
    pub(in crate::supervisor) fn worker_ready(&mut self, id: ProcId) {
        let now = self.now();
        let Some(ready) = self.workers.ready(id, now) else {
            return;
        };
        if let Some(old) = ready.replaces {
            // First nobody new is sent to it, then it refuses who comes.
            self.workers.steer(self.listeners.quic_port());
            self.drain_worker(old);
        }
        if ready.prospective {
            self.reload(Input::WorkerReady(ready.name.clone()));
        }
        self.roll(rolling_restart::Input::Ready(ready.name));
        match ready.role {
            Role::Gateway => self.with_upstreams(Upstreams::deliver),
            Role::Quic => self.workers.steer(self.listeners.quic_port()),
            _ => {}
        }
        self.workers.link_handovers(id, now);
        self.announce_if_ready();
    }

    /// A worker's beat.
    pub(in crate::supervisor) fn worker_beat(&mut self, id: ProcId, mut beat: Beat) {
        let (families, slow) = (
            std::mem::take(&mut beat.metrics),
            std::mem::take(&mut beat.slow),
        );
        self.metrics.beat(id, families, slow);
        self.secrets.keys_used(std::mem::take(&mut beat.used));
        self.workers.beat(id, beat, self.now());
    }

    /// Has a worker finish what it has, within the drain's time limit.
    pub(in crate::supervisor) fn drain_worker(&mut self, id: ProcId) {
        let limit = self.settings.drain_limit();
        self.workers.drain(id, limit, self.now());
    }

    /// Replaces the workers of these slots, one after another.
    pub(in crate::supervisor) fn roll_through(
        &mut self,
        names: Vec<String>,
        outcome: String,
        watcher: Option<Reply>,
    ) {
        self.roll(rolling_restart::Input::Begin {
            names,
            outcome,
            watcher,
        });
    }

    /// Takes the rolling restart further, and does what that takes.
    fn roll(&mut self, input: rolling_restart::Input) {
        for effect in self.workers.roll(input) {
            self.roll_effect(effect);
        }
    }

    fn roll_effect(&mut self, effect: rolling_restart::Effect) {
        match effect {
            rolling_restart::Effect::Start { name, successor } => {
                self.workers.forget_failure(&name);
                self.start_worker(&name, successor);
            }
            rolling_restart::Effect::Replace { name, within } => {
                self.workers.forget_failure(&name);
                let old = self.workers.take_current(&name);
                self.start_worker(&name, false);
                if let Some(old) = old {
                    self.workers.drain(old, within, self.now());
                }
            }
            rolling_restart::Effect::Drain { id, within } => {
                self.workers.drain(id, within, self.now());
            }
            rolling_restart::Effect::Done { outcome, watchers } => watchers
                .iter()
                .for_each(|watcher| watcher.last(Ok(Body::Done(outcome.clone())))),
            rolling_restart::Effect::Failed { message, watchers } => {
                tracing::error!(target: "mcp_server", code = %Code::WorkerDied, "{message}");
                let help = "ggen mcp server logs --level error";
                let failure = failure(Code::WorkerDied, &message, help);
                watchers
                    .iter()
                    .for_each(|watcher| watcher.last(Err(failure.clone())));
            }
        }
    }

    /// Makes the slots fit the configuration in force. Returns the processes of removed ones.
    pub(in crate::supervisor) fn lay_out_slots(&mut self) -> Vec<ProcId> {
        let is_any = self.secrets.tls().is_any();
        let wanted = wanted_slots(self.settings.config(), &self.listeners, is_any);
        self.workers.lay_out(wanted, self.now())
    }
}
