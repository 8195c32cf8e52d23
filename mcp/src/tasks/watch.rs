//! What tasks of legacy servers want to know of their modern clients: the questions, and the open
//! request for the task's result on whose stream they come. Pure: messages are made here and sent
//! by the caller.

use crate::api::Micros;
use crate::client::task_name::TaskName;
use crate::protocol::refusal::result_message;
use crate::protocol::task::RELATED;
use crate::protocol::{json, splice};
use crate::questions::{OpenQuestion, QUESTIONS, answer_of, input_key};
use crate::tasks::registry::Tasks;
use crate::translation::question;
use crate::upstream::{Caps, Upstream};
use bytes::Bytes;

/// The open request for the result of a task, and what came of it so far.
#[derive(Default)]
pub(crate) struct Watch {
    /// The request. `None`: it is over, or its server was lost.
    pub(crate) number: Option<u64>,
    /// What the task wants to know.
    pub(crate) pending: Vec<OpenQuestion>,
}

impl Tasks {
    /// Whether a request for the result of a task is open.
    pub(crate) fn is_watched(&self, name: &TaskName) -> bool {
        self.watches
            .get(name)
            .is_some_and(|watch| watch.number.is_some())
    }

    /// A request for the result of a task has been sent.
    pub(crate) fn watched_by(&mut self, name: &TaskName, number: u64) {
        self.watches.entry(name.clone()).or_default().number = Some(number);
    }

    /// The request for the result of a task is over, and so is what the task wanted to know.
    pub(crate) fn watch_over(&mut self, name: &TaskName) {
        self.watches.remove(name);
    }

    /// The same, for a caller who has to end that request.
    pub(crate) fn take_watch(&mut self, name: &TaskName) -> Option<Watch> {
        self.watches.remove(name)
    }

    /// What a task wants to know.
    pub(crate) fn questions(&self, name: &TaskName) -> &[OpenQuestion] {
        self.watches
            .get(name)
            .map_or(&[], |watch| watch.pending.as_slice())
    }

    /// Adds a question of a task's server. `unused`: a number that no key has had. False: there are
    /// too many.
    pub(crate) fn ask(
        &mut self,
        name: &TaskName,
        (id, method): (&str, &str),
        params: Option<&str>,
        caps: Caps,
        unused: u64,
    ) -> bool {
        let watch = self.watches.entry(name.clone()).or_default();
        if watch.pending.len() >= QUESTIONS {
            return false;
        }
        // A key never names two questions of a task, not even in another life of the relay
        // (SEP-2663, "Task Update Requests").
        let key = params
            .and_then(input_key)
            .filter(|hint| watch.pending.iter().all(|pending| pending.key != *hint));
        watch.pending.push(OpenQuestion {
            key: key.unwrap_or_else(|| format!("req_{unused}")),
            id: id.into(),
            method: method.into(),
            request: question::question(method, params, caps),
            delivered: false,
        });
        true
    }

    /// Takes the questions that the client has answered off the list. Gives the answers as messages
    /// for the server; answers that nothing asked for are ignored.
    pub(crate) fn answers(&mut self, name: &TaskName, responses: &str) -> Vec<Bytes> {
        let Some(watch) = self.watches.get_mut(name) else {
            return Vec::new();
        };
        let related = format!("{{\"taskId\":{}}}", json::quote(&name.id));
        let mut answers = Vec::new();
        watch.pending.retain(|pending| {
            let Some(answer) = answer_of(responses, &pending.key) else {
                return true;
            };
            let meta = json::pick(answer, ["_meta"])
                .and_then(|[meta]| meta)
                .unwrap_or("{}");
            let meta = splice::rebuild(meta, |member| member != RELATED, &[(RELATED, &related)]);
            let answer = splice::rebuild(answer, |member| member != "_meta", &[("_meta", &meta)]);
            answers.push(json::one_line(result_message(&pending.id, &answer)));
            false
        });
        answers
    }

    /// A server takes a question back, on a connection that its task is behind.
    pub(crate) fn withdraw(&mut self, up: &Upstream, conn: usize, id: &str, now: Micros) {
        let Self { owned, watches } = self;
        for (name, watch) in watches {
            let task = owned.get(name).filter(|task| task.left(now) > 0);
            if name.up == up.id && task.and_then(|task| task.place(up)) == Some(conn) {
                watch.pending.retain(|pending| *pending.id != *id);
            }
        }
    }
}
