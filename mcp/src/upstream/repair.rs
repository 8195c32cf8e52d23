//! Items of lists as strict clients can read them. The official SDKs refuse a whole list for one item
//! that breaks their schema, so what can be repaired without changing its meaning is repaired, and
//! what cannot is left out.

use crate::protocol::list_kind::ListKind;
use crate::protocol::{json, splice};
use std::borrow::Cow;

/// Schemas of a tool, by member.
const SCHEMAS: [&str; 2] = ["inputSchema", "outputSchema"];

/// An item as it is offered.
///
/// # Errors
///
/// Why it is left out.
pub(super) fn repair(kind: ListKind, item: &str) -> Result<Cow<'_, str>, String> {
    let members = json::members(item).ok_or("it is no object, or has a member twice")?;
    // A member that is null is not there.
    let has_null = members.iter().any(|(_, value)| *value == "null");
    if kind != ListKind::Tools {
        return Ok(if has_null {
            splice::rebuild(item, |name| !is_null(&members, name), &[]).into()
        } else {
            item.into()
        });
    }
    let mut schemas = Vec::new();
    for name in SCHEMAS {
        let found = members.iter().find(|(member, _)| member == name);
        match found.map(|(_, value)| *value) {
            None | Some("null") if name == "inputSchema" => {
                schemas.push((name, "{\"type\":\"object\"}".to_owned()));
            }
            None | Some("null") => {}
            Some(schema) if !schema.starts_with('{') => {
                return Err(format!("its {name} is no object"));
            }
            Some(schema) => {
                let [kind] = json::pick(schema, ["type"])
                    .ok_or_else(|| format!("its {name} has a type twice"))?;
                match kind {
                    Some("\"object\"") => {}
                    None | Some("null") => schemas.push((name, typed(schema))),
                    Some(other) => return Err(format!("its {name} is of type {other}")),
                }
            }
        }
    }
    if schemas.is_empty() && !has_null {
        return Ok(item.into());
    }
    let added: Vec<_> = schemas
        .iter()
        .map(|(name, schema)| (*name, schema.as_str()))
        .collect();
    let keeps = |name: &str| !is_null(&members, name) && added.iter().all(|(new, _)| *new != name);
    Ok(splice::rebuild(item, keeps, &added).into())
}

fn is_null(members: &[(Cow<'_, str>, &str)], name: &str) -> bool {
    members
        .iter()
        .any(|(member, value)| member == name && *value == "null")
}

/// A schema of an object that does not say so.
fn typed(schema: &str) -> String {
    splice::rebuild(schema, |name| name != "type", &[("type", "\"object\"")])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(item: &str) -> Result<String, String> {
        repair(ListKind::Tools, item).map(Cow::into_owned)
    }

    #[test]
    fn what_is_right_stays_as_it_is() {
        let item = r#"{"name":"a", "inputSchema": {"type":"object","properties":{}}}"#;
        assert_eq!(tool(item).as_deref(), Ok(item));
        let item = r#"{"name":"a","arguments":[]}"#;
        assert_eq!(repair(ListKind::Prompts, item).as_deref(), Ok(item));
    }

    #[test]
    fn a_schema_without_a_type_is_one_of_an_object() {
        for (before, after) in [
            (
                r#"{"name":"a","inputSchema":{"properties":{}}}"#,
                r#"{"name":"a","inputSchema":{"properties":{},"type":"object"}}"#,
            ),
            (
                r#"{"name":"a","inputSchema":{"type":null}}"#,
                r#"{"name":"a","inputSchema":{"type":"object"}}"#,
            ),
            (
                r#"{"name":"a","description":null}"#,
                r#"{"name":"a","inputSchema":{"type":"object"}}"#,
            ),
            (
                r#"{"name":"a","inputSchema":null,"outputSchema":{}}"#,
                r#"{"name":"a","inputSchema":{"type":"object"},"outputSchema":{"type":"object"}}"#,
            ),
        ] {
            assert_eq!(tool(before).as_deref(), Ok(after));
        }
        let prompt = r#"{"name":"a","arguments":null,"title":"x"}"#;
        let after = r#"{"name":"a","title":"x"}"#;
        assert_eq!(repair(ListKind::Prompts, prompt).as_deref(), Ok(after));
    }

    #[test]
    fn what_cannot_be_repaired_is_left_out() {
        for item in [
            r#"{"name":"a","inputSchema":"x"}"#,
            r#"{"name":"a","inputSchema":[]}"#,
            r#"{"name":"a","inputSchema":{"type":"array"}}"#,
            r#"{"name":"a","inputSchema":{"type":"object"},"outputSchema":{"type":"string"}}"#,
            "[]",
            "7",
        ] {
            assert!(tool(item).is_err(), "{item}");
        }
    }
}
