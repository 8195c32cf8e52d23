//! A relay with one HTTP server that answers the handshake and the lists by itself; calls are
//! answered by the test.

use ggen_mcp::api::{
    EraSetting, HttpRequest, Input, Limits, Output, Settings, StreamKey, Transport, UpId, UpInput,
    UpstreamSettings,
};
use ggen_mcp::edge::{Reply, Request, Verb};
use ggen_mcp::gateway::{Gateway, Leftovers};
use serde_json::{Value, json};

pub(crate) const MODERN: &str = "2026-07-28";
const UP: UpId = UpId(0);

/// A request that reached the server.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub(crate) exchange: u64,
    pub(crate) text: String,
    pub(crate) body: Value,
    pub(crate) headers: Vec<(String, String)>,
}

pub(crate) struct Remote {
    pub(crate) gateway: Gateway,
    pub(crate) now: u64,
    modern: bool,
    next: u32,
    sessions: u32,
    /// What the server got beside the handshake and lists, in order.
    pub(crate) got: Vec<Got>,
    /// `capabilities` of every `initialize`.
    pub(crate) greeted: Vec<Value>,
    pub(crate) aborted: Vec<u64>,
    pub(crate) replies: Vec<(StreamKey, Reply)>,
    pub(crate) principal: &'static str,
    /// What it lists.
    pub(crate) tools: Value,
    /// It has GET streams; otherwise it says 405.
    pub(crate) has_streams: bool,
    /// The GET streams that were opened, with their session; a test that sets this answers them.
    pub(crate) streams: Vec<(u64, String)>,
    /// The sessions that were ended.
    pub(crate) ended: Vec<String>,
    /// `server/discover` is answered by this error, so many times.
    pub(crate) refuses: (u32, Value),
}

impl Remote {
    pub(crate) fn new(modern: bool) -> Self {
        Self::with(modern, Limits::default())
    }

    pub(crate) fn with(modern: bool, limits: Limits) -> Self {
        Self::prepared(modern, limits, |_| {})
    }

    /// `before`: what is different about the server, before it is reached.
    pub(crate) fn prepared(modern: bool, limits: Limits, before: impl FnOnce(&mut Self)) -> Self {
        let upstream = UpstreamSettings {
            name: "s".to_owned(),
            transport: Transport::Http,
            era: if modern {
                EraSetting::Modern
            } else {
                EraSetting::Legacy
            },
            pinned: None,
            startup: 30_000_000,
            timeout: 5_000_000,
            enabled: true,
            revision: 0,
            isolation: ggen_mcp::api::Isolation::Shared,
            stateful: false,
            pool: 4,
        };
        let settings = Settings {
            upstreams: vec![upstream],
            incarnation: 1,
            limits,
            key: None,
            ..Settings::default()
        };
        let mut seed = 0u8;
        let random = Box::new(move |bytes: &mut [u8]| {
            for byte in bytes {
                seed = seed.wrapping_mul(5).wrapping_add(77);
                *byte = seed;
            }
        });
        let mut remote = Self {
            gateway: Gateway::new(settings, random),
            now: 1_000_000,
            modern,
            next: 0,
            sessions: 0,
            got: Vec::new(),
            greeted: Vec::new(),
            aborted: Vec::new(),
            replies: Vec::new(),
            principal: "anonymous",
            tools: json!([
                {"name": "t", "inputSchema": {"type": "object"}},
                {"name": "job", "inputSchema": {"type": "object"}, "execution": {"taskSupport": "required"}},
            ]),
            has_streams: false,
            streams: Vec::new(),
            ended: Vec::new(),
            refuses: (0, Value::Null),
        };
        before(&mut remote);
        remote.input(Input::Tick);
        remote
    }

    pub(crate) fn input(&mut self, input: Input) {
        let mut out = Vec::new();
        self.gateway.input(self.now, input, &mut out);
        for output in out {
            match output {
                Output::Http(_, request) => self.serve(request),
                Output::Abort(_, exchange) => self.aborted.push(exchange),
                Output::Reply(key, reply) => self.replies.push((key, reply)),
                _ => {}
            }
        }
    }

    fn up(&mut self, event: UpInput) {
        self.input(Input::Up(UP, event));
    }

    fn serve(&mut self, request: HttpRequest) {
        let HttpRequest {
            exchange,
            verb,
            headers,
            body,
            ..
        } = request;
        let session = headers
            .iter()
            .find(|(name, _)| name == "mcp-session-id")
            .map(|(_, value)| value.clone());
        if verb == Verb::Delete {
            self.ended.extend(session.clone());
        }
        if verb == Verb::Get && self.has_streams {
            return self.streams.push((exchange, session.unwrap_or_default()));
        }
        if verb != Verb::Post {
            self.up(UpInput::Head {
                exchange,
                status: 405,
                session: None,
                retry_after: None,
                sse: false,
            });
            return self.up(UpInput::End {
                exchange,
                error: None,
            });
        }
        let text = String::from_utf8(body.to_vec()).expect("UTF-8");
        let body: Value = serde_json::from_str(&text).expect("JSON");
        let tasks = json!({"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}});
        let mut caps = json!({"tools": {}, "prompts": {}, "resources": {}, "logging": {}});
        if self.modern {
            caps["extensions"] = json!({"io.modelcontextprotocol/tasks": {}});
        } else {
            caps["tasks"] = tasks;
        }
        if body["method"] == "server/discover" && self.refuses.0 > 0 {
            self.refuses.0 -= 1;
            let error = self.refuses.1.clone();
            self.up(UpInput::Head {
                exchange,
                status: 400,
                session: None,
                retry_after: None,
                sse: false,
            });
            let data = json!({"jsonrpc": "2.0", "id": exchange, "error": error}).to_string();
            self.up(UpInput::Message {
                exchange,
                event_id: None,
                retry_ms: None,
                data: data.into(),
            });
            return self.up(UpInput::End {
                exchange,
                error: None,
            });
        }
        let answer = match body["method"].as_str().unwrap_or_default() {
            "server/discover" => {
                json!({"supportedVersions": [MODERN], "capabilities": caps, "resultType": "complete"})
            }
            "initialize" => {
                self.greeted.push(body["params"]["capabilities"].clone());
                json!({"protocolVersion": "2025-11-25", "capabilities": caps, "serverInfo": {"name": "s", "version": "1"}})
            }
            "tools/list" => json!({"tools": self.tools}),
            "prompts/list" => json!({"prompts": [{"name": "p"}]}),
            "resources/list" => json!({"resources": [{"uri": "test://r", "name": "r"}]}),
            "resources/templates/list" => json!({"resourceTemplates": []}),
            "logging/setLevel" => json!({}),
            "notifications/initialized" => Value::Null,
            _ => {
                let has_id = body.get("id").is_some() && body.get("method").is_some();
                self.got.push(Got {
                    exchange,
                    text,
                    body,
                    headers,
                });
                if has_id {
                    return;
                }
                Value::Null
            }
        };
        if answer.is_null() {
            self.up(UpInput::Head {
                exchange,
                status: 202,
                session: None,
                retry_after: None,
                sse: false,
            });
        } else {
            let session = (body_method(&answer) && !self.modern).then(|| {
                self.sessions += 1;
                format!("session-{}", self.sessions)
            });
            self.up(UpInput::Head {
                exchange,
                status: 200,
                session,
                retry_after: None,
                sse: false,
            });
            // The relay's own requests are numbered.
            let id = self.id_of(exchange);
            let data = json!({"jsonrpc": "2.0", "id": id, "result": answer}).to_string();
            self.up(UpInput::Message {
                exchange,
                event_id: None,
                retry_ms: None,
                data: data.into(),
            });
        }
        self.up(UpInput::End {
            exchange,
            error: None,
        });
    }

    const fn id_of(&self, exchange: u64) -> u64 {
        exchange
    }

    /// The server says something on the stream of an exchange.
    pub(crate) fn says(&mut self, exchange: u64, message: &Value) {
        self.says_text(exchange, &message.to_string());
    }

    pub(crate) fn says_text(&mut self, exchange: u64, text: &str) {
        self.up(UpInput::Head {
            exchange,
            status: 200,
            session: None,
            retry_after: None,
            sse: true,
        });
        self.up(UpInput::Message {
            exchange,
            event_id: None,
            retry_ms: None,
            data: text.to_owned().into(),
        });
    }

    /// A request of the server on the stream of a call.
    pub(crate) fn asks(&mut self, exchange: u64, id: &str, method: &str, params: &Value) {
        self.says(
            exchange,
            &json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}),
        );
    }

    /// The server's answer to a call, and the end of its stream.
    pub(crate) fn answers(&mut self, exchange: u64, result: &Value) {
        self.says(
            exchange,
            &json!({"jsonrpc": "2.0", "id": exchange, "result": result}),
        );
        self.up(UpInput::End {
            exchange,
            error: None,
        });
    }

    pub(crate) fn fails(&mut self, exchange: u64, error: &Value) {
        self.says(
            exchange,
            &json!({"jsonrpc": "2.0", "id": exchange, "error": error}),
        );
        self.up(UpInput::End {
            exchange,
            error: None,
        });
    }

    /// The server does not know the session that an exchange names.
    pub(crate) fn forgets(&mut self, exchange: u64, status: u16, text: &str) {
        self.up(UpInput::Head {
            exchange,
            status,
            session: None,
            retry_after: None,
            sse: false,
        });
        self.up(UpInput::Message {
            exchange,
            event_id: None,
            retry_ms: None,
            data: text.to_owned().into(),
        });
        self.up(UpInput::End {
            exchange,
            error: None,
        });
    }

    /// A GET stream is open now.
    pub(crate) fn opens(&mut self, exchange: u64) {
        self.up(UpInput::Head {
            exchange,
            status: 200,
            session: None,
            retry_after: None,
            sse: true,
        });
    }

    /// The connection of an exchange breaks.
    pub(crate) fn breaks(&mut self, exchange: u64) {
        self.up(UpInput::End {
            exchange,
            error: Some((ggen_wire::Code::UpstreamUnreachable, "reset".to_owned())),
        });
    }

    pub(crate) fn pass(&mut self, micros: u64) {
        self.now += micros;
        self.input(Input::Tick);
    }

    /// A POST.
    pub(crate) fn post(&mut self, headers: &[(&str, &str)], body: &str) -> StreamKey {
        self.next += 1;
        let key = StreamKey {
            edge: 1,
            stream: self.next,
        };
        let headers = headers
            .iter()
            .map(|(key, value)| ((*key).into(), value.as_bytes().into()))
            .collect();
        let principal = self.principal.into();
        let request = Request {
            verb: Verb::Post,
            accept_json: true,
            accept_sse: true,
            view: "s".into(),
            principal,
            headers,
            body: body.to_owned().into(),
        };
        self.input(Input::Open(key, request));
        key
    }

    /// A modern request of one of the three methods.
    pub(crate) fn modern(
        &mut self,
        id: u32,
        method: &str,
        name: &str,
        caps: &Value,
        more: &Value,
    ) -> StreamKey {
        let mut params = more.as_object().cloned().unwrap_or_default();
        params.insert(
            if method == "resources/read" {
                "uri"
            } else {
                "name"
            }
            .to_owned(),
            json!(name),
        );
        let mut meta = params.remove("_meta").unwrap_or_else(|| json!({}));
        meta["io.modelcontextprotocol/protocolVersion"] = json!(MODERN);
        meta["io.modelcontextprotocol/clientCapabilities"] = caps.clone();
        params.insert("_meta".to_owned(), meta);
        let body =
            json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string();
        self.post(
            &[
                ("mcp-protocol-version", MODERN),
                ("mcp-method", method),
                ("mcp-name", name),
            ],
            &body,
        )
    }

    /// A legacy session; its id.
    pub(crate) fn session(&mut self, version: &str, caps: &Value) -> String {
        let params = json!({"protocolVersion": version, "capabilities": caps, "clientInfo": {"name": "c", "version": "1"}});
        let key = self.post(
            &[],
            &json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})
                .to_string(),
        );
        match &self.of(key)[..] {
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

    /// A legacy message in a session.
    pub(crate) fn legacy(&mut self, session: &str, body: &Value) -> StreamKey {
        self.post(&[("mcp-session-id", session)], &body.to_string())
    }

    pub(crate) fn of(&self, key: StreamKey) -> Vec<Reply> {
        self.replies
            .iter()
            .filter(|(at, _)| *at == key)
            .map(|(_, reply)| reply.clone())
            .collect()
    }

    /// Every message that came on an exchange.
    pub(crate) fn messages(&self, key: StreamKey) -> Vec<Value> {
        let data = |reply: &Reply| match reply {
            Reply::Full { body, .. } if !body.is_empty() => serde_json::from_slice(body).ok(),
            Reply::Event { data, .. } if !data.is_empty() => serde_json::from_slice(data).ok(),
            _ => None,
        };
        self.of(key).iter().filter_map(data).collect()
    }

    /// The answer on an exchange; null if there is none yet.
    pub(crate) fn answer(&self, key: StreamKey) -> Value {
        let is_answer =
            |message: &Value| message.get("result").is_some() || message.get("error").is_some();
        self.messages(key)
            .into_iter()
            .rfind(is_answer)
            .unwrap_or_default()
    }

    /// The last thing the server got.
    pub(crate) fn last(&self) -> Got {
        self.got
            .last()
            .expect("something reached the server")
            .clone()
    }

    /// Nothing is left but what may be asked for again.
    pub(crate) fn assert_clean(&mut self) {
        self.pass(700_000_000);
        let left = self.gateway.leftovers();
        assert_eq!(left, Leftovers::default(), "{left:?}");
    }
}

/// Whether it is the answer to `initialize`.
fn body_method(answer: &Value) -> bool {
    answer.get("protocolVersion").is_some()
}
