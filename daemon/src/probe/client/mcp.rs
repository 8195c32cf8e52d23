//! An MCP client over HTTP, in both eras: handshake, list the tools, close. Errors name the layer
//! that failed.

use super::{
    http::{self, Answer, Target, Unserved},
    http3::Http3Client,
    stream::Stream,
};
use ggen_wire::text;
use ggen_wire::{Code, VERSION};
use serde_json::{Value, json};
use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

/// The newest revision without sessions.
const MODERN: &str = "2026-07-28";
/// The newest revision with `initialize`.
const LEGACY: &str = "2025-11-25";
/// Pages of a list that are followed.
const PAGES: usize = 200;

/// What went wrong, and at which layer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fault {
    /// `DNS`, `TCP connect`, `TLS`, `HTTP`, `MCP`.
    pub(crate) layer: &'static str,
    /// The stable code.
    pub(crate) code: Code,
    /// What is wrong; the guide's words where it has some.
    pub(crate) what: String,
    /// What was seen.
    pub(crate) seen: String,
}

/// A revision's way of talking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Era {
    /// `initialize` and a session.
    Legacy,
    /// Every request stands alone.
    Modern,
}

/// What carries the requests.
pub(crate) enum Way<'a> {
    /// HTTP/1.1, a connection for each, to that address.
    Socket(SocketAddr),
    /// HTTP/3, on one connection.
    Http3(&'a mut Http3Client),
}

/// A client on one connection.
pub(crate) struct Client<'a> {
    target: &'a Target,
    way: Way<'a>,
    era: Era,
    deadline: Instant,
    session: Option<String>,
    version: String,
    last: u64,
    /// `name version` of the server.
    pub(crate) server: String,
}

/// Finds the addresses of a target.
pub(crate) fn resolve(target: &Target, patience: Duration) -> Result<Vec<SocketAddr>, Fault> {
    http::resolve(&target.host, target.port, patience).map_err(|why| Fault {
        layer: "DNS",
        code: Code::NameUnresolved,
        what: format!("the name {} does not resolve", target.host),
        seen: why,
    })
}

/// Connects, to see whether that is possible.
pub(crate) fn connect(
    target: &Target,
    addresses: &[SocketAddr],
    deadline: Instant,
) -> Result<(SocketAddr, std::net::TcpStream), Fault> {
    http::connect(addresses, deadline).map_err(|error| {
        let (code, word) = match error.kind() {
            io::ErrorKind::ConnectionRefused => (Code::ConnectionRefused, "Connection refused"),
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
                (Code::ConnectionTimeout, "Connection timeout")
            }
            _ => (Code::ConnectionRefused, "No connection"),
        };
        Fault {
            layer: "TCP connect",
            code,
            what: format!("{word}: {}", target.authority()),
            seen: error.to_string(),
        }
    })
}

/// Why an HTTP exchange failed.
pub(crate) fn unserved(target: &Target, unserved: &Unserved) -> Fault {
    let (code, word) = match unserved {
        Unserved::Timeout(_) => (Code::ConnectionTimeout, "Connection timeout"),
        Unserved::Certificate => (Code::CertificateVerifyFailed, "Certificate verify failed"),
        Unserved::Closed | Unserved::Io(_) => (Code::ConnectionRefused, "Connection closed"),
        Unserved::Foreign(_) => (Code::AnswerUnusable, "Invalid answer"),
    };
    Fault {
        layer: "HTTP",
        code,
        what: format!("{word}: {}", target.authority()),
        seen: unserved.to_string(),
    }
}

/// An HTTP answer that is not the wanted one. Our own errors name their code.
pub(crate) fn unwanted(layer: &'static str, target: &Target, answer: &Answer) -> Fault {
    let value: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let error = &value["error"];
    let own = error["data"]["code"]
        .as_str()
        .and_then(|code| code.parse().ok());
    let fallback = if answer.status >= 500 {
        Code::Internal
    } else {
        Code::AnswerUnusable
    };
    let said = error["message"].as_str().map_or_else(
        || text::line(&String::from_utf8_lossy(&answer.body)),
        text::line,
    );
    let what = match answer.status {
        // Our own errors bring their message with them; of others, the status says what it is.
        401 | 429 => own
            .map_or(
                if answer.status == 401 {
                    "Authentication failed"
                } else {
                    "Rate limit exceeded"
                },
                Code::title,
            )
            .to_owned(),
        500.. => format!("Server error at {}", target.path),
        _ => format!("{} is not answered as an MCP server does", target.path),
    };
    let said: String = said.chars().take(200).collect();
    Fault {
        layer,
        code: own.unwrap_or(fallback),
        what,
        seen: format!("HTTP status {}: {said}", answer.status),
    }
}

impl<'a> Client<'a> {
    pub(crate) fn new(target: &'a Target, way: Way<'a>, era: Era, deadline: Instant) -> Self {
        Self {
            target,
            way,
            era,
            deadline,
            session: None,
            version: String::new(),
            last: 0,
            server: String::new(),
        }
    }

    /// Begins anew, in that era.
    pub(crate) fn speak(&mut self, era: Era) {
        (self.era, self.session) = (era, None);
        self.version.clear();
    }

    /// `server/discover`, or `initialize` and its notification; gives the revision agreed on.
    pub(crate) fn handshake(&mut self) -> Result<String, Fault> {
        match self.era {
            Era::Modern => {
                self.version = MODERN.to_owned();
                let result = self.request("server/discover", json!({}))?;
                self.server = name(&result["_meta"]["io.modelcontextprotocol/serverInfo"]);
                let versions = result["supportedVersions"]
                    .as_array()
                    .cloned()
                    .unwrap_or_default();
                if !versions.iter().any(|version| version == MODERN) {
                    return Err(self.fault(
                        Code::VersionUnsupported,
                        format!("no common protocol version; it speaks {}", json!(versions)),
                    ));
                }
                Ok(MODERN.to_owned())
            }
            Era::Legacy => {
                let client = json!({ "name": "ggen", "version": VERSION });
                let result = self.request(
                    "initialize",
                    json!({ "protocolVersion": LEGACY, "capabilities": {}, "clientInfo": client }),
                )?;
                self.server = name(&result["serverInfo"]);
                self.version = result["protocolVersion"]
                    .as_str()
                    .unwrap_or(LEGACY)
                    .to_owned();
                let body =
                    json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }).to_string();
                let answer = self.post("notifications/initialized", &body)?;
                if !(200..300).contains(&answer.status) {
                    return Err(unwanted("MCP", self.target, &answer));
                }
                Ok(self.version.clone())
            }
        }
    }

    /// The names of all tools.
    pub(crate) fn tools(&mut self) -> Result<Vec<String>, Fault> {
        let (mut names, mut params) = (Vec::new(), json!({}));
        for _ in 0..PAGES {
            let result = self.request("tools/list", params)?;
            let tools = result["tools"].as_array().ok_or_else(|| {
                self.fault(Code::AnswerUnusable, "tools/list without tools".to_owned())
            })?;
            names.extend(
                tools
                    .iter()
                    .filter_map(|tool| tool["name"].as_str().map(str::to_owned)),
            );
            match result["nextCursor"].as_str() {
                Some(cursor) => params = json!({ "cursor": cursor }),
                None => break,
            }
        }
        Ok(names)
    }

    /// Ends the session, if there is one, so that no session is left behind.
    pub(crate) fn close(mut self) {
        if self.session.is_some() {
            // A server that keeps the session all the same ends it by its own time-out.
            drop(self.exchange("DELETE", &self.headers(""), ""));
        }
    }

    fn fault(&self, code: Code, seen: String) -> Fault {
        Fault {
            layer: "MCP",
            code,
            what: format!("{} does not speak MCP as expected", self.target.authority()),
            seen,
        }
    }

    fn headers(&self, method: &str) -> Vec<(&'static str, String)> {
        let mut headers = vec![
            ("Content-Type", "application/json".to_owned()),
            ("Accept", "application/json, text/event-stream".to_owned()),
        ];
        if !self.version.is_empty() {
            headers.push(("MCP-Protocol-Version", self.version.clone()));
        }
        if self.era == Era::Modern {
            headers.push(("Mcp-Method", method.to_owned()));
        }
        headers.extend(
            self.session
                .iter()
                .map(|session| ("Mcp-Session-Id", session.clone())),
        );
        headers
    }

    fn post(&mut self, method: &str, body: &str) -> Result<Answer, Fault> {
        let headers = self.headers(method);
        self.exchange("POST", &headers, body)
    }

    fn exchange(
        &mut self,
        verb: &str,
        headers: &[(&'static str, String)],
        body: &str,
    ) -> Result<Answer, Fault> {
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let enough = |answer: &Answer| verb != "POST" || response(answer, self.last).is_some();
        let answer = match &mut self.way {
            Way::Socket(address) => {
                let stream = Stream::open(self.target, *address, self.deadline)?;
                http::exchange(
                    stream,
                    self.target,
                    verb,
                    &headers,
                    body.as_bytes(),
                    self.deadline,
                    &enough,
                )
            }
            Way::Http3(http3) => http3.exchange(self.target, verb, &headers, body, self.deadline),
        };
        answer.map_err(|error| unserved(self.target, &error))
    }

    fn request(&mut self, method: &str, mut params: Value) -> Result<Value, Fault> {
        self.last += 1;
        if self.era == Era::Modern {
            params["_meta"] = json!({
                "io.modelcontextprotocol/protocolVersion": MODERN,
                "io.modelcontextprotocol/clientCapabilities": {},
                "io.modelcontextprotocol/clientInfo": { "name": "ggen", "version": VERSION },
            });
        }
        let body = json!({ "jsonrpc": "2.0", "id": self.last, "method": method, "params": params })
            .to_string();
        let answer = self.post(method, &body)?;
        let Some(mut message) = response(&answer, self.last).filter(|_| answer.status == 200)
        else {
            return Err(unwanted("MCP", self.target, &answer));
        };
        if let Some(error) = message.get("error") {
            let own = error["data"]["code"]
                .as_str()
                .and_then(|code| code.parse().ok());
            let said = format!(
                "{method}: {} {}",
                error["code"],
                error["message"].as_str().unwrap_or_default()
            );
            return Err(self.fault(own.unwrap_or(Code::AnswerUnusable), text::line(&said)));
        }
        if self.session.is_none() && self.era == Era::Legacy {
            self.session = answer.header("mcp-session-id").map(str::to_owned);
        }
        Ok(message
            .get_mut("result")
            .map(Value::take)
            .unwrap_or_default())
    }
}

fn name(info: &Value) -> String {
    let text = |key: &str| info[key].as_str().unwrap_or_default();
    text::line(format!("{} {}", text("name"), text("version")).trim())
}

/// The JSON-RPC response with this id, from a JSON body or from the events of a stream.
fn response(answer: &Answer, id: u64) -> Option<Value> {
    let ours = |value: &Value| {
        value["id"] == json!(id) && (value.get("result").is_some() || value.get("error").is_some())
    };
    if !answer
        .header("content-type")
        .is_some_and(|kind| kind.starts_with("text/event-stream"))
    {
        return serde_json::from_slice(&answer.body).ok().filter(ours);
    }
    let body = String::from_utf8_lossy(&answer.body).replace("\r\n", "\n");
    let data = |event: &str| {
        let lines: Vec<&str> = event
            .lines()
            .filter_map(|line| line.strip_prefix("data:"))
            .map(|data| data.strip_prefix(' ').unwrap_or(data))
            .collect();
        lines.join("\n")
    };
    body.split("\n\n")
        .filter_map(|event| serde_json::from_str(&data(event)).ok())
        .find(ours)
}
