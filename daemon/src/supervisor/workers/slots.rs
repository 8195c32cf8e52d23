//! Which workers a configuration asks for. A new role is added here, in `ipc/role.rs` and in
//! `worker/mod.rs`.

use super::{Slot, Workers};
use crate::{
    config::Config,
    ipc::messages::Role,
    supervisor::{
        event::ProcId,
        listeners::{Listeners, quic_worker_count},
    },
};
use std::time::Duration;

impl Workers {
    /// Makes the slots those that are wanted; new ones and those that had failed are due at once.
    /// Returns the processes of removed ones.
    pub(crate) fn lay_out(&mut self, wanted: Vec<(String, Role)>, now: Duration) -> Vec<ProcId> {
        let mut old = std::mem::take(&mut self.slots);
        for (name, role) in wanted {
            let at = old.iter().position(|slot| slot.name == name);
            self.slots
                .push(at.map_or_else(|| Slot::new(name, role), |at| old.swap_remove(at)));
        }
        for slot in &mut self.slots {
            slot.prospective = false;
            if std::mem::take(&mut slot.failed) {
                slot.start_at = Some(now);
            }
        }
        processes_of(old)
    }

    /// Adds slots of a configuration that is not in force yet.
    pub(crate) fn add_prospective(&mut self, additional: &[(String, Role)]) {
        self.slots.extend(
            additional
                .iter()
                .map(|(name, role)| Slot::prospective(name.clone(), *role)),
        );
    }

    /// Whether a slot of a configuration that is not in force yet waits for its first process.
    pub(crate) fn awaits_first_process(&self, name: &str) -> bool {
        self.slot(name)
            .is_some_and(|slot| slot.prospective && slot.current.is_none())
    }

    /// Removes the slots of a configuration that is not to be in force. Returns their processes.
    pub(crate) fn remove_prospective(&mut self) -> Vec<ProcId> {
        let (gone, slots) = std::mem::take(&mut self.slots)
            .into_iter()
            .partition(|slot| slot.prospective);
        self.slots = slots;
        processes_of(gone)
    }

    /// What had been given up until the next reload is tried again.
    pub(crate) fn revive(&mut self, now: Duration) {
        for slot in self.slots.iter_mut().filter(|slot| slot.failed) {
            (slot.failed, slot.start_at) = (false, Some(now));
        }
    }

    /// A slot counts as not failed, because it is started on request.
    pub(crate) fn forget_failure(&mut self, name: &str) {
        if let Some(slot) = self.slot_mut(name) {
            slot.failed = false;
        }
    }

    /// Takes the process out of its slot, without ending it.
    pub(crate) fn take_current(&mut self, name: &str) -> Option<ProcId> {
        self.slot_mut(name)?.current.take()
    }
}

fn processes_of(slots: Vec<Slot>) -> Vec<ProcId> {
    slots
        .into_iter()
        .flat_map(|slot| [slot.current, slot.successor])
        .flatten()
        .collect()
}

/// The names and roles of the workers that a configuration asks for, gateway first. QUIC is served
/// when it has its port, and a certificate.
pub(crate) fn wanted_slots(
    config: &Config,
    listeners: &Listeners,
    certificate: bool,
) -> Vec<(String, Role)> {
    let each = |count: usize, role: Role| {
        (0..count).map(move |index| (format!("{}-{index}", role.as_str()), role))
    };
    let workers = usize::from(config.server.workers.max(1));
    let mut wanted = vec![("gateway-0".to_owned(), Role::Gateway)];
    if config.transports.http.enabled {
        wanted.extend(each(workers, Role::Http));
    }
    if config.transports.websocket.enabled {
        wanted.extend(each(workers, Role::Websocket));
    }
    if listeners.quic_port().is_some() && certificate {
        wanted.extend(each(quic_worker_count(config), Role::Quic));
    }
    if config.metrics.enabled {
        wanted.push(("admin-0".to_owned(), Role::Admin));
    }
    wanted
}
