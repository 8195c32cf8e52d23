//! `subscriptions/listen` of modern clients.

use crate::access::policy::Access;
use crate::api::{StreamKey, UpId};
use crate::client::Clients;
use crate::client::task_name::TaskName;
use crate::client::view::View;
use crate::context::Context;
use crate::edge::Principal;
use crate::observation::CallOutcome;
use crate::protocol::inbound::key;
use crate::protocol::list_kind::ListKind;
use crate::protocol::refusal::result_message;
use crate::trace::Spans;
use crate::trace::span::Span;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A modern client's stream.
pub(crate) struct Listen {
    pub(crate) view: View,
    pub(crate) principal: Principal,
    pub(crate) access: Option<Arc<Access>>,
    /// The request's id, which tags every message.
    pub(crate) id: Box<str>,
    /// Tools, prompts, resources.
    pub(crate) lists: [bool; 3],
    /// Exposed URIs, with whose they are and the original.
    pub(crate) uris: BTreeMap<String, (UpId, Arc<str>)>,
    /// Tasks of the client, with their exposed ids.
    pub(crate) tasks: BTreeMap<TaskName, String>,
    /// The request's span, which lasts as long as the stream.
    pub(crate) span: Option<Box<Span>>,
}

/// The members of the filter, by list.
pub(crate) const FLAGS: [(&str, ListKind); 3] = [
    ("toolsListChanged", ListKind::Tools),
    ("promptsListChanged", ListKind::Prompts),
    ("resourcesListChanged", ListKind::Resources),
];
impl Listen {
    /// Whether its client wants to hear of changes of a list.
    pub(crate) fn wants(&self, kind: ListKind) -> bool {
        FLAGS
            .iter()
            .zip(self.lists)
            .any(|((_, of), on)| on && of.capability() == kind.capability())
    }

    /// Whether its client wants to hear of changes of a resource of that server.
    pub(crate) fn wants_uri(&self, exposed: &str, up: UpId) -> bool {
        self.uris
            .get(exposed)
            .is_some_and(|(owner, _)| *owner == up)
    }
}

impl Clients {
    pub(crate) fn listen(&self, key: StreamKey) -> Option<&Listen> {
        self.listens.get(&key)
    }

    pub(crate) fn listen_mut(&mut self, key: StreamKey) -> Option<&mut Listen> {
        self.listens.get_mut(&key)
    }

    pub(crate) fn add_listen(&mut self, key: StreamKey, listen: Listen) {
        self.listens.insert(key, listen);
    }

    pub(crate) fn take_listen(&mut self, key: StreamKey) -> Option<Listen> {
        self.listens.remove(&key)
    }

    /// Ends every stream gracefully: the worker is about to stop.
    pub(crate) fn end_streams(&mut self, cx: &mut Context, spans: &mut Spans) {
        let mut listens: Vec<_> = std::mem::take(&mut self.listens).into_iter().collect();
        listens.sort_unstable_by_key(|(key, _)| *key);
        for (key, listen) in listens {
            let result = format!(
                "{{\"resultType\":\"complete\",\"_meta\":{{\"{}\":{}}}}}",
                key::SUBSCRIPTION,
                listen.id
            );
            if let Some(exchange) = self.exchanges.get_mut(&key) {
                exchange.answer(
                    key,
                    None,
                    200,
                    None,
                    result_message(&listen.id, &result),
                    cx.outputs(),
                );
            }
            self.sweep(key);
            spans.end(cx, listen.span, CallOutcome::Ok, b"");
        }
        let mut streams: Vec<_> = self
            .exchanges
            .iter()
            .filter(|(_, exchange)| exchange.left == 0)
            .map(|(key, _)| *key)
            .collect();
        streams.sort_unstable();
        for key in streams {
            if let Some(exchange) = self.exchanges.get_mut(&key) {
                exchange.close(key, cx.outputs());
            }
            self.sweep(key);
        }
    }
}
