//! The beginning of texts that clients and servers wrote, for logs, audits and spans.

/// Longest name and id in a log line, an audit record or a span, in bytes.
pub const LONGEST: usize = 256;
/// Longest arguments in a log line, an audit record or a span, in bytes.
pub const LONGEST_ARGUMENTS: usize = 4096;

/// The beginning of a text, at most so many bytes.
#[must_use]
pub fn cut(text: &str, longest: usize) -> Box<str> {
    text[..text.floor_char_boundary(longest)].into()
}

/// A text of a server on one line: control characters and such that change the direction of text
/// are escaped.
#[must_use]
pub fn one_line(text: &str) -> String {
    ggen_wire::escape::shown(cut(text, LONGEST).trim()).into_owned()
}
