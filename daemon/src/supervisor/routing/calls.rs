//! Calls at the control socket, on their way to the rooms that answer them.

use crate::supervisor::{
    Supervisor,
    control::{
        permissions,
        questions::{self, Asker},
    },
    event::ProcId,
    reload::{
        Input, Scope, Watcher,
        candidate::refused,
        operator_stops::{Switch, role_of, unknown},
        plan,
    },
    reply::{Incoming, Reply, failure},
    upstreams::NoRestart,
};
use crate::{
    config,
    ipc::messages::{Question, ToWorker},
    log::now_us,
    metrics,
};
use ggen_wire::{
    Code,
    control::{Body, Call, Failure},
};
use serde_json::Value;
use std::time::Duration;

impl Supervisor {
    /// Does what a caller wants, if it may.
    pub(in crate::supervisor) fn call(&mut self, incoming: Incoming) {
        let Incoming {
            call,
            more,
            peer,
            reply,
        } = incoming;
        if self.upgrade.is_handing() {
            return reply.last(Err(failure(
                Code::UpgradeUnderWay,
                "the daemon is handing over to another binary",
                "ggen mcp server wait",
            )));
        }
        if let Err(refused) = permissions::check(&call, &peer) {
            return reply.last(Err(refused));
        }
        match call {
            Call::Stop { .. }
            | Call::Start { .. }
            | Call::Restart { .. }
            | Call::Reload { .. }
            | Call::Upgrade { .. }
            | Call::SetLogLevel { .. } => self.change(call, reply, more),
            _ => self.show(call, reply),
        }
    }

    /// Calls that read, and calls of tools.
    fn show(&mut self, call: Call, reply: Reply) {
        match call {
            Call::GetStatus {} => reply.last(Ok(Body::Status(Box::new(self.status())))),
            // Followed by the connection itself; here only what the ring holds.
            Call::GetLogs(query) => {
                reply.last(Ok(Body::Lines(self.hub.ring.query(&query, now_us()))));
            }
            Call::ListTools {} => self.ask_gateway(Question::Tools, Asker::Tools(reply)),
            Call::RefreshTools {} => self.ask_gateway(Question::RefreshTools, Asker::Tools(reply)),
            Call::DescribeTool { name } => {
                self.ask_gateway(Question::Tool { name }, Asker::Value(reply));
            }
            Call::CallTool { name, arguments } => {
                self.ask_gateway(Question::CallTool { name, arguments }, Asker::Value(reply));
            }
            Call::GetMetrics {} => reply.last(Ok(Body::Text(metrics::render(&self.all_metrics())))),
            Call::GetConfig {} => reply.last(Ok(Body::Value(config::redacted(
                &self.settings.loaded.as_configured(),
            )))),
            Call::Wait { timeout_ms } => {
                let until = self.now() + Duration::from_millis(timeout_ms);
                self.control.questions.wait(until, reply);
                self.answer_waiting();
            }
            _ => {}
        }
    }

    /// Calls that change something about the daemon.
    fn change(&mut self, call: Call, reply: Reply, more: bool) {
        match call {
            Call::Start { target } => self.start_named(&target, reply, more),
            Call::Stop {
                target: Some(target),
                ..
            } => self.stop_named(&target, reply, more),
            Call::Stop {
                force,
                target: None,
            } => {
                if !more {
                    let outcome = if force { "stopping" } else { "draining" };
                    reply.last(Ok(Body::Done(outcome.to_owned())));
                }
                self.begin_stop(force, more.then_some(reply));
            }
            Call::Restart { target: Some(name) } if self.settings.stopped.contains(&name) => {
                self.start_named(&name, reply, more);
            }
            Call::Restart { target } => self.restart(target.as_deref(), reply),
            Call::Reload {
                validate_only: true,
                ..
            } => self.validate(&reply, more),
            Call::Reload {
                plan_only: true, ..
            } => self.show_plan(reply),
            Call::Reload { .. } => {
                let watcher = Watcher {
                    reply,
                    more,
                    switch: None,
                };
                self.reload(Input::Requested(Scope::Files, Some(watcher)));
            }
            Call::Upgrade { binary } => self.begin_upgrade(binary, reply, more),
            Call::SetLogLevel {
                category,
                level,
                for_ms,
            } => {
                let now = self.now();
                let logging = &mut self.control.logging;
                let outcome = logging.set(category.as_deref(), level, for_ms, now);
                if let Ok(outcome) = &outcome {
                    self.put_log_filter();
                    tracing::info!(target: "mcp_server", "{outcome}");
                }
                reply.last(outcome.map(Body::Done));
            }
            _ => {}
        }
    }

    /// Puts the log filter in force, in this process and in all workers.
    pub(in crate::supervisor) fn put_log_filter(&mut self) {
        let filter = self.control.logging.apply();
        self.workers.tell_each(|_| {
            Some(ToWorker::LogFilter {
                filter: filter.clone(),
            })
        });
    }

    /// Checks the configuration, and does nothing.
    fn validate(&self, reply: &Reply, more: bool) {
        let loaded = config::load(&self.settings.options).map_err(|problems| refused(&problems));
        reply.last(loaded.map(|loaded| {
            let warnings = loaded.warnings.iter().map(ToString::to_string);
            warnings
                .filter(|_| more)
                .for_each(|warning| reply.progress(Body::Done(warning)));
            Body::Done("the configuration is valid".to_owned())
        }));
    }

    /// Says what a reload would do, and does nothing.
    fn show_plan(&mut self, reply: Reply) {
        let loaded = match config::load(&self.settings.options) {
            Ok(loaded) => loaded.with_stopped(&self.settings.stopped),
            Err(problems) => return reply.last(Err(refused(&problems))),
        };
        let plan = plan::plan(
            self.settings.config(),
            &loaded.config,
            self.settings.generation,
        );
        if plan::concerns_tools(&plan) && self.workers.gateway().is_some() {
            self.ask_gateway(Question::Tools, Asker::Plan(Box::new(plan), reply));
        } else {
            reply.last(Ok(Body::Plan(plan)));
        }
    }

    /// Starts workers or a server anew.
    fn restart(&mut self, target: Option<&str>, reply: Reply) {
        // HTTPS is served by the workers of HTTP.
        let target = target.map(|name| if name == "https" { "http" } else { name });
        let of_role = |role: &str| target.is_none_or(|target| target == role);
        let slots = self.workers.slots().iter().filter(|slot| !slot.prospective);
        let names: Vec<String> = slots
            .filter(|slot| of_role(slot.role.as_str()) || target == Some(&slot.name))
            .map(|slot| slot.name.clone())
            .collect();
        if !names.is_empty() {
            let outcome = format!("{} restarted", names.join(", "));
            return self.roll_through(names, outcome, Some(reply));
        }
        let name = target.unwrap_or_default();
        let outcome = self.restart_upstream(name);
        reply.last(outcome.map(|()| Body::Done(format!("{name} is being restarted"))));
    }

    fn restart_upstream(&mut self, name: &str) -> Result<(), Failure> {
        let mut outcome = Ok(());
        self.with_upstreams(|upstreams, context| {
            upstreams.restart(name, context).unwrap_or_else(|why| {
                outcome = Err(why);
                Vec::new()
            })
        });
        outcome.map_err(|why| match why {
            NoRestart::Unknown => {
                let message = format!("no worker role and no server is called `{name}`");
                failure(Code::ServerUnknown, &message, "ggen mcp server status")
            }
            NoRestart::Remote => {
                let message = format!("{name} is not a process of ours");
                failure(Code::UpstreamDisabled, &message, "ggen mcp list")
            }
            NoRestart::Disabled => {
                let message = format!("{name} is disabled");
                failure(Code::UpstreamDisabled, &message, "ggen mcp list")
            }
        })
    }

    /// Stops a transport or an upstream until it is started again.
    fn stop_named(&mut self, name: &str, reply: Reply, more: bool) {
        if self.settings.stopped.contains(name) {
            return reply.last(Ok(Body::Done(format!("{name} is stopped already"))));
        }
        let is_upstream = self.upstreams.get(name).is_some();
        if let Some(failure) = unknown(name, &self.settings.loaded, is_upstream) {
            return reply.last(Err(failure));
        }
        self.settings.stopped.insert(name.to_owned());
        self.put_switch(name, false, reply, more);
    }

    /// Starts what was stopped; what was not, and does not run, is started anew.
    fn start_named(&mut self, name: &str, reply: Reply, more: bool) {
        if self.settings.stopped.remove(name) {
            return self.put_switch(name, true, reply, more);
        }
        let is_upstream = self.upstreams.get(name).is_some();
        if let Some(failure) = unknown(name, &self.settings.loaded, is_upstream) {
            return reply.last(Err(failure));
        }
        let now = self.now();
        let runs = match role_of(name) {
            Some(role) => self.workers.is_served(role),
            None => {
                let upstream = self.upstreams.get(name);
                upstream.is_some_and(|upstream| upstream.is_up(now))
            }
        };
        if runs {
            return reply.last(Ok(Body::Done(format!("{name} is already running"))));
        }
        if name == "quic" && self.listeners.quic_issue().is_some() {
            // Its port may be free now.
            let now = self.now();
            if self.listeners.retry_quic(self.settings.config(), now) {
                self.quic_is_open();
            }
            let issue = self.listeners.quic_issue();
            return reply.last(match issue {
                Some(issue) => Err(failure(issue.code, &issue.message, &issue.help)),
                None => Ok(Body::Done("quic started".to_owned())),
            });
        }
        let role = role_of(name).map(|role| role.as_str());
        self.restart(Some(role.unwrap_or(name)), reply);
    }

    fn put_switch(&mut self, name: &str, on: bool, reply: Reply, more: bool) {
        let event = if on { "starting" } else { "stopping" };
        tracing::info!(target: "transport", event, name, "{name} is {event} on request");
        let watcher = Watcher {
            reply,
            more,
            switch: Some(Switch {
                name: name.to_owned(),
                on,
            }),
        };
        self.reload(Input::Requested(Scope::Switches, Some(watcher)));
    }

    /// Asks the gateway worker something.
    pub(in crate::supervisor) fn ask_gateway(&mut self, question: Question, asker: Asker) {
        let now = self.now();
        let effect = self
            .control
            .questions
            .ask(question, asker, &mut self.workers, now);
        self.answer(effect);
    }

    /// A worker's question.
    pub(in crate::supervisor) fn worker_asks(
        &mut self,
        worker: ProcId,
        id: u64,
        question: Question,
    ) {
        let json = |value: Result<Value, serde_json::Error>| {
            value.map_err(|error| {
                failure(Code::Internal, &error.to_string(), "ggen mcp server logs")
            })
        };
        let result = match question {
            Question::Status => json(serde_json::to_value(self.status())),
            Question::Metrics => json(serde_json::to_value(self.all_metrics())),
            Question::Logs(query) => {
                json(serde_json::to_value(self.hub.ring.query(&query, now_us())))
            }
            Question::Config => Ok(config::redacted(&self.settings.loaded.as_configured())),
            // Only the gateway can answer.
            other => return self.ask_gateway(other, Asker::Worker(worker, id)),
        };
        self.workers
            .tell(worker, ToWorker::Answer { id, result }, Vec::new());
    }

    /// Passes answers of the gateway on.
    pub(in crate::supervisor) fn answer(
        &mut self,
        effects: impl IntoIterator<Item = questions::Effect>,
    ) {
        for effect in effects {
            match effect {
                questions::Effect::Tell(worker, message) => {
                    self.workers.tell(worker, message, Vec::new());
                }
                questions::Effect::Reload(tools) => {
                    let slots = self.workers.slot_names();
                    self.reload(Input::Tools(tools, slots));
                }
            }
        }
    }

    /// Answers callers of `Wait` whose time has come.
    pub(in crate::supervisor) fn answer_waiting(&mut self) {
        if !self.control.questions.has_waiting() {
            return;
        }
        let now = self.now();
        let settled = self.workers.is_settled(now) && self.upstreams.are_settled();
        for reply in self.control.questions.take_waiting(settled, now) {
            reply.last(Ok(Body::Status(Box::new(self.status()))));
        }
    }

    /// Nobody answers any more, and nobody waits.
    pub(in crate::supervisor) fn end_questions(&mut self) {
        let effects = self.control.questions.end();
        self.answer(effects);
        let now = self.now();
        for reply in self.control.questions.take_waiting(true, now) {
            reply.last(Ok(Body::Status(Box::new(self.status()))));
        }
    }
}
