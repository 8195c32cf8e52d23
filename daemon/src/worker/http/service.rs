//! Serves one HTTP request, from its head to the beginning of its answer.

use super::{
    answer::{self, Refusal},
    body::{self, Body},
    compress, cors,
    counts::Counts,
    receive::{self, Admitted, Upload},
    refuse::refuse,
    route::{self, Route},
    websocket_handshake,
};
use crate::{
    config::{Config, QueryToken, Transports},
    ipc::secrets::AuthSecrets,
    metrics::{Error, Family},
    worker::edge::{
        ExchangeOptions, Gateway, Guest, Refused,
        auth::{
            self, Authenticator,
            guard::{self, Guard},
        },
        budget::{Room, Unsent, Uploads},
        listeners::accept::Handler,
        peer::Peer,
        websocket::handover::WebsocketWorkers,
    },
};
use bytes::Bytes;
use ggen_mcp::edge::{Principal, Request, Verb};
use ggen_wire::Code;
use http::{HeaderValue, Method, Response, StatusCode, header, request::Parts};
use http_body_util::Either;
use hyper::body::Incoming;
use std::{
    sync::{Arc, PoisonError, RwLock, atomic::AtomicUsize},
    time::{Duration, Instant, SystemTime},
};
use tower_http::compression::CompressionBody;

/// Somebody who showed nothing where something is needed: hears from `/health` whether all is well,
/// and nothing else.
const NOBODY: &str = "nobody";
/// What becomes of a request that is heard.
enum Entry {
    /// It is answered here.
    Metadata(String),
    /// It is passed on.
    Known(Principal, Admitted),
}

/// What the configuration says about requests; replaced as a whole. A request keeps those that it
/// began with.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(super) guard: Guard,
    /// Where WebSockets begin, if they are served.
    pub(super) websocket: Option<String>,
    pub(super) tokens: QueryToken,
    pub(super) compression: bool,
    pub(super) max_body: u64,
    pub(super) max_uri: usize,
    pub(super) max_headers: usize,
    /// Until the answer begins.
    pub(super) answer_within: Duration,
    /// How long a client may take nothing of its answer.
    pub(crate) send_within: Duration,
    /// How long a refused client may go on sending.
    pub(super) patience: Duration,
    /// What may be held for clients.
    pub(super) room: Room,
    /// Where QUIC is served, for clients that came over TLS.
    pub(super) quic: Option<HeaderValue>,
}

impl Rules {
    /// Those of a configuration, for listeners that are all bound to loopback or not.
    pub(crate) fn new(config: &Config, loopback: bool) -> Self {
        let memory = usize::try_from(config.server.memory.0).unwrap_or(usize::MAX);
        let Transports {
            http: config,
            websocket,
            ..
        } = &config.transports;
        Self {
            websocket: websocket.enabled.then(|| websocket.path.clone()),
            tokens: websocket.query_token,
            guard: Guard::new(&config.allowed_hosts, &config.allowed_origins, loopback),
            compression: config.compression,
            max_body: config.max_body.0,
            max_uri: usize::try_from(config.max_uri.0).unwrap_or(usize::MAX),
            max_headers: usize::try_from(config.max_headers).unwrap_or(usize::MAX),
            answer_within: Duration::from_millis(config.request_timeout_ms),
            send_within: Duration::from_millis(config.send_timeout_ms),
            patience: Duration::from_millis(config.timeout_ms),
            room: Room::of(memory),
            quic: None,
        }
    }

    fn is_websocket(&self, path: &str) -> bool {
        self.websocket
            .as_ref()
            .is_some_and(|own| websocket_handshake::view(own, path).is_some())
    }

    /// The same, for a daemon that serves QUIC at this port: clients with TLS are told for a day
    /// (RFC 7838 §3).
    pub(super) fn advertising(self, quic: Option<u16>) -> Self {
        let quic =
            quic.and_then(|port| HeaderValue::try_from(format!("h3=\":{port}\"; ma=86400")).ok());
        Self { quic, ..self }
    }
}

/// Answers the requests of a listener.
#[derive(Debug)]
pub(crate) struct Http {
    pub(super) gateway: Gateway,
    /// Who serves WebSockets.
    pub(super) websocket_workers: WebsocketWorkers,
    /// WebSockets whose bytes pass through here.
    pub(super) relays: Arc<AtomicUsize>,
    pub(super) counts: Counts,
    pub(super) rules: RwLock<Arc<Rules>>,
    pub(super) auth: Authenticator,
    /// Bodies of requests that are not complete.
    pub(super) uploads: Arc<Uploads>,
    /// Answers that nobody has taken yet.
    pub(super) unsent: Arc<Unsent>,
}

/// The body of an answer, compressed or not.
pub(crate) type Answer = Either<CompressionBody<Body>, Body>;

impl Handler for Http {
    type Body = Answer;

    async fn handle(&self, request: http::Request<Incoming>) -> Response<Self::Body> {
        self.serve(request).await
    }

    fn accepted(&self) {
        self.counts.metrics.http_connections_total.inc();
    }

    fn handshake_failed(&self, reason: &'static str) {
        self.counts
            .metrics
            .tls_handshakes_failed_total
            .with_label_values(&[reason])
            .inc();
    }

    fn is_overfull(&self) -> bool {
        self.unsent.is_full(self.rules().room)
    }

    fn overloaded(&self) -> Bytes {
        answer::too_many_connections()
    }
}

impl Http {
    /// That passes requests on to `gateway`.
    ///
    /// # Errors
    /// When the metrics cannot be declared.
    pub(crate) fn new(gateway: Gateway, rules: Rules, auth: AuthSecrets) -> Result<Self, Error> {
        gateway.set_room(rules.room.queued());
        Ok(Self {
            gateway,
            websocket_workers: WebsocketWorkers::default(),
            relays: Arc::default(),
            counts: Counts::new()?,
            rules: RwLock::new(Arc::new(rules)),
            auth: Authenticator::new(auth),
            uploads: Arc::default(),
            unsent: Arc::default(),
        })
    }

    /// The way to the gateway worker.
    pub(crate) const fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// Who tells who is asking.
    pub(crate) const fn auth(&self) -> &Authenticator {
        &self.auth
    }

    /// Requests that were passed on and are not answered yet.
    pub(crate) fn in_flight(&self) -> u64 {
        u64::try_from(self.gateway.in_flight()).unwrap_or(u64::MAX)
    }

    /// The metrics, with so many TCP connections open.
    pub(crate) fn gather_metrics(&self, connections: u64) -> Vec<Family> {
        self.counts
            .metrics
            .http_connections
            .set(i64::try_from(connections).unwrap_or(i64::MAX));
        self.counts.metrics.gather()
    }

    /// Answers one request, whatever it came over.
    pub(crate) async fn serve(&self, request: http::Request<impl Upload>) -> Response<Answer> {
        let rules = self.rules();
        if rules.compression {
            compress::answer(request, |request| self.respond(request, &rules))
                .await
                .map(Either::Left)
        } else {
            self.respond(request, &rules).await.map(Either::Right)
        }
    }

    /// What is in force now.
    pub(crate) fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts other rules in force.
    pub(crate) fn set_rules(&self, rules: Rules) {
        self.gateway.set_room(rules.room.queued());
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
    }

    async fn respond(&self, request: http::Request<impl Upload>, rules: &Rules) -> Response<Body> {
        let (head, incoming) = request.into_parts();
        let began =
            tracing::enabled!(target: "transport", tracing::Level::DEBUG).then(Instant::now);
        let route = Route::of(head.uri.path());
        let mut response = self.answer(&head, &route, incoming, rules).await;
        if let (Some(quic), true) = (
            &rules.quic,
            head.extensions
                .get::<Peer>()
                .is_some_and(|peer| peer.secure),
        ) {
            response.headers_mut().insert(header::ALT_SVC, quic.clone());
        }
        let status = response.status().as_u16();
        let class = if rules.is_websocket(head.uri.path()) {
            route::WEBSOCKET
        } else {
            route.class()
        };
        self.counts.answered(class, status);
        if let Some(began) = began {
            let us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
            tracing::debug!(target: "transport", method = %head.method, path = head.uri.path(), status, us, "request");
        }
        response
    }

    async fn answer(
        &self,
        head: &Parts,
        route: &Route<'_>,
        incoming: impl Upload,
        rules: &Rules,
    ) -> Response<Body> {
        if let Err(refusal) = receive::measure(head, rules.max_uri, rules.max_headers) {
            return refuse(&refusal, head, incoming, rules).await;
        }
        let origin = match rules.guard.admit(head) {
            Ok(origin) => origin,
            Err(denied) if *route == Route::Health && guard::is_probe(head, denied) => {
                return match receive::admit(head, route, 0, rules.max_body) {
                    Ok(admitted) => {
                        self.pass_on(admitted, NOBODY.into(), head, incoming, rules)
                            .await
                    }
                    Err(refusal) => refuse(&refusal, head, incoming, rules).await,
                };
            }
            Err(denied) => return refuse(&denied.into(), head, incoming, rules).await,
        };
        if let Some(peer) = head.extensions.get::<Peer>()
            && let Some(reason) = peer.refused.as_deref()
            && let Err(denied) = self.auth.check(head, peer, SystemTime::now())
        {
            // Whose certificate it is knows already what it says: what is wrong with it is no
            // secret.
            let refusal = Refusal {
                detail: reason.to_owned().into(),
                ..denied.into()
            };
            return refuse(&refusal, head, incoming, rules).await;
        }
        if let Some(view) = rules
            .websocket
            .as_ref()
            .and_then(|own| websocket_handshake::view(own, head.uri.path()))
        {
            return self.upgrade(head, view, rules).await;
        }
        let mut response = self.answer_known(head, route, incoming, rules).await;
        if let Some(origin) = origin {
            cors::expose(origin, response.headers_mut());
        }
        response
    }

    /// The answer to a request from where requests may come from.
    async fn answer_known(
        &self,
        head: &Parts,
        route: &Route<'_>,
        incoming: impl Upload,
        rules: &Rules,
    ) -> Response<Body> {
        if head.method == Method::OPTIONS && !matches!(route, Route::Unknown | Route::NoServer) {
            let mut response = Response::new(Body::full(Bytes::new()));
            *response.status_mut() = StatusCode::NO_CONTENT;
            cors::preflight(head, response.headers_mut());
            response
        } else {
            match self
                .admit(head, route, incoming.size_hint().lower(), rules)
                .await
            {
                Ok(Entry::Metadata(text)) => answer::full(200, None, None, text.into()),
                Ok(Entry::Known(principal, admitted)) => {
                    self.pass_on(admitted, principal, head, incoming, rules)
                        .await
                }
                Err(refusal) => refuse(&refusal, head, incoming, rules).await,
            }
        }
    }

    /// Who is asking, and then what for: whoever may not ask learns nothing of what is here.
    async fn admit(
        &self,
        head: &Parts,
        route: &Route<'_>,
        announced: u64,
        rules: &Rules,
    ) -> Result<Entry, Refusal> {
        match route {
            Route::Metadata(resource)
                if matches!(head.method, Method::GET | Method::HEAD)
                    && let Some(text) = self.auth.metadata(resource) =>
            {
                return Ok(Entry::Metadata(text));
            }
            // A client that gets 401 here takes it for an authorization server and asks for a
            // login.
            Route::Metadata(_) | Route::NotOurs => {
                return Err(Refusal::new(StatusCode::NOT_FOUND, Code::PathUnknown, ""));
            }
            _ => {}
        }
        let Some(peer) = head.extensions.get::<Peer>() else {
            return Err(Refusal::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                Code::Internal,
                "",
            ));
        };
        let principal = match self.auth.admit(head, peer).await {
            Ok(principal) => principal,
            // Whether the daemon is well is no secret; how it is, is.
            Err(denied) if *route == Route::Health && denied.nothing_shown => NOBODY.into(),
            Err(denied) => return Err(denied.into()),
        };
        let admitted = receive::admit(head, route, announced, rules.max_body)?;
        Ok(Entry::Known(principal, admitted))
    }

    /// Passes a request on to the gateway worker, and gives the beginning of its answer.
    async fn pass_on(
        &self,
        admitted: Admitted,
        principal: Principal,
        head: &Parts,
        mut incoming: impl Upload,
        rules: &Rules,
    ) -> Response<Body> {
        let Admitted {
            verb,
            accept,
            view,
            headers,
        } = admitted;
        let mut share = self.uploads.share(&principal.id, rules.room);
        let body = if verb == Verb::Post {
            let limits = (rules.max_body, rules.answer_within);
            match receive::body(&mut incoming, limits, &mut share).await {
                Ok(body) => body,
                Err(refusal) => return refuse(&refusal, head, incoming, rules).await,
            }
        } else {
            Bytes::new()
        };
        let health = Health::asked(&view, &principal);
        let options = exchange_options(verb, &view, health, rules);
        let who = principal.clone();
        // What is needed of a large body until its answer has begun.
        let origin = body::envelope(body.clone());
        let request = Request {
            verb,
            accept_json: accept.json,
            accept_sse: accept.sse,
            view,
            principal,
            headers,
            body,
        };
        let opened = self.gateway.open(request, options).await;
        drop(share);
        match opened {
            Ok(exchange) => {
                let guest = || Guest {
                    principal: who,
                    shown: auth::shown(head).map(|text| text.to_owned().into()),
                };
                self.begin_answer(exchange, origin, health, guest).await
            }
            Err(_) if health.is_some() => answer::unhealthy(),
            Err(refused) => not_passed_on(refused).response(&origin),
        }
    }
}

/// How much of `/health` is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    /// Whether all is well, for somebody who showed nothing.
    Brief,
    Whole,
}

impl Health {
    /// `None`: the request is for something else.
    fn asked(view: &str, principal: &Principal) -> Option<Self> {
        (view == "/health").then(|| {
            if &*principal.id == NOBODY {
                Self::Brief
            } else {
                Self::Whole
            }
        })
    }
}

fn exchange_options(
    verb: Verb,
    view: &str,
    health: Option<Health>,
    rules: &Rules,
) -> ExchangeOptions {
    // A view of our own begins with a slash and is answered whole.
    let endless = verb == Verb::Get && !view.starts_with('/');
    ExchangeOptions {
        answer_within: (!endless).then_some(rules.answer_within),
        endless,
        patient: health.is_none(),
    }
}

fn not_passed_on(refused: Refused) -> Refusal {
    let code = match refused {
        Refused::Away => Code::GatewayUnavailable,
        Refused::Full => Code::Overloaded,
    };
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, code, "")
}
