//! Spans on their way to a collector (OTLP 1.x over HTTP,
//! <https://opentelemetry.io/docs/specs/otlp/#otlphttp>). The driver hands each span over without
//! waiting; a task of the same event loop sends them in batches with the client that remote servers
//! are called with. What has no room is dropped and counted: nothing here ever makes a call wait.
//! Without the cargo feature, `off.rs` stands in the peer of this.

mod encode;
mod export;
mod messages;
#[cfg(test)]
mod tests;

use super::{
    metrics::Observer,
    settings::{self, Target},
    upstreams::streamable_http::Clients,
};
use crate::{
    config::{Config, Otlp as Settings, UpstreamTransport, header_pairs},
    ipc::messages::Start,
    log::now_us,
};
use encode::{Peer, SpanPeer};
use export::{Counts, Export};
use ggen_mcp::api::Micros;
use ggen_mcp::trace::span::{Side, Span};
use prometheus::IntCounterVec;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};

/// Spans that may wait for an export.
const QUEUE: usize = 2048;
/// How long the last export may take when the worker ends; not tried if the collector did not take
/// the one before. Short, because a successor waits.
const FLUSH: Duration = Duration::from_millis(500);
/// How often the difference between the relay's clock and the time of day is looked at, which may
/// be set meanwhile.
const CLOCK: Micros = 1_000_000;

/// Where spans go.
pub(super) struct Otlp {
    counts: Counts,
    /// How each upstream is reached.
    peers: BTreeMap<String, Peer>,
    /// When the clocks were compared, and what the relay's one lacks to microseconds since 1970.
    clock: (Micros, u64),
    running: Option<Running>,
}

/// An export that is under way.
struct Running {
    queue: mpsc::Sender<messages::Span>,
    plan: watch::Sender<Arc<Plan>>,
    stop: watch::Sender<bool>,
    failing: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

/// How to export.
struct Plan {
    target: Target,
    clients: Arc<Clients>,
    timeout: Duration,
    gzip: bool,
    service: String,
}

impl Otlp {
    /// Nothing is sent yet.
    pub(super) fn new(counted: &IntCounterVec) -> Self {
        Self {
            counts: Counts::new(counted),
            peers: BTreeMap::new(),
            clock: (0, 0),
            running: None,
        }
    }

    /// Puts a configuration in force: from the next span, and the next attempt of an export, on.
    pub(super) fn set(&mut self, start: &Start, clients: &Arc<Clients>) {
        self.peers = peers(&start.config);
        let settings = &start.config.tracing.otlp;
        if !settings.enabled {
            // What waits is still sent.
            self.running = None;
            return;
        }
        let headers = start
            .collector_headers
            .as_ref()
            .map_or(Ok(Vec::new()), |text| header_pairs(text.expose()))
            .unwrap_or_default();
        let plan = match plan(settings, &headers, clients) {
            Ok(plan) => Arc::new(plan),
            Err(why) => return tracing::error!(target: "mcp_server", "spans cannot be sent: {why}"),
        };
        match self
            .running
            .as_ref()
            .filter(|running| !running.task.is_finished())
        {
            Some(running) => drop(running.plan.send_replace(plan)),
            None => self.running = Some(Running::start(plan, self.counts.clone())),
        }
    }

    /// A span is over. Never waits.
    pub(super) fn take(
        &mut self,
        span: &Span,
        now: Micros,
        observer: &Observer,
        names: &[Arc<str>],
    ) {
        let Some(running) = &self.running else { return };
        if running.queue.capacity() == 0 {
            return self.counts.dropped.inc();
        }
        if self.clock.1 == 0 || now.saturating_sub(self.clock.0) > CLOCK {
            self.clock = (now, now_us().saturating_sub(now));
        }
        let peer = match span.side {
            Side::Client(edge) => SpanPeer::Client(observer.transport(edge)),
            Side::Upstream(up) => {
                let name = names.get(up.0 as usize).map_or("", |name| &**name);
                SpanPeer::Upstream(name, self.peers.get(name))
            }
        };
        if running
            .queue
            .try_send(encode::span(span, self.clock.1, &peer))
            .is_err()
        {
            self.counts.dropped.inc();
        }
    }

    /// Sends what waits, if that can be had soon.
    pub(super) async fn finish(&mut self) {
        let Some(Running {
            queue,
            stop,
            failing,
            mut task,
            plan: _plan,
        }) = self.running.take()
        else {
            return;
        };
        drop(queue);
        stop.send_replace(true);
        if !failing.load(Ordering::Relaxed) {
            timeout(FLUSH, &mut task).await.ok();
        }
        task.abort();
    }
}

impl Running {
    fn start(plan: Arc<Plan>, counts: Counts) -> Self {
        let (queue, spans) = mpsc::channel(QUEUE);
        let (plan, plans) = watch::channel(plan);
        let (stop, stopped) = watch::channel(false);
        let failing = Arc::<AtomicBool>::default();
        let export = Export {
            plans,
            stopped,
            failing: Arc::clone(&failing),
            counts,
        };
        Self {
            queue,
            plan,
            stop,
            failing,
            task: tokio::spawn(export.run(spans)),
        }
    }
}

fn plan(
    settings: &Settings,
    headers: &[(String, String)],
    clients: &Arc<Clients>,
) -> Result<Plan, String> {
    let base = settings.endpoint.trim_end_matches('/');
    let url = if base.ends_with("/v1/traces") {
        base.to_owned()
    } else {
        format!("{base}/v1/traces")
    };
    let headers = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    Ok(Plan {
        target: settings::target(&url, headers)?,
        clients: Arc::clone(clients),
        timeout: Duration::from_millis(settings.timeout_ms),
        gzip: settings.compression,
        service: settings.service_name.clone(),
    })
}

/// How the upstreams of a configuration are reached. An address that cannot be read says nothing.
fn peers(config: &Config) -> BTreeMap<String, Peer> {
    let peer = |transport: &UpstreamTransport| match transport {
        UpstreamTransport::Stdio { .. } => Some(Peer::Pipe),
        UpstreamTransport::Http { url, .. } => {
            let uri: http::Uri = url.parse().ok()?;
            let port = uri
                .port_u16()
                .unwrap_or(if uri.scheme_str() == Some("https") {
                    443
                } else {
                    80
                });
            Some(Peer::Http(
                uri.host()?
                    .trim_start_matches('[')
                    .trim_end_matches(']')
                    .to_owned(),
                port,
            ))
        }
    };
    config
        .mcp_servers
        .iter()
        .filter_map(|(name, upstream)| Some((name.clone(), peer(&upstream.transport)?)))
        .collect()
}
