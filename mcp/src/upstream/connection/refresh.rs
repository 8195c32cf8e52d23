//! `/refresh` of the control command: answered once no server is being asked for its tools.

use crate::protocol::json;
use crate::upstream::list::ListKind;
use crate::upstream::view::{Owner, View};
use crate::upstream::{ConnState, Connecting, Upstream};
use bytes::Bytes;
use ggen_wire::status;

impl Connecting<'_> {
    /// Answers `/refresh` once no server that serves is being asked for its tools any more.
    pub(crate) fn refreshed(&mut self) {
        let tools = ListKind::Tools as usize;
        let busy = |up: &Upstream| {
            up.conns[0].phase == ConnState::Ready && up.lists[tools].loading.is_some()
        };
        if !self.clients.is_refreshing() || self.ups.configured().any(busy) {
            return;
        }
        let body = Bytes::from(serde_json::to_vec(&self.catalogue()).unwrap_or_default());
        for key in self.clients.take_refreshing() {
            self.cx.full(key, 200, body.clone());
        }
    }

    /// The tools of the view of all.
    pub(crate) fn catalogue(&self) -> Vec<status::Tool> {
        let each = self
            .ups
            .table(View::All, ListKind::Tools)
            .entries
            .iter()
            .map(|entry| {
                let text = String::from_utf8_lossy(&entry.text);
                let description = json::pick(&text, ["description"])
                    .and_then(|[raw]| json::string(raw?))
                    .unwrap_or_default();
                let (server, status) = match entry.owner {
                    Owner::Core(_) => ("core".to_owned(), "available".to_owned()),
                    Owner::Up(up) => {
                        let up = self.ups.get(up);
                        let status = if up.serves() {
                            "available"
                        } else {
                            up.state.as_str()
                        };
                        (up.settings.name.clone(), status.to_owned())
                    }
                };
                status::Tool {
                    name: entry.exposed.to_string(),
                    server,
                    original: entry.original.to_string(),
                    description: description.lines().next().unwrap_or_default().to_owned(),
                    status,
                }
            });
        each.collect()
    }
}
