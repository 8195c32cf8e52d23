//! QUIC workers at their port: which socket slot a process reads, and who gets new connections.

use super::{Slot, Stage, Workers};
use crate::{
    ipc::messages::Role,
    supervisor::listeners::{QuicPort, Share},
};
use std::sync::Arc;

impl Workers {
    /// A socket slot for a new process of a slot: that of the process that died, so that its
    /// clients are told; else one that is free.
    pub(crate) fn choose_socket_slot(&self, name: &str, port: &Arc<QuicPort>) -> Option<u8> {
        let is_taken = |index: u8| {
            let mut read = self
                .procs
                .values()
                .filter_map(|proc| proc.socket_slot.as_ref());
            read.any(|(own, slot)| own.shares_with(port) && *slot == index)
        };
        let is_kept = |index: u8| {
            self.slots
                .iter()
                .any(|other| other.name != name && other.socket_slot == Some(index))
        };
        let slot = self.slots.iter().find(|slot| slot.name == name)?;
        port.choose(slot.socket_slot, is_taken, is_kept)
    }

    /// Tells the kernel who gets new connections, if that has changed.
    pub(crate) fn steer(&mut self, port: Option<&Arc<QuicPort>>) {
        let Some(port) = port else { return };
        let mut shares = Vec::new();
        for at in 0..self.slots.len() {
            let (own, is_ready) = self.socket_slot_at(&self.slots[at], port);
            let slot = &mut self.slots[at];
            // A successor in its place begins where it was.
            slot.socket_slot = own.or(slot.socket_slot);
            if slot.role == Role::Quic && !slot.prospective {
                shares.push(Share {
                    socket_slot: slot.socket_slot,
                    serves: own.is_some() && is_ready,
                });
            }
        }
        port.steer(&shares);
    }

    /// The socket slot at this port that a slot's process reads, and whether the process is Ready.
    fn socket_slot_at(&self, slot: &Slot, port: &Arc<QuicPort>) -> (Option<u8>, bool) {
        let Some(proc) = slot.current.and_then(|id| self.procs.get(&id)) else {
            return (None, false);
        };
        let own = proc
            .socket_slot
            .as_ref()
            .filter(|(own, _)| own.shares_with(port))
            .map(|(_, index)| *index);
        (own, proc.stage == Stage::Ready)
    }

    /// The slots whose process reads another QUIC port than this one.
    pub(crate) fn at_other_quic_ports(&self, port: Option<&Arc<QuicPort>>) -> Vec<String> {
        let Some(port) = port else { return Vec::new() };
        let is_elsewhere = |slot: &&Slot| {
            let proc = slot.current.and_then(|id| self.procs.get(&id));
            let own = proc.and_then(|proc| proc.socket_slot.as_ref());
            slot.role == Role::Quic && own.is_some_and(|(own, _)| !Arc::ptr_eq(own, port))
        };
        self.slots
            .iter()
            .filter(is_elsewhere)
            .map(|slot| slot.name.clone())
            .collect()
    }

    /// The QUIC ports that processes read, the one that was started last first.
    pub(crate) fn quic_ports(&self) -> impl Iterator<Item = &Arc<QuicPort>> {
        self.procs
            .values()
            .rev()
            .filter_map(|proc| Some(&proc.socket_slot.as_ref()?.0))
    }
}
