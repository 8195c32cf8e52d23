//! What is heard of upstreams: our own `subscriptions/listen` at each modern one, and subscriptions
//! to resources at legacy ones.

use crate::api::{Micros, Output, UpId};
use crate::client::listen::FLAGS;
use crate::in_flight::record::Purpose;
use crate::protocol::inbound::key;
use crate::protocol::json::Envelope;
use crate::protocol::{json, notification};
use crate::upstream::{ConnState, Connecting, UpEra};
use std::collections::BTreeSet;
use std::sync::Arc;

/// How long after the end of our stream at an upstream another one is opened.
const AGAIN: Micros = 1_000_000;

impl Connecting<'_> {
    /// Tells a server of a first subscriber, or of the last one's end.
    pub(crate) fn subscribe_upstream(&mut self, up: UpId, uri: &str, on: bool) {
        if self.ups.get(up).conns[0].phase != ConnState::Ready {
            return;
        }
        match self.ups.get(up).era {
            Some(UpEra::Legacy(_)) => {
                let method = if on {
                    "resources/subscribe"
                } else {
                    "resources/unsubscribe"
                };
                self.outbound_request(
                    up,
                    0,
                    Purpose::Untracked,
                    method,
                    &format!("\"uri\":{}", json::quote(uri)),
                    30_000_000,
                );
            }
            Some(UpEra::Modern) => self.listen_upstream(up),
            None => {}
        }
    }

    /// After a (re)start of a server: everything that clients are subscribed to.
    pub(crate) fn subscribe_again(&mut self, up: UpId) {
        match self.ups.get(up).era {
            Some(UpEra::Modern) => self.listen_upstream(up),
            _ => {
                for uri in self
                    .ups
                    .get(up)
                    .subscriptions
                    .keys()
                    .cloned()
                    .collect::<Vec<_>>()
                {
                    self.subscribe_upstream(up, &uri, true);
                }
            }
        }
    }

    /// Opens our stream at a modern upstream, with everything that is wanted of it now. The old one
    /// ends when the new one is acknowledged.
    pub(crate) fn listen_upstream(&mut self, up: UpId) {
        let upstream = self.ups.get(up);
        // What happens at a legacy server, it says by itself.
        if upstream.conns[0].phase != ConnState::Ready || upstream.era != Some(UpEra::Modern) {
            return;
        }
        let mut parts: Vec<_> = FLAGS
            .iter()
            .filter(|(_, kind)| upstream.info.flag(kind.capability(), "listChanged"))
            .map(|(flag, _)| format!("\"{flag}\":true"))
            .collect();
        if !upstream.subscriptions.is_empty() {
            let list = upstream
                .subscriptions
                .keys()
                .map(|uri| json::quote(uri))
                .collect::<Vec<_>>()
                .join(",");
            parts.push(format!("\"resourceSubscriptions\":[{list}]"));
        }
        let tasks: BTreeSet<_> = self
            .clients
            .listens()
            .flat_map(|(_, listen)| listen.tasks.keys())
            .filter(|name| name.up == up)
            .collect();
        let ids: BTreeSet<_> = tasks.into_iter().map(|name| &name.id).collect();
        if !ids.is_empty() {
            let list = ids
                .into_iter()
                .map(|id| json::quote(id))
                .collect::<Vec<_>>()
                .join(",");
            parts.push(format!("\"taskIds\":[{list}]"));
        }
        if let Some(number) = upstream.listen.1 {
            self.end_listen(up, number);
        }
        if parts.is_empty() {
            if let Some(number) = self.ups.get_mut(up).listen.0.take() {
                self.end_listen(up, number);
            }
            return;
        }
        let members = format!("\"notifications\":{{{}}}", parts.join(","));
        let number = self.outbound_request(
            up,
            0,
            Purpose::Listen,
            "subscriptions/listen",
            &members,
            crate::upstream::connection::outbound::NEVER,
        );
        let upstream = self.ups.get_mut(up);
        upstream.listen_at = None;
        upstream.listen.1 = Some(number);
    }

    pub(crate) fn listen_acknowledged(&mut self, up: UpId, envelope: &Envelope<'_>) {
        let meta = envelope
            .params
            .and_then(|params| json::pick(params, ["_meta"]))
            .and_then(|[meta]| meta);
        let number = meta
            .and_then(|meta| json::pick(meta, [key::SUBSCRIPTION]))
            .and_then(|[id]| id?.trim_matches('"').parse::<u64>().ok());
        let upstream = self.ups.get_mut(up);
        if number.is_some() && upstream.listen.1 == number {
            upstream.listen.1 = None;
            if let Some(old) = std::mem::replace(&mut upstream.listen.0, number) {
                self.end_listen(up, old);
            }
        }
    }

    fn end_listen(&mut self, up: UpId, number: u64) {
        if self.calls.remove(&number).is_none() {
            return;
        }
        if self.ups.get(up).is_http() {
            self.cx.emit(Output::Abort(up, number));
        } else {
            self.write_line(up, 0, notification::cancelled(number));
        }
    }

    /// Our stream at an upstream is over.
    pub(crate) fn listen_ended(&mut self, up: UpId, number: u64) {
        let now = self.cx.now;
        let upstream = self.ups.get_mut(up);
        if upstream.listen.0 == Some(number) {
            upstream.listen.0 = None;
        }
        if upstream.listen.1 == Some(number) {
            upstream.listen.1 = None;
        }
        if upstream.listen == (None, None) && upstream.conns[0].phase == ConnState::Ready {
            upstream.listen_at = Some(now + AGAIN);
        }
    }

    /// One subscriber less; the server is told of the last one's end.
    pub(crate) fn release_and_tell(&mut self, up: UpId, uri: &Arc<str>) {
        if self.ups.remove_subscriber(up, uri) {
            self.subscribe_upstream(up, uri, false);
        }
    }
}
