//! Bodies of answers: a whole message, an event stream from the gateway worker, or an error for a
//! client that is still sending.

use super::{
    answer::{self, Refusal},
    events,
    receive::Upload,
};
use crate::worker::edge::{
    Broken, Exchange, Input,
    budget::{Room, Unsent},
};
use bytes::{Bytes, BytesMut};
use ggen_mcp::edge::Reply;
use ggen_wire::Code;
use http::StatusCode;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::time::Sleep;

/// Bytes of an oversize body that are read and dropped so that its client can read why.
const LINGER: usize = 64 << 20;
/// Bytes that hyper is given at once.
const PIECE: usize = 64 << 10;
/// A request's body up to this size is kept while its event stream lasts.
const SMALL: usize = 4 << 10;

/// The body of an answer.
#[derive(Debug)]
pub(crate) struct Body(Kind);

#[derive(Debug)]
enum Kind {
    Full(Bytes),
    Events(Box<Events>),
    Linger(Box<Linger>),
}

impl Body {
    /// A whole message; may be empty.
    pub(super) const fn full(bytes: Bytes) -> Self {
        Self(Kind::Full(bytes))
    }

    /// The rest of an exchange after its `Start`. `origin` is the request's body, to name its id if
    /// the stream breaks. What waits of it is counted.
    pub(super) fn events(
        exchange: Exchange,
        origin: Bytes,
        (unsent, room): (Arc<Unsent>, Room),
    ) -> Self {
        Self(Kind::Events(Box::new(Events {
            exchange: Some(exchange),
            origin: envelope(origin),
            large: None,
            open: false,
            unsent,
            room,
        })))
    }

    /// `bytes`, and then as much of the request as still comes, unread, until `patience` has
    /// passed: a connection that is closed while its client sends is reset, and the answer lost
    /// with it.
    pub(super) fn linger(bytes: Bytes, rest: impl Upload, patience: Sleep) -> Self {
        let rest = rest.map_err(drop).boxed_unsync();
        Self(Kind::Linger(Box::new(Linger {
            bytes,
            rest,
            budget: LINGER,
            patience: Box::pin(patience),
        })))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = match &mut self.0 {
            // A large one goes piece by piece: what hyper has is out of our hands.
            Kind::Full(bytes) => {
                let piece = bytes.split_to(bytes.len().min(PIECE));
                Some(piece).filter(|piece| !piece.is_empty())
            }
            Kind::Events(events) => ready!(events.poll(cx)),
            Kind::Linger(linger) => ready!(linger.poll(cx)),
        };
        Poll::Ready(data.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.0, Kind::Full(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Full(bytes) => {
                SizeHint::with_exact(u64::try_from(bytes.len()).unwrap_or(u64::MAX))
            }
            Kind::Events(_) | Kind::Linger(_) => SizeHint::default(),
        }
    }
}

/// An event stream. Polled only when the connection has room: that is the back-pressure.
#[derive(Debug)]
struct Events {
    /// `None` once it has ended.
    exchange: Option<Exchange>,
    origin: Bytes,
    /// A large message, to follow what was encoded before it without being copied.
    large: Option<Bytes>,
    /// Its event has not been ended.
    open: bool,
    /// Where its bytes are counted.
    unsent: Arc<Unsent>,
    room: Room,
}

impl Events {
    /// The next bytes: as many events as are there, up to about [`events::BATCH`] bytes.
    fn poll(&mut self, cx: &Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(data) = self.large.take() {
            let mut data = data;
            let piece = data.split_to(data.len().min(PIECE));
            self.large = Some(data).filter(|data| !data.is_empty());
            return Poll::Ready(Some(piece));
        }
        let mut out = BytesMut::new();
        if std::mem::take(&mut self.open) {
            out.extend_from_slice(events::END);
        }
        while let Some(exchange) = &mut self.exchange {
            match exchange.poll_next(cx) {
                Poll::Pending if out.is_empty() => return Poll::Pending,
                Poll::Pending => break,
                Poll::Ready(Ok(Input::Reply(Reply::Event { id, retry_ms, data }))) => {
                    let Some(data) = self.room_for(data) else {
                        self.exchange = None;
                        self.broken(Broken::Slow, &mut out);
                        break;
                    };
                    self.large = events::encode(id.as_deref(), retry_ms, data, &mut out);
                    self.open = self.large.is_some();
                    if self.open || out.len() >= events::BATCH {
                        break;
                    }
                }
                Poll::Ready(Ok(Input::Quiet)) => out.extend_from_slice(events::COMMENT),
                Poll::Ready(Ok(Input::Reply(_))) => self.exchange = None,
                Poll::Ready(Err(broken)) => {
                    self.exchange = None;
                    self.broken(broken, &mut out);
                }
            }
        }
        let bytes = Some(out.freeze()).filter(|bytes| !bytes.is_empty());
        Poll::Ready(bytes.map(|bytes| self.unsent.count(bytes)))
    }

    /// The same message, counted if it is large. `None`: others wait for their clients, and this one
    /// has no room beside them.
    fn room_for(&self, data: Bytes) -> Option<Bytes> {
        if data.len() < events::LARGE {
            return Some(data);
        }
        self.unsent.hold(data, self.room)
    }

    /// The last event of a stream that the gateway worker did not live to finish; on a stream
    /// without a request there is nobody to tell.
    fn broken(&self, broken: Broken, out: &mut BytesMut) {
        if !self.origin.is_empty() {
            let refusal = refusal(broken);
            events::encode(None, None, refusal.body(&self.origin), out);
        }
    }
}

/// What is kept of a request for the life of its stream: itself if it is small, else what a refusal
/// reads from it.
pub(super) fn envelope(origin: Bytes) -> Bytes {
    if origin.len() <= SMALL {
        origin
    } else {
        answer::envelope(&origin)
    }
}

/// What a client is told when its exchange breaks.
pub(super) const fn refusal(broken: Broken) -> Refusal {
    match broken {
        Broken::Lost => Refusal::new(StatusCode::BAD_GATEWAY, Code::GatewayLost, ""),
        Broken::Slow => Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            Code::Overloaded,
            "the answer was not taken, and others need the room",
        ),
        Broken::TimedOut => Refusal::new(StatusCode::GATEWAY_TIMEOUT, Code::RequestTimeout, ""),
    }
}

#[derive(Debug)]
struct Linger {
    bytes: Bytes,
    rest: UnsyncBoxBody<Bytes, ()>,
    budget: usize,
    patience: Pin<Box<Sleep>>,
}

impl Linger {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if !self.bytes.is_empty() {
            return Poll::Ready(Some(std::mem::take(&mut self.bytes)));
        }
        loop {
            if self.patience.as_mut().poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            match ready!(Pin::new(&mut self.rest).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    self.budget = self
                        .budget
                        .saturating_sub(frame.data_ref().map_or(1, Bytes::len))
                }
                Some(Err(_)) | None => return Poll::Ready(None),
            }
            if self.budget == 0 {
                return Poll::Ready(None);
            }
        }
    }
}
