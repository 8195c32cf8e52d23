//! Our children: the workers with their channels, the shims with theirs, the servers with their
//! pipes. None of them notices that the binary above it is another one.

use super::bag::{Bag, Place, Unpacked};
use crate::{
    ipc::{
        channel,
        launch::FromShim,
        messages::{Beat, Role},
    },
    platform::{Group, Usage},
    supervisor::{
        Supervisor,
        door::Door,
        event::ProcId,
        leases::Leased,
        leaving::Leaving,
        reaper::{Owner, Strangers},
        shims::{self, Shim, ShimId},
        spawning, stderr,
        talk::{Line, Rest, Whose},
        upstreams::{Pipes, Upstream},
        workers::{Proc, Slot, Stage, Workers},
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
pub(crate) struct Family {
    slots: Vec<Slot>,
    procs: Vec<Worker>,
    last_proc: ProcId,
    channels: Vec<Channel>,
    shims: Vec<Sheltered>,
    last_shim: ShimId,
    upstreams: Vec<(Upstream, Option<(Place, Place)>)>,
    leaving: Vec<(Leaving, Option<(Place, Place)>)>,
    leased: Vec<(Leased, Option<(Place, Place)>)>,
    pids: Vec<(u32, Owner)>,
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
    /// Which door, and which seat there.
    seat: Option<(usize, u8)>,
}

#[derive(Serialize, Deserialize)]
struct Channel {
    whose: Whose,
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

fn pack_pipes(pipes: Option<&Pipes>, bag: &mut Bag) -> Option<(Place, Place)> {
    pipes.map(|pipes| (bag.put(&pipes.stdin), bag.put(&pipes.stdout)))
}

fn unpack_pipes(places: Option<(Place, Place)>, bag: &Unpacked) -> Option<Pipes> {
    let (stdin, stdout) = places?;
    Some(Pipes {
        stdin: bag.share(stdin)?,
        stdout: bag.share(stdout)?,
    })
}

impl Family {
    pub(super) fn pack(
        supervisor: &mut Supervisor,
        rests: &BTreeMap<Whose, Rest>,
        bag: &mut Bag,
    ) -> Self {
        let doors = super::ports::doors(supervisor);
        let seat = |proc: &Proc| {
            let (door, index) = proc.seat.as_ref()?;
            Some((
                doors.iter().position(|known| Arc::ptr_eq(known, door))?,
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
            seat: seat(proc),
        };
        let channel = |(whose, rest): (&Whose, &Rest), bag: &mut Bag| Channel {
            whose: *whose,
            socket: bag.put(&std::os::fd::AsFd::as_fd(&rest.receiver)),
            unread: rest.receiver.unread().to_vec(),
            stderr: rest
                .stderr
                .as_ref()
                .map(|stderr| (bag.put(&stderr.pipe), stderr.line.clone())),
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
        let mut pipes = |pipes: Option<&Pipes>| pack_pipes(pipes, bag);
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
            channels: rests.iter().map(|rest| channel(rest, bag)).collect(),
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
        bag: &mut Unpacked,
        doors: &[Arc<Door>],
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
            let socket = bag.take(socket).ok_or(io::ErrorKind::InvalidData)?;
            let (sender, receiver) = channel::resumed(socket, unread)?;
            supervisor.heard.insert(whose);
            match whose {
                Whose::Worker(id) => {
                    lines.insert(id, Line::start(sender, spawning::QUEUE));
                    supervisor.ear().worker(id, receiver);
                }
                Whose::Shim(id) => {
                    queues.insert(id, Line::start(sender, shims::QUEUE));
                    let stderr = stderr.and_then(|(place, line)| {
                        Some(stderr::Rest {
                            pipe: bag.take(place)?,
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
                        supervisor.ear(),
                        &supervisor.hub,
                    );
                }
            }
        }
        let mut procs = BTreeMap::new();
        for worker in self.procs {
            let line = lines.remove(&worker.id).unwrap_or_else(Line::closed);
            let seat = worker
                .seat
                .and_then(|(door, index)| Some((Arc::clone(doors.get(door)?), index)));
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
                    seat,
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
            let line = queues.remove(&id).unwrap_or_else(Line::closed);
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
            upstream.pipes = unpack_pipes(pipes, bag);
            supervisor.upstreams.push(upstream);
        }
        for (mut leaving, pipes) in self.leaving {
            leaving.upstream.pipes = unpack_pipes(pipes, bag);
            supervisor.leaving.push(leaving);
        }
        for (mut leased, pipes) in self.leased {
            leased.pipes = unpack_pipes(pipes, bag);
            supervisor.leased.push(leased);
        }
        supervisor.pids = self.pids.into_iter().collect();
        supervisor.strangers = self.strangers;
        Ok(())
    }
}
