//! What an HTTP exchange with an upstream brings, and what its end means, by the purpose of the
//! exchange.

use crate::api::UpId;
use crate::gateway::Gateway;
use crate::in_flight::record::{Mismatch, Purpose};
use crate::upstream::ConnState;
use crate::upstream::connection::offers::Ended;
use crate::upstream::list::ListKind;
use ggen_wire::Code;

/// How often a broken stream is resumed.
const RESUMES: u8 = 5;

impl Gateway {
    pub(crate) fn http_end(&mut self, up: UpId, exchange: u64, error: Option<(Code, String)>) {
        let Some(call) = self.calls.get(&exchange).filter(|call| call.up == up) else {
            return;
        };
        let (conn, status, tries) = (call.conn, call.status, call.tries);
        let retry_after = call.retry_after;
        let failure = error.unwrap_or_else(|| unanswered(status));
        let is_mismatch = call.mismatch == Mismatch::Reported;
        let can_resume = call.last_event.is_some() && tries <= RESUMES;
        let is_session_lost = self.connecting().is_session_lost(up, exchange);
        let wait = self.connecting().call_again_after(exchange);
        let Some(call) = self.calls.get(&exchange) else {
            return;
        };
        let ended = |why| Ended {
            status,
            retry_after,
            why,
        };
        if let (Purpose::Client(_), Some(wait)) = (&call.purpose, wait) {
            return self.connecting().call_again(up, exchange, wait);
        }
        match call.purpose {
            Purpose::Client(_) if is_mismatch => self.connecting().mismatch_ended(up, exchange),
            Purpose::Client(_) if is_session_lost && tries < 2 => {
                self.connecting().session_lost(up, conn, exchange)
            }
            Purpose::Client(_) | Purpose::Watch(_) if can_resume => {
                self.connecting().resume(up, exchange)
            }
            Purpose::Discover => {
                self.calls.remove(&exchange);
                self.connecting().probe_ended(up, ended(failure));
            }
            Purpose::Initialize => {
                self.calls.remove(&exchange);
                self.connecting().initialize_ended(up, conn, ended(failure));
            }
            Purpose::Stream => self.connecting().stream_ended(up, conn, exchange, status),
            Purpose::Listen => {
                self.calls.remove(&exchange);
                self.connecting().listen_ended(up, exchange);
            }
            Purpose::List(kind) => {
                self.calls.remove(&exchange);
                self.list_end(up, conn, kind, is_session_lost, failure.1);
            }
            Purpose::Watch(_) => {
                if let Some(Purpose::Watch(name)) =
                    self.calls.remove(&exchange).map(|call| call.purpose)
                {
                    self.tasks.watch_over(&name);
                }
            }
            Purpose::TaskResult(..) | Purpose::Untracked => drop(self.calls.remove(&exchange)),
            Purpose::Client(_) => self
                .calling()
                .client_end(up, exchange, &failure.0, &failure.1),
        }
    }

    /// The request for a list has ended without an answer.
    fn list_end(
        &mut self,
        up: UpId,
        conn: usize,
        kind: ListKind,
        is_session_lost: bool,
        reason: String,
    ) {
        if !is_session_lost {
            return self.connecting().list_lost((up, conn), kind, reason);
        }
        let upstream = self.ups.get_mut(up);
        match conn {
            0 => upstream.lists[kind as usize].loading = None,
            _ => upstream.conns[conn].reading[kind as usize].loading = None,
        }
        if self.ups.get(up).conns[conn].phase == ConnState::Ready {
            self.connecting().begin_again(up, conn);
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
