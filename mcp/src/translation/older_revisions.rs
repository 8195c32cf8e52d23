//! What a legacy client's revision does not know yet, put so that it does: only where it stands in
//! an answer; everything else stays as it came.

use crate::protocol::list_kind::ListKind;
use crate::protocol::method::{Legacy, Method};
use crate::protocol::splice::Splice;
use crate::protocol::{json, splice};
use bytes::Bytes;

/// A result for a client of that revision; `None`: it can stay.
pub(crate) fn result(method: Method, result: &str, version: Legacy) -> Option<String> {
    let unknown = |kind: &str| match kind {
        "\"audio\"" => version < Legacy::L2025_03_26,
        "\"resource_link\"" => version < Legacy::L2025_06_18,
        _ => false,
    };
    let blocks: Vec<&str> = match method {
        _ if !result.contains("\"audio\"") && !result.contains("\"resource_link\"") => Vec::new(),
        Method::ToolsCall => member(result, "content")
            .and_then(json::elements)
            .unwrap_or_default(),
        Method::PromptsGet => {
            let messages = member(result, "messages")
                .and_then(json::elements)
                .unwrap_or_default();
            messages
                .into_iter()
                .filter_map(|message| member(message, "content"))
                .collect()
        }
        _ => Vec::new(),
    };
    let mut splice = Splice::new(result);
    let mut changed = false;
    for block in blocks {
        if let Some(kind) = member(block, "type").filter(|kind| unknown(kind)) {
            splice.replace(block, placeholder(kind, block));
            changed = true;
        }
    }
    let structured = member(result, "structuredContent")
        .filter(|raw| method == Method::ToolsCall && !raw.starts_with('{'));
    match (structured, changed) {
        (None, false) => None,
        (None, true) => Some(splice.finish_text()),
        // Legacy revisions have objects there and nothing else; the text beside it says the same.
        (Some(_), _) => Some(splice::rebuild(
            &splice.finish_text(),
            |name| name != "structuredContent",
            &[],
        )),
    }
}

/// A tool for a legacy client; `None`: it can stay. Its results have no structure that does not
/// fit.
pub(crate) fn tool(kind: ListKind, text: &Bytes) -> Option<Bytes> {
    let text = std::str::from_utf8(text)
        .ok()
        .filter(|text| kind == ListKind::Tools && text.contains("\"outputSchema\""))?;
    let root = member(text, "outputSchema").and_then(|schema| member(schema, "type"));
    (root != Some("\"object\""))
        .then(|| splice::rebuild(text, |name| name != "outputSchema", &[]).into())
}

fn member<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    json::pick(text, [name])?[0]
}

/// A block of content as text.
fn placeholder(kind: &str, block: &str) -> String {
    let text = |name| {
        member(block, name)
            .and_then(json::string)
            .unwrap_or_default()
    };
    let words = if kind == "\"audio\"" {
        format!("[audio, {}]", text("mimeType"))
    } else {
        format!("{}: {}", text("name"), text("uri"))
    };
    format!("{{\"type\":\"text\",\"text\":{}}}", json::quote(&words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_gets_what_its_revision_knows() {
        let audio = r#"{"content":[{"type":"text","text":"a"},{"type":"audio","data":"AA==","mimeType":"audio/wav"}],"x":1.0}"#;
        let link = r#"{"content":[{"type":"resource_link","uri":"test://r","name":"r"}]}"#;
        let list = r#"{"content":[],"structuredContent":[1],"x":1.0}"#;
        let of = |text, version| result(Method::ToolsCall, text, version);
        assert_eq!(of(audio, Legacy::L2025_03_26), None);
        let older = r#"{"content":[{"type":"text","text":"a"},{"type":"text","text":"[audio, audio/wav]"}],"x":1.0}"#;
        assert_eq!(of(audio, Legacy::L2024_11_05).as_deref(), Some(older));
        assert_eq!(of(link, Legacy::L2025_06_18), None);
        assert_eq!(
            of(link, Legacy::L2025_03_26).as_deref(),
            Some(r#"{"content":[{"type":"text","text":"r: test://r"}]}"#)
        );
        assert_eq!(
            of(list, Legacy::L2025_11_25).as_deref(),
            Some(r#"{"content":[],"x":1.0}"#)
        );
        assert_eq!(
            of(
                r#"{"content":[],"structuredContent":{"a":1.0}}"#,
                Legacy::L2025_11_25
            ),
            None
        );
        let message =
            r#"{"messages":[{"role":"user","content":{"type":"audio","data":"","mimeType":"m"}}]}"#;
        assert!(
            result(Method::PromptsGet, message, Legacy::L2024_11_05)
                .is_some_and(|text| text.contains("[audio, m]"))
        );
    }

    #[test]
    fn a_tool_keeps_its_schema_if_it_gives_objects() {
        let of = |text: &'static str| tool(ListKind::Tools, &Bytes::from_static(text.as_bytes()));
        assert_eq!(of(r#"{"name":"t","outputSchema":{"type":"object"}}"#), None);
        assert_eq!(
            of(r#"{"name":"t","outputSchema":{"type":"array"},"x":1}"#).as_deref(),
            Some(&br#"{"name":"t","x":1}"#[..])
        );
    }
}
