//! Changes of lists and resources at upstreams, for the clients that are to hear of them.

use crate::access::policy::Access;
use crate::api::{Micros, StreamKey, UpId};
use crate::client::listen::Listen;
use crate::client::session::Session;
use crate::protocol::json::Envelope;
use crate::protocol::{json, name, notification};
use crate::upstream::list::ListKind;
use crate::upstream::view::View;
use crate::upstream::{Conn, Connecting, Rebuilt, Upstreams, User};

/// Changes of lists are collected for this long before the list is fetched.
const DEBOUNCE: Micros = 50_000;

impl Connecting<'_> {
    pub(crate) fn announce(&mut self, up: UpId, kinds: &[ListKind]) -> bool {
        let due = self.cx.now + DEBOUNCE;
        let upstream = self.ups.get_mut(up);
        for kind in kinds {
            if upstream.info.has(kind.capability()) {
                upstream.lists[*kind as usize].announced = true;
                upstream.refresh_at[*kind as usize].get_or_insert(due);
            }
        }
        false
    }

    pub(crate) fn resource_updated(&mut self, up: UpId, envelope: &Envelope<'_>) -> bool {
        let raw = envelope
            .params
            .and_then(|params| json::pick(params, ["uri"]))
            .and_then(|[uri]| uri);
        let Some(uri) = raw.and_then(json::string) else {
            return false;
        };
        if !self.ups.get(up).subscriptions.contains_key(&*uri) {
            return false;
        }
        let exposed = name::exposed_uri(&self.ups.get(up).key, &uri);
        let original = uri.clone();
        // A session with a child of its own hears of that child's resources.
        let is_apart = |id: &str| {
            let own = |conn: &Conn| {
                conn.user
                    .as_ref()
                    .and_then(User::session)
                    .is_some_and(|of| **of == *id)
            };
            self.ups.get(up).conns.iter().any(own)
        };
        let mut sessions: Vec<_> = self
            .clients
            .sessions()
            .filter_map(|(id, session)| {
                let uri = match session.view {
                    View::All => exposed.as_str(),
                    View::One(one) if one == up => &uri,
                    _ => return None,
                };
                let may = || {
                    self.ups.may(
                        session.access.as_deref(),
                        ListKind::Resources,
                        up,
                        &original,
                    )
                };
                (session.subscriptions.contains(uri) && may() && !is_apart(id))
                    .then(|| (id.clone(), notification::updated(uri)))
            })
            .collect();
        sessions.sort_unstable();
        for (session, data) in sessions {
            self.clients.session_event(self.cx, &session, data);
        }
        self.listens_updated(up, &uri, &exposed);
        true
    }

    /// Tells clients that a list changed: those of the server's own view, and those of the view of
    /// all. Who does not see all of a list hears only of what it sees of it.
    pub(crate) fn tell_changed(&mut self, up: UpId, rebuilt: &Rebuilt) {
        let Rebuilt {
            kind,
            one,
            all,
            before: [old_one, old_all],
        } = rebuilt;
        let (kind, one, all) = (*kind, *one, *all);
        if !one && !all {
            return;
        }
        let concerns = |ups: &Upstreams, view: View, access: Option<&Access>| match view {
            View::One(of) if one && of == up => {
                ups.differs(access, view, kind, old_one, ups.table(view, kind))
            }
            View::All if all => ups.differs(access, view, kind, old_all, ups.table(view, kind)),
            _ => false,
        };
        let data = notification::list_changed(kind);
        let concerned =
            |session: &Session| concerns(self.ups, session.view, session.access.as_deref());
        let mut sessions: Vec<_> = self
            .clients
            .sessions()
            // A session with a child of its own hears of that child's lists.
            .filter(|(id, session)| !self.ups.has_own_list(id, up, kind) && concerned(session))
            .map(|(id, _)| id.clone())
            .collect();
        sessions.sort_unstable();
        for session in sessions {
            self.clients.session_event(self.cx, &session, data.clone());
        }
        self.listens_changed(kind, concerns);
    }

    pub(crate) fn listens_changed(
        &mut self,
        kind: ListKind,
        concerns: impl Fn(&Upstreams, View, Option<&Access>) -> bool,
    ) {
        let concerned = |listen: &Listen| concerns(self.ups, listen.view, listen.access.as_deref());
        let mut keys: Vec<_> = self
            .clients
            .listens()
            .filter(|(_, listen)| concerned(listen))
            .map(|(key, _)| *key)
            .collect();
        keys.sort_unstable();
        for key in keys {
            self.listen_changed(key, kind);
        }
    }

    /// Tells a modern client that a list changed, if it wants to hear of it.
    pub(crate) fn listen_changed(&mut self, key: StreamKey, kind: ListKind) {
        let listen = self.clients.listen(key);
        if let Some(listen) = listen.filter(|listen| listen.wants(kind)) {
            let method = notification::list_changed_method(kind);
            let data = notification::tagged(method, "", &listen.id);
            self.clients.stream_event(self.cx, key, data, true);
        }
    }

    pub(crate) fn listens_updated(&mut self, up: UpId, uri: &str, exposed: &str) {
        let mut events = Vec::new();
        for (key, listen) in self.clients.listens() {
            let name = if listen.view == View::One(up) {
                uri
            } else {
                exposed
            };
            let may = || {
                self.ups
                    .may(listen.access.as_deref(), ListKind::Resources, up, uri)
            };
            if listen.wants_uri(name, up) && may() {
                let members = format!("\"uri\":{}", json::quote(name));
                events.push((
                    *key,
                    notification::tagged("notifications/resources/updated", &members, &listen.id),
                ));
            }
        }
        events.sort_unstable();
        for (key, data) in events {
            self.clients.stream_event(self.cx, key, data, true);
        }
    }
}
