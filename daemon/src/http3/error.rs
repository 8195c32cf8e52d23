//! Errors of the transport, as h3 takes them. Pure.

use h3::quic::{ConnectionErrorIncoming, StreamErrorIncoming};
use s2n_quic::{connection, stream};
use std::sync::Arc;

/// Of a connection.
pub(super) fn of_connection(error: connection::Error) -> ConnectionErrorIncoming {
    match error {
        connection::Error::Application { error, .. } => {
            ConnectionErrorIncoming::ApplicationClose { error_code: *error }
        }
        connection::Error::IdleTimerExpired { .. }
        | connection::Error::MaxHandshakeDurationExceeded { .. } => {
            ConnectionErrorIncoming::Timeout
        }
        other => ConnectionErrorIncoming::Undefined(Arc::new(other)),
    }
}

/// Of a stream.
pub(super) fn of_stream(error: stream::Error) -> StreamErrorIncoming {
    match error {
        stream::Error::StreamReset { error, .. } => {
            StreamErrorIncoming::StreamTerminated { error_code: *error }
        }
        stream::Error::ConnectionError { error, .. } => {
            StreamErrorIncoming::ConnectionErrorIncoming {
                connection_error: of_connection(error),
            }
        }
        other => StreamErrorIncoming::Unknown(Box::new(other)),
    }
}

/// The acceptor has nothing more to give, and no reason.
pub(super) fn closed() -> ConnectionErrorIncoming {
    ConnectionErrorIncoming::ApplicationClose {
        error_code: super::code::NO_ERROR,
    }
}
