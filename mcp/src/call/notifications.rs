//! What nobody asked for: notifications of servers to clients, and of clients to servers.

use crate::api::{StreamKey, UpId};
use crate::call::Calling;
use crate::in_flight::record::{NOBODY, Purpose};
use crate::observation::DropReason;
use crate::protocol::json;
use crate::protocol::json::Envelope;
use crate::protocol::method::LogLevel;
use crate::protocol::splice::Splice;
use crate::upstream::UpEra;
use bytes::Bytes;

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
        let legacy = matches!(self.ups.get(up).era, Some(UpEra::Legacy(_)));
        let tasks = legacy
            && !member.is_leased()
            && self.tasks.works_at(self.ups.get(up), conn, self.cx.now);
        let only = || {
            calls.iter().next().copied().filter(|_| {
                calls.len() == 1 && call.is_none() && self.cx.now >= member.unsure && !tasks
            })
        };
        let number = call.filter(|call| calls.contains(call)).or_else(only);
        let client = match number
            .and_then(|number| self.calls.get(&number))
            .map(|call| &call.purpose)
        {
            Some(Purpose::Client(client)) if self.tasks.may_concern(client, self.cx.now) => client,
            _ => {
                self.cx.dropped(Some(up), DropReason::UnattributedLog);
                return false;
            }
        };
        if let Some(number) = number
            && client.key == NOBODY
        {
            return self.keep_message(number, envelope.text);
        }
        let level = envelope
            .params
            .and_then(|params| json::pick(params, ["level"]))
            .and_then(|[level]| json::string(level?));
        let level = level
            .and_then(|level| LogLevel::parse(&level))
            .unwrap_or(LogLevel::Info);
        let wanted = match &client.session {
            Some(session) => self
                .clients
                .session(session)
                .is_some_and(|session| session.log_level.is_none_or(|wanted| level >= wanted)),
            None => client.log_level.is_some_and(|wanted| level >= wanted),
        };
        if wanted {
            let key = client.key;
            let data = self.for_client_of(up, number, envelope.text);
            self.clients.stream_event(self.cx, key, data, true);
        }
        wanted
    }

    /// The call that a leased child's words are about: of several, which are one client's then, the
    /// newest.
    pub(crate) fn call_of_child(&self, up: UpId, conn: usize) -> Option<u64> {
        let conn = &self.ups.get(up).conns[conn];
        let concerned = |number: &&u64| match self.calls.get(number).map(|call| &call.purpose) {
            Some(Purpose::Client(client)) => self.tasks.may_concern(client, self.cx.now),
            _ => false,
        };
        conn.calls
            .iter()
            .filter(|_| conn.is_leased())
            .filter(concerned)
            .max()
            .copied()
    }
}
