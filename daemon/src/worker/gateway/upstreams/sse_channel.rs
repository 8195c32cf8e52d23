//! One channel of HTTP+SSE (2024-11-05): a GET whose first event names the address that messages
//! are posted to, and whose other events are the server's messages. It ends with a reason;
//! [`super::sse`] opens the next one. May not: know more of MCP than the ids of requests.

use super::{
    sse::lost,
    streamable_http::{self, Clients, Failed, LIMIT},
};
use crate::worker::gateway::{driver::events::Sink, settings::Target};
use bytes::Bytes;
use ggen_mcp::api::{HttpRequest, Lease, UpId, UpInput};
use ggen_mcp::edge::Verb;
use ggen_mcp::protocol::json::{Envelope, Kind};
use ggen_mcp::protocol::refusal::{Refusal, rpc};
use ggen_mcp::protocol::{json, sse};
use ggen_wire::Code;
use http::{Response, StatusCode, Uri};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};

/// Time for the head of the GET's response, and then for its first event.
const OPENING: Duration = Duration::from_secs(30);
/// Time for the head of a POST's response. Some servers send it when they have done what was asked:
/// the relay's own time-outs are what counts.
const POST: Duration = Duration::from_secs(600);
/// POSTs under way at once.
const POSTS: usize = 256;
/// Bytes of a POST's response that are read so that its connection can be used again; what it says
/// does not matter.
const REST: usize = 64 << 10;

/// One life of a channel.
pub(crate) struct SseChannel {
    pub(crate) up: UpId,
    pub(crate) lease: Lease,
    pub(crate) life: u64,
    pub(crate) sink: Sink,
    pub(crate) target: Arc<Target>,
    pub(crate) clients: Arc<Clients>,
    /// Messages for the server.
    pub(crate) incoming: mpsc::Receiver<Bytes>,
    /// Their bytes.
    pub(crate) waiting: Arc<AtomicUsize>,
    /// Until when nothing is to be read.
    pub(crate) paused: watch::Receiver<Option<Instant>>,
}

/// What became of a POST.
enum Posted {
    /// The server has it.
    Taken,
    /// The server refuses it; what its sender is told instead of an answer.
    Refused(Option<Bytes>),
    /// The channel is over.
    Over(Failed),
}

/// The server's events.
struct Stream {
    body: Incoming,
    parser: sse::Parser,
    parsed: Vec<sse::Event>,
    ready: VecDeque<sse::Event>,
}

impl Stream {
    /// The next event, or why there is none.
    async fn next(&mut self, target: &Target) -> Result<sse::Event, Failed> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            let frame = self.body.frame().await.ok_or_else(|| {
                (
                    Code::UpstreamUnreachable,
                    "the event stream ended".to_owned(),
                )
            })?;
            let Ok(piece) = frame
                .map_err(|error| streamable_http::broken(target, &error))?
                .into_data()
            else {
                continue;
            };
            self.parser
                .push(&piece, &mut self.parsed)
                .map_err(|error| (Code::UpstreamTooLarge, error.to_string()))?;
            self.ready.extend(self.parsed.drain(..));
        }
    }
}

impl SseChannel {
    /// Opens the channel after a while, and talks until it is over.
    pub(crate) async fn run(mut self, wait: Duration) {
        sleep(wait).await;
        let (code, reason) = match self.open().await {
            Ok((stream, endpoint)) => self.exchange(stream, Arc::new(endpoint)).await,
            Err(failed) => failed,
        };
        self.tell(lost(code, reason, None)).await;
    }

    async fn tell(&self, input: UpInput) {
        self.sink
            .channel(self.up, self.lease, self.life, input)
            .await;
    }

    async fn open(&mut self) -> Result<(Stream, Target), Failed> {
        let late = |what: &str| {
            (
                Code::UpstreamSilent,
                format!(
                    "{} sent {what} within {} s",
                    self.target.origin,
                    OPENING.as_secs()
                ),
            )
        };
        let response = timeout(OPENING, self.request_stream())
            .await
            .map_err(|_| late("no response"))??;
        let parser = sse::Parser::new(LIMIT);
        let mut stream = Stream {
            body: response.into_body(),
            parser,
            parsed: Vec::new(),
            ready: VecDeque::new(),
        };
        let endpoint = async {
            loop {
                let event = stream.next(&self.target).await?;
                if event.kind.as_deref() == Some("endpoint") {
                    return Ok(event);
                }
            }
        };
        let event = timeout(OPENING, endpoint)
            .await
            .map_err(|_| late("no endpoint event"))??;
        let uri = resolve(&self.target.uri, &String::from_utf8_lossy(&event.data))
            .map_err(|why| (Code::UpstreamRefused, why.to_owned()))?;
        self.tell(UpInput::Connected {
            incarnation: self.life,
            handoff: None,
        })
        .await;
        Ok((
            stream,
            Target {
                origin: self.target.origin.clone(),
                uri,
                headers: self.target.headers.clone(),
            },
        ))
    }

    /// Asks for the event stream.
    async fn request_stream(&self) -> Result<Response<Incoming>, Failed> {
        let headers = vec![
            ("accept".to_owned(), "text/event-stream".to_owned()),
            ("cache-control".to_owned(), "no-cache".to_owned()),
        ];
        let request = HttpRequest {
            exchange: 0,
            verb: Verb::Get,
            headers,
            body: Bytes::new(),
            timeout: 0,
            repeatable: false,
        };
        let request = streamable_http::build(&self.target, request)?;
        let response = self
            .clients
            .request(&self.target, request)
            .await?
            .await
            .map_err(|error| streamable_http::broken(&self.target, &error))?;
        if response.status() != StatusCode::OK {
            return Err(refused(response.status()));
        }
        if !streamable_http::is_event_stream(&response) {
            let what = "it answers GET with something else than an event stream; over Streamable HTTP its type is \"http\"";
            return Err((Code::UpstreamRefused, what.to_owned()));
        }
        Ok(response)
    }

    /// Carries messages both ways; returns why it ended.
    async fn exchange(&mut self, mut stream: Stream, endpoint: Arc<Target>) -> Failed {
        let (mut posts, mut next, mut alone) = (JoinSet::new(), None::<Bytes>, false);
        loop {
            if let Some(message) =
                next.take_if(|_| posts.is_empty() || !alone && posts.len() < POSTS)
            {
                alone = is_handshake(&message);
                self.waiting.fetch_sub(message.len(), Ordering::Relaxed);
                posts.spawn(post(
                    Arc::clone(&endpoint),
                    Arc::clone(&self.clients),
                    message,
                ));
            }
            let pause = self.paused.borrow().filter(|until| *until > Instant::now());
            tokio::select! {
                event = stream.next(&endpoint), if pause.is_none() => match event {
                    Ok(event) if matches!(event.kind.as_deref(), None | Some("message")) => {
                        self.tell(UpInput::Line(json::one_line(event.data))).await;
                    }
                    Ok(_) => {}
                    Err(failed) => return failed,
                },
                () = sleep_until(pause.unwrap_or_else(Instant::now)), if pause.is_some() => {}
                _ = self.paused.changed() => {}
                Some(posted) = posts.join_next() => match posted {
                    Ok(Posted::Refused(Some(answer))) => self.tell(UpInput::Line(answer)).await,
                    Ok(Posted::Over(failed)) => return failed,
                    _ => {}
                },
                message = self.incoming.recv(), if next.is_none() => match message {
                    Some(message) => next = Some(message),
                    None => return (Code::UpstreamExited, "it is not needed any more".to_owned()),
                },
            }
        }
    }
}

/// Nothing is posted beside the end of the handshake: servers refuse requests that overtake it.
fn is_handshake(message: &[u8]) -> bool {
    let head = &message[..message.len().min(200)];
    head.windows(27)
        .any(|part| part == b"\"notifications/initialized\"".as_slice())
}

async fn post(endpoint: Arc<Target>, clients: Arc<Clients>, message: Bytes) -> Posted {
    let request = HttpRequest {
        exchange: 0,
        verb: Verb::Post,
        headers: Vec::new(),
        body: message.clone(),
        timeout: 0,
        repeatable: false,
    };
    let head = async {
        let request = streamable_http::build(&endpoint, request)?;
        clients
            .request(&endpoint, request)
            .await?
            .await
            .map_err(|error| streamable_http::broken(&endpoint, &error))
    };
    let (status, body) = match timeout(POST, head).await {
        Err(_) => return Posted::Taken,
        Ok(Err(failed)) => return Posted::Over(failed),
        Ok(Ok(response)) => (response.status(), response.into_body()),
    };
    let _ = timeout(OPENING, Limited::new(body, REST).collect()).await;
    if status.is_success() {
        return Posted::Taken;
    }
    let (code, reason) = refused(status);
    if matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE) {
        // The session is gone, and with it whatever this channel was for.
        return Posted::Over((code, reason));
    }
    let text = String::from_utf8_lossy(&message);
    let id = match Envelope::parse(&text).map(|envelope| envelope.kind) {
        Ok(Kind::Request(id, _)) => Some(id),
        _ => None,
    };
    Posted::Refused(id.map(|id| Refusal::new(200, rpc::INTERNAL, code, &reason).body(Some(id))))
}

fn refused(status: StatusCode) -> Failed {
    let code = if status.is_server_error() {
        Code::UpstreamUnreachable
    } else {
        Code::UpstreamRefused
    };
    let more = match status.as_u16() {
        401 | 403 => ": the server wants other credentials; check its headers in the configuration",
        404 | 405 => ": there is no such event stream; over Streamable HTTP its type is \"http\"",
        _ => "",
    };
    (code, format!("HTTP {}{more}", status.as_u16()))
}

/// The address that an `endpoint` event names, seen from the stream's own: on the same origin, or
/// none.
fn resolve(base: &Uri, named: &str) -> Result<Uri, &'static str> {
    const INVALID: &str = "its endpoint event names no valid address";
    let (scheme, authority) = (
        base.scheme_str().unwrap_or_default(),
        base.authority().map(|it| it.as_str()).unwrap_or_default(),
    );
    let named = named.trim().split('#').next().unwrap_or_default();
    let absolute = if named.contains("://") {
        named.to_owned()
    } else if named.starts_with("//") {
        format!("{scheme}:{named}")
    } else if named.starts_with('/') {
        format!("{scheme}://{authority}{named}")
    } else if named.starts_with('?') {
        format!("{scheme}://{authority}{}{named}", base.path())
    } else if named.is_empty() {
        return Err(INVALID);
    } else {
        let folder = base
            .path()
            .rsplit_once('/')
            .map_or("", |(folder, _)| folder);
        format!("{scheme}://{authority}{folder}/{named}")
    };
    let uri: Uri = absolute.parse().map_err(|_| INVALID)?;
    let port = |uri: &Uri| {
        uri.port_u16()
            .unwrap_or(if uri.scheme_str() == Some("https") {
                443
            } else {
                80
            })
    };
    let same_host = uri
        .host()
        .zip(base.host())
        .is_some_and(|(one, other)| one.eq_ignore_ascii_case(other));
    let credentials = uri
        .authority()
        .is_some_and(|authority| authority.as_str().contains('@'));
    if uri.scheme() == base.scheme() && same_host && port(&uri) == port(base) && !credentials {
        Ok(uri)
    } else {
        Err("its endpoint event names an address on another origin, where nothing is sent to")
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        reason = "a test fails by panicking"
    )]

    use super::*;

    #[test]
    fn an_endpoint_is_on_the_streams_own_origin() {
        let base: Uri = "http://host:8000/a/sse?key=1".parse().unwrap();
        for (named, expected) in [
            ("/messages?id=1", "http://host:8000/messages?id=1"),
            ("messages", "http://host:8000/a/messages"),
            ("?id=2", "http://host:8000/a/sse?id=2"),
            (" http://HOST:8000/m#x\n", "http://HOST:8000/m"),
            ("//host:8000/m", "http://host:8000/m"),
        ] {
            assert_eq!(
                resolve(&base, named).map(|uri| uri.to_string().replace("host", "HOST")),
                Ok(expected.replace("host", "HOST")),
                "{named}"
            );
        }
        for named in [
            "",
            "https://host:8000/m",
            "http://host/m",
            "http://other:8000/m",
            "//other/m",
            "http://u:p@host:8000/m",
            "http://host:8000@other/m",
            "ftp://x",
        ] {
            assert!(resolve(&base, named).is_err(), "{named}");
        }
        let secure: Uri = "https://host/sse".parse().unwrap();
        assert!(
            resolve(&secure, "https://host:443/m").is_ok()
                && resolve(&secure, "http://host/m").is_err()
        );
    }

    #[test]
    fn only_the_end_of_the_handshake_goes_alone() {
        assert!(is_handshake(
            br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#
        ));
        assert!(
            !is_handshake(br#"{"jsonrpc":"2.0","method":"notifications/cancelled"}"#)
                && !is_handshake(b"{}")
        );
    }
}
