//! The kind of a line of the client, and the headers that it is sent with. Pure.

use bytes::Bytes;
use ggen_mcp::protocol::header::Param;
use ggen_mcp::protocol::inbound::key;
use ggen_mcp::protocol::json::{BadJson, Envelope, Kind};
use ggen_mcp::protocol::refusal::Refusal;
use ggen_mcp::protocol::{header, json};
use std::collections::HashMap;

/// A line as it was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Without its end.
    Whole(Bytes),
    /// Over the limit.
    TooLong,
}

/// A header.
pub(super) type Header = (String, String);
/// The parameters that tools want mirrored in headers, by the tools' names.
pub(super) type Declared = HashMap<String, Vec<Param>>;

/// A message of the client.
#[derive(Clone, Debug)]
pub(super) struct Message {
    /// As it came.
    pub(super) body: Bytes,
    /// The id of a request, as it stands.
    pub(super) id: Option<Box<str>>,
    /// The method of a request or notification; empty for an answer.
    pub(super) method: Box<str>,
    version: Option<String>,
}

impl Message {
    /// Reads a line.
    ///
    /// # Errors
    /// What the client is told; such a line is sent nowhere.
    pub(super) fn read(body: Bytes) -> Result<Self, Refusal> {
        let text = std::str::from_utf8(&body).map_err(|_| Refusal::bad_json(BadJson::Syntax))?;
        let envelope = Envelope::parse(text).map_err(Refusal::bad_json)?;
        let meta = envelope
            .params
            .and_then(|params| json::pick(params, ["_meta"]))
            .and_then(|[meta]| meta);
        let version = meta
            .and_then(|meta| json::pick(meta, [key::VERSION]))
            .and_then(|[version]| json::string(version?));
        let version = version.map(std::borrow::Cow::into_owned);
        let (id, method): (Option<Box<str>>, Box<str>) = match &envelope.kind {
            Kind::Request(id, method) => (Some((*id).into()), (**method).into()),
            Kind::Notification(method) => (None, (**method).into()),
            Kind::Result(..) | Kind::Error(..) => (None, "".into()),
        };
        Ok(Self {
            id,
            method,
            version,
            body,
        })
    }

    /// Whether it says of itself that it needs no session (2026-07-28 and what follows).
    pub(super) const fn is_modern(&self) -> bool {
        self.version.is_some()
    }

    /// Whether it begins a session.
    pub(super) fn is_handshake(&self) -> bool {
        self.id.is_some() && !self.is_modern() && &*self.method == "initialize"
    }

    /// The id of the request that it takes back, as it stands.
    pub(super) fn cancels(&self) -> Option<Box<str>> {
        (self.id.is_none() && &*self.method == "notifications/cancelled")
            .then(|| self.param("requestId"))
            .flatten()
            .map(Into::into)
    }

    /// The headers that mirror a modern message; none for a legacy one.
    pub(super) fn mirrored(&self, declared: &Declared) -> Vec<Header> {
        let Some(version) = &self.version else {
            return Vec::new();
        };
        let name = header::name_member(&self.method)
            .and_then(|member| self.param(member))
            .and_then(json::string);
        let mut headers = header::make(&self.method, name.as_deref());
        for (header, value) in &mut headers {
            if header == "mcp-protocol-version" {
                value.clone_from(version);
            }
        }
        headers.retain(|(header, _)| header != "accept");
        if &*self.method == "tools/call"
            && let Some(params) = name.and_then(|name| declared.get(&*name))
        {
            headers.extend(header::make_params(params, self.param("arguments")));
        }
        headers
    }

    /// A member of `params`, as it stands.
    fn param(&self, member: &str) -> Option<&str> {
        let text = std::str::from_utf8(&self.body).ok()?;
        let params = Envelope::parse(text).ok()?.params?;
        json::pick(params, [member])?[0]
    }
}

/// Whether a message is the answer to the request of that id.
pub(super) fn answers(text: &[u8], id: &str) -> bool {
    let envelope = std::str::from_utf8(text)
        .ok()
        .and_then(|text| Envelope::parse(text).ok());
    envelope.is_some_and(|envelope| matches!(envelope.kind, Kind::Result(own, _) | Kind::Error(Some(own), _) if own == id))
}

/// Learns from a list of tools which parameters they want mirrored; tools without any are
/// forgotten.
pub(super) fn learn(declared: &mut Declared, answer: &[u8]) {
    let Some(text) = std::str::from_utf8(answer).ok() else {
        return;
    };
    if declared.is_empty() && !text.contains("\"x-mcp-header\"") {
        return;
    }
    let Ok(Envelope {
        kind: Kind::Result(_, result),
        ..
    }) = Envelope::parse(text)
    else {
        return;
    };
    let tools = json::pick(result, ["tools"])
        .and_then(|[tools]| json::elements(tools?))
        .unwrap_or_default();
    for tool in tools {
        let Some([Some(name), schema]) = json::pick(tool, ["name", "inputSchema"]) else {
            continue;
        };
        let Some(name) = json::string(name) else {
            continue;
        };
        match schema
            .and_then(|schema| header::declared(schema).ok())
            .filter(|params| !params.is_empty())
        {
            Some(params) => drop(declared.insert(name.into_owned(), params)),
            None => drop(declared.remove(&*name)),
        }
    }
}

/// An error answer without an id becomes one with the id of the request; anything else that is no
/// answer to it is none.
pub(super) fn with_id(body: &[u8], id: &str) -> Option<Bytes> {
    let text = std::str::from_utf8(body).ok()?;
    match Envelope::parse(text).ok()?.kind {
        Kind::Error(None, error) => {
            Some(ggen_mcp::protocol::refusal::error_message(Some(id), error))
        }
        Kind::Result(own, _) | Kind::Error(Some(own), _) if own == id => {
            Some(Bytes::copy_from_slice(body))
        }
        _ => None,
    }
}
