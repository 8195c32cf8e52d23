//! What the supervisor knows of its workers: slots with a life each, and the processes in them.
//! What is done with them is in `slots.rs` (which there are), `spawning.rs` (starting, telling),
//! `health.rs` (beats, drains, hangs) and `exit.rs` (deaths).

pub(in crate::supervisor) mod exit;
pub(in crate::supervisor) mod health;
pub(in crate::supervisor) mod links;
mod measure;
mod quic;
pub(in crate::supervisor) mod rolling_restart;
pub(in crate::supervisor) mod sandbox;
pub(in crate::supervisor) mod slots;
pub(in crate::supervisor) mod spawning;

use crate::{
    ipc::messages::{Beat, Role, ToWorker},
    platform::Usage,
    supervisor::{
        channels::Writer, event::ProcId, listeners::QuicPort, processes::restart_backoff::Life,
    },
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Without a beat for so long, a worker hangs: three missed, and a little for the way.
const SILENCE: Duration = Duration::from_millis(3250);
/// Before its first beat, a worker has so long to be loaded on a busy machine.
const LOADING: Duration = Duration::from_secs(10);

/// Where a process stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stage {
    /// Not Ready yet.
    Starting,
    /// Serving.
    Ready,
    /// Told to finish; killed at that time.
    Draining(Duration),
    /// It hangs; SIGABRT is sent, SIGKILL follows at that time.
    Aborted(Duration),
    /// SIGKILL is sent.
    Killed,
}

/// A worker process.
pub(crate) struct Proc {
    /// Its process id.
    pub(crate) pid: u32,
    /// Its slot's name.
    pub(crate) name: String,
    /// Its role.
    pub(crate) role: Role,
    /// The generation that it was started with.
    pub(crate) generation: u32,
    /// Where it stands.
    pub(crate) stage: Stage,
    /// How much of its sandbox stands, in its own words.
    pub(crate) sandbox: String,
    /// Its last beat, without the metrics.
    pub(crate) beat: Beat,
    /// When that came; before the first one, when it was started.
    pub(crate) beat_at: Duration,
    /// Memory and processor time.
    pub(crate) usage: Usage,
    /// A quic worker's QUIC port, and its socket slot there.
    pub(crate) socket_slot: Option<(Arc<QuicPort>, u8)>,
    /// Messages on their way to it.
    pub(crate) line: Writer<ToWorker>,
}

impl Proc {
    /// Whether it is the one that serves, or is about to.
    pub(crate) fn is_current(&self) -> bool {
        matches!(self.stage, Stage::Starting | Stage::Ready)
    }

    fn silent_at(&self) -> Duration {
        let loading = self.stage == Stage::Starting && self.beat.seq == 0;
        self.beat_at + if loading { LOADING } else { SILENCE }
    }

    /// When something has to be done about it if nothing happens.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        match self.stage {
            Stage::Starting | Stage::Ready => Some(self.silent_at()),
            // One that hangs finishes nothing.
            Stage::Draining(until) => Some(until.min(self.silent_at())),
            Stage::Aborted(until) => Some(until),
            Stage::Killed => None,
        }
    }
}

/// A place for a worker, with the record of its lives.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Slot {
    /// `http-0`
    pub(crate) name: String,
    /// Its role.
    pub(crate) role: Role,
    /// Its record.
    pub(crate) life: Life,
    /// The process that serves, or is about to.
    pub(crate) current: Option<ProcId>,
    /// The process that is to take over once it is Ready.
    pub(crate) successor: Option<ProcId>,
    /// When it is to be started again.
    pub(crate) start_at: Option<Duration>,
    /// Starts after the first one.
    pub(crate) restarts: u64,
    /// Why the last process ended that was not asked to.
    pub(crate) last_exit: Option<String>,
    /// Not started again until a reload.
    pub(crate) failed: bool,
    /// It belongs to a configuration that is not in force yet.
    pub(crate) prospective: bool,
    /// The socket slot that its last process had.
    #[serde(rename = "seat")]
    pub(crate) socket_slot: Option<u8>,
    /// Starts over the daemon's life.
    pub(crate) starts: u64,
}

impl Slot {
    /// An empty slot that is due at once.
    pub(crate) fn new(name: String, role: Role) -> Self {
        Self {
            name,
            role,
            life: Life::default(),
            current: None,
            successor: None,
            start_at: Some(Duration::ZERO),
            restarts: 0,
            last_exit: None,
            failed: false,
            prospective: false,
            socket_slot: None,
            starts: 0,
        }
    }

    /// A slot of a configuration that is not in force yet.
    pub(crate) fn prospective(name: String, role: Role) -> Self {
        Self {
            start_at: None,
            prospective: true,
            ..Self::new(name, role)
        }
    }
}

/// All workers.
#[derive(Default)]
pub(crate) struct Workers {
    /// The places, gateway first: it has the most to do.
    pub(crate) slots: Vec<Slot>,
    /// The processes, draining ones included.
    pub(crate) procs: BTreeMap<ProcId, Proc>,
    /// Slots that wait for their turn in a rolling replacement.
    pub(crate) rolling: std::collections::VecDeque<String>,
    /// The number given last.
    pub(crate) last_id: ProcId,
}

impl Workers {
    /// The gateway process that serves or is about to.
    pub(crate) fn gateway(&self) -> Option<ProcId> {
        self.slots
            .iter()
            .find(|slot| slot.role == Role::Gateway)?
            .current
    }

    /// Whether every slot has a process that is Ready.
    pub(crate) fn all_ready(&self) -> bool {
        self.slots.iter().all(|slot| {
            slot.current
                .and_then(|id| self.procs.get(&id))
                .is_some_and(|proc| proc.stage == Stage::Ready)
        })
    }

    /// The slot with that name.
    pub(crate) fn slot_mut(&mut self, name: &str) -> Option<&mut Slot> {
        self.slots.iter_mut().find(|slot| slot.name == name)
    }
}
