//! API keys: `ggen_sk_` and 43 characters of base62, 256 bits from the operating system. Pure but
//! for the generator.
//!
//! They are stored as SHA-256. A slow hash protects secrets that can be guessed; nobody guesses 256
//! bits, and a slow hash at every request would be a gift to whoever wants to keep the gateway
//! busy.

use crate::config::Secret;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

/// What our keys begin with, so that scanners for secrets find them.
pub const PREFIX: &str = "ggen_sk_";

/// 62⁴³ > 2²⁵⁶.
const LENGTH: usize = 43;
/// Characters of the public name of a key or a token.
const ID_LENGTH: usize = 16;
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const BASE36: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// SHA-256 of a key.
pub type Digest = [u8; 32];

/// A new key.
///
/// # Errors
/// When the operating system gives no random bytes.
pub fn generate() -> Result<Secret, getrandom::Error> {
    Ok(Secret::new(format!("{PREFIX}{}", random(BASE62, LENGTH)?)))
}

/// A new secret for signed tokens: 256 bits, base62.
pub(super) fn secret() -> Result<Secret, getrandom::Error> {
    Ok(Secret::new(random(BASE62, LENGTH)?))
}

/// The public name of a key or a token: no secret, never used twice.
pub(super) fn id() -> Result<String, getrandom::Error> {
    random(BASE36, ID_LENGTH)
}

/// Whether a text has the form of such a name.
pub(super) fn is_id(text: &str) -> bool {
    text.len() == ID_LENGTH && text.bytes().all(|byte| BASE36.contains(&byte))
}

/// Evenly distributed: bytes that would favour some characters are thrown away.
fn random(alphabet: &[u8], length: usize) -> Result<String, getrandom::Error> {
    let fair = 256 - 256 % alphabet.len();
    let mut text = String::with_capacity(length);
    let mut bytes = [0; 64];
    while text.len() < length {
        getrandom::fill(&mut bytes)?;
        let fit = bytes
            .iter()
            .map(|byte| usize::from(*byte))
            .filter(|byte| *byte < fair);
        text.extend(
            fit.map(|byte| char::from(alphabet[byte % alphabet.len()]))
                .take(length - text.len()),
        );
    }
    Ok(text)
}

/// What is stored of a key, and what it is found by.
#[must_use]
pub fn digest(key: &str) -> Digest {
    Sha256::digest(key.as_bytes()).into()
}

/// Compares in constant time.
#[must_use]
pub fn same(one: &Digest, other: &Digest) -> bool {
    one.ct_eq(other).into()
}

/// A digest, or another secret of that length, in hexadecimal digits, as it is stored and sent.
pub(crate) mod hex {
    use super::Digest;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn encode(digest: &Digest) -> String {
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub(crate) fn decode(text: &str) -> Option<Digest> {
        let digit = |at: usize| {
            char::from(*text.as_bytes().get(at)?)
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok())
        };
        let mut digest = [0; 32];
        for (at, byte) in digest.iter_mut().enumerate() {
            *byte = digit(2 * at)? * 16 + digit(2 * at + 1)?;
        }
        (text.len() == 64).then_some(digest)
    }

    pub(crate) fn serialize<S: Serializer>(
        digest: &Digest,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&encode(digest))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Digest, D::Error> {
        decode(&String::deserialize(deserializer)?).ok_or_else(|| D::Error::custom("not a digest"))
    }
}

#[cfg(test)]
mod tests {
    use super::{BASE62, PREFIX, digest, generate, hex, id, same};
    use std::collections::HashSet;

    #[test]
    fn keys_are_long_random_and_never_the_same() {
        let keys: Vec<_> = (0..1000).map(|_| generate().expect("random")).collect();
        assert_eq!(
            keys.iter()
                .map(|key| key.expose())
                .collect::<HashSet<_>>()
                .len(),
            1000
        );
        let mut seen = HashSet::new();
        for key in &keys {
            let body = key.expose().strip_prefix(PREFIX).expect("the prefix");
            assert_eq!(body.len(), 43);
            seen.extend(body.bytes());
        }
        assert_eq!(seen, BASE62.iter().copied().collect());
        assert_eq!(id().expect("random").len(), 16);
    }

    #[test]
    fn digests_are_compared_and_written() {
        let (one, other) = (digest("a"), digest("b"));
        assert!(same(&one, &digest("a")) && !same(&one, &other));
        assert_eq!(hex::decode(&hex::encode(&one)), Some(one));
        assert!(hex::encode(&one).starts_with("ca978112ca1bbdcafac231b39a23dc4d"));
        for bad in ["", "zz", &hex::encode(&one)[1..], "\u{e9}"] {
            assert_eq!(hex::decode(bad), None);
        }
    }
}
