//! The bytes of a message on its way between the eras. What does not have to change is not touched.

use crate::protocol::capabilities::Caps;
use crate::protocol::era::EraPair;
use crate::protocol::inbound::key;
use crate::protocol::list_kind::ListKind;
use crate::protocol::method::{Legacy, LogLevel, Method};
use crate::protocol::refusal::rpc;
use crate::protocol::splice::Splice;
use crate::protocol::{extensions, json, name, splice, task};
use crate::translation::older_revisions;
use bytes::Bytes;
use std::borrow::Cow;

/// What a request to an upstream is made of.
pub(crate) struct Outgoing<'a> {
    /// A modern client's call that a legacy server is to make a task of.
    pub(crate) as_task: bool,
    /// The client's message, and slices of it.
    pub(crate) text: &'a str,
    pub(crate) id: &'a str,
    pub(crate) params: Option<&'a str>,
    /// The number that it gets.
    pub(crate) number: u64,
    /// A value to replace: the slice, and the new text as JSON.
    pub(crate) rename: Option<(&'a str, String)>,
    /// Whether the client gave a progress token.
    pub(crate) progress: Option<&'a str>,
    pub(crate) eras: EraPair,
    /// For a legacy client of a modern upstream: who it is, and what it can be asked for.
    pub(crate) client: &'a str,
    pub(crate) caps: Caps,
    /// The extensions that it declares, as members of `extensions`.
    pub(crate) extensions: &'a str,
    pub(crate) log_level: Option<LogLevel>,
}

/// The request as the upstream gets it.
pub(crate) fn request(from: &Outgoing<'_>) -> Bytes {
    let mut splice = Splice::new(from.text);
    splice.replace(from.id, from.number.to_string());
    match from.eras {
        EraPair::MODERN_TO_LEGACY => {
            if let Some(params) = from.params {
                splice.replace(params, legacy_params(from, params));
                return splice.finish();
            }
        }
        EraPair::LEGACY_TO_MODERN => {
            let meta = modern_meta(from);
            match from
                .params
                .map(|params| (params, json::pick(params, ["_meta"])))
            {
                Some((_, Some([Some(old)]))) if old.starts_with('{') => splice.insert(old, &meta),
                Some((params, _)) => splice.insert(params, &format!("\"_meta\":{{{meta}}}")),
                None => splice.insert(
                    from.text.trim_start(),
                    &format!("\"params\":{{\"_meta\":{{{meta}}}}}"),
                ),
            }
        }
        _ => {}
    }
    if let Some((value, new)) = &from.rename {
        splice.replace(value, new.clone());
    }
    if let Some(token) = from.progress {
        splice.replace(token, from.number.to_string());
    }
    splice.finish()
}

/// Parameters for a legacy upstream: without what only the modern era knows.
fn legacy_params(from: &Outgoing<'_>, params: &str) -> String {
    let mut out = String::with_capacity(params.len());
    for (member, value) in json::members(params).unwrap_or_default() {
        let value: Cow<'_, str> = match &*member {
            // What a legacy client would ask for a task with means nothing in a modern request.
            "inputResponses" | "requestState" | "task" => continue,
            "_meta" => {
                let number = from.number.to_string();
                let token: &[(&str, &str)] = if from.progress.is_some() {
                    &[("progressToken", &number)]
                } else {
                    &[]
                };
                let meta = splice::rebuild(
                    value,
                    |name| name != "progressToken" && !key::RESERVED.contains(&name),
                    token,
                );
                if meta == "{}" {
                    continue;
                }
                meta.into()
            }
            _ => match &from.rename {
                Some((old, new)) => {
                    let mut splice = Splice::new(value);
                    splice.replace(old, new.as_str());
                    splice.finish_text().into()
                }
                None => value.into(),
            },
        };
        out.push(if out.is_empty() { '{' } else { ',' });
        out.push_str(&json::quote(&member));
        out.push(':');
        out.push_str(&value);
    }
    if from.as_task {
        out.push_str(if out.is_empty() {
            "{\"task\":{}"
        } else {
            ",\"task\":{}"
        });
    }
    out.push_str(if out.is_empty() { "{}" } else { "}" });
    out
}

/// The members of `_meta` that a modern upstream needs. Nothing is declared that a legacy client
/// could not be asked for through us.
fn modern_meta(from: &Outgoing<'_>) -> String {
    let caps = extensions::with(&from.caps.write(), from.extensions);
    let mut meta = own_meta(from.client, &caps);
    if let Some(level) = from.log_level {
        meta.push_str(&format!(",\"{}\":\"{}\"", key::LOG_LEVEL, level.as_str()));
    }
    meta
}

/// The members of `_meta` of a request of ours, or of a legacy client.
pub(crate) fn own_meta(client: &str, caps: &str) -> String {
    let version = crate::protocol::method::MODERN;
    format!(
        "\"{}\":\"{version}\",\"{}\":{client},\"{}\":{caps}",
        key::VERSION,
        key::CLIENT,
        key::CAPABILITIES
    )
}

/// A request to a modern server once more, under another number: with the state as the server gave
/// it, and the answers to its questions.
pub(crate) fn again(
    body: &Bytes,
    number: u64,
    state: Option<&str>,
    responses: Option<&str>,
) -> Bytes {
    let text = String::from_utf8_lossy(body);
    let [id, params] = json::pick(&text, ["id", "params"]).unwrap_or_default();
    let (Some(id), Some(params)) = (id, params) else {
        return body.clone();
    };
    let mut renumbered = Splice::new(params);
    let token =
        json::pick(params, ["_meta"]).and_then(|[meta]| json::pick(meta?, ["progressToken"])?[0]);
    if let Some(token) = token {
        renumbered.replace(token, number.to_string());
    }
    let added = [("inputResponses", responses), ("requestState", state)];
    let added: Vec<_> = added
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect();
    let params_again = splice::rebuild(
        &renumbered.finish_text(),
        |name| !matches!(name, "inputResponses" | "requestState"),
        &added,
    );
    let mut splice = Splice::new(&text);
    splice.replace(id, number.to_string());
    splice.replace(params, params_again);
    splice.finish()
}

/// A request to a modern server once more, under another number, of a client that declares an
/// extension.
pub(crate) fn declaring(body: &Bytes, number: u64, extension: &str) -> Bytes {
    let text = String::from_utf8_lossy(body);
    let [id, params] = json::pick(&text, ["id", "params"]).unwrap_or_default();
    let [meta] = params
        .and_then(|params| json::pick(params, ["_meta"]))
        .unwrap_or_default();
    let [caps, token] = meta
        .and_then(|meta| json::pick(meta, [key::CAPABILITIES, "progressToken"]))
        .unwrap_or_default();
    let (Some(id), Some(caps)) = (id, caps) else {
        return body.clone();
    };
    let mut splice = Splice::new(&text);
    splice.replace(id, number.to_string());
    let [others] = json::pick(caps, ["extensions"]).unwrap_or_default();
    match others.filter(|others| others.starts_with('{')) {
        Some(others) => splice.insert(others, &format!("\"{extension}\":{{}}")),
        None => splice.insert(caps, &format!("\"extensions\":{{\"{extension}\":{{}}}}")),
    }
    if let Some(token) = token {
        splice.replace(token, number.to_string());
    }
    splice.finish()
}

/// The same answer for a request with another id.
pub(crate) fn with_id(body: &Bytes, id: &str) -> Bytes {
    let text = String::from_utf8_lossy(body);
    let Some([Some(old)]) = json::pick(&text, ["id"]) else {
        return body.clone();
    };
    let mut splice = Splice::new(&text);
    splice.replace(old, id);
    splice.finish()
}

/// What an answer is made of.
pub(crate) struct Incoming<'a> {
    /// The upstream's message, and slices of it.
    pub(crate) text: &'a str,
    pub(crate) number: &'a str,
    /// The client's id as it stands.
    pub(crate) id: &'a str,
    pub(crate) eras: EraPair,
    pub(crate) method: Method,
    /// `serverInfo` of the upstream.
    pub(crate) server: Option<&'a str>,
    /// The upstream's key, if URIs get exposed names.
    pub(crate) exposes: Option<&'a str>,
    /// The revision of a legacy client.
    pub(crate) version: Option<Legacy>,
}

/// A result as the client gets it.
pub(crate) fn result(from: &Incoming<'_>, result: &str) -> Bytes {
    let mut splice = Splice::new(from.text);
    splice.replace(from.number, from.id.to_owned());
    let kept = match from.eras {
        EraPair::LEGACY_TO_MODERN => Some(splice::rebuild(
            result,
            |member| !matches!(member, "resultType" | "ttlMs" | "cacheScope"),
            &[],
        )),
        _ => None,
    };
    let base = kept.as_deref().unwrap_or(result);
    if kept.is_some()
        || from
            .version
            .is_some_and(|version| older_revisions::result(from.method, base, version).is_some())
    {
        let mut inner = Splice::new(base);
        expose(from, base, &mut inner);
        let exposed = inner.finish_text();
        let older = from
            .version
            .and_then(|version| older_revisions::result(from.method, &exposed, version));
        splice.replace(result, older.unwrap_or(exposed));
    } else {
        expose(from, result, &mut splice);
        match from.eras {
            EraPair::MODERN_TO_LEGACY => {
                splice.insert(result, &modern_members(from, result));
                if let Some((meta, server)) = unnamed(from, result) {
                    splice.insert(meta, &format!("\"{}\":{server}", key::SERVER));
                }
            }
            // Every result says what it is (2026-07-28, basic, "Results"); one that does not is
            // complete.
            EraPair::MODERN if json::pick(result, ["resultType"]) == Some([None]) => {
                splice.insert(result, "\"resultType\":\"complete\"")
            }
            _ => {}
        }
    }
    splice.finish()
}

/// Gives the URIs of a result their exposed names.
fn expose<'a>(from: &Incoming<'_>, result: &'a str, splice: &mut Splice<'a>) {
    let Some(server_key) = from.exposes else {
        return;
    };
    let named = |member: &str| result.contains(member);
    for uri in if named("\"uri\"") {
        uris(from.method, result)
    } else {
        Vec::new()
    } {
        if let Some(text) = json::string(uri) {
            splice.replace(uri, json::quote(&name::exposed_uri(server_key, &text)));
        }
    }
    for task in if named("\"taskId\"") {
        task::ids(from.method, result)
    } else {
        Vec::new()
    } {
        if let Some(text) = json::string(task) {
            splice.replace(task, json::quote(&name::exposed_task(server_key, &text)));
        }
    }
}

/// What a legacy result lacks for a modern client.
fn modern_members(from: &Incoming<'_>, result: &str) -> String {
    let [kind, meta] = json::pick(result, ["resultType", "_meta"]).unwrap_or_default();
    let mut members = if kind.is_none() {
        "\"resultType\":\"complete\"".to_owned()
    } else {
        String::new()
    };
    if from.method == Method::ResourcesRead {
        members.push_str(",\"ttlMs\":0,\"cacheScope\":\"private\"");
    }
    if let (None, Some(server)) = (meta, from.server) {
        members.push_str(&format!(",\"_meta\":{{\"{}\":{server}}}", key::SERVER));
    }
    members.trim_start_matches(',').to_owned()
}

/// The `_meta` of a legacy result that does not say whose it is, and whose it is.
fn unnamed<'a>(from: &Incoming<'a>, result: &'a str) -> Option<(&'a str, &'a str)> {
    let [meta] = json::pick(result, ["_meta"])?;
    let meta = meta.filter(|meta| meta.starts_with('{'))?;
    let [named] = json::pick(meta, [key::SERVER])?;
    Some((meta, from.server.filter(|_| named.is_none())?))
}

/// The URIs in a result that name resources of the upstream.
pub(crate) fn uris(method: Method, result: &str) -> Vec<&str> {
    let list = |text, member| {
        json::pick(text, [member])
            .and_then(|[list]| json::elements(list?))
            .unwrap_or_default()
    };
    let of_block = |block| {
        let [kind, uri, resource] =
            json::pick(block, ["type", "uri", "resource"]).unwrap_or_default();
        match kind {
            Some("\"resource_link\"") => uri,
            Some("\"resource\"") => resource
                .and_then(|resource| json::pick(resource, ["uri"]))
                .and_then(|[uri]| uri),
            _ => None,
        }
    };
    match method {
        Method::ResourcesRead => list(result, "contents")
            .into_iter()
            .filter_map(|part| json::pick(part, ["uri"])?[0])
            .collect(),
        Method::ToolsCall | Method::TaskResult => list(result, "content")
            .into_iter()
            .filter_map(of_block)
            .collect(),
        Method::TaskGet => json::pick(result, ["result"])
            .and_then(|[done]| done)
            .map_or_else(Vec::new, |done| uris(Method::ToolsCall, done)),
        Method::PromptsGet => list(result, "messages")
            .into_iter()
            .filter_map(|message| of_block(json::pick(message, ["content"])?[0]?))
            .collect(),
        _ => Vec::new(),
    }
}

/// The code that the client of one era gets for an upstream's error of the other.
pub(crate) fn error_code(method: Method, code: i64, has_uri: bool, eras: EraPair) -> i64 {
    match (eras, method, code) {
        (EraPair::MODERN_TO_LEGACY, _, rpc::RESOURCE_NOT_FOUND) => rpc::INVALID_PARAMS,
        // Some SDKs say 0 where they know no code.
        (EraPair::MODERN_TO_LEGACY, _, 0) => rpc::INTERNAL,
        (EraPair::LEGACY_TO_MODERN, Method::ResourcesRead, rpc::INVALID_PARAMS) if has_uri => {
            rpc::RESOURCE_NOT_FOUND
        }
        (
            EraPair::LEGACY_TO_MODERN,
            _,
            rpc::HEADER_MISMATCH | rpc::MISSING_CAPABILITY | rpc::UNSUPPORTED_VERSION,
        ) => rpc::INTERNAL,
        _ => code,
    }
}

/// A tool for a modern client of a legacy upstream: without `execution`, which says how a legacy
/// client has to ask for a task.
pub(crate) fn without_execution(kind: ListKind, text: &Bytes) -> Option<Bytes> {
    let text = std::str::from_utf8(text)
        .ok()
        .filter(|text| kind == ListKind::Tools && text.contains("\"execution\""))?;
    Some(splice::rebuild(text, |member| member != "execution", &[]).into())
}
