//! Whose the name in a request is.

use crate::access;
use crate::api::{Micros, UpId};
use crate::call::Calling;
use crate::client::request::RequestContext;
use crate::client::task_name::TaskName;
use crate::observation::Hidden;
use crate::protocol::header::Param;
use crate::protocol::method::Method;
use crate::protocol::refusal::{Refusal, rpc};
use crate::protocol::{json, name};
use crate::upstream::list::ListKind;
use crate::upstream::view::{Owner, View};
use ggen_wire::Code;
use std::borrow::Cow;
use std::sync::Arc;

/// Where a named request goes.
pub(crate) struct Target<'a> {
    pub(crate) up: UpId,
    /// The slice with the exposed name, and the original one as JSON, if they differ.
    pub(crate) rename: Option<(&'a str, String)>,
    /// The original name or URI.
    pub(crate) original: Cow<'a, str>,
    pub(crate) tool: Option<Arc<str>>,
    pub(crate) uri: Option<Box<str>>,
    pub(crate) params: Arc<[Param]>,
    /// Its name is that of a tool or prompt that the server lists.
    pub(crate) listed: bool,
    /// The task that it is about, the connection behind which that is, and for how long the answer
    /// is waited for if not as usual.
    pub(crate) task: Option<TaskName>,
    pub(crate) place: Option<usize>,
    pub(crate) patience: Micros,
}

impl<'a> Target<'a> {
    /// No tool and no resource.
    pub(crate) fn plain(up: UpId, original: Cow<'a, str>) -> Self {
        let params = Arc::new([]);
        Self {
            up,
            rename: None,
            original,
            tool: None,
            uri: None,
            params,
            listed: false,
            task: None,
            place: None,
            patience: 0,
        }
    }
}

pub(crate) enum Route<'a> {
    Core(usize),
    Up(Target<'a>),
}

impl Calling<'_> {
    /// Whose the name in the request is. `None`: an upstream that may have it is still starting.
    pub(crate) fn route<'a>(
        &mut self,
        ctx: &RequestContext<'a>,
    ) -> Result<Option<Route<'a>>, Refusal> {
        let named = Named::read(ctx)?;
        let (access, kind) = (ctx.access.as_deref(), named.kind);
        let session = ctx.session_name();
        if let Some(entry) = self
            .ups
            .entry(access, session, ctx.view, kind, &named.exposed)
        {
            // Limits are about a tool, by whatever view it is called.
            let tool = (kind == ListKind::Tools).then(|| entry.public.clone());
            let target =
                (tool.is_some() || ctx.method == Method::PromptsGet).then(|| entry.exposed.clone());
            if let Some(tracing) = &ctx.attempt.tracing {
                tracing.set_target(target.as_ref());
            }
            return Ok(Some(match entry.owner {
                Owner::Core(tool) => Route::Core(tool),
                Owner::Up(up) => {
                    let original = Cow::Owned(entry.original.to_string());
                    Route::Up(Target {
                        listed: target.is_some(),
                        ..named.target(up, original, tool, entry.params.clone())
                    })
                }
            }));
        }
        if let Some(target) = self.unlisted(ctx, &named) {
            return Ok(Some(Route::Up(target)));
        }
        if self.ups.is_unsettled(ctx.view) && ctx.may_wait(self.cx.now, self.cx.limits.call_wait) {
            return Ok(None);
        }
        if access.is_some() {
            let what = match kind {
                ListKind::Tools => Hidden::Tool,
                ListKind::Prompts => Hidden::Prompt,
                ListKind::Resources | ListKind::Templates => Hidden::Resource,
            };
            access::denied(self.cx, what);
        }
        Err(not_found(kind, &named.exposed, ctx.is_modern()))
    }

    /// Whose a name is that is in no list of the view.
    fn unlisted<'a>(&self, ctx: &RequestContext<'a>, named: &Named<'a>) -> Option<Target<'a>> {
        let (access, kind) = (ctx.access.as_deref(), named.kind);
        match ctx.view {
            // A tool whose header declarations are wrong is none (2026-07-28, Streamable HTTP,
            // "Custom Headers").
            View::One(up)
                if kind == ListKind::Tools
                    && self
                        .ups
                        .get(up)
                        .list(kind)
                        .refused
                        .iter()
                        .any(|tool| **tool == *named.exposed) =>
            {
                None
            }
            // Rules judge the names that a server lists. It may read another spelling as a name that
            // is denied, so only who may use everything of it reaches what it does not list.
            View::One(up) if !named.is_uri() && !self.ups.may_all(access, up) => None,
            // The one server decides; it may know names that it does not list.
            View::One(up) if self.ups.may(access, kind, up, &named.exposed) => {
                let tool = (kind == ListKind::Tools).then(|| self.unlisted_tool(up, named));
                let original = Cow::Owned(named.exposed.clone().into_owned());
                Some(named.target(up, original, tool, Arc::new([])))
            }
            View::All if named.is_uri() => {
                let (key, original) = name::original_uri(&named.exposed)?;
                let up = self.ups.configured().find(|up| up.key == key)?;
                self.ups
                    .may(access, kind, up.id, &original)
                    .then(|| named.target(up.id, Cow::Owned(original), None, Arc::new([])))
            }
            _ => None,
        }
    }

    /// By which name limits know a tool that its server does not list.
    fn unlisted_tool(&self, up: UpId, named: &Named<'_>) -> Arc<str> {
        let public = name::exposed(&self.ups.get(up).key, &named.exposed);
        if self.access.has_tool_rule(&public) {
            public.into()
        } else {
            Arc::from("unlisted")
        }
    }
}

/// The name in a request.
struct Named<'a> {
    kind: ListKind,
    /// As it stands.
    raw: &'a str,
    /// As text.
    exposed: Cow<'a, str>,
}

impl<'a> Named<'a> {
    fn read(ctx: &RequestContext<'a>) -> Result<Self, Refusal> {
        let invalid =
            |what: &str| Refusal::new(200, rpc::INVALID_PARAMS, Code::InvalidRequest, what);
        let params = ctx.params.ok_or_else(|| invalid("params are missing"))?;
        let member = |name| json::pick(params, [name]).and_then(|[raw]| raw);
        let (kind, raw) = match ctx.method {
            Method::ToolsCall => (ListKind::Tools, member("name")),
            Method::PromptsGet => (ListKind::Prompts, member("name")),
            Method::Complete => {
                let [of, name, uri] = member("ref")
                    .and_then(|raw| json::pick(raw, ["type", "name", "uri"]))
                    .unwrap_or_default();
                // What is judged has to be what the server looks at, so there is one name only.
                match (of.and_then(json::string).as_deref(), name, uri) {
                    (Some("ref/prompt"), name, None) => (ListKind::Prompts, name),
                    (Some("ref/resource"), None, uri) => (ListKind::Templates, uri),
                    _ => {
                        return Err(invalid(
                            "params.ref names neither one prompt nor one resource",
                        ));
                    }
                }
            }
            _ => (ListKind::Resources, member("uri")),
        };
        let raw =
            raw.ok_or_else(|| invalid(&format!("params.{} is missing or came twice", kind.key())))?;
        let exposed = json::string(raw)
            .ok_or_else(|| invalid(&format!("params.{} is not a string", kind.key())))?;
        Ok(Self { kind, raw, exposed })
    }

    fn is_uri(&self) -> bool {
        matches!(self.kind, ListKind::Resources | ListKind::Templates)
    }

    fn target(
        &self,
        up: UpId,
        original: Cow<'a, str>,
        tool: Option<Arc<str>>,
        params: Arc<[Param]>,
    ) -> Target<'a> {
        let rename = (original != self.exposed).then(|| (self.raw, json::quote(&original)));
        Target {
            rename,
            tool,
            uri: self.is_uri().then(|| self.exposed.as_ref().into()),
            params,
            ..Target::plain(up, original)
        }
    }
}

/// The error for a name that nobody has.
fn not_found(kind: ListKind, exposed: &str, modern: bool) -> Refusal {
    match kind {
        ListKind::Tools => Refusal::new(200, rpc::INVALID_PARAMS, Code::ToolNotFound, exposed)
            .with("help", "\"ggen mcp list --refresh\""),
        ListKind::Prompts => Refusal::new(200, rpc::INVALID_PARAMS, Code::PromptNotFound, exposed),
        ListKind::Resources | ListKind::Templates => {
            let code = if modern {
                rpc::INVALID_PARAMS
            } else {
                rpc::RESOURCE_NOT_FOUND
            };
            Refusal::new(200, code, Code::ResourceNotFound, exposed)
                .with("uri", &json::quote(exposed))
        }
    }
}
