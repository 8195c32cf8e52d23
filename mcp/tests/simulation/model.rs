//! What must be true of every reply, and of the whole at the end.

use crate::client::{Asked, Flaw, Kind, Made, Outcome};
use crate::world::{What, World, trace};
use ggen_mcp::api::{Input, StreamKey};
use ggen_mcp::edge::Reply;
use ggen_mcp::gateway::Leftovers;
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    method: Option<String>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

impl World {
    /// A reply of the relay.
    pub fn reply(&mut self, key: StreamKey, reply: Reply) {
        let Some(exchange) = self.exchanges.get_mut(&key) else {
            panic!("a reply on {key:?}, which was never opened")
        };
        assert!(
            !exchange.gone,
            "a reply on {key:?} after its client was gone: {reply:?}"
        );
        assert!(
            !exchange.done,
            "a reply on {key:?} after its end: {reply:?}"
        );
        match reply {
            Reply::Full {
                status,
                session,
                body,
                ..
            } => {
                assert!(!exchange.started, "Full after Start on {key:?}");
                exchange.done = true;
                if let (Some(session), 200) = (session, status) {
                    assert!(
                        self.kept
                            .contains_key(&ggen_mcp::persisted::digest(&session)),
                        "a session is told of that nobody keeps"
                    );
                    self.used.insert(session.to_string(), self.now);
                    self.clients[exchange.client].session = Some(session.into());
                }
                if exchange.kind == Kind::Initialize {
                    self.clients[exchange.client].initializing = false;
                }
                let text = String::from_utf8(body.to_vec()).expect("UTF-8");
                assert!(
                    exchange.json || !text.contains("\"result\""),
                    "JSON for a client that takes none: {key:?} {text}"
                );
                if status == 404 && text.contains("GGEN-E3013") {
                    // The supervisor hears every few seconds of which sessions are used.
                    let least = crate::world::SESSION_IDLE - 8_000_000;
                    let is_ended = self.clients[exchange.client].session != exchange.session;
                    assert!(
                        is_ended || exchange.idle >= least,
                        "the session of {key:?} is lost after {} µs",
                        exchange.idle
                    );
                    let (client, ended) = (exchange.client, exchange.session.clone());
                    self.session_over(client, ended);
                }
                if text.starts_with('[') {
                    for part in serde_json::from_str::<Vec<&RawValue>>(&text).expect("an array") {
                        self.message_on(key, None, part.get(), status);
                    }
                } else if !text.is_empty() {
                    self.message_on(key, None, &text, status);
                }
                self.ended(key);
            }
            Reply::Start { session } => {
                assert!(!exchange.started, "Start twice on {key:?}");
                assert!(
                    exchange.sse,
                    "an event stream for a client that takes none: {key:?}"
                );
                exchange.started = true;
                if let Some(session) = session {
                    assert!(
                        self.kept
                            .contains_key(&ggen_mcp::persisted::digest(&session)),
                        "a session is told of that nobody keeps"
                    );
                    self.used.insert(session.to_string(), self.now);
                    self.clients[exchange.client].session = Some(session.into());
                }
            }
            Reply::Event { id, retry_ms, data } => {
                assert!(exchange.started, "an event before Start on {key:?}");
                assert!(exchange.credit > 0, "an event beyond the window on {key:?}");
                exchange.credit -= 1;
                exchange.events += 1;
                let slow = self.clients[exchange.client].is_slow();
                if let Some(id) = &id {
                    let of = |id: &str| {
                        id.split_once('-').map(|(buffer, event)| {
                            (buffer.to_owned(), event.parse::<u64>().expect("a number"))
                        })
                    };
                    let (buffer, event) = of(id).expect("an event id");
                    if let Some((last_ring, last)) =
                        exchange.log.last().and_then(|(last, _)| of(last))
                    {
                        assert!(
                            exchange.kind == Kind::Get || buffer == last_ring,
                            "two streams on {key:?}"
                        );
                        assert!(
                            exchange.kind == Kind::Get
                                || event > last
                                || event == last && data.is_empty(),
                            "event {id} after {last} on {key:?}"
                        );
                    }
                    exchange.log.push((id.to_string(), None));
                }
                if data.is_empty() {
                    assert!(id.is_some(), "an empty event without an id");
                    let version = self.clients[exchange.client].version;
                    assert_eq!(
                        version,
                        Some("2025-11-25"),
                        "an empty event for an older client"
                    );
                    if let Some(retry) = retry_ms {
                        self.at(u64::from(retry) * 1000, What::Resume(key));
                    }
                } else {
                    let text = String::from_utf8(data.to_vec()).expect("UTF-8");
                    assert!(
                        !text.contains(['\n', '\r']),
                        "a line break in an event: {text}"
                    );
                    self.message_on(key, id.as_deref(), &text, 200);
                }
                let (wait, events) = if slow {
                    (3_000_000, self.rng.below(3))
                } else {
                    (10_000, 1)
                };
                let wait = self.rng.below(wait);
                if events > 0 {
                    self.at(wait, What::Credit(key, events as u32));
                }
            }
            Reply::End => {
                assert!(exchange.started, "End before Start on {key:?}");
                exchange.done = true;
                self.ended(key);
            }
        }
    }

    /// An exchange is over: each of its requests has an answer, or a reason to have none.
    fn ended(&mut self, key: StreamKey) {
        let exchange = &self.exchanges[&key];
        let missing: Vec<_> = exchange
            .reqs
            .iter()
            .copied()
            .filter(|req| self.reqs[*req].outcome == Outcome::Open)
            .collect();
        if missing.is_empty() {
            return;
        }
        // A stream of a session that was let go of can be picked up again.
        let superseded = exchange.resumed;
        let suspended = exchange.started && exchange.session.is_some() && !exchange.log.is_empty();
        for at in missing {
            let req = &mut self.reqs[at];
            if req.cancelled {
                req.outcome = Outcome::Over;
            } else {
                assert!(
                    superseded || suspended,
                    "{key:?} ended without an answer to {} {}",
                    req.method,
                    req.id
                );
            }
        }
        if let Some(exchange) = self
            .exchanges
            .get_mut(&key)
            .filter(|exchange| suspended && !exchange.resumed)
        {
            exchange.gone = true;
            self.at(500_000, What::Resume(key));
        }
    }

    fn message_on(&mut self, key: StreamKey, event: Option<&str>, text: &str, status: u16) {
        let message: Message<'_> = serde_json::from_str(text)
            .unwrap_or_else(|error| panic!("no JSON ({error}) on {key:?}: {text}"));
        let exchange = &self.exchanges[&key];
        match (&message.method, message.id) {
            (Some(method), Some(id)) => {
                let client = &self.clients[exchange.client];
                assert!(
                    client.caps && client.version.is_some(),
                    "a client is asked for what it cannot do: {text}"
                );
                assert!(
                    matches!(method.as_str(), "elicitation/create" | "roots/list"),
                    "{text}"
                );
                assert!(
                    self.is_about(key, text),
                    "a question on a stream of another call: {key:?} {text}"
                );
                let (who, session) = (
                    exchange.client,
                    exchange.session.clone().expect("a session"),
                );
                let of = message.params.and_then(|params| {
                    serde_json::from_str::<serde_json::Value>(params.get()).ok()
                });
                let of = of
                    .map(|params| params["message"].to_string())
                    .unwrap_or_default();
                let answer = format!(
                    "{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":{{\"action\":\"accept\",\"content\":{{\"of\":{of}}}}}}}",
                    id.get()
                );
                let wait = self.rng.below(800_000);
                if self.calm || self.rng.chance(80) {
                    self.at(wait, What::Reply(who, session, answer));
                }
            }
            (Some(method), None) => self.notified(
                key,
                method,
                message.params.map_or("{}", RawValue::get),
                text,
            ),
            (None, Some(id)) => {
                let found = exchange.reqs.iter().copied().find(|req| {
                    self.reqs[*req].id == id.get() && self.reqs[*req].outcome == Outcome::Open
                });
                // One that was cancelled after its answer had been kept for its stream: whoever
                // comes back for the stream gets it.
                let may_repeat =
                    |req: &crate::client::Req| req.id == id.get() && (req.twice || req.cancelled);
                if found.is_none() && exchange.reqs.iter().any(|req| may_repeat(&self.reqs[*req])) {
                    return;
                }
                let Some(at) = found else {
                    panic!("an answer to nothing, or the second one, on {key:?}: {text}")
                };
                self.stats.answers += 1;
                let req = &mut self.reqs[at];
                req.outcome = Outcome::Answered;
                if let (Some(last), Some(_)) = (
                    self.exchanges
                        .get_mut(&key)
                        .and_then(|exchange| exchange.log.last_mut()),
                    event,
                ) {
                    last.1 = Some(at);
                }
                if self.asks_back(at, message.result.map_or("", RawValue::get)) {
                    return;
                }
                self.check_answer(
                    at,
                    message.result.map(RawValue::get),
                    message.error.map(RawValue::get),
                    text,
                );
                self.learn_of_tasks(at, message.result.map_or("", RawValue::get));
            }
            (None, None) => {
                assert!(
                    message.error.is_some() && status >= 400,
                    "neither request nor answer on {key:?}: {status} {text}"
                );
                if matches!(exchange.kind, Kind::Rest | Kind::Get) {
                    return;
                }
                for req in exchange.reqs.clone() {
                    // Refused before its id was read: only a whole batch is.
                    assert_eq!(
                        exchange.kind,
                        Kind::Batch,
                        "an error without an id for a request: {text}"
                    );
                    self.reqs[req].outcome = Outcome::Answered;
                }
            }
        }
    }

    /// Whether a result asks the client for something: it is about its own call, and the client
    /// comes back.
    fn asks_back(&mut self, at: usize, result: &str) -> bool {
        if !result.contains("\"input_required\"") || self.reqs[at].method.starts_with("tasks/") {
            return false;
        }
        let result: serde_json::Value = serde_json::from_str(result).expect("JSON");
        let req = &self.reqs[at];
        let (client, marker) = (req.client, req.marker.clone().expect("a call"));
        assert!(
            self.clients[client].version.is_none() && self.clients[client].caps,
            "asked by a result: {result}"
        );
        assert!(
            req.flaw != Flaw::Must,
            "a state that is not the client's was taken: {result}"
        );
        let state = result["requestState"].as_str().expect("a state").to_owned();
        let questions = result["inputRequests"]
            .as_object()
            .cloned()
            .unwrap_or_default();
        for question in questions.values() {
            assert_eq!(
                question["params"]["message"], marker,
                "a question of another call: {result}"
            );
        }
        let asked = Asked {
            client,
            method: req.method,
            members: req.members.clone(),
            name: req.name.clone(),
            marker,
            sealed: !state.contains('#'),
            state,
            keys: questions.keys().cloned().collect(),
            shared: req.shared,
        };
        self.asked.push(asked);
        self.stats.questions += 1;
        let wait = if !self.calm && self.rng.chance(5) {
            30_000_000
        } else {
            self.rng.below(900_000)
        };
        self.at(wait, What::Retry(self.asked.len() - 1));
        true
    }

    /// What a client learns of tasks by an answer.
    fn learn_of_tasks(&mut self, at: usize, result: &str) {
        let req = &self.reqs[at];
        match req.flaw {
            _ if result.is_empty() => {
                self.stats.tasks[2] +=
                    u64::from(req.flaw == Flaw::Must && req.method.starts_with("tasks/"))
            }
            Flaw::Task => {
                self.stats.tasks[1] += 1;
                self.task_asks(at, result);
                let (req, over) = (
                    &self.reqs[at],
                    ["completed", "failed", "cancelled"]
                        .map(|status| format!("\"status\":\"{status}\"")),
                );
                if let (Some(task), Some(marker)) = (req.name.clone(), req.marker.clone())
                    && req.method == "tasks/get"
                    && self.clients[req.client].version.is_none()
                    && !over.iter().any(|over| result.contains(over))
                {
                    self.get_task(req.client, task, marker);
                }
            }
            _ if req.method == "tasks/list" => {
                let result: serde_json::Value = serde_json::from_str(result).expect("JSON");
                for task in result["tasks"].as_array().expect("a list of tasks") {
                    assert!(
                        owner(&task["statusMessage"]) == Some(req.client),
                        "client {} sees a task of others: {task}",
                        req.client
                    );
                    self.stats.tasks[1] += 1;
                }
            }
            _ if req.method == "tools/call" && result.contains("\"taskId\"") => {
                let result: serde_json::Value = serde_json::from_str(result).expect("JSON");
                let task = if result["task"].is_object() {
                    &result["task"]
                } else {
                    &result
                };
                let (client, marker) = (req.client, req.marker.clone().expect("a call"));
                let up = self
                    .servers
                    .iter()
                    .position(|server| marker.split('|').next() == Some(&server.name))
                    .expect("a server");
                let id = task["taskId"].as_str().expect("an id");
                let (exposed, modern) = (id.to_owned(), self.clients[client].version.is_none());
                let id = match self.clients[client].view {
                    Some(_) => id,
                    None => id
                        .strip_prefix(&format!("{}~", self.servers[up].name))
                        .expect("the server is a part of the id"),
                };
                let session = req.session.clone();
                self.made.push(Made {
                    client,
                    session,
                    modern,
                    up,
                    id: id.to_owned(),
                    marker: marker.clone(),
                });
                self.stats.tasks[0] += 1;
                if modern {
                    self.get_task(client, exposed, marker);
                }
            }
            _ => {}
        }
    }

    /// A modern client looks at its task again, unless it loses interest.
    fn get_task(&mut self, client: usize, task: String, marker: String) {
        if self.rng.chance(60) {
            let wait = self.rng.below(900_000);
            self.at(wait, What::Poll(client, task, marker));
        }
    }

    /// A task of a modern client wants something: it is about its own call, and the client answers,
    /// though not always.
    fn task_asks(&mut self, at: usize, result: &str) {
        let req = &self.reqs[at];
        if self.clients[req.client].version.is_some() || !result.contains("\"inputRequests\"") {
            return;
        }
        let result: serde_json::Value = serde_json::from_str(result).expect("JSON");
        let marker = req.marker.clone().expect("a task");
        assert!(
            self.clients[req.client].caps && result["status"] == "input_required",
            "asked by a task: {result}"
        );
        let requests = result["inputRequests"].as_object().expect("questions");
        assert!(
            requests
                .values()
                .all(|question| question["params"]["message"] == marker),
            "a question of another task: {result}"
        );
        let (client, name) = (req.client, req.name.clone());
        let keys: Vec<_> = requests.keys().cloned().collect();
        self.stats.tasks[4] += 1;
        if self.calm || self.rng.chance(80) {
            let wait = self.rng.below(800_000);
            self.at(
                wait,
                What::Update {
                    client,
                    task: name.expect("an id"),
                    keys,
                    marker,
                },
            );
        }
    }

    fn check_answer(&self, at: usize, result: Option<&str>, error: Option<&str>, text: &str) {
        let req = &self.reqs[at];
        let Some(marker) = &req.marker else { return };
        match req.flaw {
            Flaw::Task if error.is_some() => return,
            // It was heard, and that is all that is said.
            Flaw::Task
                if matches!(req.method, "tasks/cancel" | "tasks/update")
                    && self.clients[req.client].version.is_none() =>
            {
                return;
            }
            Flaw::Must => {
                return assert!(
                    error.is_some_and(|error| error.contains("GGEN-E")),
                    "{marker} was given away: {text}"
                );
            }
            Flaw::Maybe if error.is_some_and(|error| error.contains("GGEN-E3040")) => return,
            _ => {}
        }
        match (result, error) {
            (Some(result), None) => assert!(
                result.contains(&format!("\"{marker}\"")),
                "the answer to {marker} is {text}"
            ),
            (None, Some(error)) if error.contains("GGEN-E") => {
                let lacks = error.contains("-32021") && self.clients[req.client].version.is_none();
                // A request of a batch does not wait for a server that the relay's successor has
                // not reached yet.
                let early = error.contains("GGEN-E2101")
                    && self.clients[req.client].version == Some("2025-03-26");
                if self.calm && !req.cancelled && !lacks && !early {
                    panic!("no fault, and yet {marker} got {text}");
                }
            }
            // The server has died since it made a task of the call.
            (None, Some(error)) if error.contains("no such task") && req.method == "tools/call" => {
                assert!(!self.calm, "{text}")
            }
            (None, Some(error)) => assert!(
                error.contains(&format!("\"{marker}\"")),
                "the error for {marker} is {text}"
            ),
            _ => panic!("both or neither: {text}"),
        }
    }

    /// Whether a text holds the marker of an open request of the exchange. Whether a message is
    /// about a request of that exchange; or, because a child on pipes that one session has for
    /// itself does not say which, about another one of the same session.
    fn is_about(&self, key: StreamKey, text: &str) -> bool {
        let names = |req: &crate::client::Req| {
            req.marker
                .as_ref()
                .is_some_and(|marker| text.contains(&format!("\"{marker}\"")))
        };
        let exchange = &self.exchanges[&key];
        let (client, session) = (exchange.client, exchange.session.as_ref());
        let on_pipes = self
            .servers
            .iter()
            .any(|server| !server.http && text.contains(&format!("\"{}|", server.name)));
        exchange.reqs.iter().any(|req| names(&self.reqs[*req]))
            || on_pipes
                && session.is_some()
                && self.reqs.iter().any(|req| {
                    req.client == client && req.session.as_ref() == session && names(req)
                })
    }

    fn notified(&mut self, key: StreamKey, method: &str, params: &str, text: &str) {
        let exchange = &self.exchanges[&key];
        let client = &self.clients[exchange.client];
        let params: serde_json::Value = serde_json::from_str(params).expect("JSON");
        match method {
            "notifications/progress" => {
                let fits = exchange.reqs.iter().any(|req| {
                    let req = &self.reqs[*req];
                    let id: serde_json::Value = serde_json::from_str(&req.id).expect("JSON");
                    req.token
                        && id == params["progressToken"]
                        && req.marker.as_deref() == params["message"].as_str()
                });
                assert!(fits, "progress of another call on {key:?}: {text}");
            }
            "notifications/message" => assert!(
                self.is_about(key, text),
                "a log message of another call on {key:?}: {text}"
            ),
            "notifications/tasks" | "notifications/tasks/status" => {
                assert!(
                    owner(&params["statusMessage"]) == Some(exchange.client),
                    "news of somebody else's task on {key:?}: {text}"
                );
                assert!(
                    matches!(exchange.kind, Kind::Get | Kind::Listen),
                    "{method} on the stream of a call: {key:?}"
                );
            }
            "notifications/cancelled" => {}
            "notifications/subscriptions/acknowledged" => assert_eq!(
                (exchange.kind, exchange.events),
                (Kind::Listen, 1),
                "{text}"
            ),
            "notifications/resources/updated" => {
                assert!(
                    client
                        .uris
                        .contains(params["uri"].as_str().unwrap_or_default()),
                    "an update that nobody asked for: {text}"
                );
            }
            _ => assert!(method.ends_with("list_changed"), "{text}"),
        }
        if method.ends_with("list_changed") || method.ends_with("updated") {
            assert!(
                matches!(exchange.kind, Kind::Get | Kind::Listen),
                "{method} on the stream of a call: {key:?}"
            );
        }
        if method.starts_with("notifications/tasks") {
            self.stats.tasks[3] += 1;
        }
        let exchange = &self.exchanges[&key];
        if exchange.kind == Kind::Listen {
            let id: serde_json::Value =
                serde_json::from_str(&self.reqs[exchange.reqs[0]].id).expect("JSON");
            assert_eq!(
                params["_meta"]["io.modelcontextprotocol/subscriptionId"], id,
                "{text}"
            );
        }
    }

    /// Brings everything to its end, and checks that nothing is left.
    pub fn settle(&mut self) {
        trace(|| "quiet".to_owned());
        self.quiet = true;
        for server in &mut self.servers {
            server.manners = crate::server::CALM;
        }
        for up in 0..self.servers.len() {
            self.at(0, What::Start(up));
        }
        for _ in 0..4 {
            self.grant();
            self.run(10_000_000);
            self.resume_all();
        }
        // Questions that nobody answers are given up after ten minutes.
        self.now += 610_000_000;
        self.input(Input::Tick);
        for _ in 0..2 {
            self.grant();
            self.run(2_000_000);
        }
        let rests: Vec<_> = self
            .exchanges
            .iter()
            .filter(|(_, exchange)| {
                matches!(exchange.kind, Kind::Rest | Kind::Post | Kind::Batch)
                    && !exchange.done
                    && !exchange.gone
            })
            .map(|(key, exchange)| (*key, exchange.kind))
            .collect();
        assert!(rests.is_empty(), "never ended: {rests:?}");
        self.input(Input::Drain);
        self.grant();
        for (key, exchange) in &self.exchanges {
            assert!(
                exchange.done || exchange.gone,
                "{:?} {key:?} is open after Drain",
                exchange.kind
            );
        }
        for (at, req) in self.reqs.iter().enumerate() {
            if req.outcome == Outcome::Open {
                let over = req.cancelled
                    || req.session.is_some() && req.session != self.clients[req.client].session;
                assert!(
                    over,
                    "request {at} was never answered: {} {} of client {}",
                    req.method, req.id, req.client
                );
            }
        }
        assert!(
            self.gateway.most_streams() <= 80,
            "{} streams are kept of one session",
            self.gateway.most_streams()
        );
        let left = self.gateway.leftovers();
        assert_eq!(
            left,
            Leftovers {
                resumes: left.resumes,
                ..Leftovers::default()
            }
        );
        assert!(
            self.missing_spans.is_empty(),
            "spans that never came: {:x?}",
            self.missing_spans
        );
        // Ten minutes have passed: only what a living session may come back to is kept.
        assert!(
            self.children.len() <= self.clients.len() * self.servers.len(),
            "{} children are left",
            self.children.len()
        );
        let abandoned: Vec<_> = self
            .abandoned()
            .into_iter()
            .map(|exchange| self.describe_http(exchange))
            .collect();
        assert!(
            abandoned.is_empty(),
            "HTTP exchanges that nobody waits for: {abandoned:?}"
        );
    }

    /// Every client takes everything.
    fn grant(&mut self) {
        let keys: Vec<_> = self
            .exchanges
            .iter()
            .filter(|(_, exchange)| !exchange.done && !exchange.gone)
            .map(|(key, _)| *key)
            .collect();
        for key in keys {
            if let Some(exchange) = self
                .exchanges
                .get_mut(&key)
                .filter(|exchange| !exchange.done)
            {
                exchange.credit += 2000;
                self.input(Input::Credit(key, 2000));
            }
        }
    }
}

/// The client whose call a marker is of.
fn owner(marker: &serde_json::Value) -> Option<usize> {
    marker
        .as_str()?
        .rsplit('|')
        .next()?
        .strip_prefix('n')?
        .split('-')
        .next()?
        .parse()
        .ok()
}
