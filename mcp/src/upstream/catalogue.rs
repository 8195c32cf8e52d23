//! What upstreams gave in an earlier life: their lists are served from it at once, until they are
//! there themselves and say what they give now.

use crate::api::{Output, UpId};
use crate::context::Context;
use crate::persisted::{Keep, LONGEST_CATALOGUE};
use crate::protocol::json;
use crate::upstream::list::ListKind;
use crate::upstream::{UpEra, Upstreams, list};
use std::hash::{DefaultHasher, Hash, Hasher};

impl Upstreams {
    /// Has stored what an upstream gives now, if that is something else than what is stored.
    pub(crate) fn keep_catalogue(&mut self, cx: &mut Context, up: UpId) {
        if !cx.keeps {
            return;
        }
        let upstream = self.get(up);
        let mut hasher = DefaultHasher::new();
        upstream.handoff().hash(&mut hasher);
        let items = upstream
            .lists
            .iter()
            .flat_map(|list| list.items.iter().map(|item| &item.text));
        items.clone().for_each(|text| text.hash(&mut hasher));
        let (size, now) = (
            items.map(|text| text.len() + 1).sum::<usize>(),
            hasher.finish().max(1),
        );
        // One that says something new with each list would have everything written for nothing; its
        // age is no news.
        if upstream.stored == now {
            return;
        }
        let text = if upstream.era.is_some() && size <= LONGEST_CATALOGUE {
            self.catalogue_text(up)
        } else {
            String::new()
        };
        self.store_catalogue(cx, up, now, text);
    }

    /// Nothing of an upstream is worth storing any more.
    pub(crate) fn drop_catalogue(&mut self, cx: &mut Context, up: UpId) {
        let upstream = self.get_mut(up);
        let stored = std::mem::take(&mut upstream.recalled) | (upstream.stored != 0);
        if cx.keeps && stored {
            self.store_catalogue(cx, up, 0, String::new());
        }
    }

    fn store_catalogue(&mut self, cx: &mut Context, up: UpId, hash: u64, text: String) {
        self.get_mut(up).stored = hash;
        cx.emit(Output::Keep(Keep::Catalogue(up, text)));
    }

    fn catalogue_text(&self, up: UpId) -> String {
        let upstream = self.get(up);
        let mut text = format!("{{\"hello\":{}", upstream.handoff());
        for kind in ListKind::ALL {
            let list = upstream.list(kind);
            let items = list
                .items
                .iter()
                .map(|item| String::from_utf8_lossy(&item.text))
                .collect::<Vec<_>>()
                .join(",");
            let ttl = list
                .ttl_ms
                .map(|ttl| format!(",\"ttlMs\":{ttl}"))
                .unwrap_or_default();
            let scope = if list.public {
                ",\"cacheScope\":\"public\""
            } else {
                ""
            };
            text.push_str(&format!(
                ",\"{0}\":{{\"{0}\":[{items}]{ttl}{scope}}}",
                kind.member()
            ));
        }
        text.push('}');
        text
    }

    /// Takes what upstreams gave in an earlier life. One that has said something in this life knows
    /// better.
    pub(crate) fn recall(&mut self, kept: &[(UpId, String)]) {
        for (up, text) in kept {
            let Some(upstream) = self
                .ups
                .get_mut(up.0 as usize)
                .filter(|up| up.settings.enabled && up.era.is_none())
            else {
                continue;
            };
            let members = ListKind::ALL.map(ListKind::member);
            let Some([Some(hello), tools, prompts, resources, templates]) = json::pick(
                text,
                ["hello", members[0], members[1], members[2], members[3]],
            ) else {
                continue;
            };
            if !upstream.adopt(hello) {
                continue;
            }
            for (kind, raw) in ListKind::ALL
                .into_iter()
                .zip([tools, prompts, resources, templates])
            {
                if let Some(page) = raw.and_then(|raw| list::read(kind, raw, false)) {
                    let list = &mut upstream.lists[kind as usize];
                    (list.items, list.ttl_ms, list.public) = (page.items, page.ttl_ms, page.public);
                }
            }
            upstream.recalled = true;
            upstream.skips_probe = matches!(upstream.era, Some(UpEra::Legacy(_)));
        }
        self.rebuild_each();
    }
}
