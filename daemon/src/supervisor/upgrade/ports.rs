//! What is listened at: the control socket and its lock, the sockets of the transports, the seats
//! of the QUIC port. All of them go on; nothing is bound anew.

use super::bag::{Bag, Place, Unpacked};
use crate::supervisor::{
    Supervisor,
    door::{Door, Quic},
    instance::Instance,
    listeners::{Listener, Listeners},
    manager::KEPT,
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
pub(crate) struct Ports {
    control: Control,
    listeners: Vec<Socket>,
    left_out: Vec<(Option<Code>, String)>,
    doors: Vec<Seats>,
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
struct Seats {
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

/// The doors at which somebody sits, the present one first.
pub(super) fn doors(supervisor: &Supervisor) -> Vec<Arc<Door>> {
    let mut doors: Vec<Arc<Door>> = supervisor
        .listeners
        .quic()
        .door()
        .cloned()
        .into_iter()
        .collect();
    for (door, _) in supervisor
        .workers
        .procs
        .values()
        .filter_map(|proc| proc.seat.as_ref())
    {
        if !doors.iter().any(|known| Arc::ptr_eq(known, door)) {
            doors.push(Arc::clone(door));
        }
    }
    doors
}

impl Ports {
    pub(super) fn pack(supervisor: &Supervisor, bag: &mut Bag) -> Self {
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
            socket: bag.put(socket),
            lock: lock.as_ref().map(|lock| bag.put(&**lock)),
        };
        let listeners = supervisor.listeners.all.iter().map(|listener| Socket {
            transport: listener.transport.to_owned(),
            wanted: listener.wanted,
            address: listener.address,
            origin: listener.origin.to_owned(),
            socket: bag.put(&listener.socket),
        });
        let listeners = listeners.collect();
        let seats = |door: &Arc<Door>| Seats {
            wanted: door.wanted,
            address: door.address,
            origin: door.origin.to_owned(),
            lent: door.lent,
            sockets: door.seats().iter().map(|socket| bag.put(socket)).collect(),
            steered: door.steered(),
        };
        Self {
            control,
            listeners,
            left_out: supervisor.listeners.left_out.clone(),
            doors: doors(supervisor).iter().map(seats).collect(),
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
    pub(super) fn instance(&self, bag: &mut Unpacked) -> io::Result<(Instance, UnixListener)> {
        let Control {
            path,
            lent,
            socket,
            lock,
        } = &self.control;
        let missing = || io::Error::from(io::ErrorKind::InvalidData);
        let socket = UnixListener::from(bag.take(*socket).ok_or_else(missing)?);
        let lock = lock
            .and_then(|place| bag.take(place))
            .map(std::fs::File::from);
        Instance::resume(path.clone(), *lent, socket, lock)
    }

    /// The doors, in the order of [`doors`].
    pub(super) fn doors(&self, bag: &Unpacked) -> io::Result<Vec<Arc<Door>>> {
        let door = |seats: &Seats| {
            let sockets = seats
                .sockets
                .iter()
                .map(|place| bag.share(*place))
                .collect::<Option<Vec<_>>>();
            Some(Arc::new(Door {
                wanted: seats.wanted,
                address: seats.address,
                origin: origin(&seats.origin),
                lent: seats.lent,
                seats: Mutex::new(sockets?),
                steered: Mutex::new(seats.steered.clone()),
            }))
        };
        self.doors
            .iter()
            .map(door)
            .collect::<Option<_>>()
            .ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// The listeners, as they were.
    pub(super) fn listeners(&self, bag: &Unpacked, doors: &[Arc<Door>]) -> io::Result<Listeners> {
        let listener = |socket: &Socket| {
            Some(Listener {
                // One that this version does not know is nobody's to serve.
                transport: crate::config::TRANSPORTS
                    .into_iter()
                    .find(|known| *known == socket.transport)?,
                wanted: socket.wanted,
                address: socket.address,
                origin: origin(&socket.origin),
                socket: bag.share(socket.socket)?,
            })
        };
        let quic = match &self.quic {
            Port::Off => Quic::Off,
            Port::Open(index) => Quic::Open(
                doors
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
    pub(super) fn kept(&self, listeners: &Listeners) -> crate::supervisor::manager::Kept {
        let own = listeners
            .own()
            .map(|(name, socket, _)| (format!("{KEPT}{name}"), socket));
        crate::supervisor::manager::Kept(own.filter(|(name, _)| self.kept.contains(name)).collect())
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
