//! The stream sockets between each edge worker and the gateway worker. The supervisor makes them and keeps no end.

use super::{Supervisor, event::ProcId};
use crate::{
    ipc::messages::{Role, ToWorker},
    platform,
};
use std::sync::Arc;

impl Supervisor {
    /// Connects a worker that has just been started with those that it has to reach. They need not be Ready: what is sent meanwhile waits in the
    /// socket.
    pub(crate) fn link_worker(&mut self, id: ProcId) {
        let Some(role) = self.workers.procs.get(&id).map(|proc| proc.role) else { return };
        match role {
            role if role.is_edge() => {
                if let Some(gateway) = self.workers.gateway() {
                    self.link(id, gateway);
                }
            }
            Role::Gateway => {
                self.forget_wants();
                let is_edge = |proc: &super::workers::Proc| proc.role.is_edge() && proc.is_current();
                let edges: Vec<ProcId> = self.workers.procs.iter().filter(|(_, proc)| is_edge(proc)).map(|(id, _)| *id).collect();
                for edge in edges {
                    self.link(edge, id);
                }
            }
            _ => {}
        }
    }

    fn link(&mut self, edge: ProcId, gateway: ProcId) {
        let name = |id: ProcId| self.workers.procs.get(&id).map(|proc| proc.name.clone()).unwrap_or_default();
        let (edge_name, gateway_name) = (name(edge), name(gateway));
        match platform::socket_pair() {
            Ok((one, other)) => {
                self.last_link = self.last_link.wrapping_add(1);
                let number = self.last_link;
                self.tell(gateway, ToWorker::Link { edge: number, peer: edge_name }, vec![Arc::new(one)]);
                self.tell(edge, ToWorker::Link { edge: number, peer: gateway_name }, vec![Arc::new(other)]);
            }
            Err(error) => {
                tracing::error!(target: "transport", worker = %edge_name, error = %error, "edge cannot be linked with the gateway");
                // Its successor tries again.
                self.abort_worker(edge, "worker has no link to the gateway");
            }
        }
    }
}
