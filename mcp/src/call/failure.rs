//! Calls that fail because their server, or its connection, is lost.

use crate::api::{Output, UpId};
use crate::call::Calling;
use crate::in_flight::record::Purpose;
use crate::observation::CallOutcome;
use crate::protocol::refusal::{Refusal, rpc};
use crate::upstream::ConnState;
use ggen_wire::Code;
use ggen_wire::log::Level;
use ggen_wire::status::UpstreamState;

/// Connection failures in a row after which a server counts as down.
const FAILURES: u32 = 3;

impl Calling<'_> {
    /// A greeting that led to nothing.
    pub(crate) fn handshake_over(&mut self, up: UpId, conn: usize, code: Code, detail: String) {
        if self.ups.get(up).conns[conn].is_leased() {
            return self.child_failed(up, conn, code, &detail, true);
        }
        let name = self.ups.get(up).settings.name.clone();
        self.cx.note(
            Level::Warn,
            "mcp_server",
            Some(up),
            Some(code),
            format!("{name}: {detail}"),
        );
        self.ups.get_mut(up).conns[conn].phase = ConnState::Down;
        let refusal = Refusal::new(200, rpc::INTERNAL, code, &format!("{name}: {detail}"));
        self.fail_calls(up, Some(conn), &refusal, CallOutcome::Lost);
        if conn > 0 {
            return;
        }
        if self.ups.get(up).is_http() {
            self.ups.retry_later(self.cx, up);
        } else {
            let incarnation = self.ups.get(up).incarnation;
            self.cx.emit(Output::Recycle {
                up,
                incarnation,
                code,
                detail: detail.clone(),
            });
        }
        self.connecting()
            .down(up, UpstreamState::Degraded, code, detail, false);
    }

    /// Ends every call of a connection (or, with `None`, of the upstream) with an error.
    pub(crate) fn fail_calls(
        &mut self,
        up: UpId,
        conn: Option<usize>,
        refusal: &Refusal,
        outcome: CallOutcome,
    ) {
        for number in self.calls.of_conn(up, conn) {
            let Some((_, mut call)) = self.take_call(up, number) else {
                continue;
            };
            if self.ups.get(up).is_http() {
                self.cx.emit(Output::Abort(up, number));
            }
            if outcome == CallOutcome::Lost && self.retry(number, &mut call) {
                continue;
            }
            match &call.purpose {
                Purpose::Client(client) => self.give_up(&call, client, refusal, outcome),
                Purpose::List(kind) => {
                    let reason = "the server was lost".to_owned();
                    self.connecting().list_lost((up, call.conn), *kind, reason);
                }
                Purpose::Stream => self.ups.get_mut(up).conns[call.conn].stream = None,
                Purpose::Watch(name) => self.tasks.watch_over(name),
                _ => {}
            }
        }
    }

    pub(crate) fn client_end(&mut self, up: UpId, exchange: u64, code: &Code, reason: &str) {
        let name = self.ups.get(up).settings.name.clone();
        let refusal = Refusal::new(200, rpc::INTERNAL, *code, &format!("{name}: {reason}"));
        if let Some((_, mut call)) = self.take_call(up, exchange)
            && !(*code == Code::UpstreamUnreachable && self.retry(exchange, &mut call))
            && let Purpose::Client(client) = &call.purpose
        {
            self.give_up(&call, client, &refusal, CallOutcome::Error);
        }
        if *code == Code::UpstreamUnreachable {
            let upstream = self.ups.get_mut(up);
            upstream.failures += 1;
            if upstream.failures >= FAILURES && upstream.conns[0].phase == ConnState::Ready {
                upstream.conns[0].phase = ConnState::Down;
                self.ups.retry_later(self.cx, up);
                self.connecting().down(
                    up,
                    UpstreamState::Degraded,
                    *code,
                    reason.to_owned(),
                    false,
                );
            }
        }
    }
}
