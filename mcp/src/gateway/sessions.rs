//! The end of sessions and of requests whose client is gone, and sessions of an earlier life: every
//! room that has something of theirs is told.

use crate::api::{Output, StreamKey};
use crate::client::request::{Answer, Flow};
use crate::edge::Request;
use crate::gateway::Gateway;
use crate::persisted::{Keep, KeptSession, KeptTask, Record};
use crate::protocol::method::MODERN;
use crate::protocol::refusal::{Refusal, rpc};
use bytes::Bytes;
use ggen_wire::Code;
use std::collections::BTreeSet;
use std::sync::Arc;

impl Gateway {
    /// The end of a legacy session.
    pub(crate) fn delete(&mut self, key: StreamKey, request: &Request) -> Answer {
        let access = self.access.of(key, &request.principal);
        let view = self
            .ups
            .view_for(&mut self.cx, access.as_deref(), request)
            .map_err(|refusal| (None, refusal))?;
        if request.header("mcp-protocol-version") == Some(MODERN) {
            return Err((
                None,
                Refusal::new(
                    405,
                    rpc::INVALID_REQUEST,
                    Code::MethodNotAllowed,
                    "revision 2026-07-28 has no sessions",
                ),
            ));
        }
        let missing = || {
            (
                None,
                Refusal::new(
                    400,
                    rpc::INVALID_REQUEST,
                    Code::SessionMissing,
                    "DELETE needs an Mcp-Session-Id",
                ),
            )
        };
        let id = request.header("mcp-session-id").ok_or_else(missing)?;
        let (name, _) = self
            .clients
            .session_of(&self.cx, &mut self.access, request, view, id)
            .map_err(|refusal| (None, refusal))?;
        self.end_session(&name);
        self.cx.full(key, 204, Bytes::new());
        Ok(Flow::Done)
    }

    /// Ends a session: its calls are cancelled, its streams closed, its subscriptions given up.
    pub(crate) fn end_session(&mut self, name: &Arc<str>) {
        self.calling().forget_tasks_of(name);
        let Some(session) = self.clients.end_session(&mut self.cx, name) else {
            return;
        };
        let mut calls: Vec<_> = session.calls.into_values().collect();
        calls.sort_unstable();
        for number in calls {
            self.calling().cancel(number);
        }
        self.calling().session_leaves(name);
        self.ups.forget_own_lists(name);
        self.clients.close_streams(&mut self.cx, name);
        for exposed in &session.subscriptions {
            if let Some((up, original)) = self.ups.subscribed_at(session.view, exposed) {
                self.connecting().release_and_tell(up, &original);
            }
        }
    }

    /// The client of an exchange is gone. A modern one cancels with that; a legacy one may come
    /// back for the answer.
    pub(crate) fn gone(&mut self, key: StreamKey) {
        let questions = self.clients.leave(&mut self.cx, &mut self.spans, key);
        self.serving().unlisten(key);
        let Some(exchange) = self.clients.exchange_mut(key) else {
            return;
        };
        exchange.connected = false;
        let Some(name) = exchange.session.clone() else {
            for number in std::mem::take(&mut exchange.calls) {
                if !self.questioning().hand_over(number, key) {
                    self.calling().cancel(number);
                }
            }
            self.clients.remove_exchange(key);
            return;
        };
        exchange.left = exchange.left.saturating_sub(questions);
        let waits = exchange.left > 0;
        if exchange.socket && exchange.left == 0 {
            // A session on a socket ends with it: nobody can come back for anything.
            self.clients.remove_exchange(key);
            return self.end_session(&name);
        }
        if let Some(session) = self.clients.session_mut(&name) {
            session
                .buffers
                .values_mut()
                .filter(|buffer| buffer.attached == Some(key))
                .for_each(|buffer| buffer.attached = None);
        }
        if !waits {
            self.clients.remove_exchange(key);
        }
    }

    /// Whoever stores sessions takes too long: their clients are not kept waiting. In a worker that
    /// is about to stop, a session that nobody has stored goes nowhere: its client is to begin it
    /// with the next one.
    pub(crate) fn held_answers_due(&mut self) {
        let due = self.clients.held_answers_due(self.cx.now);
        for ticket in due {
            if !self.cx.draining {
                self.clients.say(&mut self.cx, &mut self.spans, ticket);
            } else if let Some(held) = self.clients.take_held_answer(ticket) {
                self.end_session(&held.session);
                let refusal = Refusal::new(503, rpc::INTERNAL, Code::GatewayUnavailable, "")
                    .with("help", "\"send the request again\"")
                    .retry(1);
                self.spans.refuse(&mut self.cx, held.span, &refusal);
                self.clients
                    .refuse_whole(&mut self.cx, held.key, &refusal, Some(&held.id));
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
            let known = self.clients.session_of_digest(&digest);
            match known.or_else(|| self.serving().adopt(&digest, &record, idle)) {
                Some(name) => self.take_over(&name, &record),
                None => self.cx.emit(Output::Keep(Keep::Ended(digest))),
            }
        }
    }

    /// What a session had told its servers and us.
    fn take_over(&mut self, name: &Arc<str>, record: &Record) {
        let Some(session) = self.clients.session_mut(name) else {
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
