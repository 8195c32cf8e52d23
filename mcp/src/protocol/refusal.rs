//! Errors towards a client: HTTP status, JSON-RPC code and our stable code in one value, and the
//! JSON-RPC error body made of it.

use crate::protocol::json;
use crate::protocol::json::{BadJson, quote};
use bytes::Bytes;
use ggen_wire::Code;

/// JSON-RPC codes (JSON-RPC 2.0 §5.1; MCP 2026-07-28 basic, "Error codes").
pub mod rpc {
    /// Not JSON.
    pub const PARSE: i64 = -32700;
    /// Not a request.
    pub const INVALID_REQUEST: i64 = -32600;
    /// No such method.
    pub const METHOD_NOT_FOUND: i64 = -32601;
    /// Bad parameters; also an unknown tool, prompt or (modern) resource.
    pub const INVALID_PARAMS: i64 = -32602;
    /// The server's fault.
    pub const INTERNAL: i64 = -32603;
    /// Legacy: no such resource.
    pub const RESOURCE_NOT_FOUND: i64 = -32002;
    /// 2025-11-25: addresses have to be visited first.
    pub const URL_ELICITATION: i64 = -32042;
    /// Modern: a header differs from the body.
    pub const HEADER_MISMATCH: i64 = -32020;
    /// Modern: the client lacks a capability.
    pub const MISSING_CAPABILITY: i64 = -32021;
    /// Modern: the revision is not supported.
    pub const UNSUPPORTED_VERSION: i64 = -32022;
}

/// A request that gets an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// JSON-RPC code.
    pub rpc: i64,
    /// Our stable code.
    pub code: Code,
    /// What is wrong.
    pub message: String,
    /// Further members of `error.data`, as JSON (`"uri":"…"`).
    pub data: String,
    /// For the `Retry-After` header, in seconds.
    pub retry_after: Option<u32>,
}

impl Refusal {
    /// A refusal with the code's own title as its message, and `detail` behind it unless empty.
    #[must_use]
    pub fn new(status: u16, rpc: i64, code: Code, detail: &str) -> Self {
        let title = code.title();
        let message = if detail.is_empty() {
            title.to_owned()
        } else {
            format!("{title}: {detail}")
        };
        Self {
            status,
            rpc,
            code,
            message,
            data: String::new(),
            retry_after: None,
        }
    }

    /// With a member added to `error.data`; `value` is JSON.
    #[must_use]
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.data.push_str(&format!(",{}:{value}", quote(key)));
        self
    }

    /// With a `Retry-After`.
    #[must_use]
    pub const fn retry(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// For text that is not a message.
    #[must_use]
    pub fn bad_json(bad: BadJson) -> Self {
        match bad {
            BadJson::Syntax => Self::new(400, rpc::PARSE, Code::InvalidJson, ""),
            BadJson::Shape => Self::new(
                400,
                rpc::INVALID_REQUEST,
                Code::InvalidRequest,
                "not a JSON-RPC 2.0 message",
            ),
            BadJson::Duplicate => Self::new(400, rpc::INVALID_REQUEST, Code::DuplicateKey, ""),
            BadJson::Depth => Self::new(400, rpc::INVALID_REQUEST, Code::TooDeep, ""),
        }
    }

    /// The `error` member's value. `data.help` is the command that says more, unless a better one
    /// was given.
    #[must_use]
    pub fn error(&self) -> String {
        let (rpc, message, code, data) = (self.rpc, quote(&self.message), self.code, &self.data);
        let help = if data.contains("\"help\":") {
            String::new()
        } else {
            format!(",\"help\":\"ggen mcp explain {code}\"")
        };
        format!(
            "{{\"code\":{rpc},\"message\":{message},\"data\":{{\"code\":\"{code}\"{data}{help}}}}}"
        )
    }

    /// The whole JSON-RPC error message; `id` as it stood in the request, or none.
    #[must_use]
    pub fn body(&self, id: Option<&str>) -> Bytes {
        error_message(id, &self.error())
    }
}

/// A JSON-RPC error message around an `error` value.
#[must_use]
pub fn error_message(id: Option<&str>, error: &str) -> Bytes {
    match id {
        Some(id) => format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{error}}}").into(),
        None => format!("{{\"jsonrpc\":\"2.0\",\"error\":{error}}}").into(),
    }
}

/// A JSON-RPC result message around a `result` value.
#[must_use]
pub fn result_message(id: &str, result: &str) -> Bytes {
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{result}}}").into()
}

/// The HTTP status with which a modern client gets an upstream's JSON-RPC error (MCP 2026-07-28,
/// Streamable HTTP).
#[must_use]
pub const fn modern_status(code: i64) -> u16 {
    match code {
        rpc::METHOD_NOT_FOUND => 404,
        rpc::HEADER_MISMATCH | rpc::MISSING_CAPABILITY | rpc::UNSUPPORTED_VERSION => 400,
        _ => 200,
    }
}

/// The code of an error.
pub(crate) fn code_of(error: &str) -> Option<i64> {
    json::pick(error, ["code"])?[0]?.parse().ok()
}
