//! The workers on their way from one binary to the next. Their processes do not notice.

use super::{
    LinkNumber, Proc, QUEUE, Silence, Slot, Stage, Workers, rolling_restart::RollingRestart,
};
use crate::{
    ipc::{
        channel,
        messages::{Beat, Role},
    },
    platform::Usage,
    supervisor::{channels::Writer, event::ProcId, listeners::QuicPort},
};
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};
use tokio::sync::oneshot;

/// Saved workers.
#[derive(Serialize, Deserialize)]
pub(crate) struct Saved {
    slots: Vec<Slot>,
    procs: Vec<SavedProc>,
    last_proc: ProcId,
}

#[derive(Serialize, Deserialize)]
struct SavedProc {
    id: ProcId,
    pid: u32,
    name: String,
    role: Role,
    generation: u32,
    stage: Stage,
    sandbox: String,
    beat: Beat,
    beat_at: Duration,
    usage: Usage,
    /// Which QUIC port, and which socket slot there.
    #[serde(rename = "seat")]
    socket_slot: Option<(usize, u8)>,
}

impl Workers {
    /// Saves them; QUIC ports are places in `ports`.
    pub(crate) fn saved(&self, ports: &[Arc<QuicPort>]) -> Saved {
        let socket_slot = |proc: &Proc| {
            let (port, index) = proc.socket_slot.as_ref()?;
            let port = ports.iter().position(|known| Arc::ptr_eq(known, port))?;
            Some((port, *index))
        };
        let procs = self.procs.iter().map(|(id, proc)| SavedProc {
            id: *id,
            pid: proc.pid,
            name: proc.name.clone(),
            role: proc.role,
            generation: proc.generation,
            stage: proc.stage,
            sandbox: proc.sandbox.clone(),
            beat: proc.beat.clone(),
            beat_at: proc.silence.since(),
            usage: proc.usage,
            socket_slot: socket_slot(proc),
        });
        Saved {
            slots: self.slots.clone(),
            procs: procs.collect(),
            last_proc: self.last_id,
        }
    }

    /// Those of the binary before this one. Nothing can be sent to one before its channel is taken
    /// over.
    pub(crate) fn restored(saved: Saved, last_link: LinkNumber, ports: &[Arc<QuicPort>]) -> Self {
        let proc = |saved: SavedProc| {
            let socket_slot = saved
                .socket_slot
                .and_then(|(port, index)| Some((Arc::clone(ports.get(port)?), index)));
            let proc = Proc {
                pid: saved.pid,
                name: saved.name,
                role: saved.role,
                generation: saved.generation,
                stage: saved.stage,
                sandbox: saved.sandbox,
                beat: saved.beat,
                shed_at: None,
                silence: Silence::begin(saved.beat_at, None),
                usage: saved.usage,
                socket_slot,
                writer: Writer::closed(),
                stuck: false,
            };
            (saved.id, proc)
        };
        Self {
            slots: saved.slots,
            procs: saved.procs.into_iter().map(proc).collect(),
            last_id: saved.last_proc,
            last_link,
            rolling: RollingRestart::default(),
        }
    }

    /// The number that was given last to a link.
    pub(crate) const fn last_link(&self) -> LinkNumber {
        self.last_link
    }

    /// Takes over what is sent to a worker.
    pub(crate) fn resume_channel(&mut self, id: ProcId, sender: channel::Sender) {
        if let Some(proc) = self.procs.get_mut(&id) {
            proc.writer = Writer::start(sender, QUEUE);
        }
    }

    /// For each worker, its name, and what resolves when everything is written that waits for it;
    /// `None`: it does not read.
    pub(crate) fn flushed(&self) -> Vec<(String, Option<oneshot::Receiver<()>>)> {
        let procs = self.procs.values();
        procs
            .map(|proc| (proc.name.clone(), proc.writer.flushed()))
            .collect()
    }
}
