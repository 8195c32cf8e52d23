//! The sessions of legacy clients: found, counted, and given up when nobody uses them.

use crate::access::AccessControl;
use crate::api::{Micros, Output};
use crate::client::session::Session;
use crate::client::view::View;
use crate::client::{Clients, session_store};
use crate::context::Context;
use crate::edge::Request;
use crate::persisted::Keep;
use crate::protocol::inbound;
use crate::protocol::json::Kind;
use crate::protocol::method::{Legacy, SUPPORTED};
use crate::protocol::refusal::{Refusal, rpc};
use ggen_wire::Code;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Complete streams are kept this long for a client that comes back.
const KEEP_STREAM: Micros = 300_000_000;
/// It is said of a session that it is used when this part of the time has passed after which it
/// would end.
const TOLD: Micros = 60;
/// A session of a socket ends when nobody has read its stream for this long: the socket is gone.
const UNREAD: Micros = 60_000_000;

impl Clients {
    pub(crate) fn session(&self, id: &str) -> Option<&Session> {
        self.sessions.get(id)
    }

    pub(crate) fn session_mut(&mut self, id: &str) -> Option<&mut Session> {
        self.sessions.get_mut(id)
    }

    pub(crate) fn has_session(&self, id: &str) -> bool {
        self.sessions.contains_key(id)
    }

    pub(crate) fn sessions(&self) -> impl Iterator<Item = (&Arc<str>, &Session)> {
        self.sessions.iter()
    }

    /// The session that a request names, if it is this principal's and of this view.
    pub(crate) fn session_of(
        &mut self,
        cx: &Context,
        access: &mut AccessControl,
        request: &Request,
        view: View,
        id: &str,
    ) -> Result<(Arc<str>, Legacy), Refusal> {
        if request
            .header("mcp-protocol-version")
            .is_some_and(|version| !SUPPORTED.contains(&version))
        {
            return Err(inbound::unsupported_header(
                request.header("mcp-protocol-version").unwrap_or_default(),
            ));
        }
        let now = cx.now;
        self.recognise(cx, id);
        let (key, session) = match self
            .sessions
            .get_key_value(id)
            .filter(|_| !id.starts_with(session_store::STRANGER))
        {
            Some((key, session))
                if session.principal.id == request.principal.id && session.view == view =>
            {
                (key.clone(), session.version)
            }
            _ => {
                return Err(Refusal::new(
                    404,
                    rpc::INVALID_REQUEST,
                    Code::SessionUnknown,
                    "send initialize to begin a new one",
                ));
            }
        };
        if let Some(session) = self.sessions.get_mut(id) {
            session.touch(now);
            if session.principal != request.principal {
                session.principal = request.principal.clone();
                session.access = access.of_principal(&request.principal);
            }
        }
        Ok((key, session))
    }

    /// A message of a session has come. What ends its handshake is no use of it.
    pub(crate) fn use_session(&mut self, id: &str, message: &Kind<'_>) {
        let ends_handshake =
            matches!(message, Kind::Notification(name) if name == "notifications/initialized");
        if !ends_handshake && let Some(session) = self.sessions.get_mut(id) {
            session.is_unused = false;
        }
    }

    /// The session that is stored under a digest.
    pub(crate) fn session_of_digest(&self, digest: &str) -> Option<Arc<str>> {
        self.digests.get(digest).cloned()
    }

    /// Sessions that nobody has used for too long. Says of those in use that they are used.
    pub(crate) fn idle_sessions(&mut self, cx: &mut Context) -> Vec<Arc<str>> {
        let (now, limit) = (cx.now, cx.limits.session_idle);
        let mut used = Vec::new();
        for session in self.sessions.values_mut() {
            if session.is_busy() {
                session.touch(now);
                session.is_unused = false;
            }
            if cx.keeps && session.used >= session.reported.saturating_add(limit / TOLD) {
                session.reported = now;
                used.push(session.digest.clone());
            }
        }
        if !used.is_empty() {
            used.sort_unstable();
            cx.emit(Output::Keep(Keep::Used(used)));
        }
        let unused = cx.limits.session_unused;
        let over = |session: &Session| {
            let most = match (session.socket, session.is_unused) {
                // Nobody else can come back for what belongs to a socket.
                (true, _) => limit.min(UNREAD),
                (false, true) => limit.min(unused),
                (false, false) => limit,
            };
            session.idle_for(now) >= most
        };
        let mut idle: Vec<_> = self
            .sessions
            .iter()
            .filter(|(_, session)| over(session))
            .map(|(name, _)| name.clone())
            .collect();
        idle.sort_unstable();
        idle
    }

    /// Forgets streams that have been complete for long.
    pub(crate) fn forget_done_streams(&mut self, now: Micros) {
        for session in self.sessions.values_mut() {
            session
                .buffers
                .retain(|_, buffer| buffer.done.is_none_or(|done| now < done + KEEP_STREAM));
        }
    }

    /// How many sessions a principal has.
    pub(crate) fn sessions_of(&self, principal: &str) -> usize {
        let sessions = self.sessions.values();
        sessions
            .filter(|session| *session.principal.id == *principal)
            .count()
    }

    /// The session that ends for a new one of this principal: its own that nobody has used for the
    /// longest time, those first that were never used. `whole`: there is no room for anybody; then,
    /// if it has no idle one, one of the principal that has the most.
    pub(crate) fn session_to_end(
        &self,
        now: Micros,
        principal: &str,
        whole: bool,
    ) -> Option<Arc<str>> {
        let oldest = |of: &str| {
            let idle = self.sessions.iter().filter(|(_, session)| {
                *session.principal.id == *of && !session.socket && !session.is_busy()
            });
            idle.max_by_key(|(name, session)| (session.is_unused, session.idle_for(now), *name))
                .map(|(name, _)| name.clone())
        };
        let own = oldest(principal);
        if own.is_some() || !whole {
            return own;
        }
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for session in self.sessions.values() {
            *counts.entry(&session.principal.id).or_default() += 1;
        }
        let (most, count) = counts.iter().max_by_key(|(_, count)| **count)?;
        let is_fair = *count > counts.get(principal).copied().unwrap_or(0) + 1;
        oldest(most).filter(|_| is_fair)
    }

    pub(crate) fn session_count(&self) -> usize {
        self.sessions.len()
    }

    pub(crate) fn add_session(&mut self, name: Arc<str>, session: Session) {
        self.sessions.insert(name, session);
    }

    /// Removes a session; what is stored of it is deleted.
    pub(crate) fn end_session(&mut self, cx: &mut Context, name: &Arc<str>) -> Option<Session> {
        let session = self.sessions.remove(name)?;
        self.forget_session(cx, &session);
        Some(session)
    }

    /// Closes the streams on which the client of a session reads notifications.
    pub(crate) fn close_streams(&mut self, cx: &mut Context, name: &Arc<str>) {
        let streams = self
            .exchanges
            .iter()
            .filter(|(_, exchange)| exchange.left == 0 && exchange.session.as_ref() == Some(name));
        let mut streams: Vec<_> = streams.map(|(key, _)| *key).collect();
        streams.sort_unstable();
        for reader in streams {
            if let Some(exchange) = self.exchanges.get_mut(&reader) {
                exchange.close(reader, cx.outputs());
            }
            self.sweep(reader);
        }
    }
}
