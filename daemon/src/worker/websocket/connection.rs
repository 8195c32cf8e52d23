//! One client's WebSocket. Each text message is an exchange with the gateway worker, and its
//! replies go out as text messages. The connection holds the id of the client's legacy session and
//! the stream of what the server sends by itself. May not: decide anything else about MCP.
//!
//! Back-pressure: nothing is read while [`MAX_ASKS`] messages wait for their answers, and nothing
//! is asked of the relay while the client does not take what there is; the relay holds back then
//! (`ggen_mcp::edge::frame::WINDOW`).

use super::{
    Guest, Server,
    ask::{Ask, Caller, Known, Outcome},
    close::Close,
    codec::{Codec, End, Frame},
    message::{self, Origin},
};
use bytes::Bytes;
use ggen_mcp::protocol::refusal::{Refusal, rpc};
use ggen_wire::Code;
use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Sleep,
};

/// Messages of one connection that wait for their answers.
const MAX_ASKS: usize = 256;
/// Frames that are read in one turn, so that one client does not keep the others waiting.
const TURN: usize = 64;
/// A session's stream that ends sooner than this has flapped,
const FLAP: Duration = Duration::from_millis(500);
/// and after so many times in a row it is not opened again.
const FLAPS: u8 = 8;

/// A connection at work.
struct Connection<'a, S> {
    codec: Codec<S>,
    server: &'a Server,
    caller: Caller,
    asks: Vec<Ask>,
    session: Option<Box<str>>,
    stream: Option<Ask>,
    streamed: Instant,
    flaps: u8,
    /// When the client last gave a sign of life.
    heard: Instant,
    pinged: bool,
    drain: Drain,
    timer: Pin<Box<Sleep>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drain {
    No,
    /// What is in flight is finished; new requests are refused.
    Finishing,
    /// What is left is cut.
    Over,
}

/// Serves a connection until it closes.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    server: Arc<Server>,
    codec: Codec<S>,
    caller: Caller,
    guest: Guest,
) -> End {
    let now = Instant::now();
    let patience = server.rules().patience;
    let mut connection = Connection {
        codec,
        server: &server,
        caller,
        asks: Vec::new(),
        session: None,
        stream: None,
        streamed: now,
        flaps: 0,
        heard: now,
        pinged: false,
        drain: Drain::No,
        timer: Box::pin(tokio::time::sleep(patience / 2)),
    };
    let end = {
        // Of this worker, or of the one that relays the connection.
        let mut finishing = std::pin::pin!(async {
            tokio::select! { () = server.finishing() => {} () = guest.finishing() => {} }
        });
        let mut over = std::pin::pin!(async {
            tokio::select! { () = server.over() => {} () = guest.over() => {} }
        });
        let mut denied = std::pin::pin!(server.denied(&guest));
        let mut welcome = true;
        poll_fn(|cx| {
            if connection.drain == Drain::No && finishing.as_mut().poll(cx).is_ready() {
                connection.drain = Drain::Finishing;
            }
            if connection.drain == Drain::Finishing && over.as_mut().poll(cx).is_ready() {
                connection.drain = Drain::Over;
            }
            if welcome && denied.as_mut().poll(cx).is_ready() {
                welcome = false;
                connection.codec.close(Close::Denied);
            }
            connection.poll(cx)
        })
        .await
    };
    // The relay hears of it before the client has taken its leave.
    let Connection {
        codec,
        asks,
        stream,
        ..
    } = connection;
    drop((asks, stream));
    codec.farewell().await;
    end
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<'_, S> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            let now = Instant::now();
            self.time(cx, now);
            let flushed = self.codec.poll_flush(cx, now).is_ready();
            if let Some(end) = self.codec.end(now) {
                return Poll::Ready(end);
            }
            let mut busy = false;
            if self.codec.is_closing() {
                self.give_up();
            } else if flushed {
                busy |= self.collect(cx);
            }
            busy |= self.read(cx, now);
            let finished = || !self.asks.iter().any(|ask| ask.origin.is_waited_for());
            if self.drain != Drain::No
                && !self.codec.is_closing()
                && (self.drain == Drain::Over || finished())
            {
                self.codec.close(Close::Going);
                busy = true;
            }
            if !busy && !self.has_news() {
                return Poll::Pending;
            }
        }
    }

    /// Whether the state has changed in a way that no waker tells of.
    fn has_news(&self) -> bool {
        let left = self.codec.is_closing() && !(self.asks.is_empty() && self.stream.is_none());
        left || self.codec.is_unflushed() || self.codec.end(Instant::now()).is_some()
    }

    /// Applies the clock, and sets the timer to what comes next.
    fn time(&mut self, cx: &mut Context<'_>, now: Instant) {
        let patience = self.server.rules().patience;
        if self.is_full() {
            // Nothing is read then, so that its silence says nothing.
            self.heard = now;
        }
        self.heard = self.heard.max(self.codec.read_at());
        while self.timer.as_mut().poll(cx).is_ready() {
            if !self.codec.is_closing() {
                if self
                    .codec
                    .stalled
                    .is_some_and(|since| now >= since + patience)
                {
                    self.codec.close(Close::Slow);
                } else if now >= self.heard + patience {
                    self.codec.close(Close::Silent);
                } else if now >= self.heard + patience / 2 && !self.pinged {
                    self.pinged = true;
                    self.codec.ping();
                }
            }
            let quiet = self.heard + if self.pinged { patience } else { patience / 2 };
            let next = self.codec.ends_at().unwrap_or_else(|| {
                self.codec
                    .stalled
                    .map_or(quiet, |since| quiet.min(since + patience))
            });
            // A stall that begins later is found at most a quarter of its time late.
            let next = next.clamp(
                now + Duration::from_millis(1),
                now + (patience / 4).max(Duration::from_millis(2)),
            );
            self.timer.as_mut().reset(next.into());
        }
        if let Some(until) = self
            .codec
            .ends_at()
            .filter(|until| tokio::time::Instant::from_std(*until) < self.timer.deadline())
        {
            self.timer.as_mut().reset(until.into());
            // Registers the new time; if that has come already, the caller finds it itself.
            let _ = self.timer.as_mut().poll(cx);
        }
    }

    /// Whether so much waits for answers that nothing is read, so that a silent client is not to
    /// blame.
    fn is_full(&self) -> bool {
        let initializing = |ask: &Ask| {
            matches!(
                ask.origin,
                Origin::Request {
                    initialize: true,
                    ..
                }
            )
        };
        self.asks.len() >= MAX_ASKS || self.asks.iter().any(initializing)
    }

    /// Whether refusals wait for the client. During a drain each request is refused at once, so
    /// that nothing else bounds them.
    fn must_flush(&self) -> bool {
        self.drain != Drain::No && !self.codec.has_room()
    }

    fn read(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        for at in 0..TURN {
            // What follows `initialize` belongs to the session that its answer names.
            if (self.is_full() || self.must_flush()) && !self.codec.is_closing() {
                return at > 0;
            }
            let Poll::Ready(frame) = self.codec.poll_read(cx) else {
                return at > 0;
            };
            (self.heard, self.pinged) = (now, false);
            match frame {
                Frame::Text(text) => self.message(text.into()),
                Frame::Binary(_) => self.codec.close(Close::Binary),
                Frame::Sign => {}
            }
        }
        true
    }

    fn message(&mut self, text: Bytes) {
        self.server.counts.received.inc();
        let (origin, cancels) = message::read(std::str::from_utf8(&text).unwrap_or_default());
        if let Some(id) = cancels {
            // The relay hears that nobody waits any more; legacy requests are its own to find, by
            // the notification.
            self.asks.retain(|ask| !ask.origin.is_modern(&id));
            if self.session.is_none() {
                return;
            }
        }
        if let (true, Some(id)) = (self.drain != Drain::No, origin.id()) {
            let refusal = Refusal::new(
                503,
                rpc::INTERNAL,
                Code::Overloaded,
                "this worker is being replaced; connect again",
            );
            return self.say(refusal.body(Some(id)));
        }
        self.asks
            .push(self.caller.message(origin, self.session.as_deref(), text));
    }

    fn say(&mut self, message: Bytes) {
        self.server.counts.sent.inc();
        self.codec.text(message);
    }

    /// Takes what has come from the relay, as long as there is room for it.
    fn collect(&mut self, cx: &mut Context<'_>) -> bool {
        let mut busy = false;
        let mut at = 0;
        while at < self.asks.len() && self.codec.has_room() {
            match self.asks[at].poll(cx) {
                Poll::Pending => at += 1,
                Poll::Ready(Outcome::Message(message)) => {
                    busy = true;
                    self.say(message);
                }
                Poll::Ready(Outcome::Session(session, body)) => {
                    busy = true;
                    self.asks.swap_remove(at);
                    self.stream = Some(self.caller.attach(&session));
                    self.streamed = Instant::now();
                    self.session = Some(session);
                    self.say(body);
                }
                Poll::Ready(Outcome::End(last, known)) => {
                    busy = true;
                    self.asks.swap_remove(at);
                    last.into_iter().for_each(|message| self.say(message));
                    if known == Known::No {
                        self.codec.close(Close::SessionLost);
                    }
                }
            }
        }
        busy | self.collect_stream(cx)
    }

    fn collect_stream(&mut self, cx: &mut Context<'_>) -> bool {
        let mut busy = false;
        while self.codec.has_room()
            && let Some(Poll::Ready(outcome)) = self.stream.as_mut().map(|stream| stream.poll(cx))
        {
            busy = true;
            match outcome {
                Outcome::Message(message) => self.say(message),
                // The gateway worker is being replaced: its successor knows the session.
                Outcome::End(_, Known::Perhaps)
                    if self.drain == Drain::No && self.flaps < FLAPS =>
                {
                    self.flaps = if self.streamed.elapsed() < FLAP {
                        self.flaps + 1
                    } else {
                        0
                    };
                    self.streamed = Instant::now();
                    self.stream = self
                        .session
                        .as_deref()
                        .map(|session| self.caller.attach(session));
                }
                Outcome::End(..) | Outcome::Session(..) => {
                    self.stream = None;
                    self.codec.close(if self.drain == Drain::No {
                        Close::SessionLost
                    } else {
                        Close::Going
                    });
                }
            }
        }
        busy
    }

    fn give_up(&mut self) {
        self.asks.clear();
        self.stream = None;
    }
}
