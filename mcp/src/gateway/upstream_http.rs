//! What an HTTP exchange with an upstream brings, and what its end means, by the purpose of the
//! exchange.

use crate::api::UpId;
use crate::in_flight::record::Mismatch;
use crate::in_flight::record::Purpose;
use crate::protocol::refusal::Refusal;
use crate::protocol::refusal::rpc;
use crate::upstream::ConnState;
use ggen_wire::Code;
use ggen_wire::status::UpstreamState;
use crate::gateway::Gateway;

/// How often a broken stream is resumed.
const RESUMES: u8 = 5;
/// Connection failures in a row after which a server counts as down.
const FAILURES: u32 = 3;

impl Gateway {

    pub(crate) fn http_end(&mut self, up: UpId, exchange: u64, error: Option<(Code, String)>) {
        let Some(call) = self.calls.get(&exchange).filter(|call| call.up == up) else {
            return;
        };
        let (conn, status, tries) = (call.conn, call.status, call.tries);
        let failure = error.unwrap_or_else(|| unanswered(status));
        let is_mismatch = call.mismatch == Mismatch::Told;
        let can_resume = call.last_event.is_some() && tries <= RESUMES;
        let is_session_lost = self.connecting().is_session_lost(up, exchange);
        let Some(call) = self.calls.get(&exchange) else {
            return;
        };
        match call.purpose {
            Purpose::Client(_) if is_mismatch => {
                self.connecting().mismatch_ended(up, exchange)
            }
            Purpose::Client(_) if is_session_lost && tries < 2 => {
                self.connecting().session_lost(up, conn, exchange)
            }
            Purpose::Client(_) | Purpose::Watch(_)
                if can_resume =>
            {
                self.connecting().resume(up, exchange)
            }
            Purpose::Discover => {
                self.calls.remove(&exchange);
                match failure.0 {
                    Code::UpstreamRefused if !matches!(status, 401 | 403) => {
                        self.connecting().fall_back(up, &failure.1)
                    }
                    code => self.connecting().handshake_failed(up, conn, code, failure.1),
                }
            }
            Purpose::Initialize => {
                self.calls.remove(&exchange);
                self.connecting().handshake_failed(up, conn, failure.0, failure.1);
            }
            Purpose::Stream => self.connecting().stream_ended(up, conn, exchange, status),
            Purpose::Listen => {
                self.calls.remove(&exchange);
                self.connecting().listen_ended(up, exchange);
            }
            Purpose::List(kind) => {
                self.calls.remove(&exchange);
                if is_session_lost {
                    self.ups.get_mut(up).lists[kind as usize].loading = None;
                    if self.ups.get(up).conns[conn].phase == ConnState::Ready {
                        self.connecting().initialize_upstream(up, conn);
                    }
                } else {
                    self.connecting().list_failed(up, kind);
                }
            }
            Purpose::Watch(_) => {
                if let Some(Purpose::Watch(name)) =
                    self.calls.remove(&exchange).map(|call| call.purpose)
                {
                    self.tasks.watch_over(&name);
                }
            }
            Purpose::Told(..) | Purpose::Untracked => drop(self.calls.remove(&exchange)),
            Purpose::Client(_) => self.client_end(up, exchange, &failure.0, &failure.1),
        }
    }

    fn client_end(&mut self, up: UpId, exchange: u64, code: &Code, reason: &str) {
        let name = self.ups.get(up).settings.name.clone();
        let refusal = Refusal::new(200, rpc::INTERNAL, *code, &format!("{name}: {reason}"));
        if let Some((_, mut call)) = self.take_call(up, exchange)
            && !(*code == Code::UpstreamUnreachable && self.retry(exchange, &mut call))
            && let Purpose::Client(client) = &call.purpose
        {
            self.give_up(&call, client, &refusal, "error");
        }
        if *code == Code::UpstreamUnreachable {
            let upstream = self.ups.get_mut(up);
            upstream.failures += 1;
            if upstream.failures >= FAILURES && upstream.conns[0].phase == ConnState::Ready {
                upstream.conns[0].phase = ConnState::Down;
                self.ups.retry_later(&mut self.cx, up);
                self.connecting().down(up, UpstreamState::Degraded, *code, reason.to_owned(), false);
            }
        }
    }
}

/// Why an exchange that ended without an answer failed, by its HTTP status; 0: there was none.
fn unanswered(status: u16) -> (Code, String) {
    let code = if (500..600).contains(&status) {
        Code::UpstreamUnreachable
    } else {
        Code::UpstreamRefused
    };
    let why = match status {
        401 | 403 => format!(
            "HTTP {status}: the server wants other credentials; check its headers in the configuration"
        ),
        status if status >= 400 => format!("HTTP {status}"),
        _ => "the response ended without an answer".to_owned(),
    };
    (code, why)
}
