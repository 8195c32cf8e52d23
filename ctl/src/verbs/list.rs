//! `ggen mcp list`: the catalogue as clients see it.

use crate::{
    args::{Format, Kind, List},
    context::Context,
    failed::{Exit, Failed},
    pager,
    render::{Out, Tone},
};
use ggen_wire::text;
use ggen_wire::{
    control::{Body, Call},
    status::{Tool, Upstream},
};
use serde::Serialize;
use std::{collections::HashMap, io};

/// What stands for a server's name where the tool is the gateway's own.
const CORE: &str = "core";
/// The status of a tool that can be called.
const AVAILABLE: &str = "available";
/// More tools than this are shown as a number for each server, unless somebody asks for all.
const FEW: usize = 100;

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
        None | Some(Format::Human | Format::Json) => {
            let starting = starting(context, list);
            print(context, list, &tools, &starting)?;
        }
    }
    Ok(Exit::Ok)
}

/// Servers that start: their tools are not there yet.
fn starting(context: &Context, list: &List) -> Vec<Upstream> {
    if context.out.quiet {
        return Vec::new();
    }
    let status = context.client().and_then(|mut client| client.status());
    let mut upstreams = status.map(|status| status.upstreams).unwrap_or_default();
    upstreams.retain(|upstream| {
        upstream.starting_ms.is_some()
            && list
                .server
                .as_ref()
                .is_none_or(|name| *name == upstream.name)
    });
    upstreams
}

fn print(
    context: &mut Context,
    list: &List,
    tools: &[Tool],
    starting: &[Upstream],
) -> io::Result<()> {
    let out = &mut context.out;
    if out.quiet {
        return tools.iter().try_for_each(|tool| out.line(&tool.name));
    }
    let text = if tools.len() <= FEW || is_narrowed(list) {
        lines(out, list, tools)
    } else {
        counts(tools)
    };
    let text = starting.iter().fold(text, |text, upstream| {
        let said = upstream.last_line.as_deref().map(text::line);
        let said = said.map_or_else(String::new, |line| format!(": {line}"));
        format!(
            "{text}{} is {}{said}\n",
            upstream.name,
            upstream.state_text()
        )
    });
    let is_shown = out.terminal && pager::show(&text)?;
    if is_shown { Ok(()) } else { out.text(&text) }
}

/// Whether somebody has said what to show, so that it is shown whole.
fn is_narrowed(list: &List) -> bool {
    list.all || list.server.is_some() || list.search.is_some() || list.status.is_some()
}

/// The tools with their servers' numbers.
fn groups(tools: &[Tool]) -> Vec<(&str, Vec<&Tool>)> {
    let mut groups: Vec<(&str, Vec<&Tool>)> = Vec::new();
    let mut places = HashMap::new();
    for tool in tools {
        let place = *places.entry(tool.server.as_str()).or_insert_with(|| {
            groups.push((&tool.server, Vec::new()));
            groups.len() - 1
        });
        groups[place].1.push(tool);
    }
    groups
}

/// A line for each server, for somebody who looks for one.
fn counts(tools: &[Tool]) -> String {
    let groups = groups(tools);
    let servers = text::count(groups.len(), "server");
    let mut all = format!(
        "Listing {} of {servers}\n",
        text::count(tools.len(), "MCP tool")
    );
    for (server, tools) in groups {
        all.push_str(&format!(
            "  • {server}: {}",
            text::count(tools.len(), "tool")
        ));
        if let Some(tool) = tools.iter().find(|tool| tool.status != AVAILABLE) {
            all.push_str(&format!(" [{}]", tool.status));
        }
        all.push('\n');
    }
    all.push_str(
        "\nThose of one server: ggen mcp list --server NAME; all of them: ggen mcp list --all\n",
    );
    all
}

/// A line for each tool, many of them grouped by server.
fn lines(out: &Out, list: &List, tools: &[Tool]) -> String {
    let groups = groups(tools);
    let has_headings = tools.len() > FEW && groups.len() > 1;
    let mut all = if has_headings {
        let servers = text::count(groups.len(), "server");
        format!(
            "Listing {} of {servers}\n",
            text::count(tools.len(), "MCP tool")
        )
    } else {
        format!("{}\n", heading(&groups, tools.len()))
    };
    for (server, tools) in groups {
        if has_headings {
            let line = format!("{server}: {}", text::count(tools.len(), "tool"));
            all.push_str(&format!("\n{}\n", out.tone(Tone::Strong, &line)));
        }
        for tool in tools {
            all.push_str(&line(out, list, tool));
            all.push('\n');
        }
    }
    all
}

fn line(out: &Out, list: &List, tool: &Tool) -> String {
    let mut line = format!("  • {} ({})", tool.name, tool.server);
    let available = tool.status == AVAILABLE;
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
    line
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
fn heading(groups: &[(&str, Vec<&Tool>)], tools: usize) -> String {
    let parts: Vec<String> = groups
        .iter()
        .map(|(server, tools)| format!("{} {server}", tools.len()))
        .collect();
    let counted = if parts.is_empty() {
        String::new()
    } else {
        format!(" ({})", parts.join(", "))
    };
    format!("Listing {}{counted}", text::count(tools, "MCP tool"))
}
