//! A new list of upstreams while clients are being served: what stays is not touched, what goes
//! ends with a clear error, what comes is reached for.

use crate::api::{Isolation, Output, UpId, UpstreamSettings};
use crate::upstream::view::Table;
use crate::upstream::{ConnState, Connecting, Upstream, Upstreams};
use ggen_wire::log::Level;
use ggen_wire::status::UpstreamState;

impl Upstreams {
    /// Adds an upstream, which is not in the order yet.
    pub(crate) fn add(&mut self, settings: UpstreamSettings) -> UpId {
        let up = UpId(u32::try_from(self.ups.len()).unwrap_or(u32::MAX));
        self.ups.push(Upstream::new(up, settings));
        self.ones.push(<[Table; 4]>::default());
        up
    }

    /// Says which upstreams are configured now, and returns which were before.
    pub(crate) fn set_order(&mut self, order: Vec<UpId>) -> Vec<UpId> {
        std::mem::replace(&mut self.order, order)
    }

    /// New calls wait for these upstreams, and only for these.
    pub(crate) fn hold_back(&mut self, held: &[UpId]) {
        for up in &mut self.ups {
            up.held = held.contains(&up.id);
        }
    }
}

impl Connecting<'_> {
    /// Asks for a stdio server, or is_handshake a remote one.
    pub(crate) fn reach_for(&mut self, up: UpId) {
        let now = self.cx.now;
        let upstream = self.ups.get_mut(up);
        if !upstream.settings.enabled {
            return self.ups.report(self.cx, up);
        }
        upstream.state = UpstreamState::Starting;
        upstream.unsettled = Some(now);
        upstream.conns[0].phase = ConnState::Down;
        if upstream.settings.isolation == Isolation::PerSession && !upstream.is_http() {
            let text = format!(
                "{}: isolation is per-session, but modern clients have no sessions: they share a child",
                upstream.settings.name
            );
            self.cx
                .note(Level::Warn, "mcp_server", Some(up), None, text);
        }
        if self.ups.get(up).is_http() {
            self.begin_handshake(up);
        } else {
            self.cx.emit(Output::Want(up));
        }
    }
}
