//! The views that are made of the servers' lists.

use crate::api::UpId;
use crate::protocol::refusal::{Refusal, rpc};
use crate::upstream::Upstreams;
use crate::upstream::list::{Item, ListKind};
use crate::upstream::view::{Entry, Table, View};
use ggen_wire::Code;

/// A list of an upstream that was made anew.
pub(crate) struct Rebuilt {
    pub(crate) kind: ListKind,
    /// The upstream's own view is another one, or the upstream said that it is.
    pub(crate) one: bool,
    /// The view of all is another one.
    pub(crate) all: bool,
    /// The upstream's own view, and the view of all, as they were before.
    pub(crate) before: [Table; 2],
}

impl Upstreams {
    /// The view that a name in a path means.
    pub(crate) fn view(&self, name: &str) -> Result<View, Refusal> {
        match name {
            "" => Ok(View::All),
            "core" if !self.configured().any(|up| up.settings.name == "core") => Ok(View::Core),
            name => self
                .configured()
                .find(|up| up.settings.name == name)
                .map(|up| View::One(up.id))
                .ok_or_else(|| Refusal::new(404, rpc::INVALID_REQUEST, Code::ServerUnknown, name)),
        }
    }

    /// A list of a view.
    pub(crate) const fn table(&self, view: View, kind: ListKind) -> &Table {
        match view {
            View::All => &self.all[kind as usize],
            View::One(up) => &self.ones.as_slice()[up.0 as usize][kind as usize],
            View::Core => &self.core[kind as usize],
        }
    }

    /// The tool of an upstream that has a name in the view of all.
    pub(crate) fn tool_of(&self, up: UpId, public: &str) -> Option<&Entry> {
        self.table(View::One(up), ListKind::Tools)
            .entries
            .iter()
            .find(|entry| &*entry.public == public)
    }

    /// A list of an upstream as it gives it now.
    pub(super) fn own_table(&self, up: UpId, kind: ListKind) -> Table {
        let items = self.get(up).list(kind).items.as_slice();
        self.build(kind, false, [(up, items)].into_iter())
    }

    /// A list of a view of these servers. `all`: it is the view of all, which has the built-in tools,
    /// and names that say whose they are.
    pub(super) fn build<'a>(
        &'a self,
        kind: ListKind,
        all: bool,
        sources: impl Iterator<Item = (UpId, &'a [Item])>,
    ) -> Table {
        let built_in = if kind == ListKind::Tools && all {
            self.built_in.as_slice()
        } else {
            &[]
        };
        let sources = sources.map(|(up, items)| (up, self.get(up).key.as_str(), items));
        Table::build(kind, built_in, sources, all)
    }

    /// Makes the views of all anew.
    pub(super) fn rebuild_all(&mut self) {
        for kind in ListKind::ALL {
            let sources = self
                .configured()
                .map(|up| (up.id, up.list(kind).items.as_slice()));
            self.all[kind as usize] = self.build(kind, true, sources);
        }
    }

    /// Whether an upstream gives something else now than its views say.
    pub(crate) fn gives_otherwise(&self, up: UpId) -> bool {
        ListKind::ALL.into_iter().any(|kind| {
            self.get(up).list(kind).announced
                || self.ones[up.0 as usize][kind as usize].hash != self.own_table(up, kind).hash
        })
    }

    /// Makes the views of an upstream anew, and says which of them are others now.
    pub(crate) fn rebuild(&mut self, up: UpId) -> [Rebuilt; 4] {
        let mut before = std::mem::take(&mut self.all);
        self.rebuild_all();
        self.seen.clear();
        ListKind::ALL.map(|kind| {
            let at = kind as usize;
            let announced = std::mem::take(&mut self.get_mut(up).lists[at].announced);
            let table = self.own_table(up, kind);
            let old = std::mem::replace(&mut self.ones[up.0 as usize][at], table);
            Rebuilt {
                kind,
                one: announced || old.hash != self.ones[up.0 as usize][at].hash,
                all: before[at].hash != self.all[at].hash,
                before: [old, std::mem::take(&mut before[at])],
            }
        })
    }

    /// Makes every view anew.
    pub(super) fn rebuild_each(&mut self) {
        self.rebuild_all();
        self.seen.clear();
        for up in self.order.clone() {
            for kind in ListKind::ALL {
                self.ones[up.0 as usize][kind as usize] = self.own_table(up, kind);
            }
        }
    }

    /// The policy is another one: forgets what principals saw.
    pub(crate) fn forget_seen(&mut self) {
        self.seen.clear();
    }

    /// The configured name of an upstream.
    pub(crate) fn name(&self, up: UpId) -> String {
        self.get(up).settings.name.clone()
    }
}
