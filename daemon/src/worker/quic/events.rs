//! Events of the QUIC library: counted, and remembered for the connection where a request needs
//! them. Called on the endpoint's task. May not: do anything else.

use super::{counts::Counts, stops::Stops};
use s2n_quic::provider::event::{
    ConnectionInfo, ConnectionMeta, Subscriber,
    events::{
        ConnectionClosed, DatagramReceived, DatagramSent, EndpointConnectionAttemptFailed,
        EndpointDatagramSent, EndpointMeta, EndpointPacketSent, Frame, FrameReceived,
        HandshakeStatus, HandshakeStatusUpdated, PacketHeader, PacketLost, PacketReceived,
        PacketSent, TlsExporterReady,
    },
};
use std::sync::{Arc, atomic::Ordering::Relaxed};

/// Of one connection.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    /// Streams that the peer wants no more of.
    pub(super) stops: Stops,
    /// The client's certificate and those that lead from it to an authority, DER; it has been
    /// verified.
    pub(super) certificates: Vec<Vec<u8>>,
    complete: bool,
}

/// The counter.
#[derive(Debug)]
pub(super) struct Events(pub(super) Arc<Counts>);

impl Subscriber for Events {
    type ConnectionContext = Remembered;

    fn create_connection_context(
        &mut self,
        _: &ConnectionMeta,
        _: &ConnectionInfo<'_>,
    ) -> Remembered {
        self.0.alive.fetch_add(1, Relaxed);
        Remembered::default()
    }

    fn on_handshake_status_updated(
        &mut self,
        connection: &mut Remembered,
        _: &ConnectionMeta,
        event: &HandshakeStatusUpdated,
    ) {
        if matches!(event.status, HandshakeStatus::Complete { .. }) {
            connection.complete = true;
        }
    }

    fn on_tls_exporter_ready(
        &mut self,
        connection: &mut Remembered,
        _: &ConnectionMeta,
        event: &TlsExporterReady<'_>,
    ) {
        connection.certificates = event.session.peer_cert_chain_der().unwrap_or_default();
    }

    fn on_frame_received(
        &mut self,
        connection: &mut Remembered,
        _: &ConnectionMeta,
        event: &FrameReceived<'_>,
    ) {
        if let Frame::StopSending { id, .. } = event.frame {
            connection.stops.stopped(id);
        }
    }

    fn on_packet_sent(&mut self, _: &mut Remembered, _: &ConnectionMeta, _: &PacketSent) {
        self.0.packets_sent.inc();
    }

    fn on_packet_received(&mut self, _: &mut Remembered, _: &ConnectionMeta, _: &PacketReceived) {
        self.0.packets_received.inc();
    }

    fn on_packet_lost(&mut self, _: &mut Remembered, _: &ConnectionMeta, event: &PacketLost<'_>) {
        if !event.is_mtu_probe {
            self.0.metrics.quic_packets_lost_total.inc();
        }
    }

    fn on_connection_closed(
        &mut self,
        connection: &mut Remembered,
        _: &ConnectionMeta,
        event: &ConnectionClosed,
    ) {
        self.0.alive.fetch_sub(1, Relaxed);
        if !connection.complete {
            self.0.metrics.quic_handshakes_failed_total.inc();
            tracing::debug!(target: "transport", error = %event.error, "QUIC handshake failed");
        }
    }

    fn on_endpoint_connection_attempt_failed(
        &mut self,
        _: &EndpointMeta,
        _: &EndpointConnectionAttemptFailed,
    ) {
        self.0.metrics.quic_handshakes_failed_total.inc();
    }

    fn on_endpoint_packet_sent(&mut self, _: &EndpointMeta, event: &EndpointPacketSent) {
        match event.packet_header {
            PacketHeader::StatelessReset { .. } => self.0.metrics.quic_stateless_resets_total.inc(),
            PacketHeader::Retry { .. } => self.0.metrics.quic_retries_total.inc(),
            _ => {}
        }
    }

    fn on_endpoint_datagram_sent(&mut self, _: &EndpointMeta, event: &EndpointDatagramSent) {
        self.0.bytes_sent.inc_by(event.len.into());
    }

    fn on_datagram_sent(&mut self, _: &mut Remembered, _: &ConnectionMeta, event: &DatagramSent) {
        self.0.bytes_sent.inc_by(event.len.into());
    }

    fn on_datagram_received(
        &mut self,
        _: &mut Remembered,
        _: &ConnectionMeta,
        event: &DatagramReceived,
    ) {
        self.0.bytes_received.inc_by(event.len.into());
    }
}
