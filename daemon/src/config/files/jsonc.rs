//! JSON with comments and trailing commas, as editors and MCP clients write it: made plain JSON of
//! the same length, so that every position stays. May not: judge the JSON itself.

use std::borrow::Cow;

/// The text with spaces in the place of comments and trailing commas. What is no JSON stays as it
/// is; the parser says what is wrong with it.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    let mut bytes = text.as_bytes().to_vec();
    if json_strip_comments::strip_slice(&mut bytes).is_err() {
        return Cow::Borrowed(text);
    }
    // Comments lose their line breaks, too; lines are counted.
    for (byte, original) in bytes.iter_mut().zip(text.bytes()) {
        if matches!(original, b'\n' | b'\r') {
            *byte = original;
        }
    }
    String::from_utf8(bytes).map_or(Cow::Borrowed(text), Cow::Owned)
}

/// Where the comma stands in a gap between two values, or behind the last one: comments are passed
/// over.
pub(crate) fn comma(text: &str, from: usize, to: usize) -> Option<usize> {
    let gap = text.get(from..to)?;
    let mut at = 0;
    while let Some(rest) = gap.get(at..).filter(|rest| !rest.is_empty()) {
        let length = if rest.starts_with("//") || rest.starts_with('#') {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if rest.starts_with(',') {
            return Some(from + at);
        } else {
            rest.chars().next().map_or(1, char::len_utf8)
        };
        at += length;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{comma, plain};

    #[test]
    fn comments_and_trailing_commas_become_spaces() {
        let text = "{ // ü, \"x\"\n \"a\": \"// no\", /* , \n , */ \"b\": [1, 2, ],\n}";
        let plain = plain(text);
        assert_eq!(plain.len(), text.len());
        assert_eq!(plain.lines().count(), text.lines().count());
        let value: serde_json::Value = serde_json::from_str(&plain).unwrap_or_default();
        assert_eq!(value, serde_json::json!({"a": "// no", "b": [1, 2]}));
    }

    #[test]
    fn a_comma_in_a_comment_is_none() {
        assert_eq!(comma("1 /* , */ , 2", 1, 12), Some(10));
        assert_eq!(comma("1 // ,\n", 1, 7), None);
        assert_eq!(comma("1 # ,\n, 2", 1, 9), Some(6));
    }
}
