//! `subscriptions/listen` of modern clients: answered here, from what is heard of all servers.

use crate::api::{StreamKey, UpId};
use crate::client::exchange::Exchange;
use crate::client::listen::{FLAGS, Listen};
use crate::client::request::{Flow, RequestContext};
use crate::client::task_name::TaskName;
use crate::local::Serving;
use crate::observation::CallOutcome;
use crate::protocol::refusal::{Refusal, rpc};
use crate::protocol::{json, notification};
use crate::upstream::list::ListKind;
use bytes::Bytes;
use ggen_wire::Code;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// URIs in one subscription, at most.
const MAX_URIS: usize = 1000;
/// Bytes of all of them; those beyond are not accepted.
const MAX_URI_BYTES: usize = 64 << 10;

impl Serving<'_> {
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
            .admit_in_flight(self.cx, ctx.key, principal, || {
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
        check_types([tools, prompts, resources], [uris, task_ids])?;
        let tasks = self
            .tasks
            .listened((self.clients, self.ups), self.cx.now, ctx, task_ids)?;
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
        self.clients.add_exchange(ctx.key, exchange);
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
            .scan(MAX_URI_BYTES, |left, uri| {
                *left = left.checked_sub(uri.len())?;
                Some(uri)
            })
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
        self.clients.add_listen(
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
        let Some(listen) = self.clients.take_listen(key) else {
            return;
        };
        self.spans.end(self.cx, listen.span, CallOutcome::Ok, b"");
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
}

/// Checks the types of the members of a filter (schema, "SubscriptionsListenRequestParams").
fn check_types(flags: [Option<&str>; 3], lists: [Option<&str>; 2]) -> Result<(), Refusal> {
    let is_flag = |raw: &str| matches!(raw, "true" | "false");
    let is_text = |raw: &&str| raw.starts_with('"');
    let is_list = |raw: &str| json::elements(raw).is_some_and(|parts| parts.iter().all(is_text));
    let is_right =
        flags.into_iter().flatten().all(is_flag) && lists.into_iter().flatten().all(is_list);
    is_right.then_some(()).ok_or_else(|| {
        Refusal::new(
            200,
            rpc::INVALID_PARAMS,
            Code::InvalidRequest,
            "notifications has a member of another type: flags are booleans, lists are texts",
        )
    })
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
