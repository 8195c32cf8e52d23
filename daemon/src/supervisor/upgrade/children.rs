//! The child processes with their channels: workers, shims, and the servers' pipes. None of them
//! notices that the binary above it is another one.

use super::{
    fd_table::{FdTable, Place, ReceivedFds},
    state::Rooms,
};
use crate::{
    ipc::channel,
    supervisor::{
        channels::Channels,
        event::{Owner, PausedChannel, PausedStderr},
        listeners::QuicPort,
        processes::reaper::{ChildKind, Children, Strangers},
        upstreams::{self, Upstreams},
        workers::{self, LinkNumber, Workers},
    },
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

#[derive(Serialize, Deserialize)]
pub(crate) struct SavedChildren {
    #[serde(flatten)]
    workers: workers::Saved,
    channels: Vec<Channel>,
    #[serde(flatten)]
    upstreams: upstreams::Saved,
    pids: Vec<(u32, ChildKind)>,
    strangers: Strangers,
}

/// A channel that has paused.
#[derive(Serialize, Deserialize)]
struct Channel {
    #[serde(rename = "whose")]
    owner: Owner,
    socket: Place,
    unread: Vec<u8>,
    stderr: Option<(Place, Vec<u8>)>,
    last_line: String,
}

impl Channel {
    fn saved(owner: Owner, paused: &PausedChannel, fds: &mut FdTable) -> Self {
        let stderr = paused.stderr.as_ref();
        Self {
            owner,
            socket: fds.put(&paused.receiver.as_fd()),
            unread: paused.receiver.unread().to_vec(),
            stderr: stderr.map(|stderr| (fds.put(&stderr.pipe), stderr.line.clone())),
            last_line: paused.last_line.clone(),
        }
    }

    /// Both ends of it: what sends, and what has been read so far.
    fn restored(
        self,
        fds: &mut ReceivedFds,
    ) -> io::Result<(Owner, channel::Sender, PausedChannel)> {
        let socket = fds.take(self.socket).ok_or(io::ErrorKind::InvalidData)?;
        let (sender, receiver) = channel::resumed(socket, self.unread)?;
        let stderr = self.stderr.and_then(|(place, line)| {
            let pipe = fds.take(place)?;
            Some(PausedStderr { pipe, line })
        });
        let paused = PausedChannel {
            receiver,
            stderr,
            last_line: self.last_line,
        };
        Ok((self.owner, sender, paused))
    }
}

impl SavedChildren {
    /// `paused`: the channels that nobody reads.
    pub(super) fn pack(
        rooms: &Rooms<'_>,
        paused: &BTreeMap<Owner, PausedChannel>,
        fds: &mut FdTable,
    ) -> Self {
        let (pids, strangers) = rooms.children.saved();
        let channels = paused
            .iter()
            .map(|(owner, channel)| Channel::saved(*owner, channel, fds));
        Self {
            channels: channels.collect(),
            workers: rooms.workers.saved(&rooms.quic_ports()),
            upstreams: rooms.upstreams.saved(&mut |fd: &OwnedFd| fds.put(fd)),
            pids,
            strangers,
        }
    }

    /// Takes them over: the workers and the child processes that it returns, and the servers.
    ///
    /// # Errors
    /// When a channel has not come along.
    pub(crate) fn restore(
        self,
        fds: &mut ReceivedFds,
        quic_ports: &[Arc<QuicPort>],
        last_link: LinkNumber,
        channels: &mut Channels,
        upstreams: &mut Upstreams,
    ) -> io::Result<(Workers, Children)> {
        let mut workers = Workers::restored(self.workers, last_link, quic_ports);
        upstreams.restore(self.upstreams, &|place| fds.share(place));
        for channel in self.channels {
            let (owner, sender, paused) = channel.restored(fds)?;
            let reader = channels.reader(owner);
            match owner {
                Owner::Worker(id) => {
                    workers.resume_channel(id, sender);
                    reader.worker(id, paused.receiver);
                }
                Owner::Shim(id) => upstreams.resume_channel(id, sender, paused, reader),
            }
        }
        Ok((workers, Children::restored(self.pids, self.strangers)))
    }
}
