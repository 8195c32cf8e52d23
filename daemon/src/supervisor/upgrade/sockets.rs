//! What is listened at: the control socket and its lock, the sockets of the transports, the socket
//! slots of the QUIC port. All of them go on; nothing is bound anew.

use crate::supervisor::{
    Supervisor,
    control::instance::Instance,
    listeners::{
        Listener, Listeners,
        quic_port::{Quic, QuicPort},
    },
    service_manager::KEPT,
    upgrade::fd_table::{FdTable, Place, ReceivedFds},
};
use ggen_wire::Code;
use serde::{Deserialize, Serialize};
use std::{
    io,
    net::SocketAddr,
    os::unix::net::UnixListener,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

/// Where a socket can be from; the first one stands for what a later version calls otherwise.
const ORIGINS: [&str; 3] = ["bound", "kept", "inherited"];

#[derive(Serialize, Deserialize)]
pub(crate) struct SavedSockets {
    control: Control,
    listeners: Vec<Socket>,
    left_out: Vec<(Option<Code>, String)>,
    #[serde(rename = "doors")]
    quic_ports: Vec<SavedPort>,
    quic: Port,
    pub(crate) quic_at: Option<Duration>,
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

#[derive(Serialize, Deserialize)]
struct Socket {
    transport: String,
    wanted: SocketAddr,
    address: SocketAddr,
    origin: String,
    socket: Place,
}

#[derive(Serialize, Deserialize)]
struct SavedPort {
    wanted: SocketAddr,
    address: SocketAddr,
    origin: String,
    lent: usize,
    sockets: Vec<Place>,
    steered: (usize, Vec<u8>),
}

#[derive(Serialize, Deserialize)]
enum Port {
    Off,
    Open(usize),
    Degraded(Code, String),
}

/// The QUIC ports that a worker reads, the present one first.
pub(super) fn quic_ports(supervisor: &Supervisor) -> Vec<Arc<QuicPort>> {
    let mut quic_ports: Vec<Arc<QuicPort>> = supervisor
        .listeners
        .quic()
        .port()
        .cloned()
        .into_iter()
        .collect();
    for (port, _) in supervisor
        .workers
        .procs
        .values()
        .filter_map(|proc| proc.socket_slot.as_ref())
    {
        if !quic_ports.iter().any(|known| Arc::ptr_eq(known, port)) {
            quic_ports.push(Arc::clone(port));
        }
    }
    quic_ports
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
        let listeners = supervisor.listeners.all.iter().map(|listener| Socket {
            transport: listener.transport.to_owned(),
            wanted: listener.wanted,
            address: listener.address,
            origin: listener.origin.to_owned(),
            socket: fds.put(&listener.socket),
        });
        let listeners = listeners.collect();
        let saved = |port: &Arc<QuicPort>| SavedPort {
            wanted: port.wanted,
            address: port.address,
            origin: port.origin.to_owned(),
            lent: port.lent,
            sockets: port
                .sockets()
                .iter()
                .map(|socket| fds.put(socket))
                .collect(),
            steered: port.steered(),
        };
        Self {
            control,
            listeners,
            left_out: supervisor.listeners.left_out.clone(),
            quic_ports: quic_ports(supervisor).iter().map(saved).collect(),
            quic: match supervisor.listeners.quic() {
                Quic::Off => Port::Off,
                Quic::Open(_) => Port::Open(0),
                Quic::Degraded { code, message } => Port::Degraded(*code, message.clone()),
            },
            quic_at: supervisor.quic_at,
            kept: supervisor.kept.0.keys().cloned().collect(),
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

    /// The QUIC ports, in the order of [`quic_ports`].
    pub(super) fn quic_ports(&self, fds: &ReceivedFds) -> io::Result<Vec<Arc<QuicPort>>> {
        let port = |saved: &SavedPort| {
            let sockets = saved
                .sockets
                .iter()
                .map(|place| fds.share(*place))
                .collect::<Option<Vec<_>>>();
            Some(Arc::new(QuicPort {
                wanted: saved.wanted,
                address: saved.address,
                origin: origin(&saved.origin),
                lent: saved.lent,
                sockets: Mutex::new(sockets?),
                steered: Mutex::new(saved.steered.clone()),
            }))
        };
        self.quic_ports
            .iter()
            .map(port)
            .collect::<Option<_>>()
            .ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// The listeners, as they were.
    pub(super) fn listeners(
        &self,
        fds: &ReceivedFds,
        quic_ports: &[Arc<QuicPort>],
    ) -> io::Result<Listeners> {
        let listener = |socket: &Socket| {
            Some(Listener {
                // One that this version does not know is nobody's to serve.
                transport: crate::config::TRANSPORTS
                    .into_iter()
                    .find(|known| *known == socket.transport)?,
                wanted: socket.wanted,
                address: socket.address,
                origin: origin(&socket.origin),
                socket: fds.share(socket.socket)?,
            })
        };
        let quic = match &self.quic {
            Port::Off => Quic::Off,
            Port::Open(index) => Quic::Open(
                quic_ports
                    .get(*index)
                    .cloned()
                    .ok_or(io::ErrorKind::InvalidData)?,
            ),
            Port::Degraded(code, message) => Quic::Degraded {
                code: *code,
                message: message.clone(),
            },
        };
        Ok(Listeners {
            all: self.listeners.iter().filter_map(listener).collect(),
            left_out: self.left_out.clone(),
            quic,
        })
    }

    /// What the service manager keeps of these, by name.
    pub(super) fn kept(
        &self,
        listeners: &Listeners,
    ) -> crate::supervisor::service_manager::KeptSockets {
        let own = listeners
            .own()
            .map(|(name, socket, _)| (format!("{KEPT}{name}"), socket));
        crate::supervisor::service_manager::KeptSockets(
            own.filter(|(name, _)| self.kept.contains(name)).collect(),
        )
    }

    /// The names of all that it keeps.
    pub(super) fn kept_names(&self) -> &[String] {
        &self.kept
    }
}

fn origin(name: &str) -> &'static str {
    ORIGINS
        .into_iter()
        .find(|known| *known == name)
        .unwrap_or(ORIGINS[0])
}
