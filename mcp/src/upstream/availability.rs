//! Whether an upstream takes calls, and what is said where it does not.

use crate::api::{Limits, UpId};
use crate::protocol::json;
use crate::protocol::refusal::{Refusal, rpc};
use crate::upstream::{ConnState, Lent, Upstreams};
use ggen_wire::Code;
use ggen_wire::status::UpstreamState;

impl Upstreams {
    /// Whether an upstream takes calls now (connections of its own are made on demand). While a
    /// remote server's lost session is begun anew, calls queue for it.
    pub(crate) fn is_reachable(&self, up: UpId) -> bool {
        let upstream = self.get(up);
        match upstream.conns[0].phase {
            ConnState::Ready => true,
            ConnState::Handshake(_) => upstream.is_http() && upstream.serves(),
            ConnState::Down => false,
        }
    }

    /// The error for an upstream that takes no calls: its own trouble, if it has one.
    pub(crate) fn unavailable(&self, up: UpId) -> Refusal {
        let upstream = self.get(up);
        let name = &upstream.settings.name;
        let (code, detail) = match (&upstream.trouble, upstream.state) {
            (_, UpstreamState::Disabled) => (Code::UpstreamDisabled, name.clone()),
            (Some((code, reason)), _) => (*code, format!("{name}: {reason}")),
            (None, _) => (Code::UpstreamStarting, name.clone()),
        };
        Refusal::new(200, rpc::INTERNAL, code, &detail)
            .with("server", &json::quote(name))
            .with("state", &json::quote(upstream.state.as_str()))
            .with("help", "\"ggen mcp server status\"")
            .retry(1)
    }

    /// How long a call that may take `timeout` may take on a connection, or wait for one.
    pub(crate) fn time_for(&self, limits: &Limits, up: UpId, conn: usize, timeout: u64) -> u64 {
        if self.get(up).conns[conn].lent == Lent::Waiting {
            limits.call_wait
        } else {
            timeout
        }
    }
}
