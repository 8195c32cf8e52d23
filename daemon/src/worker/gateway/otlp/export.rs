//! The task that exports: gathers a batch, posts it, tries again what may be tried again
//! (OTLP/HTTP, "Failures", "Retryable response codes"), says once that the collector takes nothing
//! and once that it does again. Bounded in size, time and tries, whatever the collector answers.

use super::{
    Plan, encode,
    messages::{ExportTraceServiceResponse, Span},
};
use crate::worker::gateway::upstreams::streamable_http::broken;
use bytes::{Bytes, BytesMut};
use flate2::{Compression, write::GzEncoder};
use ggen_wire::Code;
use http::{
    HeaderMap, HeaderValue, Method, Request, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, USER_AGENT},
};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use prometheus::{IntCounter, IntCounterVec};
use prost::Message;
use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, timeout, timeout_at},
};

/// Spans of one export, at most.
const BATCH: usize = 512;
/// How long the first span of a batch waits for others.
const DELAY: Duration = Duration::from_secs(1);
/// How often a batch is tried.
const TRIES: u32 = 5;
/// Between the first try and the second; twice as long each time.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest pause that a collector may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// What is read of an answer.
const ANSWER: usize = 64 << 10;

/// What became of spans.
#[derive(Clone)]
pub(super) struct Counts {
    pub(super) sent: IntCounter,
    pub(super) dropped: IntCounter,
    pub(super) failed: IntCounter,
    pub(super) rejected: IntCounter,
}

impl Counts {
    pub(super) fn new(counted: &IntCounterVec) -> Self {
        let of = |outcome: &str| counted.with_label_values(&[outcome]);
        Self {
            sent: of("sent"),
            dropped: of("dropped"),
            failed: of("failed"),
            rejected: of("rejected"),
        }
    }
}

/// The task's own.
pub(super) struct Export {
    pub(super) plans: watch::Receiver<Arc<Plan>>,
    /// The worker ends: what waits is tried once.
    pub(super) stopped: watch::Receiver<bool>,
    /// The last try failed.
    pub(super) failing: Arc<AtomicBool>,
    pub(super) counts: Counts,
}

/// What a try came to.
enum Tried {
    /// The collector has it, but for so many spans.
    Taken(u64),
    /// It may be had later, after this time if it said so.
    Later(String, Option<Duration>),
    /// It never will.
    Refused(String),
}

impl Export {
    /// Exports until the queue has ended.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Span>) {
        let mut batch = Vec::new();
        loop {
            if queue.recv_many(&mut batch, BATCH).await == 0 {
                return;
            }
            let due = Instant::now() + DELAY;
            while batch.len() < BATCH {
                let room = BATCH - batch.len();
                match timeout_at(due, queue.recv_many(&mut batch, room)).await {
                    Ok(1..) => {}
                    // The end of the queue, or of the time.
                    Ok(0) | Err(_) => break,
                }
            }
            self.deliver(std::mem::take(&mut batch)).await;
        }
    }

    async fn deliver(&mut self, batch: Vec<Span>) {
        let count = batch.len() as u64;
        let service = self.plans.borrow().service.clone();
        let plain = Bytes::from(encode::request(batch, &service).encode_to_vec());
        let mut pause = PAUSE;
        for tried in 1..=TRIES {
            let plan = Arc::clone(&self.plans.borrow_and_update());
            match post(&plan, &plain).await {
                Tried::Taken(rejected) => {
                    self.counts.sent.inc_by(count.saturating_sub(rejected));
                    self.counts.rejected.inc_by(rejected.min(count));
                    self.works(&plan);
                    return;
                }
                Tried::Refused(why) => {
                    self.fails(&plan, &why);
                    break;
                }
                Tried::Later(why, wait) => {
                    // One that is busy for a moment is no news.
                    if tried > 1 || *self.stopped.borrow() {
                        self.fails(&plan, &why);
                    }
                    if tried == TRIES
                        || !self
                            .waits(wait.unwrap_or_else(|| jittered(pause)).min(LONGEST_PAUSE))
                            .await
                    {
                        break;
                    }
                    pause *= 2;
                }
            }
        }
        self.counts.failed.inc_by(count);
    }

    /// Waits before the next try; a new address may be tried at once. False: the worker ends.
    async fn waits(&mut self, pause: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(pause) => true,
            changed = self.plans.changed() => changed.is_ok(),
            _ = self.stopped.wait_for(|stopped| *stopped) => false,
        }
    }

    fn works(&self, plan: &Plan) {
        if self.failing.swap(false, Ordering::Relaxed) {
            tracing::info!(target: "mcp_server", "the collector at {} takes spans again", plan.target.origin);
        }
    }

    fn fails(&self, plan: &Plan, why: &str) {
        if !self.failing.swap(true, Ordering::Relaxed) {
            let origin = &plan.target.origin;
            tracing::warn!(target: "mcp_server", code = %Code::CollectorUnusable, "the collector at {origin} takes no spans: {why}");
        }
    }
}

async fn post(plan: &Plan, plain: &Bytes) -> Tried {
    let exchange = async {
        let request = request(plan, plain).map_err(Tried::Refused)?;
        let sent = plan
            .clients
            .request(&plan.target, request)
            .await
            .map_err(|(_, why)| Tried::Later(why, None))?;
        let response = sent
            .await
            .map_err(|error| Tried::Later(broken(&plan.target, &error).1, None))?;
        let (status, wait) = (
            response.status(),
            retry_after(response.headers(), SystemTime::now()),
        );
        let answer = body(response.into_body()).await;
        Ok(match status {
            status if status.is_success() => {
                Tried::Taken(answer.map_or(0, |answer| rejected(&answer)))
            }
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => {
                Tried::Later(format!("HTTP {}", status.as_u16()), wait)
            }
            status => Tried::Refused(format!("HTTP {}", status.as_u16())),
        })
    };
    match timeout(plan.timeout, exchange).await {
        Ok(Ok(tried) | Err(tried)) => tried,
        Err(_) => Tried::Later(
            format!("no answer within {} ms", plan.timeout.as_millis()),
            None,
        ),
    }
}

fn request(plan: &Plan, plain: &Bytes) -> Result<Request<Full<Bytes>>, String> {
    let packed = plan
        .gzip
        .then(|| gzip(plain))
        .transpose()
        .map_err(|error| error.to_string())?;
    let mut request = Request::new(Full::new(packed.unwrap_or_else(|| plain.clone())));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = plan.target.uri.clone();
    let headers = request.headers_mut();
    headers.insert(
        USER_AGENT,
        HeaderValue::from_static(concat!("ggend/", env!("CARGO_PKG_VERSION"))),
    );
    headers.extend(plan.target.headers.clone());
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/x-protobuf"),
    );
    if plan.gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(request)
}

fn gzip(plain: &[u8]) -> std::io::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(plain)?;
    encoder.finish().map(Bytes::from)
}

/// The answer; `None` if it breaks off or is too long: what it was sent for has happened all the
/// same.
async fn body(mut body: Incoming) -> Option<BytesMut> {
    let mut data = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let piece = frame.ok()?.into_data().unwrap_or_default();
        if data.len() + piece.len() > ANSWER {
            return None;
        }
        data.extend_from_slice(&piece);
    }
    Some(data)
}

/// Spans that the collector says it did not take.
fn rejected(answer: &BytesMut) -> u64 {
    let said = ExportTraceServiceResponse::decode(&answer[..])
        .ok()
        .and_then(|answer| answer.partial_success);
    said.and_then(|partial| u64::try_from(partial.rejected_spans).ok())
        .unwrap_or(0)
}

/// RFC 9110 §10.2.3.
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let seconds = value.parse().map(Duration::from_secs).ok();
    seconds.or_else(|| {
        httpdate::parse_http_date(value)
            .ok()
            .map(|at| at.duration_since(now).unwrap_or_default())
    })
}

/// Plus or minus a fifth, so that many who lost the same collector do not come back in step.
fn jittered(pause: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or(u32::MAX / 2);
    pause.mul_f64(0.8 + 0.4 * f64::from(random) / f64::from(u32::MAX))
}
