//! A state that has arrived from the previous binary, as far as it is needed before there is a
//! supervisor.

use super::Arrived;
use crate::supervisor::{
    control::Instance,
    listeners::{Listeners, QuicPort},
};
use std::{io, os::unix::net::UnixListener, sync::Arc};

/// What has been handed over.
pub(crate) struct Handed {
    pub(crate) arrived: Arrived,
    pub(crate) quic_ports: Vec<Arc<QuicPort>>,
}

impl Handed {
    /// What the service manager keeps, by name.
    pub(crate) fn kept_names(&self) -> Vec<String> {
        self.arrived.state.sockets.kept_names().to_vec()
    }

    /// The control socket, and the listeners as they were.
    ///
    /// # Errors
    /// When the state names what has not come along.
    pub(crate) fn open(
        mut arrived: Arrived,
    ) -> io::Result<(Self, Instance, UnixListener, Listeners)> {
        let (instance, control) = arrived.state.sockets.instance(&mut arrived.fds)?;
        let (quic_ports, listeners) = arrived.state.sockets.listeners(&arrived.fds)?;
        Ok((
            Self {
                arrived,
                quic_ports,
            },
            instance,
            control,
            listeners,
        ))
    }
}
