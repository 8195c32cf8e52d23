//! A message of the client that waits for its answer, and its exchange with the gateway worker.

use super::message::Origin;
use crate::worker::edge::{Exchange, ExchangeOptions, Gateway, Input, Refused};
use bytes::Bytes;
use ggen_mcp::edge::{Principal, Reply, Request, Verb};
use ggen_mcp::protocol::refusal::{Refusal, rpc};
use ggen_wire::Code;
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

/// What every message of a connection has in common.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) gateway: Gateway,
    pub(super) view: Box<str>,
    pub(super) principal: Principal,
}

impl Caller {
    /// Passes a message on, in that session.
    pub(super) fn message(&self, origin: Origin, session: Option<&str>, body: Bytes) -> Ask {
        let session = session.filter(|_| origin.is_of_session());
        Ask {
            held: session.is_some(),
            ..self.ask(Verb::Message, origin, session, body)
        }
    }

    /// Opens the stream of what a session's server says by itself.
    pub(super) fn attach(&self, session: &str) -> Ask {
        self.ask(Verb::Attach, Origin::Quiet, Some(session), Bytes::new())
    }

    fn ask(&self, verb: Verb, origin: Origin, session: Option<&str>, body: Bytes) -> Ask {
        let request = Request {
            verb,
            accept_json: verb == Verb::Message,
            accept_sse: true,
            view: self.view.clone(),
            principal: self.principal.clone(),
            headers: session
                .map(|session| ("mcp-session-id".into(), session.as_bytes().into()))
                .into_iter()
                .collect(),
            body,
        };
        // How long an answer may take is the relay's affair: it knows the server. A stream of the
        // session never ends by itself.
        let options = ExchangeOptions {
            answer_within: None,
            endless: verb == Verb::Attach,
            patient: true,
        };
        let gateway = self.gateway.clone();
        Ask {
            origin,
            held: false,
            stage: Stage::Opening(Box::pin(
                async move { gateway.open(request, options).await },
            )),
        }
    }
}

type Opening = Pin<Box<dyn Future<Output = Result<Exchange, Refused>> + Send>>;

enum Stage {
    Opening(Opening),
    Open(Exchange),
}

/// A message that was passed on. Dropping it tells the gateway worker that nobody waits any more.
pub(super) struct Ask {
    pub(super) origin: Origin,
    /// It names the connection's session: if that is not known, it is lost.
    held: bool,
    stage: Stage,
}

/// What comes of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A message for the client.
    Message(Bytes),
    /// The answer to `initialize`, and the session that it began.
    Session(Box<str>, Bytes),
    /// The last message, if there is one, and whether the relay knows the session.
    End(Option<Bytes>, Known),
}

/// Whether the relay knows the session that was named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// It does, or none was named.
    Yes,
    /// It has been replaced, or has forgotten it.
    No,
    /// It cannot be asked.
    Perhaps,
}

impl Ask {
    /// The next thing that comes of it; nothing after `Session` and `End`.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        loop {
            let exchange = match &mut self.stage {
                Stage::Opening(opening) => match ready!(opening.as_mut().poll(cx)) {
                    Ok(exchange) => {
                        self.stage = Stage::Open(exchange);
                        continue;
                    }
                    Err(Refused::Away) => {
                        return Poll::Ready(self.failed(Code::GatewayUnavailable));
                    }
                    Err(Refused::Full) => return Poll::Ready(self.failed(Code::Overloaded)),
                },
                Stage::Open(exchange) => exchange,
            };
            match ready!(exchange.poll_next(cx)) {
                Ok(Input::Reply(Reply::Full {
                    status,
                    session: None,
                    body,
                    ..
                })) => {
                    let known = if status == 404 && (self.held || self.origin == Origin::Quiet) {
                        Known::No
                    } else {
                        Known::Yes
                    };
                    return Poll::Ready(Outcome::End(
                        Some(body).filter(|body| !body.is_empty() && self.origin.is_answered()),
                        known,
                    ));
                }
                Ok(Input::Reply(Reply::Full {
                    session: Some(session),
                    body,
                    ..
                })) => return Poll::Ready(Outcome::Session(session, body)),
                Ok(Input::Reply(Reply::Event { data, .. })) if !data.is_empty() => {
                    return Poll::Ready(Outcome::Message(data));
                }
                Ok(Input::Reply(Reply::End)) => {
                    return Poll::Ready(Outcome::End(None, Known::Perhaps));
                }
                Ok(_) => {}
                Err(_) => return Poll::Ready(self.failed(Code::GatewayLost)),
            }
        }
    }

    fn failed(&self, code: Code) -> Outcome {
        Outcome::End(
            self.origin
                .id()
                .map(|id| Refusal::new(503, rpc::INTERNAL, code, "").body(Some(id))),
            Known::Perhaps,
        )
    }
}
