//! What the relay answers itself: the handshake of legacy clients, discovery, lists, ping and log
//! levels.

use crate::access::policy::Access;
use crate::api::{Micros, StreamKey};
use crate::client::request::{ClientEra, Flow, RequestContext};
use crate::client::session;
use crate::client::session::{EventBuffer, Session};
use crate::client::session_store::{HeldAnswer, NAMELESS};
use crate::client::waiting::Attempt;
use crate::context::FollowUp;
use crate::edge::{Principal, Reply, Request};
use crate::local::Serving;
use crate::observation::Limit;
use crate::persisted;
use crate::protocol::capabilities::Declared;
use crate::protocol::method::{Legacy, LogLevel, Method, SUPPORTED};
use crate::protocol::refusal::{Refusal, result_message, rpc};
use crate::protocol::{extensions, json};
use crate::translation::{message, older_revisions};
use crate::upstream::list::ListKind;
use crate::upstream::view::{Owner, View};
use crate::upstream::{UpEra, Upstream};
use bytes::Bytes;
use ggen_wire::Code;
use ggen_wire::log::Level;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// A list is not fetched again sooner than this, whatever its server says of its age.
const STALE: Micros = 5_000_000;

/// What a client says in `initialize`; members as they stand.
struct Said<'a> {
    version: Legacy,
    capabilities: Option<&'a str>,
    client: Option<&'a str>,
    params: Option<&'a str>,
}

/// The answer to an `initialize` in the form that its client takes.
fn replies(request: &Request, session: &Arc<str>, body: Bytes) -> Vec<Reply> {
    let session = Some(session.as_ref().into());
    if request.accept_json {
        return vec![Reply::Full {
            status: 200,
            session,
            retry_after: None,
            body,
        }];
    }
    vec![
        Reply::Start { session },
        Reply::Event {
            id: None,
            retry_ms: None,
            data: body,
        },
        Reply::End,
    ]
}

impl Serving<'_> {
    /// Whether an answer about a view should wait: briefly for all, longer for a single server that
    /// has not said anything yet.
    fn hold_for(&self, view: View, arrived: u64) -> Result<bool, Refusal> {
        let limit = match view {
            View::One(up) if !self.ups.is_known(up) => self.cx.limits.call_wait,
            _ => self.cx.limits.list_wait,
        };
        if self.ups.is_unknown(view) && self.cx.now < arrived + limit {
            return Ok(true);
        }
        match view {
            View::One(up) if !self.ups.is_known(up) => {
                let mut refusal = self.ups.unavailable(up);
                refusal.status = 503;
                Err(refusal)
            }
            _ => Ok(false),
        }
    }

    /// A new session, answered here: the servers' own handshakes were long ago.
    pub(crate) fn initialize(
        &mut self,
        key: StreamKey,
        request: &Request,
        view: View,
        access: Option<Arc<Access>>,
        (id, params): (&str, Option<&str>),
        attempt: &mut Attempt,
    ) -> Result<Flow, Refusal> {
        let [version, capabilities, client] = params
            .and_then(|params| {
                json::pick(params, ["protocolVersion", "capabilities", "clientInfo"])
            })
            .unwrap_or_default();
        let Some(version) = version.and_then(json::string) else {
            return Err(Refusal::new(
                200,
                rpc::INVALID_PARAMS,
                Code::InvalidRequest,
                "params.protocolVersion is missing",
            ));
        };
        if self.hold_for(view, attempt.arrived)? {
            return Ok(Flow::Wait);
        }
        self.make_room(key, &request.principal)?;
        let version = Legacy::parse(&version).unwrap_or(Legacy::LATEST);
        let name: Arc<str> = session::new_id(&mut |bytes| self.cx.random(bytes)).into();
        let said = Said {
            version,
            capabilities,
            client,
            params,
        };
        let session = self.new_session(request, view, access.clone(), &name, &said);
        self.clients.add_session(name.clone(), session);
        self.clients
            .name_client(attempt, &ClientEra::Legacy(name.clone(), version));
        let body = self.welcome(id, view, access.as_deref(), version);
        let held = HeldAnswer {
            key,
            id: id.into(),
            session: name.clone(),
            reply: replies(request, &name, body),
            arrived: attempt.arrived,
            span: attempt.take_span(),
        };
        self.clients.keep_session(
            self.cx,
            self.spans,
            |up| self.ups.name(up),
            &name,
            Some(held),
        );
        Ok(Flow::Done)
    }

    /// Sees to it that there may be one more session of a principal: over a limit, an idle one ends.
    fn make_room(&mut self, key: StreamKey, principal: &Principal) -> Result<(), Refusal> {
        let over = self.access.over_sessions(
            self.cx,
            key,
            principal,
            self.clients.session_count(),
            || self.clients.sessions_of(&principal.id),
        );
        if let Some(limit) = over {
            let whole = limit == Limit::Sessions;
            let Some(name) = self
                .clients
                .session_to_end(self.cx.now, &principal.id, whole)
            else {
                return Err(self.access.refuse_session(self.cx, limit));
            };
            self.cx.note(
                Level::Info,
                "protocol",
                None,
                None,
                format!(
                    "an idle session is ended for a new one ({}): its client begins anew",
                    limit.as_str()
                ),
            );
            self.cx.follow_up(FollowUp::EndSession(name));
        }
        Ok(())
    }

    fn new_session(
        &self,
        request: &Request,
        view: View,
        access: Option<Arc<Access>>,
        name: &str,
        said: &Said<'_>,
    ) -> Session {
        let declared = Declared::read(said.capabilities);
        let caps = declared.caps;
        Session {
            version: said.version,
            view,
            principal: request.principal.clone(),
            access,
            declared: Arc::new(declared.of_revision(said.version)),
            client: persisted::client_info(said.client.unwrap_or(NAMELESS)),
            params: if self.cx.keeps {
                persisted::params(said.params, caps)
            } else {
                Box::default()
            },
            digest: if self.cx.keeps {
                persisted::digest(name)
            } else {
                Box::default()
            },
            socket: request.verb.is_socket(),
            log_level: None,
            used: self.cx.now,
            idle: 0,
            is_unused: true,
            reported: self.cx.now,
            buffers: HashMap::from([(0, EventBuffer::default())]),
            next_buffer: 1,
            calls: HashMap::new(),
            subscriptions: BTreeSet::new(),
        }
    }

    /// The answer to an `initialize`.
    fn welcome(&self, id: &str, view: View, access: Option<&Access>, version: Legacy) -> Bytes {
        let instructions = self
            .ups
            .instructions(view, access)
            .map(|text| format!(",\"instructions\":{text}"))
            .unwrap_or_default();
        let (capabilities, server) = (
            self.capabilities(view, access, false),
            self.ups.server_info(view),
        );
        let result = format!(
            "{{\"protocolVersion\":\"{}\",\"capabilities\":{capabilities},\"serverInfo\":{server}{instructions}}}",
            version.as_str()
        );
        json::one_line(result_message(id, &result))
    }

    /// Requests that need no upstream.
    pub(crate) fn local(&mut self, ctx: &RequestContext<'_>) -> Result<Flow, Refusal> {
        let kind = match ctx.method {
            Method::ToolsList => Some(ListKind::Tools),
            Method::PromptsList => Some(ListKind::Prompts),
            Method::ResourcesList => Some(ListKind::Resources),
            Method::TemplatesList => Some(ListKind::Templates),
            _ => None,
        };
        if (kind.is_some() || ctx.method == Method::Discover)
            && self.hold_for(ctx.view, ctx.arrived)?
        {
            return Ok(Flow::Wait);
        }
        match (ctx.method, kind) {
            (_, Some(kind)) => self.list(ctx, kind)?,
            (Method::Discover, _) => self.discover(ctx),
            (Method::SetLevel, _) => self.client_level(ctx)?,
            _ => self.clients.result(self.cx, self.spans, ctx, "{}"),
        }
        Ok(Flow::Done)
    }

    fn list(&mut self, ctx: &RequestContext<'_>, kind: ListKind) -> Result<(), Refusal> {
        let access = ctx.access.as_deref();
        if !self.ups.offers(ctx.view, access, kind.capability()) {
            return Err(ctx.unknown_method());
        }
        self.refresh_stale(ctx.view, kind);
        let cursor = ctx
            .params
            .and_then(|params| json::pick(params, ["cursor"]))
            .and_then(|[raw]| raw)
            .filter(|raw| *raw != "null");
        let bad = || {
            Refusal::new(
                200,
                rpc::INVALID_PARAMS,
                Code::CursorInvalid,
                "begin the list again",
            )
        };
        let cursor = cursor
            .map(|raw| json::string(raw).ok_or_else(bad))
            .transpose()?;
        let modern = ctx.is_modern();
        let legacy: HashSet<_> = self
            .ups
            .configured()
            .filter(|up| matches!(up.era, Some(UpEra::Legacy(_))))
            .map(|up| up.id)
            .collect();
        let from_legacy = |owner| matches!(owner, Owner::Up(up) if legacy.contains(&up));
        let edit = |entry: &crate::upstream::view::Entry| match (modern, from_legacy(entry.owner)) {
            (true, true) => message::without_execution(kind, &entry.text),
            (false, false) => older_revisions::tool(kind, &entry.text),
            _ => None,
        };
        let (items, next) = self
            .ups
            .seen(access, ctx.session_name(), ctx.view, kind)
            .page(cursor.as_deref(), edit)
            .ok_or_else(bad)?;
        let mut result = format!("{{\"{}\":[", kind.member()).into_bytes();
        result.extend_from_slice(&items);
        result.push(b']');
        let mut rest = next
            .map(|cursor| format!(",\"nextCursor\":{}", json::quote(&cursor)))
            .unwrap_or_default();
        if modern {
            let (ttl, public) =
                self.ups
                    .freshness(ctx.view, access, self.access.has_policy(), kind);
            rest.push_str(&self.ups.modern_rest(ctx.view, ttl, public));
        }
        result.extend_from_slice(rest.as_bytes());
        result.push(b'}');
        let result = String::from_utf8(result).unwrap_or_default();
        self.clients.result(self.cx, self.spans, ctx, &result);
        Ok(())
    }

    /// Fetches the lists of servers that announce no changes again once they are old; this request
    /// still gets the last good one.
    fn refresh_stale(&mut self, view: View, kind: ListKind) {
        let now = self.cx.now;
        let old = |up: &&Upstream| {
            let (list, silent) = (
                up.list(kind),
                !up.info.flag(kind.capability(), "listChanged"),
            );
            let ttl = list.ttl_ms.unwrap_or(0).saturating_mul(1000).max(STALE);
            silent
                && up.serves()
                && list.loading.is_none()
                && up.info.has(kind.capability())
                && now >= list.fetched.saturating_add(ttl)
        };
        for up in self
            .ups
            .of_view(view, None)
            .filter(old)
            .map(|up| up.id)
            .collect::<Vec<_>>()
        {
            self.connecting().fetch(up, kind);
        }
    }

    fn discover(&mut self, ctx: &RequestContext<'_>) {
        let versions = SUPPORTED.map(json::quote).join(",");
        let access = ctx.access.as_deref();
        let instructions = self
            .ups
            .instructions(ctx.view, access)
            .map(|text| format!(",\"instructions\":{text}"))
            .unwrap_or_default();
        let (ttl, _) =
            self.ups
                .freshness(ctx.view, access, self.access.has_policy(), ListKind::Tools);
        let result = format!(
            "{{\"supportedVersions\":[{versions}],\"capabilities\":{}{instructions}{}}}",
            self.capabilities(ctx.view, access, true),
            self.ups.modern_rest(ctx.view, ttl, false)
        );
        self.clients.result(self.cx, self.spans, ctx, &result);
    }

    fn client_level(&mut self, ctx: &RequestContext<'_>) -> Result<(), Refusal> {
        let level = ctx
            .params
            .and_then(|params| json::pick(params, ["level"]))
            .and_then(|[raw]| json::string(raw?));
        let Some(level) = level.and_then(|level| LogLevel::parse(&level)) else {
            return Err(Refusal::new(
                200,
                rpc::INVALID_PARAMS,
                Code::InvalidRequest,
                "params.level is not a log level",
            ));
        };
        if let ClientEra::Legacy(id, _) = &ctx.era
            && let Some(session) = self.clients.session_mut(id)
        {
            session.log_level = Some(level);
            self.clients
                .keep_session(self.cx, self.spans, |up| self.ups.name(up), id, None);
        }
        self.clients.result(self.cx, self.spans, ctx, "{}");
        Ok(())
    }

    /// The capabilities of a view: those of its one server if it speaks the client's era, the union
    /// of what can be bridged otherwise.
    fn capabilities(&self, view: View, access: Option<&Access>, modern: bool) -> String {
        if let View::One(up) = view {
            let up = self.ups.get(up);
            if !up.info.capabilities.is_empty()
                && up.era.is_some_and(|era| (era == UpEra::Modern) == modern)
            {
                return up.info.capabilities.clone();
            }
        }
        let mut parts = Vec::new();
        for list in ["tools", "prompts", "resources"] {
            if self.ups.offers(view, access, list) {
                let subscribe = list == "resources"
                    && self
                        .ups
                        .of_view(view, access)
                        .any(|up| up.info.flag("resources", "subscribe"));
                parts.push(format!(
                    "\"{list}\":{{\"listChanged\":true{}}}",
                    if subscribe { ",\"subscribe\":true" } else { "" }
                ));
            }
        }
        let more = ["completions", "logging"]
            .into_iter()
            .filter(|name| self.ups.offers(view, access, name));
        parts.extend(more.map(|name| format!("\"{name}\":{{}}")));
        let tasks = self.ups.task_capability(view, access, modern);
        let mut extensions = self.ups.extensions(view, access);
        match tasks {
            Some(own) if modern => {
                let comma = if extensions.is_empty() { "" } else { "," };
                extensions = format!("{own}{comma}{extensions}");
            }
            tasks => parts.extend(tasks),
        }
        extensions::with(&format!("{{{}}}", parts.join(",")), &extensions)
    }
}
