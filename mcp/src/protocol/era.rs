//! The eras of the protocol, and those of the two ends of a call.

/// An era of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Era {
    /// Up to 2025-11-25: sessions that begin with a handshake.
    Legacy,
    /// From 2026-07-28 on: each request stands for itself.
    Modern,
}

impl Era {
    pub(crate) const fn of(modern: bool) -> Self {
        if modern { Self::Modern } else { Self::Legacy }
    }

    pub(crate) const fn is_modern(self) -> bool {
        matches!(self, Self::Modern)
    }
}

/// The eras of the client and the server of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EraPair {
    pub(crate) client: Era,
    pub(crate) server: Era,
}

impl EraPair {
    pub(crate) const LEGACY: Self = Self {
        client: Era::Legacy,
        server: Era::Legacy,
    };
    pub(crate) const LEGACY_TO_MODERN: Self = Self {
        client: Era::Legacy,
        server: Era::Modern,
    };
    pub(crate) const MODERN_TO_LEGACY: Self = Self {
        client: Era::Modern,
        server: Era::Legacy,
    };
    pub(crate) const MODERN: Self = Self {
        client: Era::Modern,
        server: Era::Modern,
    };

    /// Whether each is of the modern era.
    pub(crate) const fn of(client_is_modern: bool, server_is_modern: bool) -> Self {
        Self {
            client: Era::of(client_is_modern),
            server: Era::of(server_is_modern),
        }
    }
}
