//! Writes calls to their upstreams: the connection that takes a call, and what is sent on it.

use crate::api::{HttpRequest, Output};
use crate::edge::Verb;
use crate::in_flight::record::Purpose;
use crate::protocol::method::Method;
use crate::upstream::{ConnState, Connecting, UpEra};

impl Connecting<'_> {
    /// Writes a call, or keeps it until its connection is ready.
    pub(crate) fn dispatch(&mut self, number: u64) {
        let Some(call) = self.calls.get(&number) else {
            return;
        };
        let (up, at) = (call.up, call.conn);
        let now = self.cx.now;
        let conn = &mut self.ups.get_mut(up).conns[at];
        if let Purpose::Client(client) = &call.purpose {
            conn.has_subscribed |= client.method == Method::Subscribe;
            conn.is_used_by(&client.principal, now);
        }
        if conn.phase == ConnState::Ready && conn.awaits_stream.is_none() {
            conn.calls.insert(number);
            self.set_wanted_level(number);
            self.send(number);
        } else {
            conn.queue.push(number);
        }
    }

    /// Has a legacy server log what the client of a call wants to hear.
    fn set_wanted_level(&mut self, number: u64) {
        let Some((call, Purpose::Client(client))) =
            self.calls.get(&number).map(|call| (call, &call.purpose))
        else {
            return;
        };
        let session = client
            .session
            .as_ref()
            .and_then(|id| self.clients.session(id));
        let level = client
            .log_level
            .or_else(|| session.and_then(|session| session.log_level));
        let (up, conn) = (call.up, call.conn);
        if let (Some(UpEra::Legacy(_)), Some(level)) = (self.ups.get(up).era_at(conn), level) {
            self.set_level(up, conn, level);
        }
    }

    /// Writes a call to its upstream.
    pub(crate) fn send(&mut self, number: u64) {
        let Some(call) = self.calls.get_mut(&number) else {
            return;
        };
        call.tries += 1;
        let modern_up = self.ups.get(call.up).is_modern_at(call.conn);
        let (up, at, timeout) = (
            call.up,
            call.conn,
            call.deadline.saturating_sub(self.cx.now),
        );
        if self.ups.get(up).is_http() {
            let (mut headers, body) = (call.request.headers.clone(), call.request.body.clone());
            let repeatable = match &call.purpose {
                Purpose::Client(client) => client.method.is_safe(),
                Purpose::Untracked | Purpose::TaskResult(..) => false,
                _ => true,
            };
            let trace = if let Purpose::Client(client) = &call.purpose {
                client.trace.clone()
            } else {
                None
            };
            if headers.is_empty() {
                headers = self.legacy_headers(up, at);
            }
            headers.extend(trace.iter().flat_map(|trace| trace.headers()));
            self.cx.emit(Output::Http(
                up,
                HttpRequest {
                    exchange: number,
                    verb: Verb::Post,
                    headers,
                    body,
                    timeout,
                    repeatable,
                },
            ));
        } else {
            // A line is written once, unless its server may want it again with answers.
            let again = modern_up
                && matches!(&call.purpose, Purpose::Client(client) if !client.modern && client.method.may_ask());
            let body = if again {
                call.request.body.clone()
            } else {
                std::mem::take(&mut call.request.body)
            };
            self.write_line(up, at, body);
        }
    }
}
