//! Starting a worker process, what it is told at its start, and the queue of messages to it.

use crate::{
    ipc::{
        channel,
        messages::{Beat, Bound, Role, Start, ToWorker},
        socket_slot::SocketSlot,
    },
    platform::{self, Usage},
    supervisor::{
        Supervisor,
        channels::{Owner, SendError, Writer},
        event::{Event, ProcId},
        listeners::{Listeners, QuicPort},
        reload::{self, Candidate},
        workers::{Proc, Stage},
    },
};
use ggen_wire::Code;
use std::{io, os::fd::OwnedFd, sync::Arc, time::Duration};

/// Between two beats.
const BEAT: Duration = Duration::from_secs(1);
/// Messages that may wait for a worker; more means that it does not read.
pub(crate) const QUEUE: usize = 1024;

impl Supervisor {
    /// Starts a process for a slot. `successor`: the one that serves goes on until the new one is
    /// Ready.
    pub(crate) fn start_worker(&mut self, name: &str, successor: bool) {
        let Some(slot) = self.workers.slot_mut(name) else {
            return;
        };
        slot.start_at = None;
        slot.restarts += u64::from(slot.starts > 0);
        slot.starts += 1;
        if !successor {
            slot.life.started();
        }
        let role = slot.role;
        self.workers.last_id += 1;
        let id = self.workers.last_id;
        match self.spawn_worker(id, name, role) {
            Ok(proc) => {
                tracing::debug!(target: "mcp_server", worker = name, pid = proc.pid, "worker started");
                self.pids.insert(
                    proc.pid,
                    crate::supervisor::processes::reaper::ChildKind::Worker(id),
                );
                self.workers.procs.insert(id, proc);
                if let Some(slot) = self.workers.slot_mut(name) {
                    if successor {
                        slot.successor = Some(id)
                    } else {
                        slot.current = Some(id)
                    }
                }
                self.link_worker(id);
            }
            Err(error) => {
                tracing::error!(target: "mcp_server", worker = name, code = %Code::Internal, error = %error, "worker cannot be started");
                self.plan_restart(name, &format!("cannot be started: {error}"), None);
            }
        }
    }

    fn spawn_worker(&mut self, id: ProcId, name: &str, role: Role) -> io::Result<Proc> {
        let socket_slot = if role == Role::Quic {
            Some(self.socket_slot_for(name)?)
        } else {
            None
        };
        let (ours, theirs) = platform::socket_pair()?;
        let (sender, receiver) = channel::channel(ours)?;
        let pid = platform::spawn_self(
            &["worker", role.as_str()],
            theirs,
            crate::supervisor::processes::environment::of_worker(),
        )?;
        let line = Writer::start(sender, QUEUE);
        self.heard.insert(Owner::Worker(id));
        self.reader().worker(id, receiver);
        let mut start = self.start_message(name, role);
        let mut sockets = self.listeners_for(name).sockets_for(role);
        if let Some((port, index)) = &socket_slot {
            start.listeners.push(Bound {
                transport: "quic".to_owned(),
                address: port.address(),
            });
            start.socket_slot = Some(SocketSlot {
                index: *index,
                reset_key: self.listeners.reset_key(),
            });
            sockets.extend(port.socket(*index));
        }
        let generation = start.generation;
        let queue = |message, sockets| {
            line.say(message, sockets)
                .map_err(|_| io::Error::other("its queue is full"))
        };
        queue(ToWorker::Start(Box::new(start)), sockets)?;
        if role == Role::Gateway {
            for message in self.sessions_recalled(id) {
                queue(message, Vec::new())?;
            }
        }
        self.secrets_for(name, role)
            .map_or(Ok(()), |secrets| queue(secrets, Vec::new()))?;
        Ok(Proc {
            pid,
            name: name.to_owned(),
            role,
            generation,
            stage: Stage::Starting,
            sandbox: String::new(),
            beat: Beat::default(),
            beat_at: self.now(),
            usage: Usage::default(),
            socket_slot,
            line,
        })
    }

    fn socket_slot_for(&self, name: &str) -> io::Result<(Arc<QuicPort>, u8)> {
        let port = self.listeners_for(name).quic_port();
        let found = port.and_then(|port| {
            let index = self.workers.choose_socket_slot(name, port)?;
            Some((Arc::clone(port), index))
        });
        found.ok_or_else(|| io::Error::other("there is no free socket at the QUIC port"))
    }

    /// What a worker of that name is told: the configuration in force, or the one that it is to
    /// prove.
    pub(crate) fn start_message(&self, name: &str, role: Role) -> Start {
        let slot = self.workers.slots.iter().find(|slot| slot.name == name);
        let candidate = self.candidate_for(name);
        let config = candidate.map_or(&self.loaded.config, |candidate| &candidate.loaded.config);
        Start {
            name: name.to_owned(),
            role,
            generation: candidate.map_or(self.generation, |candidate| candidate.generation),
            incarnation: slot.map_or(0, |slot| slot.starts.saturating_sub(1)),
            beat_ms: u64::try_from(BEAT.as_millis()).unwrap_or(1000),
            log_filter: self
                .levels
                .over(candidate.map_or(&self.log_filter, |candidate| &candidate.log_filter)),
            listeners: self.listeners_for(name).bound_for(role),
            socket_slot: None,
            quic_port: self
                .listeners_for(name)
                .quic_port()
                .filter(|_| role == Role::Http)
                .map(|port| port.address().port()),
            seal: (role == Role::Gateway).then(|| self.seal.clone()),
            collector_headers: config
                .tracing
                .otlp
                .headers
                .clone()
                .filter(|_| role == Role::Gateway && config.tracing.otlp.enabled),
            run_as: candidate.map_or(self.run_as, |candidate| candidate.run_as),
            config: crate::supervisor::processes::environment::config_for(role, config),
        }
    }

    fn listeners_for(&self, name: &str) -> &Listeners {
        self.candidate_for(name)
            .map_or(&self.listeners, |candidate| &candidate.listeners)
    }

    pub(crate) fn candidate_for(&self, name: &str) -> Option<&Candidate> {
        let prospective = self
            .workers
            .slots
            .iter()
            .any(|slot| slot.name == name && slot.prospective);
        if let (reload::Stage::Preparing(candidate), true) = (&self.reload.stage, prospective) {
            Some(candidate)
        } else {
            None
        }
    }

    /// Queues a message for a worker; never waits. A worker whose queue is full does not read, and
    /// is dealt with as hung.
    pub(crate) fn tell(
        &mut self,
        id: ProcId,
        message: ToWorker,
        descriptors: Vec<Arc<OwnedFd>>,
    ) -> bool {
        let Some(proc) = self.workers.procs.get(&id) else {
            return false;
        };
        match proc.line.say(message, descriptors) {
            Ok(()) => true,
            Err(SendError::Full) => {
                self.events
                    .try_send(Event::WorkerStuck(id))
                    .unwrap_or_default();
                false
            }
            Err(SendError::Closed) => false,
        }
    }
}
