//! Sessions that outlive this life of the relay: what is said of them to whoever stores them, and
//! how those of an earlier life go on. Until its client comes back, a restored session stands under
//! a name that no client can say; the id itself was never stored.

use crate::api::{Micros, Observation, Output, StreamKey, UpId};
use crate::client::Clients;
use crate::client::session::{Ring, Session};
use crate::client::view::View;
use crate::context::Context;
use crate::edge::{Principal, Reply};
use crate::gateway::Gateway;
use crate::persisted::{Keep, KeptSession, KeptTask, Record, digest};
use crate::protocol::capabilities::Caps;
use crate::protocol::json;
use crate::protocol::refusal::{Refusal, rpc};
use crate::trace::Spans;
use crate::trace::span::Span;
use ggen_wire::Code;
use std::collections::{BTreeSet, HashMap};
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
pub(crate) struct Unsaid {
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
        if let Some((_, unsaid)) = self.unsaid.remove(&ticket) {
            said(cx, spans, unsaid);
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
        then: Option<Unsaid>,
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
            return then.into_iter().for_each(|unsaid| said(cx, spans, unsaid));
        };
        self.digests.insert(digest.clone(), name.clone());
        let ticket = then.map(|unsaid| {
            self.tickets += 1;
            let until = cx.now + PATIENCE;
            self.unsaid.insert(self.tickets, (until, unsaid));
            cx.wake_at(until);
            self.tickets
        });
        cx.emit(Output::Keep(Keep::Session {
            digest,
            record,
            ticket,
        }));
    }
}

/// Tells a client of its session.
fn said(
    cx: &mut Context,
    spans: &mut Spans,
    Unsaid {
        key,
        reply,
        arrived,
        span,
        ..
    }: Unsaid,
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
        outcome: "ok",
        duration,
        trace,
    }));
    spans.end(cx, span, "ok", b"");
}

impl Gateway {
    /// Whoever stores sessions takes too long: their clients are not kept waiting. In a worker that
    /// is about to stop, a session that nobody has stored goes nowhere: its client is to begin it
    /// with the next one.
    pub(crate) fn say_due(&mut self) {
        let due: Vec<_> = self
            .clients
            .unsaid
            .iter()
            .filter(|(_, (until, _))| *until <= self.cx.now)
            .map(|(ticket, _)| *ticket)
            .collect();
        for ticket in due {
            if !self.cx.draining {
                self.clients.say(&mut self.cx, &mut self.spans, ticket);
            } else if let Some((_, unsaid)) = self.clients.unsaid.remove(&ticket) {
                self.end_session(&unsaid.session);
                let refusal = Refusal::new(503, rpc::INTERNAL, Code::GatewayUnavailable, "")
                    .with("help", "\"send the request again\"")
                    .retry(1);
                self.spans.refuse(&mut self.cx, unsaid.span, &refusal);
                self.clients
                    .refuse_whole(&mut self.cx, unsaid.key, &refusal, Some(&unsaid.id));
            }
        }
    }

    /// Sessions of an earlier life go on.
    pub(crate) fn restore(&mut self, kept: Vec<KeptSession>) {
        for KeptSession {
            digest,
            record,
            idle,
        } in kept
        {
            if let Some(task) = KeptTask::read(&record) {
                if !self.calling().adopt_task(&task, idle) {
                    self.cx.emit(Output::Keep(Keep::Ended(digest)));
                }
                continue;
            }
            let Some(record) = Record::read(&record).filter(|_| idle < self.cx.limits.session_idle)
            else {
                self.cx.emit(Output::Keep(Keep::Ended(digest)));
                continue;
            };
            let known = self.clients.digests.get(&digest).cloned();
            match known.or_else(|| self.adopt(&digest, &record, idle)) {
                Some(name) => self.take_over(&name, &record),
                None => self.cx.emit(Output::Keep(Keep::Ended(digest))),
            }
        }
    }

    /// Makes a session of a record. `None`: there is no room for it, or its server is not
    /// configured any more.
    fn adopt(&mut self, digest: &str, record: &Record, idle: Micros) -> Option<Arc<str>> {
        let most = self.access.sessions_in_all(&self.cx.limits);
        let view = self
            .ups
            .view(&record.view)
            .ok()
            .filter(|_| self.clients.sessions.len() < most)?;
        let labels = record
            .labels
            .iter()
            .map(|label| label.as_str().into())
            .collect();
        let principal = Principal {
            id: record.principal.as_str().into(),
            labels,
        };
        let [capabilities, client] =
            json::pick(&record.params, ["capabilities", "clientInfo"]).unwrap_or_default();
        let first = self.clients.epoch.saturating_mul(EVENTS);
        let name: Arc<str> = format!("{STRANGER}{digest}").into();
        let session = Session {
            version: record.version,
            view,
            access: self.access.of_principal(&principal),
            principal,
            caps: capabilities.map(Caps::read).unwrap_or_default(),
            client: client.unwrap_or(NAMELESS).into(),
            params: record.params.as_str().into(),
            digest: digest.into(),
            socket: record.socket,
            log_level: None,
            used: self.cx.now,
            idle,
            told: self.cx.now,
            rings: HashMap::from([(0, Ring::after(first))]),
            next_ring: first.max(1),
            calls: HashMap::new(),
            subscriptions: BTreeSet::new(),
        };
        self.clients.sessions.insert(name.clone(), session);
        self.clients.digests.insert(digest.into(), name.clone());
        Some(name)
    }

    /// What a session had told its servers and us.
    fn take_over(&mut self, name: &Arc<str>, record: &Record) {
        let Some(session) = self.clients.sessions.get_mut(name) else {
            return;
        };
        session.log_level = record.level;
        let view = session.view;
        let wanted: BTreeSet<Box<str>> =
            record.uris.iter().map(|uri| uri.as_str().into()).collect();
        let before = std::mem::replace(&mut session.subscriptions, wanted.clone());
        for exposed in wanted.difference(&before) {
            if let Some((up, original)) = self.ups.subscribed_at(view, exposed)
                && self.ups.add_subscriber(up, &original)
            {
                self.connecting().subscribe_upstream(up, &original, true);
            }
        }
        for exposed in before.difference(&wanted) {
            if let Some((up, original)) = self.ups.subscribed_at(view, exposed) {
                self.connecting().release_and_tell(up, &original);
            }
        }
    }
}
