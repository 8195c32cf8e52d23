//! Key paths as people type them: `transports.http.port`, `mcpServers."a.b".env.HOME`,
//! `mcpServers["a b"].command`. May not: know which keys exist.

use std::fmt;

/// The parts of a key path, the outermost first; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key(pub Vec<String>);

impl Key {
    /// Reads a path.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (key, rest) = Self::split(text)?;
        if rest.is_empty() {
            Ok(key)
        } else {
            Err(format!("{text}: expected a key without `=`"))
        }
    }

    /// Reads `path=value`; the value is taken as it stands.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(crate) fn parse_assignment(text: &str) -> Result<(Self, &str), String> {
        let (key, rest) = Self::split(text)?;
        // Without the sign, all of the text is the key.
        let value = rest
            .strip_prefix('=')
            .ok_or_else(|| format!("{text}: expected KEY=VALUE"))?;
        Ok((key, value))
    }

    /// The path at the beginning of a text, and what follows it: nothing, or `=…`.
    fn split(text: &str) -> Result<(Self, &str), String> {
        let mut parts = Vec::new();
        let mut rest = text;
        // What stands behind the sign may be a secret, and is not repeated.
        let text = text.split('=').next().unwrap_or_default();
        loop {
            let part = if let Some(inside) = rest.strip_prefix('[') {
                let (part, after) = quoted(inside)
                    .ok_or_else(|| format!("{text}: lists are set as a whole, as JSON"))?;
                rest = after
                    .strip_prefix(']')
                    .ok_or_else(|| format!("{text}: expected `]`"))?;
                part
            } else if rest.starts_with('"') {
                let (part, after) =
                    quoted(rest).ok_or_else(|| format!("{text}: a quote is not closed"))?;
                rest = after;
                part
            } else {
                let end = rest.find(['.', '=', '[']).unwrap_or(rest.len());
                let part = rest[..end].to_owned();
                rest = &rest[end..];
                part
            };
            if part.is_empty() {
                return Err(format!("{text}: a part of the key is empty"));
            }
            parts.push(part);
            rest = match rest.chars().next() {
                None | Some('=') => return Ok((Self(parts), rest)),
                Some('.') => &rest[1..],
                Some('[') => rest,
                Some(other) => {
                    return Err(format!("{text}: unexpected `{other}` behind a quoted part"));
                }
            };
        }
    }

    /// Whether one of them lies within the other, or both are the same.
    pub(crate) fn touches(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).all(|(one, other)| one == other)
    }

    /// `a.b.c` for what has no names of people's own in it.
    pub(crate) fn dotted(&self) -> String {
        self.0.join(".")
    }
}

/// A JSON text at the beginning, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<String>();
    let part = stream.next()?.ok()?;
    Some((part, &text[stream.byte_offset()..]))
}

impl fmt::Display for Key {
    /// In the form that [`Key::parse`] reads and that problems show.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, part) in self.0.iter().enumerate() {
            let plain = part
                .chars()
                .all(|c| !c.is_control() && !c.is_whitespace() && !".=[]\"'".contains(c));
            match (plain, index) {
                (true, 0) => f.write_str(part)?,
                (true, _) => write!(f, ".{part}")?,
                (false, _) => write!(f, "[{}]", serde_json::Value::from(part.as_str()))?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;

    fn parts(text: &str) -> Vec<String> {
        Key::parse(text).unwrap().0
    }

    #[test]
    fn parts_may_be_quoted() {
        assert_eq!(
            parts("transports.http.port"),
            ["transports", "http", "port"]
        );
        for text in [r#"mcpServers."a.b".env.X"#, r#"mcpServers["a.b"].env.X"#] {
            assert_eq!(parts(text), ["mcpServers", "a.b", "env", "X"]);
        }
        assert_eq!(
            parts(r#"mcpServers."q\"=".url"#),
            ["mcpServers", "q\"=", "url"]
        );
        for wrong in [
            "", "a..b", "a.", ".a", "a[0]", "a[\"b\"", "\"a\"b", "\"a", "a=b",
        ] {
            assert!(Key::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_shown_can_be_read_again() {
        for part in ["plain", "a.b", "q\"", "with space", "[x]", "=", "ü", "\n"] {
            let key = Key(vec![
                "mcpServers".to_owned(),
                part.to_owned(),
                "env".to_owned(),
            ]);
            assert_eq!(Key::parse(&key.to_string()).unwrap(), key, "{key}");
        }
    }

    #[test]
    fn the_first_sign_outside_quotes_ends_the_key() {
        let (key, value) = Key::parse_assignment(r#"mcpServers."a=b".args=["x=1"]"#).unwrap();
        assert_eq!((key.0[1].as_str(), value), ("a=b", r#"["x=1"]"#));
        assert_eq!(Key::parse_assignment("description=").unwrap().1, "");
        assert!(Key::parse_assignment("server.workers").is_err());
        assert!(
            !Key::parse_assignment(r#"mcpServers."x.env.TOKEN=hidden"#)
                .unwrap_err()
                .contains("hidden")
        );
    }
}
