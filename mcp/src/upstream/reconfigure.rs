//! A new list of upstreams while clients are being served: what stays is not touched, what goes
//! ends with a clear error, what comes is reached for.

use crate::api::{Isolation, Output, Transport, UpId, UpstreamSettings};
use crate::gateway::Gateway;
use crate::protocol::refusal::{Refusal, rpc};
use crate::upstream::view::{Table, View};
use crate::upstream::{Caps, Conn, ConnState, Upstream, Upstreams};
use ggen_wire::{Code, log::Level, status::UpstreamState};

impl Upstreams {
    /// Adds an upstream, which is not in the order yet.
    fn add(&mut self, settings: UpstreamSettings) -> UpId {
        let up = UpId(u32::try_from(self.ups.len()).unwrap_or(u32::MAX));
        self.ups.push(Upstream::new(up, settings));
        self.ones.push(<[Table; 4]>::default());
        up
    }

    /// Says which upstreams are configured now, and returns which were before.
    fn set_order(&mut self, order: Vec<UpId>) -> Vec<UpId> {
        std::mem::replace(&mut self.order, order)
    }

    /// New calls wait for these upstreams, and only for these.
    fn hold_back(&mut self, held: &[UpId]) {
        for up in &mut self.ups {
            up.held = held.contains(&up.id);
        }
    }
}

impl Gateway {
    /// Takes a new list over. A name that is known keeps its number; a new one, also one that was
    /// removed before, gets the next.
    pub(crate) fn reconfigure(&mut self, list: Vec<UpstreamSettings>) {
        let mut order = Vec::with_capacity(list.len());
        for settings in list {
            let known = self
                .ups
                .configured()
                .find(|up| up.settings.name == settings.name)
                .map(|up| up.id);
            order.push(match known {
                Some(up) if self.up_ref(up).settings.transport == settings.transport => {
                    self.change(up, settings);
                    up
                }
                _ => self.add(settings),
            });
        }
        let before = self.ups.set_order(order.clone());
        for up in before {
            if !order.contains(&up) {
                self.remove(up);
            }
        }
        for up in order {
            self.rebuild(up);
        }
        self.wake();
    }

    /// New calls for these upstreams wait (as for one that is starting) while what is in flight
    /// there goes on; all others take calls.
    pub(crate) fn hold_back(&mut self, held: &[UpId]) {
        self.ups.hold_back(held);
        self.wake();
    }

    fn add(&mut self, settings: UpstreamSettings) -> UpId {
        let up = self.ups.add(settings);
        self.reach_for(up);
        up
    }

    fn change(&mut self, up: UpId, settings: UpstreamSettings) {
        let old = std::mem::replace(&mut self.up_mut(up).settings, settings);
        let new = &self.up_ref(up).settings;
        let (enabled, other_server) = (
            new.enabled,
            old.revision != new.revision || old.era != new.era,
        );
        match (old.enabled, enabled) {
            (true, false) => self.take_down(up),
            (false, true) => self.reach_for(up),
            // A stdio server is started again by the supervisor; a remote one has no process whose
            // end would tell.
            (true, true)
                if other_server && self.up_ref(up).settings.transport != Transport::Stdio =>
            {
                self.take_down(up);
                self.reach_for(up);
            }
            _ => {}
        }
    }

    fn remove(&mut self, up: UpId) {
        self.take_down(up);
        let gone: Vec<_> = self
            .clients
            .sessions()
            .filter(|(_, session)| session.view == View::One(up))
            .map(|(name, _)| name.clone())
            .collect();
        for session in gone {
            self.end_session(&session);
        }
    }

    /// Ends everything that concerns an upstream.
    fn take_down(&mut self, up: UpId) {
        let name = self.up_ref(up).settings.name.clone();
        self.fail_calls(
            up,
            None,
            &Refusal::new(200, rpc::INTERNAL, Code::UpstreamDisabled, &name),
            "lost",
        );
        for at in 1..self.up_ref(up).conns.len() {
            if self.up_ref(up).conns[at].is_leased() {
                self.end_child(up, at, false);
            }
        }
        let upstream = self.up_mut(up);
        upstream.conns = vec![Conn::new(Caps::default())];
        upstream.state = UpstreamState::Disabled;
        upstream.held = false;
        upstream.trouble = None;
        upstream.unsettled = None;
        upstream.retry_at = None;
        upstream.refresh_at = [None; 4];
        upstream.listen = (None, None);
        upstream.listen_at = None;
        upstream.down_since = None;
        upstream.era = None;
        upstream.info = crate::upstream::ServerInfo::default();
        upstream.lists = <[crate::upstream::list::List; 4]>::default();
        self.ups.drop_catalogue(&mut self.cx, up);
        self.rebuild(up);
        self.ups.report(&mut self.cx, up);
    }

    /// Asks for a stdio server, or is_handshake a remote one.
    pub(crate) fn reach_for(&mut self, up: UpId) {
        let now = self.cx.now;
        let upstream = self.up_mut(up);
        if !upstream.settings.enabled {
            return self.ups.report(&mut self.cx, up);
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
        if self.up_ref(up).is_http() {
            self.begin_handshake(up);
        } else {
            self.cx.emit(Output::Want(up));
        }
    }
}
