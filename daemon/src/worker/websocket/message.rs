//! What the worker needs to know of a client's message: whether it waits for an answer, and which.
//! Pure. May not: decide anything else, which is the relay's.

use ggen_mcp::protocol::json::{Envelope, Kind};
use ggen_mcp::protocol::{inbound, json};

/// A message as far as the socket is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A request with its id as it stands.
    Request {
        /// As it stands.
        id: Box<str>,
        /// It says of itself that it is modern.
        modern: bool,
        /// A legacy `initialize`: what follows belongs to the session that it begins.
        initialize: bool,
        /// `subscriptions/listen`: its answer comes when it is taken back, and not before.
        endless: bool,
    },
    /// A notification or a response: nothing is answered.
    Quiet,
    /// A batch, or no message at all: what the relay says of it is passed on.
    Other,
}

/// A message, and the id that it takes back if it is `notifications/cancelled`.
pub(super) fn read(text: &str) -> (Origin, Option<Box<str>>) {
    let Ok(envelope) = Envelope::parse(text) else {
        return (Origin::Other, None);
    };
    match &envelope.kind {
        Kind::Request(id, method) => {
            let modern = inbound::is_claimed(&envelope);
            let (initialize, endless) = (
                !modern && method == "initialize",
                method == "subscriptions/listen",
            );
            (
                Origin::Request {
                    id: (*id).into(),
                    modern,
                    initialize,
                    endless,
                },
                None,
            )
        }
        Kind::Notification(method) if method == "notifications/cancelled" => {
            let id = envelope
                .params
                .and_then(|params| json::pick(params, ["requestId"]))
                .and_then(|[id]| id);
            (Origin::Quiet, id.map(Into::into))
        }
        _ => (Origin::Quiet, None),
    }
}

impl Origin {
    /// Whether a drain waits for it.
    pub(super) const fn is_waited_for(&self) -> bool {
        !matches!(self, Self::Request { endless: true, .. })
    }

    /// The id to answer with; `None` if there is none.
    pub(super) fn id(&self) -> Option<&str> {
        if let Self::Request { id, .. } = self {
            Some(id)
        } else {
            None
        }
    }

    /// Whether what the relay says of it goes to the client.
    pub(super) const fn is_answered(&self) -> bool {
        !matches!(self, Self::Quiet)
    }

    /// Whether it is a modern request with this id.
    pub(super) fn is_modern(&self, wanted: &str) -> bool {
        matches!(self, Self::Request { id, modern: true, .. } if **id == *wanted)
    }

    /// Whether it belongs to the connection's legacy session, if there is one.
    pub(super) const fn is_of_session(&self) -> bool {
        !matches!(
            self,
            Self::Request { modern: true, .. }
                | Self::Request {
                    initialize: true,
                    ..
                }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{Origin, read};

    #[test]
    fn messages_are_told_apart() {
        let request = |id: &str, modern, initialize| {
            (
                Origin::Request {
                    id: id.into(),
                    modern,
                    initialize,
                    endless: false,
                },
                None,
            )
        };
        let claim =
            r#""params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}"#;
        assert_eq!(
            read(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#),
            request("1", false, false)
        );
        assert_eq!(
            read(r#"{"jsonrpc":"2.0","id":"a","method":"initialize"}"#),
            request("\"a\"", false, true)
        );
        assert_eq!(
            read(&format!(
                r#"{{"jsonrpc":"2.0","id":2,"method":"initialize",{claim}}}"#
            )),
            request("2", true, false)
        );
        let cancel =
            r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"x"}}"#;
        assert_eq!(read(cancel), (Origin::Quiet, Some("\"x\"".into())));
        assert_eq!(
            read(r#"{"jsonrpc":"2.0","id":7,"result":{}}"#),
            (Origin::Quiet, None)
        );
        for other in ["", "[]", "{", r#"{"id":1,"method":"x"}"#] {
            assert_eq!(read(other), (Origin::Other, None), "{other}");
        }
    }
}
