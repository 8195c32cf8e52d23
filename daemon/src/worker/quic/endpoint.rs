//! Starts the QUIC endpoint on a UDP socket of the supervisor, with our providers.

use super::{
    admission::Admission,
    events::Events,
    identity::{Ids, Tokens},
    shared::{Limits, Shared},
    tls::Handshakes,
};
use crate::ipc::socket_slot::SocketSlot;
use s2n_quic::{Server, provider::io::tokio::Builder};
use std::{error::Error, net::UdpSocket, sync::Arc};

/// Datagrams that wait to be read, in bytes; the kernel's own buffer comes before. The library
/// handles all of them in one turn of the event loop, so that beats and requests wait for as many
/// handshakes as there is room for.
const RECEIVED: usize = 128 << 10;
/// Datagrams that wait to be written, in bytes; the kernel's own buffer comes after.
const TO_SEND: usize = 512 << 10;

/// Starts it.
///
/// # Errors
/// When the socket cannot be used.
pub(super) fn start(
    socket: UdpSocket,
    socket_slot: SocketSlot,
    shared: &Arc<Shared>,
) -> Result<Server, Box<dyn Error + Send + Sync>> {
    let io = Builder::default()
        .with_rx_socket(socket)?
        // What the kernel merges of one client's address may belong to connections of several
        // workers.
        .with_gro_disabled()?
        .with_internal_recv_buffer_size(RECEIVED)?
        .with_internal_send_buffer_size(TO_SEND)?
        .build()?;
    let server = Server::builder()
        .with_io(io)?
        .with_tls(Handshakes::new(
            shared.keys.clone(),
            Tokens(socket_slot.clone()),
        ))?
        .with_connection_id(Ids(socket_slot.index))?
        .with_stateless_reset_token(Tokens(socket_slot))?
        .with_endpoint_limits(Admission::new(Arc::clone(&shared.bounds)))?
        .with_limits(Limits(Arc::clone(shared)))?
        .with_event(Events(Arc::clone(&shared.counts)))?
        .start()?;
    Ok(server)
}
