//! Our children: the workers with their channels, the shims with theirs, the servers with their
//! pipes. None of them notices that the binary above it is another one.

use crate::{
    ipc::{
        channel,
        launch::FromShim,
        messages::{Beat, Role},
    },
    platform::{Group, Usage},
    supervisor::{
        Supervisor,
        channels::{Owner, PausedChannel, Writer},
        event::ProcId,
        listeners::QuicPort,
        processes::reaper::{ChildKind, Strangers},
        upgrade::fd_table::{FdTable, Place, ReceivedFds},
        upstreams::{
            Pipes, Upstream,
            draining::DrainingUpstream,
            leases::Leased,
            shims::{self, Shim, ShimId},
            stderr,
        },
        workers::{Proc, Slot, Stage, Workers, spawning},
    },
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, VecDeque},
    io,
    sync::Arc,
    time::Duration,
};

#[derive(Serialize, Deserialize)]
pub(crate) struct SavedChildren {
    slots: Vec<Slot>,
    procs: Vec<Worker>,
    last_proc: ProcId,
    channels: Vec<Channel>,
    shims: Vec<Sheltered>,
    last_shim: ShimId,
    upstreams: Vec<(Upstream, Option<(Place, Place)>)>,
    leaving: Vec<(DrainingUpstream, Option<(Place, Place)>)>,
    leased: Vec<(Leased, Option<(Place, Place)>)>,
    pids: Vec<(u32, ChildKind)>,
    strangers: Strangers,
}

#[derive(Serialize, Deserialize)]
struct Worker {
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

#[derive(Serialize, Deserialize)]
struct Channel {
    whose: Owner,
    socket: Place,
    unread: Vec<u8>,
    stderr: Option<(Place, Vec<u8>)>,
    last_line: String,
}

#[derive(Serialize, Deserialize)]
struct Sheltered {
    id: ShimId,
    pid: u32,
    name: String,
    child: Option<u32>,
    verdict: Option<FromShim>,
    #[serde(default)]
    group: Option<Group>,
    #[serde(default)]
    killed_for_memory: u64,
    stop_at: Option<Duration>,
    kill_at: Option<Duration>,
}

fn pack_pipes(pipes: Option<&Pipes>, fds: &mut FdTable) -> Option<(Place, Place)> {
    pipes.map(|pipes| (fds.put(&pipes.stdin), fds.put(&pipes.stdout)))
}

fn unpack_pipes(places: Option<(Place, Place)>, fds: &ReceivedFds) -> Option<Pipes> {
    let (stdin, stdout) = places?;
    Some(Pipes {
        stdin: fds.share(stdin)?,
        stdout: fds.share(stdout)?,
    })
}

impl SavedChildren {
    pub(super) fn pack(
        supervisor: &mut Supervisor,
        rests: &BTreeMap<Owner, PausedChannel>,
        fds: &mut FdTable,
    ) -> Self {
        let quic_ports = super::sockets::quic_ports(supervisor);
        let socket_slot = |proc: &Proc| {
            let (port, index) = proc.socket_slot.as_ref()?;
            Some((
                quic_ports
                    .iter()
                    .position(|known| Arc::ptr_eq(known, port))?,
                *index,
            ))
        };
        let worker = |(id, proc): (&ProcId, &Proc)| Worker {
            id: *id,
            pid: proc.pid,
            name: proc.name.clone(),
            role: proc.role,
            generation: proc.generation,
            stage: proc.stage,
            sandbox: proc.sandbox.clone(),
            beat: proc.beat.clone(),
            beat_at: proc.beat_at,
            usage: proc.usage,
            socket_slot: socket_slot(proc),
        };
        let channel = |(whose, rest): (&Owner, &PausedChannel), fds: &mut FdTable| Channel {
            whose: *whose,
            socket: fds.put(&std::os::fd::AsFd::as_fd(&rest.receiver)),
            unread: rest.receiver.unread().to_vec(),
            stderr: rest
                .stderr
                .as_ref()
                .map(|stderr| (fds.put(&stderr.pipe), stderr.line.clone())),
            last_line: rest.last_line.clone(),
        };
        let sheltered = |(id, shim): (&ShimId, &Shim)| Sheltered {
            id: *id,
            pid: shim.pid,
            name: shim.name.clone(),
            child: shim.child,
            verdict: shim.verdict.clone(),
            group: shim.group.clone(),
            killed_for_memory: shim.killed_for_memory,
            stop_at: shim.stop_at,
            kill_at: shim.kill_at,
        };
        let procs = supervisor.workers.procs.iter().map(worker).collect();
        let mut pipes = |pipes: Option<&Pipes>| pack_pipes(pipes, fds);
        let upstreams: Vec<_> = supervisor
            .upstreams
            .iter()
            .map(|it| (it.clone(), pipes(it.pipes.as_ref())))
            .collect();
        let leaving: Vec<_> = supervisor
            .leaving
            .iter()
            .map(|it| (it.clone(), pipes(it.upstream.pipes.as_ref())))
            .collect();
        let leased: Vec<_> = supervisor
            .leased
            .iter()
            .map(|it| (it.clone(), pipes(it.pipes.as_ref())))
            .collect();
        Self {
            slots: supervisor.workers.slots.clone(),
            procs,
            last_proc: supervisor.workers.last_id,
            channels: rests.iter().map(|rest| channel(rest, fds)).collect(),
            shims: supervisor.shims.all.iter().map(sheltered).collect(),
            last_shim: supervisor.shims.last,
            upstreams,
            leaving,
            leased,
            pids: supervisor
                .pids
                .iter()
                .map(|(pid, owner)| (*pid, *owner))
                .collect(),
            strangers: supervisor.strangers.clone(),
        }
    }

    /// Takes them over.
    pub(super) fn unpack(
        self,
        supervisor: &mut Supervisor,
        fds: &mut ReceivedFds,
        quic_ports: &[Arc<QuicPort>],
    ) -> io::Result<()> {
        let mut lines = BTreeMap::new();
        let mut queues = BTreeMap::new();
        let names: BTreeMap<ShimId, String> = self
            .shims
            .iter()
            .map(|shim| (shim.id, shim.name.clone()))
            .collect();
        for Channel {
            whose,
            socket,
            unread,
            stderr,
            last_line,
        } in self.channels
        {
            let socket = fds.take(socket).ok_or(io::ErrorKind::InvalidData)?;
            let (sender, receiver) = channel::resumed(socket, unread)?;
            supervisor.heard.insert(whose);
            match whose {
                Owner::Worker(id) => {
                    lines.insert(id, Writer::start(sender, spawning::QUEUE));
                    supervisor.reader().worker(id, receiver);
                }
                Owner::Shim(id) => {
                    queues.insert(id, Writer::start(sender, shims::QUEUE));
                    let stderr = stderr.and_then(|(place, line)| {
                        Some(stderr::PausedStderr {
                            pipe: fds.take(place)?,
                            line,
                        })
                    });
                    let name = names.get(&id).map_or("", String::as_str);
                    shims::listen(
                        id,
                        name,
                        receiver,
                        stderr,
                        last_line,
                        supervisor.reader(),
                        &supervisor.hub,
                    );
                }
            }
        }
        let mut procs = BTreeMap::new();
        for worker in self.procs {
            let line = lines.remove(&worker.id).unwrap_or_else(Writer::closed);
            let socket_slot = worker
                .socket_slot
                .and_then(|(port, index)| Some((Arc::clone(quic_ports.get(port)?), index)));
            let Worker {
                id,
                pid,
                name,
                role,
                generation,
                stage,
                sandbox,
                beat,
                beat_at,
                usage,
                ..
            } = worker;
            procs.insert(
                id,
                Proc {
                    pid,
                    name,
                    role,
                    generation,
                    stage,
                    sandbox,
                    beat,
                    beat_at,
                    usage,
                    socket_slot,
                    line,
                },
            );
        }
        supervisor.workers = Workers {
            slots: self.slots,
            procs,
            rolling: VecDeque::new(),
            last_id: self.last_proc,
        };
        supervisor.shims.last = self.last_shim;
        for Sheltered {
            id,
            pid,
            name,
            child,
            verdict,
            group,
            killed_for_memory,
            stop_at,
            kill_at,
        } in self.shims
        {
            let line = queues.remove(&id).unwrap_or_else(Writer::closed);
            supervisor.shims.all.insert(
                id,
                Shim {
                    pid,
                    name,
                    child,
                    verdict,
                    group,
                    killed_for_memory,
                    line,
                    stop_at,
                    kill_at,
                },
            );
        }
        for (mut upstream, pipes) in self.upstreams {
            upstream.pipes = unpack_pipes(pipes, fds);
            supervisor.upstreams.push(upstream);
        }
        for (mut leaving, pipes) in self.leaving {
            leaving.upstream.pipes = unpack_pipes(pipes, fds);
            supervisor.leaving.push(leaving);
        }
        for (mut leased, pipes) in self.leased {
            leased.pipes = unpack_pipes(pipes, fds);
            supervisor.leased.push(leased);
        }
        supervisor.pids = self.pids.into_iter().collect();
        supervisor.strangers = self.strangers;
        Ok(())
    }
}
