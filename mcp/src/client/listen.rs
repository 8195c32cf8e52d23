//! `subscriptions/listen` of modern clients.

use crate::access::policy::Access;
use crate::api::{StreamKey, UpId};
use crate::client::Clients;
use crate::client::exchange::Exchange;
use crate::client::request::{Flow, RequestContext};
use crate::client::task_name::TaskName;
use crate::client::view::View;
use crate::edge::Principal;
use crate::gateway::Gateway;
use crate::protocol::inbound::key;
use crate::protocol::json;
use crate::protocol::list_kind::ListKind;
use crate::protocol::notification;
use crate::protocol::refusal::{Refusal, result_message, rpc};
use crate::trace::span::Span;
use bytes::Bytes;
use ggen_wire::Code;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A modern client's stream.
pub(crate) struct Listen {
    pub(crate) view: View,
    pub(crate) principal: Principal,
    pub(crate) access: Option<Arc<Access>>,
    /// The request's id, which tags every message.
    pub(crate) id: Box<str>,
    /// Tools, prompts, resources.
    lists: [bool; 3],
    /// Exposed URIs, with whose they are and the original.
    uris: BTreeMap<String, (UpId, Arc<str>)>,
    /// Tasks of the client, with their exposed ids.
    pub(crate) tasks: BTreeMap<TaskName, String>,
    /// The request's span, which lasts as long as the stream.
    span: Option<Box<Span>>,
}

/// The members of the filter, by list.
pub(crate) const FLAGS: [(&str, ListKind); 3] = [
    ("toolsListChanged", ListKind::Tools),
    ("promptsListChanged", ListKind::Prompts),
    ("resourcesListChanged", ListKind::Resources),
];
/// URIs in one subscription, at most.
const MAX_URIS: usize = 1000;
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
}

impl Gateway {
    pub(crate) fn listen(&mut self, ctx: &RequestContext<'_>) -> Result<Flow, Refusal> {
        let filter = ctx
            .params
            .and_then(|params| json::pick(params, ["notifications"]))
            .and_then(|[filter]| filter);
        let Some(filter) = filter.filter(|filter| filter.starts_with('{')) else {
            return Err(Refusal::new(
                200,
                rpc::INVALID_PARAMS,
                Code::InvalidRequest,
                "params.notifications is missing",
            ));
        };
        if !ctx.request.accept_sse {
            return Err(Refusal::new(
                406,
                rpc::INVALID_REQUEST,
                Code::NotAcceptable,
                "",
            ));
        }
        let principal = &ctx.request.principal;
        self.access
            .admit_in_flight(&mut self.cx, ctx.key, principal, || {
                self.clients.unanswered_of(principal)
            })?;
        let access = ctx.access.as_deref();
        let [tools, prompts, resources, uris, task_ids] = json::pick(
            filter,
            [
                FLAGS[0].0,
                FLAGS[1].0,
                FLAGS[2].0,
                "resourceSubscriptions",
                "taskIds",
            ],
        )
        .unwrap_or_default();
        let tasks = self
            .tasks
            .listened((&self.clients, &self.ups), self.cx.now, ctx, task_ids)?;
        let asked = [tools, prompts, resources].map(|flag| flag == Some("true"));
        let mut lists = FLAGS.map(|(_, kind)| self.ups.offers_changes(ctx.view, access, kind));
        for (list, asked) in lists.iter_mut().zip(asked) {
            *list &= asked;
        }
        let accepted = self.accepted_uris(ctx, uris);
        let uris = uris.is_some().then(|| quoted(accepted.keys()));
        let offers_tasks = task_ids.is_some() && self.ups.offers_tasks(ctx.view, access, true);
        let ids = offers_tasks.then(|| quoted(tasks.values()));
        let ack = acknowledgement(ctx.id, lists, uris, ids);
        let mut exchange = Exchange::new(ctx.request, None, ctx.arrived);
        exchange.event(ctx.key, None, None, ack, false, self.cx.outputs());
        self.clients.exchanges.insert(ctx.key, exchange);
        self.add_listen(ctx, lists, accepted, tasks);
        Ok(Flow::Done)
    }

    /// The URIs that a client may subscribe to, with whose they are.
    fn accepted_uris(
        &self,
        ctx: &RequestContext<'_>,
        uris: Option<&str>,
    ) -> BTreeMap<String, (UpId, Arc<str>)> {
        let access = ctx.access.as_deref();
        let may =
            |(up, uri): &(UpId, Arc<str>)| self.ups.may(access, ListKind::Resources, *up, uri);
        uris.and_then(json::elements)
            .unwrap_or_default()
            .into_iter()
            .take(MAX_URIS)
            .filter_map(json::string)
            .filter_map(|uri| {
                let owner = self.ups.subscribable(ctx.view, &uri).filter(may)?;
                Some((uri.into_owned(), owner))
            })
            .collect()
    }

    /// Records the stream of a modern client, and tells servers of what is new.
    fn add_listen(
        &mut self,
        ctx: &RequestContext<'_>,
        lists: [bool; 3],
        uris: BTreeMap<String, (UpId, Arc<str>)>,
        tasks: BTreeMap<TaskName, String>,
    ) {
        for (up, uri) in uris.values() {
            if self.ups.add_subscriber(*up, uri) {
                self.connecting().subscribe_upstream(*up, uri, true);
            }
        }
        let servers: BTreeSet<_> = tasks.keys().map(|name| name.up).collect();
        self.clients.listens.insert(
            ctx.key,
            Listen {
                view: ctx.view,
                principal: ctx.request.principal.clone(),
                access: ctx.access.clone(),
                id: ctx.id.into(),
                lists,
                uris,
                tasks,
                span: ctx.attempt.take_span(),
            },
        );
        for up in servers {
            self.connecting().listen_upstream(up);
        }
    }

    /// A modern client has left its stream.
    pub(crate) fn unlisten(&mut self, key: StreamKey) {
        let Some(listen) = self.clients.listens.remove(&key) else {
            return;
        };
        self.spans.end(&mut self.cx, listen.span, "ok", b"");
        for (up, uri) in listen.uris.values() {
            self.connecting().release_and_tell(*up, uri);
        }
        for up in listen
            .tasks
            .keys()
            .map(|name| name.up)
            .collect::<BTreeSet<_>>()
        {
            self.connecting().listen_upstream(up);
        }
    }

    /// Ends every stream gracefully, and what waits for clients that could only come back to the
    /// next worker: the worker is about to stop.
    pub(crate) fn end_streams(&mut self) {
        self.questioning().cancel_pending();
        let mut listens: Vec<_> = std::mem::take(&mut self.clients.listens)
            .into_iter()
            .collect();
        listens.sort_unstable_by_key(|(key, _)| *key);
        for (key, listen) in listens {
            let result = format!(
                "{{\"resultType\":\"complete\",\"_meta\":{{\"{}\":{}}}}}",
                key::SUBSCRIPTION,
                listen.id
            );
            if let Some(exchange) = self.clients.exchanges.get_mut(&key) {
                exchange.answer(
                    key,
                    None,
                    200,
                    None,
                    result_message(&listen.id, &result),
                    self.cx.outputs(),
                );
            }
            self.clients.sweep(key);
            self.spans.end(&mut self.cx, listen.span, "ok", b"");
        }
        let mut streams: Vec<_> = self
            .clients
            .exchanges
            .iter()
            .filter(|(_, exchange)| exchange.left == 0)
            .map(|(key, _)| *key)
            .collect();
        streams.sort_unstable();
        for key in streams {
            if let Some(exchange) = self.clients.exchanges.get_mut(&key) {
                exchange.close(key, self.cx.outputs());
            }
            self.clients.sweep(key);
        }
    }
}

/// What is sent first on a stream: the part of the filter that is in force. `uris` and `tasks`: the
/// elements of the lists, if there are any.
fn acknowledgement(
    id: &str,
    lists: [bool; 3],
    uris: Option<String>,
    tasks: Option<String>,
) -> Bytes {
    let mut parts: Vec<_> = FLAGS
        .iter()
        .zip(lists)
        .filter(|(_, on)| *on)
        .map(|((flag, _), _)| format!("\"{flag}\":true"))
        .collect();
    parts.extend(uris.map(|list| format!("\"resourceSubscriptions\":[{list}]")));
    parts.extend(tasks.map(|list| format!("\"taskIds\":[{list}]")));
    notification::tagged(
        "notifications/subscriptions/acknowledged",
        &format!("\"notifications\":{{{}}}", parts.join(",")),
        id,
    )
}

/// Texts as the elements of a JSON array.
fn quoted<'a>(texts: impl Iterator<Item = &'a String>) -> String {
    texts
        .map(|text| json::quote(text))
        .collect::<Vec<_>>()
        .join(",")
}
