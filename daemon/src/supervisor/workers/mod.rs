//! The workers: slots, and the processes in them. The room decides nothing about upstreams, reloads
//! or callers; what they have to know is in what its methods return.

mod exit;
mod health;
mod links;
mod measure;
mod memory;
mod process;
mod quic;
pub(crate) mod rolling_restart;
mod saved;
mod silence;
mod slots;
mod spawning;
mod status;

pub(crate) use exit::{Place, Restart};
pub(crate) use process::{Proc, Slot, Stage};
use rolling_restart::RollingRestart;
pub(crate) use saved::Saved;
use silence::Silence;
pub(crate) use slots::wanted_slots;
pub(crate) use spawning::Launch;
use spawning::QUEUE;

use crate::{
    ipc::messages::{Role, ToWorker},
    platform,
    supervisor::event::ProcId,
};
use std::{collections::BTreeMap, os::fd::OwnedFd, sync::Arc, time::Duration};

/// Number of a link between an edge worker and the gateway, unique over the daemon's life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LinkNumber(pub(crate) u32);

/// All workers.
#[derive(Default)]
pub(crate) struct Workers {
    /// The slots, gateway first: it has the most to do.
    slots: Vec<Slot>,
    /// The processes, draining ones included.
    procs: BTreeMap<ProcId, Proc>,
    /// The number that was given last to a process.
    last_id: ProcId,
    /// The number that was given last to a link.
    last_link: LinkNumber,
    rolling: RollingRestart,
}

impl Workers {
    /// The slots.
    pub(crate) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The slot with that name.
    pub(crate) fn slot(&self, name: &str) -> Option<&Slot> {
        self.slots.iter().find(|slot| slot.name == name)
    }

    fn slot_mut(&mut self, name: &str) -> Option<&mut Slot> {
        self.slots.iter_mut().find(|slot| slot.name == name)
    }

    /// The processes, draining ones included.
    pub(crate) fn procs(&self) -> impl DoubleEndedIterator<Item = (ProcId, &Proc)> {
        self.procs.iter().map(|(id, proc)| (*id, proc))
    }

    /// A process.
    pub(crate) fn proc(&self, id: ProcId) -> Option<&Proc> {
        self.procs.get(&id)
    }

    /// The process that serves in a slot, or is about to.
    pub(crate) fn current(&self, slot: &Slot) -> Option<&Proc> {
        slot.current.and_then(|id| self.procs.get(&id))
    }

    /// The gateway process that serves or is about to.
    pub(crate) fn gateway(&self) -> Option<ProcId> {
        self.slots
            .iter()
            .find(|slot| slot.role == Role::Gateway)?
            .current
    }

    /// Whether a gateway process lives that is not the present one.
    pub(crate) fn old_gateway_lives(&self) -> bool {
        let gateway = self.gateway();
        self.procs()
            .any(|(id, proc)| proc.role == Role::Gateway && Some(id) != gateway)
    }

    /// Whether every slot has a process that is ready.
    pub(crate) fn all_ready(&self) -> bool {
        self.slots.iter().all(|slot| self.is_ready(slot))
    }

    /// Whether every slot has a process that is ready, or is known not to get one soon.
    pub(crate) fn is_settled(&self, now: Duration) -> bool {
        self.slots
            .iter()
            .all(|slot| self.is_ready(slot) || slot.failed || slot.life.is_unwell(now))
    }

    /// Whether there are slots of a role, and all have a process that is ready.
    pub(crate) fn is_served(&self, role: Role) -> bool {
        let mut slots = self
            .slots
            .iter()
            .filter(|slot| slot.role == role)
            .peekable();
        slots.peek().is_some() && slots.all(|slot| self.is_ready(slot))
    }

    fn is_ready(&self, slot: &Slot) -> bool {
        self.current(slot)
            .is_some_and(|proc| proc.stage == Stage::Ready)
    }

    /// Whether no process lives.
    pub(crate) fn is_empty(&self) -> bool {
        self.procs.is_empty()
    }

    /// Number of processes of some roles.
    pub(crate) fn count(&self, is_it: impl Fn(Role) -> bool) -> usize {
        self.procs.values().filter(|proc| is_it(proc.role)).count()
    }

    /// The processes of some roles.
    pub(crate) fn ids(&self, is_it: impl Fn(&Proc) -> bool) -> Vec<ProcId> {
        self.procs()
            .filter(|(_, proc)| is_it(proc))
            .map(|(id, _)| id)
            .collect()
    }

    /// The names of all slots.
    pub(crate) fn slot_names(&self) -> Vec<String> {
        self.slots.iter().map(|slot| slot.name.clone()).collect()
    }

    /// Whether workers are being replaced.
    pub(crate) fn is_rolling(&self) -> bool {
        !self.rolling.is_idle()
    }

    /// Takes the rolling restart further. The effects are to be carried out in order.
    pub(crate) fn roll(&mut self, input: rolling_restart::Input) -> Vec<rolling_restart::Effect> {
        let mut rolling = std::mem::take(&mut self.rolling);
        let effects = rolling.input(input, |name| {
            let slot = self.slot(name)?;
            Some(rolling_restart::View {
                role: slot.role,
                current: slot.current,
                old_gateway_lives: self.old_gateway_lives(),
                shares_quic_port: platform::STEERS,
            })
        });
        self.rolling = rolling;
        effects
    }

    /// A worker has taken over the configuration of that generation.
    pub(crate) fn confirmed(&mut self, id: ProcId, generation: u32) {
        if let Some(proc) = self.procs.get_mut(&id) {
            proc.generation = generation;
        }
    }

    /// Queues a message for a worker; never waits. A worker whose queue is full does not read its
    /// channel, and is aborted at the next turn. `false`: the message does not get there.
    pub(crate) fn tell(
        &mut self,
        id: ProcId,
        message: ToWorker,
        descriptors: Vec<Arc<OwnedFd>>,
    ) -> bool {
        self.procs
            .get_mut(&id)
            .is_some_and(|proc| proc.send(message, descriptors))
    }

    /// Tells every worker of some roles what is made for it.
    pub(crate) fn tell_each(&mut self, mut message: impl FnMut(&Proc) -> Option<ToWorker>) {
        for proc in self.procs.values_mut() {
            if let Some(message) = message(proc) {
                proc.send(message, Vec::new());
            }
        }
    }
}
