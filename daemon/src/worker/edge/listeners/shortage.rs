//! When places or descriptors run out: who gives way, and what newcomers are told.

use super::{
    accept::{Handler, Server, refusal_head},
    state::Activity,
};
use ggen_wire::Code;
use std::{sync::atomic::Ordering, time::Duration};
use tokio::net::TcpStream;

/// Lines about the same shortage, at most one in this time.
const LINES: Duration = Duration::from_secs(10);
/// A connection gives way to a newcomer only if it has been idle for so long, in milliseconds.
const SPARE: u64 = 500;

impl<H: Handler> Server<H> {
    /// At the limit, the connection that has been idle for the longest time makes room.
    pub(super) fn give_way(&self) {
        let now = self.now_ms();
        let connections = self.lock();
        let idle = connections
            .iter()
            .filter_map(|(connection, _)| match connection.activity() {
                Activity::Idle(since) if now.saturating_sub(since) >= SPARE => {
                    (!connection.is_finishing()).then_some((since, connection))
                }
                _ => None,
            });
        if let Some((_, connection)) = idle.min_by_key(|(since, _)| *since) {
            connection.finish();
            drop(connections);
            self.say("at transports.http.max_connections: idle connections give way");
        }
    }

    /// No descriptors: says so at once, if the client's socket takes it.
    pub(super) fn turn_away(&self, socket: &TcpStream) {
        let body = self.handler.overloaded();
        let answer = [refusal_head(body.len()).as_bytes(), &body].concat();
        socket.try_write(&answer).unwrap_or_default();
    }

    /// A line about a shortage.
    pub(super) fn say(&self, what: &'static str) {
        let now = self.now_ms();
        let said = self.said.load(Ordering::Relaxed);
        if said == 0 || Duration::from_millis(now.saturating_sub(said)) >= LINES {
            self.said.store(now, Ordering::Relaxed);
            let connections = self.connections();
            tracing::warn!(target: "transport", code = %Code::Overloaded, connections, "{what}");
        }
    }
}
