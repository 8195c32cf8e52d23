//! `transports.websocket.port`: opening handshakes on the websocket workers' own listener.
//! Everything else is refused there.

use super::Server;
use crate::{
    config::{self, Config, QueryToken},
    ipc::messages::Bound,
    worker::{
        edge::{auth::guard::Guard, listeners::accept::Handler, websocket::handover::Handover},
        http::{answer, body::Body, websocket_handshake},
    },
};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use std::sync::{Arc, PoisonError, RwLock};

/// What the configuration says of handshakes.
#[derive(Debug)]
struct Rules {
    guard: Guard,
    path: String,
    tokens: QueryToken,
}

impl Rules {
    fn new(config: &Config, listeners: &[Bound]) -> Self {
        let http: &config::Http = &config.transports.http;
        let loopback = listeners
            .iter()
            .all(|bound| bound.address.ip().is_loopback());
        Self {
            guard: Guard::new(&http.allowed_hosts, &http.allowed_origins, loopback),
            path: config.transports.websocket.path.clone(),
            tokens: config.transports.websocket.query_token,
        }
    }
}

/// Answers handshakes.
pub(super) struct Own {
    server: Arc<Server>,
    rules: RwLock<Arc<Rules>>,
}

impl Own {
    pub(super) fn new(server: &Arc<Server>, config: &Config, listeners: &[Bound]) -> Self {
        Self {
            server: Arc::clone(server),
            rules: RwLock::new(Arc::new(Rules::new(config, listeners))),
        }
    }

    pub(super) fn set_rules(&self, config: &Config, listeners: &[Bound]) {
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) =
            Arc::new(Rules::new(config, listeners));
    }
}

impl Handler for Own {
    type Body = Body;

    async fn handle(&self, request: Request<Incoming>) -> Response<Body> {
        let (head, _) = request.into_parts();
        let rules = Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner));
        if let Err(denied) = rules.guard.admit(&head) {
            return answer::Refusal::from(denied).response(b"");
        }
        let path = head.uri.path().to_owned();
        let Some(view) = websocket_handshake::view(&rules.path, &path) else {
            return answer::Refusal::new(StatusCode::NOT_FOUND, ggen_wire::Code::PathUnknown, "")
                .response(b"");
        };
        let (opened, response) =
            match websocket_handshake::open(head, view, rules.tokens, &self.server.auth).await {
                Ok(opened) => opened,
                Err(response) => return response,
            };
        let server = Arc::clone(&self.server);
        tokio::spawn(async move {
            match opened.upgrade.await {
                // Whatever is under it: bytes that were read already are given out first.
                Ok(upgraded) => server.serve(
                    TokioIo::new(upgraded),
                    Handover {
                        relayed: true,
                        ..opened.handover
                    },
                    None,
                ),
                Err(error) => {
                    tracing::debug!(target: "transport", %error, "WebSocket was not opened")
                }
            }
        });
        response
    }

    fn overloaded(&self) -> Bytes {
        answer::too_many_connections()
    }
}
