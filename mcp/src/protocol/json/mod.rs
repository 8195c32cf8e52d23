//! JSON as the relay sees it: the envelope of a message and single members of an object; everything
//! else stays bytes.

pub mod server_message;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// Why bytes are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadJson {
    /// Not UTF-8 or not JSON.
    #[error("not valid JSON")]
    Syntax,
    /// JSON, but not a JSON-RPC message.
    #[error("not a JSON-RPC message")]
    Shape,
    /// A member of the envelope came twice.
    #[error("duplicate key")]
    Duplicate,
    /// Nested over the limit.
    #[error("nested too deeply")]
    Depth,
}

/// A JSON-RPC message, its members as they stand in `text`.
#[derive(Clone, Debug)]
pub struct Envelope<'a> {
    /// The whole message.
    pub text: &'a str,
    /// What it is.
    pub kind: Kind<'a>,
    /// `params`, if there are any.
    pub params: Option<&'a str>,
}

/// The three kinds of message.
#[derive(Clone, Debug)]
pub enum Kind<'a> {
    /// With `id` (as it stands) and `method`.
    Request(&'a str, Cow<'a, str>),
    /// With `method` only.
    Notification(Cow<'a, str>),
    /// With `id` and `result`.
    Result(&'a str, &'a str),
    /// With `error`; the id may be absent or null.
    Error(Option<&'a str>, &'a str),
}

#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    jsonrpc: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    method: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    params: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    error: Option<&'a RawValue>,
}

/// `null` is a value here, not an absence.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl<'a> Envelope<'a> {
    /// Reads a message, and tolerates nothing. The whole text is checked for being JSON. What
    /// configured servers send is read by [`server_message`].
    ///
    /// # Errors
    /// [`BadJson`]; an array is `Shape`.
    pub fn parse(text: &'a str) -> Result<Self, BadJson> {
        let raw: Raw<'a> = serde_json::from_str(text).map_err(|error| reason(&error))?;
        if raw.jsonrpc.map(RawValue::get) != Some("\"2.0\"") {
            return Err(BadJson::Shape);
        }
        let params = match raw.params.map(RawValue::get) {
            Some("null") | None => None,
            Some(params) if params.starts_with('{') => Some(params),
            Some(_) => return Err(BadJson::Shape),
        };
        let id = raw.id.map(RawValue::get);
        let method = raw
            .method
            .map(|raw| string(raw.get()).ok_or(BadJson::Shape))
            .transpose()?;
        let kind = match (method, id, raw.result, raw.error) {
            (Some(method), Some(id), None, None) if is_id(id) => Kind::Request(id, method),
            (Some(method), None, None, None) => Kind::Notification(method),
            (None, Some(id), Some(result), None) if is_id(id) => Kind::Result(id, result.get()),
            (None, id, None, Some(error)) => Kind::Error(id.filter(|id| is_id(id)), error.get()),
            _ => return Err(BadJson::Shape),
        };
        Ok(Self { text, kind, params })
    }
}

/// A JSON-RPC id is a string or a number.
fn is_id(raw: &str) -> bool {
    raw.starts_with(|c: char| c == '"' || c == '-' || c.is_ascii_digit())
}

fn reason(error: &serde_json::Error) -> BadJson {
    if error.is_data() {
        if error.to_string().starts_with("duplicate field") {
            BadJson::Duplicate
        } else {
            BadJson::Shape
        }
    } else {
        BadJson::Syntax
    }
}

/// Reads the elements of an array as they stand.
#[must_use]
pub fn elements(text: &str) -> Option<Vec<&str>> {
    serde_json::from_str::<Vec<&RawValue>>(text)
        .ok()
        .map(|list| list.into_iter().map(RawValue::get).collect())
}

/// Reads the members of an object, in order, values as they stand.
#[must_use]
pub fn members(text: &str) -> Option<Vec<(Cow<'_, str>, &str)>> {
    struct All;
    impl<'de> Visitor<'de> for All {
        type Value = Vec<(Cow<'de, str>, &'de str)>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut all = Vec::new();
            while let Some(Key(key)) = map.next_key()? {
                all.push((key, map.next_value::<&RawValue>()?.get()));
            }
            Ok(all)
        }
    }
    serde_json::Deserializer::from_str(text)
        .deserialize_map(All)
        .ok()
}

#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// Picks named members of an object, values as they stand. `None` if the text is no object or one
/// of them came twice.
#[must_use]
pub fn pick<'a, const N: usize>(text: &'a str, keys: [&str; N]) -> Option<[Option<&'a str>; N]> {
    struct Some_<'k, const N: usize>([&'k str; N]);
    impl<'de, const N: usize> Visitor<'de> for Some_<'_, N> {
        type Value = [Option<&'de str>; N];
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut found = [None; N];
            while let Some(place) = map.next_key_seed(Place(&self.0))? {
                match place {
                    None => drop(map.next_value::<IgnoredAny>()?),
                    Some(place) => {
                        if found[place]
                            .replace(map.next_value::<&RawValue>()?.get())
                            .is_some()
                        {
                            return Err(de::Error::custom("duplicate field"));
                        }
                    }
                }
            }
            Ok(found)
        }
    }
    serde_json::Deserializer::from_str(text)
        .deserialize_map(Some_(keys))
        .ok()
}

/// Which of the wanted keys a key is, without keeping it.
struct Place<'k>(&'k [&'k str]);

impl<'de> DeserializeSeed<'de> for Place<'_> {
    type Value = Option<usize>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Place<'_> {
    type Value = Option<usize>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_str<E: de::Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|wanted| *wanted == key))
    }
}

/// The text of a JSON string; `None` if it is something else.
#[must_use]
pub fn string(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        serde_json::from_str(raw).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inner))
    }
}

/// A string as JSON.
#[must_use]
pub fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Whether brackets nest deeper than `limit`. The text need not be valid JSON.
#[must_use]
pub fn deeper_than(text: &[u8], limit: usize) -> bool {
    if text.len() <= 2 * limit {
        return false;
    }
    let (mut depth, mut bytes) = (0usize, text.iter());
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b'[' => {
                depth += 1;
                if depth > limit {
                    return true;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => {
                while let Some(byte) = bytes.next() {
                    match byte {
                        b'\\' => drop(bytes.next()),
                        b'"' => break,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    false
}

/// The same JSON without line breaks: outside strings they are white space, inside them JSON allows
/// none.
#[must_use]
pub fn one_line(text: bytes::Bytes) -> bytes::Bytes {
    if memchr::memchr2(b'\n', b'\r', &text).is_none() {
        return text;
    }
    text.iter()
        .map(|byte| {
            if matches!(byte, b'\n' | b'\r') {
                b' '
            } else {
                *byte
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn envelopes_are_told_apart() {
        let parse = |text| Envelope::parse(text).map(|envelope| format!("{:?}", envelope.kind));
        assert_eq!(
            parse(r#"{"jsonrpc":"2.0","id":1e2,"method":"a\u002fb"}"#),
            Ok(r#"Request("1e2", "a/b")"#.into())
        );
        assert_eq!(
            parse(r#"{"jsonrpc":"2.0","method":"x","params":null}"#),
            Ok(r#"Notification("x")"#.into())
        );
        assert_eq!(
            parse(r#"{"id":"a","jsonrpc":"2.0","result":{ }}"#),
            Ok(r#"Result("\"a\"", "{ }")"#.into())
        );
        assert_eq!(
            parse(r#"{"jsonrpc":"2.0","id":null,"error":{}}"#),
            Ok(r#"Error(None, "{}")"#.into())
        );
        assert_eq!(
            parse(r#"{"jsonrpc":"2.0","id":null,"method":"x"}"#),
            Err(BadJson::Shape)
        );
        assert_eq!(
            parse(r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"x"}"#),
            Err(BadJson::Duplicate)
        );
        assert_eq!(
            parse(r#"{"jsonrpc":"2.0","id":1,"method":"x","params":[1]}"#),
            Err(BadJson::Shape)
        );
        assert_eq!(
            parse(r#"{"jsonrpc":"1.0","id":1,"method":"x"}"#),
            Err(BadJson::Shape)
        );
        assert_eq!(
            parse(r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"a":}}"#),
            Err(BadJson::Syntax)
        );
        assert_eq!(parse("[]"), Err(BadJson::Shape));
        assert_eq!(parse(""), Err(BadJson::Syntax));
    }

    #[test]
    fn members_are_picked_as_they_stand() {
        let text = r#"{ "a" : 1.0, "b\u0063": {"a":2}, "c": "x" }"#;
        assert_eq!(
            pick(text, ["bc", "a", "z"]),
            Some([Some(r#"{"a":2}"#), Some("1.0"), None])
        );
        assert_eq!(pick(r#"{"a":1,"a":2}"#, ["a"]), None);
        assert_eq!(members(text).map(|all| all.len()), Some(3));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,200}") {
            let _ = Envelope::parse(&text);
            let _ = pick(&text, ["a"]);
            let _ = deeper_than(text.as_bytes(), 3);
        }

        #[test]
        fn depth_is_counted_outside_strings(depth in 1usize..300, limit in 1usize..200) {
            let text = format!(r#"{}"[[[{{{{\"[[["{}"#, "[".repeat(depth), "]".repeat(depth));
            prop_assert_eq!(deeper_than(text.as_bytes(), limit), depth > limit && text.len() > 2 * limit);
        }
    }
}
