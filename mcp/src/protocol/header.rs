//! The headers that mirror a modern request (MCP 2026-07-28, Streamable HTTP, "Request Metadata"):
//! checked for clients, made for upstreams.

use crate::edge::Request;
use crate::protocol::json;
use crate::protocol::refusal::{Refusal, rpc};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ggen_wire::Code;
use std::borrow::Cow;

/// A parameter of a tool that is mirrored in `Mcp-Param-<name>` (`x-mcp-header` in its schema).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param {
    /// `mcp-param-…`, lower case.
    pub header: String,
    /// The chain of property names that leads to it.
    pub path: Vec<String>,
    /// Whether the schema says integer: then the values are compared as numbers.
    pub integer: bool,
}

/// The member of `params` that `Mcp-Name` mirrors.
#[must_use]
pub fn name_member(method: &str) -> Option<&'static str> {
    match method {
        "tools/call" | "prompts/get" => Some("name"),
        "resources/read" => Some("uri"),
        "tasks/get" | "tasks/update" | "tasks/cancel" => Some("taskId"),
        _ => None,
    }
}

/// Checks `Mcp-Method` and `Mcp-Name` of a modern request against its body. `MCP-Protocol-Version`
/// was checked by [`crate::protocol::inbound::classify`].
///
/// # Errors
/// 400 with -32020.
pub fn check(request: &Request, method: &str, params: Option<&str>) -> Result<(), Refusal> {
    same(request, "mcp-method", method)?;
    let Some(member) = name_member(method) else {
        return Ok(());
    };
    let value = params
        .and_then(|params| json::pick(params, [member]))
        .and_then(|[value]| value)
        .and_then(json::string);
    match value {
        Some(value) => same(request, "mcp-name", &value),
        None => Ok(()),
    }
}

/// Checks the `Mcp-Param-*` headers of a tool call against its arguments.
///
/// # Errors
/// 400 with -32020.
pub fn check_params(
    request: &Request,
    declared: &[Param],
    arguments: Option<&str>,
) -> Result<(), Refusal> {
    for param in declared {
        match (
            value_at(arguments, &param.path),
            request.count(&param.header),
        ) {
            (None, 0) => {}
            (None, _) => {
                return Err(mismatch(
                    &param.header,
                    "is there, but the body has no such value",
                ));
            }
            (Some(value), _) => {
                let given = decoded(request, &param.header)?;
                let equal = given == value
                    || param.integer
                        && integer(&given).is_some_and(|given| Some(given) == integer(&value));
                if !equal {
                    return Err(mismatch(&param.header, "differs from the body"));
                }
            }
        }
    }
    Ok(())
}

/// The `Mcp-Param-*` headers for an upstream that declared them.
#[must_use]
pub fn make_params(declared: &[Param], arguments: Option<&str>) -> Vec<(String, String)> {
    declared
        .iter()
        .filter_map(|param| {
            value_at(arguments, &param.path).map(|value| (param.header.clone(), encode(&value)))
        })
        .collect()
}

/// The text of a primitive value in the arguments; null and absence are the same.
fn value_at(arguments: Option<&str>, path: &[String]) -> Option<String> {
    let mut at = arguments?;
    for step in path {
        at = json::pick(at, [step.as_str()])?[0]?;
    }
    match json::string(at) {
        Some(text) => Some(text.into_owned()),
        None if at == "null" || at.starts_with(['{', '[']) => None,
        None => Some(at.to_owned()),
    }
}

/// `42`, `42.0` and `4.2e1` are one integer.
fn integer(text: &str) -> Option<i64> {
    text.parse::<i64>().ok().or_else(|| {
        let value = text
            .parse::<f64>()
            .ok()
            .filter(|value| value.fract() == 0.0 && value.abs() <= 9_007_199_254_740_991.0)?;
        format!("{value:.0}").parse().ok()
    })
}

fn same(request: &Request, header: &str, body: &str) -> Result<(), Refusal> {
    if decoded(request, header)? == body {
        Ok(())
    } else {
        Err(mismatch(header, "differs from the body"))
    }
}

/// The value of a header that must be there once, decoded if it is a sentinel.
fn decoded<'a>(request: &'a Request, header: &str) -> Result<Cow<'a, str>, Refusal> {
    let value = match request.count(header) {
        0 => return Err(mismatch(header, "is missing")),
        1 => request
            .header(header)
            .ok_or_else(|| mismatch(header, "is not ASCII"))?,
        _ => return Err(mismatch(header, "came more than once")),
    };
    if !value
        .bytes()
        .all(|byte| matches!(byte, b'\t' | 0x20..=0x7e))
    {
        return Err(mismatch(header, "has characters that need the base64 form"));
    }
    match value
        .strip_prefix("=?base64?")
        .and_then(|rest| rest.strip_suffix("?="))
    {
        None => Ok(Cow::Borrowed(value)),
        Some(encoded) => {
            let bytes = STANDARD
                .decode(encoded)
                .map_err(|_| mismatch(header, "is not valid base64"))?;
            String::from_utf8(bytes)
                .map(Cow::Owned)
                .map_err(|_| mismatch(header, "is not UTF-8"))
        }
    }
}

/// A value as a header: as it is where that is safe, in the sentinel's base64 form otherwise.
#[must_use]
pub fn encode(value: &str) -> String {
    let safe = value
        .bytes()
        .all(|byte| matches!(byte, b'\t' | 0x20..=0x7e))
        && value.trim_matches([' ', '\t']).len() == value.len()
        && !(value.starts_with("=?base64?") && value.ends_with("?="));
    if safe {
        value.to_owned()
    } else {
        format!("=?base64?{}?=", STANDARD.encode(value))
    }
}

fn mismatch(header: &str, what: &str) -> Refusal {
    Refusal::new(
        400,
        rpc::HEADER_MISMATCH,
        Code::HeaderMismatch,
        &format!("{header} {what}"),
    )
}

/// The mirrored parameters that a tool's schema declares.
///
/// # Errors
/// Why the declaration is against the specification; such a tool must not be offered by a client of
/// an HTTP server.
pub fn declared(input_schema: &str) -> Result<Vec<Param>, String> {
    if !input_schema.contains("\"x-mcp-header\"") {
        return Ok(Vec::new());
    }
    let schema: serde_json::Value =
        serde_json::from_str(input_schema).map_err(|_| "the schema is not JSON".to_owned())?;
    let (mut params, mut reached) = (Vec::new(), 0);
    collect(&schema, &mut Vec::new(), &mut params, &mut reached)?;
    if annotations(&schema) != reached {
        return Err("x-mcp-header where no chain of properties leads".to_owned());
    }
    let mut names: Vec<_> = params.iter().map(|param| &param.header).collect();
    names.sort();
    names.dedup();
    if names.len() < params.len() {
        Err("two parameters have the same x-mcp-header".to_owned())
    } else {
        Ok(params)
    }
}

fn collect(
    schema: &serde_json::Value,
    path: &mut Vec<String>,
    params: &mut Vec<Param>,
    reached: &mut usize,
) -> Result<(), String> {
    if path.len() > 32 {
        return Err("the schema nests too deeply".to_owned());
    }
    let Some(properties) = schema
        .get("properties")
        .and_then(|properties| properties.as_object())
    else {
        return Ok(());
    };
    for (name, property) in properties {
        path.push(name.clone());
        if let Some(header) = property.get("x-mcp-header") {
            *reached += 1;
            let header = header
                .as_str()
                .filter(|name| !name.is_empty() && name.bytes().all(is_tchar));
            let header =
                header.ok_or_else(|| format!("x-mcp-header of {name} is not a header name"))?;
            let kind = property.get("type").and_then(|kind| kind.as_str());
            if !matches!(kind, Some("string" | "integer" | "boolean")) {
                return Err(format!(
                    "x-mcp-header of {name}, which is neither string, integer nor boolean"
                ));
            }
            let header = format!("mcp-param-{}", header.to_ascii_lowercase());
            params.push(Param {
                header,
                path: path.clone(),
                integer: kind == Some("integer"),
            });
        }
        collect(property, path, params, reached)?;
        path.pop();
    }
    Ok(())
}

/// How often `x-mcp-header` stands anywhere in a schema.
fn annotations(schema: &serde_json::Value) -> usize {
    match schema {
        serde_json::Value::Object(map) => map
            .iter()
            .map(|(key, value)| usize::from(key == "x-mcp-header") + annotations(value))
            .sum(),
        serde_json::Value::Array(list) => list.iter().map(annotations).sum(),
        _ => 0,
    }
}

/// RFC 9110 §5.6.2.
fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The headers of a modern request to an HTTP upstream, made of the body that is sent.
#[must_use]
pub fn make(method: &str, name: Option<&str>) -> Vec<(String, String)> {
    let mut headers = vec![
        (
            "mcp-protocol-version".to_owned(),
            crate::protocol::method::MODERN.to_owned(),
        ),
        ("mcp-method".to_owned(), encode(method)),
        (
            "accept".to_owned(),
            "application/json, text/event-stream".to_owned(),
        ),
    ];
    if let Some(name) = name {
        headers.push(("mcp-name".to_owned(), encode(name)));
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_survive_the_header_form() {
        for value in [
            "plain",
            " lead",
            "trail\t",
            "grüße",
            "=?base64?eA==?=",
            "a\nb",
            "",
        ] {
            let request = Request {
                verb: crate::edge::Verb::Post,
                accept_json: true,
                accept_sse: true,
                view: "".into(),
                principal: "".into(),
                headers: vec![("mcp-name".into(), encode(value).into_bytes().into())],
                body: bytes::Bytes::new(),
            };
            assert_eq!(decoded(&request, "mcp-name").as_deref(), Ok(value));
        }
    }

    #[test]
    fn schemas_are_read() {
        let good = r#"{"type":"object","properties":{"a":{"type":"object","properties":{"b":{"type":"integer","x-mcp-header":"B"}}}}}"#;
        let param = Param {
            header: "mcp-param-b".into(),
            path: vec!["a".into(), "b".into()],
            integer: true,
        };
        assert_eq!(declared(good), Ok(vec![param.clone()]));
        assert_eq!(
            make_params(&[param], Some(r#"{"a":{"b":42.0}}"#)),
            vec![("mcp-param-b".to_owned(), "42.0".to_owned())]
        );
        for bad in [
            r#"{"properties":{"a":{"type":"number","x-mcp-header":"A"}}}"#,
            r#"{"properties":{"a":{"type":"string","x-mcp-header":"A b"}}}"#,
            r#"{"properties":{"a":{"type":"string","x-mcp-header":"A"},"b":{"type":"string","x-mcp-header":"a"}}}"#,
            r#"{"properties":{"a":{"type":"array","items":{"type":"string","x-mcp-header":"A"}}}}"#,
        ] {
            assert!(declared(bad).is_err(), "{bad}");
        }
    }
}
