//! One request on one stream: from the handler's answer to bytes that the client has acknowledged.
//! STOP_SENDING of the client ends both.

use super::{
    body::{Announced, Upload},
    shared::Shared,
    stops::Stops,
};
use crate::{http3::Connection, worker::edge::peer::Peer};
use bytes::Bytes;
use h3::{
    error::{Code, StreamError},
    quic,
    server::{RequestResolver, RequestStream},
};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header,
    request::Parts,
};
use http_body::Body;
use http_body_util::BodyExt;
use std::{fmt, future::Future, sync::Arc, time::Duration};

/// How long the head of a request may take once its stream is open.
const HEAD: Duration = Duration::from_secs(10);
/// Largest head of a request, in the measure of RFC 9114 §4.2.2; as over HTTP/2. h3 itself is told
/// twice as much: the answer that it gives would be cut off.
const MAX_FIELD_SECTION: usize = 64 << 10;
/// A message of an answer is handed to the transport in pieces of at most so many bytes: what one
/// stream buffers is its send buffer and one piece.
const PIECE: usize = 64 << 10;
/// What the transport buffers of one stream, at most.
pub(super) const SEND_BUFFER: u32 = 512 << 10;
/// A line that is slower than so many bytes a second is too slow for the end of an answer.
const PACE: u32 = 8 << 10;

type Both = <Connection as quic::OpenStreams<Bytes>>::BidiStream;
type Half = <Both as quic::BidiStream<Bytes>>::SendStream;

/// What the requests of a connection have in common.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) peer: Peer,
    /// The name that the client asked for in its handshake is not ours: every request is
    /// misdirected.
    pub(super) misdirected: bool,
    pub(super) stops: Stops,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Answered, or no longer wanted.
    Served,
    /// Its head never came, or made no sense.
    Headless,
    /// Given up by its client.
    GivenUp,
    /// Its client took nothing of the answer for too long.
    Stalled,
}

/// Why an answer is not delivered.
#[derive(Debug, thiserror::Error)]
enum Undelivered {
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error("the client takes nothing")]
    Stalled,
}

/// Waits until the transport has room, for as long as the client may take nothing.
async fn in_time<T>(
    limit: Duration,
    sending: impl Future<Output = Result<T, StreamError>>,
) -> Result<T, Undelivered> {
    match tokio::time::timeout(limit, sending).await {
        Ok(sent) => Ok(sent?),
        Err(_) => Err(Undelivered::Stalled),
    }
}

/// Serves one request.
pub(super) async fn serve(
    resolver: RequestResolver<Connection, Bytes>,
    shared: Arc<Shared>,
    caller: Arc<Caller>,
) -> Ended {
    let Ok(Ok((request, stream))) = tokio::time::timeout(HEAD, resolver.resolve_request()).await
    else {
        return Ended::Headless;
    };
    let watching = caller.stops.watch(stream.id().into_inner());
    let outcome = tokio::select! {
        biased;
        () = watching.stopped() => return Ended::GivenUp,
        outcome = answer(request, stream, &shared, &caller) => outcome,
    };
    match outcome {
        Ok(()) => Ended::Served,
        Err(Undelivered::Stalled) => Ended::Stalled,
        Err(error) => {
            tracing::debug!(target: "transport", %error, "answer not delivered");
            Ended::Served
        }
    }
}

async fn answer(
    request: Request<()>,
    stream: RequestStream<Both, Bytes>,
    shared: &Shared,
    caller: &Caller,
) -> Result<(), Undelivered> {
    let (mut head, ()) = request.into_parts();
    let is_head = head.method == Method::HEAD;
    let announced = Announced::of(&head.headers);
    let (mut send, receive) = stream.split();
    if announced == Announced::Malformed {
        send.stop_stream(Code::H3_MESSAGE_ERROR);
        return Ok(());
    }
    let refused = if section(&head) > MAX_FIELD_SECTION {
        Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
    } else {
        caller
            .misdirected
            .then_some(StatusCode::MISDIRECTED_REQUEST)
    };
    if let Some(status) = refused {
        let mut response = Response::new(());
        *response.status_mut() = status;
        send.send_response(response).await?;
        return Ok(send.finish().await?);
    }
    let within = shared.http.rules().send_within;
    head.extensions.insert(caller.peer.clone());
    let request = Request::from_parts(head, Upload::new(receive, announced));
    let (mut head, body) = shared.http.serve(request).await.into_parts();
    complete(&mut head.headers, head.status, body.size_hint().exact());
    let response = Response::from_parts(head, ());
    in_time(within, send.send_response(response)).await?;
    let poured = if is_head {
        0
    } else {
        pour(body, &mut send, within).await?
    };
    // What the transport has of it, at the pace of a slow line.
    let left = Duration::from_secs((poured.min(SEND_BUFFER) / PACE).into());
    in_time(within + left, send.finish()).await
}

/// The size of a head (RFC 9114 §4.2.2): names and values, and 32 for each field.
fn section(head: &Parts) -> usize {
    let fields: usize = head
        .headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 32)
        .sum();
    fields
        + head
            .uri
            .path_and_query()
            .map_or(0, |path| path.as_str().len())
}

/// Sends a body.
async fn pour<B>(
    mut body: B,
    send: &mut RequestStream<Half, Bytes>,
    within: Duration,
) -> Result<u32, Undelivered>
where
    B: Body<Data = Bytes, Error: fmt::Display> + Unpin,
{
    let mut poured = 0_u32;
    while let Some(frame) = body.frame().await {
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => {
                tracing::warn!(target: "transport", %error, "an answer broke off");
                send.stop_stream(Code::H3_INTERNAL_ERROR);
                return Ok(poured);
            }
        };
        if let Ok(mut bytes) = frame.into_data() {
            while !bytes.is_empty() {
                let piece = bytes.split_to(bytes.len().min(PIECE));
                poured = poured.saturating_add(u32::try_from(piece.len()).unwrap_or(u32::MAX));
                in_time(within, send.send_data(piece)).await?;
            }
        }
    }
    Ok(poured)
}

/// What HTTP/1.1 and HTTP/2 get from their server library: no headers that belong to a single hop
/// (RFC 9114 §4.2), a length if it is known, a date.
fn complete(headers: &mut HeaderMap, status: StatusCode, length: Option<u64>) {
    const HOP: [HeaderName; 6] = [
        header::CONNECTION,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        header::TE,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
    ];
    HOP.iter().for_each(|name| drop(headers.remove(name)));
    let bodiless = status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED;
    if let (Some(length), false) = (length, bodiless) {
        headers
            .entry(header::CONTENT_LENGTH)
            .or_insert_with(|| length.into());
    }
    if let Ok(date) = HeaderValue::try_from(httpdate::fmt_http_date(std::time::SystemTime::now())) {
        headers.insert(header::DATE, date);
    }
}
