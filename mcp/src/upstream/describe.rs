//! What a view of the servers says of itself: who answers, its instructions, what it offers, and for
//! how long its lists stay fresh.

use crate::access::policy::Access;
use crate::protocol::extensions::Extensions;
use crate::protocol::inbound::key;
use crate::protocol::json;
use crate::upstream::list::ListKind;
use crate::upstream::view::View;
use crate::upstream::{UpEra, Upstream, Upstreams};

impl Upstreams {
    /// `ttlMs` and `cacheScope` of a list: the least of what the contributing upstreams say.
    pub(crate) fn freshness(
        &self,
        view: View,
        access: Option<&Access>,
        has_policy: bool,
        kind: ListKind,
    ) -> (u64, bool) {
        let of = |up: &Upstream| match up.era {
            Some(UpEra::Modern) => up.list(kind).ttl_ms.unwrap_or(0),
            _ if up.info.flag(kind.capability(), "listChanged") => 60_000,
            _ => 5_000,
        };
        let ttl = self.of_view(view, access).map(of).min().unwrap_or(60_000);
        let public = !has_policy
            && access.is_none()
            && self
                .of_view(view, access)
                .all(|up| up.era == Some(UpEra::Modern) && up.list(kind).public)
            && view != View::All;
        (
            if self.is_unsettled(view) {
                ttl.min(5_000)
            } else {
                ttl
            },
            public,
        )
    }

    /// The members that every complete modern result has, and those of a cacheable one.
    pub(crate) fn modern_rest(&self, view: View, ttl: u64, public: bool) -> String {
        let scope = if public { "public" } else { "private" };
        format!(
            ",\"resultType\":\"complete\",\"ttlMs\":{ttl},\"cacheScope\":\"{scope}\",\"_meta\":{{\"{}\":{}}}",
            key::SERVER,
            self.server_info(view)
        )
    }

    /// Whether a view has a capability.
    pub(crate) fn offers(&self, view: View, access: Option<&Access>, capability: &str) -> bool {
        (capability == "tools" && !matches!(view, View::One(_)))
            || self.of_view(view, access).any(|up| up.info.has(capability))
    }

    /// The extensions of a view, as members of `extensions`: those of all its servers.
    pub(crate) fn extensions(&self, view: View, access: Option<&Access>) -> String {
        let mut all = Extensions::default();
        for up in self.of_view(view, access) {
            all.add(&up.info.capabilities);
        }
        all.write()
    }

    /// Who answers: the one server of a view itself, the gateway for several.
    pub(crate) fn server_info(&self, view: View) -> String {
        let own = || {
            format!(
                "{{\"name\":\"ggend\",\"title\":\"ggend MCP gateway\",\"version\":\"{}\"}}",
                ggen_wire::VERSION
            )
        };
        match view {
            View::One(up) => self.get(up).info.server.clone().unwrap_or_else(own),
            _ => own(),
        }
    }

    /// The instructions of a view, as a JSON string.
    pub(crate) fn instructions(&self, view: View, access: Option<&Access>) -> Option<String> {
        if let View::One(up) = view {
            return self.get(up).info.instructions.clone();
        }
        let each = self.of_view(view, access).filter_map(|up| {
            let text = json::string(up.info.instructions.as_deref()?)?.into_owned();
            Some(format!(
                "[{}] (names begin with {}__)\n{text}",
                up.settings.name, up.key
            ))
        });
        let text = each.collect::<Vec<_>>().join("\n\n");
        (!text.is_empty()).then(|| json::quote(&text))
    }
}
