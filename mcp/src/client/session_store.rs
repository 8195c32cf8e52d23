//! Sessions that outlive this life of the relay: what is said of them to whoever stores them, and
//! how those of an earlier life go on. Until its client comes back, a restored session stands under
//! a name that no client can say; the id itself was never stored.

use crate::api::{Micros, Observation, Output, StreamKey, UpId};
use crate::client::Clients;
use crate::client::session::Session;
use crate::client::view::View;
use crate::context::Context;
use crate::edge::Reply;
use crate::observation::CallOutcome;
use crate::persisted::{Keep, Record, digest};
use crate::trace::Spans;
use crate::trace::span::Span;
use std::sync::Arc;

/// The first character of the name of a session whose id is not known. No id of ours begins with
/// it.
pub(crate) const STRANGER: char = '#';
/// Length of a session's id.
const ID: usize = 32;
/// A client is told of its session after this time at the latest, stored or not.
const PATIENCE: Micros = 250_000;
/// Events of a restored session begin at the epoch times this, so that they can come faster than
/// the epoch's clock goes.
const EVENTS: u64 = 1024;
/// `clientInfo` of a client that gave none.
pub(crate) const NAMELESS: &str = "{\"name\":\"unknown\",\"version\":\"0\"}";

/// The answer to an `initialize`, which waits for its session to be stored.
pub(crate) struct HeldAnswer {
    pub(crate) key: StreamKey,
    /// The request's id, as it stands.
    pub(crate) id: Box<str>,
    pub(crate) session: Arc<str>,
    pub(crate) reply: Vec<Reply>,
    pub(crate) arrived: Micros,
    pub(crate) span: Option<Box<Span>>,
}

impl Clients {
    /// What waited for a ticket is said.
    pub(crate) fn say(&mut self, cx: &mut Context, spans: &mut Spans, ticket: u64) {
        if let Some((_, held_answers)) = self.held_answers.remove(&ticket) {
            said(cx, spans, held_answers);
        }
    }

    /// A session is over. While the worker is being replaced nothing is said of that: the session
    /// may go on with its successor.
    pub(crate) fn forget_session(&mut self, cx: &mut Context, session: &Session) {
        if self.digests.remove(&session.digest).is_some() && !cx.draining {
            cx.emit(Output::Keep(Keep::Ended(session.digest.clone())));
        }
    }

    /// A client names a session: if it is a restored one that nobody had named yet, it stands under
    /// its id from now on.
    pub(crate) fn recognise(&mut self, cx: &Context, id: &str) {
        if !cx.keeps || id.len() != ID || self.sessions.contains_key(id) {
            return;
        }
        let Some(name) = self
            .digests
            .get_mut(&digest(id))
            .filter(|name| name.starts_with(STRANGER))
        else {
            return;
        };
        let stranger = std::mem::replace(name, id.into());
        let known = name.clone();
        if let Some(session) = self.sessions.remove(&stranger) {
            self.sessions.insert(known, session);
        }
    }

    /// Has a session stored as it stands now. `server`: the configured name of a server. `then`: what
    /// is said when it is stored.
    pub(crate) fn keep_session(
        &mut self,
        cx: &mut Context,
        spans: &mut Spans,
        server: impl FnOnce(UpId) -> String,
        name: &Arc<str>,
        then: Option<HeldAnswer>,
    ) {
        let record = self
            .sessions
            .get(name)
            .filter(|session| cx.keeps && !session.digest.is_empty())
            .map(|session| {
                let view = match session.view {
                    View::All => String::new(),
                    View::Core => "core".to_owned(),
                    View::One(up) => server(up),
                };
                let record = Record {
                    version: session.version,
                    view,
                    principal: session.principal.id.to_string(),
                    labels: session
                        .principal
                        .labels
                        .iter()
                        .map(ToString::to_string)
                        .collect(),
                    params: session.params.to_string(),
                    level: session.log_level,
                    socket: session.socket,
                    uris: session
                        .subscriptions
                        .iter()
                        .map(ToString::to_string)
                        .collect(),
                };
                (session.digest.clone(), record.write())
            });
        let Some((digest, Some(record))) = record else {
            return then
                .into_iter()
                .for_each(|held_answers| said(cx, spans, held_answers));
        };
        self.digests.insert(digest.clone(), name.clone());
        let ticket = then.map(|held_answers| {
            self.tickets += 1;
            let until = cx.now + PATIENCE;
            self.held_answers
                .insert(self.tickets, (until, held_answers));
            cx.wake_at(until);
            self.tickets
        });
        cx.emit(Output::Keep(Keep::Session {
            digest,
            record,
            ticket,
        }));
    }

    /// The answers whose sessions should be stored by now.
    pub(crate) fn held_answers_due(&self, now: Micros) -> Vec<u64> {
        let due = self
            .held_answers
            .iter()
            .filter(|(_, (until, _))| *until <= now);
        due.map(|(ticket, _)| *ticket).collect()
    }

    /// The answer that waits for a ticket.
    pub(crate) fn take_held_answer(&mut self, ticket: u64) -> Option<HeldAnswer> {
        self.held_answers
            .remove(&ticket)
            .map(|(_, held_answers)| held_answers)
    }

    /// The number of the first event of a restored session: higher than any of an earlier life.
    pub(crate) const fn first_event(&self) -> u64 {
        self.epoch.saturating_mul(EVENTS)
    }

    /// A session of an earlier life goes on under a name that no client can say.
    pub(crate) fn add_restored(&mut self, digest: &str, session: Session) -> Arc<str> {
        let name: Arc<str> = format!("{STRANGER}{digest}").into();
        self.sessions.insert(name.clone(), session);
        self.digests.insert(digest.into(), name.clone());
        name
    }
}

/// Tells a client of its session.
fn said(
    cx: &mut Context,
    spans: &mut Spans,
    HeldAnswer {
        key,
        reply,
        arrived,
        span,
        ..
    }: HeldAnswer,
) {
    cx.outputs()
        .extend(reply.into_iter().map(|reply| Output::Reply(key, reply)));
    let (duration, trace) = (
        cx.now.saturating_sub(arrived),
        span.as_ref().map(|span| span.trace),
    );
    cx.emit(Output::Observe(Observation::Request {
        method: "initialize",
        era: "legacy",
        outcome: CallOutcome::Ok,
        duration,
        trace,
    }));
    spans.end(cx, span, CallOutcome::Ok, b"");
}
