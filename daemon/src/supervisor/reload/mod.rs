//! Putting another configuration in force without dropping a connection, a session or a call. A
//! pure machine: what happens comes in as [`Input`], what is to be done goes out as [`Effect`]s.
//!
//! The steps: read and compare ([`Stage::Reading`]) → ask the gateway for the tools that are
//! concerned ([`Stage::Asking`]) → start additional workers ([`Stage::Preparing`]; whatever fails
//! up to here leaves everything as it was) → tell every process ([`Stage::Switching`]) → see what
//! becomes of the upstreams that were touched ([`Stage::Settling`]) → answer.

pub(crate) mod candidate;
pub(crate) mod operator_stops;
pub(crate) mod plan;
#[cfg(test)]
mod tests;

use crate::{
    ipc::messages::Role,
    supervisor::{
        event::ProcId,
        reply::{Reply, failure},
    },
};
use ggen_wire::{
    Code,
    control::{Body, Failure},
    plan::{Plan, in_force},
    status::Tool,
};
use operator_stops::Switch;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// How long the answer waits for upstreams that were touched.
const SETTLING: Duration = Duration::from_secs(10);

/// Somebody who waits for the outcome.
#[derive(Debug)]
pub(crate) struct Watcher {
    pub(crate) reply: Reply,
    /// Lines of progress are wanted.
    pub(crate) more: bool,
    /// What has been stopped or started by name.
    pub(crate) switch: Option<Switch>,
}

/// What a reload takes up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    /// Nothing.
    #[default]
    Nothing,
    /// What has been stopped and started by name; files are not read.
    Switches,
    /// The files, and that too.
    Files,
}

/// A configuration that differs from the one in force.
#[derive(Debug)]
pub(crate) struct Proposal<C> {
    /// The configuration, with what has been opened for it.
    pub(crate) candidate: C,
    /// What it takes to get there.
    pub(crate) plan: Plan,
    /// The slots that it asks for.
    pub(crate) slots: Vec<(String, Role)>,
}

/// What has happened.
#[derive(Debug)]
pub(crate) enum Input<C> {
    /// A reload is asked for. While one is under way, the next one waits.
    Requested(Scope, Option<Watcher>),
    /// The configuration in force has been read again, and is the same.
    Unchanged,
    /// Another configuration has been read.
    Changed(Box<Proposal<C>>),
    /// It could not be read, or cannot come into force.
    Refused(Failure),
    /// The gateway's tools, as far as they are known, and the slots that there are.
    Tools(Vec<Tool>, Vec<String>),
    /// The first process of a new slot is ready.
    WorkerReady(String),
    /// The first process of a new slot died before it was ready.
    WorkerDied {
        /// The slot.
        name: String,
        /// Why.
        reason: String,
    },
    /// The configuration is in force. Which workers have been told, and whether they are to drain
    /// once they have confirmed; which upstreams were touched.
    Switched(BTreeMap<ProcId, bool>, BTreeSet<String>),
    /// A worker has taken the configuration in force over, or is gone.
    Confirmed(ProcId),
    /// Time has passed; what is known now of upstreams that were touched.
    Outcomes(Vec<(String, Outcome)>),
    /// The daemon stops: no reload goes on.
    Stop,
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Effect<C> {
    /// Read the configuration; answered with `Unchanged`, `Changed` or `Refused`.
    Read(Scope),
    /// Complete the plan; answered with `Tools`. The gateway is asked if the plan concerns tools.
    Complete {
        /// The plan concerns tools.
        asks_tools: bool,
    },
    /// The plan is complete.
    Planned(Plan),
    /// Tell callers how far it has come.
    Progress(Vec<Reply>, Body),
    /// Start additional workers; answered with `WorkerReady` or `WorkerDied` for each.
    StartAdditional(Vec<(String, Role)>),
    /// Give the additional workers up.
    DropAdditional,
    /// Put it in force; answered with `Switched`.
    Switch(Box<C>),
    /// Drain a worker that is not wanted any more.
    Drain(ProcId),
    /// It is over.
    Finish(Result<String, Failure>, Vec<Watcher>),
}

/// How far it has come.
#[derive(Debug, Default)]
enum Stage<C> {
    /// Nothing is under way.
    #[default]
    Idle,
    /// The configuration is being read.
    Reading,
    /// The gateway is asked for the tools that are concerned.
    Asking(Box<Proposal<C>>),
    /// Additional workers start; the names of those that are not ready yet.
    Preparing(Box<C>, BTreeSet<String>),
    /// Workers are told; those that have not confirmed yet, and the upstreams that were touched.
    Switching(BTreeMap<ProcId, bool>, BTreeSet<String>),
    /// Upstreams that were touched are starting.
    Settling(Settling),
}

/// Upstreams that were touched and are starting.
#[derive(Debug)]
struct Settling {
    /// Those of which it is not known yet.
    waiting: BTreeSet<String>,
    /// Those that are not as the configuration wants them.
    wrong: Vec<String>,
    /// How long is waited.
    until: Duration,
}

/// What became of an upstream that a reload has touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// For a person.
    pub(crate) text: String,
    /// It is ready, or gone or disabled as the configuration wants it.
    pub(crate) is_as_wanted: bool,
}

/// A reload, and who wants the next one.
#[derive(Debug)]
pub(crate) struct Reload<C> {
    stage: Stage<C>,
    /// The generation in force.
    generation: u32,
    watchers: Vec<Watcher>,
    queued: Vec<Watcher>,
    again: Scope,
    stopped: bool,
}

impl<C> Reload<C> {
    /// None under way. `generation`: the one in force.
    pub(crate) const fn new(generation: u32) -> Self {
        Self {
            stage: Stage::Idle,
            generation,
            watchers: Vec::new(),
            queued: Vec::new(),
            again: Scope::Nothing,
            stopped: false,
        }
    }

    /// Whether none is under way.
    pub(crate) const fn is_idle(&self) -> bool {
        matches!(self.stage, Stage::Idle)
    }

    /// The configuration that additional workers are to prove.
    pub(crate) fn candidate(&self) -> Option<&C> {
        match &self.stage {
            Stage::Preparing(candidate, _) => Some(candidate),
            _ => None,
        }
    }

    /// The upstreams whose outcome is waited for.
    pub(crate) fn touched(&self) -> impl Iterator<Item = &String> {
        let touched = match &self.stage {
            Stage::Settling(settling) => Some(&settling.waiting),
            _ => None,
        };
        touched.into_iter().flatten()
    }

    /// When something has to be done if nothing happens.
    pub(crate) const fn deadline(&self) -> Option<Duration> {
        match &self.stage {
            Stage::Settling(settling) => Some(settling.until),
            _ => None,
        }
    }

    /// Takes up what has happened. The effects are to be carried out in order.
    pub(crate) fn input(&mut self, input: Input<C>, now: Duration) -> Vec<Effect<C>> {
        match input {
            Input::Requested(scope, watcher) => {
                self.queued.extend(watcher);
                self.again = self.again.max(scope);
                self.next()
            }
            Input::Stop => {
                self.stopped = true;
                self.stage = Stage::Idle;
                Vec::new()
            }
            input => self.go_on(input, now),
        }
    }

    /// Takes the reload that is under way one step further, if the input is for its stage.
    fn go_on(&mut self, input: Input<C>, now: Duration) -> Vec<Effect<C>> {
        match (input, std::mem::take(&mut self.stage)) {
            (Input::Unchanged, Stage::Reading) => self.finish(Ok(format!(
                "no change, generation {} stays in force",
                self.generation
            ))),
            (Input::Refused(failure), Stage::Reading) => self.finish(Err(failure)),
            (Input::Changed(proposal), Stage::Reading) => {
                let asks_tools = plan::concerns_tools(&proposal.plan);
                self.stage = Stage::Asking(proposal);
                vec![Effect::Complete { asks_tools }]
            }
            (Input::Tools(tools, slots), Stage::Asking(proposal)) => {
                self.planned(*proposal, &tools, &slots)
            }
            (Input::WorkerReady(name), Stage::Preparing(candidate, mut waiting)) => {
                waiting.remove(&name);
                if waiting.is_empty() {
                    return self.switch(candidate);
                }
                self.stage = Stage::Preparing(candidate, waiting);
                Vec::new()
            }
            (Input::WorkerDied { name, reason }, Stage::Preparing(..)) => self.died(&name, &reason),
            (Input::Switched(told, touched), Stage::Switching(..)) => {
                self.stage = Stage::Switching(told, touched);
                self.settle(now)
            }
            (Input::Confirmed(id), Stage::Switching(mut pending, touched)) => {
                let surplus = pending.remove(&id);
                self.stage = Stage::Switching(pending, touched);
                let drain = surplus
                    .filter(|surplus| *surplus)
                    .map(|_| Effect::Drain(id));
                let mut effects: Vec<_> = drain.into_iter().collect();
                if surplus.is_some() {
                    effects.extend(self.settle(now));
                }
                effects
            }
            (Input::Outcomes(known), Stage::Settling(settling)) => {
                self.outcomes(known, settling, now)
            }
            (_, stage) => {
                self.stage = stage;
                Vec::new()
            }
        }
    }

    /// Begins the next one if it is asked for and none is under way.
    fn next(&mut self) -> Vec<Effect<C>> {
        if !self.is_idle() || self.stopped || self.again == Scope::Nothing {
            return Vec::new();
        }
        self.watchers = std::mem::take(&mut self.queued);
        self.stage = Stage::Reading;
        vec![Effect::Read(std::mem::take(&mut self.again))]
    }

    fn finish(&mut self, outcome: Result<String, Failure>) -> Vec<Effect<C>> {
        self.stage = Stage::Idle;
        let watchers = std::mem::take(&mut self.watchers);
        let mut effects = vec![Effect::Finish(outcome, watchers)];
        effects.extend(self.next());
        effects
    }

    /// The plan is complete: additional workers start, if there are any.
    fn planned(
        &mut self,
        proposal: Proposal<C>,
        tools: &[Tool],
        slots: &[String],
    ) -> Vec<Effect<C>> {
        let Proposal {
            candidate,
            mut plan,
            slots: wanted,
        } = proposal;
        plan::name_tools(&mut plan, tools);
        let mut effects = vec![
            Effect::Planned(plan.clone()),
            self.progress(Body::Plan(plan)),
        ];
        let additional: Vec<_> = wanted
            .into_iter()
            .filter(|(name, _)| !slots.contains(name))
            .collect();
        if additional.is_empty() {
            effects.extend(self.switch(Box::new(candidate)));
            return effects;
        }
        let names: Vec<String> = additional.iter().map(|(name, _)| name.clone()).collect();
        effects.push(self.progress(Body::Done(format!("starting {}", names.join(", ")))));
        self.stage = Stage::Preparing(Box::new(candidate), names.into_iter().collect());
        effects.push(Effect::StartAdditional(additional));
        effects
    }

    fn switch(&mut self, candidate: Box<C>) -> Vec<Effect<C>> {
        self.generation += 1;
        self.stage = Stage::Switching(BTreeMap::new(), BTreeSet::new());
        vec![Effect::Switch(candidate)]
    }

    /// Nothing has changed, and nothing will. The new listeners close with the candidate.
    fn died(&mut self, name: &str, reason: &str) -> Vec<Effect<C>> {
        let message = format!(
            "the new {name} died before it was ready ({reason}); generation {} stays in force, nothing has changed",
            self.generation
        );
        tracing::error!(target: "mcp_server", code = %Code::WorkerDied, "{message}");
        let failure = failure(
            Code::WorkerDied,
            &message,
            "ggen mcp server logs --level error",
        );
        let mut effects = vec![Effect::DropAdditional];
        effects.extend(self.finish(Err(failure)));
        effects
    }

    /// Waits for upstreams once every worker has confirmed.
    fn settle(&mut self, now: Duration) -> Vec<Effect<C>> {
        let Stage::Switching(pending, touched) = &mut self.stage else {
            return Vec::new();
        };
        if !pending.is_empty() {
            return Vec::new();
        }
        let touched = std::mem::take(touched);
        if touched.is_empty() {
            return self.finish(Ok(in_force(self.generation, &[])));
        }
        let names = touched.iter().cloned().collect::<Vec<_>>().join(", ");
        self.stage = Stage::Settling(Settling {
            waiting: touched,
            wrong: Vec::new(),
            until: now + SETTLING,
        });
        vec![self.progress(Body::Done(format!("waiting for {names}")))]
    }

    fn outcomes(
        &mut self,
        known: Vec<(String, Outcome)>,
        mut settling: Settling,
        now: Duration,
    ) -> Vec<Effect<C>> {
        let mut effects = Vec::new();
        for (name, outcome) in known {
            if settling.waiting.remove(&name) {
                effects.push(self.progress(Body::Done(format!("{name}: {}", outcome.text))));
                if !outcome.is_as_wanted {
                    settling.wrong.push(name);
                }
            }
        }
        if !settling.waiting.is_empty() && now < settling.until {
            self.stage = Stage::Settling(settling);
            return effects;
        }
        let mut not_ready = settling.wrong;
        not_ready.extend(settling.waiting);
        effects.extend(self.finish(Ok(in_force(self.generation, &not_ready))));
        effects
    }

    /// A line for those who want progress. Who has switched something by name needs no plan.
    fn progress(&self, body: Body) -> Effect<C> {
        let is_plan = matches!(body, Body::Plan(_));
        let told = self
            .watchers
            .iter()
            .filter(|watcher| watcher.more && !(is_plan && watcher.switch.is_some()))
            .map(|watcher| watcher.reply.clone());
        Effect::Progress(told.collect(), body)
    }
}
