//! Takes new rules over, and tells clients whose lists are others now.

use crate::access::rules::Rules;
use crate::gateway::Gateway;
use crate::protocol::notification;

impl Gateway {
    /// Puts other rules in force.
    pub(crate) fn enforce(&mut self, rules: Rules) {
        self.spans.set_ratio(rules.spans);
        if self.access.set_rules(rules) {
            self.policy_changed();
        }
    }

    /// Tells every client which of its lists are others now.
    fn policy_changed(&mut self) {
        self.ups.forget_seen();
        let sessions: Vec<_> = self.clients.sessions.keys().cloned().collect();
        for id in sessions {
            let Some(session) = self.clients.sessions.get_mut(&id) else {
                continue;
            };
            let new = self.access.of_principal(&session.principal);
            let (view, old) = (
                session.view,
                std::mem::replace(&mut session.access, new.clone()),
            );
            for kind in self.ups.changed(view, old.as_deref(), new.as_deref()) {
                self.clients
                    .session_event(&mut self.cx, &id, notification::list_changed(kind));
            }
        }
        let listens: Vec<_> = self.clients.listens.keys().copied().collect();
        for key in listens {
            let Some(listen) = self.clients.listens.get_mut(&key) else {
                continue;
            };
            let new = self.access.of_principal(&listen.principal);
            let (view, old) = (
                listen.view,
                std::mem::replace(&mut listen.access, new.clone()),
            );
            for kind in self.ups.changed(view, old.as_deref(), new.as_deref()) {
                self.connecting().listen_changed(key, kind);
            }
        }
    }
}
