//! One HTTP exchange with the daemon: a message of the client goes out, and the answer becomes
//! lines.

use super::{
    address::{Endpoint, refusal},
    lines::Output,
    message::{self, Declared, Header, Message},
};
use bytes::{Bytes, BytesMut};
use ggen_mcp::protocol::refusal::{Refusal, rpc};
use ggen_mcp::protocol::sse;
use ggen_wire::Code;
use http::{
    HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{ACCEPT, CONTENT_TYPE, USER_AGENT},
};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use std::{
    cell::RefCell,
    time::{Duration, Instant},
};

/// Largest body, and largest event.
const LIMIT: usize = 64 << 20;
/// Time for a TCP connection.
const CONNECT: Duration = Duration::from_secs(5);
/// Idle connections that are kept.
const POOL: usize = 8;
/// Broken streams are taken up again so often without an event in between.
const RESUMES: u32 = 4;

/// Why an exchange gave no answer.
pub(super) enum Fault {
    /// What the client is told.
    Refused(Refusal),
    /// The daemon does not know the session.
    SessionGone,
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// The way to the daemon.
pub(super) struct Http {
    endpoint: Endpoint,
    client: Client<HttpConnector, Full<Bytes>>,
    debug: bool,
    declared: RefCell<Declared>,
}

/// What a stream of events has come to.
#[derive(Default)]
pub(super) struct Reading {
    /// The id of the newest event.
    pub(super) last: Option<String>,
    /// How long to wait before taking it up again.
    pub(super) retry: Option<Duration>,
    /// Whether the answer has come.
    pub(super) answered: bool,
}

impl Http {
    /// No connection is made yet.
    pub(super) fn new(endpoint: Endpoint, debug: bool) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT));
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .pool_max_idle_per_host(POOL)
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(60));
        Self {
            endpoint,
            client: builder.build(connector),
            debug,
            declared: RefCell::default(),
        }
    }

    /// The headers that mirror a modern message.
    pub(super) fn mirrored(&self, message: &Message) -> Vec<Header> {
        message.mirrored(&self.declared.borrow())
    }

    /// Sends a request and waits for the head of the answer. A daemon that has moved is found
    /// again.
    pub(super) async fn send(
        &self,
        method: Method,
        headers: &[Header],
        body: &Bytes,
        what: &str,
    ) -> Result<Response<Incoming>, Refusal> {
        let began = Instant::now();
        let mut tried = false;
        loop {
            let mut request = Request::new(Full::new(body.clone()));
            *request.method_mut() = method.clone();
            *request.uri_mut() = self.endpoint.endpoint().await?;
            set_headers(request.headers_mut(), &method, headers)?;
            let error = match self.client.request(request).await {
                Ok(response) => {
                    self.say(format_args!(
                        "{method} {what}: {} after {} ms",
                        response.status().as_u16(),
                        began.elapsed().as_millis()
                    ));
                    return Ok(response);
                }
                Err(error) => error,
            };
            self.endpoint.forget();
            self.say(format_args!("{method} {what}: {error}"));
            if !error.is_connect() {
                return Err(refusal(
                    Code::GatewayUnavailable,
                    "the connection broke before the answer",
                ));
            }
            if std::mem::replace(&mut tried, true) {
                return Err(refusal(
                    Code::NotRunning,
                    "nobody listens where the daemon says that it serves",
                ));
            }
        }
    }

    /// Sends a client's request and writes what comes back, the answer last.
    pub(super) async fn request(
        &self,
        message: &Message,
        id: &str,
        headers: &[Header],
        output: &Output,
    ) -> Result<(), Fault> {
        let response = self
            .send(Method::POST, headers, &message.body, &message.method)
            .await?;
        let learning = message.is_modern() && &*message.method == "tools/list";
        if !is_event_stream(&response) {
            return self
                .whole_answer(response, id, headers, learning, output)
                .await;
        }
        let mut reading = Reading::default();
        self.events(response, id, learning, &mut reading, output)
            .await;
        if !message.is_modern() {
            self.resume(message, id, headers, &mut reading, output)
                .await;
        }
        if reading.answered {
            Ok(())
        } else {
            Err(refusal(Code::GatewayLost, "").into())
        }
    }

    /// Writes an answer that is no event stream.
    async fn whole_answer(
        &self,
        response: Response<Incoming>,
        id: &str,
        headers: &[Header],
        learning: bool,
        output: &Output,
    ) -> Result<(), Fault> {
        let status = response.status();
        if status == StatusCode::NOT_FOUND
            && headers.iter().any(|(name, _)| name == "mcp-session-id")
        {
            return Err(Fault::SessionGone);
        }
        let body = collect(response).await?;
        if learning {
            message::learn(&mut self.declared.borrow_mut(), &body);
        }
        let answer = message::with_id(&body, id).ok_or_else(|| {
            refusal(
                Code::Internal,
                &format!("status {} without an answer", status.as_u16()),
            )
        })?;
        output.line(answer).await;
        Ok(())
    }

    /// Takes up a stream again that broke before the answer. Only legacy streams can be; a modern
    /// one that broke has cancelled its request.
    async fn resume(
        &self,
        message: &Message,
        id: &str,
        headers: &[Header],
        reading: &mut Reading,
        output: &Output,
    ) {
        let mut failures = 0;
        while !reading.answered && failures < RESUMES {
            let Some(last) = reading.last.clone() else {
                return;
            };
            tokio::time::sleep(reading.retry.unwrap_or(Duration::from_millis(500))).await;
            let mut resume = headers.to_vec();
            resume.push(("last-event-id".to_owned(), last));
            failures += 1;
            match self
                .send(Method::GET, &resume, &Bytes::new(), &message.method)
                .await
            {
                Ok(response) if is_event_stream(&response) => {
                    let before = reading.last.clone();
                    self.events(response, id, false, reading, output).await;
                    failures = if reading.last == before { failures } else { 0 };
                }
                Ok(_) => return,
                Err(_) => {}
            }
        }
    }

    /// Writes the messages of a stream until it ends or the answer to `id` has come.
    pub(super) async fn events(
        &self,
        response: Response<Incoming>,
        id: &str,
        learning: bool,
        reading: &mut Reading,
        output: &Output,
    ) {
        let (mut parser, mut events, mut body) =
            (sse::Parser::new(LIMIT), Vec::new(), response.into_body());
        while let Some(Ok(frame)) = body.frame().await {
            let Ok(piece) = frame.into_data() else {
                continue;
            };
            if parser.push(&piece, &mut events).is_err() {
                return;
            }
            for event in events.drain(..) {
                reading.last = event.id.or(reading.last.take());
                reading.retry = event
                    .retry_ms
                    .map(|ms| Duration::from_millis(ms.into()))
                    .or(reading.retry);
                if event.data.is_empty() {
                    continue;
                }
                reading.answered |= !id.is_empty() && message::answers(&event.data, id);
                if learning {
                    message::learn(&mut self.declared.borrow_mut(), &event.data);
                }
                output.line(event.data).await;
            }
            if reading.answered {
                return;
            }
        }
    }

    /// The first event with data.
    pub(super) async fn first_event(&self, response: Response<Incoming>) -> Result<Bytes, Refusal> {
        let (mut parser, mut events, mut body) =
            (sse::Parser::new(LIMIT), Vec::new(), response.into_body());
        while let Some(Ok(frame)) = body.frame().await {
            let Ok(piece) = frame.into_data() else {
                continue;
            };
            parser
                .push(&piece, &mut events)
                .map_err(|_| refusal(Code::UpstreamTooLarge, ""))?;
            if let Some(event) = events.drain(..).find(|event| !event.data.is_empty()) {
                return Ok(event.data);
            }
        }
        Err(refusal(
            Code::GatewayUnavailable,
            "the connection broke before the answer",
        ))
    }

    /// A line on standard error, with `--debug`.
    pub(super) fn say(&self, text: std::fmt::Arguments<'_>) {
        use std::io::Write;
        if self.debug {
            writeln!(std::io::stderr(), "ggend stdio: {text}").unwrap_or_default();
        }
    }
}

/// Reads a whole body.
pub(super) async fn collect(response: Response<Incoming>) -> Result<Bytes, Refusal> {
    let (mut body, mut data) = (response.into_body(), BytesMut::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| {
            refusal(
                Code::GatewayUnavailable,
                "the connection broke in the middle of the answer",
            )
        })?;
        if let Ok(piece) = frame.into_data() {
            if data.len() + piece.len() > LIMIT {
                return Err(refusal(Code::UpstreamTooLarge, ""));
            }
            data.extend_from_slice(&piece);
        }
    }
    Ok(data.freeze())
}

/// The variable with the key that is shown to the daemon.
const API_KEY: &str = "GGEN_MCP_API_KEY";

/// Whether the answer is a stream of events.
pub(super) fn is_event_stream(response: &Response<Incoming>) -> bool {
    let kind = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    response.status() == StatusCode::OK
        && kind
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .eq_ignore_ascii_case("text/event-stream")
}

fn set_headers(
    into: &mut http::HeaderMap,
    method: &Method,
    headers: &[Header],
) -> Result<(), Refusal> {
    let accept = if *method == Method::GET {
        "text/event-stream"
    } else {
        "application/json, text/event-stream"
    };
    into.insert(ACCEPT, HeaderValue::from_static(accept));
    into.insert(
        USER_AGENT,
        HeaderValue::from_static(concat!("ggend-stdio/", env!("CARGO_PKG_VERSION"))),
    );
    // For a daemon that wants one; what no header can carry is no key of its.
    if let Some(mut key) = std::env::var(API_KEY)
        .ok()
        .filter(|key| !key.is_empty())
        .and_then(|key| HeaderValue::try_from(key).ok())
    {
        key.set_sensitive(true);
        into.insert("x-api-key", key);
    }
    if *method == Method::POST {
        into.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    for (name, value) in headers {
        let header = HeaderName::try_from(name)
            .ok()
            .zip(HeaderValue::try_from(value).ok());
        let (name, value) = header.ok_or_else(|| {
            Refusal::new(
                400,
                rpc::INVALID_REQUEST,
                Code::InvalidRequest,
                "a value that no header can carry",
            )
        })?;
        into.insert(name, value);
    }
    Ok(())
}
