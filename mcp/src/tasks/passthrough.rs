//! Tasks that clients know of: those of 2025-11-25 between legacy clients and servers, and the
//! extension of 2026-07-28 (SEP-2663) between modern ones. They pass as they are; in the view of
//! all servers a task is `<server>~<id>`. Whose a task is stands in [`crate::tasks::registry`]; how the tasks
//! of legacy servers become those of modern clients, in [`crate::tasks::legacy_to_modern`].

use crate::access::policy::Access;
use crate::api::UpId;
use crate::call::Target;
use crate::call::record::{Call, ClientCall};
use crate::client::request::{ClientEra, Ctx, Flow};
use crate::gateway::Gateway;
use crate::protocol::inbound::key;
use crate::protocol::json::Envelope;
use crate::protocol::method::{Legacy, Method};
use crate::protocol::refusal::{Refusal, rpc};
use crate::protocol::splice::Splice;
use crate::protocol::{json, name, splice};
use crate::tasks::registry::Name;
use crate::upstream::list::ListKind;
use crate::upstream::view::View;
use crate::upstream::{UpEra, Upstream};
use bytes::Bytes;
use ggen_wire::Code;
use std::collections::{BTreeMap, BTreeSet};

/// The extension of 2026-07-28.
pub(crate) const EXTENSION: &str = "io.modelcontextprotocol/tasks";
/// Tasks in one subscription, at most.
const MAX_LISTENED: usize = 1000;
/// The member of `_meta` that says which task a message of 2025-11-25 belongs to.
pub(crate) const RELATED: &str = "io.modelcontextprotocol/related-task";

impl Upstream {
    /// Whether it has tasks for clients of its own era.
    pub(crate) fn has_tasks(&self, modern: bool) -> bool {
        match self.era {
            Some(UpEra::Modern) => modern && declares(&self.hello.capabilities),
            Some(UpEra::Legacy(version)) => {
                !modern && version >= Legacy::L2025_11_25 && self.hello.has("tasks")
            }
            None => false,
        }
    }

    /// Whether it has tasks for clients of that era, be it by way of the relay.
    fn gives_tasks(&self, modern: bool) -> bool {
        self.has_tasks(modern) || modern && self.has_call_tasks()
    }

    pub(crate) fn has_in_tasks(&self, member: &str) -> bool {
        self.has_tasks(false)
            && json::pick(&self.hello.capabilities, ["tasks"])
                .and_then(|[tasks]| json::pick(tasks?, [member])?[0])
                .is_some()
    }
}

/// Whether capabilities have the extension in them.
pub(crate) fn declares(capabilities: &str) -> bool {
    let extensions = json::pick(capabilities, ["extensions"]).and_then(|[extensions]| extensions);
    extensions
        .and_then(|raw| json::pick(raw, [EXTENSION]))
        .is_some_and(|[found]| found.is_some_and(|raw| raw.starts_with('{')))
}

/// The refusal for a client that does not declare the extension.
pub(crate) fn undeclared() -> Refusal {
    let required = format!("{{\"extensions\":{{\"{EXTENSION}\":{{}}}}}}");
    Refusal::new(
        400,
        rpc::MISSING_CAPABILITY,
        Code::InputUnsupported,
        "the tasks extension",
    )
    .with("requiredCapabilities", &required)
}

fn not_found() -> Refusal {
    Refusal::new(200, rpc::INVALID_PARAMS, Code::TaskNotFound, "")
}

/// The task in the result of a call that has begun one.
fn begun(method: Method, modern: (bool, bool), result: &str) -> Option<&str> {
    if method != Method::ToolsCall || !result.contains("\"taskId\"") {
        return None;
    }
    let [kind, task] = json::pick(result, ["resultType", "task"]).unwrap_or_default();
    match modern {
        (true, _) => (kind == Some("\"task\"")).then_some(result),
        (false, false) => task,
        _ => None,
    }
}

/// The ids of tasks in a result, as they stand.
pub(crate) fn ids(method: Method, result: &str) -> Vec<&str> {
    let [id, task] = match method {
        Method::ToolsCall | Method::TaskGet | Method::TaskCancel => {
            json::pick(result, ["taskId", "task"]).unwrap_or_default()
        }
        _ => [None, None],
    };
    let nested = task
        .filter(|_| method == Method::ToolsCall)
        .and_then(|task| json::pick(task, ["taskId"])?[0]);
    [id, nested, related(result)]
        .into_iter()
        .flatten()
        .filter(|raw| raw.starts_with('"'))
        .collect()
}

/// The id of the task that a message belongs to; `object` is its `params` or `result`.
pub(crate) fn related(object: &str) -> Option<&str> {
    let meta = json::pick(object, ["_meta"])
        .and_then(|[meta]| meta)
        .filter(|meta| meta.contains(RELATED))?;
    json::pick(meta, [RELATED]).and_then(|[task]| json::pick(task?, ["taskId"])?[0])
}

impl Gateway {
    /// Whether a client of a view can have tasks there.
    pub(crate) fn offers_tasks(&self, view: View, access: Option<&Access>, modern: bool) -> bool {
        self.ups
            .of_view(view, access)
            .any(|up| up.gives_tasks(modern))
    }

    /// What the view of all servers, or of one of the other era, says of tasks, as a capability.
    pub(crate) fn task_capability(
        &self,
        view: View,
        access: Option<&Access>,
        modern: bool,
    ) -> Option<String> {
        if !modern && view != View::All || !self.offers_tasks(view, access, modern) {
            return None;
        }
        if modern {
            return Some(format!("\"extensions\":{{\"{EXTENSION}\":{{}}}}"));
        }
        let any = |member| {
            self.ups
                .of_view(view, access)
                .any(|up| up.has_in_tasks(member))
        };
        let parts = ["list", "cancel"]
            .into_iter()
            .filter(|member| any(member))
            .map(|member| format!("\"{member}\":{{}},"));
        Some(format!(
            "\"tasks\":{{{}\"requests\":{{\"tools\":{{\"call\":{{}}}}}}}}",
            parts.collect::<String>()
        ))
    }

    /// `tasks/…`
    pub(crate) fn relay_task(&mut self, ctx: &Ctx<'_>) -> Result<Flow, Refusal> {
        let known = match &ctx.era {
            ClientEra::Modern(_) => true,
            ClientEra::Legacy(_, version) => *version >= Legacy::L2025_11_25,
        };
        let access = ctx.access.as_deref();
        if !known || !self.offers_tasks(ctx.view, access, ctx.is_modern()) {
            if known
                && self.may_wait(ctx, self.cx.limits.call_wait)
                && self.ups.is_unsettled(ctx.view)
            {
                return Ok(Flow::Wait);
            }
            return Err(self.unknown_method(ctx));
        }
        if let ClientEra::Modern(claim) = &ctx.era
            && !claim.capabilities.is_some_and(declares)
        {
            return Err(undeclared());
        }
        if ctx.method == Method::TaskList {
            return self.list_tasks(ctx);
        }
        let invalid = |what| Refusal::new(200, rpc::INVALID_PARAMS, Code::InvalidRequest, what);
        let raw = ctx
            .params
            .and_then(|params| json::pick(params, ["taskId"]))
            .and_then(|[raw]| raw);
        let raw = raw.ok_or_else(|| invalid("params.taskId is missing or came twice"))?;
        let exposed = json::string(raw).ok_or_else(|| invalid("params.taskId is not a string"))?;
        let name = self.task_named(ctx, &exposed).ok_or_else(not_found)?;
        let Some(task) = self
            .owned(&name)
            .filter(|task| self.may_have(access, name.up, task.tool.as_deref()))
        else {
            return Err(not_found());
        };
        let left = task.until.saturating_sub(self.cx.now);
        let Some(at) = self.place_of_task(name.up, task) else {
            self.forget_task(&name);
            return Err(not_found());
        };
        self.asked_about(&name);
        if self.is_bridged(&name)
            && let Some(done) = self.bridged_here(ctx, &name)
        {
            return done;
        }
        let rename = (*name.id != *exposed).then(|| (raw, json::quote(&name.id)));
        let mut target = Target::plain(name.up, name.id.to_string().into());
        // Whoever asks for the result waits for the end of the task.
        target.patience = if ctx.method == Method::TaskResult {
            left
        } else {
            0
        };
        (target.rename, target.place, target.task) = (rename, Some(at), Some(name));
        self.relay(ctx, target, None)
    }

    /// The client's task of an exposed id, if the id can be one of its view, and its server speaks
    /// the client's era.
    pub(crate) fn task_named(&self, ctx: &Ctx<'_>, exposed: &str) -> Option<Name> {
        let (up, id) = match ctx.view {
            View::One(up) => (self.up_ref(up), exposed),
            View::All => {
                let (key, id) = name::original_task(exposed)?;
                (self.ups.configured().find(|up| up.key == key)?, id)
            }
            View::Core => return None,
        };
        let owner = self.owner(ctx.session().as_ref(), &ctx.request.principal.id);
        up.gives_tasks(ctx.is_modern()).then(|| Name {
            up: up.id,
            id: id.into(),
            owner,
        })
    }

    /// Whether somebody may still use the tool that made a task.
    pub(crate) fn may_have(&self, access: Option<&Access>, up: UpId, tool: Option<&str>) -> bool {
        self.ups.may_see(access, self.up_ref(up))
            && tool.is_none_or(|tool| self.ups.may(access, ListKind::Tools, up, tool))
    }

    /// The connections behind which a client has tasks that can be listed, in order.
    fn places_of(
        &self,
        owner: &str,
        view: View,
        access: Option<&Access>,
    ) -> BTreeSet<(UpId, usize)> {
        let theirs = self
            .tasks
            .iter()
            .filter(|(name, task)| *name.owner == *owner && task.until > self.cx.now);
        let seen = theirs.filter(|(name, task)| {
            let up = self.up_ref(name.up);
            (view == View::All || view == View::One(name.up))
                && up.has_in_tasks("list")
                && self.may_have(access, name.up, task.tool.as_deref())
        });
        seen.filter_map(|(name, task)| Some((name.up, self.place_of_task(name.up, task)?)))
            .collect()
    }

    /// `tasks/list` of 2025-11-25: one connection after the other, a page of each at a time.
    fn list_tasks(&mut self, ctx: &Ctx<'_>) -> Result<Flow, Refusal> {
        let access = ctx.access.as_deref();
        if !self
            .ups
            .of_view(ctx.view, access)
            .any(|up| up.has_in_tasks("list"))
        {
            return Err(self.unknown_method(ctx));
        }
        let bad = || {
            Refusal::new(
                200,
                rpc::INVALID_PARAMS,
                Code::CursorInvalid,
                "begin the list again",
            )
        };
        let cursor = ctx
            .params
            .and_then(|params| json::pick(params, ["cursor"]))
            .and_then(|[raw]| raw)
            .filter(|raw| *raw != "null");
        let cursor = cursor
            .map(|raw| json::string(raw).ok_or_else(bad))
            .transpose()?;
        let owner = self.owner(ctx.session().as_ref(), &ctx.request.principal.id);
        let places = self.places_of(&owner, ctx.view, access);
        let (place, theirs) = match &cursor {
            None => (places.first().copied(), None),
            Some(text) => {
                let (place, rest) = read_place(text).ok_or_else(bad)?;
                (
                    places.get(&place).copied(),
                    Some(rest).filter(|rest| !rest.is_empty()),
                )
            }
        };
        let Some((up, at)) = place else {
            self.result(ctx, "{\"tasks\":[]}");
            return Ok(Flow::Done);
        };
        let theirs = theirs.map(json::quote);
        let cursor: &[(&str, &str)] = match &theirs {
            Some(theirs) => &[("cursor", theirs)],
            None => &[],
        };
        let mut target = Target::plain(up, "".into());
        target.place = Some(at);
        target.rename = ctx.params.map(|params| {
            (
                params,
                splice::rebuild(params, |member| member != "cursor", cursor),
            )
        });
        self.relay(ctx, target, None)
    }

    /// The page of a list as its client gets it: its own tasks only.
    pub(crate) fn tasks_listed(&self, call: &Call, client: &ClientCall, result: &str) -> String {
        let owner = self.owner(client.session.as_ref(), &client.principal);
        let [tasks, next] = json::pick(result, ["tasks", "nextCursor"]).unwrap_or_default();
        let view = if client.exposes {
            View::All
        } else {
            View::One(call.up)
        };
        let access = client
            .session
            .as_ref()
            .and_then(|id| self.clients.session(id))
            .and_then(|session| session.access.clone());
        let own = tasks
            .and_then(json::elements)
            .unwrap_or_default()
            .into_iter()
            .filter_map(|task| {
                let raw = json::pick(task, ["taskId"])?[0]?;
                let id = json::string(raw)?;
                let name = Name {
                    up: call.up,
                    id: (*id).into(),
                    owner: owner.clone(),
                };
                let owned = self
                    .owned(&name)
                    .filter(|owned| self.place_of_task(call.up, owned) == Some(call.conn))?;
                self.may_have(access.as_deref(), call.up, owned.tool.as_deref())
                    .then_some(())?;
                let mut splice = Splice::new(task);
                if client.exposes {
                    splice.replace(
                        raw,
                        json::quote(&name::exposed_task(&self.up_ref(call.up).key, &id)),
                    );
                }
                Some(splice.finish_text())
            });
        let own = format!("[{}]", own.collect::<Vec<_>>().join(","));
        let place = (call.up, call.conn);
        let next = match next.and_then(json::string) {
            Some(theirs) => Some(write_place(place, &theirs)),
            None => self
                .places_of(&owner, view, access.as_deref())
                .range(place..)
                .find(|next| **next != place)
                .map(|next| write_place(*next, "")),
        };
        let next = next.map(|next| json::quote(&next));
        let mut added = vec![("tasks", own.as_str())];
        added.extend(next.as_deref().map(|next| ("nextCursor", next)));
        splice::rebuild(
            result,
            |member| !matches!(member, "tasks" | "nextCursor"),
            &added,
        )
    }

    /// What an answer says of tasks is noted. False: the task is not this client's any more, so
    /// that the answer is not either.
    pub(crate) fn note_tasks(
        &mut self,
        number: Option<u64>,
        call: &Call,
        client: &ClientCall,
        result: &str,
        modern: (bool, bool),
    ) -> bool {
        if let Some(name) = &client.known {
            if self.owned(name).is_none() {
                return false;
            }
            match client.method {
                // Nobody waits for what was cancelled; a modern server does not say how it stands.
                Method::TaskResult => self.task_over(name),
                Method::TaskCancel if modern.1 => self.task_over(name),
                _ => self.see_task(name, result),
            }
            return true;
        }
        if let Some(task) = begun(client.method, modern, result)
            && let Some(id) = json::pick(task, ["taskId"]).and_then(|[id]| json::string(id?))
        {
            self.own_task(call, number, client, &id, task);
        }
        true
    }

    /// The id of the task that a server's message belongs to, and the one that a client of the view
    /// of all servers knows it by.
    pub(crate) fn exposed_task_in<'a>(
        &self,
        up: UpId,
        exposes: bool,
        text: &'a str,
    ) -> Option<(&'a str, String)> {
        let params = Some(text)
            .filter(|text| exposes && text.contains(RELATED))
            .and_then(|text| json::pick(text, ["params"])?[0])?;
        let raw = related(params)?;
        Some((
            raw,
            json::quote(&name::exposed_task(
                &self.up_ref(up).key,
                &json::string(raw)?,
            )),
        ))
    }

    /// The same in the result of such a client, for the server that asked.
    pub(crate) fn original_task_in<'a>(
        &self,
        up: UpId,
        result: &'a str,
    ) -> Option<(&'a str, String)> {
        let raw = Some(result)
            .filter(|result| result.contains(RELATED))
            .and_then(related)?;
        let exposed = json::string(raw)?;
        let (_, id) =
            name::original_task(&exposed).filter(|(key, _)| *key == self.up_ref(up).key)?;
        Some((raw, json::quote(id)))
    }

    /// A message of a server as the client of a call is to have it. `None`: as it is.
    pub(crate) fn with_exposed_task(
        &self,
        up: UpId,
        client: &ClientCall,
        text: &str,
    ) -> Option<Bytes> {
        let (raw, exposed) = self.exposed_task_in(up, client.exposes, text)?;
        let mut splice = Splice::new(text);
        splice.replace(raw, exposed);
        Some(splice.finish())
    }

    /// The tasks that a modern client wants to hear of, and may: with their exposed ids.
    pub(crate) fn listened_tasks(
        &self,
        ctx: &Ctx<'_>,
        ids: Option<&str>,
    ) -> Result<BTreeMap<Name, String>, Refusal> {
        let (Some(ids), ClientEra::Modern(claim)) = (ids, &ctx.era) else {
            return Ok(BTreeMap::new());
        };
        let access = ctx.access.as_deref();
        if self.offers_tasks(ctx.view, access, true) && !claim.capabilities.is_some_and(declares) {
            return Err(undeclared());
        }
        let ids = json::elements(ids)
            .unwrap_or_default()
            .into_iter()
            .take(MAX_LISTENED)
            .filter_map(json::string);
        let own = ids.filter_map(|id| {
            let name = self.task_named(ctx, &id)?;
            let task = self.owned(&name)?;
            self.may_have(access, name.up, task.tool.as_deref())
                .then(|| (name, id.into_owned()))
        });
        Ok(own.collect())
    }

    /// A modern server tells how a task stands, to those who listen and whose it is.
    pub(crate) fn task_told(&mut self, up: UpId, envelope: &Envelope<'_>) -> bool {
        let Some(params) = envelope.params else {
            return false;
        };
        let Some(id) = json::pick(params, ["taskId"])
            .and_then(|[raw]| raw)
            .and_then(json::string)
        else {
            return false;
        };
        let listened = self
            .clients
            .listens()
            .flat_map(|(_, listen)| listen.tasks.keys());
        let names: BTreeSet<_> = listened
            .filter(|name| name.up == up && *name.id == *id)
            .cloned()
            .collect();
        names.into_iter().fold(false, |told, name| {
            self.see_task(&name, params);
            self.tell_task(&name, params) || told
        })
    }

    /// Tells those who listen how a task stands, and may.
    pub(crate) fn tell_task(&mut self, name: &Name, params: &str) -> bool {
        let [raw, meta] = json::pick(params, ["taskId", "_meta"]).unwrap_or_default();
        let tool = self.owned(name).map(|task| task.tool.clone());
        let mut events = Vec::new();
        for (key, listen) in self.clients.listens() {
            if let (Some(exposed), Some(tool)) = (listen.tasks.get(name), &tool)
                && self.may_have(listen.access.as_deref(), name.up, tool.as_deref())
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
                for uri in crate::call::translate::uris(Method::TaskGet, params) {
                    if let Some(text) = json::string(uri) {
                        edited.replace(
                            uri,
                            json::quote(&name::exposed_uri(&self.up_ref(name.up).key, &text)),
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
            self.clients
                .stream_event(&mut self.cx, key, json::one_line(data.into()), true);
        }
        told
    }

    /// A legacy server tells how a task stands.
    pub(crate) fn task_status(
        &mut self,
        up: UpId,
        conn: usize,
        params: Option<&str>,
        text: &str,
    ) -> bool {
        let raw = params
            .and_then(|params| json::pick(params, ["taskId"]))
            .and_then(|[raw]| raw);
        let (Some(params), Some(raw)) = (params, raw) else {
            return false;
        };
        let Some(id) = json::string(raw) else {
            return false;
        };
        let Some(name) = self.task_at(up, conn, &id) else {
            return false;
        };
        if self.is_bridged(&name) {
            return self.bridged_told(&name, conn, params);
        }
        self.see_task(&name, params);
        let Some(session) = self
            .owned(&name)
            .and_then(|task| self.session_of_task(&name, task))
        else {
            return false;
        };
        let mut splice = Splice::new(text);
        if self
            .clients
            .session(&session)
            .is_some_and(|session| session.view == View::All)
        {
            splice.replace(
                raw,
                json::quote(&name::exposed_task(&self.up_ref(up).key, &id)),
            );
        }
        self.clients
            .session_event(&mut self.cx, &session, splice.finish());
        true
    }

    /// Progress of a task whose call has been answered (2025-11-25, Tasks, "Task Progress
    /// Notifications"): for the stream of the session.
    pub(crate) fn task_progress(&mut self, up: UpId, number: u64, token: &str, text: &str) -> bool {
        let Some((name, task, theirs)) = self.task_with_progress(up, number) else {
            return false;
        };
        let Some(session) = self.session_of_task(name, task) else {
            return false;
        };
        let mut splice = Splice::new(text);
        splice.replace(token, theirs.to_owned());
        let exposes = self
            .clients
            .session(&session)
            .is_some_and(|session| session.view == View::All);
        if let Some((raw, exposed)) = self.exposed_task_in(up, exposes, text) {
            splice.replace(raw, exposed);
        }
        self.clients
            .session_event(&mut self.cx, &session, splice.finish());
        true
    }
}

/// A cursor of ours: the connection whose page comes next, and the server's own cursor there, if
/// any.
fn write_place((up, at): (UpId, usize), theirs: &str) -> String {
    format!("{}.{at}~{theirs}", up.0)
}

fn read_place(cursor: &str) -> Option<((UpId, usize), &str)> {
    let (place, theirs) = cursor.split_once('~')?;
    let (up, at) = place.split_once('.')?;
    Some(((UpId(up.parse().ok()?), at.parse().ok()?), theirs))
}
