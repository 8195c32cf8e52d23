//! Tasks that clients know of: those of 2025-11-25 between legacy clients and servers, and the
//! extension of 2026-07-28 (SEP-2663) between modern ones. They pass as they are; in the view of all
//! servers a task is `<server>~<id>`. Whose a task is stands in [`crate::tasks::registry`]; how the
//! tasks of legacy servers become those of modern clients, in [`crate::task_bridge::legacy_to_modern`].

use crate::access::policy::Access;
use crate::api::{Micros, UpId};
use crate::client::Clients;
use crate::client::request::{ClientEra, RequestContext};
use crate::client::task_name::TaskName;
use crate::protocol::era::{Era, EraPair};
use crate::protocol::method::{Legacy, Method};
use crate::protocol::refusal::{Refusal, rpc};
use crate::protocol::task::{EXTENSION, declares};
use crate::protocol::{json, name};
use crate::tasks::registry::Tasks;
use crate::upstream::list::ListKind;
use crate::upstream::view::View;
use crate::upstream::{UpEra, Upstream, Upstreams};
use ggen_wire::Code;
use std::collections::BTreeMap;

/// Tasks in one subscription, at most.
const MAX_LISTENED: usize = 1000;

impl Upstream {
    /// Whether it has tasks for clients of its own era.
    pub(crate) fn has_tasks(&self, modern: bool) -> bool {
        match self.era {
            Some(UpEra::Modern) => modern && declares(&self.info.capabilities),
            Some(UpEra::Legacy(version)) => {
                !modern && version >= Legacy::L2025_11_25 && self.info.has("tasks")
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
            && json::pick(&self.info.capabilities, ["tasks"])
                .and_then(|[tasks]| json::pick(tasks?, [member])?[0])
                .is_some()
    }
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

pub(crate) fn not_found() -> Refusal {
    Refusal::new(200, rpc::INVALID_PARAMS, Code::TaskNotFound, "")
}

/// The task in the result of a call that has begun one.
pub(crate) fn begun(method: Method, eras: EraPair, result: &str) -> Option<&str> {
    if method != Method::ToolsCall || !result.contains("\"taskId\"") {
        return None;
    }
    let [kind, task] = json::pick(result, ["resultType", "task"]).unwrap_or_default();
    match eras {
        EraPair {
            client: Era::Modern,
            ..
        } => (kind == Some("\"task\"")).then_some(result),
        EraPair::LEGACY => task,
        _ => None,
    }
}

impl Upstreams {
    /// Whether a client of a view can have tasks there.
    pub(crate) fn offers_tasks(&self, view: View, access: Option<&Access>, modern: bool) -> bool {
        self.of_view(view, access).any(|up| up.gives_tasks(modern))
    }

    /// What the view of all servers, or of one of the other era, says of tasks: a capability, for
    /// modern clients a member of `extensions`.
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
            return Some(format!("\"{EXTENSION}\":{{}}"));
        }
        let any = |member| self.of_view(view, access).any(|up| up.has_in_tasks(member));
        let parts = ["list", "cancel"]
            .into_iter()
            .filter(|member| any(member))
            .map(|member| format!("\"{member}\":{{}},"));
        Some(format!(
            "\"tasks\":{{{}\"requests\":{{\"tools\":{{\"call\":{{}}}}}}}}",
            parts.collect::<String>()
        ))
    }

    /// Whether somebody may still use the tool that made a task.
    pub(crate) fn may_have_task(
        &self,
        access: Option<&Access>,
        up: UpId,
        tool: Option<&str>,
    ) -> bool {
        self.may_see(access, self.get(up))
            && tool.is_none_or(|tool| self.may(access, ListKind::Tools, up, tool))
    }
}

impl Tasks {
    /// The tasks that a modern client wants to hear of, and may: with their exposed ids.
    pub(crate) fn listened(
        &self,
        (clients, ups): (&Clients, &Upstreams),
        now: Micros,
        ctx: &RequestContext<'_>,
        ids: Option<&str>,
    ) -> Result<BTreeMap<TaskName, String>, Refusal> {
        let (Some(ids), ClientEra::Modern(claim)) = (ids, &ctx.era) else {
            return Ok(BTreeMap::new());
        };
        let access = ctx.access.as_deref();
        if ups.offers_tasks(ctx.view, access, true) && !claim.capabilities.is_some_and(declares) {
            return Err(undeclared());
        }
        let ids = json::elements(ids)
            .unwrap_or_default()
            .into_iter()
            .take(MAX_LISTENED)
            .filter_map(json::string);
        let own = ids.filter_map(|id| {
            let name = task_named(clients, ups, ctx, &id)?;
            let task = self.get(&name, now)?;
            ups.may_have_task(access, name.up, task.tool())
                .then(|| (name, id.into_owned()))
        });
        Ok(own.collect())
    }
}

/// The client's task of an exposed id, if the id can be one of its view, and its server speaks
/// the client's era.
pub(crate) fn task_named(
    clients: &Clients,
    ups: &Upstreams,
    ctx: &RequestContext<'_>,
    exposed: &str,
) -> Option<TaskName> {
    let (up, id) = match ctx.view {
        View::One(up) => (ups.get(up), exposed),
        View::All => {
            let (key, id) = name::original_task(exposed)?;
            (ups.configured().find(|up| up.key == key)?, id)
        }
        View::Core => return None,
    };
    let owner = clients.task_owner(ctx.session().as_ref(), &ctx.request.principal.id);
    up.gives_tasks(ctx.is_modern()).then(|| TaskName {
        up: up.id,
        id: id.into(),
        owner,
    })
}
