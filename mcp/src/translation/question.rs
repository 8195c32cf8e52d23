//! Questions of servers on their way between the eras: what one era writes into a result, the other
//! sends as a request.

use crate::protocol::capabilities::Caps;
use crate::protocol::inbound::key;
use crate::protocol::method::Legacy;
use crate::protocol::{json, splice};

/// A legacy server's request as an entry of `inputRequests`.
pub(crate) fn question(method: &str, params: Option<&str>, caps: Caps) -> String {
    let method_text = json::quote(method);
    let Some(params) = params else {
        return format!("{{\"method\":{method_text}}}");
    };
    let url = method == "elicitation/create"
        && json::pick(params, ["mode"]).is_some_and(|[mode]| mode == Some("\"url\""));
    let meta = json::pick(params, ["_meta"])
        .and_then(|[meta]| meta)
        .map(|meta| splice::rebuild(meta, keeps, &[]));
    let keep = |member: &str| match member {
        // The id only served `notifications/elicitation/complete`, which the modern era does not
        // have.
        "elicitationId" => !url,
        "includeContext" => caps.sampling_context,
        "task" | "_meta" => false,
        _ => true,
    };
    let meta = meta.as_deref().filter(|meta| *meta != "{}");
    let members: &[(&str, &str)] = match &meta {
        Some(meta) => &[("_meta", *meta)],
        None => &[],
    };
    format!(
        "{{\"method\":{method_text},\"params\":{}}}",
        splice::rebuild(params, keep, members)
    )
}

/// Members of a legacy request's `_meta` that mean something beyond it.
fn keeps(member: &str) -> bool {
    !member.ends_with("/inputKey")
        && member != "progressToken"
        && member != "io.modelcontextprotocol/related-task"
        && !key::RESERVED.contains(&member)
}

/// A modern server's question for a legacy client.
pub(crate) enum Question {
    /// `"method":…,"params":…`
    Fits(String),
    /// Its revision has no way to ask that.
    Unknown(&'static str),
}

/// An entry of `inputRequests` as members of a request. `id`: for the elicitation of an address.
pub(crate) fn question_for_legacy(
    method: &str,
    params: Option<&str>,
    version: Legacy,
    id: &str,
) -> Question {
    let method_text = json::quote(method);
    let Some(params) = params else {
        return Question::Fits(format!("\"method\":{method_text}"));
    };
    let fits =
        |params: &str| Question::Fits(format!("\"method\":{method_text},\"params\":{params}"));
    if method != "elicitation/create" {
        return fits(params);
    }
    let [mode, schema] = json::pick(params, ["mode", "requestedSchema"]).unwrap_or_default();
    if mode == Some("\"url\"") {
        if version < Legacy::L2025_11_25 {
            return Question::Unknown(
                "the client's revision cannot ask for an address to be visited",
            );
        }
        // 2025-11-25 requires the id.
        return fits(&splice::rebuild(
            params,
            |member| member != "elicitationId",
            &[("elicitationId", &json::quote(id))],
        ));
    }
    if version >= Legacy::L2025_11_25 {
        return fits(params);
    }
    match schema.map(older_schema) {
        Some(None) => Question::Unknown("the client's revision has no lists in forms"),
        Some(Some(schema)) => fits(&splice::rebuild(
            params,
            |member| member != "mode" && member != "requestedSchema",
            &[("requestedSchema", &schema)],
        )),
        None => fits(&splice::rebuild(params, |member| member != "mode", &[])),
    }
}

/// A form as 2025-06-18 knows it: titled choices by `enumNames`, no defaults but those of booleans.
/// `None`: it has a list.
fn older_schema(schema: &str) -> Option<String> {
    let Some([Some(properties)]) = json::pick(schema, ["properties"]) else {
        return Some(schema.to_owned());
    };
    let mut fields = Vec::new();
    for (name, field) in json::members(properties)? {
        let [kind, choices] = json::pick(field, ["type", "oneOf"]).unwrap_or_default();
        if kind == Some("\"array\"") {
            return None;
        }
        let keep = |member: &str| {
            member != "oneOf" && (member != "default" || kind == Some("\"boolean\""))
        };
        let text = match choices.and_then(json::elements) {
            Some(choices) => {
                let member = |name: &str| {
                    let values = choices.iter().map(|choice| {
                        json::pick(choice, [name])
                            .and_then(|[value]| value)
                            .unwrap_or("null")
                    });
                    format!("[{}]", values.collect::<Vec<_>>().join(","))
                };
                splice::rebuild(
                    field,
                    keep,
                    &[("enum", &member("const")), ("enumNames", &member("title"))],
                )
            }
            None => splice::rebuild(field, keep, &[]),
        };
        fields.push(format!("{}:{text}", json::quote(&name)));
    }
    let properties = format!("{{{}}}", fields.join(","));
    Some(splice::rebuild(
        schema,
        |member| member != "properties",
        &[("properties", &properties)],
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_legacy_request_becomes_an_input_request() {
        let caps = Caps::read(r#"{"elicitation":{"url":{}},"sampling":{}}"#);
        let of = |method, params| question(method, Some(params), caps);
        assert_eq!(
            of(
                "elicitation/create",
                r#"{"mode":"url","url":"https://x","elicitationId":"7","message":"m","_meta":{"a/inputKey":"k"}}"#
            ),
            r#"{"method":"elicitation/create","params":{"mode":"url","url":"https://x","message":"m"}}"#
        );
        assert_eq!(
            of(
                "sampling/createMessage",
                r#"{"messages":[],"includeContext":"allServers","maxTokens":1.0,"_meta":{"x":1}}"#
            ),
            r#"{"method":"sampling/createMessage","params":{"messages":[],"maxTokens":1.0,"_meta":{"x":1}}}"#
        );
        assert_eq!(
            question("roots/list", None, caps),
            r#"{"method":"roots/list"}"#
        );
    }

    #[test]
    fn an_input_request_becomes_what_the_revision_knows() {
        let of = |params, version| match question_for_legacy(
            "elicitation/create",
            Some(params),
            version,
            "i",
        ) {
            Question::Fits(text) => text,
            Question::Unknown(what) => what.to_owned(),
        };
        let form = r#"{"mode":"form","message":"m","requestedSchema":{"type":"object","properties":{"c":{"type":"string","oneOf":[{"const":"a","title":"A"}],"default":"a"},"b":{"type":"boolean","default":true}}}}"#;
        assert_eq!(
            of(form, Legacy::L2025_11_25),
            format!("\"method\":\"elicitation/create\",\"params\":{form}")
        );
        assert_eq!(
            of(form, Legacy::L2025_06_18),
            r#""method":"elicitation/create","params":{"message":"m","requestedSchema":{"type":"object","properties":{"c":{"type":"string","enum":["a"],"enumNames":["A"]},"b":{"type":"boolean","default":true}}}}"#
        );
        let list = r#"{"requestedSchema":{"properties":{"l":{"type":"array"}}}}"#;
        assert!(of(list, Legacy::L2025_06_18).contains("no lists"));
        let url = r#"{"mode":"url","message":"m","url":"https://x"}"#;
        assert!(
            of(url, Legacy::L2025_11_25).contains(r#""elicitationId":"i""#)
                && !of(url, Legacy::L2025_06_18).contains("https")
        );
    }
}
