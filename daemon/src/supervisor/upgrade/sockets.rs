//! What is listened at: the control socket and its lock, and the listeners. All of them go on;
//! nothing is bound anew.

use crate::supervisor::{
    Supervisor,
    control::instance::Instance,
    listeners::{self, Listeners, QuicPort},
    upgrade::fd_table::{FdTable, Place, ReceivedFds},
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

/// The QUIC ports that are saved: the present one first, then those that workers read.
pub(super) fn quic_ports(supervisor: &Supervisor) -> Vec<Arc<QuicPort>> {
    supervisor
        .listeners
        .quic_ports(supervisor.workers.quic_ports())
}

impl SavedSockets {
    pub(super) fn pack(supervisor: &Supervisor, fds: &mut FdTable) -> Self {
        let Instance {
            path,
            lent,
            socket,
            lock,
            ..
        } = &supervisor.instance;
        let control = Control {
            path: path.clone(),
            lent: *lent,
            socket: fds.put(socket),
            lock: lock.as_ref().map(|lock| fds.put(&**lock)),
        };
        let ports = quic_ports(supervisor);
        let put = &mut |fd: &OwnedFd| fds.put(fd);
        Self {
            control,
            listeners: supervisor.listeners.saved(&ports, put),
            kept: supervisor.service_manager.kept_names(),
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

    /// The QUIC ports, in the order of [`quic_ports`], and the listeners as they were.
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
