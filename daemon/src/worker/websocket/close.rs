//! Why a connection is closed, and the close code for the client (RFC 6455 §7.4, and the registry
//! of close codes for 1012 and 1013). Pure.

use ggen_wire::Code;
use tokio_tungstenite::tungstenite::{
    self,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

/// Why we close a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Close {
    /// The worker stops or is replaced.
    Going,
    /// Frames that break RFC 6455.
    Protocol,
    /// A binary message.
    Binary,
    /// Text that is not UTF-8.
    NotText,
    /// A message over `max_message`.
    TooLarge,
    /// No sign of life in time.
    Silent,
    /// Nothing of what was sent was taken in time.
    Slow,
    /// Whoever opened it is not let in any more.
    Denied,
    /// Too many connections.
    Full,
    /// The legacy session is gone, with the gateway worker that held it.
    SessionLost,
}

impl Close {
    /// The close code.
    pub(crate) const fn code(self) -> u16 {
        match self {
            Self::Going => 1001,
            Self::Protocol => 1002,
            Self::Binary => 1003,
            Self::NotText => 1007,
            Self::Silent | Self::Denied => 1008,
            Self::TooLarge => 1009,
            Self::SessionLost => 1012,
            Self::Slow | Self::Full => 1013,
        }
    }

    /// Our stable code and a few words: the reason in the close frame.
    pub(crate) fn frame(self) -> CloseFrame {
        let (code, words) = match self {
            Self::Going => (None, "the server stops or is replaced; connect again"),
            Self::Protocol => (Some(Code::InvalidRequest), "broken WebSocket frames"),
            Self::Binary => (Some(Code::BinaryMessage), ""),
            Self::NotText => (Some(Code::InvalidJson), "not UTF-8"),
            Self::TooLarge => (
                Some(Code::BodyTooLarge),
                "the limit is transports.websocket.max_message",
            ),
            Self::Silent => (Some(Code::SocketSilent), ""),
            Self::Slow => (Some(Code::SocketSlow), ""),
            Self::Denied => (
                Some(Code::AuthenticationFailed),
                "the key or token is not good any more",
            ),
            Self::Full => (Some(Code::Overloaded), "too many connections"),
            Self::SessionLost => (
                Some(Code::SessionUnknown),
                "connect again and send initialize",
            ),
        };
        let reason = match (code, words) {
            (None, words) => words.to_owned(),
            (Some(code), "") => format!("{code} {}", code.title()),
            (Some(code), words) => format!("{code} {words}"),
        };
        CloseFrame {
            code: CloseCode::from(self.code()),
            reason: reason.into(),
        }
    }

    /// What a fault while reading means; `None`: the connection is gone.
    pub(crate) const fn of(error: &tungstenite::Error) -> Option<Self> {
        use tungstenite::{Error, error::ProtocolError};
        match error {
            Error::Capacity(_) => Some(Self::TooLarge),
            Error::Utf8(_) => Some(Self::NotText),
            Error::Protocol(
                ProtocolError::ResetWithoutClosingHandshake | ProtocolError::SendAfterClosing,
            ) => None,
            Error::Protocol(_) => Some(Self::Protocol),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Close;

    #[test]
    fn reasons_fit_into_a_control_frame() {
        use Close::{
            Binary, Denied, Full, Going, NotText, Protocol, SessionLost, Silent, Slow, TooLarge,
        };
        for close in [
            Going,
            Protocol,
            Binary,
            NotText,
            TooLarge,
            Silent,
            Slow,
            Denied,
            Full,
            SessionLost,
        ] {
            let frame = close.frame();
            assert_eq!(u16::from(frame.code), close.code());
            assert!(
                frame.reason.len() <= 123 && frame.code.is_allowed(),
                "{close:?}: {}",
                frame.reason
            );
        }
    }
}
