//! The socket pairs between workers: a link between each edge worker and the gateway worker, and
//! the hand-over of connections from http to websocket workers. The supervisor makes them and keeps
//! no end.

use super::{LinkNumber, Stage, Workers};
use crate::{
    ipc::messages::{Role, ToWorker},
    platform,
    supervisor::event::ProcId,
};
use std::{sync::Arc, time::Duration};

impl Workers {
    /// Connects a worker that has just been started with those that it has to reach. They need not
    /// be ready: what is sent meanwhile waits in the socket.
    pub(crate) fn link(&mut self, id: ProcId, now: Duration) {
        match self.proc(id).map(|proc| proc.role) {
            Some(role) if role.is_edge() => {
                if let Some(gateway) = self.gateway() {
                    self.link_pair(id, gateway, now);
                }
            }
            Some(Role::Gateway) => {
                for edge in self.ids(|proc| proc.role.is_edge() && proc.is_current()) {
                    self.link_pair(edge, id, now);
                }
            }
            _ => {}
        }
    }

    /// Connects a worker that is ready now with those at the other end of the hand-over of
    /// connections: http workers pass WebSockets on.
    pub(crate) fn link_handovers(&mut self, id: ProcId, now: Duration) {
        let other = match self.proc(id).map(|proc| proc.role) {
            Some(Role::Http) => Role::Websocket,
            Some(Role::Websocket) => Role::Http,
            _ => return,
        };
        for peer in self.ids(|proc| proc.role == other && proc.stage == Stage::Ready) {
            let names = (self.name(id), self.name(peer));
            match platform::socket_pair() {
                Ok((one, other)) => {
                    let (to_id, to_peer) = (
                        ToWorker::Handover { peer: names.1 },
                        ToWorker::Handover { peer: names.0 },
                    );
                    self.tell(id, to_id, vec![Arc::new(one)]);
                    self.tell(peer, to_peer, vec![Arc::new(other)]);
                }
                Err(error) => {
                    tracing::error!(target: "transport", worker = %names.0, peer = %names.1, error = %error, "workers cannot be linked");
                    self.abort(id, "worker has no link to its peers", now);
                }
            }
        }
    }

    fn link_pair(&mut self, edge: ProcId, gateway: ProcId, now: Duration) {
        match platform::socket_pair() {
            Ok((one, other)) => {
                self.last_link = LinkNumber(self.last_link.0.wrapping_add(1));
                let link = |peer| ToWorker::Link {
                    edge: self.last_link.0,
                    peer,
                };
                let (to_gateway, to_edge) = (link(self.name(edge)), link(self.name(gateway)));
                self.tell(gateway, to_gateway, vec![Arc::new(one)]);
                self.tell(edge, to_edge, vec![Arc::new(other)]);
            }
            Err(error) => {
                tracing::error!(target: "transport", worker = %self.name(edge), error = %error, "edge cannot be linked with the gateway");
                // Its successor tries again.
                self.abort(edge, "worker has no link to the gateway", now);
            }
        }
    }

    fn name(&self, id: ProcId) -> String {
        self.proc(id)
            .map(|proc| proc.name.clone())
            .unwrap_or_default()
    }
}
