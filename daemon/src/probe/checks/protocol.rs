//! Checks what a client gets: HTTP and `/health`, both eras of MCP, the metrics.

use crate::probe::{
    client::{
        http::{self, Answer, Target},
        mcp::{self, Client, Era, Fault, Way},
        stream::Stream,
        websocket,
    },
    context::Context,
    report::finding::Finding,
};
use ggen_wire::Code;
use ggen_wire::text;
use serde_json::Value;
use std::time::{Duration, Instant};

/// How long one exchange with our own daemon may take.
const LIMIT: Duration = Duration::from_secs(5);
const RESTART: &str = "ggen mcp server restart";

fn skipped() -> Vec<Finding> {
    vec![Finding::note(
        "not tried: no daemon answers, or it serves no HTTP",
    )]
}

fn finding(fault: Fault, help: &str) -> Finding {
    Finding::error(fault.code, fault.what)
        .seen(format!("{}: {}", fault.layer, fault.seen))
        .help(help)
}

/// GET, with the layer that failed.
fn get(target: &Target, deadline: Instant) -> Result<Answer, Fault> {
    let addresses = mcp::resolve(target, LIMIT)?;
    let (_, socket) = mcp::connect(target, &addresses, deadline)?;
    http::exchange(
        Stream::Plain(socket),
        target,
        "GET",
        &[("Accept", "*/*")],
        b"",
        deadline,
        &|_| false,
    )
    .map_err(|error| mcp::unserved(target, &error))
}

pub(super) fn http(context: &Context) -> Vec<Finding> {
    let Some(target) = context
        .status()
        .and_then(|_| context.front())
        .map(|front| front.at("/health"))
    else {
        return skipped();
    };
    let began = Instant::now();
    let outcome = get(&target, context.within(LIMIT)).and_then(|answer| {
        let health: Option<Value> = serde_json::from_slice(&answer.body).ok();
        match (answer.status, health) {
            (200, Some(health)) if health.get("status").is_some() => Ok(health),
            _ => Err(mcp::unwanted("HTTP", &target, &answer)),
        }
    });
    let shown = outcome
        .as_ref()
        .map(|_| ())
        .map_err(|fault| fault.what.split(':').next().unwrap_or_default().to_owned());
    drop(context.http.set(shown));
    vec![match outcome {
        // That something is degraded is said by the part that is.
        Ok(health) => {
            let word = text::line(health["status"].as_str().unwrap_or_default());
            Finding::note(format!(
                "{}/health says {word} ({})",
                target.authority(),
                text::took(began.elapsed())
            ))
        }
        Err(fault) => finding(fault, RESTART),
    }]
}

pub(super) fn modern(context: &Context) -> Vec<Finding> {
    lists_tools(context, Era::Modern)
}

pub(super) fn legacy(context: &Context) -> Vec<Finding> {
    lists_tools(context, Era::Legacy)
}

fn lists_tools(context: &Context, era: Era) -> Vec<Finding> {
    let Some(target) = context.status().and_then(|_| context.front()) else {
        return skipped();
    };
    let began = Instant::now();
    let deadline = context.within(LIMIT);
    let outcome = mcp::resolve(&target, LIMIT).and_then(|addresses| {
        let (address, _) = mcp::connect(&target, &addresses, deadline)?;
        let mut client = Client::new(&target, Way::Socket(address), era, deadline);
        let version = client.handshake()?;
        let tools = client.tools();
        client.close();
        tools.map(|tools| (version, tools.len()))
    });
    vec![match outcome {
        Ok((version, tools)) => {
            // The other era may have been first; both list the same.
            let _ = context.tools.set(tools);
            Finding::note(format!(
                "{version}: {tools} tools ({})",
                text::took(began.elapsed())
            ))
        }
        Err(fault) => finding(fault, RESTART),
    }]
}

pub(super) fn websocket(context: &Context) -> Vec<Finding> {
    let Some(target) = context.status().and_then(|_| context.websocket()) else {
        return vec![Finding::note(
            "not tried: no daemon answers, or it serves no WebSocket",
        )];
    };
    let began = Instant::now();
    let deadline = context.within(LIMIT);
    let outcome = mcp::resolve(&target, LIMIT).and_then(|addresses| {
        let (address, _) = mcp::connect(&target, &addresses, deadline)?;
        let mut client =
            websocket::Client::open(&target, Stream::open(&target, address, deadline)?, deadline)?;
        let version = client.handshake()?;
        let tools = client.tools();
        client.close();
        tools.map(|tools| (version, tools))
    });
    let shown = outcome
        .as_ref()
        .map(|_| ())
        .map_err(|fault| fault.what.split(':').next().unwrap_or_default().to_owned());
    drop(context.websocket.set(shown));
    vec![match outcome {
        Ok((version, tools)) => {
            let place = format!("{}{}", target.authority(), target.path);
            Finding::note(format!(
                "{place} speaks {version}: {tools} tools ({})",
                text::took(began.elapsed())
            ))
        }
        Err(fault) => finding(fault, "ggen mcp server restart --server websocket"),
    }]
}

pub(super) fn metrics(context: &Context) -> Vec<Finding> {
    let admin = context
        .listeners()
        .into_iter()
        .find(|(name, _)| *name == "admin");
    let Some((_, address)) = admin.filter(|_| context.status().is_some()) else {
        return vec![Finding::note(
            "not tried: no daemon answers, or metrics are off",
        )];
    };
    let target = Target::of(address, "/metrics");
    let outcome = get(&target, context.within(LIMIT)).and_then(|answer| {
        let ours = answer.status == 200
            && String::from_utf8_lossy(&answer.body).contains("ggend_build_info");
        if ours {
            Ok(answer.body.len())
        } else {
            Err(mcp::unwanted("HTTP", &target, &answer))
        }
    });
    vec![match outcome {
        Ok(size) => Finding::note(format!(
            "{}/metrics answers ({size} bytes)",
            target.authority()
        )),
        Err(fault) => {
            let found = finding(fault, "ggen mcp server restart --server admin");
            Finding {
                code: found.code.or(Some(Code::TransportDegraded)),
                ..found
            }
        }
    }]
}

/// Whether clients meet the limits that are configured.
pub(super) fn limits(context: &Context) -> Vec<Finding> {
    let admin = context
        .listeners()
        .into_iter()
        .find(|(name, _)| *name == "admin");
    let Some((_, address)) = admin.filter(|_| context.status().is_some()) else {
        return vec![Finding::note(
            "not tried: no daemon answers, or metrics are off",
        )];
    };
    // What is wrong with the metrics themselves is another check's.
    let Ok(answer) = get(&Target::of(address, "/metrics"), context.within(LIMIT)) else {
        return vec![Finding::note("not tried: no metrics")];
    };
    let text = String::from_utf8_lossy(&answer.body);
    let met: Vec<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("ggend_rate_limited_total"))
        .filter_map(limit_met)
        .collect();
    if met.is_empty() {
        return vec![Finding::note("no request was over a limit")];
    }
    let found = Finding::warning(
        Code::RateLimited,
        "requests of clients were over a limit since the start",
    );
    vec![
        found
            .seen(met.join(", "))
            .help("ggen mcp config get rate_limit"),
    ]
}

/// `{limit="tool_rate"} 7` → `tool_rate: 7`
fn limit_met(sample: &str) -> Option<String> {
    let (labels, count) = sample.rsplit_once(' ')?;
    let limit = labels.split('"').nth(1)?;
    (count != "0").then(|| format!("{limit}: {count}"))
}
