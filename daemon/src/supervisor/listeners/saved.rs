//! The listeners on their way from one binary to the next. Nothing is bound anew.

use super::{
    Listeners,
    listener::Listener,
    origin::Origin,
    quic::Quic,
    quic_port::{QuicPort, SavedPort},
    tcp::Socket,
    wanted::LeftOut,
};
use ggen_wire::Code;
use serde::{Deserialize, Serialize};
use std::{net::SocketAddr, os::fd::OwnedFd, sync::Arc, time::Duration};

/// Saved listeners. Sockets are places in the list of descriptors.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Saved {
    pub(crate) listeners: Vec<SavedListener>,
    pub(crate) left_out: Vec<LeftOut>,
    /// The QUIC ports that somebody reads, the present one first.
    #[serde(rename = "doors")]
    pub(crate) ports: Vec<SavedPort>,
    pub(crate) quic: SavedQuic,
    #[serde(rename = "quic_at")]
    pub(crate) quic_retry_at: Option<Duration>,
}

/// A listening TCP socket. Those of one transport are its listener's, in their order.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SavedListener {
    transport: String,
    wanted: SocketAddr,
    address: SocketAddr,
    origin: Origin,
    socket: usize,
}

/// How QUIC stands.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum SavedQuic {
    /// Not configured.
    Off,
    /// Its port is one of the saved ones.
    Open(usize),
    /// Its port is not to be had.
    Degraded(Code, String),
}

impl Listeners {
    /// The QUIC ports that are to be saved: the present one first, then those that workers still
    /// drain at.
    pub(crate) fn quic_ports<'a>(
        &'a self,
        read: impl Iterator<Item = &'a Arc<QuicPort>>,
    ) -> Vec<Arc<QuicPort>> {
        let mut ports: Vec<Arc<QuicPort>> = Vec::new();
        for port in self.quic.port().into_iter().chain(read) {
            if !ports.iter().any(|known| Arc::ptr_eq(known, port)) {
                ports.push(Arc::clone(port));
            }
        }
        ports
    }

    /// Saves them with these QUIC ports ([`Self::quic_ports`]). `put` takes a descriptor along and
    /// returns its place.
    pub(crate) fn saved(
        &self,
        ports: &[Arc<QuicPort>],
        put: &mut dyn FnMut(&OwnedFd) -> usize,
    ) -> Saved {
        let mut listeners = Vec::new();
        for (transport, socket) in self.sockets() {
            listeners.push(SavedListener {
                transport: transport.to_owned(),
                wanted: socket.wanted,
                address: socket.address,
                origin: socket.origin,
                socket: put(&socket.socket),
            });
        }
        Saved {
            listeners,
            left_out: self.left_out.clone(),
            ports: ports.iter().filter_map(|port| port.saved(put)).collect(),
            quic: match &self.quic {
                Quic::Off => SavedQuic::Off,
                Quic::Open(_) => SavedQuic::Open(0),
                Quic::Degraded { code, message } => SavedQuic::Degraded(*code, message.clone()),
            },
            quic_retry_at: self.quic_retry_at,
        }
    }
}

impl Saved {
    /// The QUIC ports, in their order. `None`: a descriptor is missing.
    pub(crate) fn quic_ports(
        &self,
        share: &dyn Fn(usize) -> Option<Arc<OwnedFd>>,
    ) -> Option<Vec<Arc<QuicPort>>> {
        let mut known = Vec::new();
        self.ports
            .iter()
            .map(|port| port.restored(share, &mut known))
            .collect()
    }

    /// The listeners as they were. `None`: the state is not consistent.
    pub(crate) fn restored(
        &self,
        ports: &[Arc<QuicPort>],
        share: &dyn Fn(usize) -> Option<Arc<OwnedFd>>,
    ) -> Option<Listeners> {
        let quic = match &self.quic {
            SavedQuic::Off => Quic::Off,
            SavedQuic::Open(index) => Quic::Open(Arc::clone(ports.get(*index)?)),
            SavedQuic::Degraded(code, message) => Quic::Degraded {
                code: *code,
                message: message.clone(),
            },
        };
        let socket = |saved: &SavedListener| {
            Some(Socket {
                wanted: saved.wanted,
                address: saved.address,
                origin: saved.origin,
                socket: share(saved.socket)?,
            })
        };
        // Nobody serves a transport that this version does not know.
        let listener = |transport| {
            let saved = self.listeners.iter();
            let saved = saved.filter(|saved| saved.transport == transport);
            let sockets: Vec<Socket> = saved.filter_map(socket).collect();
            (!sockets.is_empty()).then_some(Listener { transport, sockets })
        };
        Some(Listeners {
            tcp: crate::config::TRANSPORTS
                .into_iter()
                .filter_map(listener)
                .collect(),
            left_out: self.left_out.clone(),
            quic,
            quic_retry_at: self.quic_retry_at,
            ..Listeners::default()
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn they_are_read_as_they_were_written_and_an_unknown_transport_is_left_out() {
        let bind = |transport, addresses: &[&str]| {
            let wanted: Vec<_> = addresses.iter().map(|one| one.parse().unwrap()).collect();
            let given = Default::default();
            Listener::open(transport, &wanted, None, given, false)
                .unwrap()
                .0
        };
        let listeners = Listeners {
            tcp: vec![
                bind("http", &["127.0.0.1:0", "[::1]:0"]),
                bind("carrier-pigeon", &["127.0.0.1:0"]),
            ],
            left_out: vec![(Some(Code::PortTaken), "HTTPS".to_owned())],
            quic: Quic::Degraded {
                code: Code::PortTaken,
                message: "taken".to_owned(),
            },
            quic_retry_at: Some(Duration::from_secs(5)),
            ..Listeners::default()
        };
        let mut fds = Vec::new();
        let saved = listeners.saved(&[], &mut |fd: &OwnedFd| {
            fds.push(Arc::new(fd.try_clone().unwrap()));
            fds.len() - 1
        });
        let text = serde_json::to_string(&saved).unwrap();
        let saved: Saved = serde_json::from_str(&text).unwrap();
        let share = |place: usize| fds.get(place).cloned();
        let ports = saved.quic_ports(&share).unwrap();
        let next = saved.restored(&ports, &share).unwrap();
        assert_eq!(next.addresses("http"), listeners.addresses("http"));
        assert_eq!(next.tcp.len(), 1);
        assert_eq!(next.deadline(), Some(Duration::from_secs(5)));
        assert_eq!(next.why_not("quic"), listeners.why_not("quic"));
        assert_eq!(next.why_not("https").as_deref(), Some("HTTPS"));
    }
}
