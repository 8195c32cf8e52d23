//! `ggen mcp status TOOL`: one tool of the catalogue; with `--schema`, its definition.

use crate::{
    context::Context,
    failed::{Exit, Failed},
    render::Tone,
};
use ggen_wire::{
    Code,
    control::{Body, Call},
};
use serde_json::{Value, json};

/// Asks for the catalogue and, where it is printed, for the definition.
pub(crate) fn run(context: &mut Context, name: &str, schema: bool) -> Result<Exit, Failed> {
    let mut client = context.client()?;
    let tools = match client.call(&Call::ListTools {})? {
        Body::Tools(tools) => tools,
        other => return Err(client.unexpected(&other)),
    };
    let Some(tool) = tools.into_iter().find(|tool| tool.name == name) else {
        return Err(Failed::new(
            Code::ToolNotFound,
            format!("Tool not found: {name}"),
            "ggen mcp list --refresh",
        ));
    };
    let definition = if schema || context.out.json {
        match client.call(&Call::DescribeTool {
            name: name.to_owned(),
        })? {
            Body::Value(value) => value,
            other => return Err(client.unexpected(&other)),
        }
    } else {
        Value::Null
    };
    let available = tool.status == "available";
    let out = &mut context.out;
    let kind = if tool.server == "core" {
        "core".to_owned()
    } else {
        format!("upstream ({})", tool.server)
    };
    out.line(&format!("Tool: {}", tool.name))?;
    out.line(&format!("Type: {kind}"))?;
    out.line(&format!(
        "Status: {}",
        out.tone(
            if available { Tone::Good } else { Tone::Warn },
            &tool.status
        )
    ))?;
    if !tool.description.is_empty() {
        out.line(&format!("Description: {}", tool.description))?;
    }
    if tool.original != tool.name {
        out.line(&format!("Name at the server: {}", tool.original))?;
    }
    if schema {
        let shown = definition.get("inputSchema").unwrap_or(&definition);
        out.line("Schema:")?;
        out.line(&ggen_wire::escape::pretty_json(shown))?;
        if let Some(output) = definition.get("outputSchema") {
            out.line("Output schema:")?;
            out.line(&ggen_wire::escape::pretty_json(output))?;
        }
    }
    out.value(&json!({ "tool": tool, "definition": definition }))?;
    Ok(if available { Exit::Ok } else { Exit::Bad })
}
