//! The built-in tools, with which an assistant looks after the gateway itself. Read-only; the facts
//! come from the supervisor.

use crate::api::{Observation, Output, Question, StreamKey};
use crate::client::pending::Pending;
use crate::client::request::{ClientEra, Flow, RequestContext};
use crate::edge::Reply;
use crate::local::Serving;
use crate::observation::CallOutcome;
use crate::protocol::inbound::key;
use crate::protocol::json;
use crate::protocol::refusal::{Refusal, result_message, rpc};
use crate::upstream::list::Item;
use crate::upstream::view::View;
use bytes::Bytes;
use ggen_wire::Code;
use ggen_wire::control::LogQuery;
use ggen_wire::log::Level;
use std::sync::Arc;

const NOTHING: &str = r#"{"type":"object","properties":{},"additionalProperties":false}"#;

/// Name, title, description, input schema.
const TOOLS: [(&str, &str, &str, &str); 9] = [
    (
        "server-status",
        "Gateway status",
        "The gateway's status: phase, uptime, listeners, counts, and what is wrong.",
        NOTHING,
    ),
    (
        "doctor",
        "What is wrong",
        "Every present issue of the gateway with its stable code, the evidence and the command that mends it.",
        NOTHING,
    ),
    (
        "list-upstreams",
        "Upstream servers",
        "All upstream MCP servers with their state, era, process id, restarts and number of tools.",
        NOTHING,
    ),
    (
        "upstream-status",
        "One upstream server",
        "Everything known of one upstream MCP server.",
        r#"{"type":"object","properties":{"name":{"type":"string","description":"The server's name in mcpServers"}},"required":["name"],"additionalProperties":false}"#,
    ),
    (
        "list-workers",
        "Worker processes",
        "The gateway's own worker processes with their state, memory and restarts.",
        NOTHING,
    ),
    (
        "recent-logs",
        "Recent log lines",
        "The newest log lines of the gateway, its workers and the upstream servers' stderr.",
        r#"{"type":"object","properties":{"tail":{"type":"integer","minimum":1,"maximum":1000,"default":50},"level":{"type":"string","enum":["error","warn","info","debug","trace"]},"upstream":{"type":"string"},"grep":{"type":"string"}},"additionalProperties":false}"#,
    ),
    (
        "metrics-snapshot",
        "Metrics",
        "All metrics of the gateway as they stand now.",
        NOTHING,
    ),
    (
        "show-config",
        "Configuration",
        "The configuration in force, with secrets redacted.",
        NOTHING,
    ),
    (
        "explain-code",
        "Explain an error code",
        "What a stable error code (GGEN-E####) stands for.",
        r#"{"type":"object","properties":{"code":{"type":"string","pattern":"^(GGEN-)?E[0-9]{4}$"}},"required":["code"],"additionalProperties":false}"#,
    ),
];

/// The built-in tools as a list.
pub(crate) fn items() -> Vec<Item> {
    let each = TOOLS.iter().map(|(name, title, description, schema)| {
        let text = format!(
            "{{\"name\":\"{name}\",\"title\":\"{title}\",\"description\":{},\"inputSchema\":{schema},\
             \"annotations\":{{\"readOnlyHint\":true,\"destructiveHint\":false,\"idempotentHint\":true,\"openWorldHint\":false}}}}",
            json::quote(description)
        );
        Item { key: Arc::from(*name), text: text.into(), params: Arc::new([]) }
    });
    each.collect()
}

impl Serving<'_> {
    pub(crate) fn call_builtin(
        &mut self,
        ctx: &RequestContext<'_>,
        tool: usize,
    ) -> Result<Flow, Refusal> {
        let arguments = ctx
            .params
            .and_then(|params| json::pick(params, ["arguments"]))
            .and_then(|[raw]| raw)
            .unwrap_or("{}");
        let [name, code, tail, level, upstream, grep] = json::pick(
            arguments,
            ["name", "code", "tail", "level", "upstream", "grep"],
        )
        .unwrap_or_default();
        let text = |raw: Option<&str>| raw.and_then(json::string).map(std::borrow::Cow::into_owned);
        let wanted = text(name);
        let question = match TOOLS[tool].0 {
            "recent-logs" => Question::Logs(LogQuery {
                tail: Some(
                    tail.and_then(|raw| raw.parse().ok())
                        .unwrap_or(50)
                        .clamp(1, 1000),
                ),
                level: text(level)
                    .and_then(|level| serde_json::from_value::<Level>(level.into()).ok()),
                upstream: text(upstream),
                grep: text(grep),
                ..LogQuery::default()
            }),
            "metrics-snapshot" => Question::Metrics,
            "show-config" => Question::Config,
            "explain-code" => {
                self.explain_code(ctx, text(code));
                return Ok(Flow::Done);
            }
            "upstream-status" if wanted.is_none() => {
                return Err(Refusal::new(
                    200,
                    rpc::INVALID_PARAMS,
                    Code::InvalidRequest,
                    "arguments.name is missing",
                ));
            }
            _ => Question::Status,
        };
        let number = self.cx.next_id();
        let pending = Pending::Tool {
            key: ctx.key,
            id: ctx.id.into(),
            modern: ctx.is_modern(),
            json: ctx.request.accept_json,
            tool,
            wanted,
            arrived: ctx.arrived,
            span: ctx.attempt.take_span(),
        };
        self.clients.wait_for_supervisor(number, pending);
        self.cx.emit(Output::Ask(number, question));
        Ok(Flow::Done)
    }

    /// Answers with what a code stands for, which needs no supervisor.
    fn explain_code(&mut self, ctx: &RequestContext<'_>, code: Option<String>) {
        let (body, failed) = match code.and_then(|code| code.parse::<Code>().ok()) {
            Some(code) => (
                format!(
                    "{{\"code\":\"{code}\",\"title\":{}}}",
                    json::quote(code.title())
                ),
                false,
            ),
            None => (
                "{\"error\":\"no such code; they look like GGEN-E2103\"}".to_owned(),
                true,
            ),
        };
        let server = self.ups.server_info(View::All);
        let structured = structured(&ctx.era);
        let result = tool_result(&body, failed, ctx.is_modern(), structured, &server);
        self.clients.result(self.cx, self.spans, ctx, &result);
    }

    /// The supervisor's answer.
    pub(crate) fn answered(&mut self, number: u64, answer: Result<Bytes, String>) {
        match self.clients.take_pending(number) {
            Some(Pending::Health(key, access)) => {
                self.health_answered(key, access.as_deref(), answer)
            }
            Some(Pending::Tool {
                key,
                id,
                modern,
                json,
                tool,
                wanted,
                arrived,
                span,
            }) => {
                let (text, failed) = match answer {
                    Ok(body) => select(
                        TOOLS[tool].0,
                        &String::from_utf8_lossy(&body),
                        wanted.as_deref(),
                    ),
                    Err(message) => (format!("{{\"error\":{}}}", json::quote(&message)), true),
                };
                let result = tool_result(
                    &text,
                    failed,
                    modern,
                    true,
                    &self.ups.server_info(View::All),
                );
                let body = json::one_line(result_message(&id, &result));
                let (era, duration) = (
                    if modern { "modern" } else { "legacy" },
                    self.cx.now.saturating_sub(arrived),
                );
                let outcome = if failed {
                    CallOutcome::ToolError
                } else {
                    CallOutcome::Ok
                };
                let trace = span.as_ref().map(|span| span.trace);
                self.cx.emit(Output::Observe(Observation::Request {
                    method: "tools/call",
                    era,
                    outcome,
                    duration,
                    trace,
                }));
                self.spans.end(self.cx, span, outcome, &body);
                self.tool_answer(key, json, body);
            }
            None => {}
        }
    }

    /// Brings the answer of a built-in tool to its client. `json`: the client takes no event stream.
    fn tool_answer(&mut self, key: StreamKey, json: bool, body: Bytes) {
        if self.clients.exchange(key).is_some() {
            self.clients.answer(self.cx, key, 200, body);
        } else if json {
            self.cx.full(key, 200, body);
        } else {
            let replies = [
                Reply::Start { session: None },
                Reply::Event {
                    id: None,
                    retry_ms: None,
                    data: body,
                },
                Reply::End,
            ];
            self.cx
                .outputs()
                .extend(replies.into_iter().map(|reply| Output::Reply(key, reply)));
        }
    }
}

/// `structuredContent` exists since 2025-06-18.
fn structured(era: &ClientEra<'_>) -> bool {
    era.revision()
        .is_none_or(|version| version >= crate::protocol::method::Legacy::L2025_06_18)
}

/// The part of the supervisor's answer that a tool is about.
fn select(tool: &str, body: &str, wanted: Option<&str>) -> (String, bool) {
    let member = |name| {
        json::pick(body, [name])
            .and_then(|[raw]| raw)
            .unwrap_or("null")
            .to_owned()
    };
    match tool {
        "doctor" => (
            format!(
                "{{\"phase\":{},\"issues\":{}}}",
                member("phase"),
                member("issues")
            ),
            false,
        ),
        "list-upstreams" => (format!("{{\"upstreams\":{}}}", member("upstreams")), false),
        "list-workers" => (format!("{{\"workers\":{}}}", member("workers")), false),
        "upstream-status" => {
            let list = member("upstreams");
            let of = |text: &&str| {
                json::pick(text, ["name"])
                    .and_then(|[name]| json::string(name?))
                    .as_deref()
                    == wanted
            };
            match json::elements(&list)
                .unwrap_or_default()
                .into_iter()
                .find(of)
            {
                Some(found) => (found.to_owned(), false),
                None => (
                    format!(
                        "{{\"error\":{}}}",
                        json::quote(&format!("no server named {}", wanted.unwrap_or_default()))
                    ),
                    true,
                ),
            }
        }
        "recent-logs" => (format!("{{\"lines\":{body}}}"), false),
        "metrics-snapshot" => (format!("{{\"families\":{body}}}"), false),
        _ => (body.to_owned(), false),
    }
}

/// A tool's result around a JSON object.
fn tool_result(object: &str, failed: bool, modern: bool, structured: bool, server: &str) -> String {
    let structured = if structured {
        format!(",\"structuredContent\":{object}")
    } else {
        String::new()
    };
    let modern = if modern {
        format!(
            ",\"resultType\":\"complete\",\"_meta\":{{\"{}\":{server}}}",
            key::SERVER
        )
    } else {
        String::new()
    };
    format!(
        "{{\"content\":[{{\"type\":\"text\",\"text\":{}}}]{structured},\"isError\":{failed}{modern}}}",
        json::quote(object)
    )
}
