//! The beginning of an answer from the gateway worker, and what becomes of an event stream whose
//! client is not let in any more.

use super::{
    answer::{self, Refusal},
    body::{Body, refusal},
    service::{Health, Http},
};
use crate::{
    ipc::secrets::Sensitive,
    worker::edge::{Exchange, Guest, Input},
};
use bytes::Bytes;
use ggen_mcp::edge::Reply;
use ggen_wire::Code;
use http::{Response, StatusCode};
use std::{sync::Arc, time::SystemTime};

impl Http {
    /// Ends the event streams of those who would not be let in any more.
    pub(crate) fn end_revoked(&self) {
        let now = SystemTime::now();
        self.gateway.end_denied(|guest| {
            let still = self.auth.still(guest.shown.as_ref().map(Sensitive::reveal), &guest.principal, now);
            if let Err(rejected) = &still {
                let principal = &*guest.principal.id;
                tracing::warn!(target: "auth", code = %rejected.code(), principal, "event stream is closed: {rejected}");
            }
            still.is_ok()
        });
    }

    /// Waits for the first reply of the gateway worker: it is the whole answer, or begins a stream.
    pub(super) async fn begin_answer(
        &self,
        mut exchange: Exchange,
        origin: Bytes,
        health: Option<Health>,
        guest: impl FnOnce() -> Guest,
    ) -> Response<Body> {
        loop {
            return match exchange.next().await {
                Ok(Input::Reply(Reply::Full {
                    status,
                    session,
                    retry_after,
                    body,
                })) => {
                    if health == Some(Health::Brief) {
                        answer::full(status, None, retry_after, answer::brief(&body))
                    } else if let Some(body) = self.unsent.hold(body, self.rules().room) {
                        answer::full(status, session.as_deref(), retry_after, body)
                    } else {
                        let why = "too many answers wait for clients that do not take them";
                        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, Code::Overloaded, why)
                            .response(&origin)
                    }
                }
                Ok(Input::Reply(Reply::Start { session })) => {
                    exchange.watch(guest());
                    let counted = (Arc::clone(&self.unsent), self.rules().room);
                    answer::event_stream(
                        Body::events(exchange, origin, counted),
                        session.as_deref(),
                    )
                }
                // The table lets nothing else be first.
                Ok(_) => continue,
                Err(_) if health.is_some() => answer::unhealthy(),
                Err(broken) => refusal(broken).response(&origin),
            };
        }
    }
}
