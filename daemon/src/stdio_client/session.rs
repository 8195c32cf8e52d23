//! The session of a legacy client. It begins with the client's `initialize` and ends with this
//! process. It begins anew when the daemon has forgotten it (after a restart), which the client,
//! which knows no sessions, does not notice.

use super::{
    Relay,
    exchange::{self, Fault, Http, Reading, is_event_stream},
    message::{Header, Message},
};
use bytes::Bytes;
use ggen_mcp::protocol::json;
use ggen_mcp::protocol::json::{Envelope, Kind};
use ggen_mcp::protocol::refusal::Refusal;
use http::{Method, Response};
use hyper::body::Incoming;
use std::{cell::RefCell, rc::Rc, time::Duration};
use tokio::{sync::Mutex, task::AbortHandle};

/// How long a notification or the end of a session may take.
const SHORT: Duration = Duration::from_secs(10);
/// Between two tries for the stream of what nobody asked for.
const AGAIN: Duration = Duration::from_secs(1);
/// What a client says after its handshake.
const INITIALIZED: &[u8] = br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

/// The session.
#[derive(Default)]
pub(super) struct Session {
    state: RefCell<State>,
    renewing: Mutex<()>,
}

#[derive(Default)]
struct State {
    handshake: Option<Message>,
    id: Option<String>,
    version: Option<String>,
    initialized: bool,
    stream: Option<AbortHandle>,
}

impl Session {
    /// The client's own handshake; its answer is written before anything else is taken.
    pub(super) async fn begin(&self, relay: &Rc<Relay>, message: Message) {
        let id = message.id.clone().unwrap_or_default();
        self.forget();
        self.state.borrow_mut().handshake = Some(message.clone());
        let answer = match self.shake(relay, &message).await {
            Ok(answer) => answer,
            Err(refusal) => refusal.body(Some(&id)),
        };
        relay.output.line(answer).await;
    }

    /// Sends a handshake, keeps what the daemon says of the session, and gives its answer.
    async fn shake(&self, relay: &Relay, message: &Message) -> Result<Bytes, Refusal> {
        let id = message.id.clone().unwrap_or_default();
        let response = relay
            .http
            .send(Method::POST, &[], &message.body, "initialize")
            .await?;
        let session = response
            .headers()
            .get("mcp-session-id")
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let body = whole(&relay.http, response).await?;
        let answer = super::message::with_id(&body, &id).ok_or_else(|| {
            super::address::refusal(ggen_wire::Code::Internal, "no answer to initialize")
        })?;
        let mut state = self.state.borrow_mut();
        (state.id, state.version) = (session, version(&answer));
        Ok(answer)
    }

    /// Sends a notification or an answer of the client.
    pub(super) async fn pass_on(&self, relay: &Rc<Relay>, message: Message) {
        let initialized = &*message.method == "notifications/initialized";
        if !message.is_modern() && self.state.borrow().id.is_none() {
            // Without a session there is nobody whom it could concern; it is sent when the session
            // is begun anew.
            self.state.borrow_mut().initialized |= initialized;
            return relay.http.say(format_args!(
                "{} has no session and is not sent",
                message.method
            ));
        }
        let headers = if message.is_modern() {
            relay.http.mirrored(&message)
        } else {
            self.headers()
        };
        let sent = relay
            .http
            .send(Method::POST, &headers, &message.body, &message.method);
        // There is no answer that a client could be told of.
        tokio::time::timeout(SHORT, sent).await.ok();
        if initialized {
            self.state.borrow_mut().initialized = true;
            self.listen(relay);
        }
    }

    /// Sends a request and writes its answer, over a new session if the daemon has lost the old
    /// one.
    ///
    /// # Errors
    /// What the client is to be told instead.
    pub(super) async fn request(
        &self,
        relay: &Rc<Relay>,
        message: &Message,
    ) -> Result<(), Refusal> {
        let id = message.id.clone().unwrap_or_default();
        let mut renewed = false;
        loop {
            let stale = self.state.borrow().id.clone();
            if !message.is_modern() && stale.is_none() && self.state.borrow().handshake.is_some() {
                self.renew(relay, None).await?;
            }
            let headers = if message.is_modern() {
                relay.http.mirrored(message)
            } else {
                self.headers()
            };
            match relay
                .http
                .request(message, &id, &headers, &relay.output)
                .await
            {
                Ok(()) => return Ok(()),
                Err(Fault::Refused(refusal)) => return Err(refusal),
                Err(Fault::SessionGone) if renewed => {
                    return Err(super::address::refusal(
                        ggen_wire::Code::SessionUnknown,
                        "the new one as well",
                    ));
                }
                Err(Fault::SessionGone) => {
                    self.renew(relay, stale).await?;
                    renewed = true;
                }
            }
        }
    }

    /// Begins the session anew with the client's own handshake, unless somebody else just has.
    async fn renew(&self, relay: &Rc<Relay>, stale: Option<String>) -> Result<(), Refusal> {
        let _one = self.renewing.lock().await;
        if self.state.borrow().id != stale {
            return Ok(());
        }
        let Some(handshake) = self.state.borrow().handshake.clone() else {
            return Ok(());
        };
        relay.http.say(format_args!("the session is begun anew"));
        self.state.borrow_mut().id = None;
        self.shake(relay, &handshake).await?;
        if self.state.borrow().initialized {
            relay
                .http
                .send(
                    Method::POST,
                    &self.headers(),
                    &Bytes::from_static(INITIALIZED),
                    "notifications/initialized",
                )
                .await?;
            self.listen(relay);
        }
        Ok(())
    }

    fn headers(&self) -> Vec<Header> {
        let state = self.state.borrow();
        let session = state
            .id
            .as_ref()
            .map(|id| ("mcp-session-id".to_owned(), id.clone()));
        let version = state
            .version
            .as_ref()
            .map(|version| ("mcp-protocol-version".to_owned(), version.clone()));
        session.into_iter().chain(version).collect()
    }

    /// Reads what the daemon sends without being asked, as long as the session lives.
    fn listen(&self, relay: &Rc<Relay>) {
        let task = tokio::task::spawn_local(stream(Rc::clone(relay), self.headers()));
        if let Some(old) = self.state.borrow_mut().stream.replace(task.abort_handle()) {
            old.abort();
        }
    }

    fn forget(&self) {
        let old = std::mem::take(&mut *self.state.borrow_mut());
        if let Some(stream) = old.stream {
            stream.abort();
        }
    }

    /// Ends the session at the daemon too.
    pub(super) async fn end(&self, http: &Http) {
        let headers = self.headers();
        let open = self.state.borrow().id.is_some();
        self.forget();
        if open {
            tokio::time::timeout(
                SHORT,
                http.send(Method::DELETE, &headers, &Bytes::new(), "the session's end"),
            )
            .await
            .ok();
        }
    }
}

async fn stream(relay: Rc<Relay>, headers: Vec<Header>) {
    let mut reading = Reading::default();
    loop {
        let mut with_last = headers.clone();
        with_last.extend(
            reading
                .last
                .clone()
                .map(|last| ("last-event-id".to_owned(), last)),
        );
        match relay
            .http
            .send(Method::GET, &with_last, &Bytes::new(), "stream")
            .await
        {
            Ok(response) if is_event_stream(&response) => {
                relay
                    .http
                    .events(response, "", false, &mut reading, &relay.output)
                    .await
            }
            // No such stream, or no such session: the next request begins a new one.
            Ok(response) if response.status().is_client_error() => return,
            Ok(_) | Err(_) => {}
        }
        tokio::time::sleep(reading.retry.unwrap_or(AGAIN)).await;
    }
}

/// The answer to a handshake, which may come as an event too.
async fn whole(http: &Http, response: Response<Incoming>) -> Result<Bytes, Refusal> {
    if !is_event_stream(&response) {
        return exchange::collect(response).await;
    }
    http.first_event(response).await
}

fn version(answer: &[u8]) -> Option<String> {
    let envelope = Envelope::parse(std::str::from_utf8(answer).ok()?).ok()?;
    let Kind::Result(_, result) = envelope.kind else {
        return None;
    };
    json::pick(result, ["protocolVersion"])?[0]
        .and_then(json::string)
        .map(std::borrow::Cow::into_owned)
}
