//! `subscriptions/listen` on both sides: the streams of modern clients, and our own stream at each
//! modern upstream.

use crate::access::policy::Access;
use crate::api::{Micros, Output, StreamKey, UpId};
use crate::call::record::Purpose;
use crate::client::exchange::Exchange;
use crate::client::request::{Ctx, Flow};
use crate::client::task_name::TaskName;
use crate::edge::Principal;
use crate::gateway::Gateway;
use crate::protocol::inbound::key;
use crate::protocol::json::Envelope;
use crate::protocol::refusal::{Refusal, result_message, rpc};
use crate::protocol::{json, name};
use crate::trace::span::Span;
use crate::upstream::list::ListKind;
use crate::upstream::view::View;
use crate::upstream::{Phase, UpEra, Upstreams};
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
const FLAGS: [(&str, ListKind); 3] = [
    ("toolsListChanged", ListKind::Tools),
    ("promptsListChanged", ListKind::Prompts),
    ("resourcesListChanged", ListKind::Resources),
];
/// URIs in one subscription, at most.
const MAX_URIS: usize = 1000;
/// How long after the end of our stream at an upstream another one is opened.
const AGAIN: Micros = 1_000_000;

impl Gateway {
    pub(crate) fn listen(&mut self, ctx: &Ctx<'_>) -> Result<Flow, Refusal> {
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
        let offered = FLAGS.map(|(_, kind)| self.offers_changes(ctx.view, access, kind));
        let lists = [tools, prompts, resources].map(|flag| flag == Some("true"));
        let lists = [
            lists[0] && offered[0],
            lists[1] && offered[1],
            lists[2] && offered[2],
        ];
        let mut accepted = BTreeMap::new();
        for uri in uris
            .and_then(json::elements)
            .unwrap_or_default()
            .into_iter()
            .take(MAX_URIS)
            .filter_map(json::string)
        {
            if let Some(owner) = self
                .subscribable(ctx.view, &uri)
                .filter(|(up, uri)| self.ups.may(access, ListKind::Resources, *up, uri))
            {
                accepted.insert(uri.into_owned(), owner);
            }
        }
        let mut parts: Vec<_> = FLAGS
            .iter()
            .zip(lists)
            .filter(|(_, on)| *on)
            .map(|((flag, _), _)| format!("\"{flag}\":true"))
            .collect();
        if uris.is_some() {
            let list = accepted
                .keys()
                .map(|uri| json::quote(uri))
                .collect::<Vec<_>>()
                .join(",");
            parts.push(format!("\"resourceSubscriptions\":[{list}]"));
        }
        if task_ids.is_some() && self.ups.offers_tasks(ctx.view, access, true) {
            let list = tasks
                .values()
                .map(|id| json::quote(id))
                .collect::<Vec<_>>()
                .join(",");
            parts.push(format!("\"taskIds\":[{list}]"));
        }
        let ack = Self::tagged(
            "notifications/subscriptions/acknowledged",
            &format!("\"notifications\":{{{}}}", parts.join(",")),
            ctx.id,
        );
        let mut exchange = Exchange::new(ctx.request, None, ctx.arrived);
        exchange.event(ctx.key, None, None, ack, false, self.cx.outputs());
        self.clients.exchanges.insert(ctx.key, exchange);
        for (up, uri) in accepted.values() {
            if self.hold(*up, uri) {
                self.subscribe_upstream(*up, uri, true);
            }
        }
        let servers: BTreeSet<_> = tasks.keys().map(|name| name.up).collect();
        let (principal, access) = (ctx.request.principal.clone(), ctx.access.clone());
        let span = ctx.attempt.take_span();
        self.clients.listens.insert(
            ctx.key,
            Listen {
                view: ctx.view,
                principal,
                access,
                id: ctx.id.into(),
                lists,
                uris: accepted,
                tasks,
                span,
            },
        );
        for up in servers {
            self.listen_upstream(up);
        }
        Ok(Flow::Done)
    }

    /// Whether changes of a list can be told: the gateway refreshes all of them, so every list that
    /// is offered.
    fn offers_changes(&self, view: View, access: Option<&Access>, kind: ListKind) -> bool {
        match view {
            View::One(up) => self.up_ref(up).hello.has(kind.capability()),
            View::All => {
                kind == ListKind::Tools
                    || self
                        .ups
                        .configured()
                        .any(|up| self.ups.may_see(access, up) && up.hello.has(kind.capability()))
            }
            View::Core => kind == ListKind::Tools,
        }
    }

    /// Whose a URI is, if its server lets one subscribe.
    fn subscribable(&self, view: View, uri: &str) -> Option<(UpId, Arc<str>)> {
        let (up, original) = match view {
            View::One(up) => (self.up_ref(up), uri.to_owned()),
            View::All => {
                let (key, original) = name::original_uri(uri)?;
                (self.ups.configured().find(|up| up.key == key)?, original)
            }
            View::Core => return None,
        };
        up.hello
            .flag("resources", "subscribe")
            .then(|| (up.id, original.into()))
    }

    /// Tells a server of a first subscriber, or of the last one's end.
    pub(crate) fn subscribe_upstream(&mut self, up: UpId, uri: &str, on: bool) {
        if self.up_ref(up).conns[0].phase != Phase::Ready {
            return;
        }
        match self.up_ref(up).era {
            Some(UpEra::Legacy(_)) => {
                let method = if on {
                    "resources/subscribe"
                } else {
                    "resources/unsubscribe"
                };
                self.own_request(
                    up,
                    0,
                    Purpose::Aside,
                    method,
                    &format!("\"uri\":{}", json::quote(uri)),
                    30_000_000,
                );
            }
            Some(UpEra::Modern) => self.listen_upstream(up),
            None => {}
        }
    }

    /// After a (re)start of a server: everything that clients are subscribed to.
    pub(crate) fn subscribe_again(&mut self, up: UpId) {
        match self.up_ref(up).era {
            Some(UpEra::Modern) => self.listen_upstream(up),
            _ => {
                for uri in self
                    .up_ref(up)
                    .subscriptions
                    .keys()
                    .cloned()
                    .collect::<Vec<_>>()
                {
                    self.subscribe_upstream(up, &uri, true);
                }
            }
        }
    }

    /// Opens our stream at a modern upstream, with everything that is wanted of it now. The old one
    /// ends when the new one is acknowledged.
    pub(crate) fn listen_upstream(&mut self, up: UpId) {
        let upstream = self.up_ref(up);
        // What happens at a legacy server, it says by itself.
        if upstream.conns[0].phase != Phase::Ready || upstream.era != Some(UpEra::Modern) {
            return;
        }
        let mut parts: Vec<_> = FLAGS
            .iter()
            .filter(|(_, kind)| upstream.hello.flag(kind.capability(), "listChanged"))
            .map(|(flag, _)| format!("\"{flag}\":true"))
            .collect();
        if !upstream.subscriptions.is_empty() {
            let list = upstream
                .subscriptions
                .keys()
                .map(|uri| json::quote(uri))
                .collect::<Vec<_>>()
                .join(",");
            parts.push(format!("\"resourceSubscriptions\":[{list}]"));
        }
        let tasks: BTreeSet<_> = self
            .clients
            .listens
            .values()
            .flat_map(|listen| listen.tasks.keys())
            .filter(|name| name.up == up)
            .collect();
        let ids: BTreeSet<_> = tasks.into_iter().map(|name| &name.id).collect();
        if !ids.is_empty() {
            let list = ids
                .into_iter()
                .map(|id| json::quote(id))
                .collect::<Vec<_>>()
                .join(",");
            parts.push(format!("\"taskIds\":[{list}]"));
        }
        if let Some(number) = upstream.listen.1 {
            self.end_listen(up, number);
        }
        if parts.is_empty() {
            if let Some(number) = self.up_mut(up).listen.0.take() {
                self.end_listen(up, number);
            }
            return;
        }
        let members = format!("\"notifications\":{{{}}}", parts.join(","));
        let number = self.own_request(
            up,
            0,
            Purpose::Listen,
            "subscriptions/listen",
            &members,
            crate::upstream::outbound::NEVER,
        );
        let upstream = self.up_mut(up);
        upstream.listen_at = None;
        upstream.listen.1 = Some(number);
    }

    pub(crate) fn listen_acknowledged(&mut self, up: UpId, envelope: &Envelope<'_>) {
        let meta = envelope
            .params
            .and_then(|params| json::pick(params, ["_meta"]))
            .and_then(|[meta]| meta);
        let number = meta
            .and_then(|meta| json::pick(meta, [key::SUBSCRIPTION]))
            .and_then(|[id]| id?.trim_matches('"').parse::<u64>().ok());
        let upstream = self.up_mut(up);
        if number.is_some() && upstream.listen.1 == number {
            upstream.listen.1 = None;
            if let Some(old) = std::mem::replace(&mut upstream.listen.0, number) {
                self.end_listen(up, old);
            }
        }
    }

    fn end_listen(&mut self, up: UpId, number: u64) {
        if self.calls.remove(&number).is_none() {
            return;
        }
        if self.up_ref(up).is_http() {
            self.cx.emit(Output::Abort(up, number));
        } else {
            self.write_line(up, 0, cancelled(number));
        }
    }

    /// Our stream at an upstream is over.
    pub(crate) fn listen_ended(&mut self, up: UpId, number: u64) {
        let now = self.cx.now;
        let upstream = self.up_mut(up);
        if upstream.listen.0 == Some(number) {
            upstream.listen.0 = None;
        }
        if upstream.listen.1 == Some(number) {
            upstream.listen.1 = None;
        }
        if upstream.listen == (None, None) && upstream.conns[0].phase == Phase::Ready {
            upstream.listen_at = Some(now + AGAIN);
        }
    }

    /// A modern client has left its stream.
    pub(crate) fn unlisten(&mut self, key: StreamKey) {
        let Some(listen) = self.clients.listens.remove(&key) else {
            return;
        };
        self.spans.end(&mut self.cx, listen.span, "ok", b"");
        for (up, uri) in listen.uris.values() {
            self.release_and_tell(*up, uri);
        }
        for up in listen
            .tasks
            .keys()
            .map(|name| name.up)
            .collect::<BTreeSet<_>>()
        {
            self.listen_upstream(up);
        }
    }

    /// One subscriber less; the server is told of the last one's end.
    pub(crate) fn release_and_tell(&mut self, up: UpId, uri: &Arc<str>) {
        if self.release(up, uri) {
            self.subscribe_upstream(up, uri, false);
        }
    }

    pub(crate) fn listens_changed(
        &mut self,
        kind: ListKind,
        concerns: impl Fn(&Upstreams, View, Option<&Access>) -> bool,
    ) {
        let concerned =
            |listen: &Listen| concerns(&self.ups, listen.view, listen.access.as_deref());
        let mut keys: Vec<_> = self
            .clients
            .listens
            .iter()
            .filter(|(_, listen)| concerned(listen))
            .map(|(key, _)| *key)
            .collect();
        keys.sort_unstable();
        for key in keys {
            self.listen_changed(key, kind);
        }
    }

    /// Tells a modern client that a list changed, if it wants to hear of it.
    pub(crate) fn listen_changed(&mut self, key: StreamKey, kind: ListKind) {
        let at = FLAGS
            .iter()
            .position(|(_, of)| of.capability() == kind.capability())
            .unwrap_or(0);
        if let Some(listen) = self
            .clients
            .listens
            .get(&key)
            .filter(|listen| listen.lists[at])
        {
            let data = Self::tagged(
                crate::call::notifications::changed_method(kind),
                "",
                &listen.id,
            );
            self.clients.stream_event(&mut self.cx, key, data, true);
        }
    }

    pub(crate) fn listens_updated(&mut self, up: UpId, uri: &str, exposed: &str) {
        let mut events = Vec::new();
        for (key, listen) in &self.clients.listens {
            let name = if listen.view == View::One(up) {
                uri
            } else {
                exposed
            };
            let may = || {
                self.ups
                    .may(listen.access.as_deref(), ListKind::Resources, up, uri)
            };
            if listen.uris.get(name).is_some_and(|(owner, _)| *owner == up) && may() {
                let members = format!("\"uri\":{}", json::quote(name));
                events.push((
                    *key,
                    Self::tagged("notifications/resources/updated", &members, &listen.id),
                ));
            }
        }
        events.sort_unstable();
        for (key, data) in events {
            self.clients.stream_event(&mut self.cx, key, data, true);
        }
    }

    /// Ends every stream gracefully, and what waits for clients that could only come back to the
    /// next worker: the worker is about to stop.
    pub(crate) fn end_streams(&mut self) {
        self.cancel_pending();
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

/// `notifications/cancelled` for one of our requests.
pub(crate) fn cancelled(number: u64) -> Bytes {
    format!("{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{{\"requestId\":{number}}}}}").into()
}
