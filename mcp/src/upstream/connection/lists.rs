//! The lists of upstreams: fetched page by page, kept while they cannot be had, and made into the
//! views that clients see.

use crate::api::{Micros, UpId};
use crate::context::FollowUp;
use crate::in_flight::record::Purpose;
use crate::protocol::json;
use crate::protocol::json::{Envelope, Kind};
use crate::upstream::list::{ListKind, Loading, MAX_BYTES, MAX_ITEMS, MAX_PAGES};
use crate::upstream::{ConnState, Connecting, UpEra, list};
use ggen_wire::Code;
use ggen_wire::log::Level;
use ggen_wire::status::UpstreamState;
use std::collections::HashSet;

/// An answer to a question about what is not declared is waited for so long.
const UNDECLARED: Micros = 3_000_000;
/// A list that could not be fetched is asked for again after this time, and after twice as long
/// each time that it fails again.
const AGAIN: Micros = 2_000_000;
/// Characters that are kept of a server's error message.
const LONGEST_REASON: usize = 300;

impl Connecting<'_> {
    /// Once each list has come or failed, an upstream is ready or degraded.
    pub(crate) fn settle_up(&mut self, up: UpId) {
        let upstream = self.ups.get_mut(up);
        if upstream.conns[0].phase != ConnState::Ready
            || upstream
                .lists
                .iter()
                .any(|list| !list.known || list.loading.is_some())
        {
            return;
        }
        upstream.unsettled = None;
        upstream.down_since = None;
        upstream.recalled = false;
        self.settled(up);
    }

    /// An upstream that takes calls is ready if all its lists have come, and degraded while one
    /// fails: then the last good one is served.
    fn settled(&mut self, up: UpId) {
        let upstream = self.ups.get_mut(up);
        let failure = ListKind::ALL.into_iter().find_map(|kind| {
            let reason = upstream.list(kind).failure.as_ref()?;
            Some(format!("{}: {reason}", kind.method()))
        });
        let state = if failure.is_some() {
            UpstreamState::Degraded
        } else {
            UpstreamState::Ready
        };
        upstream.trouble = failure.map(|reason| (Code::UpstreamListFailed, reason));
        let was = std::mem::replace(&mut upstream.state, state);
        self.refresh(up);
        self.ups.keep_catalogue(self.cx, up);
        self.ups.report(self.cx, up);
        if was != state {
            self.cx.follow_up(FollowUp::TryWaiting);
        }
    }

    /// Fetches a list from its first page.
    pub(crate) fn fetch(&mut self, up: UpId, kind: ListKind) {
        if self.ups.get(up).conns[0].phase != ConnState::Ready {
            return;
        }
        let list = &mut self.ups.get_mut(up).lists[kind as usize];
        if list.loading.is_some() {
            list.again = true;
            return;
        }
        list.loading = Some(Loading::default());
        let limit = self.ups.get(up).settings.timeout;
        self.outbound_request(up, 0, Purpose::List(kind), kind.method(), "", limit);
    }

    /// Asks once for a list that a server does not declare: some have it all the same. An error, or
    /// silence, means that they have none.
    pub(crate) fn ask_undeclared(&mut self, up: UpId, kind: ListKind) {
        let upstream = self.ups.get_mut(up);
        // Templates come with resources.
        if kind == ListKind::Templates || upstream.ends_at_question {
            return;
        }
        let list = &mut upstream.lists[kind as usize];
        list.loading = Some(Loading::default());
        list.is_undeclared = true;
        self.outbound_request(up, 0, Purpose::List(kind), kind.method(), "", UNDECLARED);
    }

    /// A server has a list that it did not declare.
    fn found_undeclared(&mut self, up: UpId, kind: ListKind) {
        self.ups.get_mut(up).info.add(kind.capability());
        if kind == ListKind::Resources {
            self.fetch(up, ListKind::Templates);
        }
    }

    /// A page of a list.
    pub(crate) fn listed(&mut self, up: UpId, kind: ListKind, envelope: &Envelope<'_>) {
        let (now, http) = (self.cx.now, self.ups.get(up).is_http());
        let page = match envelope.kind {
            Kind::Result(_, result) => list::read(
                kind,
                result,
                http && self.ups.get(up).era == Some(UpEra::Modern),
            ),
            // A server without the method has an empty list.
            Kind::Error(_, error) if json::pick(error, ["code"]) == Some([Some("-32601")]) => {
                Some(list::Page::default())
            }
            _ => None,
        };
        let Some(page) = page else {
            return self.list_failed(up, kind, unread(envelope, kind));
        };
        self.tell_left_out(up, kind, &page);
        let limit = self.ups.get(up).settings.timeout;
        let list = &mut self.ups.get_mut(up).lists[kind as usize];
        let Some(loading) = &mut list.loading else {
            return;
        };
        list.ttl_ms = page.ttl_ms;
        list.public = page.public;
        let whole = loading.take(page.items, page.refused);
        // A cursor that comes again would lead in a circle.
        let next = page.next.filter(|cursor| !loading.cursors.contains(cursor));
        let mut cut = None;
        match next {
            Some(cursor) if whole && loading.follow(&cursor) => {
                let members = format!("\"cursor\":{}", json::quote(&cursor));
                self.outbound_request(up, 0, Purpose::List(kind), kind.method(), &members, limit);
                return;
            }
            None if whole => {}
            _ => cut = Some(self.cut_list(up, kind)),
        }
        let list = &mut self.ups.get_mut(up).lists[kind as usize];
        let mut loaded = list.loading.take().unwrap_or_default();
        // One that is left out may be the repeat of one that is right.
        let taken: HashSet<_> = loaded.items.iter().map(|item| item.key.clone()).collect();
        loaded.refused.retain(|name| !taken.contains(name));
        (list.items, list.refused) = (loaded.items, loaded.refused);
        list.known = true;
        list.fetched = now;
        (list.failures, list.failure) = (0, cut);
        let is_found = std::mem::take(&mut list.is_undeclared) && !list.items.is_empty();
        if is_found {
            self.found_undeclared(up, kind);
        }
        self.list_settled(up, kind);
    }

    /// Says in the log which tools are left out, unless it was said of the list before.
    fn tell_left_out(&mut self, up: UpId, kind: ListKind, page: &list::Page) {
        let upstream = self.ups.get(up);
        let known = &upstream.list(kind).refused;
        let is_new = |tool: &str| !known.iter().any(|refused| **refused == *tool);
        for (tool, reason) in page.refused.iter().filter(|(tool, _)| is_new(tool)) {
            let name = &upstream.settings.name;
            let text = format!("{name}: tool {tool} is left out: {reason}");
            self.cx.note(Level::Warn, "tools", Some(up), None, text);
        }
    }

    /// A list is longer than it may be: what is beyond is left out, and its server is degraded. Gives
    /// the reason.
    fn cut_list(&mut self, up: UpId, kind: ListKind) -> String {
        let reason = format!(
            "it goes on after {MAX_ITEMS} items, {MAX_PAGES} pages or {} MiB: the rest is left out",
            MAX_BYTES >> 20
        );
        let name = &self.ups.get(up).settings.name;
        let text = format!("{name}: {}: {reason}", kind.method());
        let code = Some(Code::UpstreamTooLarge);
        self.cx.note(Level::Warn, "tools", Some(up), code, text);
        reason
    }

    /// A list could not be fetched: the last good one stays, and it is asked for again after 2 s,
    /// 4 s, … 64 s. While it fails, its server is degraded.
    pub(crate) fn list_failed(&mut self, up: UpId, kind: ListKind, reason: String) {
        let now = self.cx.now;
        let upstream = self.ups.get_mut(up);
        let list = &mut upstream.lists[kind as usize];
        list.loading = None;
        list.known = true;
        if std::mem::take(&mut list.is_undeclared) {
            return self.list_settled(up, kind);
        }
        let wait = AGAIN << list.failures.min(5);
        list.failures += 1;
        if upstream.conns[0].phase == ConnState::Ready {
            upstream.refresh_at[kind as usize].get_or_insert(now + wait);
            let text = format!(
                "{}: {} failed: {reason}; it is asked for again in {} s",
                upstream.settings.name,
                kind.method(),
                wait / 1_000_000
            );
            upstream.lists[kind as usize].failure = Some(reason);
            let code = Some(Code::UpstreamListFailed);
            self.cx.note(Level::Warn, "tools", Some(up), code, text);
        }
        self.list_settled(up, kind);
    }

    fn list_settled(&mut self, up: UpId, kind: ListKind) {
        if std::mem::take(&mut self.ups.get_mut(up).lists[kind as usize].again) {
            return self.fetch(up, kind);
        }
        let upstream = self.ups.get(up);
        if upstream.unsettled.is_none() && upstream.conns[0].phase == ConnState::Ready {
            self.settled(up);
        } else {
            self.settle_up(up);
        }
        self.refreshed();
        if kind == ListKind::Tools {
            self.headers_again(up);
        }
    }

    /// Makes the views of an upstream anew if it gives something else than before.
    fn refresh(&mut self, up: UpId) {
        if self.ups.gives_otherwise(up) {
            self.rebuild(up);
        }
    }

    /// Makes the views of an upstream anew, and tells clients whose lists are different now, or
    /// whose server said that they are.
    pub(crate) fn rebuild(&mut self, up: UpId) {
        for change in self.ups.rebuild(up) {
            self.tell_changed(up, &change);
        }
        self.ups.own_views_again();
    }

    /// Drops the lists of an upstream that has been down for long.
    pub(crate) fn forget_lists(&mut self, up: UpId) {
        self.ups
            .get_mut(up)
            .lists
            .iter_mut()
            .for_each(|list| list.items.clear());
        self.ups.drop_catalogue(self.cx, up);
        self.rebuild(up);
        self.ups.report(self.cx, up);
    }
}

/// Why the answer to a request for a list is none: the server's error, or what is wrong with it.
fn unread(envelope: &Envelope<'_>, kind: ListKind) -> String {
    let error = match envelope.kind {
        Kind::Error(_, error) => json::pick(error, ["code", "message"]),
        _ => None,
    };
    let Some([code, message]) = error else {
        return format!("the result has no list of {}", kind.member());
    };
    let message = message.and_then(json::string).unwrap_or_default();
    let message: String = message.chars().take(LONGEST_REASON).collect();
    format!("error {}: {message}", code.unwrap_or("without a code"))
}
