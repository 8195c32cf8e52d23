//! What is listened at: the control socket and its lock, and the listeners. All of them go on;
//! nothing is bound anew.

use super::{
    fd_table::{FdTable, Place, ReceivedFds},
    state::Rooms,
};
use crate::supervisor::{
    control::Instance,
    listeners::{self, Listeners, QuicPort},
};
use serde::{Deserialize, Serialize};
use std::{
    io,
    os::{fd::OwnedFd, unix::net::UnixListener},
    path::PathBuf,
    sync::Arc,
};

#[derive(Serialize, Deserialize)]
pub(crate) struct SavedSockets {
    control: Control,
    #[serde(flatten)]
    listeners: listeners::Saved,
    /// Names under which the service manager keeps sockets.
    kept: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Control {
    path: PathBuf,
    lent: bool,
    socket: Place,
    lock: Option<Place>,
}

impl SavedSockets {
    pub(super) fn pack(rooms: &Rooms<'_>, fds: &mut FdTable) -> Self {
        let Instance {
            path,
            lent,
            socket,
            lock,
            ..
        } = &rooms.control.instance;
        let control = Control {
            path: path.clone(),
            lent: *lent,
            socket: fds.put(socket),
            lock: lock.as_ref().map(|lock| fds.put(&**lock)),
        };
        let ports = rooms.quic_ports();
        let put = &mut |fd: &OwnedFd| fds.put(fd);
        Self {
            control,
            listeners: rooms.listeners.saved(&ports, put),
            kept: rooms.service_manager.kept_names(),
        }
    }

    /// The control socket.
    pub(super) fn instance(&self, fds: &mut ReceivedFds) -> io::Result<(Instance, UnixListener)> {
        let Control {
            path,
            lent,
            socket,
            lock,
        } = &self.control;
        let missing = || io::Error::from(io::ErrorKind::InvalidData);
        let socket = UnixListener::from(fds.take(*socket).ok_or_else(missing)?);
        let lock = lock
            .and_then(|place| fds.take(place))
            .map(std::fs::File::from);
        Instance::resume(path.clone(), *lent, socket, lock)
    }

    /// The QUIC ports, in the order of [`Rooms::quic_ports`], and the listeners as they were.
    pub(super) fn listeners(
        &self,
        fds: &ReceivedFds,
    ) -> io::Result<(Vec<Arc<QuicPort>>, Listeners)> {
        let share = &|place| fds.share(place);
        let restored = self.listeners.quic_ports(share).and_then(|ports| {
            let listeners = self.listeners.restored(&ports, share)?;
            Some((ports, listeners))
        });
        restored.ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// The names of all that the service manager keeps.
    pub(super) fn kept_names(&self) -> &[String] {
        &self.kept
    }
}
