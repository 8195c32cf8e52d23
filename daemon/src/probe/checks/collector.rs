//! Checks the collector of spans: it is reached, and takes an export without spans.

use crate::{
    config::{Otlp, header_pairs},
    probe::{
        client::{http, mcp, stream::Stream},
        context::Context,
        report::finding::Finding,
    },
};
use ggen_wire::Code;
use ggen_wire::text;
use std::time::{Duration, Instant};

/// How long a name, or connection and answer, may take.
const LAYER: Duration = Duration::from_secs(3);

pub(super) fn spans(context: &Context) -> Vec<Finding> {
    let Ok(loaded) = &context.config else {
        return vec![Finding::note("not tried: the configuration is not valid")];
    };
    let otlp = &loaded.config.tracing.otlp;
    if !otlp.enabled {
        return vec![Finding::note("no spans are sent")];
    }
    let base = otlp.endpoint.trim_end_matches('/');
    let url = if base.ends_with("/v1/traces") {
        base.to_owned()
    } else {
        format!("{base}/v1/traces")
    };
    vec![export_nothing(context, otlp, &url)]
}

/// Sends an export without spans, as the daemon would.
fn export_nothing(context: &Context, otlp: &Otlp, url: &str) -> Finding {
    let Some(target) = http::Target::parse(url) else {
        let help = "ggen mcp config validate".to_owned();
        return unusable("has no usable address", url.to_owned(), help);
    };
    let pairs = otlp
        .headers
        .as_ref()
        .and_then(|headers| header_pairs(headers.expose()).ok())
        .unwrap_or_default();
    let mut headers = vec![("Content-Type", "application/x-protobuf")];
    headers.extend(
        pairs
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str())),
    );
    let (began, deadline) = (Instant::now(), context.within(LAYER));
    let reached = mcp::resolve(&target, LAYER).and_then(|addresses| {
        let (address, _) = mcp::connect(&target, &addresses, deadline)?;
        Stream::open(&target, address, deadline)
    });
    let stream = match reached {
        Ok(stream) => stream,
        Err(fault) => {
            let seen = format!("{}: {} ({})", fault.layer, fault.what, fault.seen);
            return unusable("cannot be reached", seen, format!("curl -v {url}"));
        }
    };
    // The empty message is an export of no spans.
    match http::ask(stream, &target, "POST", &headers, b"", deadline, &|_| false) {
        Ok(answer) if (200..300).contains(&answer.status) => Finding::note(format!(
            "{url} takes spans, in {}",
            text::took(began.elapsed())
        )),
        Ok(answer) => unusable(
            "refuses spans",
            format!("{url}: HTTP {}", answer.status),
            "ggen mcp config get tracing".to_owned(),
        ),
        Err(unserved) => unusable(
            "does not answer",
            format!("{url}: {unserved}"),
            format!("curl -v {url}"),
        ),
    }
}

fn unusable(what: &str, seen: String, help: String) -> Finding {
    Finding::warning(Code::CollectorUnusable, format!("the collector {what}"))
        .seen(seen)
        .help(help)
}
