//! The certificates that clients showed when they opened a WebSocket over TLS, verified again when
//! authorities, revocations or names change. The handshake itself is the http worker's.

use crate::{config::Mtls, ipc::secrets::TlsSecrets, tls::serve::Judge};
use ggen_wire::Code;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Who is accepted now.
#[derive(Debug, Default)]
pub(super) struct Certificates(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    mtls: Mtls,
    /// Without the keys, which are not needed here.
    secrets: TlsSecrets,
    judge: Option<Judge>,
}

impl Certificates {
    /// Judges by other authorities and revocations from now on.
    pub(super) fn set_secrets(&self, secrets: TlsSecrets) {
        let mut inner = self.lock();
        inner.secrets = TlsSecrets {
            certificates: Vec::new(),
            ..secrets
        };
        inner.build();
    }

    /// Judges by other names from now on.
    pub(super) fn set_mtls(&self, mtls: &Mtls) {
        let mut inner = self.lock();
        inner.mtls.clone_from(mtls);
        inner.build();
    }

    /// Whether what a client showed would still be accepted; nothing is. `alone`: it is all that
    /// the client is known by.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn still(&self, shown: &[Vec<u8>], alone: bool) -> Result<(), String> {
        match &self.lock().judge {
            _ if shown.is_empty() => Ok(()),
            Some(judge) => judge.still(shown),
            None if !alone => Ok(()),
            None => Err("client certificates are not asked for any more".to_owned()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn build(&mut self) {
        match Judge::of(&self.mtls, &self.secrets) {
            Ok(judge) => self.judge = judge,
            // Read and checked by the supervisor before; what was in force stays.
            Err(error) => {
                tracing::error!(target: "transport", code = %Code::CertificateUnusable, "client certificates: {}", error.what);
            }
        }
    }
}
