//! A request that becomes a WebSocket. It is checked and answered here; then the connection is
//! passed to a websocket worker: by its descriptor, or through a socket pair where the descriptor
//! is not the whole connection (TLS).

use super::{
    answer::Refusal,
    body::Body,
    route::server,
    service::{Http, Rules},
};
use crate::{
    config::QueryToken,
    platform,
    worker::edge::{
        self,
        auth::{self, Authenticator},
        peer::Peer,
        websocket::{
            handover::{Handover, WebsocketWorkers},
            handshake::{self, NotOpened},
        },
    },
};
use bytes::Bytes;
use ggen_wire::Code;
use http::{Response, StatusCode, header, request::Parts};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use std::{
    borrow::Cow,
    io,
    os::fd::OwnedFd,
    sync::{Arc, atomic::AtomicUsize, atomic::Ordering},
};
use tokio::net::UnixStream;

/// The view that a path names below the one of WebSockets; `None`: it is not below it, or no server
/// can have that name.
pub(crate) fn view<'a>(own: &str, path: &'a str) -> Option<Cow<'a, str>> {
    let rest = path.strip_prefix(own)?;
    match rest.strip_suffix('/').unwrap_or(rest) {
        "" => Some(Cow::Borrowed("")),
        rest => server(rest.strip_prefix('/')?),
    }
}

/// A handshake that is answered with 101; the connection comes by `upgrade` once that is written.
pub(crate) struct Opened {
    pub(crate) upgrade: OnUpgrade,
    pub(crate) handover: Handover,
}

/// Checks the head and who is asking, and makes the answer with status 101.
///
/// # Errors
/// The answer that refuses it.
pub(crate) async fn open(
    mut head: Parts,
    view: Cow<'_, str>,
    tokens: QueryToken,
    auth: &Authenticator,
) -> Result<(Opened, Response<Body>), Response<Body>> {
    let opening = handshake::check(&head, tokens).map_err(refuse)?;
    let refused = || refuse(NotOpened(426, Code::UpgradeNeeded, ""));
    let upgrade = head.extensions.remove::<OnUpgrade>().ok_or_else(refused)?;
    let peer = head.extensions.get::<Peer>().cloned().ok_or_else(refused)?;
    if let Some(authorization) = &opening.authorization
        && !head.headers.contains_key(header::AUTHORIZATION)
    {
        head.headers
            .insert(header::AUTHORIZATION, authorization.clone());
    }
    let principal = auth
        .admit(&head, &peer)
        .await
        .map_err(|denied| Refusal::from(denied).response(b""))?;
    let handover = Handover {
        view: view.into_owned(),
        principal: principal.id.to_string(),
        labels: principal
            .labels
            .iter()
            .map(|label| label.to_string())
            .collect(),
        credential: auth::shown(&head).map(|text| text.to_owned().into()),
        certificates: peer
            .certificate
            .as_ref()
            .map(|shown| shown.chain.clone())
            .unwrap_or_default(),
        peer: peer.address,
        relayed: false,
        buffered: Vec::new(),
    };
    let mut response = Response::new(Body::full(Bytes::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    opening.answer(response.headers_mut());
    Ok((Opened { upgrade, handover }, response))
}

fn refuse(why: NotOpened) -> Response<Body> {
    let status = StatusCode::from_u16(why.0).unwrap_or(StatusCode::BAD_REQUEST);
    let mut response = Refusal::new(status, why.1, why.2).response(b"");
    why.explain(response.headers_mut());
    response
}

impl Http {
    /// Answers a request for a WebSocket, and passes its connection on.
    pub(super) async fn upgrade(
        &self,
        head: &Parts,
        view: Cow<'_, str>,
        rules: &Rules,
    ) -> Response<Body> {
        let (opened, response) = match open(head.clone(), view, rules.tokens, &self.auth).await {
            Ok(opened) => opened,
            Err(response) => return response,
        };
        if !self.websocket_workers.ready().await {
            return Refusal::new(StatusCode::SERVICE_UNAVAILABLE, Code::WebsocketAway, "")
                .response(b"");
        }
        let (websocket_workers, relays) =
            (self.websocket_workers.clone(), Arc::clone(&self.relays));
        tokio::spawn(async move {
            let Opened { upgrade, handover } = opened;
            let passed = match upgrade.await {
                Ok(upgraded) => pass(&websocket_workers, handover, upgraded, relays).await,
                Err(error) => Err(io::Error::other(error)),
            };
            if let Err(error) = passed {
                tracing::debug!(target: "transport", %error, "WebSocket was not passed on");
            }
        });
        response
    }
}

/// Passes a connection on; where bytes have to be relayed, returns when either side has closed.
async fn pass(
    websocket_workers: &WebsocketWorkers,
    mut handover: Handover,
    upgraded: Upgraded,
    relays: Arc<AtomicUsize>,
) -> io::Result<()> {
    let gone = || {
        io::Error::new(
            io::ErrorKind::NotConnected,
            "no websocket worker takes it any more",
        )
    };
    match edge::listeners::connection::socket_of::<Http>(upgraded) {
        Ok((socket, buffered)) => {
            handover.buffered = buffered.to_vec();
            let socket = OwnedFd::from(socket.into_std()?);
            websocket_workers
                .pass(Box::new(handover), socket)
                .await
                .then_some(())
                .ok_or_else(gone)
        }
        Err(upgraded) => {
            let (ours, theirs) = platform::socket_pair()?;
            handover.relayed = true;
            websocket_workers
                .pass(Box::new(handover), theirs)
                .await
                .then_some(())
                .ok_or_else(gone)?;
            let ours = std::os::unix::net::UnixStream::from(ours);
            ours.set_nonblocking(true)?;
            let _relay = Relay::new(relays);
            tokio::io::copy_bidirectional(
                &mut TokioIo::new(upgraded),
                &mut UnixStream::from_std(ours)?,
            )
            .await?;
            Ok(())
        }
    }
}

/// Counts a relayed connection: a drain waits for it.
struct Relay(Arc<AtomicUsize>);

impl Relay {
    fn new(relays: Arc<AtomicUsize>) -> Self {
        relays.fetch_add(1, Ordering::Relaxed);
        Self(relays)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::view;

    #[test]
    fn a_path_names_a_view() {
        for (path, named) in [
            ("/ws", Some("")),
            ("/ws/", Some("")),
            ("/ws/files", Some("files")),
            ("/ws/my%20files/", Some("my files")),
            ("/wsx", None),
            ("/ws/a/b", None),
            ("/ws/%2Fhealth", None),
            ("/mcp", None),
        ] {
            assert_eq!(view("/ws", path).as_deref(), named, "{path}");
        }
    }
}
