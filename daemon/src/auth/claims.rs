//! The claims of a token that are checked (RFC 7519 §4, RFC 9068 §2.2). Pure.

use serde_json::{Map, Value};

/// Labels of one token, at most: with those of a certificate they fit into the byte that counts them.
const MAX_LABELS: usize = 190;
/// Bytes of one label, at most.
const MAX_LABEL: usize = 4096;
/// Claims that are about the token and not about its holder.
const OF_THE_TOKEN: [&str; 7] = ["exp", "iat", "nbf", "jti", "scope", "scp", "nonce"];

/// The claims of a token.
#[derive(Clone, Debug, PartialEq)]
pub struct Claims(Map<String, Value>);

impl Claims {
    /// Reads a payload; it has to be an object.
    pub(super) fn parse(payload: &[u8]) -> Option<Self> {
        serde_json::from_slice(payload).ok().map(Self)
    }

    /// All of them, to be shown.
    #[must_use]
    pub const fn all(&self) -> &Map<String, Value> {
        &self.0
    }

    /// A claim that is a text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    /// A NumericDate. Parts of seconds are cut off. The error: it is there, and is no time.
    pub(super) fn time(&self, name: &str) -> Result<Option<u64>, ()> {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the range is checked before"
        )]
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::Number(number)) => match (number.as_u64(), number.as_f64()) {
                (Some(time), _) => Ok(Some(time)),
                (None, Some(time)) if (0.0..9e15).contains(&time) => Ok(Some(time as u64)),
                _ => Err(()),
            },
            Some(_) => Err(()),
        }
    }

    /// `aud`: one text, or several.
    pub(super) fn is_for(&self, audience: &str) -> bool {
        match self.0.get("aud") {
            Some(Value::String(one)) => one == audience,
            Some(Value::Array(several)) => several.iter().any(|one| one.as_str() == Some(audience)),
            _ => false,
        }
    }

    /// `scope` (RFC 8693 §4.2), or `scp` as some issuers have it.
    #[must_use]
    pub fn scopes(&self) -> Vec<&str> {
        match self.0.get("scope").or_else(|| self.0.get("scp")) {
            Some(Value::String(text)) => text.split_ascii_whitespace().collect(),
            Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        }
    }

    /// Who holds it: `jwt:<issuer>|<subject>`. Without `sub` it is the client (RFC 9068 §5).
    pub(super) fn principal(&self) -> Option<String> {
        let subject = self
            .text("sub")
            .or_else(|| self.client())
            .filter(|subject| !subject.is_empty() && subject.len() <= 1024)?;
        let issuer = self.text("iss").unwrap_or_default();
        (issuer.len() <= 1024).then(|| format!("jwt:{issuer}|{subject}"))
    }

    fn client(&self) -> Option<&str> {
        self.text("client_id").or_else(|| self.text("azp"))
    }

    /// What rules may name. `None`: there is more than can be kept. None of it may be left out,
    /// because a rule could deny by it.
    pub(super) fn labels(&self) -> Option<Vec<Box<str>>> {
        let mut labels: Vec<Box<str>> = Vec::new();
        labels.extend(
            self.client()
                .map(|client| format!("client:{client}").into()),
        );
        labels.extend(
            self.scopes()
                .into_iter()
                .map(|scope| format!("scope:{scope}").into()),
        );
        for (name, value) in self
            .0
            .iter()
            .filter(|(name, _)| !OF_THE_TOKEN.contains(&name.as_str()))
        {
            let mut add = |value: &Value| {
                let text = match value {
                    Value::String(text) => text.clone(),
                    Value::Bool(_) | Value::Number(_) => value.to_string(),
                    _ => return,
                };
                labels.push(format!("claim:{name}={text}").into());
            };
            match value {
                Value::Array(items) => items.iter().for_each(add),
                one => add(one),
            }
        }
        let fits =
            labels.len() <= MAX_LABELS && labels.iter().all(|label| label.len() <= MAX_LABEL);
        fits.then_some(labels)
    }
}

#[cfg(test)]
mod tests {
    use super::Claims;

    fn claims(text: &str) -> Claims {
        Claims::parse(text.as_bytes()).expect("an object")
    }

    #[test]
    fn a_holder_is_told_by_issuer_and_subject() {
        assert_eq!(
            claims(r#"{"iss":"i","sub":"s"}"#).principal().as_deref(),
            Some("jwt:i|s")
        );
        assert_eq!(
            claims(r#"{"client_id":"c"}"#).principal().as_deref(),
            Some("jwt:|c")
        );
        for none in ["{}", r#"{"sub":""}"#, r#"{"sub":7}"#] {
            assert_eq!(claims(none).principal(), None, "{none}");
        }
        assert!(Claims::parse(b"[]").is_none() && Claims::parse(b"").is_none());
    }

    #[test]
    fn labels_name_scopes_clients_and_claims_and_are_bounded() {
        let labels = claims(r#"{"sub":"s","exp":1,"azp":"c","scope":"a b","groups":["x","y"],"admin":true,"nested":{"a":1}}"#).labels().expect("few labels");
        let expected = [
            "client:c",
            "scope:a",
            "scope:b",
            "claim:admin=true",
            "claim:azp=c",
            "claim:groups=x",
            "claim:groups=y",
            "claim:sub=s",
        ];
        assert_eq!(
            labels.iter().map(|label| &**label).collect::<Vec<_>>(),
            expected
        );
        let groups = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>();
        for (claim, fits) in [
            (serde_json::json!({"groups": groups(190)}), true),
            (serde_json::json!({"groups": groups(191)}), false),
            (serde_json::json!({"group": "x".repeat(3000)}), true),
            (serde_json::json!({"group": "x".repeat(5000)}), false),
            (serde_json::json!({"scope": groups(191).join(" ")}), false),
            (serde_json::json!({"client_id": "x".repeat(5000)}), false),
        ] {
            let labels = claims(&claim.to_string()).labels();
            assert_eq!(labels.is_some(), fits, "{claim:.80}");
        }
    }

    #[test]
    fn times_and_audiences_are_read_strictly() {
        let read = |text: &str| claims(text).time("exp");
        assert_eq!(read("{}"), Ok(None));
        assert_eq!(read(r#"{"exp":5.9}"#), Ok(Some(5)));
        for bad in [
            r#"{"exp":"5"}"#,
            r#"{"exp":-1}"#,
            r#"{"exp":null}"#,
            r#"{"exp":1e300}"#,
        ] {
            assert_eq!(read(bad), Err(()), "{bad}");
        }
        assert!(claims(r#"{"aud":"a"}"#).is_for("a") && claims(r#"{"aud":["b","a"]}"#).is_for("a"));
        assert!(
            !claims(r#"{"aud":"ab"}"#).is_for("a")
                && !claims("{}").is_for("a")
                && !claims(r#"{"aud":{"a":1}}"#).is_for("a")
        );
    }
}
