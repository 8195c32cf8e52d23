//! The key that encrypts what the relay has clients carry (`requestState`). The supervisor makes it
//! when it starts and gives it to every gateway worker, so that a worker can read what its
//! predecessor encrypted. It is never stored.

use serde::{Deserialize, Serialize};
use std::fmt;

/// 256 random bits.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealKey(pub [u8; 32]);

impl SealKey {
    /// A new one.
    ///
    /// # Errors
    /// The operating system gives no random bytes.
    pub fn random() -> std::io::Result<Self> {
        let mut bits = [0; 32];
        getrandom::fill(&mut bits).map_err(std::io::Error::other)?;
        Ok(Self(bits))
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey(…)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::SealKey;

    #[test]
    fn a_key_travels_and_is_not_shown() {
        let key = SealKey::random().unwrap();
        let text = serde_json::to_string(&key).unwrap();
        assert!(
            serde_json::from_str::<SealKey>(&text).unwrap() == key
                && key != SealKey::random().unwrap()
        );
        assert_eq!(format!("{key:?}"), "SealKey(…)");
    }
}
