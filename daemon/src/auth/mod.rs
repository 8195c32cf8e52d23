//! Authentication: API keys and their store, signed tokens, and the commands that make and revoke
//! them. Every check is pure: keys, claims and the time are arguments. May not: know HTTP, use the
//! network, run on an event loop (the store blocks).

mod claims;
pub mod commands;
mod duration;
mod key;
mod keys;
mod rulebook;
mod store;
#[cfg(test)]
mod tests;
mod token;

pub use claims::Claims;
pub(crate) use key::hex;
pub use key::{Digest, PREFIX, digest, generate, same};
pub use keys::{KeyError, Keys, algorithm};
pub use rulebook::{
    AuthSecrets, Credential, FixedKey, JwtSettings, OAuthSettings, Rejected, Rulebook, Source,
    covers,
};
pub use store::{FILE, KeyRecord, KeyStatus, NewKey, Revoked, Snapshot, Store, StoreError};
pub use token::{Token, TokenError, Trust, sign};

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970; 0 before that.
#[must_use]
pub fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
