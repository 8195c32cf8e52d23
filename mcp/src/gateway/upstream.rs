//! The life of an upstream: greeting, lists, loss, and what it sends.

use super::Gateway;
use super::call::{Call, Purpose, Sent};
use crate::api::{HttpRequest, Micros, Output, UpId, UpInput};
use crate::edge::Verb;
use crate::inbound::key;
use crate::json::{self, Envelope, Kind};
use crate::list::{self, ListKind, Loading, MAX_PAGES};
use crate::method::{Legacy, LogLevel, MODERN};
use crate::refusal::{Refusal, rpc};
use crate::upstream::{Hello, Phase, UpEra};
use crate::view::Table;
use bytes::Bytes;
use ggen_wire::{Code, log::Level, status::UpstreamState};

/// How an own request waits for ever (streams).
pub(super) const NEVER: Micros = Micros::MAX;

impl Gateway {
    /// Asks for every stdio server and greets every remote one.
    pub(super) fn reach_for_all(&mut self) {
        for up in self.order.clone() {
            self.reach_for(up);
        }
    }

    pub(super) fn up(&mut self, up: UpId, event: UpInput) {
        match event {
            UpInput::Connected { incarnation, handoff } => self.connected(up, incarnation, handoff.as_deref()),
            UpInput::Line(line) => self.received(up, 0, None, line),
            UpInput::Overlong(head) => self.overlong(up, &head),
            UpInput::Lost { state, code, reason, next_start } => self.lost(up, state, code, reason, next_start),
            UpInput::Head { exchange, status, session, .. } => self.http_head(up, exchange, status, session),
            UpInput::Message { exchange, event_id, retry_ms, data } => self.http_message(up, exchange, event_id, retry_ms, data),
            UpInput::End { exchange, error } => self.http_end(up, exchange, error),
        }
    }

    fn connected(&mut self, up: UpId, incarnation: u64, handoff: Option<&str>) {
        let now = self.now;
        self.fail_calls(up, None, &Refusal::new(200, rpc::INTERNAL, Code::UpstreamExited, ""), "lost");
        let upstream = self.up_mut(up);
        upstream.incarnation = incarnation;
        upstream.held = false;
        upstream.state = UpstreamState::Starting;
        upstream.unsettled = Some(now);
        upstream.listen = (None, None);
        upstream.patience = 2000.0;
        upstream.refilled = now;
        upstream.conns[0].log_level = None;
        // Calls of an earlier life of the gateway worker may still be running in a server that it left behind.
        upstream.conns[0].unsure = if handoff.is_some() { now + super::notify::UNSURE } else { 0 };
        if handoff.is_some_and(|handoff| upstream.adopt(handoff)) {
            self.ready(up, 0);
        } else {
            self.greet(up);
        }
    }

    /// Sends `server/discover`, or `initialize` where the configuration says legacy.
    pub(super) fn greet(&mut self, up: UpId) {
        let now = self.now;
        self.up_mut(up).retry_at = None;
        self.up_mut(up).conns[0].phase = Phase::Greeting(now);
        if self.up_ref(up).settings.era == crate::api::EraSetting::Legacy {
            return self.initialize_upstream(up, 0);
        }
        let limit = if self.up_ref(up).is_http() { self.limits.handshake } else { self.limits.probe };
        self.own_request(up, 0, Purpose::Discover, "server/discover", "", limit);
    }

    /// A request of ours: `members` of its params beside `_meta`, which modern servers get.
    pub(super) fn own_request(&mut self, up: UpId, conn: usize, purpose: Purpose, method: &str, members: &str, limit: Micros) -> u64 {
        let number = self.next_id();
        let modern =
            matches!(purpose, Purpose::Discover) || self.up_ref(up).era == Some(UpEra::Modern) && !matches!(purpose, Purpose::Initialize);
        let mut params = members.to_owned();
        if modern {
            let comma = if members.is_empty() { "" } else { "," };
            params.push_str(&format!("{comma}\"_meta\":{{{}}}", super::translate::own_meta(&client_info())));
        }
        let body = format!("{{\"jsonrpc\":\"2.0\",\"id\":{number},\"method\":\"{method}\",\"params\":{{{params}}}}}");
        let headers = if modern { crate::header::make(method, None) } else { Vec::new() };
        self.register(number, up, conn, purpose, Sent { headers, body: body.into() }, limit);
        self.send(number);
        number
    }

    fn register(&mut self, number: u64, up: UpId, conn: usize, purpose: Purpose, request: Sent, limit: Micros) {
        let (began, deadline) = (self.now, self.now.saturating_add(limit));
        let call = Call { up, conn, purpose, began, deadline, bytes: 0, request, status: 0, last_event: None, retry_ms: None, tries: 0 };
        self.calls.insert(number, call);
    }

    /// A message of ours that has no answer: a notification, or the answer to a request of the server.
    pub(super) fn aside(&mut self, up: UpId, conn: usize, body: Bytes, headers: Vec<(String, String)>) {
        if !self.up_ref(up).is_http() {
            return self.emit(Output::Write(up, body));
        }
        let number = self.next_id();
        self.register(number, up, conn, Purpose::Aside, Sent { headers, body }, 30_000_000);
        self.send(number);
    }

    pub(super) fn initialize_upstream(&mut self, up: UpId, conn: usize) {
        let now = self.now;
        let member = &mut self.up_mut(up).conns[conn];
        member.phase = Phase::Greeting(now);
        member.session = None;
        // A stream of the session before tells nothing any more.
        let stream = member.stream.take();
        let caps = member.caps.write();
        if let Some(number) = stream {
            self.calls.remove(&number);
            self.emit(Output::Abort(up, number));
        }
        let members =
            format!("\"protocolVersion\":\"{}\",\"capabilities\":{},\"clientInfo\":{}", Legacy::LATEST.as_str(), caps, client_info());
        self.own_request(up, conn, Purpose::Initialize, "initialize", &members, self.limits.handshake);
    }

    /// The answer to `server/discover`. Whatever is no word of a modern server means: try `initialize`.
    pub(super) fn discovered(&mut self, up: UpId, envelope: &Envelope<'_>) {
        let asked_both = self.calls.values().any(|call| call.up == up && call.conn == 0 && matches!(call.purpose, Purpose::Initialize));
        match envelope.kind {
            Kind::Result(_, result) => {
                let [versions, capabilities, instructions, meta] =
                    json::pick(result, ["supportedVersions", "capabilities", "instructions", "_meta"]).unwrap_or_default();
                let versions = versions.and_then(json::elements).unwrap_or_default();
                if versions.iter().any(|version| json::string(version).as_deref() == Some(MODERN)) {
                    let server = meta.and_then(|meta| json::pick(meta, [key::SERVER])).and_then(|[server]| server);
                    self.calls.retain(|_, call| call.up != up || !matches!(call.purpose, Purpose::Initialize));
                    return self.greeted(up, 0, UpEra::Modern, capabilities, server, instructions);
                }
            }
            Kind::Error(_, error) => {
                let [code, message] = json::pick(error, ["code", "message"]).unwrap_or_default();
                if matches!(code, Some("-32020" | "-32021")) && !asked_both {
                    let message = message.and_then(json::string).unwrap_or_default().into_owned();
                    return self.greeting_failed(up, 0, Code::UpstreamRefused, message);
                }
            }
            _ => {}
        }
        if !asked_both {
            self.fall_back(up, "the server does not speak 2026-07-28");
        }
    }

    /// After a probe without success: `initialize`, unless the configuration says modern.
    pub(super) fn fall_back(&mut self, up: UpId, why: &str) {
        if self.up_ref(up).settings.era == crate::api::EraSetting::Modern {
            self.greeting_failed(up, 0, Code::UpstreamRefused, why.to_owned());
        } else {
            self.initialize_upstream(up, 0);
        }
    }

    /// The answer to `initialize`.
    pub(super) fn initialized(&mut self, up: UpId, conn: usize, envelope: &Envelope<'_>) {
        match envelope.kind {
            Kind::Result(_, result) => {
                let [version, capabilities, server, instructions] =
                    json::pick(result, ["protocolVersion", "capabilities", "serverInfo", "instructions"]).unwrap_or_default();
                let version = version.and_then(json::string).unwrap_or_default();
                let Some(legacy) = Legacy::parse(&version) else {
                    return self.greeting_failed(
                        up,
                        conn,
                        Code::UpstreamRefused,
                        format!("it answers initialize with revision '{version}'"),
                    );
                };
                // What is silent at the probe may still answer it later; that answer belongs to nobody then.
                self.calls.retain(|_, call| call.up != up || !matches!(call.purpose, Purpose::Discover));
                let initialized = Bytes::from_static(b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}");
                self.up_mut(up).conns[conn].phase = Phase::Ready;
                self.up_mut(up).era = Some(UpEra::Legacy(legacy));
                self.aside(up, conn, initialized, Vec::new());
                self.greeted(up, conn, UpEra::Legacy(legacy), capabilities, server, instructions);
            }
            Kind::Error(_, error) => {
                let message = json::pick(error, ["message"]).and_then(|[message]| json::string(message?));
                let message = format!("initialize was answered with an error: {}", message.unwrap_or_default());
                self.greeting_failed(up, conn, Code::UpstreamRefused, message);
            }
            _ => {}
        }
    }

    fn greeted(&mut self, up: UpId, conn: usize, era: UpEra, capabilities: Option<&str>, server: Option<&str>, instructions: Option<&str>) {
        if conn == 0 {
            let own = |raw: Option<&str>| raw.filter(|raw| *raw != "null").map(|raw| raw.replace(['\n', '\r'], " "));
            let hello = Hello {
                capabilities: own(capabilities).unwrap_or_else(|| "{}".to_owned()),
                server: own(server),
                instructions: own(instructions),
            };
            self.up_mut(up).era = Some(era);
            self.up_mut(up).hello = hello;
        }
        self.ready(up, conn);
    }

    /// A greeting that led to nothing.
    pub(super) fn greeting_failed(&mut self, up: UpId, conn: usize, code: Code, detail: String) {
        let name = self.up_ref(up).settings.name.clone();
        self.note(Level::Warn, "mcp_server", Some(up), Some(code), format!("{name}: {detail}"));
        self.up_mut(up).conns[conn].phase = Phase::Down;
        let refusal = Refusal::new(200, rpc::INTERNAL, code, &format!("{name}: {detail}"));
        self.fail_calls(up, Some(conn), &refusal, "lost");
        if conn > 0 {
            return;
        }
        if self.up_ref(up).is_http() {
            self.retry_later(up);
        } else {
            let incarnation = self.up_ref(up).incarnation;
            self.emit(Output::Recycle { up, incarnation, code, detail: detail.clone() });
        }
        self.down(up, UpstreamState::Degraded, code, detail, false);
    }

    /// A remote server is tried again after 1 s, 2 s, … 30 s, a quarter of it at random so that many do not come at once.
    pub(super) fn retry_later(&mut self, up: UpId) {
        let mut byte = [0u8];
        (self.random)(&mut byte);
        let (now, upstream) = (self.now, self.up_mut(up));
        let base = (1_000_000u64 << upstream.failures.min(5)).min(30_000_000);
        upstream.failures += 1;
        upstream.retry_at = Some(now + base - base / 4 + base / 4 * u64::from(byte[0]) / 255);
    }

    /// An upstream is not there (any more). `soon`: it is expected back in a moment.
    pub(super) fn down(&mut self, up: UpId, state: UpstreamState, code: Code, reason: String, soon: bool) {
        let now = self.now;
        let upstream = self.up_mut(up);
        upstream.state = state;
        upstream.trouble = Some((code, reason));
        upstream.down_since.get_or_insert(now);
        upstream.unsettled = soon.then_some(now);
        upstream.listen = (None, None);
        upstream.lists.iter_mut().for_each(|list| list.loading = None);
        self.report(up);
        self.wake();
    }

    fn lost(&mut self, up: UpId, state: UpstreamState, code: Code, reason: String, next_start: Option<Micros>) {
        let name = self.up_ref(up).settings.name.clone();
        self.up_mut(up).conns[0].phase = Phase::Down;
        self.up_mut(up).held = false;
        let refusal = Refusal::new(200, rpc::INTERNAL, code, &format!("{name}: {reason}")).with("server", &json::quote(&name));
        self.fail_calls(up, None, &refusal, "lost");
        let soon = next_start.is_some_and(|wait| wait <= 1_000_000);
        self.down(up, state, code, reason, soon);
    }

    /// A connection is ready: what waited for it goes out; the first one brings the lists.
    fn ready(&mut self, up: UpId, conn: usize) {
        let member = &mut self.up_mut(up).conns[conn];
        member.phase = Phase::Ready;
        for number in std::mem::take(&mut member.queue) {
            self.dispatch(number);
        }
        let upstream = self.up_mut(up);
        if upstream.is_http() && matches!(upstream.era, Some(UpEra::Legacy(_))) {
            self.open_stream(up, conn);
        }
        if conn > 0 {
            return;
        }
        let upstream = self.up_mut(up);
        upstream.trouble = None;
        upstream.failures = 0;
        for kind in ListKind::ALL {
            let upstream = self.up_mut(up);
            if upstream.hello.has(kind.capability()) {
                self.fetch(up, kind);
            } else {
                upstream.lists[kind as usize].known = true;
                upstream.lists[kind as usize].items.clear();
            }
        }
        self.subscribe_again(up);
        self.settle_up(up);
    }

    /// Once all lists are known, an upstream is ready.
    fn settle_up(&mut self, up: UpId) {
        let upstream = self.up_mut(up);
        if upstream.conns[0].phase != Phase::Ready || upstream.lists.iter().any(|list| !list.known || list.loading.is_some()) {
            return;
        }
        let was = std::mem::replace(&mut upstream.state, UpstreamState::Ready);
        upstream.unsettled = None;
        upstream.down_since = None;
        self.rebuild(up);
        self.report(up);
        if was != UpstreamState::Ready {
            self.wake();
        }
    }

    /// Fetches a list from its first page.
    pub(super) fn fetch(&mut self, up: UpId, kind: ListKind) {
        if self.up_ref(up).conns[0].phase != Phase::Ready {
            return;
        }
        let list = &mut self.up_mut(up).lists[kind as usize];
        if list.loading.is_some() {
            list.again = true;
            return;
        }
        list.loading = Some(Loading::default());
        let limit = self.up_ref(up).settings.timeout;
        self.own_request(up, 0, Purpose::List(kind), kind.method(), "", limit);
    }

    /// A page of a list.
    pub(super) fn listed(&mut self, up: UpId, kind: ListKind, envelope: &Envelope<'_>) {
        let (now, http) = (self.now, self.up_ref(up).is_http());
        let page = match envelope.kind {
            Kind::Result(_, result) => list::read(kind, result, http && self.up_ref(up).era == Some(UpEra::Modern)),
            // A server without the method has an empty list.
            Kind::Error(_, error) if json::pick(error, ["code"]) == Some([Some("-32601")]) => Some(list::Page::default()),
            _ => None,
        };
        let Some(page) = page else { return self.list_failed(up, kind) };
        for (tool, reason) in &page.refused {
            let name = self.up_ref(up).settings.name.clone();
            self.note(Level::Warn, "tools", Some(up), None, format!("{name}: tool {tool} is left out: {reason}"));
        }
        let limit = self.up_ref(up).settings.timeout;
        let list = &mut self.up_mut(up).lists[kind as usize];
        let Some(loading) = &mut list.loading else { return };
        loading.items.extend(page.items);
        list.ttl_ms = page.ttl_ms;
        list.public = page.public;
        if let Some(cursor) = page.next.filter(|cursor| !loading.cursors.contains(cursor) && loading.cursors.len() < MAX_PAGES) {
            let members = format!("\"cursor\":{}", json::quote(&cursor));
            loading.cursors.push(cursor);
            self.own_request(up, 0, Purpose::List(kind), kind.method(), &members, limit);
            return;
        }
        list.items = list.loading.take().unwrap_or_default().items;
        list.known = true;
        list.fetched = now;
        self.list_settled(up, kind);
    }

    /// A list could not be fetched: the last good one stays.
    pub(super) fn list_failed(&mut self, up: UpId, kind: ListKind) {
        let list = &mut self.up_mut(up).lists[kind as usize];
        list.loading = None;
        list.known = true;
        self.list_settled(up, kind);
    }

    fn list_settled(&mut self, up: UpId, kind: ListKind) {
        if std::mem::take(&mut self.up_mut(up).lists[kind as usize].again) {
            return self.fetch(up, kind);
        }
        if self.up_ref(up).state == UpstreamState::Ready {
            self.rebuild(up);
            self.report(up);
        } else {
            self.settle_up(up);
        }
    }

    /// Makes every view anew.
    pub(super) fn rebuild_all(&mut self) {
        for kind in ListKind::ALL {
            let core: Vec<_> = if kind == ListKind::Tools { super::builtin::items() } else { Vec::new() };
            let sources = self.configured().map(|up| (up.id, up.key.as_str(), up.list(kind).items.as_slice()));
            self.all[kind as usize] = Table::build(kind, &core, sources, true);
        }
    }

    /// Makes the views of an upstream anew, and tells clients whose lists are different now, or whose server said that they are.
    pub(super) fn rebuild(&mut self, up: UpId) {
        let before: Vec<_> = self.all.iter().map(|table| table.hash).collect();
        self.rebuild_all();
        for kind in ListKind::ALL {
            let upstream = self.up_mut(up);
            let announced = std::mem::take(&mut upstream.lists[kind as usize].announced);
            let upstream = self.up_ref(up);
            let table = Table::build(kind, &[], [(up, "", upstream.list(kind).items.as_slice())].into_iter(), false);
            let old = std::mem::replace(&mut self.ones[up.0 as usize][kind as usize], table);
            let one = announced || old.hash != self.ones[up.0 as usize][kind as usize].hash;
            let all = before[kind as usize] != self.all[kind as usize].hash;
            self.tell_changed(up, kind, one, all);
        }
    }

    /// Drops the lists of an upstream that has been down for long.
    pub(super) fn forget_lists(&mut self, up: UpId) {
        self.up_mut(up).lists.iter_mut().for_each(|list| list.items.clear());
        self.rebuild(up);
        self.report(up);
    }

    /// Raises the verbosity of a legacy server if a client wants more than it was told so far.
    pub(super) fn set_level(&mut self, up: UpId, conn: usize, level: LogLevel) {
        let upstream = self.up_mut(up);
        let member = &mut upstream.conns[conn];
        if member.phase == Phase::Ready && upstream.hello.has("logging") && member.log_level.is_none_or(|now| level < now) {
            member.log_level = Some(level);
            self.own_request(up, conn, Purpose::Aside, "logging/setLevel", &format!("\"level\":\"{}\"", level.as_str()), 30_000_000);
        }
    }

    /// The headers of a request to a legacy HTTP server.
    pub(super) fn legacy_headers(&self, up: UpId, conn: usize) -> Vec<(String, String)> {
        let member = &self.up_ref(up).conns[conn];
        let mut headers = vec![("accept".to_owned(), "application/json, text/event-stream".to_owned())];
        if let (Some(UpEra::Legacy(version)), Phase::Ready) = (self.up_ref(up).era, member.phase) {
            headers.push(("mcp-protocol-version".to_owned(), version.as_str().to_owned()));
        }
        if let Some(session) = &member.session {
            headers.push(("mcp-session-id".to_owned(), session.clone()));
        }
        headers
    }

    /// Ends the session of a connection that nobody uses.
    pub(super) fn close_conn(&mut self, up: UpId, conn: usize) {
        let headers = self.legacy_headers(up, conn);
        let member = &mut self.up_mut(up).conns[conn];
        member.phase = Phase::Down;
        let (stream, session) = (member.stream.take(), member.session.take());
        if let Some(number) = stream {
            self.calls.remove(&number);
            self.emit(Output::Abort(up, number));
        }
        if session.is_some() {
            let number = self.next_id();
            self.register(number, up, conn, Purpose::Aside, Sent::default(), 30_000_000);
            let request = HttpRequest { exchange: number, verb: Verb::Delete, headers, body: Bytes::new(), timeout: 30_000_000 };
            self.emit(Output::Http(up, request));
        }
    }

    /// Opens the GET stream of a legacy HTTP session.
    pub(super) fn open_stream(&mut self, up: UpId, conn: usize) {
        if self.up_ref(up).conns[conn].stream.is_some() {
            return;
        }
        let number = self.next_id();
        let mut headers = self.legacy_headers(up, conn);
        headers[0].1 = "text/event-stream".to_owned();
        let member = &mut self.up_mut(up).conns[conn];
        member.stream = Some(number);
        member.stream_at = None;
        if let Some(event) = &member.last_event {
            headers.push(("last-event-id".to_owned(), event.clone()));
        }
        self.register(number, up, conn, Purpose::Stream, Sent::default(), NEVER);
        let request = HttpRequest { exchange: number, verb: Verb::Get, headers, body: Bytes::new(), timeout: 30_000_000 };
        self.emit(Output::Http(up, request));
    }
}

/// What the relay says of itself to servers.
pub(super) fn client_info() -> String {
    format!("{{\"name\":\"ggend\",\"version\":\"{}\"}}", ggen_wire::VERSION)
}
