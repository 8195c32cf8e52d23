//! A relay with servers made of one function, for tests that say one thing at a time.

pub(crate) mod remote;

use bytes::Bytes;
use ggen_mcp::api::{
    EraSetting, Input, Isolation, Lease, Output, SHARED, Settings, StreamKey, Transport, UpId,
    UpInput, UpstreamSettings,
};
use ggen_mcp::edge::{Principal, Reply, Request, Verb};
use ggen_mcp::gateway::Gateway;
use serde_json::Value;

pub(crate) const MODERN: &str = "2026-07-28";

/// Answers a request of the relay: the `result` or `error` member, or nothing.
pub(crate) type Server = fn(&str, &Value) -> Option<String>;

pub(crate) struct Relay {
    pub(crate) gateway: Gateway,
    pub(crate) now: u64,
    servers: Vec<(bool, Server)>,
    next: u32,
    /// What was written to servers, in order.
    pub(crate) written: Vec<(u32, String)>,
    /// The same, with the child that it was written to.
    pub(crate) written_to: Vec<(u32, Lease, String)>,
    pub(crate) replies: Vec<(StreamKey, Reply)>,
    pub(crate) outputs: Vec<Output>,
    /// Who sends from now on.
    pub(crate) principal: Principal,
}

impl Relay {
    /// Servers on pipes; `true`: modern.
    pub(crate) fn new(servers: &[(&str, bool, Server)]) -> Self {
        let mut relay = Self::idle(
            servers,
            Settings {
                incarnation: 1,
                ..Settings::default()
            },
        );
        relay.begin();
        relay
    }

    /// The same, with nothing said to it yet.
    pub(crate) fn idle(servers: &[(&str, bool, Server)], settings: Settings) -> Self {
        Self::with_entries(servers, settings, |_| {})
    }

    /// The same, with entries that are changed first.
    pub(crate) fn with_entries(
        servers: &[(&str, bool, Server)],
        settings: Settings,
        change: fn(&mut UpstreamSettings),
    ) -> Self {
        let upstreams = servers.iter().map(|(name, ..)| {
            let mut entry = UpstreamSettings {
                name: (*name).to_owned(),
                transport: Transport::Stdio,
                era: EraSetting::Auto,
                isolation: Isolation::default(),
                stateful: false,
                pool: 4,
                pinned: None,
                startup: 30_000_000,
                timeout: 5_000_000,
                enabled: true,
                revision: 0,
            };
            change(&mut entry);
            entry
        });
        let mut seed = u8::try_from(settings.incarnation.saturating_sub(1))
            .unwrap_or(0)
            .wrapping_mul(100);
        let settings = Settings {
            upstreams: upstreams.collect(),
            ..settings
        };
        let random = Box::new(move |bytes: &mut [u8]| {
            seed += 1;
            bytes.fill(seed);
        });
        Self {
            gateway: Gateway::new(settings, random),
            now: 1,
            servers: servers
                .iter()
                .map(|(_, modern, serve)| (*modern, *serve))
                .collect(),
            next: 0,
            written: Vec::new(),
            written_to: Vec::new(),
            replies: Vec::new(),
            outputs: Vec::new(),
            principal: "anonymous".into(),
        }
    }

    /// Its servers are there.
    pub(crate) fn begin(&mut self) {
        self.input(Input::Tick);
        for up in 0..self.servers.len() {
            self.up(
                up as u32,
                UpInput::Connected {
                    incarnation: 1,
                    handoff: None,
                },
            );
        }
        self.written.clear();
    }

    pub(crate) fn up(&mut self, up: u32, event: UpInput) {
        self.input(Input::Up(UpId(up), event));
    }

    /// Something about a leased child.
    pub(crate) fn lent(&mut self, up: u32, lease: Lease, event: UpInput) {
        self.input(Input::Leased(UpId(up), lease, event));
    }

    /// The leased child that was asked for is there.
    pub(crate) fn lend(&mut self, up: u32, lease: Lease) {
        self.lent(
            up,
            lease,
            UpInput::Connected {
                incarnation: 1,
                handoff: None,
            },
        );
    }

    pub(crate) fn input(&mut self, input: Input) {
        let mut out = Vec::new();
        self.gateway.input(self.now, input, &mut out);
        for output in out {
            match output {
                Output::Write(UpId(up), lease, line) => {
                    let text = String::from_utf8(line.to_vec()).expect("UTF-8");
                    let answer = self.answer(up, &text);
                    self.written.push((up, text.clone()));
                    self.written_to.push((up, lease, text));
                    if let Some(answer) = answer {
                        let line = UpInput::Line(answer.into());
                        if lease == SHARED {
                            self.up(up, line)
                        } else {
                            self.lent(up, lease, line)
                        }
                    }
                }
                Output::Reply(key, reply) => self.replies.push((key, reply)),
                other => self.outputs.push(other),
            }
        }
    }

    /// What a server answers to a line; `None`: nothing.
    pub(crate) fn answer(&self, up: u32, text: &str) -> Option<String> {
        // Numbers that no machine type holds pass the relay, but not `Value`; then the parameters
        // are null.
        let [id, method, params] =
            ggen_mcp::protocol::json::pick(text, ["id", "method", "params"]).expect("JSON");
        let value = |raw: Option<&str>| raw.and_then(|raw| serde_json::from_str::<Value>(raw).ok());
        let mut message = serde_json::json!({"method": value(method), "params": value(params)});
        if let Some(id) = value(id) {
            message["id"] = id;
        }
        let (modern, serve) = self.servers[up as usize];
        let (id, method) = (message.get("id")?, message["method"].as_str()?);
        let caps = r#"{"tools":{"listChanged":true},"prompts":{},"resources":{"subscribe":true},"logging":{},"completions":{}}"#;
        let member = serve(text, &message).or_else(|| {
            Some(match (method, modern) {
                ("server/discover", true) => {
                    format!(r#""result":{{"supportedVersions":["{MODERN}"],"capabilities":{caps},"resultType":"complete"}}"#)
                }
                ("initialize", false) => format!(
                    r#""result":{{"protocolVersion":"2025-11-25","capabilities":{caps},"serverInfo":{{"name":"s","version":"1"}}}}"#
                ),
                ("tools/list", _) => r#""result":{"tools":[{"name":"t","inputSchema":{"type":"object"}}]}"#.to_owned(),
                ("prompts/list", _) => r#""result":{"prompts":[{"name":"p"}]}"#.to_owned(),
                ("resources/list", _) => r#""result":{"resources":[{"uri":"test://r","name":"r"}]}"#.to_owned(),
                ("resources/templates/list", _) => r#""result":{"resourceTemplates":[]}"#.to_owned(),
                ("subscriptions/listen" | "logging/setLevel" | "resources/subscribe", _) => return None,
                ("tools/call" | "prompts/get" | "resources/read", _) => r#""result":{"content":[]}"#.to_owned(),
                _ => r#""error":{"code":-32601,"message":"no such method"}"#.to_owned(),
            })
        })?;
        (!member.is_empty()).then(|| format!(r#"{{"jsonrpc":"2.0","id":{id},{member}}}"#))
    }

    /// An exchange, with what came back on it so far.
    pub(crate) fn send(
        &mut self,
        verb: Verb,
        view: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> (StreamKey, Vec<Reply>) {
        self.next += 1;
        let key = StreamKey {
            edge: 1,
            stream: self.next,
        };
        let headers = headers
            .iter()
            .map(|(key, value)| ((*key).into(), value.as_bytes().into()))
            .collect();
        let (view, body, principal) = (view.into(), body.into(), self.principal.clone());
        self.input(Input::Open(
            key,
            Request {
                verb,
                accept_json: true,
                accept_sse: true,
                view,
                principal,
                headers,
                body,
            },
        ));
        (key, self.of(key))
    }

    /// What came back on an exchange.
    pub(crate) fn of(&self, key: StreamKey) -> Vec<Reply> {
        self.replies
            .iter()
            .filter(|(at, _)| *at == key)
            .map(|(_, reply)| reply.clone())
            .collect()
    }

    /// POST with one whole answer: status and body.
    pub(crate) fn post(
        &mut self,
        view: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> (u16, String) {
        match &self.send(Verb::Post, view, headers, body.to_owned()).1[..] {
            [Reply::Full { status, body, .. }] => {
                (*status, String::from_utf8(body.to_vec()).expect("UTF-8"))
            }
            other => panic!("{body} got {other:?}"),
        }
    }

    /// A modern request with `_meta` and headers: status and body.
    pub(crate) fn ask(
        &mut self,
        view: &str,
        name: Option<&str>,
        method: &str,
        members: &Value,
        capabilities: &Value,
    ) -> (u16, Value) {
        let mut params = members.clone();
        params["_meta"] = serde_json::json!({
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientCapabilities": capabilities,
        });
        let body =
            serde_json::json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
                .to_string();
        let mut headers = vec![("mcp-protocol-version", MODERN), ("mcp-method", method)];
        headers.extend(name.map(|name| ("mcp-name", name)));
        let (status, body) = self.post(view, &headers, &body);
        (status, serde_json::from_str(&body).unwrap_or_default())
    }

    /// A legacy session of a revision; its id.
    pub(crate) fn session(&mut self, view: &str, version: &str) -> String {
        self.session_with(view, version, &Value::Object(serde_json::Map::new()))
    }

    /// The same, of a client with capabilities.
    pub(crate) fn session_with(
        &mut self,
        view: &str,
        version: &str,
        capabilities: &Value,
    ) -> String {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{{"protocolVersion":"{version}","capabilities":{capabilities},"clientInfo":{{"name":"c","version":"1"}}}}}}"#
        );
        match &self.send(Verb::Post, view, &[], body).1[..] {
            [
                Reply::Full {
                    status: 200,
                    session: Some(session),
                    ..
                },
            ] => session.to_string(),
            other => panic!("initialize got {other:?}"),
        }
    }

    /// The last line written to a server.
    pub(crate) fn last_written(&self) -> &str {
        &self.written.last().expect("something was written").1
    }
}

/// A modern request and its headers.
pub(crate) fn modern(id: &str, method: &str, members: &str) -> String {
    let comma = if members.is_empty() { "" } else { "," };
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{{members}{comma}"_meta":{{"io.modelcontextprotocol/protocolVersion":"{MODERN}","io.modelcontextprotocol/clientCapabilities":{{}}}}}}}}"#
    )
}

/// The JSON-RPC code of an answer, 0 for a result.
pub(crate) fn code(body: &str) -> i64 {
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    body["error"]["code"].as_i64().unwrap_or(0)
}
