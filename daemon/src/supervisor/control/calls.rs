//! What is done about a call at the control socket, and about questions between processes.

use crate::{
    config,
    ipc::messages::{Question, ToWorker},
    log::{self, now_us},
    metrics, platform,
    supervisor::{
        Supervisor,
        control::log_levels,
        event::{Incoming, ProcId, Reply},
        processes::restart_backoff::Life,
        upstreams::Phase,
    },
};
use ggen_wire::{
    Code,
    control::{Body, Call, Failure},
    log::Level,
    plan::Plan,
};
use serde_json::Value;
use std::{collections::BTreeMap, time::Duration};

/// Questions that may be open at once.
const MAX_OPEN: usize = 256;
/// How long a worker may take to answer; calls of tools have their own, shorter limits in the
/// gateway.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a reload waits for the names of the tools that it concerns.
const CATALOGUE: Duration = Duration::from_secs(2);

/// Who waits for a worker's answer.
#[derive(Debug)]
pub(crate) enum Asker {
    Tools(Reply),
    Value(Reply),
    Worker(ProcId, u64),
    /// A plan that lacks the tools, for a caller who wants nothing else or for the reload that is
    /// under way.
    Plan(Plan, Option<Reply>),
}

/// Questions that workers have not answered yet.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    pub(crate) last: u64,
    open: BTreeMap<u64, (ProcId, Duration, Asker)>,
    /// Callers of `Wait`.
    waiting: Vec<(Duration, Reply)>,
}

impl Questions {
    /// When one of them is out of time.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.open
            .values()
            .map(|(_, until, _)| *until)
            .chain(self.waiting.iter().map(|(until, _)| *until))
            .min()
    }
}

/// A failure with the daemon's version.
pub(crate) fn failure(code: Code, message: &str, help: &str) -> Failure {
    Failure {
        version: ggen_wire::VERSION.to_owned(),
        code,
        message: message.to_owned(),
        help: help.to_owned(),
    }
}

fn changes_things(call: &Call) -> bool {
    matches!(
        call,
        Call::CallTool { .. }
            | Call::Start { .. }
            | Call::Stop { .. }
            | Call::Restart { .. }
            | Call::Reload { .. }
            | Call::Upgrade { .. }
            | Call::SetLogLevel { .. }
    )
}

/// Root and the daemon's own user may change things; who else can reach the socket (its group) may
/// read.
const fn may_operate(uid: u32, own: u32) -> bool {
    uid == 0 || uid == own
}

impl Supervisor {
    /// Does what a caller wants, if it may.
    pub(crate) fn call(&mut self, incoming: Incoming) {
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
        if changes_things(&call) {
            let allowed = may_operate(peer.uid, platform::own_uid());
            let outcome = if allowed { "allowed" } else { "refused" };
            tracing::info!(target: "auth", uid = peer.uid, pid = peer.pid, verb = call.name(), outcome, "control call");
            if !allowed {
                let message = format!(
                    "{} needs root or the daemon's own user; user {} may only read",
                    call.name(),
                    peer.uid
                );
                return reply.last(Err(failure(
                    Code::PermissionDenied,
                    &message,
                    &format!("sudo {}", call.command()),
                )));
            }
        }
        match call {
            Call::GetStatus {} => reply.last(Ok(Body::Status(Box::new(self.status())))),
            // Followed by the connection itself; here only what the ring holds.
            Call::GetLogs(query) => {
                reply.last(Ok(Body::Lines(self.hub.ring.query(&query, now_us()))))
            }
            Call::ListTools {} => self.ask_gateway(Question::Tools, Asker::Tools(reply)),
            Call::DescribeTool { name } => {
                self.ask_gateway(Question::Tool { name }, Asker::Value(reply))
            }
            Call::CallTool { name, arguments } => {
                self.ask_gateway(Question::CallTool { name, arguments }, Asker::Value(reply))
            }
            Call::GetMetrics {} => reply.last(Ok(Body::Text(metrics::render(&self.all_metrics())))),
            Call::GetConfig {} => reply.last(Ok(Body::Value(config::redacted(
                &self.loaded.as_configured(),
            )))),
            Call::Wait { timeout_ms } => {
                self.questions
                    .waiting
                    .push((self.now() + Duration::from_millis(timeout_ms), reply));
                self.answer_waiters();
            }
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
                    reply.last(Ok(Body::Done(
                        if force { "stopping" } else { "draining" }.to_owned(),
                    )));
                }
                self.begin_stop(force, more.then_some(reply));
            }
            Call::Restart { target: Some(name) } if self.stopped.contains(&name) => {
                self.start_named(&name, reply, more)
            }
            Call::Restart { target } => self.restart(target.as_deref(), reply),
            Call::Reload {
                validate_only: true,
                ..
            } => self.validate(&reply, more),
            Call::Reload {
                plan_only: true, ..
            } => self.show_plan(reply),
            Call::Reload { .. } => self.reload(Some((reply, more))),
            Call::Upgrade { binary } => self.begin_upgrade(binary, reply, more),
            Call::RefreshTools {} => self.ask_gateway(Question::RefreshTools, Asker::Tools(reply)),
            Call::SetLogLevel {
                category,
                level,
                for_ms,
            } => self.set_log_level(category.as_deref(), level, for_ms, &reply),
        }
    }

    fn set_log_level(
        &mut self,
        category: Option<&str>,
        level: Option<Level>,
        for_ms: Option<u64>,
        reply: &Reply,
    ) {
        let now = self.now();
        let until = for_ms.and_then(|ms| now.checked_add(Duration::from_millis(ms)));
        if let Err(error) = self.levels.set(category, level, until) {
            let help = format!("one of {}", log::CATEGORIES.join(", "));
            return reply.last(Err(failure(
                Code::InvalidRequest,
                &error.to_string(),
                &help,
            )));
        }
        self.put_log_filter();
        let what = category.unwrap_or("every category");
        let outcome = match (level, until) {
            (Some(level), Some(_)) => format!(
                "{what} logs at {} for {} s",
                log_levels::name(level),
                for_ms.unwrap_or_default() / 1000
            ),
            (Some(level), None) => format!(
                "{what} logs at {} while the daemon runs",
                log_levels::name(level)
            ),
            (None, _) => format!("{what} logs at the configured level"),
        };
        tracing::info!(target: "mcp_server", "{outcome}");
        reply.last(Ok(Body::Done(outcome)));
    }

    /// Puts the configured filter with the overrides over it in force, in this process and in all
    /// workers.
    pub(crate) fn put_log_filter(&mut self) {
        let filter = self.levels.over(&self.log_filter);
        self.log_control.set(&filter);
        let workers: Vec<ProcId> = self.workers.procs.keys().copied().collect();
        for worker in workers {
            self.tell(
                worker,
                ToWorker::LogFilter {
                    filter: filter.clone(),
                },
                Vec::new(),
            );
        }
    }

    pub(crate) fn restart(&mut self, target: Option<&str>, reply: Reply) {
        let now = self.now();
        // HTTPS is served by the workers of HTTP.
        let target = target.map(|name| if name == "https" { "http" } else { name });
        let of_role = |role: &str| target.is_none_or(|target| target == role);
        let names: Vec<String> = self
            .workers
            .slots
            .iter()
            .filter(|slot| !slot.prospective)
            .filter(|slot| of_role(slot.role.as_str()) || target == Some(&slot.name))
            .map(|slot| slot.name.clone())
            .collect();
        if !names.is_empty() {
            let outcome = format!("{} restarted", names.join(", "));
            return self.roll_through(names, outcome, Some(reply));
        }
        let name = target.unwrap_or_default();
        let Some(upstream) = self
            .upstreams
            .iter_mut()
            .find(|upstream| upstream.name == name)
        else {
            let message = format!("no worker role and no server is called `{name}`");
            return reply.last(Err(failure(
                Code::ServerUnknown,
                &message,
                "ggen mcp server status",
            )));
        };
        match upstream.phase {
            Phase::Disabled | Phase::Remote => {
                let message = format!(
                    "{name} is {}",
                    if upstream.phase == Phase::Remote {
                        "not a process of ours"
                    } else {
                        "disabled"
                    }
                );
                return reply.last(Err(failure(
                    Code::UpstreamDisabled,
                    &message,
                    "ggen mcp list",
                )));
            }
            Phase::Backoff(_) | Phase::Stopped => {
                (upstream.life, upstream.phase) = (Life::default(), Phase::Queued)
            }
            Phase::Starting(shim, _) | Phase::Running(shim) => {
                // As one that had served well, so that it is started again at once.
                upstream.life = Life::default();
                upstream.life.ready(now);
                self.end_upstream_of(shim, Duration::ZERO, now);
            }
            Phase::Idle | Phase::Queued | Phase::Ending(_) => {}
        }
        self.start_queued();
        reply.last(Ok(Body::Done(format!("{name} is being restarted"))));
    }

    pub(crate) fn ask_gateway(&mut self, question: Question, asker: Asker) {
        let unavailable = || {
            failure(
                Code::GatewayUnavailable,
                "the gateway worker is not there just now",
                "ggen mcp server status",
            )
        };
        let Some(gateway) = self.workers.gateway() else {
            return self.answer_asker(asker, Err(unavailable()));
        };
        if self.questions.open.len() >= MAX_OPEN {
            return self.answer_asker(
                asker,
                Err(failure(
                    Code::Overloaded,
                    "too many questions are open",
                    "ggen mcp server status",
                )),
            );
        }
        self.questions.last += 1;
        let id = self.questions.last;
        let until = self.now()
            + if matches!(asker, Asker::Plan(..)) {
                CATALOGUE
            } else {
                PATIENCE
            };
        if self.tell(gateway, ToWorker::Ask { id, question }, Vec::new()) {
            self.questions.open.insert(id, (gateway, until, asker));
        } else {
            self.answer_asker(asker, Err(unavailable()));
        }
    }

    /// A worker's question.
    pub(crate) fn worker_asks(&mut self, worker: ProcId, id: u64, question: Question) {
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
            Question::Config => Ok(config::redacted(&self.loaded.as_configured())),
            // Workers' own questions that only the gateway can answer.
            other => return self.ask_gateway(other, Asker::Worker(worker, id)),
        };
        self.tell(worker, ToWorker::Answer { id, result }, Vec::new());
    }

    /// A worker's answer.
    pub(crate) fn worker_answers(
        &mut self,
        worker: ProcId,
        id: u64,
        result: Result<Value, Failure>,
    ) {
        if self
            .questions
            .open
            .get(&id)
            .is_some_and(|(asked, ..)| *asked == worker)
            && let Some((_, _, asker)) = self.questions.open.remove(&id)
        {
            self.answer_asker(asker, result);
        }
    }

    fn answer_asker(&mut self, asker: Asker, result: Result<Value, Failure>) {
        match asker {
            Asker::Value(reply) => reply.last(result.map(Body::Value)),
            Asker::Tools(reply) => reply.last(result.and_then(|value| {
                serde_json::from_value(value)
                    .map(Body::Tools)
                    .map_err(|error| {
                        failure(Code::Internal, &error.to_string(), "ggen mcp server logs")
                    })
            })),
            // Without the gateway's word the plan names no tools.
            Asker::Plan(plan, asked_by) => {
                let tools = result
                    .ok()
                    .and_then(|value| serde_json::from_value(value).ok())
                    .unwrap_or_default();
                self.planned(plan, tools, asked_by);
            }
            Asker::Worker(worker, id) => {
                self.tell(worker, ToWorker::Answer { id, result }, Vec::new());
            }
        }
    }

    /// A worker is gone, and with it its answers.
    pub(crate) fn fail_questions_of(&mut self, worker: ProcId) {
        self.fail_questions(
            |asked, _| asked == worker,
            &failure(
                Code::GatewayLost,
                Code::GatewayLost.title(),
                "ggen mcp server status",
            ),
        );
    }

    /// Nobody is left who could answer, and nobody to hear it.
    pub(crate) fn end_questions(&mut self) {
        self.fail_questions(
            |_, _| true,
            &failure(
                Code::UpgradeUnderWay,
                "the daemon hands over to another binary",
                "ggen mcp server wait",
            ),
        );
        for (_, reply) in std::mem::take(&mut self.questions.waiting) {
            reply.last(Ok(Body::Status(Box::new(self.status()))));
        }
    }

    /// What is out of time by now.
    pub(crate) fn questions_on_time(&mut self, now: Duration) {
        self.fail_questions(
            |_, until| until <= now,
            &failure(
                Code::Internal,
                "the gateway worker did not answer in time",
                "ggen mcp server status",
            ),
        );
        if self
            .questions
            .waiting
            .iter()
            .any(|(until, _)| *until <= now)
        {
            self.answer_waiters();
        }
    }

    fn fail_questions(&mut self, which: impl Fn(ProcId, Duration) -> bool, why: &Failure) {
        let lost: Vec<u64> = self
            .questions
            .open
            .iter()
            .filter(|(_, (asked, until, _))| which(*asked, *until))
            .map(|(id, _)| *id)
            .collect();
        for id in lost {
            if let Some((_, _, asker)) = self.questions.open.remove(&id) {
                self.answer_asker(asker, Err(why.clone()));
            }
        }
    }

    /// Whether nobody waits for an answer of a worker.
    pub(crate) fn nothing_asked(&self) -> bool {
        self.questions.open.is_empty()
    }

    /// Whether every worker and every upstream stands as it will for now.
    fn is_settled(&self) -> bool {
        let now = self.now();
        let workers = self.workers.slots.iter().all(|slot| {
            let ready = slot
                .current
                .and_then(|id| self.workers.procs.get(&id))
                .is_some_and(|proc| proc.stage == crate::supervisor::workers::Stage::Ready);
            ready || slot.failed || slot.life.is_unwell(now)
        });
        workers
            && self
                .upstreams
                .iter()
                .all(crate::supervisor::upstreams::Upstream::is_settled)
    }

    /// Answers callers of `Wait` whose time has come.
    pub(crate) fn answer_waiters(&mut self) {
        if self.questions.waiting.is_empty() {
            return;
        }
        let (now, settled) = (self.now(), self.is_settled());
        let due = |(until, reply): &(Duration, Reply)| settled || *until <= now || reply.is_gone();
        let (answered, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut self.questions.waiting)
            .into_iter()
            .partition(due);
        self.questions.waiting = waiting;
        for (_, reply) in answered {
            reply.last(Ok(Body::Status(Box::new(self.status()))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_reads_and_only_the_owner_and_root_change_things() {
        assert!(
            may_operate(0, 1000)
                && may_operate(1000, 1000)
                && !may_operate(1001, 1000)
                && !may_operate(1001, 0)
        );
        let changing = [
            Call::Stop {
                force: true,
                target: None,
            },
            Call::Start {
                target: String::new(),
            },
            Call::Restart { target: None },
            Call::RELOAD,
            Call::Upgrade { binary: None },
            Call::SetLogLevel {
                category: None,
                level: None,
                for_ms: None,
            },
            Call::CallTool {
                name: String::new(),
                arguments: Value::Null,
            },
        ];
        let reading = [
            Call::GetStatus {},
            Call::ListTools {},
            Call::GetMetrics {},
            Call::GetConfig {},
            Call::Wait { timeout_ms: 1 },
        ];
        assert!(changing.iter().all(changes_things) && !reading.iter().any(changes_things));
    }
}
