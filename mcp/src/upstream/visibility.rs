//! What the principal of a request may see: its views of the lists, its servers, its names. What it
//! may not call does not exist for it.

use crate::access;
use crate::access::policy::{Access, CORE, Object, Server};
use crate::api::UpId;
use crate::context::Context;
use crate::edge::Request;
use crate::observation::Hidden;
use crate::protocol::name;
use crate::protocol::refusal::{Refusal, rpc};
use crate::upstream::list::ListKind;
use crate::upstream::view::{Entry, Owner, Table, View};
use crate::upstream::{Upstream, Upstreams};
use ggen_wire::Code;
use std::ops::Deref;
use std::sync::Arc;

/// Filtered lists that are kept.
const KEPT: usize = 256;
/// The built-in tools as a server.
const BUILT_IN: Server<'static> = Server {
    name: CORE,
    key: CORE,
};

/// A list as somebody sees it.
pub(crate) enum Seen<'a> {
    Whole(&'a Table),
    Part(Arc<Table>),
}

impl Deref for Seen<'_> {
    type Target = Table;

    fn deref(&self) -> &Table {
        match self {
            Self::Whole(table) => table,
            Self::Part(table) => table,
        }
    }
}

fn server(up: &Upstream) -> Server<'_> {
    Server {
        name: &up.settings.name,
        key: &up.key,
    }
}

impl Upstreams {
    /// The name in the view of all, by which rules know an object.
    fn public(&self, kind: ListKind, up: UpId, original: &str) -> String {
        let key = &self.get(up).key;
        if matches!(kind, ListKind::Resources | ListKind::Templates) {
            name::exposed_uri(key, original)
        } else {
            name::exposed(key, original)
        }
    }

    /// Whether a name of an upstream may be used.
    pub(crate) fn may(
        &self,
        access: Option<&Access>,
        kind: ListKind,
        up: UpId,
        original: &str,
    ) -> bool {
        access.is_none_or(|access| {
            let exposed = self.public(kind, up, original);
            access.allows(&Object {
                server: server(self.get(up)),
                kind,
                exposed: &exposed,
                original,
                core: false,
            })
        })
    }

    fn may_entry(&self, access: &Access, view: View, kind: ListKind, entry: &Entry) -> bool {
        let (exposed, original) = (&*entry.exposed, &*entry.original);
        match (entry.owner, view) {
            (Owner::Core(_), _) => access.allows(&Object {
                server: BUILT_IN,
                kind,
                exposed,
                original,
                core: true,
            }),
            (Owner::Up(up), View::All) => access.allows(&Object {
                server: server(self.get(up)),
                kind,
                exposed,
                original,
                core: false,
            }),
            (Owner::Up(up), _) => self.may(Some(access), kind, up, original),
        }
    }

    /// An entry of a view, if it may be used.
    pub(crate) fn entry(
        &self,
        access: Option<&Access>,
        session: Option<&Arc<str>>,
        view: View,
        kind: ListKind,
        exposed: &str,
    ) -> Option<&Entry> {
        let entry = self.table_of(session, view, kind).get(exposed)?;
        access
            .is_none_or(|access| self.may_entry(access, view, kind, entry))
            .then_some(entry)
    }

    /// A list of a view as somebody sees it.
    pub(crate) fn seen(
        &mut self,
        access: Option<&Access>,
        session: Option<&Arc<str>>,
        view: View,
        kind: ListKind,
    ) -> Seen<'_> {
        let Some(access) = access else {
            return Seen::Whole(self.table_of(session, view, kind));
        };
        let hash = self.table_of(session, view, kind).hash;
        let key = (access.id, view, kind, hash);
        if let Some(table) = self.seen.get(&key) {
            return Seen::Part(Arc::clone(table));
        }
        let table = Arc::new(
            self.table_of(session, view, kind)
                .part(|entry| self.may_entry(access, view, kind, entry)),
        );
        if self.seen.len() >= KEPT {
            self.seen.clear();
        }
        self.seen.insert(key, Arc::clone(&table));
        Seen::Part(table)
    }

    /// Whether a server may be seen at all.
    pub(crate) fn may_see(&self, access: Option<&Access>, up: &Upstream) -> bool {
        access.is_none_or(|access| access.sees(server(up)))
    }

    /// Whether everything of a server may be used, also methods that rules know nothing of.
    pub(crate) fn may_all(&self, access: Option<&Access>, up: UpId) -> bool {
        access.is_none_or(|access| access.is_whole(server(self.get(up))))
    }

    /// The view that a path names; one of which nothing may be seen is none.
    pub(crate) fn view_for(
        &mut self,
        cx: &mut Context,
        access: Option<&Access>,
        request: &Request,
    ) -> Result<View, Refusal> {
        let view = self.view(&request.view)?;
        let visible = match view {
            View::All => true,
            View::One(up) => self.may_see(access, self.get(up)),
            View::Core => {
                access.is_none()
                    || !self
                        .seen(access, None, View::Core, ListKind::Tools)
                        .entries
                        .is_empty()
            }
        };
        if visible {
            return Ok(view);
        }
        access::denied(cx, Hidden::Server);
        Err(Refusal::new(
            404,
            rpc::INVALID_REQUEST,
            Code::ServerUnknown,
            &request.view,
        ))
    }

    /// Whether a list that changed is another one for somebody, too.
    pub(crate) fn differs(
        &self,
        access: Option<&Access>,
        view: View,
        kind: ListKind,
        old: &Table,
        new: &Table,
    ) -> bool {
        let Some(access) = access else { return true };
        let part = |table: &Table| -> Vec<_> {
            table
                .entries
                .iter()
                .filter(|entry| self.may_entry(access, view, kind, entry))
                .map(|entry| entry.text.clone())
                .collect()
        };
        part(old) != part(new)
    }

    /// The lists of a view that differ between two principals; templates count as resources.
    pub(crate) fn changed(
        &self,
        view: View,
        old: Option<&Access>,
        new: Option<&Access>,
    ) -> Vec<ListKind> {
        if old.is_none() && new.is_none() {
            return Vec::new();
        }
        let may = |access: Option<&Access>, kind, entry: &Entry| {
            access.is_none_or(|access| self.may_entry(access, view, kind, entry))
        };
        let differs = |kind: ListKind| {
            self.table(view, kind)
                .entries
                .iter()
                .any(|entry| may(old, kind, entry) != may(new, kind, entry))
        };
        let mut kinds: Vec<_> = ListKind::ALL
            .into_iter()
            .filter(|kind| differs(*kind))
            .collect();
        if kinds.contains(&ListKind::Resources) {
            kinds.retain(|kind| *kind != ListKind::Templates);
        }
        kinds
    }
}
