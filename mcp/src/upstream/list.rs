//! The lists that an upstream gives, as it gave them: items stay bytes, only their key is read.

use crate::protocol::header::Param;
pub use crate::protocol::list_kind::ListKind;
use crate::protocol::{header, json};
use crate::upstream::repair;
use bytes::Bytes;
use std::sync::Arc;

/// One tool, prompt, resource or template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its name, URI or URI template, as the upstream knows it.
    pub key: Arc<str>,
    /// Its whole definition.
    pub text: Bytes,
    /// A tool's mirrored parameters.
    pub params: Arc<[Param]>,
}

/// One page of a list.
#[derive(Debug, Default)]
pub struct Page {
    /// Its items.
    pub items: Vec<Item>,
    /// The cursor of the next page.
    pub next: Option<String>,
    /// Tools that were left out, with the reason.
    pub refused: Vec<(String, String)>,
    /// `ttlMs` of a modern upstream.
    pub ttl_ms: Option<u64>,
    /// Whether a modern upstream said `"cacheScope":"public"`.
    pub public: bool,
}

/// Reads the result of a list request. `http` says whether tools with wrong header declarations
/// must be left out. `None`: not a list.
#[must_use]
pub fn read(kind: ListKind, result: &str, http: bool) -> Option<Page> {
    let [items, next, ttl, scope] =
        json::pick(result, [kind.member(), "nextCursor", "ttlMs", "cacheScope"])?;
    let mut page = Page {
        next: next
            .and_then(json::string)
            .map(std::borrow::Cow::into_owned),
        ttl_ms: ttl.and_then(|raw| raw.parse().ok()),
        public: scope == Some("\"public\""),
        ..Page::default()
    };
    for text in json::elements(items?)? {
        let key = json::pick(text, [kind.key()]).and_then(|[key]| json::string(key?));
        let Some(key) = key else {
            page.refused
                .push((String::new(), format!("an item without a {}", kind.key())));
            continue;
        };
        let text = match repair::repair(kind, text) {
            Ok(text) => text,
            Err(reason) => {
                page.refused.push((key.into_owned(), reason));
                continue;
            }
        };
        let schema = json::pick(&text, ["inputSchema"]).and_then(|[schema]| schema);
        let params = match (kind, schema) {
            (ListKind::Tools, Some(schema)) if http => match header::declared(schema) {
                Ok(params) => params,
                Err(reason) => {
                    page.refused.push((key.into_owned(), reason));
                    continue;
                }
            },
            (ListKind::Tools, Some(schema)) => header::declared(schema).unwrap_or_default(),
            _ => Vec::new(),
        };
        let text = json::one_line(Bytes::copy_from_slice(text.as_bytes()));
        page.items.push(Item {
            key: key.as_ref().into(),
            text,
            params: params.into(),
        });
    }
    Some(page)
}

/// A list as it stands: the last good one is kept while a new one is being fetched, and when that
/// fails.
#[derive(Debug, Default)]
pub struct List {
    /// The items in force.
    pub items: Vec<Item>,
    /// `ttlMs` of a modern upstream.
    pub ttl_ms: Option<u64>,
    /// Whether a modern upstream said that it is public.
    pub public: bool,
    /// Whether it was ever fetched (or the upstream has no such list).
    pub known: bool,
    /// Tools that the upstream lists and that may not be offered, nor called.
    pub refused: Vec<Arc<str>>,
    /// Pages fetched so far of the next one.
    pub loading: Option<Loading>,
    /// When it was last fetched.
    pub fetched: crate::api::Micros,
    /// The upstream announced a change that clients have not been told of.
    pub announced: bool,
    /// It changed while it was being fetched: fetch it again.
    pub again: bool,
    /// How often in a row it could not be fetched.
    pub failures: u32,
    /// The upstream does not declare it, and is being asked all the same.
    pub is_undeclared: bool,
    /// Why it could not be fetched last time.
    pub failure: Option<String>,
}

/// A list that is being fetched.
#[derive(Debug, Default)]
pub struct Loading {
    /// Items so far.
    pub items: Vec<Item>,
    /// Tools left out so far.
    pub refused: Vec<Arc<str>>,
    /// Cursors seen, to stop at a circle.
    pub cursors: Vec<String>,
    /// Bytes of all that.
    pub bytes: usize,
}

/// Pages fetched of one list, at most.
pub const MAX_PAGES: usize = 1000;
/// Items of one list.
pub const MAX_ITEMS: usize = 20_000;
/// Bytes of one list: of its items, and of the cursors that lead to them.
pub const MAX_BYTES: usize = 8 << 20;

impl Loading {
    /// Takes a page, as much of it as there is room for. False: there is no room for more.
    pub(crate) fn take(&mut self, items: Vec<Item>, refused: Vec<(String, String)>) -> bool {
        for (tool, _) in refused {
            self.bytes += tool.len();
            if self.is_full() {
                return false;
            }
            self.refused.push(tool.into());
        }
        for item in items {
            // Its name is kept once more in each view.
            self.bytes += item.text.len() + item.key.len();
            if self.is_full() {
                return false;
            }
            self.items.push(item);
        }
        true
    }

    /// Takes the cursor of the next page. False: that page is not to be asked for.
    pub(crate) fn follow(&mut self, cursor: &str) -> bool {
        self.bytes += cursor.len();
        let more = !self.is_full() && self.cursors.len() < MAX_PAGES;
        if more {
            self.cursors.push(cursor.to_owned());
        }
        more
    }

    fn is_full(&self) -> bool {
        self.bytes > MAX_BYTES || self.items.len() >= MAX_ITEMS || self.refused.len() >= MAX_ITEMS
    }
}
