//! Questions that the gateway worker is asked, for callers at the control socket and for other
//! workers, and callers that wait for the daemon to be ready.

use crate::{
    ipc::messages::{Question, ToWorker},
    supervisor::{
        event::ProcId,
        reload::plan,
        reply::{Reply, failure},
        workers::Workers,
    },
};
use ggen_wire::{
    Code,
    control::{Body, Failure},
    plan::Plan,
    status::Tool,
};
use serde_json::Value;
use std::{collections::BTreeMap, time::Duration};

/// Questions that may be open at once.
const MAX_OPEN: usize = 256;
/// How long a worker may take to answer; calls of tools have their own, shorter limits in the
/// gateway.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a plan waits for the names of the tools that it concerns.
const CATALOGUE: Duration = Duration::from_secs(2);

/// Who waits for the gateway's answer.
#[derive(Debug)]
pub(crate) enum Asker {
    /// A caller who wants tools.
    Tools(Reply),
    /// A caller who wants the answer as it is.
    Value(Reply),
    /// A worker, and the number of its question.
    Worker(ProcId, u64),
    /// A caller who wants a plan that names the tools.
    Plan(Box<Plan>, Reply),
    /// The reload that is under way.
    Reload,
}

/// What an answer leads to.
#[derive(Debug)]
pub(crate) enum Effect {
    /// A worker is told the answer to its question.
    Tell(ProcId, ToWorker),
    /// The reload goes on with these tools.
    Reload(Vec<Tool>),
}

#[derive(Debug)]
struct Open {
    worker: ProcId,
    until: Duration,
    asker: Asker,
}

/// Questions that have not been answered yet.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    last: u64,
    open: BTreeMap<u64, Open>,
    /// Callers of `Wait`, and until when.
    waiting: Vec<(Duration, Reply)>,
}

impl Questions {
    /// When one of them is out of time.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let open = self.open.values().map(|open| open.until);
        open.chain(self.waiting.iter().map(|(until, _)| *until))
            .min()
    }

    /// Whether nobody waits for an answer of a worker.
    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// The number of the last question.
    pub(crate) const fn last(&self) -> u64 {
        self.last
    }

    /// Goes on counting from there.
    pub(crate) fn continue_from(&mut self, last: u64) {
        self.last = last;
    }

    /// Asks the gateway worker.
    pub(crate) fn ask(
        &mut self,
        question: Question,
        asker: Asker,
        workers: &mut Workers,
        now: Duration,
    ) -> Option<Effect> {
        let unavailable = failure(
            Code::GatewayUnavailable,
            "the gateway worker is not there just now",
            "ggen mcp server status",
        );
        let Some(worker) = workers.gateway() else {
            return answer(asker, Err(unavailable));
        };
        if self.open.len() >= MAX_OPEN {
            let overloaded = failure(
                Code::Overloaded,
                "too many questions are open",
                "ggen mcp server status",
            );
            return answer(asker, Err(overloaded));
        }
        self.last += 1;
        let id = self.last;
        let patience = match asker {
            Asker::Plan(..) | Asker::Reload => CATALOGUE,
            Asker::Tools(_) | Asker::Value(_) | Asker::Worker(..) => PATIENCE,
        };
        if !workers.tell(worker, ToWorker::Ask { id, question }, Vec::new()) {
            return answer(asker, Err(unavailable));
        }
        let until = now + patience;
        self.open.insert(
            id,
            Open {
                worker,
                until,
                asker,
            },
        );
        None
    }

    /// A worker's answer.
    pub(crate) fn answered(
        &mut self,
        worker: ProcId,
        id: u64,
        result: Result<Value, Failure>,
    ) -> Option<Effect> {
        self.open.get(&id).filter(|open| open.worker == worker)?;
        let open = self.open.remove(&id)?;
        answer(open.asker, result)
    }

    /// A worker is gone, and with it its answers.
    pub(crate) fn worker_gone(&mut self, worker: ProcId) -> Vec<Effect> {
        let title = Code::GatewayLost.title();
        let lost = failure(Code::GatewayLost, title, "ggen mcp server status");
        self.fail(|open| open.worker == worker, &lost)
    }

    /// Nobody is left who could answer.
    pub(crate) fn end(&mut self) -> Vec<Effect> {
        let ended = failure(
            Code::UpgradeUnderWay,
            "the daemon hands over to another binary",
            "ggen mcp server wait",
        );
        self.fail(|_| true, &ended)
    }

    /// Fails what is out of time by now.
    pub(crate) fn on_time(&mut self, now: Duration) -> Vec<Effect> {
        let late = failure(
            Code::Internal,
            "the gateway worker did not answer in time",
            "ggen mcp server status",
        );
        self.fail(|open| open.until <= now, &late)
    }

    fn fail(&mut self, which: impl Fn(&Open) -> bool, why: &Failure) -> Vec<Effect> {
        let (lost, open): (BTreeMap<_, _>, BTreeMap<_, _>) = std::mem::take(&mut self.open)
            .into_iter()
            .partition(|(_, open)| which(open));
        self.open = open;
        lost.into_values()
            .filter_map(|open| answer(open.asker, Err(why.clone())))
            .collect()
    }

    /// A caller waits for the daemon to be ready.
    pub(crate) fn wait(&mut self, until: Duration, reply: Reply) {
        self.waiting.push((until, reply));
    }

    /// Whether somebody waits for that.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The callers that are to be answered now. `settled`: what they wait for has come.
    pub(crate) fn take_waiting(&mut self, settled: bool, now: Duration) -> Vec<Reply> {
        let due = |(until, reply): &(Duration, Reply)| settled || *until <= now || reply.is_gone();
        let (due, waiting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.waiting).into_iter().partition(due);
        self.waiting = waiting;
        due.into_iter().map(|(_, reply)| reply).collect()
    }
}

/// Gives an answer to who asked.
fn answer(asker: Asker, result: Result<Value, Failure>) -> Option<Effect> {
    match asker {
        Asker::Value(reply) => reply.last(result.map(Body::Value)),
        Asker::Tools(reply) => reply.last(result.and_then(|value| {
            serde_json::from_value(value)
                .map(Body::Tools)
                .map_err(|error| {
                    failure(Code::Internal, &error.to_string(), "ggen mcp server logs")
                })
        })),
        Asker::Plan(mut plan, reply) => {
            plan::name_tools(&mut plan, &tools(result));
            reply.last(Ok(Body::Plan(*plan)));
        }
        Asker::Reload => return Some(Effect::Reload(tools(result))),
        Asker::Worker(worker, id) => {
            return Some(Effect::Tell(worker, ToWorker::Answer { id, result }));
        }
    }
    None
}

/// Without the gateway's answer a plan names no tools.
fn tools(result: Result<Value, Failure>) -> Vec<Tool> {
    result
        .ok()
        .and_then(|value| serde_json::from_value(value).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::supervisor::reply::Answer;
    use tokio::sync::mpsc;

    fn caller() -> (Reply, mpsc::Receiver<Answer>) {
        let (sender, receiver) = mpsc::channel(4);
        (Reply(sender), receiver)
    }

    fn open(questions: &mut Questions, id: u64, worker: ProcId, asker: Asker) {
        let until = Duration::from_secs(10);
        let open = Open {
            worker,
            until,
            asker,
        };
        questions.open.insert(id, open);
    }

    #[test]
    fn without_a_gateway_the_caller_is_told_so_at_once() {
        let (reply, mut answers) = caller();
        let mut questions = Questions::default();
        let effect = questions.ask(
            Question::Tools,
            Asker::Tools(reply),
            &mut Workers::default(),
            Duration::ZERO,
        );
        assert!(effect.is_none() && questions.is_empty());
        assert!(
            matches!(answers.try_recv(), Ok(Answer::Last(Err(failure))) if failure.code == Code::GatewayUnavailable)
        );
    }

    #[test]
    fn only_the_worker_that_was_asked_answers() {
        let (reply, mut answers) = caller();
        let mut questions = Questions::default();
        open(&mut questions, 1, ProcId(7), Asker::Value(reply));
        questions.answered(ProcId(8), 1, Ok(Value::Null));
        assert!(answers.try_recv().is_err() && !questions.is_empty());
        questions.answered(ProcId(7), 1, Ok(Value::Bool(true)));
        assert!(
            matches!(answers.try_recv(), Ok(Answer::Last(Ok(Body::Value(value)))) if value == Value::Bool(true))
        );
    }

    #[test]
    fn what_is_not_answered_fails_and_the_reload_goes_on_without_tools() {
        let mut questions = Questions::default();
        open(&mut questions, 1, ProcId(7), Asker::Reload);
        open(&mut questions, 2, ProcId(7), Asker::Worker(ProcId(9), 4));
        assert!(questions.on_time(Duration::from_secs(9)).is_empty());
        let effects = questions.worker_gone(ProcId(7));
        assert!(matches!(
            &effects[..],
            [
                Effect::Reload(tools),
                Effect::Tell(ProcId(9), ToWorker::Answer { id: 4, result: Err(_) })
            ] if tools.is_empty()
        ));
        assert!(questions.is_empty());
    }

    #[test]
    fn who_waits_is_answered_when_all_is_settled_or_time_is_up() {
        let mut questions = Questions::default();
        let (first, _first) = caller();
        let (second, _second) = caller();
        questions.wait(Duration::from_secs(1), first);
        questions.wait(Duration::from_secs(5), second);
        assert_eq!(
            questions.take_waiting(false, Duration::from_secs(2)).len(),
            1
        );
        assert_eq!(
            questions.take_waiting(true, Duration::from_secs(2)).len(),
            1
        );
        assert!(!questions.has_waiting());
    }
}
