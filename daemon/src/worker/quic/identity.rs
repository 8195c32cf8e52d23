//! Connection ids that name the worker's socket slot, and stateless reset tokens that outlive a
//! worker.

use crate::ipc::socket_slot::{ID_LENGTH, MAGIC, SocketSlot, slot_of};
use s2n_quic::provider::{connection_id, stateless_reset_token};
use s2n_quic_core::{connection::LocalId, stateless_reset::Token};
use sha2::{Digest, Sha256};
use std::{convert::Infallible, time::Duration};

/// Connection ids of one socket slot.
#[derive(Clone, Debug)]
pub(super) struct Ids(pub(super) u8);

impl connection_id::Generator for Ids {
    fn generate(&mut self, _: &connection_id::ConnectionInfo<'_>) -> LocalId {
        let mut id = [0; ID_LENGTH];
        // Without the system's generator there is no TLS either.
        getrandom::fill(&mut id).unwrap_or_default();
        id[0] = self.0;
        id[1..3].copy_from_slice(&MAGIC);
        LocalId::try_from(&id[..]).unwrap_or_else(|_| unreachable!("the length is a valid one"))
    }

    fn lifetime(&self) -> Option<Duration> {
        None
    }
}

impl connection_id::Validator for Ids {
    /// What is not for this socket slot is not answered, not even with a reset.
    fn validate(&self, _: &connection_id::ConnectionInfo<'_>, buffer: &[u8]) -> Option<usize> {
        (slot_of(buffer) == Some(self.0)).then_some(ID_LENGTH)
    }
}

/// Stateless reset tokens (RFC 9000 §10.3.2): a keyed function of the connection id.
#[derive(Clone, Debug)]
pub(super) struct Tokens(pub(super) SocketSlot);

impl Tokens {
    /// That of an id of this socket slot.
    pub(super) fn token(&self, id: &[u8]) -> [u8; 16] {
        // Key and id have fixed lengths, and half of the digest is kept: the plain hash is as good
        // as HMAC here.
        let digest = Sha256::new()
            .chain_update(self.0.reset_key)
            .chain_update(id)
            .finalize();
        let mut token = [0; 16];
        token
            .iter_mut()
            .zip(digest)
            .for_each(|(to, from)| *to = from);
        token
    }
}

impl stateless_reset_token::Generator for Tokens {
    fn generate(&mut self, id: &[u8]) -> Token {
        if slot_of(id) == Some(self.0.index) {
            return self.token(id).into();
        }
        // Somebody else's connection must not be ended from here (RFC 9000 §21.11).
        let mut noise = [0; 16];
        getrandom::fill(&mut noise).unwrap_or_default();
        noise.into()
    }
}

impl stateless_reset_token::Provider for Tokens {
    type Generator = Self;
    type Error = Infallible;

    fn start(self) -> Result<Self, Infallible> {
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use connection_id::{ConnectionInfo, Generator as _, Validator as _};
    use s2n_quic_core::inet::SocketAddress;
    use stateless_reset_token::Generator as _;

    #[test]
    fn ids_name_their_socket_slot_and_tokens_survive_the_worker() {
        let address = SocketAddress::default();
        let info = ConnectionInfo::new(&address);
        let (mut ids, key) = (Ids(7), [3; 32]);
        let id = ids.generate(&info);
        assert_eq!(
            (id.as_bytes().len(), slot_of(id.as_bytes())),
            (ID_LENGTH, Some(7))
        );
        assert_ne!(id, ids.generate(&info));
        assert_eq!(
            (
                ids.validate(&info, id.as_bytes()),
                Ids(8).validate(&info, id.as_bytes())
            ),
            (Some(ID_LENGTH), None)
        );

        let mut one = Tokens(SocketSlot {
            index: 7,
            reset_key: key,
        });
        let token = one.generate(id.as_bytes());
        assert_eq!(one.clone().generate(id.as_bytes()), token);
        assert_ne!(
            Tokens(SocketSlot {
                index: 8,
                reset_key: key
            })
            .generate(id.as_bytes()),
            token
        );
        assert_ne!(
            Tokens(SocketSlot {
                index: 7,
                reset_key: [4; 32]
            })
            .generate(id.as_bytes()),
            token
        );
    }
}
