//! Certificates and keys: reading and checking their files (the supervisor), serving TLS (edge
//! workers), making them (`ggend auth`), examining them as a client (the probe). Only `files` and
//! `make` touch the file system, and workers may not use those.

mod certificate;
pub mod client;
pub mod command;
pub mod files;
pub mod make;
pub mod serve;

pub use certificate::{Facts, chain, facts};

use ggen_wire::Code;
use rustls::crypto::CryptoProvider;
use std::sync::Arc;

/// Why certificates cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} [{code}]")]
pub struct Unusable {
    /// The stable code.
    pub code: Code,
    /// Which file, and what is wrong with it.
    pub what: String,
}

impl Unusable {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self {
            code: Code::CertificateUnusable,
            what: what.into(),
        }
    }
}

/// The one cryptography that we use.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
