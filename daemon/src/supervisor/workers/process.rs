//! A worker process and the slot that it runs in. Plain state: what is done with it is in the files
//! beside this one.

use super::Silence;
use crate::{
    ipc::messages::{Beat, Role, ToWorker},
    platform::{self, Usage},
    supervisor::{
        channels::{SendError, Writer},
        event::ProcId,
        listeners::QuicPort,
        processes::restart_backoff::Life,
    },
};
use serde::{Deserialize, Serialize};
use std::{os::fd::OwnedFd, sync::Arc, time::Duration};

/// How far a worker process has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stage {
    /// Not ready yet.
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
    /// The generation of the configuration that it has.
    pub(crate) generation: u32,
    /// How far it has come.
    pub(crate) stage: Stage,
    /// How much of its sandbox is in force, in its own words.
    pub(crate) sandbox: String,
    /// Its last beat, without the metrics.
    pub(crate) beat: Beat,
    /// When it last had to refuse for want of memory.
    pub(crate) shed_at: Option<Duration>,
    /// How long no beat has come.
    pub(crate) silence: Silence,
    /// Memory and processor time.
    pub(crate) usage: Usage,
    /// A quic worker's port, and its socket slot there.
    pub(crate) socket_slot: Option<(Arc<QuicPort>, u8)>,
    /// Messages on their way to it.
    pub(crate) writer: Writer<ToWorker>,
    /// It does not read its channel, and is to be aborted.
    pub(crate) stuck: bool,
}

impl Proc {
    /// Whether it serves, or is about to.
    pub(crate) fn is_current(&self) -> bool {
        matches!(self.stage, Stage::Starting | Stage::Ready)
    }

    /// Whether it drains.
    pub(crate) fn is_draining(&self) -> bool {
        matches!(self.stage, Stage::Draining(_))
    }

    /// It was heard just now.
    pub(super) fn heard(&mut self, now: Duration) {
        self.silence = match self.stage {
            Stage::Starting if self.beat.seq == 0 => Silence::of_new(now),
            _ => Silence::begin(now, platform::waited_for_processor(self.pid)),
        };
    }

    /// Whether it is due for its silence alone, and that does not mean that it hangs: it waited for
    /// a processor. Its deadline is a later one then.
    pub(super) fn waits_for_processor(&mut self, now: Duration) -> bool {
        let silent = match self.stage {
            Stage::Starting | Stage::Ready => !self.stuck,
            Stage::Draining(until) => until > now,
            Stage::Aborted(_) | Stage::Killed => false,
        };
        silent
            && !self
                .silence
                .judge(now, platform::waited_for_processor(self.pid))
    }

    /// When something has to be done about it if nothing happens.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        match self.stage {
            Stage::Starting | Stage::Ready if self.stuck => Some(Duration::ZERO),
            Stage::Starting | Stage::Ready => Some(self.silence.ends()),
            // A worker that hangs finishes nothing.
            Stage::Draining(until) => Some(until.min(self.silence.ends())),
            Stage::Aborted(until) => Some(until),
            Stage::Killed => None,
        }
    }

    /// Queues a message; never waits. `false`: it does not get there.
    pub(super) fn send(&mut self, message: ToWorker, descriptors: Vec<Arc<OwnedFd>>) -> bool {
        let sent = self.writer.send(message, descriptors);
        self.stuck |= sent == Err(SendError::Full);
        sent.is_ok()
    }
}

/// A place for a worker, with the record of its processes.
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
    /// The process that is to take over once it is ready.
    pub(crate) successor: Option<ProcId>,
    /// When it is to be started again.
    pub(crate) start_at: Option<Duration>,
    /// Starts after the first one.
    pub(crate) restarts: u64,
    /// Why the last process ended that was not told to.
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
    pub(super) fn new(name: String, role: Role) -> Self {
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
    pub(super) fn prospective(name: String, role: Role) -> Self {
        Self {
            start_at: None,
            prospective: true,
            ..Self::new(name, role)
        }
    }
}
