//! `ggen mcp list`: the catalogue as clients see it.

use crate::{
    args::{Kind, List},
    context::Context,
    failed::{Exit, Failed},
    render::Tone,
    text,
};
use ggen_wire::{
    control::{Body, Call},
    status::Tool,
};
use serde::Serialize;

#[derive(Serialize)]
struct Listed<'a> {
    tools: &'a [Tool],
}

/// Asks and prints; the filters only choose what is printed.
pub(crate) fn run(context: &mut Context, list: &List) -> Result<Exit, Failed> {
    let mut client = context.client()?;
    let mut tools = match client.call(&Call::ListTools {})? {
        Body::Tools(tools) => tools,
        other => return Err(client.unexpected(&other)),
    };
    tools.retain(|tool| wanted(tool, list));
    let out = &mut context.out;
    out.value(&Listed { tools: &tools })?;
    if out.quiet {
        for tool in &tools {
            out.line(&tool.name)?;
        }
        return Ok(Exit::Ok);
    }
    out.line(&heading(&tools))?;
    for tool in &tools {
        let mut line = format!("  • {} ({})", tool.name, tool.server);
        if tool.status != "available" {
            line.push_str(&format!(" {}", out.tone(Tone::Warn, &format!("[{}]", tool.status))));
        }
        if out.verbose && !tool.description.is_empty() {
            line.push_str(&format!(" {}", out.tone(Tone::Faint, &tool.description)));
        }
        out.line(&line)?;
    }
    Ok(Exit::Ok)
}

fn wanted(tool: &Tool, list: &List) -> bool {
    let contains = |text: &str, part: &str| text.to_lowercase().contains(&part.to_lowercase());
    let core = tool.server == "core";
    list.server.as_ref().is_none_or(|server| tool.server == *server)
        && list.kind.is_none_or(|kind| (kind == Kind::Core) == core)
        && list.status.as_ref().is_none_or(|status| tool.status == *status)
        && list.search.as_ref().is_none_or(|part| contains(&tool.name, part) || contains(&tool.description, part))
}

// `Listing 12 MCP tools (9 core, 3 github)`
fn heading(tools: &[Tool]) -> String {
    let mut servers: Vec<(&str, usize)> = Vec::new();
    for tool in tools {
        match servers.iter_mut().find(|(server, _)| *server == tool.server) {
            Some((_, number)) => *number += 1,
            None => servers.push((&tool.server, 1)),
        }
    }
    let parts: Vec<String> = servers.iter().map(|(server, number)| format!("{number} {server}")).collect();
    let counted = if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) };
    format!("Listing {}{counted}", text::count(tools.len(), "MCP tool"))
}
