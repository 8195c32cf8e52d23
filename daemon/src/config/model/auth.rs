//! Who may ask.

use super::tls::Mtls;
use serde::{Deserialize, Serialize};

/// `auth`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// Client certificates.
    pub mtls: Mtls,
}
