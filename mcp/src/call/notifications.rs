//! What nobody asked for: notifications of servers to clients, and of clients to servers.

use crate::access::policy::Access;
use crate::api::{Micros, StreamKey, UpId};
use crate::client::session::Session;
use crate::gateway::Gateway;
use crate::in_flight::record::{NOBODY, Purpose};
use crate::protocol::json::Envelope;
use crate::protocol::method::LogLevel;
use crate::protocol::notification;
use crate::protocol::splice::Splice;
use crate::protocol::{json, name};
use crate::upstream::list::ListKind;
use crate::upstream::view::View;
use crate::upstream::{Rebuilt, UpEra, Upstreams};
use bytes::Bytes;
use std::sync::Arc;

impl Gateway {
    /// A notification of a server. False: nobody has asked for it.
    pub(crate) fn server_notification(
        &mut self,
        up: UpId,
        conn: usize,
        call: Option<u64>,
        name: &str,
        envelope: &Envelope<'_>,
    ) -> bool {
        let shared = || !self.ups.get(up).conns[conn].is_leased();
        match name {
            "notifications/tools/list_changed"
            | "notifications/prompts/list_changed"
            | "notifications/resources/list_changed"
            | "notifications/resources/updated"
                if !shared() =>
            {
                false
            }
            "notifications/progress" => self.progress(up, conn, envelope),
            "notifications/message" => self.log_message(up, conn, call, envelope),
            "notifications/tools/list_changed" => self.connecting().announce(up, &[ListKind::Tools]),
            "notifications/prompts/list_changed" => self.connecting().announce(up, &[ListKind::Prompts]),
            "notifications/resources/list_changed" => {
                self.connecting().announce(up, &[ListKind::Resources, ListKind::Templates])
            }
            "notifications/resources/updated" => self.connecting().resource_updated(up, envelope),
            "notifications/subscriptions/acknowledged" => {
                self.connecting().listen_acknowledged(up, envelope);
                true
            }
            "notifications/tasks/status" => {
                self.task_status(up, conn, envelope.params, envelope.text)
            }
            "notifications/tasks" => self.tasks.told(
                &mut self.cx,
                (&mut self.clients, &self.ups, &mut self.leases),
                up,
                envelope,
            ),
            "notifications/cancelled" => {
                self.server_cancels(up, conn, envelope);
                true
            }
            _ => {
                // Unknown ones belong to the request on whose stream they came.
                let Some(client) = self.client_of(up, call) else {
                    return false;
                };
                if call.is_some_and(|number| self.keep_message(number, envelope.text)) {
                    return true;
                }
                let data = self.for_client_of(up, call, envelope.text);
                self.clients.stream_event(&mut self.cx, client, data, true);
                true
            }
        }
    }

    /// The client exchange of a call.
    fn client_of(&self, up: UpId, call: Option<u64>) -> Option<StreamKey> {
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
    fn for_client_of(&self, up: UpId, call: Option<u64>, text: &str) -> Bytes {
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

    fn progress(&mut self, up: UpId, conn: usize, envelope: &Envelope<'_>) -> bool {
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
            let rooms = (&mut self.clients, &self.ups);
            return token.is_some_and(|token| {
                self.tasks
                    .progress(&mut self.cx, rooms, (up, number), token, envelope.text)
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
            .stream_event(&mut self.cx, key, splice.finish(), true);
        true
    }

    /// A log message goes to the call that it certainly belongs to, if that client wants messages
    /// of its level.
    fn log_message(
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
            Some(Purpose::Client(client)) if self.may_concern(client) => client,
            _ => {
                self.cx.dropped(Some(up), "unattributed_log");
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
            self.clients.stream_event(&mut self.cx, key, data, true);
        }
        wanted
    }

    /// A notification of a legacy client.
    pub(crate) fn client_notification(
        &mut self,
        session: &Arc<str>,
        name: &str,
        params: Option<&str>,
    ) {
        if name != "notifications/cancelled" {
            return;
        }
        let id = params
            .and_then(|params| json::pick(params, ["requestId"]))
            .and_then(|[id]| id);
        let number = id.and_then(|id| self.clients.session(session)?.calls.get(id).copied());
        match (number, id) {
            (Some(number), _) => self.cancel(number),
            (None, Some(id)) => {
                self.clients
                    .cancel_waiting(&mut self.cx, &mut self.spans, session, id)
            }
            _ => {}
        }
    }
}
