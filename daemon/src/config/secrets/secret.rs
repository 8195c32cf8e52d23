//! A text that is not shown: `Debug` and serialising give `***`. [`Secret::expose`] is the only way
//! to it, and easy to search for. May not: log, compare during a request (digests are compared
//! there, in constant time).

use super::redact::HIDDEN;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// A secret text, such as an API key or the secret of a JWT.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a text in.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(HIDDEN)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl serde::de::Visitor<'_> for Form {
            type Value = Secret;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Secret, E> {
                Ok(Secret(text.to_owned()))
            }

            // What is refused must not be shown either: serde's own words would repeat it.
            fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<Secret, E> {
                Err(E::custom(
                    "invalid type: a number, expected a text in quotes",
                ))
            }

            fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<Secret, E> {
                Err(E::custom(
                    "invalid type: a number, expected a text in quotes",
                ))
            }

            fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<Secret, E> {
                Err(E::custom(
                    "invalid type: a number, expected a text in quotes",
                ))
            }
        }
        deserializer.deserialize_any(Form)
    }
}

/// For `#[serde(serialize_with)]`: as it is, for a message between our own processes.
///
/// # Errors
/// The serializer's.
pub fn exposed<S: Serializer>(secret: &Option<Secret>, serializer: S) -> Result<S::Ok, S::Error> {
    secret.as_ref().map(Secret::expose).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn a_secret_is_shown_to_nobody() {
        let secret: Secret = serde_json::from_str("\"hush\"").expect("a text");
        assert_eq!(secret.expose(), "hush");
        assert_eq!(
            format!("{secret:?} {:#?}", Some(&secret)),
            "*** Some(\n    ***,\n)"
        );
        assert_eq!(serde_json::to_string(&secret).expect("writes"), "\"***\"");
        let refused = serde_json::from_str::<Secret>("123456789")
            .expect_err("a number")
            .to_string();
        assert!(!refused.contains("1234"), "{refused}");
    }
}
