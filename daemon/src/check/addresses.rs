//! The ports of a checked configuration, tried out one by one. May not: keep one.

use super::Paint;
use crate::{
    config::{Config, Host},
    platform,
};
use ggen_wire::Code;
use std::net::{SocketAddr, TcpListener};

/// An address that the daemon would listen at.
pub(super) struct Listener {
    pub(super) name: &'static str,
    pub(super) address: SocketAddr,
    pub(super) state: PortState,
}

/// Whether it could.
pub(super) enum PortState {
    Free,
    /// By the running daemon of this process id.
    Ours(u32),
    /// By a program that is not the daemon that was asked, if one was.
    InUse {
        asked: bool,
    },
    /// This host does not have the address, and the daemon does without it.
    Absent,
    Unusable(String),
}

impl PortState {
    /// The line below the address.
    pub(super) fn line(&self, address: SocketAddr, paint: &Paint) -> String {
        let (good, note) = (paint.good(), paint.note());
        match self {
            Self::Free if address.port() == 0 => format!("    {good} Port chosen by the system\n"),
            Self::Free => format!("    {good} Port free\n"),
            Self::Ours(pid) => {
                format!("    {good} Port in use by the running ggend (pid {pid})\n")
            }
            Self::InUse { asked: false } => {
                format!("    {note} Port in use now (by a running ggend, or by another program)\n")
            }
            Self::InUse { asked: true } => format!(
                "    {note} Port in use by another program  [{}]\n",
                Code::PortTaken
            ),
            Self::Absent => {
                format!("    {note} Left out: this host does not have the address\n")
            }
            Self::Unusable(why) => format!("    {note} Cannot be bound now: {why}\n"),
        }
    }

    /// As programs are told.
    pub(super) const fn as_str(&self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Ours(_) => "ours",
            Self::InUse { .. } => "in_use",
            Self::Absent => "absent",
            Self::Unusable(_) => "unusable",
        }
    }
}

/// Tries the addresses of HTTP and of the admin listener.
pub(super) fn try_all(config: &Config) -> Vec<Listener> {
    let (http, metrics) = (&config.transports.http, &config.metrics);
    let wanted = [
        ("HTTP", http.enabled, http.host, http.port),
        ("Metrics", metrics.enabled, metrics.host, metrics.port),
    ];
    wanted
        .into_iter()
        .filter(|(_, enabled, ..)| *enabled)
        .flat_map(|(name, _, host, port)| {
            let addresses = host.at(port).into_iter();
            addresses.map(move |address| try_port(name, address, host == Host::Localhost))
        })
        .collect()
}

/// `lenient`: it does without an address that this host does not have.
fn try_port(name: &'static str, address: SocketAddr, lenient: bool) -> Listener {
    let state = match TcpListener::bind(address) {
        Ok(_) => PortState::Free,
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            PortState::InUse { asked: false }
        }
        Err(error) if lenient && platform::is_absent(&error) => PortState::Absent,
        Err(error) => PortState::Unusable(error.to_string()),
    };
    Listener {
        name,
        address,
        state,
    }
}
