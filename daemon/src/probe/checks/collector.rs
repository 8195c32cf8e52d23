//! The collector of spans: reached, and asked to take an export without any.

use crate::{
    config::header_pairs,
    probe::{
        client::{http, mcp, stream::Stream},
        context::Context,
        report::{finding::Finding, text},
    },
};
use ggen_wire::Code;
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
    let unusable = |what: &str, seen: String, mend: String| {
        vec![
            Finding::warning(Code::CollectorUnusable, format!("the collector {what}"))
                .seen(seen)
                .mend(mend),
        ]
    };
    let Some(target) = http::Target::parse(&url) else {
        return unusable(
            "has no usable address",
            url,
            "ggen mcp config validate".to_owned(),
        );
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
    // No spans at all is the empty message.
    match http::ask(stream, &target, "POST", &headers, b"", deadline, &|_| false) {
        Ok(answer) if (200..300).contains(&answer.status) => {
            vec![Finding::note(format!(
                "{url} takes spans, in {}",
                text::took(began.elapsed())
            ))]
        }
        Ok(answer) => unusable(
            "refuses spans",
            format!("{url}: HTTP {}", answer.status),
            "ggen mcp config show tracing".to_owned(),
        ),
        Err(unserved) => unusable(
            "does not answer",
            format!("{url}: {unserved}"),
            format!("curl -v {url}"),
        ),
    }
}
