//! `ggen mcp list`: the catalogue as clients see it.

use crate::{
    args::{Format, Kind, List},
    context::Context,
    failed::{Exit, Failed},
    render::Tone,
};
use ggen_wire::text;
use ggen_wire::{
    control::{Body, Call},
    status::Tool,
};
use serde::Serialize;
use std::io;

/// What stands for a server's name where the tool is the gateway's own.
const CORE: &str = "core";

#[derive(Serialize)]
struct Listed<'a> {
    tools: &'a [Tool],
}

/// Asks and prints; the filters only choose what is printed.
pub(crate) fn run(context: &mut Context, list: &List) -> Result<Exit, Failed> {
    let mut client = context.client()?;
    let call = if list.refresh {
        Call::RefreshTools {}
    } else {
        Call::ListTools {}
    };
    let mut tools = match client.call(&call)? {
        Body::Tools(tools) => tools,
        other => return Err(client.unexpected(&other)),
    };
    tools.retain(|tool| wanted(tool, list));
    match context.global.format {
        _ if context.out.json => context.out.value(&Listed { tools: &tools })?,
        Some(Format::Csv) => table(context, &tools, "", ",", csv)?,
        Some(Format::Markdown) => table(context, &tools, "| ", " | ", markdown)?,
        None | Some(Format::Human | Format::Json) => print(context, list, &tools)?,
    }
    Ok(Exit::Ok)
}

fn print(context: &mut Context, list: &List, tools: &[Tool]) -> io::Result<()> {
    let out = &mut context.out;
    if out.quiet {
        return tools.iter().try_for_each(|tool| out.line(&tool.name));
    }
    out.line(&heading(tools))?;
    for tool in tools {
        let mut line = format!("  • {} ({})", tool.name, tool.server);
        let available = tool.status == "available";
        if !available || list.status.is_some() {
            let tone = if available { Tone::Good } else { Tone::Warn };
            line.push_str(&format!(
                " {}",
                out.tone(tone, &format!("[{}]", tool.status))
            ));
        }
        if out.verbose && !tool.description.is_empty() {
            line.push_str(&format!(
                " {}",
                out.tone(Tone::Faint, &text::line(&tool.description))
            ));
        }
        out.line(&line)?;
    }
    Ok(())
}

// One row a tool, the heading first.
fn table(
    context: &mut Context,
    tools: &[Tool],
    edge: &str,
    between: &str,
    cell: fn(&str) -> String,
) -> io::Result<()> {
    const HEADINGS: [&str; 6] = [
        "name",
        "type",
        "server",
        "status",
        "original",
        "description",
    ];
    let row = |cells: [&str; 6]| {
        format!(
            "{edge}{}{}",
            cells.map(cell).join(between),
            edge.chars().rev().collect::<String>()
        )
    };
    context.out.line(&row(HEADINGS))?;
    if !edge.is_empty() {
        context.out.line(&row(["---"; 6]))?;
    }
    for tool in tools {
        let kind = if tool.server == CORE {
            CORE
        } else {
            "upstream"
        };
        context.out.line(&row([
            &tool.name,
            kind,
            &tool.server,
            &tool.status,
            &tool.original,
            &tool.description,
        ]))?;
    }
    Ok(())
}

// RFC 4180, but with the host's line ends, as every reader takes them.
fn csv(cell: &str) -> String {
    if cell.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}

fn markdown(cell: &str) -> String {
    // Neither a link nor an image, which a viewer would fetch.
    cell.replace('\\', "\\\\")
        .replace('|', "\\|")
        .replace('[', "\\[")
        .replace(']', "\\]")
        .replace('`', "\\`")
        .replace('<', "&lt;")
        .replace('\n', " ")
}

fn wanted(tool: &Tool, list: &List) -> bool {
    let contains = |text: &str, part: &str| text.to_lowercase().contains(&part.to_lowercase());
    let core = tool.server == CORE;
    list.server
        .as_ref()
        .is_none_or(|server| tool.server == *server)
        && list.kind.is_none_or(|kind| (kind == Kind::Core) == core)
        && list
            .status
            .as_ref()
            .is_none_or(|status| status.is_empty() || tool.status == *status)
        && list
            .search
            .as_ref()
            .is_none_or(|part| contains(&tool.name, part) || contains(&tool.description, part))
}

// `Listing 12 MCP tools (9 core, 3 github)`
fn heading(tools: &[Tool]) -> String {
    let mut servers: Vec<(&str, usize)> = Vec::new();
    for tool in tools {
        match servers
            .iter_mut()
            .find(|(server, _)| *server == tool.server)
        {
            Some((_, number)) => *number += 1,
            None => servers.push((&tool.server, 1)),
        }
    }
    let parts: Vec<String> = servers
        .iter()
        .map(|(server, number)| format!("{number} {server}"))
        .collect();
    let counted = if parts.is_empty() {
        String::new()
    } else {
        format!(" ({})", parts.join(", "))
    };
    format!("Listing {}{counted}", text::count(tools.len(), "MCP tool"))
}
