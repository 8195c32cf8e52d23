//! Receives a request: the checks before its body is read, and the body.

use super::{
    answer::Refusal,
    route::{Accept, Route, is_json},
};
use crate::worker::edge::budget::{NoRoom, Share};
use bytes::{Bytes, BytesMut};
use ggen_mcp::edge::{Verb, is_relayed};
use ggen_wire::Code;
use http::{HeaderMap, Method, StatusCode, header, request::Parts};
use http_body::Body;
use http_body_util::BodyExt;
use std::{future::poll_fn, pin::Pin, task::Poll, time::Duration};

/// Relayed headers of one request, names and values.
const MAX_RELAYED: usize = 16 << 10;
/// Relayed headers of one request; the frame counts them in a byte.
const MAX_RELAYED_COUNT: usize = 128;
/// Room made for a body before it is seen.
const FIRST: usize = 64 << 10;

/// Names in lower case and values, as [`ggen_mcp::edge::Request`] takes them.
type Headers = Vec<(Box<str>, Box<[u8]>)>;

/// A request that may be passed on once its body is there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Admitted {
    pub(super) verb: Verb,
    pub(super) accept: Accept,
    pub(super) view: Box<str>,
    pub(super) headers: Headers,
}

/// The size of what every request has: its target (RFC 9110 §15.5.15) and its header (RFC 6585 §5).
pub(super) fn measure(head: &Parts, max_uri: usize, max_headers: usize) -> Result<(), Refusal> {
    let target = head
        .uri
        .path_and_query()
        .map_or(0, |target| target.as_str().len());
    if target > max_uri {
        return Err(Refusal::new(
            StatusCode::URI_TOO_LONG,
            Code::InvalidRequest,
            "the path is over the limit",
        ));
    }
    if head.headers.len() > max_headers {
        return Err(Refusal::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Code::InvalidRequest,
            "too many header fields",
        ));
    }
    Ok(())
}

/// MCP.md's pipeline after Host and Origin: path, method, Content-Type, announced size, Accept,
/// relayed headers.
pub(super) fn admit(
    head: &Parts,
    route: &Route<'_>,
    announced: u64,
    max_body: u64,
) -> Result<Admitted, Refusal> {
    let server = match route {
        Route::Mcp(server) => server,
        Route::Tools => return own_view(head, "/tools"),
        Route::Health => return own_view(head, "/health"),
        Route::NoServer => {
            return Err(Refusal::new(StatusCode::NOT_FOUND, Code::ServerUnknown, ""));
        }
        // The first two are answered before.
        Route::Metadata(_) | Route::NotOurs | Route::Unknown => {
            return Err(Refusal::new(StatusCode::NOT_FOUND, Code::PathUnknown, ""));
        }
    };
    let (verb, accept) = match head.method {
        Method::POST => (Verb::Post, Accept::of(&head.headers)),
        Method::GET => (
            Verb::Get,
            Accept {
                json: false,
                ..Accept::of(&head.headers)
            },
        ),
        Method::DELETE => (Verb::Delete, Accept::BOTH),
        _ => return Err(not_allowed("GET, POST, DELETE, OPTIONS")),
    };
    if verb == Verb::Post {
        check_content(&head.headers)?;
    }
    if announced > max_body {
        return Err(too_large(max_body));
    }
    if !accept.json && !accept.sse {
        return Err(Refusal::new(
            StatusCode::NOT_ACCEPTABLE,
            Code::NotAcceptable,
            "",
        ));
    }
    Ok(Admitted {
        verb,
        accept,
        view: server.as_ref().into(),
        headers: relayed(&head.headers)?,
    })
}

/// A view of the gateway's own, which is read only.
fn own_view(head: &Parts, view: &str) -> Result<Admitted, Refusal> {
    match head.method {
        Method::GET | Method::HEAD => Ok(Admitted {
            verb: Verb::Get,
            accept: Accept::BOTH,
            view: view.into(),
            headers: Vec::new(),
        }),
        _ => Err(not_allowed("GET, HEAD, OPTIONS")),
    }
}

/// The body is JSON, and not encoded: what a few bytes may unpack to is not for this side to find out.
fn check_content(headers: &HeaderMap) -> Result<(), Refusal> {
    let wrong = |why| {
        Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Code::WrongContentType,
            why,
        ))
    };
    if !is_json(headers) {
        return wrong("");
    }
    let encodings = headers.get_all(header::CONTENT_ENCODING);
    if encodings.iter().any(|coding| coding != "identity") {
        return wrong("a body with Content-Encoding is not taken; send it as it is");
    }
    Ok(())
}

fn relayed(headers: &HeaderMap) -> Result<Headers, Refusal> {
    let mut relayed = Vec::new();
    let mut size = 0;
    for (name, value) in headers.iter().filter(|(name, _)| is_relayed(name.as_str())) {
        size += name.as_str().len() + value.len();
        if size > MAX_RELAYED || relayed.len() == MAX_RELAYED_COUNT {
            let why = "MCP and trace headers take more than 16 KiB or are more than 128";
            return Err(Refusal::new(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                Code::InvalidRequest,
                why,
            ));
        }
        relayed.push((name.as_str().into(), value.as_bytes().into()));
    }
    Ok(relayed)
}

fn not_allowed(methods: &'static str) -> Refusal {
    Refusal {
        allow: Some(methods),
        ..Refusal::new(StatusCode::METHOD_NOT_ALLOWED, Code::MethodNotAllowed, "")
    }
}

fn too_large(max_body: u64) -> Refusal {
    let mut refusal = Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, Code::BodyTooLarge, "");
    refusal.detail = format!("at most {max_body} bytes").into();
    refusal
}

/// What the body of a request may be, whatever it came over.
pub(crate) trait Upload: Body<Data = Bytes, Error: Send> + Send + Unpin + 'static {}

impl<B: Body<Data = Bytes, Error: Send> + Send + Unpin + 'static> Upload for B {}

/// Reads a whole body. One that came with its head (nearly all do) is neither copied nor timed.
pub(super) async fn body(
    incoming: &mut impl Upload,
    (max_body, within): (u64, Duration),
    share: &mut Share,
) -> Result<Bytes, Refusal> {
    let mut first = Bytes::new();
    if !incoming.is_end_stream()
        && let Poll::Ready(Some(frame)) =
            poll_fn(|cx| Poll::Ready(Pin::new(&mut *incoming).poll_frame(cx))).await
    {
        first = frame.map_err(|_| broken())?.into_data().unwrap_or_default();
    }
    let limit = usize::try_from(max_body).unwrap_or(usize::MAX);
    if first.len() > limit {
        return Err(too_large(max_body));
    }
    if incoming.is_end_stream() {
        return Ok(first);
    }
    let rest = async {
        let announced = usize::try_from(incoming.size_hint().lower()).unwrap_or(FIRST);
        share.grow(first.len(), limit).map_err(no_room)?;
        let mut whole = BytesMut::with_capacity(first.len() + announced.min(FIRST));
        whole.extend_from_slice(&first);
        while let Some(frame) = incoming.frame().await {
            let data = frame.map_err(|_| broken())?.into_data().unwrap_or_default();
            if whole.len() + data.len() > limit {
                return Err(too_large(max_body));
            }
            share.grow(data.len(), limit).map_err(no_room)?;
            whole.extend_from_slice(&data);
        }
        Ok(whole.freeze())
    };
    let slow = || {
        Refusal::new(
            StatusCode::REQUEST_TIMEOUT,
            Code::RequestTimeout,
            "the body did not arrive in time",
        )
    };
    tokio::time::timeout(within, rest)
        .await
        .unwrap_or_else(|_| Err(slow()))
}

fn no_room(_: NoRoom) -> Refusal {
    Refusal::new(
        StatusCode::SERVICE_UNAVAILABLE,
        Code::Overloaded,
        "the bodies of other requests take all the room",
    )
}

/// Nobody reads this: the client is gone, or its framing is broken.
fn broken() -> Refusal {
    Refusal::new(
        StatusCode::BAD_REQUEST,
        Code::InvalidRequest,
        "the body is incomplete",
    )
}
