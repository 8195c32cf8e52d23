//! `ggen mcp test TOOL`: calls a tool through the gateway, as a client would.

use crate::{
    context::Context,
    failed::{Exit, Failed},
    render::{Tone, note},
};
use ggen_wire::control::{Body, Call};
use ggen_wire::text;
use serde_json::Value;
use std::time::Duration;

/// Calls and prints the contents; exit code 1 when the tool says that it failed.
pub(crate) fn run(context: &mut Context, name: String, arguments: &str) -> Result<Exit, Failed> {
    let example = r#"--args '{"key": "value"}'"#;
    let arguments: Value = serde_json::from_str(arguments).map_err(|error| {
        Failed::plain(
            Exit::Usage,
            format!("--args is not valid JSON: {error}"),
            example,
        )
    })?;
    if !arguments.is_object() {
        return Err(Failed::plain(
            Exit::Usage,
            "--args must be a JSON object",
            example,
        ));
    }
    // A call may take as long as its upstream's own time-out; the daemon ends it with a reason, and
    // this is only the last resort.
    context.global.timeout = Some(context.timeout(Duration::from_secs(660)));
    let mut client = context.client()?;
    let result = match client.call(&Call::CallTool { name, arguments })? {
        Body::Value(result) => result,
        other => return Err(client.unexpected(&other)),
    };
    context.out.value(&result)?;
    let failed = result
        .get("isError")
        .and_then(Value::as_bool)
        .unwrap_or(false);
    let contents = result
        .get("content")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    for content in contents {
        context.out.line(&show(content))?;
    }
    if contents.is_empty() && !context.out.json {
        let shown = result.get("structuredContent").unwrap_or(&result);
        context.out.raw(shown)?;
    }
    context.out.flush()?;
    if failed && !context.out.quiet && !context.out.json {
        note(&format!(
            "{} the tool reports an error",
            context.out.tone(Tone::Bad, Tone::Bad.mark())
        ));
    }
    Ok(if failed { Exit::Bad } else { Exit::Ok })
}

// One content block (MCP, schema `ContentBlock`).
fn show(content: &Value) -> String {
    let field = |key: &str| content.get(key).and_then(Value::as_str).unwrap_or_default();
    match field("type") {
        "text" => field("text").to_owned(),
        kind @ ("image" | "audio") => format!(
            "[{kind}: {}, {} of base64]",
            field("mimeType"),
            text::size(field("data").len() as u64)
        ),
        "resource_link" => format!("[resource: {} {}]", field("name"), field("uri")),
        "resource" => {
            let resource = content.get("resource").unwrap_or(&Value::Null);
            let text = |key: &str| resource.get(key).and_then(Value::as_str);
            text("text").map_or_else(
                || {
                    format!(
                        "[resource: {} {}]",
                        text("mimeType").unwrap_or_default(),
                        text("uri").unwrap_or_default()
                    )
                },
                str::to_owned,
            )
        }
        _ => ggen_wire::escape::json(content),
    }
}
