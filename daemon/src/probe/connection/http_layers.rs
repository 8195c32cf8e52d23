//! The layers of a connection over HTTP, with or without TLS.

use super::{Outcome, Step, connect, tls_handshake};
use crate::probe::client::{
    http::{self, Target},
    mcp::{self, Client, Era, Fault, Way},
    stream::Stream,
};
use ggen_wire::Code;
use ggen_wire::text;
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

/// From the name to the tools; `tool` has to be among them.
pub(super) fn run(outcome: &mut Outcome, target: &Target, limit: Duration, tool: Option<&str>) {
    let Some((address, socket)) = connect(outcome, target, limit) else {
        return;
    };
    let deadline = || Instant::now() + limit;
    let stream = if target.tls {
        let secure = outcome.run(
            "TLS",
            |(_, seen): &(_, String)| seen.clone(),
            || tls_handshake(socket, target, deadline()),
        );
        let Some((stream, _)) = secure else { return };
        stream
    } else {
        outcome.skip("TLS", "not used");
        Stream::Plain(socket)
    };
    let answered = outcome.run(
        "HTTP",
        |status: &u16| format!("status {status} from {}", target.path),
        || {
            // What a plain GET is answered with differs between servers; that it is answered at all
            // is this layer's question.
            let headers = [("Accept", "application/json, text/event-stream")];
            http::exchange(stream, target, "GET", &headers, b"", deadline(), &|_| true)
                .map(|answer| answer.status)
                .map_err(|error| mcp::unserved(target, &error))
        },
    );
    if answered.is_none() {
        return;
    }
    let tools = both_eras(outcome, target, address, limit);
    if let (Some(tool), Some(tools)) = (tool, tools) {
        outcome.run(
            "Tool",
            |name: &String| format!("{name} is there"),
            || find_tool(tool, &tools),
        );
    }
}

/// MCP in both eras; a server need not speak both, so one of them is enough. Gives the tools.
fn both_eras(
    outcome: &mut Outcome,
    target: &Target,
    address: SocketAddr,
    limit: Duration,
) -> Option<Vec<String>> {
    let mut tools = None;
    let mut spoken = false;
    for (layer, era) in [
        ("MCP discover", Era::Modern),
        ("MCP initialize", Era::Legacy),
    ] {
        let mut client = Client::new(target, Way::Socket(address), era, Instant::now() + limit);
        let greeted = outcome.run(layer, String::clone, || {
            let version = client.handshake()?;
            Ok(if client.server.is_empty() {
                version
            } else {
                format!("{version}, {}", client.server)
            })
        });
        if greeted.is_some() {
            spoken = true;
            let found = outcome.run(
                "tools/list",
                |names: &Vec<String>| text::count(names.len(), "tool"),
                || client.tools(),
            );
            tools = tools.or(found);
        }
        client.close();
    }
    if spoken {
        let silent = |step: &&mut Step| step.layer.starts_with("MCP ") && step.outcome.is_err();
        outcome
            .steps
            .iter_mut()
            .filter(silent)
            .for_each(|step| step.skipped = true);
    }
    tools
}

fn find_tool(tool: &str, tools: &[String]) -> Result<String, Fault> {
    if tools.iter().any(|known| known == tool) {
        return Ok(tool.to_owned());
    }
    let near = tools
        .iter()
        .min_by_key(|known| strsim::levenshtein(known, tool));
    let seen = near.map_or_else(
        || "no tools are listed".to_owned(),
        |near| format!("{} tools are listed, the closest is {near}", tools.len()),
    );
    Err(Fault {
        layer: "Tool",
        code: Code::ToolNotFound,
        what: format!("Tool not found: {tool}"),
        seen,
    })
}
