//! What servers say by themselves of tasks: for the clients that made them, and for those who
//! listen.

use crate::api::Micros;
use crate::api::UpId;
use crate::client::Clients;
use crate::client::task_name::TaskName;
use crate::context::Context;
use crate::in_flight::record::ClientCall;
use crate::lease::Leases;
use crate::protocol::inbound::key;
use crate::protocol::json::Envelope;
use crate::protocol::method::Method;
use crate::protocol::splice::Splice;
use crate::protocol::{json, name, splice, task};
use crate::tasks::registry::{Owned, Tasks};
use crate::upstream::Upstreams;
use crate::upstream::view::View;
use std::collections::BTreeSet;

impl Tasks {
    /// A modern server tells how a task stands, to those who listen and whose it is.
    pub(crate) fn told(
        &mut self,
        cx: &mut Context,
        (clients, ups, leases): (&mut Clients, &Upstreams, &mut Leases),
        up: UpId,
        envelope: &Envelope<'_>,
    ) -> bool {
        let Some(params) = envelope.params else {
            return false;
        };
        let Some(id) = json::pick(params, ["taskId"])
            .and_then(|[raw]| raw)
            .and_then(json::string)
        else {
            return false;
        };
        let listened = clients
            .listens()
            .flat_map(|(_, listen)| listen.tasks.keys());
        let names: BTreeSet<_> = listened
            .filter(|name| name.up == up && *name.id == *id)
            .cloned()
            .collect();
        names.into_iter().fold(false, |told, name| {
            self.see(leases, &name, params, cx.now);
            self.tell(cx, (&mut *clients, ups), &name, params) || told
        })
    }

    /// Tells those who listen how a task stands, and may.
    pub(crate) fn tell(
        &self,
        cx: &mut Context,
        (clients, ups): (&mut Clients, &Upstreams),
        name: &TaskName,
        params: &str,
    ) -> bool {
        let [raw, meta] = json::pick(params, ["taskId", "_meta"]).unwrap_or_default();
        let tool = self.get(name, cx.now).map(Owned::tool);
        let mut events = Vec::new();
        for (key, listen) in clients.listens() {
            if let (Some(exposed), Some(tool)) = (listen.tasks.get(name), tool)
                && ups.may_have_task(listen.access.as_deref(), name.up, tool)
            {
                events.push((*key, exposed.clone(), listen.id.clone(), listen.view));
            }
        }
        events.sort_unstable_by_key(|(key, ..)| *key);
        let told = !events.is_empty();
        for (key, exposed, listen, view) in events {
            let meta = splice::rebuild(
                meta.unwrap_or("{}"),
                |member| member != key::SUBSCRIPTION,
                &[(key::SUBSCRIPTION, &listen)],
            );
            let mut edited = Splice::new(params);
            if let (View::All, Some(raw)) = (view, raw) {
                edited.replace(raw, json::quote(&exposed));
                for uri in crate::translation::message::uris(Method::TaskGet, params) {
                    if let Some(text) = json::string(uri) {
                        edited.replace(
                            uri,
                            json::quote(&name::exposed_uri(&ups.get(name.up).key, &text)),
                        );
                    }
                }
            }
            let params = splice::rebuild(
                &edited.finish_text(),
                |member| member != "_meta",
                &[("_meta", &meta)],
            );
            let data = format!(
                "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/tasks\",\"params\":{params}}}"
            );
            clients.stream_event(cx, key, json::one_line(data.into()), true);
        }
        told
    }

    /// Progress of a task whose call has been answered (2025-11-25, Tasks, "Task Progress
    /// Notifications"): for the stream of the session.
    pub(crate) fn progress(
        &self,
        cx: &mut Context,
        (clients, ups): (&mut Clients, &Upstreams),
        (up, number): (UpId, u64),
        token: &str,
        text: &str,
    ) -> bool {
        let Some((name, task, theirs)) = self.with_progress(up, number) else {
            return false;
        };
        let Some(session) = clients.session_of_task(name, task.session()) else {
            return false;
        };
        let mut splice = Splice::new(text);
        splice.replace(token, theirs.to_owned());
        let exposes = clients
            .session(&session)
            .is_some_and(|session| session.view == View::All);
        if exposes && let Some((raw, exposed)) = task::exposed_in(&ups.get(up).key, text) {
            splice.replace(raw, exposed);
        }
        clients.session_event(cx, &session, splice.finish());
        true
    }

    /// Whether what a server says by itself may be about a call. Of requests about tasks, only one
    /// that waits for the result of a task at work is: what is over says nothing, and its child may
    /// be somebody else's by now.
    pub(crate) fn may_concern(&self, client: &ClientCall, now: Micros) -> bool {
        match client.method {
            Method::TaskResult => client
                .known
                .as_ref()
                .and_then(|name| self.get(name, now))
                .is_some_and(|task| !task.is_over()),
            method => !method.is_about_tasks(),
        }
    }
}
