//! Client → upstream: whose the name is, which connection takes the call, and the call's record.

use crate::access;
use crate::api::{HttpRequest, Micros, Observation, Output, UpId};
use crate::call::record::{Asking, Call, ClientCall, Mismatch, Purpose, Sent};
use crate::call::translate;
use crate::call::translate::Outgoing;
use crate::client::exchange::Exchange;
use crate::client::request::{ClientEra, Ctx, Flow};
use crate::edge::Verb;
use crate::gateway::Gateway;
use crate::interactive::{request_state, retry};
use crate::protocol::header::Param;
use crate::protocol::method::{LogLevel, Method};
use crate::protocol::refusal::{Refusal, rpc};
use crate::protocol::{header, json, name};
use crate::tasks::registry::Name;
use crate::trace::CallFacts;
use crate::upstream::list::ListKind;
use crate::upstream::view::{Owner, View};
use crate::upstream::{Caps, Lent, Phase, UpEra};
use bytes::Bytes;
use ggen_wire::{Code, status::UpstreamState};
use std::borrow::Cow;
use std::sync::Arc;

/// Where a named request goes.
pub(crate) struct Target<'a> {
    up: UpId,
    /// The slice with the exposed name, and the original one as JSON, if they differ.
    pub(crate) rename: Option<(&'a str, String)>,
    /// The original name or URI.
    original: Cow<'a, str>,
    tool: Option<Arc<str>>,
    uri: Option<Box<str>>,
    params: Arc<[Param]>,
    /// Its name is that of a tool or prompt that the server lists.
    listed: bool,
    /// The task that it is about, the connection behind which that is, and for how long the answer
    /// is waited for if not as usual.
    pub(crate) task: Option<Name>,
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

/// Subscriptions of one session.
const SUBSCRIPTIONS: usize = 1000;

enum Route<'a> {
    Core(usize),
    Up(Target<'a>),
}

impl Gateway {
    /// `tools/call`, `prompts/get`, `resources/read`, `completion/complete`.
    pub(crate) fn relay_named(&mut self, ctx: &Ctx<'_>) -> Result<Flow, Refusal> {
        match self.route(ctx)? {
            None => Ok(Flow::Wait),
            Some(Route::Core(tool)) => {
                let flow = self.call_builtin(ctx, tool)?;
                ctx.audit(&self.access, &mut self.cx, None);
                Ok(flow)
            }
            Some(Route::Up(target)) => {
                // Link 0 is the worker's own: the control command has no headers to mirror, and
                // neither has a socket.
                if !target.params.is_empty()
                    && ctx.is_modern()
                    && ctx.key.edge != 0
                    && !ctx.request.verb.is_socket()
                {
                    let arguments = ctx
                        .params
                        .and_then(|params| json::pick(params, ["arguments"]))
                        .and_then(|[raw]| raw);
                    header::check_params(ctx.request, &target.params, arguments)?;
                }
                let asking = match self.asking(ctx, &target)? {
                    Some(asking) => asking,
                    None => return Ok(Flow::Done),
                };
                self.relay(ctx, target, asking)
            }
        }
    }

    /// Subscriptions are kept per session; the upstream hears of the first one and of the end of
    /// the last one.
    pub(crate) fn subscribe(&mut self, ctx: &Ctx<'_>) -> Result<Flow, Refusal> {
        let Some(Route::Up(target)) = self.route(ctx)? else {
            return Ok(Flow::Wait);
        };
        let (up, exposed) = (target.up, target.uri.clone().unwrap_or_default());
        let Some(session) = ctx.session().and_then(|id| self.clients.session_mut(&id)) else {
            return Ok(Flow::Done);
        };
        let original: Arc<str> = (*target.original).into();
        if ctx.method == Method::Subscribe && session.subscriptions.len() >= SUBSCRIPTIONS {
            return Err(Refusal::new(
                200,
                rpc::INTERNAL,
                Code::Overloaded,
                "too many subscriptions in this session",
            ));
        }
        let changes = if ctx.method == Method::Subscribe {
            session.subscriptions.insert(exposed) && self.hold(up, &original)
        } else {
            session.subscriptions.remove(&exposed) && self.release(up, &original)
        };
        if let Some(id) = ctx.session() {
            self.keep_session(&id, None);
        }
        match self.up_ref(up).era {
            Some(UpEra::Legacy(_)) if changes => self.relay(ctx, target, None),
            era => {
                if changes && era == Some(UpEra::Modern) {
                    self.listen_upstream(up);
                }
                self.result(ctx, "{}");
                Ok(Flow::Done)
            }
        }
    }

    /// One more subscriber of a URI; true for the first.
    pub(crate) fn hold(&mut self, up: UpId, uri: &Arc<str>) -> bool {
        let count = self
            .up_mut(up)
            .subscriptions
            .entry(uri.clone())
            .or_default();
        *count += 1;
        *count == 1
    }

    /// One subscriber less; true for the last.
    pub(crate) fn release(&mut self, up: UpId, uri: &Arc<str>) -> bool {
        let subscriptions = &mut self.up_mut(up).subscriptions;
        match subscriptions.get_mut(uri) {
            Some(count) if *count > 1 => {
                *count -= 1;
                false
            }
            Some(_) => subscriptions.remove(uri).is_some(),
            None => false,
        }
    }

    /// What the protocol does not name goes to the server of a view of one, if it speaks the
    /// client's era.
    pub(crate) fn relay_other(&mut self, ctx: &Ctx<'_>) -> Result<Flow, Refusal> {
        let View::One(up) = ctx.view else {
            return Err(self.unknown_method(ctx));
        };
        if !self.ups.may_all(ctx.access.as_deref(), up) {
            access::denied(&mut self.cx, "method");
            return Err(self.unknown_method(ctx));
        }
        match self.up_ref(up).era {
            Some(era) if (era == UpEra::Modern) == ctx.is_modern() => {}
            None if self.may_wait(ctx, self.cx.limits.call_wait)
                && self.ups.is_unsettled(ctx.view) =>
            {
                return Ok(Flow::Wait);
            }
            _ => return Err(self.unknown_method(ctx)),
        }
        let name = header::name_member(ctx.name)
            .and_then(|member| json::pick(ctx.params?, [member])?[0])
            .and_then(json::string);
        self.relay(ctx, Target::plain(up, name.unwrap_or_default()), None)
    }

    pub(crate) fn may_wait(&self, ctx: &Ctx<'_>, limit: u64) -> bool {
        self.cx.now < ctx.arrived + limit
    }

    /// Whose the name in the request is. `None`: an upstream that may have it is still starting.
    fn route<'a>(&mut self, ctx: &Ctx<'a>) -> Result<Option<Route<'a>>, Refusal> {
        let invalid =
            |what: &str| Refusal::new(200, rpc::INVALID_PARAMS, Code::InvalidRequest, what);
        let params = ctx.params.ok_or_else(|| invalid("params are missing"))?;
        let (kind, raw) = match ctx.method {
            Method::ToolsCall => (
                ListKind::Tools,
                json::pick(params, ["name"]).and_then(|[raw]| raw),
            ),
            Method::PromptsGet => (
                ListKind::Prompts,
                json::pick(params, ["name"]).and_then(|[raw]| raw),
            ),
            Method::Complete => {
                let [name, uri] = json::pick(params, ["ref"])
                    .and_then(|[raw]| json::pick(raw?, ["name", "uri"]))
                    .unwrap_or_default();
                if name.is_some() {
                    (ListKind::Prompts, name)
                } else {
                    (ListKind::Templates, uri)
                }
            }
            _ => (
                ListKind::Resources,
                json::pick(params, ["uri"]).and_then(|[raw]| raw),
            ),
        };
        let raw =
            raw.ok_or_else(|| invalid(&format!("params.{} is missing or came twice", kind.key())))?;
        let exposed = json::string(raw)
            .ok_or_else(|| invalid(&format!("params.{} is not a string", kind.key())))?;
        let uri = matches!(kind, ListKind::Resources | ListKind::Templates)
            .then(|| exposed.as_ref().into());
        let target = |up, original: Cow<'a, str>, tool, params| {
            let rename = (original != exposed).then(|| (raw, json::quote(&original)));
            Some(Route::Up(Target {
                rename,
                tool,
                uri: uri.clone(),
                params,
                ..Target::plain(up, original)
            }))
        };
        let access = ctx.access.as_deref();
        if let Some(entry) = self.ups.entry(access, ctx.view, kind, &exposed) {
            let tool = (kind == ListKind::Tools).then(|| entry.exposed.clone());
            let named = tool
                .clone()
                .or_else(|| (ctx.method == Method::PromptsGet).then(|| entry.exposed.clone()));
            let route = match entry.owner {
                Owner::Core(tool) => Some(Route::Core(tool)),
                Owner::Up(up) => target(
                    up,
                    Cow::Owned(entry.original.to_string()),
                    tool,
                    entry.params.clone(),
                ),
            };
            if let Some(tracing) = &ctx.attempt.tracing {
                tracing.set_target(named.as_ref());
            }
            return Ok(route.map(|route| match route {
                Route::Up(target) => Route::Up(Target {
                    listed: named.is_some(),
                    ..target
                }),
                core => core,
            }));
        }
        match ctx.view {
            // A tool whose header declarations are wrong is none (2026-07-28, Streamable HTTP,
            // "Custom Headers").
            View::One(up)
                if kind == ListKind::Tools
                    && self
                        .up_ref(up)
                        .list(kind)
                        .refused
                        .iter()
                        .any(|tool| **tool == *exposed) => {}
            // The one server decides; it may know names that it does not list.
            View::One(up) if self.ups.may(access, kind, up, &exposed) => {
                let tool = (kind == ListKind::Tools).then(|| Arc::from("unlisted"));
                return Ok(target(
                    up,
                    Cow::Owned(exposed.clone().into_owned()),
                    tool,
                    Arc::new([]),
                ));
            }
            View::All if uri.is_some() => {
                if let Some((key, original)) = name::original_uri(&exposed)
                    && let Some(up) = self.ups.configured().find(|up| up.key == key)
                    && self.ups.may(access, kind, up.id, &original)
                {
                    return Ok(target(up.id, Cow::Owned(original), None, Arc::new([])));
                }
            }
            _ => {}
        }
        if self.ups.is_unsettled(ctx.view) && self.may_wait(ctx, self.cx.limits.call_wait) {
            return Ok(None);
        }
        if access.is_some() {
            let what = match kind {
                ListKind::Tools => "tool",
                ListKind::Prompts => "prompt",
                ListKind::Resources | ListKind::Templates => "resource",
            };
            access::denied(&mut self.cx, what);
        }
        Err(not_found(kind, &exposed, ctx.is_modern()))
    }

    /// What it takes to ask the modern client of a legacy server for something, if it can be asked.
    /// `None`: the request goes on with an earlier call.
    fn asking(
        &mut self,
        ctx: &Ctx<'_>,
        target: &Target<'_>,
    ) -> Result<Option<Option<Box<Asking>>>, Refusal> {
        let legacy = matches!(self.up_ref(target.up).era, Some(UpEra::Legacy(_)));
        if !legacy || !ctx.is_modern() || !retry::may_ask(ctx.method) {
            return Ok(Some(None));
        }
        let brought = retry::brought(ctx.params)?;
        if ctx.caps() == Caps::default() && brought.state.is_none() {
            return Ok(Some(None));
        }
        let arguments = ctx
            .params
            .and_then(|params| json::pick(params, ["arguments"])?[0]);
        let (principal, server) = (
            ctx.request.principal.id.clone(),
            self.up_ref(target.up).settings.name.as_str(),
        );
        let subject = request_state::subject(
            &principal,
            server,
            ctx.method.name(),
            &target.original,
            arguments,
        );
        if self
            .resume_parked(ctx, target.up, subject, &brought)?
            .is_some()
        {
            return Ok(None);
        }
        let answers = brought.responses.map(Into::into);
        Ok(Some(Some(Box::new(Asking {
            principal,
            subject,
            answers,
            park: None,
        }))))
    }

    pub(crate) fn relay(
        &mut self,
        ctx: &Ctx<'_>,
        target: Target<'_>,
        asking: Option<Box<Asking>>,
    ) -> Result<Flow, Refusal> {
        let up = target.up;
        let upstream = self.up_ref(up);
        if upstream.held && self.may_wait(ctx, self.cx.limits.call_wait) {
            return Ok(Flow::Wait);
        }
        let Some(era) = upstream
            .era
            .filter(|_| upstream.state != UpstreamState::Disabled && self.is_reachable(up))
        else {
            if upstream.unsettled.is_some() && self.may_wait(ctx, self.cx.limits.call_wait) {
                return Ok(Flow::Wait);
            }
            return Err(self.unavailable(up));
        };
        let full = upstream.in_flight() >= self.access.calls_per_upstream(&self.cx.limits);
        if full
            || upstream.bytes + ctx.text.len() > self.cx.limits.bytes_per_upstream
            || self.calls.len() >= self.cx.limits.calls
        {
            let refusal = Refusal::new(
                503,
                rpc::INTERNAL,
                Code::UpstreamBusy,
                &upstream.settings.name,
            )
            .retry(1);
            self.cx
                .emit(Output::Observe(Observation::Limited("upstream_in_flight")));
            return Err(refusal);
        }
        let principal = &ctx.request.principal;
        self.access
            .admit_in_flight(&mut self.cx, ctx.key, principal, || {
                self.clients.unanswered_of(principal)
            })?;
        let again = ctx.attempt.tries > 0;
        let rule = self
            .access
            .admit_tool(&mut self.cx, target.tool.as_ref(), again)?;
        let again = if rule.retries > 0 {
            self.again(ctx, up, &target.original, rule)
        } else {
            None
        };
        let timeout = if rule.timeout > 0 {
            rule.timeout
        } else {
            self.up_ref(up).settings.timeout
        }
        .max(target.patience);
        let modern = (ctx.is_modern(), era == UpEra::Modern);
        let (progress, log_level, client) = self.client_facts(ctx, modern.1);
        // The parameters of a list of tasks are written anew.
        let progress = progress.filter(|_| ctx.method != Method::TaskList);
        let caps = self.caps_of(ctx);
        let number = self.cx.next_id();
        let wish = if modern == (true, false) && ctx.method == Method::ToolsCall {
            self.task_wish(ctx, up, &target.original)
        } else {
            None
        };
        let named = target.listed.then(|| Arc::from(&*target.original));
        let facts = CallFacts {
            up,
            version: era.version(),
            method: ctx.method,
            number,
            target: named,
        };
        let (trace, sent) = self.spans.begin_call(
            &mut self.cx,
            ctx.attempt.tracing.as_ref(),
            ctx.trace.as_ref(),
            facts,
        );
        let body = translate::request(&Outgoing {
            as_task: wish.is_some(),
            text: ctx.text,
            id: ctx.id,
            params: ctx.params,
            number,
            rename: target.rename,
            progress,
            modern,
            client: &client,
            caps,
            log_level: log_level.filter(|_| modern == (false, true)),
        });
        let traced = trace
            .as_ref()
            .and_then(|trace| trace.in_params(std::str::from_utf8(&body).ok()?));
        let body = traced.map_or(body, Bytes::from);
        let headers = if modern.1 && self.up_ref(up).is_http() {
            let arguments = ctx
                .params
                .filter(|_| !target.params.is_empty())
                .and_then(|params| json::pick(params, ["arguments"])?[0]);
            let name = header::name_member(ctx.name).map(|_| &*target.original);
            let mut headers = header::make(ctx.name, name);
            headers.extend(header::make_params(&target.params, arguments));
            headers
        } else {
            Vec::new()
        };
        let held = self
            .access
            .hold_places(ctx.key, principal, target.tool.as_ref(), rule);
        let call = ClientCall {
            key: ctx.key,
            principal: ctx.request.principal.id.clone(),
            id: ctx.id.into(),
            modern: modern.0,
            session: ctx.session(),
            method: ctx.method,
            tool: target.tool,
            progress: progress.map(Into::into),
            log_level: log_level.filter(|_| modern.0),
            exposes: ctx.view == View::All,
            uri: target.uri,
            arrived: ctx.arrived,
            asked: 0,
            caps,
            lacked: None,
            asking,
            rounds: None,
            task: wish,
            known: target.task,
            timeout,
            held,
            again,
            trail: self.access.trail(&principal.id, ctx.params, ctx.text.len()),
            trace,
            span: ctx.attempt.take_span(),
            sent,
        };
        let exchange = self.clients.exchange_or(ctx.key, || {
            Exchange::new(ctx.request, ctx.session(), ctx.arrived)
        });
        exchange.calls.push(number);
        if let Some(session) = call
            .session
            .as_ref()
            .and_then(|id| self.clients.session_mut(id))
        {
            session.calls.insert(ctx.id.into(), number);
        }
        let conn = target
            .place
            .unwrap_or_else(|| self.conn_for(up, &call, era));
        let deadline = self.cx.now + self.time_for(up, conn, timeout);
        let (began, bytes) = (self.cx.now, body.len());
        self.up_mut(up).bytes += bytes;
        self.calls.insert(
            number,
            Call {
                up,
                conn,
                purpose: Purpose::Client(Box::new(call)),
                began,
                deadline,
                bytes,
                request: Sent { headers, body },
                status: 0,
                last_event: None,
                retry_ms: None,
                tries: 0,
                mismatch: Mismatch::No,
            },
        );
        self.dispatch(number);
        Ok(Flow::Done)
    }

    /// The client's progress token, the log level in force for it, and its `clientInfo` for a
    /// modern upstream.
    fn client_facts<'a>(
        &self,
        ctx: &Ctx<'a>,
        modern_up: bool,
    ) -> (Option<&'a str>, Option<LogLevel>, Arc<str>) {
        match &ctx.era {
            ClientEra::Modern(claim) => (claim.progress, claim.log_level, Arc::from("")),
            ClientEra::Legacy(id, _) => {
                let meta = ctx
                    .params
                    .filter(|params| params.contains("\"progressToken\""))
                    .and_then(|params| json::pick(params, ["_meta"])?[0]);
                let progress = meta.and_then(|meta| json::pick(meta, ["progressToken"])?[0]);
                let session = self.clients.session(id);
                let client = session
                    .filter(|_| modern_up)
                    .map_or_else(|| Arc::from(""), |session| session.client.clone());
                (
                    progress,
                    session.and_then(|session| session.log_level),
                    client,
                )
            }
        }
    }

    /// How long a call that may take `timeout` may take on a connection, or wait for one.
    pub(crate) fn time_for(&self, up: UpId, conn: usize, timeout: u64) -> u64 {
        if self.up_ref(up).conns[conn].lent == Lent::Lobby {
            self.cx.limits.call_wait
        } else {
            timeout
        }
    }

    /// What the client of a request can be asked for while the request is under way. One that takes
    /// no event stream, in the legacy era, for nothing.
    fn caps_of(&self, ctx: &Ctx<'_>) -> Caps {
        match &ctx.era {
            ClientEra::Modern(_) => ctx.caps(),
            ClientEra::Legacy(id, version) if ctx.request.accept_sse => self
                .clients
                .session(id)
                .map(|session| session.caps.of_revision(*version))
                .unwrap_or_default(),
            ClientEra::Legacy(..) => Caps::default(),
        }
    }

    /// The connection that takes a call.
    pub(crate) fn conn_for(&mut self, up: UpId, call: &ClientCall, era: UpEra) -> usize {
        match self.up_ref(up).is_http() {
            false => self.child_for(up, call),
            true if call.caps == Caps::default() || era == UpEra::Modern => 0,
            true => self.session_for(up, call),
        }
    }

    /// Writes a call, or keeps it until its connection is ready.
    pub(crate) fn dispatch(&mut self, number: u64) {
        let Some(call) = self.calls.get(&number) else {
            return;
        };
        let (up, at) = (call.up, call.conn);
        let conn = &mut self.up_mut(up).conns[at];
        if conn.phase == Phase::Ready && conn.awaits_stream.is_none() {
            conn.calls.insert(number);
            self.set_wanted_level(number);
            self.send(number);
        } else {
            conn.queue.push(number);
        }
    }

    /// Has a legacy server log what the client of a call wants to hear.
    fn set_wanted_level(&mut self, number: u64) {
        let Some((call, Purpose::Client(client))) =
            self.calls.get(&number).map(|call| (call, &call.purpose))
        else {
            return;
        };
        let session = client
            .session
            .as_ref()
            .and_then(|id| self.clients.session(id));
        let level = client
            .log_level
            .or_else(|| session.and_then(|session| session.log_level));
        let (up, conn) = (call.up, call.conn);
        if let (Some(UpEra::Legacy(_)), Some(level)) = (self.up_ref(up).era, level) {
            self.set_level(up, conn, level);
        }
    }

    /// Writes a call to its upstream.
    pub(crate) fn send(&mut self, number: u64) {
        let Some(call) = self.calls.get_mut(&number) else {
            return;
        };
        call.tries += 1;
        let modern_up = self.ups.get(call.up).era == Some(UpEra::Modern);
        let (up, at, timeout) = (
            call.up,
            call.conn,
            call.deadline.saturating_sub(self.cx.now),
        );
        if self.ups.get(up).is_http() {
            let (mut headers, body) = (call.request.headers.clone(), call.request.body.clone());
            let trace = if let Purpose::Client(client) = &call.purpose {
                client.trace.clone()
            } else {
                None
            };
            if headers.is_empty() {
                headers = self.legacy_headers(up, at);
            }
            headers.extend(trace.iter().flat_map(|trace| trace.headers()));
            self.cx.emit(Output::Http(
                up,
                HttpRequest {
                    exchange: number,
                    verb: Verb::Post,
                    headers,
                    body,
                    timeout,
                },
            ));
        } else {
            // A line is written once, unless its server may want it again with answers.
            let again = modern_up
                && matches!(&call.purpose, Purpose::Client(client) if !client.modern && retry::may_ask(client.method));
            let body = if again {
                call.request.body.clone()
            } else {
                std::mem::take(&mut call.request.body)
            };
            self.write_line(up, at, body);
        }
    }

    /// Whether an upstream takes calls now (connections of its own are made on demand). While a
    /// remote server's lost session is begun anew, calls queue for it.
    fn is_reachable(&self, up: UpId) -> bool {
        let upstream = self.up_ref(up);
        match upstream.conns[0].phase {
            Phase::Ready => true,
            Phase::Greeting(_) => upstream.is_http() && upstream.state == UpstreamState::Ready,
            Phase::Down => false,
        }
    }

    /// The error for an upstream that takes no calls: its own trouble, if it has one.
    pub(crate) fn unavailable(&self, up: UpId) -> Refusal {
        let upstream = self.up_ref(up);
        let name = &upstream.settings.name;
        let (code, detail) = match (&upstream.trouble, upstream.state) {
            (_, UpstreamState::Disabled) => (Code::UpstreamDisabled, name.clone()),
            (Some((code, reason)), _) => (*code, format!("{name}: {reason}")),
            (None, _) => (Code::UpstreamStarting, name.clone()),
        };
        Refusal::new(200, rpc::INTERNAL, code, &detail)
            .with("server", &json::quote(name))
            .with("state", &json::quote(upstream.state.as_str()))
            .with("help", "\"ggen mcp server status\"")
            .retry(1)
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
