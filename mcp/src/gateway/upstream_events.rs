//! Events of upstreams: which room each of them concerns.

use bytes::Bytes;
use crate::api::Micros;
use crate::api::UpId;
use crate::api::UpInput;
use crate::in_flight::record::Call;
use crate::in_flight::record::Purpose;
use crate::protocol::json;
use crate::protocol::json::Envelope;
use crate::protocol::json::Kind;
use crate::protocol::refusal::Refusal;
use crate::protocol::refusal::rpc;
use crate::upstream::ConnState;
use ggen_wire::Code;
use ggen_wire::status::UpstreamState;
use crate::gateway::Gateway;

impl Gateway {
    pub(crate) fn up(&mut self, up: UpId, event: UpInput) {
        match event {
            UpInput::Connected {
                incarnation,
                handoff,
            } => {
                let refusal = Refusal::new(200, rpc::INTERNAL, Code::UpstreamExited, "");
                self.fail_calls(up, Some(0), &refusal, "lost");
                self.connecting().connected(up, incarnation, handoff.as_deref());
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
                ..
            } => self.connecting().http_head(up, exchange, status, session),
            UpInput::Message {
                exchange,
                event_id,
                retry_ms,
                data,
            } => {
                if let Some((conn, call, data)) =
                    self.connecting().http_event(up, exchange, event_id, retry_ms, data)
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
        self.ups.get_mut(up).conns[0].phase = ConnState::Down;
        self.ups.get_mut(up).held = false;
        let refusal = Refusal::new(200, rpc::INTERNAL, code, &format!("{name}: {reason}"))
            .with("server", &json::quote(&name));
        self.fail_calls(up, Some(0), &refusal, "lost");
        let soon = next_start.is_some_and(|wait| wait <= 1_000_000);
        self.connecting().down(up, state, code, reason, soon);
    }

    /// A message; `call` is the HTTP exchange that it came on.
    pub(crate) fn received(&mut self, up: UpId, conn: usize, call: Option<u64>, data: Bytes) {
        let envelope = match std::str::from_utf8(&data).ok().map(Envelope::parse) {
            Some(Ok(envelope)) => envelope,
            _ if data.iter().all(u8::is_ascii_whitespace) => return,
            _ => return self.connecting().garbage(up, conn, &data),
        };
        match &envelope.kind {
            Kind::Result(..) | Kind::Error(Some(_), _) => self.response(up, conn, &envelope),
            // An error without an id answers the exchange that it came on.
            Kind::Error(None, error) => match call {
                Some(number) => {
                    let text =
                        crate::protocol::refusal::error_message(Some(&number.to_string()), error);
                    self.received(up, conn, None, text);
                }
                None => self.connecting().garbage(up, conn, &data),
            },
            Kind::Request(id, name) => self.server_request(up, conn, call, id, name, &envelope),
            Kind::Notification(name) => {
                let call = call.or_else(|| self.call_of_child(up, conn));
                if !self.server_notification(up, conn, call, name, &envelope) {
                    self.connecting().lose_patience(up, conn);
                }
            }
        }
    }

    /// A line over the limit: the call that it would have answered fails, nothing else. Before the
    /// handshake is through it is no MCP server's line.
    pub(crate) fn overlong(&mut self, up: UpId, conn: usize, head: &[u8]) {
        self.cx.dropped(Some(up), "too_large");
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
            return self.connecting().handshake_failed(up, conn, Code::UpstreamTooLarge, detail);
        }
        let number =
            number.filter(|number| self.calls.get(number).is_some_and(|call| call.conn == conn));
        if let Some((_, call)) = number.and_then(|number| self.take_call(up, number)) {
            let name = self.ups.get(up).settings.name.clone();
            match &call.purpose {
                Purpose::Client(client) => {
                    self.give_up(
                        &call,
                        client,
                        &Refusal::new(200, rpc::INTERNAL, Code::UpstreamTooLarge, &name),
                        "error",
                    );
                }
                Purpose::List(kind) => self.connecting().list_failed(up, *kind),
                _ => {}
            }
        }
    }

    /// The call that a leased child's words are about: of several, which are one client's then, the
    /// newest.
    fn call_of_child(&self, up: UpId, conn: usize) -> Option<u64> {
        let conn = &self.ups.get(up).conns[conn];
        let concerned = |number: &&u64| match self.calls.get(number).map(|call| &call.purpose) {
            Some(Purpose::Client(client)) => self.may_concern(client),
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
