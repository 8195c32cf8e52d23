//! A new list of upstreams while clients are being served: what stays is not touched, what goes
//! ends with a clear error, what comes is reached for.

use crate::api::{Transport, UpId, UpstreamSettings};
use crate::gateway::Gateway;
use crate::observation::CallOutcome;
use crate::protocol::refusal::{Refusal, rpc};
use crate::upstream::Conn;
use crate::upstream::view::View;
use ggen_wire::Code;
use ggen_wire::status::UpstreamState;

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
                Some(up) if self.ups.get(up).settings.transport == settings.transport => {
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
            self.connecting().rebuild(up);
        }
        self.wake();
    }

    /// New calls for these upstreams wait (as for one that is starting) while what is in flight
    /// there goes on; all others take calls.
    pub(crate) fn hold_back(&mut self, held: &[UpId]) {
        self.ups.hold_back(held);
        self.wake();
    }

    pub(crate) fn add(&mut self, settings: UpstreamSettings) -> UpId {
        let up = self.ups.add(settings);
        self.connecting().reach_for(up);
        up
    }

    fn change(&mut self, up: UpId, settings: UpstreamSettings) {
        let old = std::mem::replace(&mut self.ups.get_mut(up).settings, settings);
        let new = &self.ups.get(up).settings;
        let (enabled, other_server) = (
            new.enabled,
            old.revision != new.revision || old.era != new.era || old.pinned != new.pinned,
        );
        match (old.enabled, enabled) {
            (true, false) => self.take_down(up),
            (false, true) => self.connecting().reach_for(up),
            // A stdio server is started again by the supervisor; a remote one has no process whose
            // end would tell.
            (true, true)
                if other_server && self.ups.get(up).settings.transport != Transport::Stdio =>
            {
                self.take_down(up);
                self.connecting().reach_for(up);
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
        let name = self.ups.get(up).settings.name.clone();
        self.calling().fail_calls(
            up,
            None,
            &Refusal::new(200, rpc::INTERNAL, Code::UpstreamDisabled, &name),
            CallOutcome::Lost,
        );
        for at in 1..self.ups.get(up).conns.len() {
            if self.ups.get(up).conns[at].is_leased() {
                self.calling().end_child(up, at, false);
            }
        }
        let upstream = self.ups.get_mut(up);
        upstream.conns = vec![Conn::empty()];
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
        upstream.speaks_legacy = None;
        upstream.skips_probe = false;
        upstream.ends_at_question = false;
        upstream.offer = None;
        upstream.busy_until = None;
        upstream.info = crate::upstream::ServerInfo::default();
        upstream.lists = <[crate::upstream::list::List; 4]>::default();
        self.ups.forget_own_lists_of(up);
        self.ups.drop_catalogue(&mut self.cx, up);
        self.connecting().rebuild(up);
        self.ups.report(&mut self.cx, up);
    }
}
