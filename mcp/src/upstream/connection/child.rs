//! What a child, or an HTTP session, that one client has for itself says of its lists and resources:
//! it is that client's. Requests without a session see one view, whoever makes them (2026-07-28,
//! Tools, "Listing"), so that only the children of legacy sessions have lists of their own.

use crate::api::{Micros, UpId};
use crate::in_flight::record::Purpose;
use crate::protocol::json::{Envelope, Kind};
use crate::protocol::{json, name, notification};
use crate::upstream::list::{ListKind, Loading};
use crate::upstream::view::View;
use crate::upstream::{ConnState, Connecting, User, list};
use bytes::Bytes;
use ggen_wire::Code;
use ggen_wire::log::Level;
use std::sync::Arc;

/// Changes of lists are collected for this long before the list is read.
const DEBOUNCE: Micros = 50_000;
/// A connection of an upstream.
type At = (UpId, usize);

impl Connecting<'_> {
    /// The legacy session whose child it is, with what it sees.
    fn session_at(&self, (up, conn): At) -> Option<(Arc<str>, View)> {
        let upstream = self.ups.get(up);
        let member = upstream
            .conns
            .get(conn)
            .filter(|_| !upstream.is_modern_at(conn))?;
        let name = member.user.as_ref().and_then(User::session)?;
        let session = self.clients.session(name)?;
        Some((name.clone(), session.view))
    }

    /// A child has a user now: its lists are read for it, and what the user is subscribed to is told
    /// to the child.
    pub(crate) fn child_begins(&mut self, at: At) {
        let Some((name, view)) = self.session_at(at) else {
            return;
        };
        for kind in ListKind::ALL {
            self.read_list(at, kind);
        }
        let (up, conn) = at;
        let session = self.clients.session(&name);
        let exposed = session
            .into_iter()
            .flat_map(|session| &session.subscriptions);
        let uris: Vec<_> = exposed
            .filter_map(|uri| self.ups.subscribed_at(view, uri))
            .filter(|(of, _)| *of == up)
            .map(|(_, uri)| uri)
            .collect();
        self.ups.get_mut(up).conns[conn].has_subscribed |= !uris.is_empty();
        for uri in uris {
            let members = format!("\"uri\":{}", json::quote(&uri));
            let method = "resources/subscribe";
            self.outbound_request(up, conn, Purpose::Untracked, method, &members, 30_000_000);
        }
    }

    /// A child goes on with another user of the same principal. What it knows of the first one's
    /// roots is not the second one's.
    pub(crate) fn child_passes_on(&mut self, at: At) {
        let (up, conn) = at;
        if self.ups.get(up).conns[conn].caps().roots && !self.ups.get(up).is_modern_at(conn) {
            let changed = Bytes::from_static(
                b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/roots/list_changed\"}",
            );
            self.send_untracked(up, conn, changed, Vec::new());
        }
        self.child_begins(at);
    }

    /// A child says that a list is another one now.
    pub(crate) fn child_announces(&mut self, at: At, kinds: &[ListKind]) -> bool {
        if self.session_at(at).is_none() {
            return false;
        }
        let due = self.cx.now + DEBOUNCE;
        for kind in kinds {
            let reading = &mut self.ups.get_mut(at.0).conns[at.1].reading[*kind as usize];
            reading.due.get_or_insert(due);
        }
        self.cx.wake_at(due);
        false
    }

    /// Reads the lists of children that are due.
    pub(crate) fn child_lists_due(&mut self, up: UpId) {
        for conn in 1..self.ups.get(up).conns.len() {
            for kind in ListKind::ALL {
                let reading = &mut self.ups.get_mut(up).conns[conn].reading[kind as usize];
                if reading.due.is_some_and(|due| due <= self.cx.now) {
                    reading.due = None;
                    self.read_list((up, conn), kind);
                }
            }
        }
    }

    /// Reads a list of a child from its first page.
    fn read_list(&mut self, (up, conn): At, kind: ListKind) {
        let upstream = self.ups.get_mut(up);
        let is_there = upstream.conns[conn].phase == ConnState::Ready;
        if !is_there || !upstream.info.has(kind.capability()) {
            return;
        }
        let reading = &mut upstream.conns[conn].reading[kind as usize];
        if reading.loading.is_some() {
            reading.again = true;
            return;
        }
        reading.loading = Some(Loading::default());
        let limit = upstream.settings.timeout;
        self.outbound_request(up, conn, Purpose::List(kind), kind.method(), "", limit);
    }

    /// A page of a list of a child.
    pub(crate) fn child_listed(&mut self, at: At, kind: ListKind, envelope: &Envelope<'_>) {
        let (up, conn) = at;
        let page = match envelope.kind {
            Kind::Result(_, result) => list::read(kind, result, false),
            _ => None,
        };
        let limit = self.ups.get(up).settings.timeout;
        let reading = &mut self.ups.get_mut(up).conns[conn].reading[kind as usize];
        let (Some(page), Some(loading)) = (page, &mut reading.loading) else {
            reading.loading = None;
            return;
        };
        let is_whole = loading.take(page.items, page.refused);
        let next = page
            .next
            .filter(|cursor| is_whole && !loading.cursors.contains(cursor));
        if let Some(cursor) = next
            && loading.follow(&cursor)
        {
            let members = format!("\"cursor\":{}", json::quote(&cursor));
            self.outbound_request(
                up,
                conn,
                Purpose::List(kind),
                kind.method(),
                &members,
                limit,
            );
            return;
        }
        let loading = reading.loading.take().unwrap_or_default();
        if std::mem::take(&mut reading.again) {
            return self.read_list(at, kind);
        }
        let Some((session, view)) = self.session_at(at) else {
            return;
        };
        let (limit, items) = (self.cx.limits.own_lists, loading.items);
        match self
            .ups
            .set_own_list(&session, view, (up, kind), items, limit)
        {
            Some(true) => {
                let data = notification::list_changed(kind);
                self.clients.session_event(self.cx, &session, data);
            }
            Some(false) => {}
            None => self.tell_no_memory(up, kind),
        }
    }

    /// A session goes on with the list that it saw before.
    fn tell_no_memory(&mut self, up: UpId, kind: ListKind) {
        let text = format!(
            "{}: the {} of one client's process are not shown to it: the lists that clients have for themselves take {} MiB already",
            self.ups.get(up).settings.name,
            kind.member(),
            self.cx.limits.own_lists >> 20
        );
        let code = Some(Code::UpstreamTooLarge);
        self.cx.note(Level::Warn, "tools", Some(up), code, text);
    }

    /// A list could not be read.
    pub(crate) fn list_lost(&mut self, (up, conn): At, kind: ListKind, reason: String) {
        if conn == 0 {
            return self.list_failed(up, kind, reason);
        }
        // Its user sees the list that it saw before.
        if let Some(member) = self.ups.get_mut(up).conns.get_mut(conn) {
            member.reading[kind as usize].loading = None;
        }
    }

    /// A resource at a child is another one now.
    pub(crate) fn child_updated(&mut self, at: At, envelope: &Envelope<'_>) -> bool {
        let raw = envelope
            .params
            .and_then(|params| json::pick(params, ["uri"])?[0]);
        let (Some(uri), Some((name, view))) = (raw.and_then(json::string), self.session_at(at))
        else {
            return false;
        };
        let up = self.ups.get(at.0);
        let exposed = match view {
            View::One(_) => uri.into_owned(),
            _ => name::exposed_uri(&up.key, &uri),
        };
        let session = self.clients.session(&name);
        if session.is_none_or(|session| !session.subscriptions.contains(&*exposed)) {
            return false;
        }
        let data = notification::updated(&exposed);
        self.clients.session_event(self.cx, &name, data);
        true
    }
}
