//! The simulated clients: what they send, and when they leave. All of them number their requests
//! from 1.

use crate::rng::Rng;
use crate::server::Server;
use crate::world::{What, World};
use ggen_mcp::api::{Input, StreamKey};
use ggen_mcp::edge::{Request, Verb};
use std::collections::BTreeSet;

pub const MODERN: &str = "2026-07-28";

pub struct Client {
    /// The legacy revision; `None` for a modern client.
    pub version: Option<&'static str>,
    /// The only server it sees.
    pub view: Option<usize>,
    pub caps: bool,
    /// It knows tasks.
    pub tasks: bool,
    pub session: Option<String>,
    pub initializing: bool,
    pub uris: BTreeSet<String>,
    next: u64,
    slow: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Open,
    Answered,
    /// It can have no answer any more, and must get none.
    Over,
}

/// A request, and what must become of it.
pub struct Req {
    pub client: usize,
    pub session: Option<String>,
    pub id: String,
    pub method: &'static str,
    /// What the answer must hold.
    pub marker: Option<String>,
    pub token: bool,
    pub cancelled: bool,
    /// Its stream was read twice at a time, so that the answer may be seen twice.
    pub twice: bool,
    pub outcome: Outcome,
    /// The params but for `_meta` and what rounds add, and the name in the header.
    pub members: String,
    pub name: Option<String>,
    pub flaw: Flaw,
    pub shared: bool,
}

impl Req {
    pub const fn forget(&mut self) {
        if matches!(self.outcome, Outcome::Open) {
            self.outcome = Outcome::Over;
        }
    }
}

/// A task that a client made.
#[derive(Clone)]
pub struct Made {
    pub client: usize,
    pub session: Option<String>,
    pub modern: bool,
    pub up: usize,
    /// The server's own id.
    pub id: String,
    pub marker: String,
}

/// A modern client's call that was answered with questions.
pub struct Asked {
    pub client: usize,
    pub method: &'static str,
    /// The params but for `_meta`, as members.
    pub members: String,
    pub name: Option<String>,
    pub marker: String,
    pub state: String,
    pub keys: Vec<String>,
    /// The state is the gateway's, not the server's.
    pub sealed: bool,
    /// It came with a request that had an accomplice, so that it may be used up already.
    pub shared: bool,
}

/// What is wrong with a retry on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The answer has to be the call's.
    None,
    /// The answer may be the call's, or a refusal of the state.
    Maybe,
    /// It must be refused, and must not reach the server.
    Must,
    /// It is about a task of the client, which may be gone.
    Task,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Post,
    Initialize,
    Batch,
    Listen,
    Get,
    /// A GET for the rest of a stream, which is over with that stream.
    Rest,
}

pub struct Exchange {
    pub client: usize,
    pub session: Option<String>,
    pub kind: Kind,
    pub reqs: Vec<usize>,
    pub json: bool,
    pub sse: bool,
    pub credit: u32,
    pub started: bool,
    pub done: bool,
    /// The client has left: nothing may come.
    pub gone: bool,
    /// Event ids, with the request that each answers.
    pub log: Vec<(String, Option<usize>)>,
    /// Somebody has come back for the rest.
    pub resumed: bool,
    pub events: u64,
    /// How long its session had not been used before.
    pub idle: u64,
}

impl Client {
    pub fn new(rng: &mut Rng, servers: usize) -> Self {
        let version = rng.pick(&[
            None,
            None,
            Some("2024-11-05"),
            Some("2025-03-26"),
            Some("2025-06-18"),
            Some("2025-11-25"),
            Some("2025-11-25"),
        ]);
        let view = rng.chance(40).then(|| rng.index(servers));
        let (caps, tasks) = (
            rng.chance(40),
            rng.chance(60) && matches!(version, None | Some("2025-11-25")),
        );
        Self {
            version,
            view,
            caps,
            tasks,
            session: None,
            initializing: false,
            uris: BTreeSet::new(),
            next: 0,
            slow: rng.chance(30),
        }
    }

    pub const fn is_slow(&self) -> bool {
        self.slow
    }
}

/// One message of a client, not sent yet.
struct Message {
    text: String,
    headers: Vec<(&'static str, String)>,
    req: Option<Req>,
}

impl World {
    /// Sends an exchange.
    #[allow(clippy::too_many_arguments, reason = "it is what an exchange has")]
    fn open(
        &mut self,
        client: usize,
        verb: Verb,
        kind: Kind,
        headers: Vec<(&'static str, String)>,
        text: String,
        reqs: Vec<Req>,
    ) -> StreamKey {
        let slot = self.rng.index(2);
        let key = StreamKey {
            edge: self.edges[slot],
            stream: self.next_stream,
        };
        self.next_stream += 1;
        let (json, sse) = match kind {
            Kind::Get | Kind::Rest | Kind::Listen => (false, true),
            _ => self.rng.pick(&[
                (true, true),
                (true, true),
                (true, true),
                (true, false),
                (false, true),
            ]),
        };
        let who = &self.clients[client];
        let session = who
            .session
            .clone()
            .filter(|_| who.version.is_some() && kind != Kind::Initialize);
        let mut all: Vec<(Box<str>, Box<[u8]>)> = headers
            .into_iter()
            .map(|(key, value)| (key.into(), value.into_bytes().into_boxed_slice()))
            .collect();
        if let Some(session) = &session {
            all.push(("mcp-session-id".into(), session.clone().into_bytes().into()));
        }
        let view = who
            .view
            .map_or_else(String::new, |up| self.servers[up].name.clone());
        self.stats.requests += reqs.len() as u64;
        let idle = session
            .as_ref()
            .and_then(|session| self.used.get(session))
            .map_or(0, |used| self.now - used);
        // What is no message uses no session.
        if let Some(session) = session
            .as_ref()
            .filter(|_| verb == Verb::Get || !reqs.is_empty())
        {
            self.used.insert(session.clone(), self.now);
        }
        let first = self.reqs.len();
        self.reqs.extend(reqs);
        let exchange = Exchange {
            client,
            session,
            kind,
            reqs: (first..self.reqs.len()).collect(),
            json,
            sse,
            credit: ggen_mcp::edge::frame::WINDOW,
            started: false,
            done: false,
            gone: false,
            log: Vec::new(),
            resumed: false,
            events: 0,
            idle,
        };
        let mut exchange = exchange;
        if let Some((reqs, last)) = self.next_resume.take() {
            exchange.reqs = reqs;
            exchange.log.push((last, None));
        }
        self.exchanges.insert(key, exchange);
        let request = Request {
            verb,
            accept_json: json,
            accept_sse: sse,
            view: view.into(),
            principal: format!("c{client}").as_str().into(),
            headers: all,
            body: text.into(),
        };
        self.input(Input::Open(key, request));
        key
    }

    /// A request's id in one of its forms; no two of one client are alike.
    fn id(&mut self, client: usize) -> String {
        self.clients[client].next += 1;
        let n = self.clients[client].next;
        match self.rng.below(10) {
            0..5 => n.to_string(),
            5..8 => format!("\"{n}\""),
            8 => format!("\"\\u0041-{n}/x\""),
            _ => format!("{n}.50"),
        }
    }

    fn message(
        &mut self,
        client: usize,
        method: &'static str,
        members: &str,
        name: Option<&str>,
        marker: Option<String>,
    ) -> Message {
        let id = self.id(client);
        let who = &self.clients[client];
        let (modern, session) = (who.version.is_none(), who.session.clone());
        let mut meta = Vec::new();
        // A token is a string or an integer.
        let token = marker.is_some() && self.rng.chance(40) && !id.contains('.');
        if token {
            meta.push(format!("\"progressToken\":{id}"));
        }
        let mut headers = Vec::new();
        if modern {
            let mut caps = Vec::new();
            caps.extend(
                self.clients[client]
                    .caps
                    .then_some("\"elicitation\":{},\"roots\":{}"),
            );
            caps.extend(
                self.clients[client]
                    .tasks
                    .then_some("\"extensions\":{\"io.modelcontextprotocol/tasks\":{}}"),
            );
            let caps = format!("{{{}}}", caps.join(","));
            meta.push(format!(
                "\"io.modelcontextprotocol/protocolVersion\":\"{MODERN}\",\"io.modelcontextprotocol/clientCapabilities\":{caps}"
            ));
            if self.rng.chance(30) {
                meta.push("\"io.modelcontextprotocol/logLevel\":\"debug\"".to_owned());
            }
            headers.push(("mcp-protocol-version", MODERN.to_owned()));
            headers.push(("mcp-method", method.to_owned()));
            headers.extend(name.map(|name| ("mcp-name", name.to_owned())));
        } else if let Some(version) = self.clients[client]
            .version
            .filter(|_| method != "initialize")
        {
            headers.push(("mcp-protocol-version", version.to_owned()));
        }
        let meta = if meta.is_empty() {
            String::new()
        } else {
            format!("\"_meta\":{{{}}}", meta.join(","))
        };
        let comma = if members.is_empty() || meta.is_empty() {
            ""
        } else {
            ","
        };
        let text = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"{method}\",\"params\":{{{members}{comma}{meta}}}}}"
        );
        let req = Req {
            client,
            session,
            id,
            method,
            marker,
            token,
            cancelled: false,
            twice: false,
            outcome: Outcome::Open,
            members: members.to_owned(),
            name: name.map(str::to_owned),
            flaw: Flaw::None,
            shared: false,
        };
        Message {
            text,
            headers,
            req: Some(req),
        }
    }

    /// A call that a server answers with its marker.
    fn call(&mut self, client: usize) -> Message {
        let (view, own) = (
            self.clients[client].view,
            self.rng.index(self.servers.len()),
        );
        let up = view.unwrap_or(own);
        let server = self.servers[up].name.clone();
        let nonce = format!("n{}-{}", client, self.clients[client].next + 1);
        let (tool, prompt) = (Server::tool(self.rng.index(2)), "greet");
        let exposed = |name: &str| match view {
            Some(_) => name.to_owned(),
            None => ggen_mcp::protocol::name::exposed(&server, name),
        };
        match self.rng.below(10) {
            0..6 => {
                let name = exposed(tool);
                let task = self.clients[client].tasks
                    && self.clients[client].version.is_some()
                    && self.rng.chance(60);
                let task = if task { ",\"task\":{}" } else { "" };
                let members =
                    format!("\"name\":\"{name}\",\"arguments\":{{\"nonce\":\"{nonce}\"}}{task}");
                self.message(
                    client,
                    "tools/call",
                    &members,
                    Some(&name),
                    Some(format!("{server}|{tool}|{nonce}")),
                )
            }
            6 => {
                let name = exposed(prompt);
                let members =
                    format!("\"name\":\"{name}\",\"arguments\":{{\"nonce\":\"{nonce}\"}}");
                self.message(
                    client,
                    "prompts/get",
                    &members,
                    Some(&name),
                    Some(format!("{server}|{prompt}|{nonce}")),
                )
            }
            7 | 8 => {
                let uri = format!("test://{server}/{nonce}");
                let uri = if view.is_some() {
                    uri
                } else {
                    ggen_mcp::protocol::name::exposed_uri(&server, &uri)
                };
                self.message(
                    client,
                    "resources/read",
                    &format!("\"uri\":\"{uri}\""),
                    Some(&uri),
                    Some(format!("{server}|res|{nonce}")),
                )
            }
            _ => {
                let name = exposed(prompt);
                let members = format!(
                    "\"ref\":{{\"type\":\"ref/prompt\",\"name\":\"{name}\"}},\"argument\":{{\"name\":\"nonce\",\"value\":\"{nonce}\"}}"
                );
                self.message(
                    client,
                    "completion/complete",
                    &members,
                    None,
                    Some(format!("{server}|{prompt}|{nonce}")),
                )
            }
        }
    }

    /// Something about a task: an own one, or one of somebody else whose id is known.
    fn about_task(&mut self, client: usize) -> Message {
        let who = &self.clients[client];
        let (view, modern) = (who.view, who.version.is_none());
        if !modern && self.rng.chance(25) {
            return self.message(client, "tasks/list", "", None, None);
        }
        let fits = |made: &&Made| made.modern == modern && view.is_none_or(|view| view == made.up);
        let made: Vec<_> = self
            .made
            .iter()
            .rev()
            .take(60)
            .filter(fits)
            .cloned()
            .collect();
        if made.is_empty() {
            return self.local(client);
        }
        let made = made[self.rng.index(made.len())].clone();
        let session = self.clients[client].session.clone();
        let own = made.client == client && (modern || made.session == session);
        let id = match view {
            Some(_) => made.id,
            None => format!("{}~{}", self.servers[made.up].name, made.id),
        };
        let method = match self.rng.below(3) {
            0 | 1 if self.rng.chance(50) => "tasks/get",
            0 | 1 => "tasks/cancel",
            _ if modern => "tasks/update",
            _ => "tasks/result",
        };
        let mut message = self.message(
            client,
            method,
            &format!("\"taskId\":\"{id}\",\"inputResponses\":{{}}"),
            Some(&id),
            Some(made.marker),
        );
        if let Some(req) = &mut message.req {
            req.flaw = if own { Flaw::Task } else { Flaw::Must };
        }
        message
    }

    /// A client looks at its task.
    pub fn poll_task(&mut self, client: usize, task: &str, marker: String) {
        let mut message = self.message(
            client,
            "tasks/get",
            &format!("\"taskId\":\"{task}\""),
            Some(task),
            Some(marker),
        );
        if let Some(req) = &mut message.req {
            req.flaw = Flaw::Task;
        }
        self.open(
            client,
            Verb::Post,
            Kind::Post,
            message.headers,
            message.text,
            message.req.into_iter().collect(),
        );
    }

    /// A client answers what its task wants to know.
    pub fn update_task(&mut self, client: usize, task: &str, keys: &[String], marker: &str) {
        let answer = |key: &String| {
            format!(
                "{}:{{\"action\":\"accept\",\"content\":{{\"of\":\"{marker}\"}}}}",
                ggen_mcp::protocol::json::quote(key)
            )
        };
        let answers = keys.iter().map(answer).collect::<Vec<_>>().join(",");
        let members = format!("\"taskId\":\"{task}\",\"inputResponses\":{{{answers}}}");
        let mut message = self.message(client, "tasks/update", &members, Some(task), None);
        if let Some(req) = &mut message.req {
            req.flaw = Flaw::Task;
        }
        self.open(
            client,
            Verb::Post,
            Kind::Post,
            message.headers,
            message.text,
            message.req.into_iter().collect(),
        );
    }

    /// Something that the relay answers itself.
    fn local(&mut self, client: usize) -> Message {
        let modern = self.clients[client].version.is_none();
        let up = self.clients[client].view.unwrap_or(0);
        let uri = format!("test://{}/listed", self.servers[up].name);
        let uri = if self.clients[client].view.is_some() {
            uri
        } else {
            ggen_mcp::protocol::name::exposed_uri(&self.servers[up].name, &uri)
        };
        match self.rng.below(9) {
            0 => self.message(client, "tools/list", "", None, None),
            1 => self.message(client, "resources/list", "", None, None),
            2 => self.message(client, "prompts/list", "\"cursor\":\"bad\"", None, None),
            3 => self.message(client, "no/such", "", None, None),
            4 if self.clients[client].view.is_none() => self.message(
                client,
                "tools/call",
                "\"name\":\"doctor\",\"arguments\":{}",
                Some("doctor"),
                None,
            ),
            5 if modern => self.message(client, "server/discover", "", None, None),
            5 => self.message(
                client,
                "logging/setLevel",
                "\"level\":\"debug\"",
                None,
                None,
            ),
            6 | 7 if !modern => {
                let method = if self.rng.chance(60) {
                    "resources/subscribe"
                } else {
                    "resources/unsubscribe"
                };
                self.clients[client].uris.insert(uri.clone());
                self.message(client, method, &format!("\"uri\":\"{uri}\""), None, None)
            }
            _ if !modern => self.message(client, "ping", "", None, None),
            _ => self.message(client, "resources/templates/list", "", None, None),
        }
    }

    /// A client does something.
    pub fn act(&mut self, client: usize) {
        let (modern, session) = (
            self.clients[client].version.is_none(),
            self.clients[client].session.is_some(),
        );
        if !modern && !session {
            if !self.clients[client].initializing {
                self.initialize(client);
            }
            return;
        }
        match self.rng.below(100) {
            0..50 => self.send(client, Self::call),
            50..58 => self.send(client, Self::local),
            58..62 => self.send(client, Self::about_task),
            62..72 => {
                if let Some(key) =
                    self.random_exchange(client, |exchange| !exchange.done && !exchange.gone)
                {
                    self.leave(key);
                    self.input(Input::Gone(key));
                }
            }
            72..78 if modern => {
                let up = self.clients[client].view.unwrap_or(0);
                let uri = format!("test://{}/listed", self.servers[up].name);
                let uri = if self.clients[client].view.is_some() {
                    uri
                } else {
                    ggen_mcp::protocol::name::exposed_uri(&self.servers[up].name, &uri)
                };
                self.clients[client].uris.insert(uri.clone());
                let named = |made: &Made| match self.clients[client].view {
                    Some(_) => format!("\"{}\"", made.id),
                    None => format!("\"{}~{}\"", self.servers[made.up].name, made.id),
                };
                // Those of others among them.
                let ids: Vec<_> = self.made.iter().rev().take(5).map(named).collect();
                let tasks = if self.clients[client].tasks {
                    format!(",\"taskIds\":[{}]", ids.join(","))
                } else {
                    String::new()
                };
                let filter = format!(
                    "\"notifications\":{{\"toolsListChanged\":true,\"resourceSubscriptions\":[\"{uri}\"]{tasks}}}"
                );
                let message = self.message(client, "subscriptions/listen", &filter, None, None);
                self.open(
                    client,
                    Verb::Post,
                    Kind::Listen,
                    message.headers,
                    message.text,
                    message.req.into_iter().collect(),
                );
            }
            72..78 => self.cancel(client),
            78..84 if !modern => {
                let key = self.random_exchange(client, |exchange| {
                    (exchange.gone || exchange.started && !exchange.done)
                        && !exchange.resumed
                        && exchange.session.is_some()
                        && !exchange.log.is_empty()
                });
                match key {
                    Some(key) => self.resume(key),
                    None => drop(self.open(
                        client,
                        Verb::Get,
                        Kind::Get,
                        Vec::new(),
                        String::new(),
                        Vec::new(),
                    )),
                }
            }
            84..86 if !modern => drop(self.open(
                client,
                Verb::Get,
                Kind::Get,
                Vec::new(),
                String::new(),
                Vec::new(),
            )),
            86..88 if !modern => {
                let ended = self.clients[client].session.clone();
                self.reqs
                    .iter_mut()
                    .filter(|req| req.client == client && req.session == ended)
                    .for_each(|req| req.cancelled = true);
                let key = self.open(
                    client,
                    Verb::Delete,
                    Kind::Post,
                    Vec::new(),
                    String::new(),
                    Vec::new(),
                );
                assert!(self.exchanges[&key].done, "DELETE is answered at once");
                self.session_over(client, ended);
            }
            88..93 if self.clients[client].version == Some("2025-03-26") => self.batch(client),
            93..95 => {
                let text = self.rng.pick(&[
                    "{",
                    "[]",
                    "[1]",
                    "{\"jsonrpc\":\"2.0\"}",
                    "null",
                    "{\"jsonrpc\":\"2.0\",\"id\":1,\"id\":1,\"method\":\"ping\"}",
                ]);
                let key = self.open(
                    client,
                    Verb::Post,
                    Kind::Post,
                    Vec::new(),
                    text.to_owned(),
                    Vec::new(),
                );
                assert!(
                    self.exchanges[&key].done,
                    "what is no message is refused at once"
                );
            }
            _ => {}
        }
    }

    fn send(&mut self, client: usize, make: fn(&mut Self, usize) -> Message) {
        let message = make(self, client);
        self.open(
            client,
            Verb::Post,
            Kind::Post,
            message.headers,
            message.text,
            message.req.into_iter().collect(),
        );
    }

    fn initialize(&mut self, client: usize) {
        self.clients[client].initializing = true;
        let version = self.clients[client].version.unwrap_or_default();
        let caps = if self.clients[client].caps {
            "{\"elicitation\":{},\"roots\":{}}"
        } else {
            "{}"
        };
        let members = format!(
            "\"protocolVersion\":\"{version}\",\"capabilities\":{caps},\"clientInfo\":{{\"name\":\"c{client}\",\"version\":\"1\"}}"
        );
        let message = self.message(client, "initialize", &members, None, None);
        self.open(
            client,
            Verb::Post,
            Kind::Initialize,
            Vec::new(),
            message.text,
            message.req.into_iter().collect(),
        );
    }

    fn batch(&mut self, client: usize) {
        let (mut texts, mut reqs) = (Vec::new(), Vec::new());
        for _ in 0..self.rng.between(1, 5) {
            let message = if self.rng.chance(70) {
                self.call(client)
            } else {
                self.local(client)
            };
            texts.push(message.text);
            reqs.extend(message.req);
        }
        if self.rng.chance(30) {
            texts.push("{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}".to_owned());
        }
        self.open(
            client,
            Verb::Post,
            Kind::Batch,
            Vec::new(),
            format!("[{}]", texts.join(",")),
            reqs,
        );
    }

    fn cancel(&mut self, client: usize) {
        let session = self.clients[client].session.clone();
        let open: Vec<_> = (0..self.reqs.len())
            .rev()
            .take(60)
            .filter(|at| {
                let req = &self.reqs[*at];
                req.client == client
                    && req.outcome == Outcome::Open
                    && req.session == session
                    && req.method != "initialize"
            })
            .collect();
        if open.is_empty() {
            return;
        }
        let at = self.rng.pick(&open);
        self.reqs[at].cancelled = true;
        let text = format!(
            "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{{\"requestId\":{}}}}}",
            self.reqs[at].id
        );
        self.open(client, Verb::Post, Kind::Post, Vec::new(), text, Vec::new());
    }

    fn random_exchange(
        &mut self,
        client: usize,
        fits: impl Fn(&Exchange) -> bool,
    ) -> Option<StreamKey> {
        let session = &self.clients[client].session;
        let keys: Vec<_> = self
            .exchanges
            .iter()
            .rev()
            .take(80)
            .filter(|(_, exchange)| {
                exchange.client == client && exchange.session == *session && fits(exchange)
            })
            .map(|(key, _)| *key)
            .collect();
        (!keys.is_empty()).then(|| self.rng.pick(&keys))
    }

    /// The client of an exchange is gone; the last events may not have reached it.
    pub fn leave(&mut self, key: StreamKey) {
        let lost = self.rng.below(3);
        let Some(exchange) = self
            .exchanges
            .get_mut(&key)
            .filter(|exchange| !exchange.gone && !exchange.done)
        else {
            return;
        };
        exchange.gone = true;
        if exchange.kind == Kind::Initialize {
            self.clients[exchange.client].initializing = false;
        }
        for _ in 0..lost {
            // One id stays, or there is nothing to come back with.
            if exchange.log.len() > 1
                && let Some((_, Some(req))) = exchange.log.pop()
            {
                self.reqs[req].outcome = Outcome::Open;
            }
        }
        let may_return =
            exchange.session.is_some() && !exchange.log.is_empty() && exchange.kind != Kind::Get;
        for req in exchange.reqs.clone() {
            if !may_return {
                self.reqs[req].forget();
            }
        }
    }

    /// A client comes back for the rest of a stream.
    pub fn resume(&mut self, key: StreamKey) {
        let Some(old) = self.exchanges.get_mut(&key) else {
            return;
        };
        let client = old.client;
        if old.resumed
            || old.session.is_none()
            || old.session != self.clients[client].session
            || old.log.is_empty()
            || old.done && !old.gone
        {
            return;
        }
        let Some((last, _)) = old.log.last().cloned() else {
            return;
        };
        old.resumed = true;
        let (reqs, twice) = (old.reqs.clone(), !old.gone);
        let missing =
            |at: &usize| self.reqs[*at].outcome == Outcome::Open && !self.reqs[*at].cancelled;
        // A stream of a call that was cancelled may be forgotten; then the session's own stream is
        // what one gets.
        let kind = if !last.starts_with("0-") && reqs.iter().any(missing) {
            Kind::Rest
        } else {
            Kind::Get
        };
        reqs.iter().for_each(|at| self.reqs[*at].twice |= twice);
        // The log of the new exchange begins where that of the old one ends.
        self.next_resume = Some((reqs, last.clone()));
        self.open(
            client,
            Verb::Get,
            kind,
            vec![("last-event-id", last)],
            String::new(),
            Vec::new(),
        );
    }

    pub fn client_replies(&mut self, client: usize, session: &str, text: String) {
        if self.clients[client].session.as_deref() == Some(session) {
            self.open(client, Verb::Post, Kind::Post, Vec::new(), text, Vec::new());
        }
    }

    /// A modern client comes back with answers: as it should, or in one of the ways in which it
    /// should not.
    pub fn retry(&mut self, at: usize) {
        let Asked {
            client,
            method,
            ref members,
            ref name,
            ref marker,
            ref state,
            ref keys,
            sealed,
            shared,
        } = self.asked[at];
        let (members, name, marker, mut state, keys) = (
            members.clone(),
            name.clone(),
            marker.clone(),
            state.clone(),
            keys.clone(),
        );
        let answer = |key: &String| {
            format!(
                "{}:{{\"action\":\"accept\",\"content\":{{\"of\":\"{marker}\"}}}}",
                ggen_mcp::protocol::json::quote(key)
            )
        };
        let mut answers: Vec<_> = keys.iter().map(answer).collect();
        let (mut who, mut flaw, mut times) =
            (client, if shared { Flaw::Maybe } else { Flaw::None }, 1);
        if sealed && !self.quiet {
            match self.rng.below(20) {
                0 => {
                    let place = self.rng.index(state.len());
                    let other = if state.as_bytes()[place] == b'A' {
                        "B"
                    } else {
                        "A"
                    };
                    state.replace_range(place..=place, other);
                    flaw = Flaw::Must;
                }
                1 => {
                    // Somebody else, who can make the very same request.
                    let others: Vec<_> = (0..self.clients.len())
                        .filter(|other| {
                            *other != client
                                && self.clients[*other].version.is_none()
                                && self.clients[*other].view == self.clients[client].view
                        })
                        .collect();
                    if !others.is_empty() {
                        who = self.rng.pick(&others);
                        flaw = Flaw::Must;
                    }
                }
                2 | 3 => answers.clear(),
                4 => answers.push("\"more\":{\"action\":\"cancel\"}".to_owned()),
                5 | 6 => times = 2,
                7 => return,
                _ => {}
            }
        }
        // What was tampered with or stolen is used as it should be a little later.
        if flaw == Flaw::Must {
            self.at(100_000, What::Retry(at));
        }
        for nth in 0..times {
            let responses = if keys.is_empty() {
                String::new()
            } else {
                format!(",\"inputResponses\":{{{}}}", answers.join(","))
            };
            let all = format!("{members},\"requestState\":\"{state}\"{responses}");
            let mut message =
                self.message(who, method, &all, name.as_deref(), Some(marker.clone()));
            if let Some(req) = &mut message.req {
                req.members.clone_from(&members);
                req.flaw = if times > 1 && nth > 0 {
                    Flaw::Maybe
                } else {
                    flaw
                };
                req.shared = times > 1 || shared;
            }
            self.open(
                who,
                Verb::Post,
                Kind::Post,
                message.headers,
                message.text,
                message.req.into_iter().collect(),
            );
        }
    }

    /// A session is over: what is in flight in it gets no answer.
    pub fn session_over(&mut self, client: usize, ended: Option<String>) {
        if ended.is_none() {
            return;
        }
        for req in self
            .reqs
            .iter_mut()
            .filter(|req| req.client == client && req.session == ended)
        {
            req.cancelled = true;
        }
        if self.clients[client].session == ended {
            self.clients[client].session = None;
            self.clients[client].uris.clear();
        }
    }

    /// Comes back for everything that is still missing.
    pub fn resume_all(&mut self) {
        let keys: Vec<_> = self
            .exchanges
            .iter()
            .filter(|(_, exchange)| {
                exchange
                    .reqs
                    .iter()
                    .any(|req| self.reqs[*req].outcome == Outcome::Open)
            })
            .map(|(key, _)| *key)
            .collect();
        for key in keys {
            self.at(0, What::Resume(key));
        }
    }
}
