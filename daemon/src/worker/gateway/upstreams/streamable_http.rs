//! Upstreams over Streamable HTTP: each exchange of the relay is a task with a request on the
//! shared connection pool; [`super::response`] reads what comes back. No redirect is followed. May
//! not: know MCP, log a header or a path.

use crate::worker::gateway::{driver::events::Sink, settings::Target};
use bytes::Bytes;
use ggen_mcp::api::{HttpRequest, UpId, UpInput};
use ggen_mcp::edge::Verb;
use ggen_wire::Code;
use http::{
    HeaderName, HeaderValue, Method, Request, Response,
    header::{CONTENT_LENGTH, CONTENT_TYPE, USER_AGENT},
};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, ResponseFuture, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use std::{
    collections::HashMap,
    error::Error,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{sync::OnceCell, task::AbortHandle};

/// Exchanges with one upstream at once, event streams included.
const EXCHANGES: usize = 1024;
/// Largest body, and largest event.
pub(crate) const LIMIT: usize = 64 << 20;
/// Bytes of bodies that are being collected from one upstream.
const COLLECTING: usize = 256 << 20;
/// Time for a TCP connection; the request's own time-out covers it too.
const CONNECT: Duration = Duration::from_secs(10);
/// A connection that is silent for so long is tried by the system.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// Connections that nobody uses are closed after this time. Node and uvicorn, on which most servers
/// stand, close theirs after 5 s: who is sooner than the server never writes a call to a connection
/// that is being closed, which could not be sent again.
const IDLE: Duration = Duration::from_secs(4);

/// What went wrong with an exchange, for [`UpInput::End`].
pub(crate) type Failed = (Code, String);

/// The connection pools, shared by all upstreams.
pub(crate) struct Clients {
    pool: usize,
    plain: Client<HttpConnector, Full<Bytes>>,
    secure: OnceCell<Client<HttpsConnector<HttpConnector>, Full<Bytes>>>,
}

impl Clients {
    /// Pools that keep up to `pool` idle connections to a host. The host's certificates are read
    /// when the first https upstream is called.
    pub(crate) fn new(pool: u16) -> Self {
        let pool = usize::from(pool);
        Self {
            pool,
            plain: Self::builder(pool).build(Self::connector()),
            secure: OnceCell::new(),
        }
    }

    fn builder(pool: usize) -> hyper_util::client::legacy::Builder {
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .pool_max_idle_per_host(pool)
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new());
        builder
    }

    fn connector() -> HttpConnector {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        // Whether the other end of an event stream without events is still there.
        connector.set_keepalive(Some(KEEP_ALIVE));
        connector.set_connect_timeout(Some(CONNECT));
        connector.enforce_http(false);
        connector
    }

    async fn secure(&self) -> Result<&Client<HttpsConnector<HttpConnector>, Full<Bytes>>, String> {
        let make = async || {
            // Reads files: not on the event loop.
            let loaded = tokio::task::spawn_blocking(|| {
                HttpsConnectorBuilder::new()
                    .with_provider_and_native_roots(rustls::crypto::aws_lc_rs::default_provider())
            });
            let builder = loaded
                .await
                .map_err(|error| error.to_string())?
                .map_err(|error| format!("no certificates of the host: {error}"))?;
            let connector = builder
                .https_or_http()
                .enable_http1()
                .enable_http2()
                .wrap_connector(Self::connector());
            Ok(Self::builder(self.pool).build(connector))
        };
        self.secure.get_or_try_init(make).await
    }

    /// Sends a request.
    pub(crate) async fn request(
        &self,
        target: &Target,
        request: Request<Full<Bytes>>,
    ) -> Result<ResponseFuture, Failed> {
        if target.uri.scheme() == Some(&http::uri::Scheme::HTTPS) {
            let client = self
                .secure()
                .await
                .map_err(|why| (Code::UpstreamUnreachable, why))?;
            return Ok(client.request(request));
        }
        Ok(self.plain.request(request))
    }
}

/// One HTTP upstream.
pub(crate) struct Remote {
    up: UpId,
    target: Result<Arc<Target>, String>,
    clients: Arc<Clients>,
    sink: Sink,
    open: HashMap<u64, AbortHandle>,
    collecting: Arc<AtomicUsize>,
}

impl Remote {
    /// An upstream that nothing was sent to.
    pub(crate) fn new(
        up: UpId,
        target: Result<Arc<Target>, String>,
        clients: Arc<Clients>,
        sink: Sink,
    ) -> Self {
        Self {
            up,
            target,
            clients,
            sink,
            open: HashMap::new(),
            collecting: Arc::default(),
        }
    }

    /// Begins an exchange. What is returned is to be told to the relay at once.
    pub(crate) fn begin(&mut self, request: HttpRequest) -> Option<UpInput> {
        let number = request.exchange;
        let refused = |code, text: &str| {
            Some(UpInput::End {
                exchange: number,
                error: Some((code, text.to_owned())),
            })
        };
        let target = match &self.target {
            Ok(target) => Arc::clone(target),
            Err(why) => return refused(Code::UpstreamUnreachable, why),
        };
        if self.open.len() >= EXCHANGES {
            return refused(Code::UpstreamBusy, Code::UpstreamBusy.title());
        }
        let exchange = Exchange {
            up: self.up,
            number,
            sink: self.sink.clone(),
            held: Held {
                total: Arc::clone(&self.collecting),
                own: 0,
            },
        };
        let task = tokio::spawn(exchange.run(target, Arc::clone(&self.clients), request));
        self.open.insert(number, task.abort_handle());
        None
    }

    /// Uses other connection pools from now on.
    pub(crate) fn set_clients(&mut self, clients: Arc<Clients>) {
        self.clients = clients;
    }

    /// Gives an exchange up: its connection is closed, or its HTTP/2 stream reset. Nothing more is
    /// heard of it.
    pub(crate) fn abort(&mut self, exchange: u64) {
        if let Some(task) = self.open.remove(&exchange) {
            task.abort();
        }
    }

    /// Whether the relay still wants to hear this; to be asked for everything that comes from the
    /// queue.
    pub(crate) fn wanted(&mut self, input: &UpInput) -> bool {
        match input {
            UpInput::End { exchange, .. } => self.open.remove(exchange).is_some(),
            UpInput::Head { exchange, .. } | UpInput::Message { exchange, .. } => {
                self.open.contains_key(exchange)
            }
            _ => true,
        }
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.open.values().for_each(AbortHandle::abort);
    }
}

/// Bytes that are being collected, counted against the upstream's bound.
pub(super) struct Held {
    total: Arc<AtomicUsize>,
    own: usize,
}

impl Held {
    pub(super) fn set(&mut self, count: usize) -> Result<(), Failed> {
        self.clear();
        self.own = count;
        let total = self.total.fetch_add(count, Ordering::Relaxed) + count;
        if self.own > LIMIT || total > COLLECTING {
            Err((
                Code::UpstreamTooLarge,
                Code::UpstreamTooLarge.title().to_owned(),
            ))
        } else {
            Ok(())
        }
    }

    fn clear(&mut self) {
        self.total
            .fetch_sub(std::mem::take(&mut self.own), Ordering::Relaxed);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.clear();
    }
}

/// One exchange.
pub(super) struct Exchange {
    up: UpId,
    pub(super) number: u64,
    sink: Sink,
    pub(super) held: Held,
}

impl Exchange {
    async fn run(mut self, target: Arc<Target>, clients: Arc<Clients>, request: HttpRequest) {
        let error = self.perform(&target, &clients, request).await.err();
        self.held.clear();
        self.sink
            .up(
                self.up,
                UpInput::End {
                    exchange: self.number,
                    error,
                },
            )
            .await;
    }

    async fn perform(
        &mut self,
        target: &Target,
        clients: &Clients,
        request: HttpRequest,
    ) -> Result<(), Failed> {
        let timeout = Duration::from_micros(request.timeout);
        let head = async {
            let again = request.repeatable.then(|| request.clone());
            let sent = clients.request(target, build(target, request)?).await?;
            match (sent.await, again) {
                // The server has closed a connection that was kept open, or is being replaced.
                (Err(error), Some(again)) if is_closed(&error) => {
                    let sent = clients.request(target, build(target, again)?).await?;
                    sent.await
                }
                (answer, _) => answer,
            }
            .map_err(|error| broken(target, &error))
        };
        let response = tokio::time::timeout(timeout, head).await.map_err(|_| {
            (
                Code::UpstreamTimeout,
                format!(
                    "{} sent no response within {} ms",
                    target.origin,
                    timeout.as_millis()
                ),
            )
        })??;
        self.read(target, response).await
    }

    pub(super) async fn tell(&self, input: UpInput) {
        self.sink.up(self.up, input).await;
    }
}

/// Whether a response is a stream of events.
pub(crate) fn is_event_stream(response: &Response<Incoming>) -> bool {
    let kind = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    kind.split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .eq_ignore_ascii_case("text/event-stream")
}

/// The configured headers, and over them those that the protocol needs.
pub(crate) fn build(target: &Target, request: HttpRequest) -> Result<Request<Full<Bytes>>, Failed> {
    let mut built = Request::new(Full::new(request.body));
    *built.uri_mut() = target.uri.clone();
    *built.method_mut() = match request.verb {
        // Sockets are for clients; servers are asked over HTTP.
        Verb::Post | Verb::Message | Verb::Attach => Method::POST,
        Verb::Get => Method::GET,
        Verb::Delete => Method::DELETE,
    };
    let headers = built.headers_mut();
    headers.insert(
        USER_AGENT,
        HeaderValue::from_static(concat!("ggend/", env!("CARGO_PKG_VERSION"))),
    );
    for (name, value) in &target.headers {
        headers.insert(name, value.clone());
    }
    headers.remove(CONTENT_LENGTH);
    if request.verb == Verb::Post {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    for (name, value) in request.headers {
        let name = HeaderName::try_from(name).map_err(|_| internal())?;
        headers.insert(name, HeaderValue::try_from(value).map_err(|_| internal())?);
    }
    Ok(built)
}

/// Whether a connection has ended before anything was answered on it.
fn is_closed(error: &hyper_util::client::legacy::Error) -> bool {
    let mut cause = error.source();
    while let Some(inner) = cause {
        let is_end = |error: &hyper::Error| {
            error.is_incomplete_message() || error.is_closed() || error.is_canceled()
        };
        let is_reset = |error: &io::Error| {
            matches!(
                error.kind(),
                io::ErrorKind::ConnectionReset
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::BrokenPipe
                    | io::ErrorKind::UnexpectedEof
            )
        };
        if inner.downcast_ref().is_some_and(is_end) || inner.downcast_ref().is_some_and(is_reset) {
            return !error.is_connect();
        }
        cause = inner.source();
    }
    false
}

fn internal() -> Failed {
    (
        Code::Internal,
        "the relay made a header that is not valid".to_owned(),
    )
}

/// The innermost causes say what is wrong; the outer ones only repeat that it is.
pub(crate) fn broken(target: &Target, error: &dyn Error) -> Failed {
    let mut text = String::new();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    if text.is_empty() {
        text = format!(": {error}");
    }
    (
        Code::UpstreamUnreachable,
        format!("{}{text}", target.origin),
    )
}
