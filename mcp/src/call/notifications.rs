//! What nobody asked for: notifications of servers to clients, and of clients to servers.

use crate::api::{Isolation, StreamKey, UpId};
use crate::call::Calling;
use crate::client::session::Session;
use crate::client::view::View;
use crate::in_flight::record::{NOBODY, Purpose};
use crate::observation::DropReason;
use crate::protocol::json;
use crate::protocol::json::Envelope;
use crate::protocol::method::LogLevel;
use crate::protocol::splice::Splice;
use crate::upstream::User;
use bytes::Bytes;
use std::sync::Arc;

/// Of so many sessions it is looked up which ones a child serves.
const HEARERS: usize = 256;

impl Calling<'_> {
    /// The client exchange of a call.
    pub(crate) fn client_of(&self, up: UpId, call: Option<u64>) -> Option<StreamKey> {
        match self
            .calls
            .get(&call?)
            .filter(|call| call.up == up)
            .map(|call| &call.purpose)
        {
            Some(Purpose::Client(client)) => Some(client.key),
            _ => None,
        }
    }

    /// A message as the client of a call is to have it.
    pub(crate) fn for_client_of(&self, up: UpId, call: Option<u64>, text: &str) -> Bytes {
        let exposed = match call
            .and_then(|number| self.calls.get(&number))
            .map(|call| &call.purpose)
        {
            Some(Purpose::Client(client)) if client.exposes => {
                crate::protocol::task::exposed(&self.ups.get(up).key, text)
            }
            _ => None,
        };
        exposed.unwrap_or_else(|| Bytes::copy_from_slice(text.as_bytes()))
    }

    pub(crate) fn progress(&mut self, up: UpId, conn: usize, envelope: &Envelope<'_>) -> bool {
        let token = envelope
            .params
            .and_then(|params| json::pick(params, ["progressToken"]))
            .and_then(|[token]| token);
        let Some(number) = token
            .and_then(|token| token.parse::<u64>().ok())
            .map(|number| self.call_of_task(number))
        else {
            return false;
        };
        if self.client_of(up, Some(number)).is_none() {
            let rooms = (&mut *self.clients, &*self.ups);
            return token.is_some_and(|token| {
                self.tasks
                    .progress(self.cx, rooms, (up, number), token, envelope.text)
            });
        }
        if self.keep_message(number, envelope.text) {
            return true;
        }
        let Some(call) = self.calls.get_mut(&number).filter(|call| call.conn == conn) else {
            return false;
        };
        let Purpose::Client(client) = &call.purpose else {
            return false;
        };
        let (Some(theirs), Some(ours)) = (&client.progress, token) else {
            return false;
        };
        let mut splice = Splice::new(envelope.text);
        splice.replace(ours, theirs.to_string());
        if !client.is_asked() {
            call.deadline = self.cx.now + client.timeout;
        }
        let key = client.key;
        self.clients
            .stream_event(self.cx, key, splice.finish(), true);
        true
    }

    /// A log message goes to the call that it certainly belongs to, if that client wants messages
    /// of its level.
    pub(crate) fn log_message(
        &mut self,
        up: UpId,
        conn: usize,
        call: Option<u64>,
        envelope: &Envelope<'_>,
    ) -> bool {
        let member = &self.ups.get(up).conns[conn];
        let calls = &member.calls;
        // A task of a legacy server that is at work writes log messages too, long after its call
        // was answered.
        let legacy = !self.ups.get(up).is_modern_at(conn);
        let tasks = legacy
            && !member.is_leased()
            && self.tasks.works_at(self.ups.get(up), conn, self.cx.now);
        let is_over = self.cx.now >= member.unsure && member.late.is_empty();
        let only = || {
            calls
                .iter()
                .next()
                .copied()
                .filter(|_| calls.len() == 1 && call.is_none() && is_over && !tasks)
        };
        let number = call.filter(|call| calls.contains(call)).or_else(only);
        let level = envelope
            .params
            .and_then(|params| json::pick(params, ["level"]))
            .and_then(|[level]| LogLevel::parse(&json::string(level?)?))
            .unwrap_or(LogLevel::Info);
        let client = match number
            .and_then(|number| self.calls.get(&number))
            .map(|call| &call.purpose)
        {
            Some(Purpose::Client(client)) if self.tasks.may_concern(client, self.cx.now) => client,
            _ => return self.log_outside_of_calls(up, conn, level, envelope),
        };
        if let Some(number) = number
            && client.key == NOBODY
        {
            return self.keep_message(number, envelope.text);
        }
        let wanted = match &client.session {
            Some(session) => self
                .clients
                .session(session)
                .is_some_and(|session| session.wants(level)),
            None => client.log_level.is_some_and(|wanted| level >= wanted),
        };
        if wanted {
            let key = client.key;
            let data = self.for_client_of(up, number, envelope.text);
            self.clients.stream_event(self.cx, key, data, true);
        }
        wanted
    }

    /// A log message that belongs to no call for certain is for the legacy sessions that the child
    /// serves, if all of them, and all calls there, are of one principal.
    fn log_outside_of_calls(
        &mut self,
        up: UpId,
        conn: usize,
        level: LogLevel,
        envelope: &Envelope<'_>,
    ) -> bool {
        let sessions = self.sessions_at(up, conn);
        let mut wanted = false;
        for name in &sessions {
            let session = self.clients.session(name);
            if session.is_some_and(|session| session.wants(level)) {
                let data = Bytes::copy_from_slice(envelope.text.as_bytes());
                self.clients.session_event(self.cx, name, data);
                wanted = true;
            }
        }
        if sessions.is_empty() {
            self.cx.dropped(Some(up), DropReason::UnattributedLog);
        }
        wanted
    }

    /// The legacy sessions that a child serves; none if it serves more than one principal.
    fn sessions_at(&self, up: UpId, conn: usize) -> Vec<Arc<str>> {
        let upstream = self.ups.get(up);
        let member = &upstream.conns[conn];
        if conn > 0 {
            let own = member.user.as_ref().and_then(User::session);
            return own.into_iter().cloned().collect();
        }
        if upstream.is_modern_at(conn) || self.clients.session_count() > HEARERS {
            return Vec::new();
        }
        let serves = |session: &Session| match session.view {
            View::All => self.ups.may_all(session.access.as_deref(), up),
            View::One(one) => one == up,
            View::Core => false,
        };
        let shares = |session: &Session| {
            session.declared.is_empty() || upstream.settings.isolation == Isolation::Single
        };
        let mut sessions: Vec<_> = self
            .clients
            .sessions()
            .filter(|(_, session)| serves(session) && shares(session))
            .collect();
        sessions.sort_unstable_by_key(|(name, _)| *name);
        let principal = sessions
            .first()
            .map(|(_, session)| session.principal.id.clone());
        let is_its = |number: &u64| match self.calls.get(number).map(|call| &call.purpose) {
            Some(Purpose::Client(client)) => Some(&client.principal) == principal.as_ref(),
            _ => true,
        };
        let is_one = sessions
            .iter()
            .all(|(_, session)| Some(&session.principal.id) == principal.as_ref())
            && self.cx.now >= member.unsure.max(member.mixed)
            && member
                .principal
                .as_ref()
                .is_none_or(|last| Some(last) == principal.as_ref())
            && member.calls.iter().all(is_its);
        let names = sessions.into_iter().map(|(name, _)| name.clone());
        names.filter(|_| is_one).collect()
    }

    /// The call that a leased child's words are about: of one session's calls the newest, of others
    /// the only one.
    pub(crate) fn call_of_child(&self, up: UpId, conn: usize) -> Option<u64> {
        let conn = &self.ups.get(up).conns[conn];
        let concerned = |number: &&u64| match self.calls.get(number).map(|call| &call.purpose) {
            Some(Purpose::Client(client)) => self.tasks.may_concern(client, self.cx.now),
            _ => false,
        };
        conn.calls
            .iter()
            .filter(|_| conn.is_leased() && conn.is_one_clients())
            .filter(concerned)
            .max()
            .copied()
    }
}
