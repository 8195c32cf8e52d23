//! Takes new rules over, and tells clients whose lists are others now.

use crate::local::Serving;
use crate::protocol::notification;

impl Serving<'_> {
    /// Tells every client which of its lists are others now.
    pub(crate) fn policy_changed(&mut self) {
        self.ups.forget_seen();
        let sessions: Vec<_> = self.clients.sessions().map(|(id, _)| id.clone()).collect();
        for id in sessions {
            let Some(session) = self.clients.session_mut(&id) else {
                continue;
            };
            let new = self.access.of_principal(&session.principal);
            let (view, old) = (
                session.view,
                std::mem::replace(&mut session.access, new.clone()),
            );
            for kind in self.ups.changed(view, old.as_deref(), new.as_deref()) {
                self.clients
                    .session_event(self.cx, &id, notification::list_changed(kind));
            }
        }
        let listens: Vec<_> = self.clients.listens().map(|(key, _)| *key).collect();
        for key in listens {
            let Some(listen) = self.clients.listen_mut(key) else {
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
