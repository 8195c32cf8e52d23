//! What configured servers send: the decoder that tolerates what the official SDKs do. It brings a
//! message into the form of the specification, or says that it is none.
//!
//! For configured servers alone. What clients send is read by [`Envelope::parse`], which tolerates
//! nothing.

use crate::protocol::json::{self, BadJson, Envelope, Kind};
use crate::protocol::{refusal, splice};
use bytes::Bytes;
use serde::Deserializer;
use serde::de::{SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// Messages of one batch, at most.
const BATCH: usize = 1024;
/// Numbers up to this one are whole in every implementation.
const WHOLE: f64 = 9_007_199_254_740_991.0;

/// What a server has sent.
#[derive(Debug)]
pub enum ServerMessage<'a> {
    /// A message as the specification has it.
    One(Envelope<'a>),
    /// Messages that had to be brought into that form; none of them has to again.
    Rewritten(Vec<Bytes>),
    /// White space.
    Nothing,
    /// No message.
    Garbage,
}

/// Reads a line, an event or a body of a server.
#[must_use]
pub fn read(data: &[u8]) -> ServerMessage<'_> {
    let Ok(text) = std::str::from_utf8(data) else {
        return ServerMessage::Garbage;
    };
    match Envelope::parse(text) {
        Ok(envelope) => match with_our_numbers(&envelope) {
            None => ServerMessage::One(envelope),
            Some(rewritten) => ServerMessage::Rewritten(vec![rewritten]),
        },
        Err(BadJson::Shape) if text.trim_start().starts_with('[') => batch(text),
        Err(BadJson::Shape) => match object(text) {
            Some(rewritten) => ServerMessage::Rewritten(vec![rewritten]),
            None => ServerMessage::Garbage,
        },
        Err(_) if text.trim().is_empty() => ServerMessage::Nothing,
        Err(_) => ServerMessage::Garbage,
    }
}

/// The message with the numbers that we gave as numbers again: the id of an answer, the token of
/// progress. `None`: nothing is to be changed.
fn with_our_numbers(envelope: &Envelope<'_>) -> Option<Bytes> {
    match &envelope.kind {
        Kind::Result(id, result) => Some(refusal::result_message(&number(id)?, result)),
        Kind::Error(Some(id), error) => Some(refusal::error_message(Some(&number(id)?), error)),
        Kind::Notification(name) if name == "notifications/progress" => {
            let params = envelope.params?;
            let [token] = json::pick(params, ["progressToken"])?;
            let token = number(token?)?;
            let params = splice::rebuild(
                params,
                |member| member != "progressToken",
                &[("progressToken", &token)],
            );
            let text = format!(
                "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{params}}}"
            );
            Some(json::one_line(Bytes::from(text)))
        }
        _ => None,
    }
}

/// Our numbers are whole and written in digits. They come back as `"17"`, `17.0` or `1.7e1` from
/// servers whose language knows one kind of number, or none. `None`: it is written in digits, or is
/// no such number.
fn number(raw: &str) -> Option<String> {
    let is_digits = |text: &str| {
        (1..=19).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_digit())
            && (text == "0" || !text.starts_with('0'))
    };
    if is_digits(raw) {
        return None;
    }
    if let Some(text) = json::string(raw) {
        return is_digits(&text).then(|| text.into_owned());
    }
    let value: f64 = raw.parse().ok()?;
    (value.fract() == 0.0 && (0.0..=WHOLE).contains(&value)).then(|| format!("{value:.0}"))
}

/// A message one of whose members is null, which means that it is absent.
fn object(text: &str) -> Option<Bytes> {
    let keys = ["jsonrpc", "id", "method", "params", "result", "error"];
    let [version, id, method, params, result, error] = json::pick(text, keys)?;
    let given = |raw: Option<&'_ str>| raw.filter(|raw| *raw != "null").map(str::to_owned);
    let (id, method, params, error) = (given(id), given(method), given(params), given(error));
    if version != Some("\"2.0\"") {
        return None;
    }
    let mut members = vec![("jsonrpc", "\"2.0\"".to_owned())];
    match (method, error, result) {
        (Some(method), None, None | Some("null")) => {
            members.extend(id.map(|id| ("id", id)));
            members.push(("method", method));
            members.extend(params.map(|params| ("params", params)));
        }
        (None, Some(error), None | Some("null")) => {
            members.push(("id", id.map_or_else(|| "null".to_owned(), whole)));
            members.push(("error", error));
        }
        (None, None, Some(result)) => {
            members.push(("id", whole(id?)));
            members.push(("result", result.to_owned()));
        }
        _ => return None,
    }
    let members: Vec<String> = members
        .into_iter()
        .map(|(key, value)| format!("\"{key}\":{value}"))
        .collect();
    let text = format!("{{{}}}", members.join(","));
    // What is no message in spite of it is none.
    Envelope::parse(&text).ok()?;
    Some(json::one_line(Bytes::from(text)))
}

fn whole(id: String) -> String {
    number(&id).unwrap_or(id)
}

/// The members of a batch, which revisions up to 2025-03-26 know. Each is read by itself.
fn batch(text: &str) -> ServerMessage<'_> {
    struct Members;
    impl<'de> Visitor<'de> for Members {
        type Value = Vec<&'de RawValue>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a batch")
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while let Some(member) = all.next_element::<&RawValue>()? {
                if members.len() == BATCH {
                    return Err(serde::de::Error::custom("too many messages"));
                }
                members.push(member);
            }
            Ok(members)
        }
    }
    let members = serde_json::Deserializer::from_str(text).deserialize_seq(Members);
    let Ok(members) = members else {
        return ServerMessage::Garbage;
    };
    let member = |member: &RawValue| match read(member.get().as_bytes()) {
        ServerMessage::One(envelope) => vec![Bytes::copy_from_slice(envelope.text.as_bytes())],
        // A batch in a batch is none.
        ServerMessage::Rewritten(messages) if member.get().starts_with('{') => messages,
        _ => vec![Bytes::from_static(b"null")],
    };
    ServerMessage::Rewritten(members.into_iter().flat_map(member).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What came, as what it is read, and whether a client may send it.
    const CASES: [(&str, &[&str], bool); 25] = [
        // As the specification has it: unchanged, and not copied.
        (
            r#"{"jsonrpc":"2.0","id":17,"result":{"a":1}}"#,
            &["="],
            true,
        ),
        (r#"{"jsonrpc":"2.0","id":"x","result":{}}"#, &["="], true),
        (r#"{"jsonrpc":"2.0","id":"017","result":{}}"#, &["="], true),
        (r#"{"jsonrpc":"2.0","id":1.5,"result":{}}"#, &["="], true),
        (
            r#"{"jsonrpc":"2.0","id":"7","method":"ping"}"#,
            &["="],
            true,
        ),
        (r#"{"jsonrpc":"2.0","id":9,"result":null}"#, &["="], true),
        (r#"{"jsonrpc":"2.0","id":null,"error":{}}"#, &["="], true),
        // Our number in another form. A client's answers are matched by its own ids as they stand.
        (
            r#"{"jsonrpc":"2.0","id":"17","result":{"a":1}}"#,
            &[r#"{"jsonrpc":"2.0","id":17,"result":{"a":1}}"#],
            true,
        ),
        (
            r#"{"jsonrpc":"2.0","id":17.0,"result":{}}"#,
            &[r#"{"jsonrpc":"2.0","id":17,"result":{}}"#],
            true,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1.7e1,"error":{"code":1}}"#,
            &[r#"{"jsonrpc":"2.0","id":17,"error":{"code":1}}"#],
            true,
        ),
        (
            r#"{"jsonrpc":"2.0","id":"\u0031","error":{}}"#,
            &[r#"{"jsonrpc":"2.0","id":1,"error":{}}"#],
            true,
        ),
        (
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"3","progress":1}}"#,
            &[
                r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1,"progressToken":3}}"#,
            ],
            true,
        ),
        (
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":3.0}}"#,
            &[
                r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":3}}"#,
            ],
            true,
        ),
        (
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"a"}}"#,
            &["="],
            true,
        ),
        // A null member is absent.
        (
            r#"{"jsonrpc":"2.0","id":1,"result":{},"error":null}"#,
            &[r#"{"jsonrpc":"2.0","id":1,"result":{}}"#],
            false,
        ),
        (
            r#"{"jsonrpc":"2.0","id":"1","result":null,"error":{"code":2}}"#,
            &[r#"{"jsonrpc":"2.0","id":1,"error":{"code":2}}"#],
            false,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":null,"params":null,"result":{}}"#,
            &[r#"{"jsonrpc":"2.0","id":1,"result":{}}"#],
            false,
        ),
        (
            r#"{"jsonrpc":"2.0","id":null,"method":"x","params":{"a":1},"result":null,"error":null}"#,
            &[r#"{"jsonrpc":"2.0","method":"x","params":{"a":1}}"#],
            false,
        ),
        // Batches.
        (
            r#" [{"jsonrpc":"2.0","id":1,"result":{}},{"jsonrpc":"2.0","id":"2","result":{}},3,[]]"#,
            &[
                r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
                r#"{"jsonrpc":"2.0","id":2,"result":{}}"#,
                "null",
                "null",
            ],
            false,
        ),
        ("[]", &[], false),
        // No messages for anybody.
        (
            r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#,
            &["!"],
            false,
        ),
        (r#"{"jsonrpc":"2.0","result":{}}"#, &["!"], false),
        (
            r#"{"jsonrpc":"1.0","id":1,"result":{},"error":null}"#,
            &["!"],
            false,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"id":2,"result":{}}"#,
            &["!"],
            false,
        ),
        ("ready", &["!"], false),
    ];

    #[test]
    fn what_servers_bend_is_straightened_and_clients_may_not_bend_it() {
        for (text, expected, client) in CASES {
            let found: Vec<String> = match read(text.as_bytes()) {
                ServerMessage::One(envelope) => {
                    assert_eq!(envelope.text, text);
                    vec!["=".to_owned()]
                }
                ServerMessage::Rewritten(messages) => messages
                    .iter()
                    .map(|message| String::from_utf8_lossy(message).into_owned())
                    .collect(),
                ServerMessage::Nothing => vec!["nothing".to_owned()],
                ServerMessage::Garbage => vec!["!".to_owned()],
            };
            assert_eq!(found, expected, "{text}");
            assert_eq!(Envelope::parse(text).is_ok(), client, "as a client: {text}");
            for message in found.iter().filter(|message| message.starts_with('{')) {
                let again = read(message.as_bytes());
                assert!(matches!(again, ServerMessage::One(_)), "{text}: {again:?}");
            }
        }
        assert!(matches!(read(b" \r\n"), ServerMessage::Nothing));
        assert!(matches!(read(b"\xff"), ServerMessage::Garbage));
        let many = format!("[{}0]", "0,".repeat(BATCH));
        assert!(matches!(read(many.as_bytes()), ServerMessage::Garbage));
    }
}
