//! Why an address cannot be listened at.

use crate::platform;
use ggen_wire::Code;
use std::io;

/// An address could not be had.
#[derive(Debug, thiserror::Error)]
#[error("{message} [{code}]")]
pub(crate) struct ListenError {
    /// `PortTaken`, `BindFailed` or `OpenWithoutAuth`.
    pub(crate) code: Code,
    message: String,
    #[source]
    source: io::Error,
}

impl ListenError {
    pub(super) const fn new(code: Code, message: String, source: io::Error) -> Self {
        Self {
            code,
            message,
            source,
        }
    }

    /// Strangers could reach the socket, and nobody asks them who they are.
    pub(super) fn open_to_strangers(message: String) -> Self {
        let source = io::ErrorKind::PermissionDenied.into();
        Self::new(Code::OpenWithoutAuth, message, source)
    }

    /// Whether this host does not have the address, or nothing of its family.
    pub(super) fn is_absent(&self) -> bool {
        platform::is_absent(&self.source)
    }

    /// Which address, and why, without the code.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }
}
