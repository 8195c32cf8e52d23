//! The simulated upstreams: what each answers, and how it misbehaves. Every answer to a call
//! carries the server's name, the tool's own name and the nonce of the call, so that a crossed
//! answer is seen.

use crate::rng::Rng;
use ggen_mcp::api::Isolation;
use serde_json::Value;
use std::collections::{HashMap, HashSet};

const MODERN: &str = "2026-07-28";

/// What a server does, after so many microseconds.
pub struct Step {
    pub after: u64,
    pub act: Act,
}

pub enum Act {
    Say(String),
    /// Not JSON-RPC.
    Garbage,
    Die,
    /// HTTP: the stream ends here, and the rest is given to who resumes.
    Break,
    /// Nothing more comes, and the stream stays open.
    Hang,
    /// The rest comes when the client has answered the question of that id.
    Hold(String),
}

/// How a server behaves, all in percent.
#[derive(Clone, Copy)]
pub struct Manners {
    pub never: u64,
    pub die: u64,
    pub garbage: u64,
    pub storm: u64,
    pub refuse_http: u64,
    pub forget: u64,
    pub silent_probe: u64,
    pub fail_start: u64,
    pub ask: u64,
}

pub const CALM: Manners = Manners {
    never: 0,
    die: 0,
    garbage: 0,
    storm: 0,
    refuse_http: 0,
    forget: 4,
    silent_probe: 20,
    fail_start: 0,
    ask: 15,
};
pub const WILD: Manners = Manners {
    never: 4,
    die: 2,
    garbage: 4,
    storm: 2,
    refuse_http: 4,
    forget: 3,
    silent_probe: 20,
    fail_start: 25,
    ask: 20,
};

pub struct Server {
    pub name: String,
    pub http: bool,
    pub modern: bool,
    pub version: &'static str,
    pub manners: Manners,
    pub alive: bool,
    pub life: u64,
    pub handoff: Option<String>,
    /// The supervisor was asked for it, and the pipes were given to the present relay.
    pub connected: bool,
    pub tools: usize,
    /// How often it was asked for its tools.
    lists: u64,
    /// The newest of them.
    newest: u64,
    /// How many tools the list has that is being given.
    listed: usize,
    /// Who shares its children.
    pub isolation: Isolation,
    /// It is configured as one that has state.
    pub stateful: bool,
    /// HTTP sessions, with whether they may be asked for something.
    pub sessions: HashMap<String, bool>,
    pub minted: u64,
    /// The rest of streams that broke off, by event id.
    pub rest: HashMap<String, Vec<Step>>,
    /// Streams on which changes are told: stdio 0, else the HTTP exchange; with the listen id of a
    /// modern client.
    pub listeners: Vec<(u64, Option<String>)>,
    pub cancelled: HashSet<String>,
    pub subscribed: HashSet<String>,
    asks: u64,
    /// Calls that wait for an answer: the rest, by the question's id.
    pub held: HashMap<String, Held>,
    /// Those whose answer has come.
    pub released: Vec<Held>,
    /// Tasks of all clients, with the marker of the call. Their ids are easily guessed.
    pub tasks: Vec<(String, String)>,
    /// Those that want something of their client.
    asking: HashSet<String>,
    made: u64,
}

/// A call that waits for its client.
pub struct Held {
    /// Whose it is.
    pub marker: String,
    /// HTTP: the exchange, and which opening of it.
    pub http: Option<(u64, u64)>,
    pub rest: Vec<Step>,
    /// The task that wants the answer.
    pub task: Option<String>,
}

/// What a request brings: steps, or an HTTP status.
pub enum Served {
    Steps(Vec<Step>),
    Status(u16),
    /// A stream that stays open.
    Stream(Vec<Step>),
    Session(String, Vec<Step>),
}

/// A list as servers give it now and then: in another order, with repeats, with names that look like
/// those of other servers' tools, with items that are none.
fn disguised(mut tools: Vec<String>, turn: u64) -> Vec<String> {
    let named = |name: &&str| format!(r#"{{"name":"{name}","inputSchema":{{"type":"object"}}}}"#);
    match turn % 5 {
        1 => tools.reverse(),
        2 => tools.extend(tools.clone()),
        3 => {
            let lies = [
                "u0__echo",
                "u1__do.it",
                "u2__a_b-c",
                "Echo",
                "do_it",
                "echo ",
            ];
            tools.splice(0..0, lies.iter().map(named));
        }
        4 => tools.extend(
            [
                r#"{"name":7}"#,
                r#"{"name":"echo","inputSchema":[]}"#,
                "null",
            ]
            .map(str::to_owned),
        ),
        _ => {}
    }
    tools
}

fn say(after: u64, text: String) -> Step {
    Step {
        after,
        act: Act::Say(text),
    }
}

impl Server {
    pub fn new(at: usize, rng: &mut Rng, manners: Manners) -> Self {
        Self {
            name: format!("u{at}"),
            http: rng.chance(50),
            modern: rng.chance(50),
            version: rng.pick(&["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"]),
            manners,
            alive: false,
            life: 0,
            handoff: None,
            connected: false,
            tools: 3,
            lists: 0,
            newest: 0,
            listed: 3,
            // A session that has no child of its own may have to wait for one without end.
            isolation: match rng.below(10) {
                0 => Isolation::Single,
                1 | 2 => Isolation::PerCall,
                3 | 4 if manners.die > 0 => Isolation::PerSession,
                5 => Isolation::PerPrincipal,
                6 => Isolation::Shared,
                _ => Isolation::Auto,
            },
            stateful: rng.chance(25),
            sessions: HashMap::new(),
            minted: 0,
            rest: HashMap::new(),
            listeners: Vec::new(),
            cancelled: HashSet::new(),
            subscribed: HashSet::new(),
            asks: 0,
            held: HashMap::new(),
            released: Vec::new(),
            tasks: Vec::new(),
            asking: HashSet::new(),
            made: 0,
        }
    }

    pub fn has_tasks(&self) -> bool {
        self.modern || self.version == "2025-11-25"
    }

    /// A task as its era writes it.
    pub fn task(&self, id: &str, marker: &str, status: &str) -> String {
        let ttl = if self.modern { "ttlMs" } else { "ttl" };
        format!(r#""taskId":"{id}","status":"{status}","{ttl}":1000,"statusMessage":"{marker}""#)
    }

    /// It is dead: its memory is gone.
    pub fn dies(&mut self) {
        self.alive = false;
        self.connected = false;
        self.handoff = None;
        self.sessions.clear();
        self.listeners.clear();
        self.cancelled.clear();
        self.subscribed.clear();
        self.rest.clear();
        self.held.clear();
        self.released.clear();
        self.tasks.clear();
        self.asking.clear();
    }

    /// The answer to a question. It is given once, and it is about the call that asked.
    fn answered(&mut self, message: &Value) {
        let id = message["id"].as_str().unwrap_or_default();
        let Some(held) = self.held.remove(id) else {
            return;
        };
        let text = message["result"]["content"]["of"].as_str();
        assert!(
            text.is_none_or(|of| of == held.marker),
            "{} asked for {} and got {message}",
            self.name,
            held.marker
        );
        if let Some(task) = &held.task {
            self.asking.remove(task);
        }
        self.released.push(held);
    }

    pub fn tool(at: usize) -> &'static str {
        ["echo", "do.it", "a_b-c", "later", "last"][at % 5]
    }

    fn items(&self, method: &str) -> (&'static str, Vec<String>) {
        match method {
            "tools/list" => {
                // The second tool may be a task, and so may the first one: no client of 2025-11-25
                // calls it as anything else here.
                let support = |at| match at {
                    0 if self.name.ends_with(['1', '3']) => {
                        r#","execution":{"taskSupport":"required"}"#
                    }
                    1 => r#","execution":{"taskSupport":"optional"}"#,
                    _ => "",
                };
                let support = |at| {
                    if self.has_tasks() && !self.modern {
                        support(at)
                    } else {
                        ""
                    }
                };
                let tool = |at| {
                    format!(
                        r#"{{"name":"{}","x":1.0,"inputSchema":{{"type":"object"}}{}}}"#,
                        Self::tool(at),
                        support(at)
                    )
                };
                let tools = (0..self.listed).map(tool).collect();
                ("tools", disguised(tools, self.life + self.lists))
            }
            "prompts/list" => (
                "prompts",
                vec![r#"{"name":"greet"}"#.into(), r#"{"name":"p2"}"#.into()],
            ),
            "resources/list" => (
                "resources",
                vec![format!(
                    r#"{{"uri":"test://{}/listed","name":"r"}}"#,
                    self.name
                )],
            ),
            _ => (
                "resourceTemplates",
                vec![r#"{"uriTemplate":"test://x/{n}","name":"t"}"#.into()],
            ),
        }
    }

    /// Serves one message. `session`: HTTP.
    pub fn serve(
        &mut self,
        text: &str,
        rng: &mut Rng,
        exchange: u64,
        session: Option<&str>,
        headers: &[(String, String)],
    ) -> Served {
        let message: Value = serde_json::from_str(text)
            .unwrap_or_else(|_| panic!("{} got no JSON: {text}", self.name));
        let method = message["method"].as_str().unwrap_or_default().to_owned();
        let params = &message["params"];
        if self.http && !self.modern && method != "initialize" && method != "server/discover" {
            match session {
                Some(id) if self.sessions.contains_key(id) => {}
                Some(_) => return Served::Status(404),
                None => return Served::Status(400),
            }
            if method.ends_with("/call")
                && self.held.is_empty()
                && rng.chance(self.manners.forget)
                && (self.manners.die > 0 || self.minted < 2)
            {
                self.sessions.clear();
                return Served::Status(404);
            }
        }
        if message.get("id").is_none() || method.is_empty() {
            if method.is_empty() {
                self.answered(&message);
            }
            if method == "notifications/cancelled" {
                self.cancelled.insert(params["requestId"].to_string());
                self.listeners
                    .retain(|(_, id)| id.as_deref() != Some(&*params["requestId"].to_string()));
            }
            return Served::Status(202);
        }
        let id = message["id"].to_string();
        assert!(
            message["id"].is_u64(),
            "{} got a request with a client's id: {text}",
            self.name
        );
        self.check_era(&message, &method, headers, text);
        let result = |result: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#);
        let error = |code: i64, why: &str| {
            format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"{why}"}}}}"#)
        };
        let complete = if self.modern {
            r#","resultType":"complete","ttlMs":1000,"cacheScope":"private""#
        } else {
            ""
        };
        let soon = rng.between(100, 20_000);
        let caps = r#"{"tools":{"listChanged":true},"prompts":{"listChanged":true},"resources":{"listChanged":true,"subscribe":true},"logging":{},"completions":{}TASKS}"#;
        let tasks = match (self.modern, self.has_tasks()) {
            (true, _) => r#","extensions":{"io.modelcontextprotocol/tasks":{}}"#,
            (false, true) => r#","tasks":{"list":{},"cancel":{},"requests":{"tools":{"call":{}}}}"#,
            (false, false) => "",
        };
        let caps = caps.replace("TASKS", tasks);
        let steps = match method.as_str() {
            "server/discover" if self.modern => {
                vec![say(
                    soon,
                    result(&format!(
                        r#"{{"supportedVersions":["{MODERN}"],"capabilities":{caps}{complete}}}"#
                    )),
                )]
            }
            "server/discover" if self.http => return Served::Status(400),
            "server/discover" if rng.chance(self.manners.silent_probe) => vec![Step {
                after: 0,
                act: Act::Hang,
            }],
            "initialize" if !self.modern => {
                let answer = result(&format!(
                    r#"{{"protocolVersion":"{}","capabilities":{caps},"serverInfo":{{"name":"{}","version":"1"}}}}"#,
                    self.version, self.name
                ));
                if !self.http {
                    return Served::Steps(vec![say(soon, answer)]);
                }
                self.minted += 1;
                let session = format!("{}-{}", self.name, self.minted);
                self.sessions.insert(
                    session.clone(),
                    params["capabilities"].get("elicitation").is_some(),
                );
                return Served::Session(session, vec![say(soon, answer)]);
            }
            "tools/list" | "prompts/list" | "resources/list" | "resources/templates/list" => {
                // All pages that somebody reads are of one list, whatever others read meanwhile.
                let cursor = params["cursor"].as_str().unwrap_or_default();
                let parts: Vec<u64> = cursor.split('.').flat_map(str::parse).collect();
                let from = match parts[..] {
                    [list, listed, from] => {
                        (self.lists, self.listed) = (list, listed as usize);
                        from as usize
                    }
                    _ => {
                        if method == "tools/list" {
                            self.newest += 1;
                            (self.lists, self.listed) = (self.newest, self.tools);
                        }
                        0
                    }
                };
                let (member, items) = self.items(&method);
                let to = (from + 2).min(items.len());
                let next = if to < items.len() {
                    let (list, listed) = (self.lists, self.listed);
                    format!(r#","nextCursor":"{list}.{listed}.{to}""#)
                } else {
                    String::new()
                };
                let items = items.get(from..to).unwrap_or_default().join(",");
                vec![say(
                    soon,
                    result(&format!(r#"{{"{member}":[{items}]{next}{complete}}}"#)),
                )]
            }
            "subscriptions/listen" if self.modern => {
                self.listeners.push((exchange, Some(id.clone())));
                self.subscribed.extend(
                    params["notifications"]["resourceSubscriptions"]
                        .as_array()
                        .into_iter()
                        .flatten()
                        .map(|uri| uri.to_string()),
                );
                let ack = format!(
                    r#"{{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{{"_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}},"notifications":{{}}}}}}"#
                );
                return Served::Stream(vec![say(soon, ack)]);
            }
            "resources/subscribe" | "resources/unsubscribe" if !self.modern => {
                self.subscribed.insert(params["uri"].to_string());
                vec![say(soon, result("{}"))]
            }
            "logging/setLevel" if !self.modern => vec![say(soon, result("{}"))],
            "tools/call" | "prompts/get" | "resources/read" | "completion/complete" | "x/own" => {
                return self.call(&id, &method, params, rng, session);
            }
            "tasks/result"
                if self
                    .asking
                    .contains(params["taskId"].as_str().unwrap_or_default()) =>
            {
                let task = params["taskId"].as_str().unwrap_or_default().to_owned();
                let marker = self
                    .tasks
                    .iter()
                    .find(|(id, _)| *id == task)
                    .map(|(_, marker)| marker.clone())
                    .unwrap_or_default();
                self.asks += 1;
                let question = format!("ask-{}", self.asks);
                let meta = format!(
                    r#""_meta":{{"io.modelcontextprotocol/related-task":{{"taskId":"{task}"}}}}"#
                );
                let ask = format!(
                    r#"{{"jsonrpc":"2.0","id":"{question}","method":"elicitation/create","params":{{"message":"{marker}",{meta}}}}}"#
                );
                let rest = vec![say(
                    rng.below(5_000),
                    result(&format!(
                        r#"{{"content":[{{"type":"text","text":"{marker}"}}]}}"#
                    )),
                )];
                self.held.insert(
                    question.clone(),
                    Held {
                        marker,
                        http: None,
                        rest,
                        task: Some(task),
                    },
                );
                vec![
                    say(soon, ask),
                    Step {
                        after: soon,
                        act: Act::Hold(question),
                    },
                ]
            }
            "tasks/list" if self.has_tasks() && !self.modern => {
                let from = params["cursor"]
                    .as_str()
                    .and_then(|cursor| cursor.parse::<usize>().ok())
                    .unwrap_or(0)
                    .min(self.tasks.len());
                let to = (from + 3).min(self.tasks.len());
                let next = if to < self.tasks.len() {
                    format!(r#","nextCursor":"{to}""#)
                } else {
                    String::new()
                };
                let page: Vec<_> = self.tasks[from..to]
                    .iter()
                    .map(|(id, marker)| format!("{{{}}}", self.task(id, marker, "completed")))
                    .collect();
                vec![say(
                    soon,
                    result(&format!(r#"{{"tasks":[{}]{next}}}"#, page.join(","))),
                )]
            }
            "tasks/get" | "tasks/cancel" | "tasks/update" | "tasks/result" if self.has_tasks() => {
                let wanted = params["taskId"].as_str().unwrap_or_default();
                let answer = match self.tasks.iter().find(|(id, _)| id == wanted) {
                    None => error(-32602, "no such task"),
                    Some((_, marker)) if method == "tasks/result" => result(&format!(
                        r#"{{"content":[{{"type":"text","text":"{marker}"}}]}}"#
                    )),
                    Some((id, marker)) if method == "tasks/get" => {
                        let asks = self.asking.contains(id);
                        let status = match rng.below(4) {
                            _ if asks => "input_required",
                            0 => "working",
                            _ => "completed",
                        };
                        let more = match (self.modern, status) {
                            (true, "input_required") => format!(
                                r#","resultType":"complete","inputRequests":{{"k":{{"method":"elicitation/create","params":{{"message":"{marker}"}}}}}}"#
                            ),
                            (true, "completed") => {
                                format!(
                                    r#","resultType":"complete","result":{{"content":[{{"type":"text","text":"{marker}"}}]}}"#
                                )
                            }
                            (true, _) => {
                                r#","resultType":"complete","pollIntervalMs":100"#.to_owned()
                            }
                            _ => String::new(),
                        };
                        result(&format!("{{{}{more}}}", self.task(id, marker, status)))
                    }
                    Some((id, marker)) if !self.modern => {
                        self.asking.remove(id);
                        result(&format!("{{{}}}", self.task(id, marker, "cancelled")))
                    }
                    Some((id, marker)) => {
                        let answer = params["inputResponses"]["k"]["content"]["of"].as_str();
                        assert!(
                            answer.is_none_or(|of| of == marker),
                            "{} got {params} for {marker}",
                            self.name
                        );
                        if answer.is_some() || method == "tasks/cancel" {
                            self.asking.remove(id);
                        }
                        result(&format!(r#"{{"resultType":"complete","x":"{marker}"}}"#))
                    }
                };
                vec![say(rng.below(200_000), answer)]
            }
            _ => vec![say(soon, error(-32601, "no such method"))],
        };
        Served::Steps(steps)
    }

    /// Each era gets what it knows, and nothing else.
    fn check_era(&self, message: &Value, method: &str, headers: &[(String, String)], text: &str) {
        let meta = &message["params"]["_meta"];
        let reserved = |key: &str| meta.get(format!("io.modelcontextprotocol/{key}")).is_some();
        if self.modern && method != "initialize" {
            assert_eq!(
                meta["io.modelcontextprotocol/protocolVersion"], MODERN,
                "{} got {text}",
                self.name
            );
            assert!(
                meta["io.modelcontextprotocol/clientCapabilities"].is_object(),
                "{} got {text}",
                self.name
            );
            if self.http {
                let header = |name: &str| {
                    headers
                        .iter()
                        .find(|(key, _)| key == name)
                        .map(|(_, value)| value.as_str())
                };
                assert_eq!(header("mcp-protocol-version"), Some(MODERN), "{text}");
                assert_eq!(header("mcp-method"), Some(method), "{text}");
                let name = message["params"]["name"]
                    .as_str()
                    .or(message["params"]["uri"].as_str());
                if matches!(method, "tools/call" | "prompts/get" | "resources/read") {
                    assert_eq!(header("mcp-name"), name, "{text}");
                }
            }
        } else if method != "server/discover" {
            assert!(
                ![
                    "protocolVersion",
                    "clientInfo",
                    "clientCapabilities",
                    "logLevel"
                ]
                .into_iter()
                .any(reserved),
                "{} got {text}",
                self.name
            );
        }
    }

    /// A modern server's questions: the result that asks, if it asks in this round.
    fn round(
        &self,
        id: &str,
        method: &str,
        params: &Value,
        marker: &str,
        rng: &mut Rng,
    ) -> Option<String> {
        let able = params["_meta"]["io.modelcontextprotocol/clientCapabilities"]
            .get("elicitation")
            .is_some();
        let state = params["requestState"].as_str();
        if !self.modern || !matches!(method, "tools/call" | "prompts/get" | "resources/read") {
            return None;
        }
        let before = state.map_or(0, |state| {
            let (of, round) = state
                .split_once('#')
                .unwrap_or_else(|| panic!("{} got the state {state}", self.name));
            assert_eq!(of, marker, "{} got the state of another call", self.name);
            let answers = &params["inputResponses"];
            if round.ends_with('q') {
                assert_eq!(
                    answers["k"]["content"]["of"], marker,
                    "{} got {params}",
                    self.name
                );
            } else {
                assert!(
                    answers.is_null(),
                    "{} got answers to nothing: {params}",
                    self.name
                );
            }
            round.len()
        });
        if !able || before > 3 || !rng.chance(if before > 0 { 30 } else { self.manners.ask }) {
            return None;
        }
        let silent = rng.chance(20);
        let state = format!(
            "{marker}#{}{}",
            "r".repeat(before),
            if silent { 's' } else { 'q' }
        );
        let questions = format!(
            r#","inputRequests":{{"k":{{"method":"elicitation/create","params":{{"message":"{marker}"}}}}}}"#
        );
        let questions = if silent { "" } else { questions.as_str() };
        Some(format!(
            r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"input_required","requestState":"{state}"{questions}}}}}"#
        ))
    }

    /// A client's call.
    fn call(
        &mut self,
        id: &str,
        method: &str,
        params: &Value,
        rng: &mut Rng,
        session: Option<&str>,
    ) -> Served {
        let (name, nonce) = match method {
            "resources/read" => {
                let uri = params["uri"].as_str().unwrap_or_default();
                (
                    "res".to_owned(),
                    uri.rsplit('/').next().unwrap_or_default().to_owned(),
                )
            }
            "completion/complete" => (
                params["ref"]["name"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned(),
                params["argument"]["value"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned(),
            ),
            "x/own" => (
                "own".to_owned(),
                params["nonce"].as_str().unwrap_or_default().to_owned(),
            ),
            _ => (
                params["name"].as_str().unwrap_or_default().to_owned(),
                params["arguments"]["nonce"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned(),
            ),
        };
        let marker = format!("{}|{name}|{nonce}", self.name);
        if let Some(question) = self.round(id, method, params, &marker, rng) {
            return Served::Steps(vec![say(rng.below(20_000), question)]);
        }
        let complete = if self.modern {
            r#","resultType":"complete""#
        } else {
            ""
        };
        let capabilities = &params["_meta"]["io.modelcontextprotocol/clientCapabilities"];
        let may = if self.modern {
            capabilities["extensions"]
                .get("io.modelcontextprotocol/tasks")
                .is_some()
        } else {
            self.has_tasks() && params["task"].is_object()
        };
        // A server may have to refuse who takes no tasks; a legacy client does not hear of that.
        if self.modern
            && method == "tools/call"
            && name == "do.it"
            && !may
            && nonce.ends_with(['1', '4'])
        {
            let data =
                r#"{"requiredCapabilities":{"extensions":{"io.modelcontextprotocol/tasks":{}}}}"#;
            let error = format!(
                r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32021,"message":"{marker}","data":{data}}}}}"#
            );
            return Served::Steps(vec![say(rng.below(20_000), error)]);
        }
        let as_task = method == "tools/call" && may && rng.chance(70);
        let able = if self.modern {
            capabilities.get("elicitation").is_some()
        } else {
            session.is_some_and(|id| self.sessions.get(id) == Some(&true))
        };
        let result = match method {
            "tools/call" if as_task => {
                self.made += 1;
                let id = self.made.to_string();
                // In a run without faults no child is to be kept from others for long.
                let status = if self.manners.die == 0 || rng.chance(50) {
                    "completed"
                } else {
                    "working"
                };
                let asks = able && self.manners.die > 0 && rng.chance(40);
                let task = self.task(&id, &marker, if asks { "working" } else { status });
                if asks {
                    self.asking.insert(id.clone());
                }
                self.tasks.push((id, marker.clone()));
                if self.modern {
                    format!(r#"{{"resultType":"task",{task}}}"#)
                } else {
                    format!(r#"{{"task":{{{task}}}}}"#)
                }
            }
            "tools/call" => {
                let failed = rng.chance(10);
                let link = if rng.chance(20) {
                    format!(
                        r#",{{"type":"resource_link","uri":"test://{}/made","name":"m"}}"#,
                        self.name
                    )
                } else {
                    String::new()
                };
                format!(
                    r#"{{"content":[{{"type":"text","text":"{marker}"}}{link}],"isError":{failed}{complete}}}"#
                )
            }
            "prompts/get" => {
                format!(
                    r#"{{"messages":[{{"role":"user","content":{{"type":"text","text":"{marker}"}}}}]{complete}}}"#
                )
            }
            "resources/read" => format!(
                r#"{{"contents":[{{"uri":{},"text":"{marker}"}}]{complete}}}"#,
                params["uri"]
            ),
            _ => format!(r#"{{"completion":{{"values":["{marker}"],"hasMore":false}}{complete}}}"#),
        };
        let answer = if rng.chance(10) {
            format!(
                r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32000,"message":"{marker}"}}}}"#
            )
        } else {
            format!(r#"{{"jsonrpc":"2.0", "id": {id},"result":{result}}}"#)
        };
        let mut steps = Vec::new();
        let mut at = if rng.chance(50) {
            0
        } else {
            rng.between(0, 300_000)
        };
        if rng.chance(self.manners.die) {
            return Served::Steps(vec![Step {
                after: at,
                act: Act::Die,
            }]);
        }
        if rng.chance(self.manners.garbage) {
            steps.push(Step {
                after: at,
                act: Act::Garbage,
            });
        }
        if let Some(token) = params["_meta"].get("progressToken") {
            let many = if rng.chance(self.manners.storm) {
                rng.between(70, 400)
            } else {
                rng.below(4)
            };
            for n in 0..many {
                at += rng.below(if many > 4 { 200 } else { 200_000 });
                steps.push(say(
                    at,
                    format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":{n},"message":"{marker}"}}}}"#),
                ));
            }
        }
        if rng.chance(10) {
            steps.push(say(
                at,
                format!(r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"level":"error","data":"{marker}"}}}}"#),
            ));
        }
        if rng.chance(self.manners.ask) {
            self.asks += 1;
            let method = rng.pick(&["ping", "elicitation/create", "roots/list"]);
            let text = format!(
                r#"{{"jsonrpc":"2.0","id":"ask-{}","method":"{method}","params":{{"message":"{marker}"}}}}"#,
                self.asks
            );
            steps.push(say(at, text));
            at += rng.below(500_000);
            if method != "ping"
                && !self.modern
                && session.is_some_and(|id| self.sessions.get(id) == Some(&true))
                && rng.chance(70)
            {
                let rest = vec![say(rng.below(5_000), answer)];
                let id = format!("ask-{}", self.asks);
                self.held.insert(
                    id.clone(),
                    Held {
                        marker,
                        http: None,
                        rest,
                        task: None,
                    },
                );
                steps.push(Step {
                    after: at,
                    act: Act::Hold(id),
                });
                return Served::Steps(steps);
            }
        }
        if self.http && !self.modern && session.is_some() && rng.chance(10) {
            steps.push(Step {
                after: at,
                act: Act::Break,
            });
            at += 1000;
        }
        if rng.chance(self.manners.never) {
            steps.push(Step {
                after: at,
                act: Act::Hang,
            });
            return Served::Steps(steps);
        }
        if rng.chance(5) {
            steps.push(say(
                at,
                r#"{"jsonrpc":"2.0","id":987654321987,"result":{"content":[]}}"#.to_owned(),
            ));
        }
        if rng.chance(5) {
            at += rng.below(3_000_000);
        }
        steps.push(say(at, answer.clone()));
        if rng.chance(5) {
            steps.push(say(at, answer));
        }
        Served::Steps(steps)
    }
}
