//! Requests about tasks (`tasks/…`), and what servers say of tasks.

use crate::api::UpId;
use crate::call::Target;
use crate::client::request::{ClientEra, Flow, RequestContext};
use crate::protocol::method::{Legacy, Method};
use crate::protocol::refusal::{Refusal, rpc};
use crate::protocol::splice::Splice;
use crate::protocol::task::declares;
use crate::protocol::{json, name, splice};
use crate::task_bridge::Bridging;
use crate::tasks::list::read_place;
use crate::tasks::passthrough::{not_found, task_named, undeclared};
use crate::upstream::view::View;
use ggen_wire::Code;

impl Bridging<'_> {
    /// `tasks/…`
    pub(crate) fn relay_task(&mut self, ctx: &RequestContext<'_>) -> Result<Flow, Refusal> {
        let known = match &ctx.era {
            ClientEra::Modern(_) => true,
            ClientEra::Legacy(_, version) => *version >= Legacy::L2025_11_25,
            ClientEra::Sessionless(_) => false,
        };
        let access = ctx.access.as_deref();
        if !known || !self.ups.offers_tasks(ctx.view, access, ctx.is_modern()) {
            if known
                && ctx.may_wait(self.cx.now, self.cx.limits.call_wait)
                && self.ups.is_unsettled(ctx.view)
            {
                return Ok(Flow::Wait);
            }
            return Err(ctx.unknown_method());
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
        let name = task_named(self.clients, self.ups, ctx, &exposed).ok_or_else(not_found)?;
        let Some(task) = self
            .tasks
            .get(&name, self.cx.now)
            .filter(|task| self.ups.may_have_task(access, name.up, task.tool()))
        else {
            return Err(not_found());
        };
        let left = task.left(self.cx.now);
        let Some(at) = task.place(self.ups.get(name.up)) else {
            self.calling().forget_task(&name);
            return Err(not_found());
        };
        self.tasks.asked_about(&name, self.cx.now);
        if self.ups.get(name.up).bridges(&name)
            && let Some(done) = self.answer_here(ctx, &name)
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
        self.calling().relay(ctx, target, None)
    }

    /// `tasks/list` of 2025-11-25: one connection after the other, a page of each at a time.
    pub(crate) fn list_tasks(&mut self, ctx: &RequestContext<'_>) -> Result<Flow, Refusal> {
        let access = ctx.access.as_deref();
        if !self
            .ups
            .of_view(ctx.view, access)
            .any(|up| up.has_in_tasks("list"))
        {
            return Err(ctx.unknown_method());
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
        let owner = self
            .clients
            .task_owner(ctx.session().as_ref(), &ctx.request.principal.id);
        let places = self
            .tasks
            .places_of(self.ups, self.cx.now, &owner, ctx.view, access);
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
            self.clients
                .result(self.cx, self.spans, ctx, "{\"tasks\":[]}");
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
        self.calling().relay(ctx, target, None)
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
        let Some(name) = self.tasks.at(self.ups.get(up), conn, &id, self.cx.now) else {
            return false;
        };
        if self.ups.get(name.up).bridges(&name) {
            return self.tell_listeners(&name, conn, params);
        }
        self.tasks.see(self.leases, &name, params, self.cx.now);
        let Some(session) = self
            .tasks
            .get(&name, self.cx.now)
            .and_then(|task| self.clients.session_of_task(&name, task.session()))
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
                json::quote(&name::exposed_task(&self.ups.get(up).key, &id)),
            );
        }
        self.clients
            .session_event(self.cx, &session, splice.finish());
        true
    }
}
