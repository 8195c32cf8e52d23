//! Checks the names under which tools are served: those that look alike, or were shortened.

use crate::probe::{
    client::control,
    context::{Context, PATIENCE},
    report::finding::Finding,
};
use ggen_mcp::protocol::name;
use ggen_wire::{
    Code,
    control::{Body, Call},
    status,
};

pub(super) fn names(context: &Context) -> Vec<Finding> {
    if context.status().is_none() {
        return vec![Finding::note("not tried: no daemon answers")];
    }
    let Ok(Body::Tools(tools)) = control::ask(&context.socket, &Call::ListTools {}, PATIENCE)
    else {
        return vec![Finding::note(
            "not tried: the daemon gives no list of tools",
        )];
    };
    let foreign = tools.iter().filter(|tool| tool.server != "core");
    let mut found: Vec<Finding> = foreign.filter_map(shortened_name).collect();
    if found.is_empty() {
        found.push(Finding::note(format!(
            "{} tools, all under their own names",
            tools.len()
        )));
    }
    found
}

/// A tool whose name had to be shortened, if it was.
fn shortened_name(tool: &status::Tool) -> Option<Finding> {
    let (key, own) = (
        tool.name.split_once("__").map_or("", |(key, _)| key),
        name::key(&tool.server),
    );
    let is_shortened = name::is_shortened(&tool.name, &tool.original);
    if key == own && !is_shortened {
        return None;
    }
    let seen = format!(
        "{} of {} is served as {}",
        tool.original, tool.server, tool.name
    );
    let (code, what) = if key != own {
        let what = format!("another server has nearly the name of {}", tool.server);
        (Code::NameCollision, what)
    } else if key.len() > 12 && tool.original.len() + "__".len() + 12 <= name::LONGEST {
        let what = format!(
            "a shorter name than {} would keep its tools' names whole",
            tool.server
        );
        (Code::ToolNameTooLong, what)
    } else {
        // Nothing that anybody here could change.
        return Some(Finding::note(format!("shortened: {seen}")));
    };
    Some(
        Finding::warning(code, what)
            .seen(seen)
            .help("ggen mcp list"),
    )
}
