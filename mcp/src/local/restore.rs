//! Sessions of an earlier life go on.

use crate::api::Micros;
use crate::client::session::{EventBuffer, Session};
use crate::client::session_store::NAMELESS;
use crate::edge::Principal;
use crate::local::Serving;
use crate::persisted::Record;
use crate::protocol::capabilities::Declared;
use crate::protocol::json;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

impl Serving<'_> {
    /// Makes a session of a record. `None`: there is no room for it, or its server is not
    /// configured any more.
    pub(crate) fn adopt(
        &mut self,
        digest: &str,
        record: &Record,
        idle: Micros,
    ) -> Option<Arc<str>> {
        let most = self.access.sessions_in_all(&self.cx.limits);
        let view = self
            .ups
            .view(&record.view)
            .ok()
            .filter(|_| self.clients.session_count() < most)?;
        let labels = record
            .labels
            .iter()
            .map(|label| label.as_str().into())
            .collect();
        let principal = Principal {
            id: record.principal.as_str().into(),
            labels,
        };
        let [capabilities, client] =
            json::pick(&record.params, ["capabilities", "clientInfo"]).unwrap_or_default();
        let first = self.clients.first_event();
        let session = Session {
            version: record.version,
            view,
            access: self.access.of_principal(&principal),
            principal,
            declared: Arc::new(Declared::read(capabilities).of_revision(record.version)),
            client: crate::persisted::client_info(client.unwrap_or(NAMELESS)),
            params: record.params.as_str().into(),
            digest: digest.into(),
            socket: record.socket,
            log_level: None,
            used: self.cx.now,
            idle,
            is_unused: false,
            reported: self.cx.now,
            buffers: HashMap::from([(0, EventBuffer::after(first))]),
            next_buffer: first.max(1),
            calls: HashMap::new(),
            subscriptions: BTreeSet::new(),
        };
        Some(self.clients.add_restored(digest, session))
    }
}
