//! Which workers a configuration asks for. A new role is added here, in `ipc/role.rs` and in
//! `worker/mod.rs`.

use crate::{
    config::Config,
    ipc::messages::Role,
    supervisor::{
        Supervisor,
        event::ProcId,
        listeners::{Listeners, quic_worker_count},
        workers::Slot,
    },
};

impl Supervisor {
    /// Makes the slots fit the configuration; new ones and those that had failed are due at once.
    /// Returns the processes of removed ones.
    pub(crate) fn lay_out_slots(&mut self) -> Vec<ProcId> {
        let now = self.now();
        let wanted = wanted_slots(&self.loaded.config, &self.listeners, self.tls.is_any());
        let mut old = std::mem::take(&mut self.workers.slots);
        for (name, role) in wanted {
            let at = old.iter().position(|slot| slot.name == name);
            self.workers
                .slots
                .push(at.map_or_else(|| Slot::new(name, role), |at| old.swap_remove(at)));
        }
        for slot in &mut self.workers.slots {
            slot.prospective = false;
            if std::mem::take(&mut slot.failed) {
                slot.start_at = Some(now);
            }
        }
        old.into_iter()
            .flat_map(|slot| [slot.current, slot.successor])
            .flatten()
            .collect()
    }
}

/// The names and roles of the workers that a configuration asks for, gateway first.
/// QUIC takes its port, and a certificate.
pub(crate) fn wanted_slots(
    config: &Config,
    listeners: &Listeners,
    certificate: bool,
) -> Vec<(String, Role)> {
    let mut wanted = vec![("gateway-0".to_owned(), Role::Gateway)];
    if config.transports.http.enabled {
        wanted.extend(
            (0..config.server.workers.max(1)).map(|index| (format!("http-{index}"), Role::Http)),
        );
    }
    if config.transports.websocket.enabled {
        wanted.extend(
            (0..config.server.workers.max(1))
                .map(|index| (format!("websocket-{index}"), Role::Websocket)),
        );
    }
    if listeners.quic_port().is_some() && certificate {
        wanted.extend(
            (0..quic_worker_count(config)).map(|index| (format!("quic-{index}"), Role::Quic)),
        );
    }
    if config.metrics.enabled {
        wanted.push(("admin-0".to_owned(), Role::Admin));
    }
    wanted
}
