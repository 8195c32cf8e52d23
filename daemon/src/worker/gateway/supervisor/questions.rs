//! Questions in both directions. The relay's go to the supervisor; the supervisor's become
//! exchanges on edge number 0, so that they are served as requests of clients are.

use crate::ipc::messages::Question;
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use ggen_mcp::{
    api::{self, Input, StreamKey},
    edge::{Reply, Request, Verb},
};
use ggen_wire::{Code, VERSION, control::Failure};
use serde_json::{Value, json};
use std::collections::HashMap;

/// The edge number of our own exchanges; the supervisor's links have others.
pub(crate) const OWN_EDGE: u32 = 0;
/// Questions of the supervisor that may be open at once.
const OPEN: usize = 64;
/// The protocol version of our own calls.
const PROTOCOL: &str = "2026-07-28";

/// The supervisor's open questions.
#[derive(Default)]
pub(crate) struct Questions {
    last: u32,
    open: HashMap<u32, Open>,
}

struct Open {
    id: u64,
    call: bool,
    last_event: Bytes,
}

/// An answer for the supervisor.
pub(crate) type Answer = (u64, Result<Value, Failure>);

impl Questions {
    /// Turns a question of the supervisor into an exchange, or into its answer at once.
    pub(crate) fn ask(&mut self, id: u64, question: Question) -> Result<Input, Answer> {
        let (request, call) = match question {
            Question::Tools => (get("/catalogue".into()), false),
            Question::RefreshTools => (get("/refresh".into()), false),
            Question::Tool { name } => (get(format!("/tool/{name}").into()), false),
            Question::CallTool { name, arguments } => (call_tool(id, &name, &arguments), true),
            Question::Status | Question::Metrics | Question::Logs(_) | Question::Config => {
                return Err((
                    id,
                    Err(failure(
                        Code::Internal,
                        "not a question for the gateway worker",
                    )),
                ));
            }
        };
        if self.open.len() >= OPEN {
            return Err((id, Err(failure(Code::Overloaded, Code::Overloaded.title()))));
        }
        self.last += 1;
        self.open.insert(
            self.last,
            Open {
                id,
                call,
                last_event: Bytes::new(),
            },
        );
        Ok(Input::Open(
            StreamKey {
                edge: OWN_EDGE,
                stream: self.last,
            },
            request,
        ))
    }

    /// Takes a reply of the relay: an answer, or credit for the next event.
    pub(crate) fn reply(&mut self, stream: u32, reply: Reply) -> (Option<Answer>, Option<Input>) {
        let Some(open) = self.open.get_mut(&stream) else {
            return (None, None);
        };
        let (status, body) = match reply {
            Reply::Full { status, body, .. } => (status, body),
            Reply::Start { .. } => return (None, None),
            Reply::Event { data, .. } => {
                open.last_event = data;
                return (
                    None,
                    Some(Input::Credit(
                        StreamKey {
                            edge: OWN_EDGE,
                            stream,
                        },
                        1,
                    )),
                );
            }
            Reply::End => (200, std::mem::take(&mut open.last_event)),
        };
        let answer = self
            .open
            .remove(&stream)
            .map(|open| (open.id, answer(open.call, status, &body)));
        (answer, None)
    }
}

fn answer(call: bool, status: u16, body: &[u8]) -> Result<Value, Failure> {
    let mut value: Value = serde_json::from_slice(body).unwrap_or_default();
    if let Some(error) = value.get("error") {
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let data = error.get("data");
        let code = text(data.and_then(|data| data.get("code")))
            .and_then(|code| code.parse().ok())
            .unwrap_or(Code::Internal);
        let message = text(error.get("message")).unwrap_or_else(|| code.title().to_owned());
        let help = text(data.and_then(|data| data.get("help"))).unwrap_or_default();
        return Err(Failure {
            help,
            ..failure(code, message)
        });
    }
    match (status, call) {
        (200, true) => value
            .get_mut("result")
            .map(Value::take)
            .ok_or_else(|| failure(Code::Internal, "the call has no result")),
        (200, false) => Ok(value),
        (status, _) => Err(failure(
            Code::Internal,
            format!("the relay answered with status {status}"),
        )),
    }
}

fn failure(code: Code, message: impl Into<String>) -> Failure {
    Failure {
        version: VERSION.to_owned(),
        code,
        message: message.into(),
        help: String::new(),
    }
}

fn get(view: Box<str>) -> Request {
    Request {
        verb: Verb::Get,
        accept_json: true,
        accept_sse: false,
        view,
        principal: "supervisor".into(),
        headers: Vec::new(),
        body: Bytes::new(),
    }
}

fn call_tool(id: u64, name: &str, arguments: &Value) -> Request {
    let header = |name: &str, value: &str| (name.into(), value.as_bytes().into());
    let body = json!({
        "jsonrpc": "2.0",
        "id": id,
        "method": "tools/call",
        "params": {
            "name": name,
            "arguments": arguments,
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": PROTOCOL,
                "io.modelcontextprotocol/clientCapabilities": {},
                "io.modelcontextprotocol/clientInfo": { "name": "ggen", "version": VERSION },
            },
        },
    });
    Request {
        verb: Verb::Post,
        headers: vec![
            header("mcp-protocol-version", PROTOCOL),
            header("mcp-method", "tools/call"),
            header("mcp-name", &header_value(name)),
        ],
        body: body.to_string().into(),
        ..get("".into())
    }
}

/// A header value as it is, or in the base64 form where a header could not carry it (MCP
/// 2026-07-28, Streamable HTTP, "Request Metadata").
fn header_value(text: &str) -> String {
    let plain = text.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~'))
        && !text.starts_with([' ', '\t'])
        && !text.ends_with([' ', '\t'])
        && (!text.starts_with("=?base64?") || !text.ends_with("?="));
    if plain {
        text.to_owned()
    } else {
        format!("=?base64?{}?=", STANDARD.encode(text))
    }
}

/// The relay's question in the supervisor's words.
pub(crate) fn to_supervisor(question: api::Question) -> Question {
    match question {
        api::Question::Status => Question::Status,
        api::Question::Metrics => Question::Metrics,
        api::Question::Logs(query) => Question::Logs(query),
        api::Question::Config => Question::Config,
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        reason = "a test fails by panicking"
    )]

    use super::*;

    fn full(status: u16, body: &str) -> Reply {
        Reply::Full {
            status,
            session: None,
            retry_after: None,
            body: body.to_owned().into(),
        }
    }

    #[test]
    fn a_call_becomes_a_modern_request_and_its_result_the_answer() {
        let mut questions = Questions::default();
        let question = Question::CallTool {
            name: "é".to_owned(),
            arguments: json!({"a": 1}),
        };
        let Ok(Input::Open(key, request)) = questions.ask(7, question) else {
            panic!("an exchange")
        };
        assert_eq!(
            (key.edge, request.verb, request.header("mcp-name")),
            (OWN_EDGE, Verb::Post, Some("=?base64?w6k=?="))
        );
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        assert_eq!(
            (&body["params"]["name"], &body["params"]["arguments"]["a"]),
            (&json!("é"), &json!(1))
        );
        let (answer, _) = questions.reply(
            key.stream,
            full(200, r#"{"jsonrpc":"2.0","id":7,"result":{"content":[]}}"#),
        );
        assert!(matches!(answer, Some((7, Ok(value))) if value == json!({"content": []})));
        assert!(questions.open.is_empty());
    }

    #[test]
    fn an_error_keeps_its_code_and_help() {
        let mut questions = Questions::default();
        let Ok(Input::Open(key, request)) = questions.ask(
            1,
            Question::Tool {
                name: "x".to_owned(),
            },
        ) else {
            panic!("an exchange")
        };
        assert_eq!(&*request.view, "/tool/x");
        let body = r#"{"error":{"code":-32602,"message":"Tool not found: x","data":{"code":"GGEN-E3012","help":"ggen mcp list"}}}"#;
        let (answer, _) = questions.reply(key.stream, full(404, body));
        let Some((1, Err(failure))) = answer else {
            panic!("a failure")
        };
        assert_eq!(
            (failure.code, failure.help.as_str()),
            (Code::ToolNotFound, "ggen mcp list")
        );
    }

    #[test]
    fn the_last_event_of_a_stream_is_the_answer_and_questions_are_bounded() {
        let mut questions = Questions::default();
        let call = || Question::CallTool {
            name: "t".to_owned(),
            arguments: json!({}),
        };
        let Ok(Input::Open(key, _)) = questions.ask(1, call()) else {
            panic!("an exchange")
        };
        let event = |data: &'static str| Reply::Event {
            id: None,
            retry_ms: None,
            data: data.into(),
        };
        questions.reply(key.stream, Reply::Start { session: None });
        assert!(matches!(
            questions
                .reply(key.stream, event(r#"{"method":"notifications/progress"}"#))
                .1,
            Some(Input::Credit(..))
        ));
        questions.reply(key.stream, event(r#"{"id":1,"result":5}"#));
        assert!(
            matches!(questions.reply(key.stream, Reply::End).0, Some((1, Ok(value))) if value == 5)
        );
        (0..u64::try_from(OPEN).unwrap()).for_each(|id| assert!(questions.ask(id, call()).is_ok()));
        assert!(
            matches!(questions.ask(99, call()), Err((99, Err(failure))) if failure.code == Code::Overloaded)
        );
    }
}
