//! The stream sockets between each edge worker and the gateway worker. The supervisor makes them
//! and keeps no end.

use crate::{
    ipc::messages::{Role, ToWorker},
    platform,
    supervisor::{Supervisor, event::ProcId},
};
use std::sync::Arc;

impl Supervisor {
    /// Connects a worker that has just been started with those that it has to reach. They need not
    /// be Ready: what is sent meanwhile waits in the socket.
    pub(crate) fn link_worker(&mut self, id: ProcId) {
        let Some(role) = self.workers.procs.get(&id).map(|proc| proc.role) else {
            return;
        };
        match role {
            role if role.is_edge() => {
                if let Some(gateway) = self.workers.gateway() {
                    self.link(id, gateway);
                }
            }
            Role::Gateway => {
                self.forget_wants();
                let is_edge = |proc: &crate::supervisor::workers::Proc| {
                    proc.role.is_edge() && proc.is_current()
                };
                let edges: Vec<ProcId> = self
                    .workers
                    .procs
                    .iter()
                    .filter(|(_, proc)| is_edge(proc))
                    .map(|(id, _)| *id)
                    .collect();
                for edge in edges {
                    self.link(edge, id);
                }
            }
            _ => {}
        }
    }

    /// Connects a worker that is Ready now with those at the other end of the hand-over of
    /// connections: http workers pass WebSockets on.
    pub(crate) fn link_handovers(&mut self, id: ProcId) {
        let Some(role) = self.workers.procs.get(&id).map(|proc| proc.role) else {
            return;
        };
        let other = match role {
            Role::Http => Role::Websocket,
            Role::Websocket => Role::Http,
            _ => return,
        };
        let is_it = |proc: &crate::supervisor::workers::Proc| {
            proc.role == other && proc.stage == crate::supervisor::workers::Stage::Ready
        };
        let others: Vec<ProcId> = self
            .workers
            .procs
            .iter()
            .filter(|(_, proc)| is_it(proc))
            .map(|(id, _)| *id)
            .collect();
        for peer in others {
            let name = |id: ProcId| {
                self.workers
                    .procs
                    .get(&id)
                    .map(|proc| proc.name.clone())
                    .unwrap_or_default()
            };
            let names = (name(id), name(peer));
            match platform::socket_pair() {
                Ok((one, other)) => {
                    self.tell(
                        id,
                        ToWorker::Handover { peer: names.1 },
                        vec![Arc::new(one)],
                    );
                    self.tell(
                        peer,
                        ToWorker::Handover { peer: names.0 },
                        vec![Arc::new(other)],
                    );
                }
                Err(error) => {
                    tracing::error!(target: "transport", worker = %names.0, peer = %names.1, error = %error, "workers cannot be linked");
                    self.abort_worker(id, "worker has no link to its peers");
                }
            }
        }
    }

    fn link(&mut self, edge: ProcId, gateway: ProcId) {
        let name = |id: ProcId| {
            self.workers
                .procs
                .get(&id)
                .map(|proc| proc.name.clone())
                .unwrap_or_default()
        };
        let (edge_name, gateway_name) = (name(edge), name(gateway));
        match platform::socket_pair() {
            Ok((one, other)) => {
                self.last_link = self.last_link.wrapping_add(1);
                let number = self.last_link;
                self.tell(
                    gateway,
                    ToWorker::Link {
                        edge: number,
                        peer: edge_name,
                    },
                    vec![Arc::new(one)],
                );
                self.tell(
                    edge,
                    ToWorker::Link {
                        edge: number,
                        peer: gateway_name,
                    },
                    vec![Arc::new(other)],
                );
            }
            Err(error) => {
                tracing::error!(target: "transport", worker = %edge_name, error = %error, "edge cannot be linked with the gateway");
                // Its successor tries again.
                self.abort_worker(edge, "worker has no link to the gateway");
            }
        }
    }
}
