//! Starting a worker process. What it is told is put together by the caller.

use super::{Proc, Silence, Stage, Workers};
use crate::{
    ipc::{
        channel,
        messages::{Beat, Bound, Role, Start, ToWorker},
        socket_slot::SocketSlot,
    },
    platform::{self, Usage},
    supervisor::{
        channels::{Channels, Writer},
        event::{Owner, ProcId},
        listeners::{QuicPort, stateless_reset::ResetKey},
        processes::environment,
    },
};
use std::{io, os::fd::OwnedFd, sync::Arc, time::Duration};

/// Messages that may wait for a worker; more means that it does not read.
pub(crate) const QUEUE: usize = 1024;

/// What a new worker is told.
pub(crate) struct Launch {
    /// The first message. The process adds its socket slot.
    pub(crate) start: Start,
    /// The listening sockets that the first message names.
    pub(crate) sockets: Vec<Arc<OwnedFd>>,
    /// A quic worker's port, and the key of its stateless resets.
    pub(crate) quic: Option<(Arc<QuicPort>, ResetKey)>,
    /// What follows at once.
    pub(crate) messages: Vec<ToWorker>,
}

impl Workers {
    /// A slot is to be started. `successor`: the process that serves goes on until the new one is
    /// ready. Returns the number of the new process.
    pub(crate) fn begin_start(&mut self, name: &str, successor: bool) -> Option<(ProcId, Role)> {
        let slot = self.slot_mut(name)?;
        slot.start_at = None;
        slot.restarts += u64::from(slot.starts > 0);
        slot.starts += 1;
        if !successor {
            slot.life.started();
        }
        let role = slot.role;
        self.last_id = self.last_id.next();
        Some((self.last_id, role))
    }

    /// Starts a process in a slot, as [`Workers::begin_start`] has prepared. Returns its process
    /// id, also with an error if the process was started and cannot be used.
    ///
    /// # Errors
    /// When it cannot be started, or not be told what it has to know.
    pub(crate) fn spawn(
        &mut self,
        id: ProcId,
        launch: Launch,
        successor: bool,
        channels: &mut Channels,
        now: Duration,
    ) -> io::Result<u32> {
        let Launch {
            mut start,
            mut sockets,
            quic,
            messages,
        } = launch;
        let (name, role, generation) = (start.name.clone(), start.role, start.generation);
        let socket_slot = if role == Role::Quic {
            Some(self.add_socket_slot(&mut start, &mut sockets, quic)?)
        } else {
            None
        };
        let (ours, theirs) = platform::socket_pair()?;
        let (sender, receiver) = channel::channel(ours)?;
        let arguments = ["worker", role.as_str()];
        let pid = platform::spawn_self(&arguments, theirs, environment::of_worker())?;
        let writer = Writer::start(sender, QUEUE);
        channels.reader(Owner::Worker(id)).worker(id, receiver);
        let queue = |message, sockets| {
            writer
                .send(message, sockets)
                .map_err(|_| io::Error::other("its queue is full"))
        };
        queue(ToWorker::Start(Box::new(start)), sockets)?;
        for message in messages {
            queue(message, Vec::new())?;
        }
        tracing::debug!(target: "mcp_server", worker = name, pid, "worker started");
        if let Some(slot) = self.slot_mut(&name) {
            if successor {
                slot.successor = Some(id);
            } else {
                slot.current = Some(id);
            }
        }
        let proc = Proc {
            pid,
            name,
            role,
            generation,
            stage: Stage::Starting,
            sandbox: String::new(),
            beat: Beat::default(),
            shed_at: None,
            silence: Silence::of_new(now),
            usage: Usage::default(),
            socket_slot,
            writer,
            stuck: false,
        };
        self.procs.insert(id, proc);
        Ok(pid)
    }

    /// Adds a socket of the QUIC port to what a worker is started with.
    fn add_socket_slot(
        &self,
        start: &mut Start,
        sockets: &mut Vec<Arc<OwnedFd>>,
        quic: Option<(Arc<QuicPort>, ResetKey)>,
    ) -> io::Result<(Arc<QuicPort>, u8)> {
        let found = quic.and_then(|(port, reset_key)| {
            let index = self.choose_socket_slot(&start.name, &port)?;
            Some((port, reset_key, index))
        });
        let (port, reset_key, index) =
            found.ok_or_else(|| io::Error::other("there is no free socket at the QUIC port"))?;
        for (address, socket) in port.sockets(index) {
            start.listeners.push(Bound {
                transport: "quic".to_owned(),
                address,
            });
            sockets.push(socket);
        }
        start.socket_slot = Some(SocketSlot { index, reset_key });
        Ok((port, index))
    }
}
