//! What clients see: the lists of one server under their own names, or of all servers under exposed
//! names, and the table that says whose each name is.

use crate::api::UpId;
pub use crate::client::view::View;
use crate::protocol::header::Param;
use crate::protocol::splice::Splice;
use crate::protocol::{json, name};
use crate::upstream::list::{Item, ListKind};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// Whose an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The gateway itself; the number of the built-in tool.
    Core(usize),
    /// An upstream.
    Up(UpId),
}

/// One entry of a view.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The name (or URI, or template) that clients use.
    pub exposed: Arc<str>,
    /// The same in the view of all, by which limits know a tool.
    pub public: Arc<str>,
    /// Whose it is.
    pub owner: Owner,
    /// The name that its owner uses.
    pub original: Arc<str>,
    /// The definition, with the exposed name in it.
    pub text: Bytes,
    /// Mirrored parameters of a tool.
    pub params: Arc<[Param]>,
}

/// One list of a view.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// In the order of the configuration, then of the upstream.
    pub entries: Vec<Entry>,
    index: HashMap<Arc<str>, usize>,
    /// Changes exactly when the entries do.
    pub hash: u64,
    /// Names that had to be changed or cut, and repeats of a server, which are left out.
    pub collisions: Vec<Arc<str>>,
}

/// Entries in one page of a list.
pub const PAGE: usize = 1000;
/// Bytes in one page of a list, unless a single entry has more.
pub const PAGE_BYTES: usize = 2 << 20;

impl Table {
    /// The built-in tools followed by what the upstreams give. `prefixed`: names become
    /// `<key>__<name>`, URIs `<key>+<uri>`.
    #[must_use]
    pub fn build<'a>(
        kind: ListKind,
        core: &[Item],
        upstreams: impl Iterator<Item = (UpId, &'a str, &'a [Item])>,
        prefixed: bool,
    ) -> Self {
        let mut table = Self::default();
        for (at, item) in core.iter().enumerate() {
            let name = item.key.clone();
            table.add(
                Owner::Core(at),
                [name.clone(), name],
                item,
                item.text.clone(),
            );
        }
        for (up, key, items) in upstreams {
            table.add_all(kind, (up, key), items, prefixed);
        }
        table.hash = table.digest();
        table
    }

    /// The same list, in which these upstreams give something else. What the others give is not made
    /// anew: its text is kept once.
    #[must_use]
    pub(crate) fn replaced<'a>(
        &self,
        kind: ListKind,
        upstreams: impl Iterator<Item = (UpId, &'a str, Option<&'a [Item]>)>,
        prefixed: bool,
    ) -> Self {
        let mut given: HashMap<_, Vec<&Entry>> = HashMap::new();
        let mut table = Self::default();
        for entry in &self.entries {
            match entry.owner {
                Owner::Core(_) => table.keep(entry),
                Owner::Up(up) => given.entry(up).or_default().push(entry),
            }
        }
        for (up, key, own) in upstreams {
            match own {
                Some(items) => table.add_all(kind, (up, key), items, prefixed),
                None => given
                    .remove(&up)
                    .into_iter()
                    .flatten()
                    .for_each(|entry| table.keep(entry)),
            }
        }
        table.hash = table.digest();
        table
    }

    fn add_all(&mut self, kind: ListKind, (up, key): (UpId, &str), items: &[Item], prefixed: bool) {
        for item in items {
            let (names, text) = if prefixed {
                let (exposed, text) = expose(kind, key, item);
                ([exposed.clone(), exposed], text)
            } else {
                let public = exposed_name(kind, key, item).into();
                ([item.key.clone(), public], item.text.clone())
            };
            self.add(Owner::Up(up), names, item, text);
        }
    }

    fn keep(&mut self, entry: &Entry) {
        self.index.insert(entry.exposed.clone(), self.entries.len());
        self.entries.push(entry.clone());
    }

    fn add(&mut self, owner: Owner, names: [Arc<str>; 2], item: &Item, text: Bytes) {
        let [exposed, public] = names;
        if self.index.contains_key(&exposed) {
            return self.collisions.push(exposed);
        }
        if let (Owner::Up(_), true) = (owner, name::is_shortened(&exposed, &item.key)) {
            self.collisions.push(exposed.clone());
        }
        self.index.insert(exposed.clone(), self.entries.len());
        self.entries.push(Entry {
            exposed,
            public,
            owner,
            original: item.key.clone(),
            text,
            params: item.params.clone(),
        });
    }

    /// The same list without the entries that are not to be kept.
    #[must_use]
    pub fn part(&self, keep: impl Fn(&Entry) -> bool) -> Self {
        let mut part = Self::default();
        for entry in self.entries.iter().filter(|entry| keep(entry)) {
            part.keep(entry);
        }
        part.hash = part.digest();
        part
    }

    fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.entries
            .iter()
            .for_each(|entry| entry.text.hash(&mut hasher));
        hasher.finish()
    }

    /// The entry of an exposed name.
    #[must_use]
    pub fn get(&self, exposed: &str) -> Option<&Entry> {
        self.index.get(exposed).map(|at| &self.entries[*at])
    }

    /// The page after a cursor: the items joined by commas, and the next cursor. `None`: the cursor
    /// is not one of ours, or of an older list.
    #[must_use]
    pub fn page(
        &self,
        cursor: Option<&str>,
        edit: impl Fn(&Entry) -> Option<Bytes>,
    ) -> Option<(Vec<u8>, Option<String>)> {
        let from = match cursor {
            None => 0,
            Some(cursor) => {
                let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
                let (hash, from) = text.split_once('.')?;
                from.parse()
                    .ok()
                    .filter(|from| hash == self.hash.to_string() && *from < self.entries.len())?
            }
        };
        let mut room = PAGE_BYTES;
        let fits = self.entries[from..].iter().take(PAGE).take_while(|entry| {
            let fits = room > 0;
            room = room.saturating_sub(entry.text.len());
            fits
        });
        let to = from + fits.count();
        let mut out = Vec::with_capacity(
            self.entries[from..to]
                .iter()
                .map(|entry| entry.text.len() + 1)
                .sum(),
        );
        for entry in &self.entries[from..to] {
            if !out.is_empty() {
                out.push(b',');
            }
            out.extend_from_slice(&edit(entry).unwrap_or_else(|| entry.text.clone()));
        }
        let next = (to < self.entries.len())
            .then(|| URL_SAFE_NO_PAD.encode(format!("{}.{to}", self.hash)));
        Some((out, next))
    }
}

/// The name of an item in the view of all.
fn exposed_name(kind: ListKind, key: &str, item: &Item) -> String {
    match kind {
        ListKind::Tools | ListKind::Prompts => name::exposed(key, &item.key),
        ListKind::Resources | ListKind::Templates => name::exposed_uri(key, &item.key),
    }
}

/// The exposed name of an item and its definition with that name in it.
fn expose(kind: ListKind, key: &str, item: &Item) -> (Arc<str>, Bytes) {
    let exposed = exposed_name(kind, key, item);
    let Ok(text) = std::str::from_utf8(&item.text) else {
        return (exposed.into(), item.text.clone());
    };
    let mut splice = Splice::new(text);
    if let Some([Some(value)]) = json::pick(text, [kind.key()]) {
        splice.replace(value, json::quote(&exposed));
    }
    if kind == ListKind::Tools {
        for value in ui_addresses(text) {
            if let Some(uri) = json::string(value) {
                splice.replace(value, json::quote(&name::exposed_uri(key, &uri)));
            }
        }
    }
    (exposed.into(), splice.finish())
}

/// The addresses of MCP Apps in a tool, in every spelling in use: `_meta.ui.resourceUri`, and the
/// flat members `ui/resourceUri` and `openai/outputTemplate` of `_meta`.
fn ui_addresses(tool: &str) -> Vec<&str> {
    if !tool.contains("ui://") {
        return Vec::new();
    }
    let Some([Some(meta)]) = json::pick(tool, ["_meta"]) else {
        return Vec::new();
    };
    let [ui, flat, template] =
        json::pick(meta, ["ui", "ui/resourceUri", "openai/outputTemplate"]).unwrap_or_default();
    let nested = ui.and_then(|ui| json::pick(ui, ["resourceUri"])?[0]);
    let is_ui = |value: &&str| value.starts_with("\"ui://");
    [nested, flat, template]
        .into_iter()
        .flatten()
        .filter(is_ui)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(name: &str) -> Item {
        Item {
            key: name.into(),
            text: format!("{{\"x\":1.0,\"name\":\"{name}\"}}").into(),
            params: Arc::new([]),
        }
    }

    #[test]
    fn names_are_unique_and_routed_by_table() {
        // A repeat is left out.
        let (one, two) = ([item("a"), item("b__c")], [item("c"), item("c")]);
        let sources = [(UpId(0), "s", &one[..]), (UpId(1), "s-b", &two[..])];
        let table = Table::build(ListKind::Tools, &[item("core")], sources.into_iter(), true);
        let names: Vec<_> = table.entries.iter().map(|entry| &*entry.exposed).collect();
        assert_eq!(names, ["core", "s__a", "s__b__c", "s-b__c"]);
        assert_eq!(
            table
                .get("s__b__c")
                .map(|entry| (entry.owner, &*entry.original)),
            Some((Owner::Up(UpId(0)), "b__c"))
        );
        assert_eq!(
            table.get("s__a").map(|entry| entry.text.clone()),
            Some(Bytes::from_static(b"{\"x\":1.0,\"name\":\"s__a\"}"))
        );
        assert!(table.get("a").is_none());
    }

    #[test]
    fn what_one_server_gives_is_replaced_and_the_rest_is_kept() {
        let (core, kind) = ([item("core")], ListKind::Tools);
        let (one, two, other) = ([item("a")], [item("b")], [item("c"), item("d")]);
        let build = |second| {
            let sources = [(UpId(0), "s", &one[..]), (UpId(1), "t", second)];
            Table::build(kind, &core, sources.into_iter(), true)
        };
        let usual = build(&two[..]);
        let sources = [(UpId(0), "s", None), (UpId(1), "t", Some(&other[..]))];
        let replaced = usual.replaced(kind, sources.into_iter(), true);
        assert_eq!(replaced.hash, build(&other[..]).hash);
        assert!(replaced.get("t__d").is_some() && replaced.get("t__b").is_none());
        let text = |table: &Table| table.get("s__a").map(|entry| entry.text.as_ptr());
        assert_eq!(text(&replaced), text(&usual), "its text is kept once");
    }

    #[test]
    fn pages_follow_their_cursor() {
        let items: Vec<_> = (0..2500).map(|n| item(&n.to_string())).collect();
        let table = Table::build(
            ListKind::Tools,
            &[],
            [(UpId(0), "s", &items[..])].into_iter(),
            false,
        );
        let (mut seen, mut cursor) = (0, None);
        loop {
            let (text, next) = table.page(cursor.as_deref(), |_| None).expect("own cursor");
            seen += json::elements(&format!("[{}]", String::from_utf8(text).expect("utf-8")))
                .expect("array")
                .len();
            cursor = next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen, 2500);
        assert!(table.page(Some("nonsense"), |_| None).is_none());
        assert!(table.page(Some(""), |_| None).is_none());
    }
}
