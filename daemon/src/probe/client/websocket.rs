//! An MCP client over WebSocket: connect, handshake, list the tools, close. Everything is bounded by
//! a deadline.

use super::{
    http::{Target, api_key},
    mcp::{self, Fault},
    stream::Stream,
};
use ggen_wire::text;
use ggen_wire::{Code, VERSION};
use serde_json::{Value, json};
use std::{
    io,
    time::{Duration, Instant},
};
use tokio_tungstenite::tungstenite::{
    self, Error, HandshakeError, Message, Utf8Bytes, WebSocket, client::IntoClientRequest,
    http::HeaderValue,
};

/// The newest revision without sessions, and the newest with them.
const MODERN: &str = "2026-07-28";
const LEGACY: &str = "2025-11-25";
/// Messages that are passed over while an answer is awaited.
const MOST: usize = 1000;

/// A client on one connection.
pub(crate) struct Client {
    socket: WebSocket<Stream>,
    target: Target,
    deadline: Instant,
    /// The first answer: what the server says of itself.
    modern: bool,
    last: u64,
}

impl Client {
    /// Asks for a WebSocket with the subprotocol `mcp` on a connection.
    pub(crate) fn open(target: &Target, stream: Stream, deadline: Instant) -> Result<Self, Fault> {
        let left = deadline
            .saturating_duration_since(Instant::now())
            .max(Duration::from_millis(1));
        let broken =
            |seen: String| fault(target, Code::ConnectionRefused, "Connection closed", seen);
        stream
            .patience(Some(left))
            .map_err(|error| broken(error.to_string()))?;
        let scheme = if target.tls { "wss" } else { "ws" };
        let url = format!("{scheme}://{}{}", target.authority(), target.path);
        let mut request = url
            .into_client_request()
            .map_err(|error| fault(target, Code::ConfigValue, "Not a URL", error.to_string()))?;
        request
            .headers_mut()
            .insert("sec-websocket-protocol", HeaderValue::from_static("mcp"));
        if let Some(Ok(key)) = api_key(target, target.is_here()).map(HeaderValue::try_from) {
            request.headers_mut().insert("x-api-key", key);
        }
        match tungstenite::client(request, stream) {
            Ok((socket, _)) => Ok(Self {
                socket,
                target: target.clone(),
                deadline,
                modern: true,
                last: 0,
            }),
            Err(HandshakeError::Failure(Error::Http(response))) => {
                let (head, body) = response.into_parts();
                let answer = super::http::Answer {
                    status: head.status.as_u16(),
                    headers: Vec::new(),
                    body: body.unwrap_or_default(),
                };
                Err(Fault {
                    layer: "WebSocket",
                    ..mcp::unwanted("WebSocket", target, &answer)
                })
            }
            Err(HandshakeError::Failure(error)) => Err(failed(target, &error)),
            Err(HandshakeError::Interrupted(_)) => Err(fault(
                target,
                Code::ConnectionTimeout,
                "Connection timeout",
                "no answer to the opening handshake".to_owned(),
            )),
        }
    }

    /// `server/discover`, or `initialize` where that is not known; gives the revision.
    pub(crate) fn handshake(&mut self) -> Result<String, Fault> {
        if self.request("server/discover", json!({})).is_ok() {
            return Ok(MODERN.to_owned());
        }
        self.modern = false;
        let client = json!({ "name": "ggen", "version": VERSION });
        let result = self.request(
            "initialize",
            json!({ "protocolVersion": LEGACY, "capabilities": {}, "clientInfo": client }),
        )?;
        self.say(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }))?;
        Ok(result["protocolVersion"]
            .as_str()
            .unwrap_or(LEGACY)
            .to_owned())
    }

    /// How many tools there are on the first pages, as far as they come in time.
    pub(crate) fn tools(&mut self) -> Result<usize, Fault> {
        let (mut count, mut cursor) = (0, Value::Null);
        for _ in 0..MOST {
            let params = if cursor.is_null() {
                json!({})
            } else {
                json!({ "cursor": cursor })
            };
            let result = self.request("tools/list", params)?;
            count += result["tools"].as_array().map_or(0, Vec::len);
            cursor = result["nextCursor"].clone();
            if cursor.is_null() {
                break;
            }
        }
        Ok(count)
    }

    /// Closes as the protocol wants it, without waiting.
    pub(crate) fn close(mut self) {
        drop(self.socket.close(None).and_then(|()| self.socket.flush()));
    }

    fn say(&mut self, message: &Value) -> Result<(), Fault> {
        self.socket
            .send(Message::text(message.to_string()))
            .map_err(|error| failed(&self.target, &error))
    }

    /// The next message, if it is text.
    fn read_text(&mut self) -> Result<Option<Utf8Bytes>, Fault> {
        let read = self.socket.read();
        match read.map_err(|error| failed(&self.target, &error))? {
            Message::Text(text) => Ok(Some(text)),
            Message::Close(frame) => {
                let seen = frame.map_or_else(
                    || "no reason".to_owned(),
                    |frame| format!("{} {}", u16::from(frame.code), frame.reason),
                );
                Err(fault(
                    &self.target,
                    Code::ConnectionRefused,
                    "Connection closed",
                    text::line(&seen),
                ))
            }
            _ => Ok(None),
        }
    }

    fn refused(&self, method: &str, error: &Value) -> Fault {
        let code = error["data"]["code"]
            .as_str()
            .and_then(|code| code.parse().ok())
            .unwrap_or(Code::AnswerUnusable);
        let said = error["message"]
            .as_str()
            .unwrap_or("no result and no error");
        fault(
            &self.target,
            code,
            &format!("{method} is refused"),
            text::line(said),
        )
    }

    fn request(&mut self, method: &str, mut params: Value) -> Result<Value, Fault> {
        if self.modern {
            params["_meta"] = json!({
                "io.modelcontextprotocol/protocolVersion": MODERN,
                "io.modelcontextprotocol/clientInfo": { "name": "ggen", "version": VERSION },
                "io.modelcontextprotocol/clientCapabilities": {},
            });
        }
        self.last += 1;
        let id = self.last;
        self.say(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }))?;
        for _ in 0..MOST {
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.socket.get_ref().patience(Some(left)).is_err() {
                break;
            }
            let Some(text) = self.read_text()? else {
                continue;
            };
            let mut answer: Value = serde_json::from_str(&text).unwrap_or_default();
            if answer["id"] == id && answer.get("method").is_none() {
                if answer.get("result").is_some() {
                    return Ok(answer["result"].take());
                }
                return Err(self.refused(method, &answer["error"]));
            }
        }
        Err(fault(
            &self.target,
            Code::ConnectionTimeout,
            "Connection timeout",
            format!("no answer to {method}"),
        ))
    }
}

fn fault(target: &Target, code: Code, word: &str, seen: String) -> Fault {
    Fault {
        layer: "WebSocket",
        code,
        what: format!("{word}: {}{}", target.authority(), target.path),
        seen,
    }
}

fn failed(target: &Target, error: &Error) -> Fault {
    let late = matches!(error, Error::Io(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut));
    if late {
        return fault(
            target,
            Code::ConnectionTimeout,
            "Connection timeout",
            "nothing came in time".to_owned(),
        );
    }
    let code = if matches!(error, Error::Io(_)) {
        Code::ConnectionRefused
    } else {
        Code::AnswerUnusable
    };
    fault(
        target,
        code,
        "Connection closed",
        text::line(&error.to_string()),
    )
}
