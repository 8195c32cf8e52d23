//! `requestState` of calls that wait for their client: sealed, so that a client can neither read
//! nor change it, nor use it for another request or as another principal (MCP 2026-07-28, MRTR,
//! "Server Requirements"). XChaCha20-Poly1305: its nonces are long enough to be drawn at random.

use crate::protocol::json;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use sha2::{Digest, Sha256};
use std::fmt;

/// The key that states are sealed with. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(pub [u8; 32]);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

/// What a retry does with its call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The call waits, and goes on.
    Resume,
    /// Nothing is kept: the call is made again.
    Repeat,
}

/// What a state says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// What the retry does.
    pub mode: Mode,
    /// The call that waits.
    pub pending_input: u128,
    /// The life of the gateway worker that keeps it ([`crate::api::Settings::incarnation`]).
    pub life: u64,
    /// Whose call it is and what it asks for: see [`subject`].
    pub subject: [u8; 32],
    /// The end of its validity, by the clock of that life.
    pub expires: u64,
    /// How often the call has been answered with questions, this one included.
    pub round: u32,
}

/// Version, mode, pending_input, life, subject, expiry, round.
const LENGTH: usize = 1 + 1 + 16 + 8 + 32 + 8 + 4;
const VERSION: u8 = 1;
const NONCE: usize = 24;

/// Seals and opens states.
pub struct Sealer(XChaCha20Poly1305);

impl Sealer {
    /// One for a key.
    #[must_use]
    pub fn new(key: &Key) -> Self {
        Self(XChaCha20Poly1305::new(&key.0.into()))
    }

    /// Seals a state for the retry of a request of this method. `nonce`: random, never used before.
    #[must_use]
    pub fn seal(&self, nonce: [u8; NONCE], method: &str, state: &State) -> String {
        let mut plain = Vec::with_capacity(LENGTH);
        plain.extend([VERSION, u8::from(state.mode == Mode::Repeat)]);
        plain.extend(state.pending_input.to_be_bytes());
        plain.extend(state.life.to_be_bytes());
        plain.extend(state.subject);
        plain.extend(state.expires.to_be_bytes());
        plain.extend(state.round.to_be_bytes());
        let sealed = self.0.encrypt(
            &XNonce::from(nonce),
            Payload {
                msg: &plain,
                aad: method.as_bytes(),
            },
        );
        // Only a message of many gigabytes cannot be sealed; what is empty is opened by nobody.
        let sealed = sealed.unwrap_or_default();
        let mut bytes = nonce.to_vec();
        bytes.extend(sealed);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Opens what was sealed with this key for this method; `None` for anything else.
    #[must_use]
    pub fn open(&self, method: &str, text: &str) -> Option<State> {
        // Nothing of ours is longer, and nobody has us decode what is.
        let bytes = (text.len() < 1024)
            .then(|| URL_SAFE_NO_PAD.decode(text).ok())
            .flatten()?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE>()?;
        let plain = self
            .0
            .decrypt(
                &XNonce::from(*nonce),
                Payload {
                    msg: sealed,
                    aad: method.as_bytes(),
                },
            )
            .ok()?;
        let (head, rest) = plain.split_first_chunk::<2>()?;
        let mode = match head {
            [VERSION, 0] => Mode::Resume,
            [VERSION, 1] => Mode::Repeat,
            _ => return None,
        };
        let (id, rest) = rest.split_first_chunk::<16>()?;
        let (life, rest) = rest.split_first_chunk::<8>()?;
        let (subject, rest) = rest.split_first_chunk::<32>()?;
        let (expires, rest) = rest.split_first_chunk::<8>()?;
        let (round, rest) = rest.split_first_chunk::<4>()?;
        rest.is_empty().then_some(State {
            mode,
            pending_input: u128::from_be_bytes(*id),
            life: u64::from_be_bytes(*life),
            subject: *subject,
            expires: u64::from_be_bytes(*expires),
            round: u32::from_be_bytes(*round),
        })
    }
}

/// What a call is about: the principal, the server, the method, its name or URI there, and its
/// arguments whatever their order and white space.
#[must_use]
pub fn subject(
    principal: &str,
    server: &str,
    method: &str,
    name: &str,
    arguments: Option<&str>,
) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in [principal, server, method, name] {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.update(arguments.map(canonical).unwrap_or_default());
    hasher.finalize().into()
}

/// A digest of a JSON text that is the same for the same value in another order of members and with
/// other white space.
#[must_use]
pub fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(canonical(text)).into()
}

/// Members in order, strings in one spelling, no white space; numbers stay as they are written. Its
/// depth was bounded when the message came in.
fn canonical(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    write_canonical(text, &mut out);
    out
}

fn write_canonical(text: &str, out: &mut String) {
    match text.as_bytes().first() {
        Some(b'{') => {
            let mut members = json::members(text).unwrap_or_default();
            members.sort_by(|one, two| one.0.cmp(&two.0));
            out.push('{');
            for (at, (key, value)) in members.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                out.push_str(&json::quote(key));
                out.push(':');
                write_canonical(value, out);
            }
            out.push('}');
        }
        Some(b'[') => {
            out.push('[');
            for (at, value) in json::elements(text)
                .unwrap_or_default()
                .into_iter()
                .enumerate()
            {
                if at > 0 {
                    out.push(',');
                }
                write_canonical(value, out);
            }
            out.push(']');
        }
        Some(b'"') => match json::string(text) {
            Some(string) => out.push_str(&json::quote(&string)),
            None => out.push_str(text),
        },
        _ => out.push_str(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        State {
            mode: Mode::Resume,
            pending_input: 7,
            life: 3,
            subject: subject("me", "s", "tools/call", "t", None),
            expires: 99,
            round: 2,
        }
    }

    #[test]
    fn only_what_was_sealed_for_the_method_is_opened() {
        let (sealer, other) = (Sealer::new(&Key([1; 32])), Sealer::new(&Key([2; 32])));
        let text = sealer.seal([9; 24], "tools/call", &state());
        assert!(text.len() < 256 && !text.contains('='), "{text}");
        assert_eq!(sealer.open("tools/call", &text), Some(state()));
        assert_eq!(sealer.open("prompts/get", &text), None);
        assert_eq!(other.open("tools/call", &text), None);
        for at in 0..text.len() {
            let changed = if text.as_bytes()[at] == b'A' {
                "B"
            } else {
                "A"
            };
            let mut tampered = text.clone();
            tampered.replace_range(at..=at, changed);
            assert_eq!(sealer.open("tools/call", &tampered), None, "character {at}");
        }
        for text in ["", "x", "!!", &"A".repeat(5000), &text[..text.len() - 4]] {
            assert_eq!(sealer.open("tools/call", text), None, "{text}");
        }
    }

    #[test]
    fn a_subject_is_the_value_and_not_its_spelling() {
        let of = |arguments| subject("me", "s", "tools/call", "t", Some(arguments));
        assert_eq!(
            of(r#"{"a":1,"b":[{"c":"x","d":null}]}"#),
            of(r#"{ "b" : [ {"d":null,"\u0063":"\u0078"} ], "a":1 }"#)
        );
        for other in [
            r#"{"a":1}"#,
            r#"{"a":2,"b":[{"c":"x","d":null}]}"#,
            r#"{"a":1,"b":[{"c":"x"},{"d":null}]}"#,
        ] {
            assert_ne!(of(r#"{"a":1,"b":[{"c":"x","d":null}]}"#), of(other));
        }
        assert_ne!(
            subject("ab", "c", "m", "n", None),
            subject("a", "bc", "m", "n", None)
        );
        assert_eq!(format!("{:?}", Key([1; 32])), "Key(…)");
    }
}
