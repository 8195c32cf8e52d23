//! Asks a running daemon, if there is one, which ports are its own. One call, bounded in time; no
//! answer means that none runs.

use ggen_wire::{
    control::{Answer, Body, Call},
    status::Status,
    varlink::{self, Reply, Request},
};
use std::{io::BufReader, net::SocketAddr, os::unix::net::UnixStream, path::Path, time::Duration};

/// A daemon answers within a millisecond; the check must not hang on one that does not.
const PATIENCE: Duration = Duration::from_millis(500);

/// Listeners of a running daemon.
pub(super) struct Running(Status);

impl Running {
    /// Of the daemon at a control socket.
    pub(super) fn ask(socket: &Path) -> Option<Self> {
        let mut stream = UnixStream::connect(socket).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.set_write_timeout(Some(PATIENCE)).ok()?;
        varlink::write_message(&mut stream, &Request::new(&Call::GetStatus {}, false).ok()?)
            .ok()?;
        let reply: Reply = varlink::read_message(&mut BufReader::new(stream)).ok()?;
        match serde_json::from_value::<Answer>(reply.parameters)
            .ok()?
            .body
        {
            Body::Status(status) => Some(Self(*status)),
            _ => None,
        }
    }

    /// The daemon's process id, if the port is one of its listeners'.
    pub(super) fn holds(&self, address: SocketAddr) -> Option<u32> {
        let same = |listener: &ggen_wire::status::Listener| listener.port == address.port();
        self.0.listeners.iter().any(same).then_some(self.0.pid)
    }
}
