//! The pages of the admin listener: `/livez`, `/readyz`, `/health`, `/metrics`.

use crate::{
    ipc::messages::Question,
    metrics::{self, Family, Kind, Sample, Value},
    worker::{
        Outbox,
        edge::{
            auth::{
                Authenticator, Denied,
                guard::{self, Guard},
            },
            listeners::accept::Handler,
            peer::Peer,
        },
    },
};
use bytes::Bytes;
use ggen_wire::status::{Phase, Status};
use http::{HeaderValue, Method, Request, Response, StatusCode, header, request::Parts};
use http_body_util::Full;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use std::{
    net::SocketAddr,
    sync::{Mutex, PoisonError, RwLock},
    time::{Duration, Instant},
};

/// How long the supervisor may take to answer before what it last said is shown.
const PATIENCE: Duration = Duration::from_secs(1);
const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// Answers the requests of the admin listener.
pub(super) struct Pages {
    outbox: Outbox,
    guard: RwLock<Guard>,
    pub(super) auth: Authenticator,
    metrics: Mutex<Option<Known<Vec<Family>>>>,
    status: Mutex<Option<Known<Status>>>,
}

/// What the supervisor said, and when.
#[derive(Clone)]
struct Known<T> {
    value: T,
    at: Instant,
}

impl Handler for Pages {
    type Body = Full<Bytes>;

    async fn handle(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, _) = request.into_parts();
        let path = head.uri.path();
        let path = path.strip_suffix('/').unwrap_or(path);
        let admitted = self
            .guard
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .admit(&head)
            .map(|_| ());
        match admitted {
            Ok(()) => {}
            Err(denied) if guard::is_probe(&head, denied) => match path {
                "/livez" | "/readyz" => {}
                "/health" => return self.health(true).await,
                _ => return page(StatusCode::FORBIDDEN, TEXT, format!("{denied}\n")),
            },
            Err(denied) => return page(StatusCode::FORBIDDEN, TEXT, format!("{denied}\n")),
        }
        if !matches!(head.method, Method::GET | Method::HEAD) {
            let mut response = page(
                StatusCode::METHOD_NOT_ALLOWED,
                TEXT,
                "GET or HEAD\n".to_owned(),
            );
            response
                .headers_mut()
                .insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match path {
            // That this answers is the point: the supervisor ends and restarts a worker that does
            // not.
            "/livez" => page(StatusCode::OK, TEXT, "ok\n".to_owned()),
            "/readyz" => self.ready().await,
            "/health" | "/metrics" if let Err(denied) = self.ask_who(&head).await => {
                let mut response = page(denied.status, TEXT, format!("{}\n", denied.code.title()));
                response
                    .headers_mut()
                    .insert(header::WWW_AUTHENTICATE, denied.challenge);
                response
            }
            "/health" => self.health(false).await,
            "/metrics" => self.metrics(&head).await,
            _ => page(
                StatusCode::NOT_FOUND,
                TEXT,
                "/livez /readyz /health /metrics\n".to_owned(),
            ),
        }
    }

    fn overloaded(&self) -> Bytes {
        Bytes::from_static(br#"{"status":"too many connections"}"#)
    }
}

impl Pages {
    pub(super) fn new(outbox: Outbox, guard: Guard, auth: Authenticator) -> Self {
        Self {
            outbox,
            guard: RwLock::new(guard),
            auth,
            metrics: Mutex::default(),
            status: Mutex::default(),
        }
    }

    /// Puts another guard in force.
    pub(super) fn set_guard(&self, guard: Guard) {
        *self.guard.write().unwrap_or_else(PoisonError::into_inner) = guard;
    }

    /// What tells something about the host is for those who are known, where strangers can reach
    /// the listener; whether it lives, for everybody.
    async fn ask_who(&self, head: &Parts) -> Result<(), Denied> {
        if !self.auth.required() {
            return Ok(());
        }
        let unknown = Peer::plain(SocketAddr::from(([0, 0, 0, 0], 0)));
        self.auth
            .admit(head, head.extensions.get::<Peer>().unwrap_or(&unknown))
            .await
            .map(|_| ())
    }

    async fn ready(&self) -> Response<Full<Bytes>> {
        // Readiness is about now: what was known a while ago does not count.
        let status = self
            .ask(Question::Status, &self.status)
            .await
            .filter(|known| known.at.elapsed() < PATIENCE * 2);
        match status.map(|known| known.value.phase) {
            Some(Phase::Running | Phase::Degraded) => {
                page(StatusCode::OK, TEXT, "ready\n".to_owned())
            }
            Some(phase) => page(
                StatusCode::SERVICE_UNAVAILABLE,
                TEXT,
                format!("not ready: {}\n", name(phase)),
            ),
            None => page(
                StatusCode::SERVICE_UNAVAILABLE,
                TEXT,
                "not ready: the supervisor does not answer\n".to_owned(),
            ),
        }
    }

    /// `brief`: the word alone.
    async fn health(&self, brief: bool) -> Response<Full<Bytes>> {
        let Some(Known { value: status, at }) = self.ask(Question::Status, &self.status).await
        else {
            return page(
                StatusCode::SERVICE_UNAVAILABLE,
                JSON,
                r#"{"status":"unavailable"}"#.to_owned(),
            );
        };
        let (code, word) = match status.phase {
            Phase::Running => (StatusCode::OK, "healthy"),
            Phase::Degraded => (StatusCode::OK, "degraded"),
            _ => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        };
        if brief {
            return page(code, JSON, format!("{{\"status\":\"{word}\"}}"));
        }
        let body = serde_json::json!({
            "status": word,
            "phase": status.phase,
            "version": status.version,
            "uptime_ms": status.uptime_ms,
            "age_ms": u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX),
            "transports": status.transports,
            "listeners": status.listeners,
            "workers": status.workers.iter().map(|worker| serde_json::json!({
                "name": worker.name, "phase": worker.phase, "restarts": worker.restarts,
            })).collect::<Vec<_>>(),
            "upstreams": status.upstreams.iter().map(|upstream| serde_json::json!({
                "name": upstream.name, "state": upstream.state, "restarts": upstream.restarts, "code": upstream.code,
            })).collect::<Vec<_>>(),
            "issues": status.issues,
        });
        page(code, JSON, body.to_string())
    }

    /// The text format, or OpenMetrics where that is asked for.
    async fn metrics(&self, head: &Parts) -> Response<Full<Bytes>> {
        let Some(Known {
            value: mut families,
            at,
        }) = self.ask(Question::Metrics, &self.metrics).await
        else {
            return page(
                StatusCode::SERVICE_UNAVAILABLE,
                TEXT,
                "the supervisor does not answer\n".to_owned(),
            );
        };
        families.push(Family {
            name: "ggend_scrape_age_seconds".to_owned(),
            help: "Age of the figures shown; over a second when the supervisor was too busy to give new ones.".to_owned(),
            kind: Kind::Gauge,
            samples: vec![Sample { labels: Vec::new(), value: Value::Number(at.elapsed().as_secs_f64()) }],
        });
        let accept: Vec<&str> = head
            .headers
            .get_all(header::ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .collect();
        let mut response = if metrics::is_asked_for(&accept.join(",")) {
            page(
                StatusCode::OK,
                metrics::OPENMETRICS,
                metrics::render_openmetrics(&families),
            )
        } else {
            page(
                StatusCode::OK,
                metrics::CONTENT_TYPE,
                metrics::render(&families),
            )
        };
        response
            .headers_mut()
            .insert(header::VARY, HeaderValue::from_static("Accept"));
        response
    }

    /// What the supervisor says, or what it said last if it does not answer in time.
    async fn ask<T: DeserializeOwned + Clone>(
        &self,
        question: Question,
        known: &Mutex<Option<Known<T>>>,
    ) -> Option<Known<T>> {
        let answer = tokio::time::timeout(PATIENCE, self.outbox.ask(question)).await;
        let fresh = answer
            .ok()
            .and_then(Result::ok)
            .and_then(|value| serde_json::from_value(value).ok());
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = fresh {
            *known = Some(Known {
                value,
                at: Instant::now(),
            });
        }
        known.clone()
    }
}

fn name(phase: Phase) -> &'static str {
    match phase {
        Phase::Starting => "starting",
        Phase::Running => "running",
        Phase::Degraded => "degraded",
        Phase::Draining => "draining",
        Phase::Backoff => "backoff",
        Phase::Failed => "failed",
        Phase::Stopped => "stopped",
    }
}

fn page(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
