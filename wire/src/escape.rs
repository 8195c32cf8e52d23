//! Foreign texts for the medium that they are written to: terminals, log lines, JSON. MCP servers,
//! clients and files of others choose these texts; none of them may move a cursor, change a
//! terminal's state, or show something else than it says. Pure.

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter, Serializer};
use std::{borrow::Cow, fmt::Write as _, io};

/// Whether a character acts instead of being shown: control characters of both sets (C0 with ESC,
/// DEL, C1), line and paragraph separators, those that change the direction of text (Unicode TR 9),
/// annotations and tags.
#[must_use]
pub const fn acts(character: char) -> bool {
    matches!(
        character,
        '\0'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{61c}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

/// A text for one line: what acts is written as `\u{1b}`, line ends and tabs as `\n` and `\t`.
/// Nothing is lost.
#[must_use]
pub fn shown(text: &str) -> Cow<'_, str> {
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            other if acts(other) => {
                // A String takes everything.
                let _ = write!(out, "\\u{{{:x}}}", u32::from(other));
            }
            other => out.push(other),
        }
    }
    Cow::Owned(out)
}

/// A value as JSON on one line. What acts stands in it as `\u001b`, which is the same to a reader of
/// JSON.
///
/// # Errors
/// Those of writing or serializing.
pub fn write_json(out: &mut impl io::Write, value: &impl Serialize) -> serde_json::Result<()> {
    value.serialize(&mut Serializer::with_formatter(
        out,
        Escaping(CompactFormatter),
    ))
}

/// The same, indented.
///
/// # Errors
/// Those of writing or serializing.
pub fn write_pretty_json(
    out: &mut impl io::Write,
    value: &impl Serialize,
) -> serde_json::Result<()> {
    let pretty = Escaping(PrettyFormatter::new());
    value.serialize(&mut Serializer::with_formatter(out, pretty))
}

/// [`write_json`] as a text; empty if the value cannot be JSON.
#[must_use]
pub fn json(value: &impl Serialize) -> String {
    let mut out = Vec::new();
    match write_json(&mut out, value) {
        Ok(()) => String::from_utf8(out).unwrap_or_default(),
        Err(_) => String::new(),
    }
}

/// [`write_pretty_json`] as a text; empty if the value cannot be JSON.
#[must_use]
pub fn pretty_json(value: &impl Serialize) -> String {
    let mut out = Vec::new();
    match write_pretty_json(&mut out, value) {
        Ok(()) => String::from_utf8(out).unwrap_or_default(),
        Err(_) => String::new(),
    }
}

/// Another formatter, with escapes.
struct Escaping<F>(F);

impl<F: Formatter> Formatter for Escaping<F> {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(acts) {
            out.write_all(&rest.as_bytes()[..at])?;
            let mut characters = rest[at..].chars();
            for unit in characters.next().into_iter().flat_map(|c| {
                let mut units = [0; 2];
                let length = c.encode_utf16(&mut units).len();
                units.into_iter().take(length)
            }) {
                write!(out, "\\u{unit:04x}")?;
            }
            rest = characters.as_str();
        }
        out.write_all(rest.as_bytes())
    }

    fn begin_array<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_array(out)
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_array(out)
    }

    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.0.begin_array_value(out, first)
    }

    fn end_array_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_array_value(out)
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_object(out)
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_object(out)
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.0.begin_object_key(out, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_object_value(out)
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_object_value(out)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use serde_json::{Value, json};

    const ACTING: &str =
        "\u{1b}]0;x\u{7}\u{9b}2J\u{7f}\u{202e}\u{2066}\u{200f}\u{61c}\u{2028}\u{e0041}\r\n\t\0";

    #[test]
    fn no_medium_takes_what_acts() {
        let value = json!({ ACTING: [ACTING, "ä→😀"], "empty": {}, "list": [] });
        for text in [
            shown(ACTING).into_owned(),
            json(&value),
            pretty_json(&value).replace('\n', ""),
        ] {
            assert!(!text.contains(acts), "{text:?}");
        }
        for text in [json(&value), pretty_json(&value)] {
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
            assert!(text.contains("ä→😀"), "{text}");
        }
        assert_eq!(shown("\u{1b}[31m\n"), "\\u{1b}[31m\\n");
        assert!(matches!(shown("plain ä"), Cow::Borrowed(_)));
        assert_eq!(
            pretty_json(&json!({"a": [1, {"b": null}]})),
            serde_json::to_string_pretty(&json!({"a": [1, {"b": null}]})).unwrap()
        );
    }
}
