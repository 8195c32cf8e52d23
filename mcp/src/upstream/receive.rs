//! A message from an upstream: what it is, and whether the upstream sends more than anybody asked
//! for.

use crate::api::{Micros, Output, UpId};
use crate::gateway::Gateway;
use crate::in_flight::record::{Call, Purpose};
use crate::protocol::json::{Envelope, Kind};
use crate::protocol::refusal::{Refusal, rpc};
use crate::upstream::ConnState;
use bytes::Bytes;
use ggen_wire::{Code, log::Level};

/// Messages that nobody asked for: so many at once, and so many a second; what sends more is not
/// read for a while.
const PATIENCE: (f64, f64) = (2000.0, 1000.0);
/// How long it is not read then.
const PAUSE: Micros = 100_000;
/// Complaints about one upstream are this far apart.
const COMPLAINT: Micros = 10_000_000;

impl Gateway {
    /// A message; `call` is the HTTP exchange that it came on.
    pub(crate) fn received(&mut self, up: UpId, conn: usize, call: Option<u64>, data: Bytes) {
        let envelope = match std::str::from_utf8(&data).ok().map(Envelope::parse) {
            Some(Ok(envelope)) => envelope,
            _ if data.iter().all(u8::is_ascii_whitespace) => return,
            _ => return self.garbage(up, conn, &data),
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
                None => self.garbage(up, conn, &data),
            },
            Kind::Request(id, name) => self.server_request(up, conn, call, id, name, &envelope),
            Kind::Notification(name) => {
                let call = call.or_else(|| self.call_of_child(up, conn));
                if !self.server_notification(up, conn, call, name, &envelope) {
                    self.lose_patience(up, conn);
                }
            }
        }
    }

    /// The call that a leased child's words are about: of several, which are one client's then, the
    /// newest.
    fn call_of_child(&self, up: UpId, conn: usize) -> Option<u64> {
        let conn = &self.up_ref(up).conns[conn];
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

    fn garbage(&mut self, up: UpId, conn: usize, data: &[u8]) {
        self.cx.dropped(Some(up), "garbage");
        self.lose_patience(up, conn);
        let now = self.cx.now;
        let upstream = self.up_mut(up);
        if upstream
            .complained
            .is_none_or(|last| now >= last + COMPLAINT)
        {
            upstream.complained = Some(now);
            let head: String = String::from_utf8_lossy(&data[..data.len().min(120)])
                .chars()
                .filter(|c| !c.is_control())
                .collect();
            let text = format!(
                "{} printed something that is not MCP on stdout: {head}",
                self.up_ref(up).settings.name
            );
            self.cx.note(
                Level::Warn,
                "protocol",
                Some(up),
                Some(Code::UpstreamGarbage),
                text,
            );
        }
    }

    fn lose_patience(&mut self, up: UpId, conn: usize) {
        let now = self.cx.now;
        let upstream = self.up_mut(up);
        #[allow(clippy::cast_precision_loss, reason = "a rate needs no precision")]
        let elapsed = now.saturating_sub(upstream.refilled) as f64 / 1e6;
        upstream.patience = (upstream.patience + elapsed * PATIENCE.1).min(PATIENCE.0) - 1.0;
        upstream.refilled = now;
        if upstream.patience < 0.0 && !upstream.is_http() {
            self.cx.dropped(Some(up), "flood_pause");
            let lease = self.up_ref(up).conns[conn].lease;
            self.cx.emit(Output::Pause(up, lease, PAUSE));
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
        if matches!(self.up_ref(up).conns[conn].phase, ConnState::Handshake(_)) {
            let is_handshake = |call: &Call| {
                call.up == up
                    && call.conn == conn
                    && matches!(call.purpose, Purpose::Discover | Purpose::Initialize)
            };
            self.calls.retain(|_, call| !is_handshake(call));
            let detail = "a line over the limit instead of an answer to the handshake".to_owned();
            return self.handshake_failed(up, conn, Code::UpstreamTooLarge, detail);
        }
        let number =
            number.filter(|number| self.calls.get(number).is_some_and(|call| call.conn == conn));
        if let Some((_, call)) = number.and_then(|number| self.take_call(up, number)) {
            let name = self.up_ref(up).settings.name.clone();
            match &call.purpose {
                Purpose::Client(client) => {
                    self.give_up(
                        &call,
                        client,
                        &Refusal::new(200, rpc::INTERNAL, Code::UpstreamTooLarge, &name),
                        "error",
                    );
                }
                Purpose::List(kind) => self.list_failed(up, *kind),
                _ => {}
            }
        }
    }
}
