//! What a legacy session's own child lists. A server may list something else for what a client
//! declares, and its lists may change with what the session does, so that such a session sees the
//! lists of its child as soon as there are some, and those of the shared child of every other server.
//! Equal lists and views are kept once. Values only.

use crate::api::UpId;
use crate::client::view::View;
use crate::upstream::list::{Item, ListKind};
use crate::upstream::view::Table;
use crate::upstream::{Upstream, Upstreams};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

fn bytes_of(items: &[Item]) -> usize {
    let sizes = items.iter();
    sizes.map(|item| item.text.len() + item.key.len()).sum()
}

/// Sessions with lists of their own.
#[derive(Default)]
pub(crate) struct OwnLists(HashMap<Arc<str>, Own>);

/// What one session sees.
struct Own {
    view: View,
    lists: BTreeMap<(UpId, ListKind), Arc<[Item]>>,
    /// Its view, by [`ListKind`], where that differs from everybody's.
    tables: [Option<Arc<Table>>; 4],
}

impl OwnLists {
    fn table(&self, session: Option<&Arc<str>>, kind: ListKind) -> Option<&Table> {
        // Almost no request has to look.
        if self.0.is_empty() {
            return None;
        }
        self.0.get(session?)?.tables[kind as usize].as_deref()
    }

    /// Bytes of all of them.
    fn bytes(&self) -> usize {
        let lists = self.0.values().flat_map(|own| own.lists.values());
        let distinct: BTreeMap<_, _> = lists.map(|list| (Arc::as_ptr(list), list)).collect();
        distinct.values().map(|list| bytes_of(list)).sum()
    }

    /// The same list of another session, so that it is kept once.
    fn equal_list(&self, up: UpId, kind: ListKind, items: &[Item]) -> Option<Arc<[Item]>> {
        let mut lists = self.0.values().filter_map(|own| own.lists.get(&(up, kind)));
        lists.find(|list| ***list == *items).cloned()
    }
}

impl Upstreams {
    /// Whether a session has its own list of a server.
    pub(crate) fn has_own_list(&self, session: &str, up: UpId, kind: ListKind) -> bool {
        let own = self.own.0.get(session);
        own.is_some_and(|own| own.lists.contains_key(&(up, kind)))
    }

    /// A session is over.
    pub(crate) fn forget_own_lists(&mut self, session: &str) {
        self.own.0.remove(session);
    }

    /// A server is another one now, or is not served any more.
    pub(crate) fn forget_own_lists_of(&mut self, up: UpId) {
        self.own.0.retain(|_, own| {
            own.lists.retain(|(of, _), _| *of != up);
            !own.lists.is_empty()
        });
    }

    /// A list of a view as a session sees it.
    pub(crate) fn table_of(
        &self,
        session: Option<&Arc<str>>,
        view: View,
        kind: ListKind,
    ) -> &Table {
        let own = self.own.table(session, kind);
        own.unwrap_or_else(|| self.table(view, kind))
    }

    /// A session's own child of a server has this list. True: the session sees another view now.
    /// `None`: there is no room for it within `limit` bytes, and the session sees what it saw before.
    pub(crate) fn set_own_list(
        &mut self,
        session: &Arc<str>,
        view: View,
        (up, kind): (UpId, ListKind),
        items: Vec<Item>,
        limit: usize,
    ) -> Option<bool> {
        let shared = &self.get(up).list(kind).items;
        let items: Arc<[Item]> = match self.own.equal_list(up, kind, &items) {
            Some(equal) => equal,
            // The text of equal items is kept once.
            None if *shared == items => shared.clone().into(),
            None if self.own.bytes() + bytes_of(&items) > limit => return None,
            None => items.into(),
        };
        let before = self.table_of(Some(session), view, kind).hash;
        let own = self.own.0.entry(session.clone()).or_insert_with(|| Own {
            view,
            lists: BTreeMap::new(),
            tables: [const { None }; 4],
        });
        own.lists.insert((up, kind), items);
        self.view_again(session, kind);
        Some(self.table_of(Some(session), view, kind).hash != before)
    }

    /// Makes the views of all sessions with lists of their own anew: the lists of other servers are
    /// others. Each is made once for all who see the same.
    pub(crate) fn own_views_again(&mut self) {
        let mut sessions = std::mem::take(&mut self.own.0);
        let mut made = HashMap::new();
        for own in sessions.values_mut() {
            for kind in ListKind::ALL {
                let lists = own.lists.iter().filter(|((_, of), _)| *of == kind);
                let seen: Vec<_> = lists
                    .map(|((up, _), items)| (*up, Arc::as_ptr(items)))
                    .collect();
                let view = made
                    .entry((own.view, kind, seen))
                    .or_insert_with(|| self.own_view(own, kind).map(Arc::new));
                own.tables[kind as usize] = view.clone();
            }
        }
        self.own.0 = sessions;
    }

    fn view_again(&mut self, session: &Arc<str>, kind: ListKind) {
        let Some(own) = self.own.0.get(session) else {
            return;
        };
        let table = self.own_view(own, kind).map(|table| {
            let others = self.own.0.values().filter(|other| other.view == own.view);
            let mut tables = others.filter_map(|other| other.tables[kind as usize].as_ref());
            let equal = tables.find(|other| other.hash == table.hash).cloned();
            equal.unwrap_or_else(|| Arc::new(table))
        });
        if let Some(own) = self.own.0.get_mut(session) {
            own.tables[kind as usize] = table;
        }
    }

    /// A session's view; `None`: it is everybody's.
    fn own_view(&self, own: &Own, kind: ListKind) -> Option<Table> {
        let is_usual = own
            .lists
            .iter()
            .filter(|((_, of), _)| *of == kind)
            .all(|((up, _), items)| *self.get(*up).list(kind).items == **items);
        if is_usual {
            return None;
        }
        let source = |up: &Upstream| {
            let items = own.lists.get(&(up.id, kind));
            (up.id, items.map(|items| &**items))
        };
        let usual = self.table(own.view, kind);
        let key = |up: UpId| self.get(up).key.as_str();
        Some(match own.view {
            View::One(up) => {
                let (up, items) = source(self.get(up));
                usual.replaced(kind, [(up, key(up), items)].into_iter(), false)
            }
            _ => {
                let sources = self.configured().map(source);
                usual.replaced(kind, sources.map(|(up, items)| (up, key(up), items)), true)
            }
        })
    }
}
