//! The listeners: one for each transport, with a socket at each address of its host, bound here or
//! given by the service manager, shared by the workers, and open for as long as they are configured. The QUIC port belongs to
//! them, and the key of its stateless resets. Nothing is ever accepted here.

mod each_address;
mod listen_error;
mod listener;
mod origin;
mod quic;
mod quic_port;
mod saved;
mod slots;
pub(crate) mod stateless_reset;
mod steering;
mod tcp;
mod wanted;

use super::service_manager::OwnSocket;
use crate::{
    config::{Config, Loaded},
    ipc::messages::{Bound, Role},
};
use ggen_wire::{Code, status};
pub(crate) use listen_error::ListenError;
use listener::Listener;
use origin::{KEPT, Origin};
pub(crate) use quic::worker_count as quic_worker_count;
use quic::{GivenSockets, Quic};
pub(crate) use quic_port::QuicPort;
pub(crate) use saved::Saved;
use stateless_reset::ResetKey;
use std::{net::SocketAddr, os::fd::OwnedFd, sync::Arc, time::Duration};
pub(crate) use steering::Share;
use tcp::Socket;
use wanted::{HTTPS, LeftOut};

/// All of them: those in force, or those of a configuration that is not in force yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listeners {
    tcp: Vec<Listener>,
    /// What could not be had and can be done without.
    left_out: Vec<LeftOut>,
    quic: Quic,
    /// When a QUIC port that is taken is tried again.
    quic_retry_at: Option<Duration>,
    /// What QUIC's stateless resets are made with.
    reset_key: ResetKey,
}

impl Listeners {
    /// Sockets for what the configuration asks for: those of `old` and `inherited` that fit, new
    /// ones otherwise. Nothing of `old` is closed here.
    ///
    /// # Errors
    /// The first address that cannot be had; nothing has changed then.
    pub(crate) fn open(
        loaded: &Loaded,
        old: &Self,
        mut inherited: Vec<(String, OwnedFd)>,
    ) -> Result<Self, ListenError> {
        // First, because their order counts.
        let given = GivenSockets::take(&mut inherited, loaded.asks_strangers);
        let mut opened = wanted::open(loaded, &old.tcp, inherited)?;
        let (quic, absent) = Quic::open(&loaded.config, &old.quic, given);
        opened.left_out.extend(absent.map(|what| (None, what)));
        Ok(Self {
            tcp: opened.listeners,
            left_out: opened.left_out,
            quic,
            quic_retry_at: old.quic_retry_at,
            reset_key: old.reset_key,
        })
    }

    /// They are in force from now on.
    pub(crate) fn enter_force(&mut self, now: Duration) {
        self.quic_retry_at = self.quic.retry_at(now);
    }

    /// Says what is left out; the log has to be there.
    pub(crate) fn log_left_out(&self) {
        for (code, what) in &self.left_out {
            tracing::warn!(target: "transport", code = code.map(Code::as_str), "{what}");
        }
    }

    /// Why a transport that is configured is not served.
    pub(crate) fn why_not(&self, transport: &str) -> Option<String> {
        match transport {
            "quic" => self.quic.issue().map(|issue| issue.message),
            HTTPS => self
                .left_out
                .iter()
                .find(|(code, _)| code.is_some())
                .map(|(_, what)| what.clone()),
            _ => None,
        }
    }

    /// The QUIC port, if it is there.
    pub(crate) const fn quic_port(&self) -> Option<&Arc<QuicPort>> {
        self.quic.port()
    }

    /// What is wrong with QUIC, if anything.
    pub(crate) fn quic_issue(&self) -> Option<status::Issue> {
        self.quic.issue()
    }

    /// Goes on with a QUIC port that workers still drain at, if there is none. Its sockets are
    /// bound to it as long as one of them lives, and nobody else gets it.
    pub(crate) fn go_on_with(&mut self, port: &Arc<QuicPort>) {
        if self.quic.port().is_none() {
            self.quic = Quic::Open(Arc::clone(port));
        }
    }

    /// When a QUIC port that is taken is tried again.
    pub(crate) const fn deadline(&self) -> Option<Duration> {
        self.quic_retry_at
    }

    /// Tries a QUIC port again that was taken, if that is due. True: it is free now.
    pub(crate) fn on_time(&mut self, config: &Config, now: Duration) -> bool {
        self.quic_retry_at.is_some_and(|at| at <= now) && self.retry_quic(config, now)
    }

    /// Tries a QUIC port again that was taken. True: it is free now.
    pub(crate) fn retry_quic(&mut self, config: &Config, now: Duration) -> bool {
        (self.quic, _) = Quic::open(config, &self.quic, GivenSockets::default());
        self.quic_retry_at = self.quic.retry_at(now);
        let is_open = self.quic.port().is_some();
        if is_open {
            tracing::info!(target: "transport", "the QUIC port is free now");
        }
        is_open
    }

    /// Sets what QUIC's stateless resets are made with.
    pub(crate) fn set_reset_key(&mut self, key: ResetKey) {
        self.reset_key = key;
    }

    /// What QUIC's stateless resets are made with.
    pub(crate) const fn reset_key(&self) -> ResetKey {
        self.reset_key
    }

    /// The sockets that a role is given.
    pub(crate) fn sockets_for(&self, role: Role) -> Vec<Arc<OwnedFd>> {
        self.of(role)
            .map(|(_, socket)| Arc::clone(&socket.socket))
            .collect()
    }

    /// Their description, in the same order.
    pub(crate) fn bound_for(&self, role: Role) -> Vec<Bound> {
        self.of(role)
            .map(|(transport, socket)| Bound {
                transport: transport.to_owned(),
                address: socket.address,
            })
            .collect()
    }

    fn of(&self, role: Role) -> impl Iterator<Item = (&'static str, &Socket)> {
        self.sockets()
            .filter(move |(transport, _)| role.transports().contains(transport))
    }

    fn sockets(&self) -> impl Iterator<Item = (&'static str, &Socket)> {
        self.tcp.iter().flat_map(|listener| {
            let sockets = listener.sockets.iter();
            sockets.map(|socket| (listener.transport, socket))
        })
    }

    /// Whether nobody but this host can reach what serves MCP.
    pub(crate) fn are_local(&self) -> bool {
        let front = self
            .sockets()
            .filter(|(transport, _)| *transport != "admin")
            .map(|(_, socket)| socket.address);
        let quic = self.quic.port().into_iter();
        front
            .chain(quic.flat_map(|port| port.addresses()))
            .all(|address| address.ip().to_canonical().is_loopback())
    }

    /// Those that no socket unit holds, for the service manager to keep.
    pub(crate) fn own(&self) -> Vec<OwnSocket> {
        let ours = self.tcp.iter().filter(|listener| !listener.is_of_unit());
        let ours = ours.flat_map(|listener| {
            let sockets = listener.sockets.iter().enumerate();
            sockets.map(|(at, socket)| OwnSocket {
                name: match at {
                    0 => format!("{KEPT}{}", listener.transport),
                    _ => format!("{KEPT}{}-{at}", listener.transport),
                },
                socket: Arc::clone(&socket.socket),
                is_kept: socket.origin == Origin::Kept,
            })
        });
        ours.chain(self.quic.own()).collect()
    }

    /// Where a transport is reached.
    pub(crate) fn addresses(&self, transport: &str) -> Vec<SocketAddr> {
        self.sockets()
            .filter(|(known, _)| *known == transport)
            .map(|(_, socket)| socket.address)
            .collect()
    }

    /// For the status.
    pub(crate) fn status(&self) -> Vec<status::Listener> {
        let tcp = self
            .sockets()
            .map(|(transport, socket)| socket.row(transport));
        let quic = self.quic.port().into_iter();
        tcp.chain(quic.flat_map(|port| port.rows())).collect()
    }
}

/// Of the names of sockets that came with the start, those that the service manager kept.
pub(crate) fn kept_names(names: impl Iterator<Item = String>) -> Vec<String> {
    names.filter(|name| name.starts_with(KEPT)).collect()
}
