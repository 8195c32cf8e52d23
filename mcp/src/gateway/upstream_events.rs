//! Events of upstreams: which room each of them concerns.

use crate::api::{Lease, Micros, UpId, UpInput};
use crate::gateway::Gateway;
use crate::in_flight::record::{Call, Purpose};
use crate::lease::lifecycle;
use crate::observation::{CallOutcome, DropReason};
use crate::protocol::json;
use crate::protocol::json::server_message::{self, ServerMessage};
use crate::protocol::json::{Envelope, Kind};
use crate::protocol::refusal::{Refusal, rpc};
use crate::upstream::ConnState;
use crate::upstream::connection::http::Head;
use crate::upstream::list::ListKind;
use bytes::Bytes;
use ggen_wire::Code;
use ggen_wire::log::Level;
use ggen_wire::status::UpstreamState;

impl Gateway {
    pub(crate) fn up(&mut self, up: UpId, event: UpInput) {
        match event {
            UpInput::Connected {
                incarnation,
                handoff,
            } => {
                let refusal = Refusal::new(200, rpc::INTERNAL, Code::UpstreamExited, "");
                self.calling()
                    .fail_calls(up, Some(0), &refusal, CallOutcome::Lost);
                self.connecting()
                    .connected(up, incarnation, handoff.as_deref());
            }
            UpInput::Line(line) => self.received(up, 0, None, line),
            UpInput::Overlong(head) => self.overlong(up, 0, &head),
            UpInput::Lost {
                state,
                code,
                reason,
                next_start,
            } => self.lost(up, state, code, reason, next_start),
            UpInput::Head {
                exchange,
                status,
                session,
                retry_after,
                sse,
            } => self.connecting().http_head(
                up,
                exchange,
                Head {
                    status,
                    session,
                    retry_after,
                    sse,
                },
            ),
            UpInput::Message {
                exchange,
                event_id,
                retry_ms,
                data,
            } => {
                if let Some((conn, call, data)) = self
                    .connecting()
                    .http_event(up, exchange, event_id, retry_ms, data)
                {
                    self.received(up, conn, call, data);
                }
            }
            UpInput::End { exchange, error } => self.http_end(up, exchange, error),
        }
    }

    fn lost(
        &mut self,
        up: UpId,
        state: UpstreamState,
        code: Code,
        reason: String,
        next_start: Option<Micros>,
    ) {
        let name = self.ups.get(up).settings.name.clone();
        self.connecting().ended(up);
        self.ups.get_mut(up).conns[0].phase = ConnState::Down;
        self.ups.get_mut(up).held = false;
        let refusal = Refusal::new(200, rpc::INTERNAL, code, &format!("{name}: {reason}"))
            .with("server", &json::quote(&name));
        self.calling()
            .fail_calls(up, Some(0), &refusal, CallOutcome::Lost);
        let soon = next_start.is_some_and(|wait| wait <= 1_000_000);
        self.connecting().down(up, state, code, reason, soon);
    }

    /// A message; `call` is the HTTP exchange that it came on.
    pub(crate) fn received(&mut self, up: UpId, conn: usize, call: Option<u64>, data: Bytes) {
        let envelope = match server_message::read(&data) {
            ServerMessage::One(envelope) => envelope,
            ServerMessage::Rewritten(messages) => {
                for message in messages {
                    self.received(up, conn, call, message);
                }
                return;
            }
            ServerMessage::Nothing => return,
            ServerMessage::Garbage => {
                return self.connecting().garbage(up, conn, call, &data);
            }
        };
        match &envelope.kind {
            // An error with another id, or without one, answers the exchange that it came on if its
            // status says that the request failed.
            Kind::Error(id, error)
                if call.is_some_and(|number| self.connecting().is_failure_of(number, *id)) =>
            {
                let number = call.map(|number| number.to_string());
                let text = crate::protocol::refusal::error_message(number.as_deref(), error);
                self.received(up, conn, None, text);
            }
            Kind::Result(..) | Kind::Error(Some(_), _) => self.response(up, conn, &envelope),
            Kind::Error(None, _) => self.connecting().garbage(up, conn, call, &data),
            Kind::Request(id, name) => self.server_request(up, conn, call, id, name, &envelope),
            Kind::Notification(name) => {
                let call = call.or_else(|| self.calling().call_of_child(up, conn));
                if !self.server_notification(up, conn, call, name, &envelope) {
                    self.connecting().lose_patience(up, conn);
                }
            }
        }
    }

    /// A line over the limit: the call that it would have answered fails, nothing else. Before the
    /// handshake is through it is no MCP server's line.
    pub(crate) fn overlong(&mut self, up: UpId, conn: usize, head: &[u8]) {
        self.cx.dropped(Some(up), DropReason::TooLarge);
        let head = String::from_utf8_lossy(head);
        let number = head
            .split("\"id\":")
            .nth(1)
            .map(str::trim_start)
            .and_then(|rest| {
                let digits = rest
                    .find(|c: char| !c.is_ascii_digit())
                    .unwrap_or(rest.len());
                rest[..digits].parse::<u64>().ok()
            });
        if matches!(self.ups.get(up).conns[conn].phase, ConnState::Handshake(_)) {
            let is_handshake = |call: &Call| {
                call.up == up
                    && call.conn == conn
                    && matches!(call.purpose, Purpose::Discover | Purpose::Initialize)
            };
            self.calls.retain(|_, call| !is_handshake(call));
            let detail = "a line over the limit instead of an answer to the handshake".to_owned();
            return self
                .connecting()
                .handshake_failed(up, conn, Code::UpstreamTooLarge, detail);
        }
        let number =
            number.filter(|number| self.calls.get(number).is_some_and(|call| call.conn == conn));
        if let Some((_, call)) = number.and_then(|number| self.calling().take_call(up, number)) {
            let name = self.ups.get(up).settings.name.clone();
            match &call.purpose {
                Purpose::Client(client) => {
                    self.calling().give_up(
                        &call,
                        client,
                        &Refusal::new(200, rpc::INTERNAL, Code::UpstreamTooLarge, &name),
                        CallOutcome::Error,
                    );
                }
                Purpose::List(kind) => {
                    let reason = "an answer over the limit".to_owned();
                    self.connecting().list_lost((up, conn), *kind, reason);
                }
                _ => {}
            }
        }
    }

    /// Something about a leased child. What comes late from one that has ended is dropped.
    pub(crate) fn leased(&mut self, up: UpId, lease: Lease, event: UpInput) {
        let Some(at) = lifecycle::place(self.ups.get(up), lease) else {
            return;
        };
        match event {
            UpInput::Connected { .. } => {
                self.ups.get_mut(up).conns[at].used = self.cx.now;
                if self.ups.get(up).is_modern_at(at) {
                    self.connecting().ready(up, at);
                } else {
                    self.connecting().initialize_upstream(up, at);
                }
            }
            UpInput::Line(line) => self.received(up, at, None, line),
            UpInput::Overlong(head) => self.overlong(up, at, &head),
            UpInput::Lost { code, reason, .. }
                if self.ups.get(up).conns[at].phase == ConnState::Ready =>
            {
                let name = &self.ups.get(up).settings.name;
                let refusal = Refusal::new(200, rpc::INTERNAL, code, &format!("{name}: {reason}"));
                let refusal = refusal.with("server", &json::quote(name));
                let text = format!("{name}: the child of some calls is gone: {reason}");
                self.cx
                    .note(Level::Warn, "tools", Some(up), Some(code), text);
                self.calling().forget_child(up, at, &refusal);
            }
            UpInput::Lost { code, reason, .. } => {
                self.calling().child_failed(up, at, code, &reason, false)
            }
            UpInput::Head { .. } | UpInput::Message { .. } | UpInput::End { .. } => {}
        }
    }

    /// A notification of a server. False: nobody has asked for it.
    pub(crate) fn server_notification(
        &mut self,
        up: UpId,
        conn: usize,
        call: Option<u64>,
        name: &str,
        envelope: &Envelope<'_>,
    ) -> bool {
        if let Some(kinds) = changed_lists(name) {
            return match conn {
                0 => self.connecting().announce(up, kinds),
                _ => self.connecting().child_announces((up, conn), kinds),
            };
        }
        match name {
            "notifications/resources/updated" if conn > 0 => {
                self.connecting().child_updated((up, conn), envelope)
            }
            "notifications/progress" => self.calling().progress(up, conn, envelope),
            "notifications/message" => self.calling().log_message(up, conn, call, envelope),
            "notifications/resources/updated" => self.connecting().resource_updated(up, envelope),
            "notifications/subscriptions/acknowledged" => {
                self.connecting().listen_acknowledged(up, envelope);
                true
            }
            "notifications/tasks/status" => {
                self.bridging()
                    .task_status(up, conn, envelope.params, envelope.text)
            }
            "notifications/tasks" => self.tasks.told(
                &mut self.cx,
                (&mut self.clients, &self.ups, &mut self.leases),
                up,
                envelope,
            ),
            "notifications/cancelled" => {
                self.questioning().server_cancels(up, conn, envelope);
                true
            }
            _ => {
                // Unknown ones belong to the request on whose stream they came.
                let Some(client) = self.calling().client_of(up, call) else {
                    return false;
                };
                if call.is_some_and(|number| self.calling().keep_message(number, envelope.text)) {
                    return true;
                }
                let data = self.calling().for_client_of(up, call, envelope.text);
                self.clients.stream_event(&mut self.cx, client, data, true);
                true
            }
        }
    }

    /// A request of a server.
    pub(crate) fn server_request(
        &mut self,
        up: UpId,
        conn: usize,
        call: Option<u64>,
        id: &str,
        name: &str,
        envelope: &Envelope<'_>,
    ) {
        if name == "ping" {
            let answer = crate::protocol::refusal::result_message(id, "{}");
            return self
                .connecting()
                .send_untracked(up, conn, answer, Vec::new());
        }
        let allowed = self.ups.get(up).conns[conn]
            .caps()
            .allow(name, envelope.params);
        if let Some(task) = self
            .bridging()
            .task_that_asks(up, conn, call, envelope.params)
        {
            if !allowed
                || !self
                    .bridging()
                    .ask_for_task(&task, conn, id, name, envelope.params)
            {
                self.questioning().refuse_question(up, conn, id, name);
            }
            return;
        }
        let number = call
            .or_else(|| self.questioning().askable(up, conn))
            .filter(|_| allowed);
        let modern = number.and_then(|number| match &self.calls.get(&number)?.purpose {
            Purpose::Client(client) => Some(client.modern),
            _ => None,
        });
        let taken = match (number, modern) {
            (Some(number), Some(true)) => {
                self.questioning()
                    .ask_modern(number, id, name, envelope.params)
            }
            (Some(number), Some(false)) => self
                .questioning()
                .ask_legacy(up, conn, number, id, envelope),
            _ => false,
        };
        if !taken {
            self.questioning()
                .remember_lack(up, conn, call, name, envelope.params);
            self.questioning().refuse_question(up, conn, id, name);
        }
    }
}

/// The lists that a notification says are others now.
fn changed_lists(name: &str) -> Option<&'static [ListKind]> {
    match name {
        "notifications/tools/list_changed" => Some(&[ListKind::Tools]),
        "notifications/prompts/list_changed" => Some(&[ListKind::Prompts]),
        "notifications/resources/list_changed" => Some(&[ListKind::Resources, ListKind::Templates]),
        _ => None,
    }
}
