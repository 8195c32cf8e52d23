//! `ggen mcp schemas`: the definitions of all tools, as clients get them.

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

/// Asks for the catalogue, then for one definition after another over the same connection.
pub(crate) fn run(context: &mut Context, server: Option<&str>) -> Result<Exit, Failed> {
    let mut client = context.client()?;
    let mut tools = match client.call(&Call::ListTools {})? {
        Body::Tools(tools) => tools,
        other => return Err(client.unexpected(&other)),
    };
    tools.retain(|tool| server.is_none_or(|server| tool.server == server));
    let mut definitions: Vec<Value> = Vec::with_capacity(tools.len());
    for tool in tools {
        match client.call(&Call::DescribeTool { name: tool.name }) {
            Ok(Body::Value(definition)) => definitions.push(definition),
            Ok(other) => return Err(client.unexpected(&other)),
            // Gone since it was listed.
            Err(failed) if failed.code.as_deref() == Some(Code::ToolNotFound.as_str()) => {}
            Err(failed) => return Err(failed),
        }
    }
    let out = &mut context.out;
    out.value(&json!({ "schemas": definitions }))?;
    for definition in &definitions {
        let name = definition
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        out.line(&format!("Tool: {}", out.tone(Tone::Strong, name)))?;
        for (member, label) in [
            ("inputSchema", "Schema:"),
            ("outputSchema", "Output schema:"),
        ] {
            if let Some(schema) = definition.get(member) {
                out.line(label)?;
                out.line(&ggen_wire::escape::pretty_json(schema))?;
            }
        }
        out.line("")?;
    }
    Ok(Exit::Ok)
}
