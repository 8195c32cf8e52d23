//! Edits of a JSON text that leave every other byte as it came.

use bytes::Bytes;
use std::borrow::Cow;

/// A list of edits of one text. Parts are named by slices of that text.
#[derive(Debug)]
pub struct Splice<'a> {
    base: &'a str,
    edits: Vec<(usize, usize, Cow<'a, str>)>,
}

impl<'a> Splice<'a> {
    /// No edits yet.
    #[must_use]
    pub fn new(base: &'a str) -> Self {
        Self {
            base,
            edits: Vec::with_capacity(4),
        }
    }

    /// Where a slice of the base stands in it; a slice of something else is refused.
    fn at(&self, part: &str) -> Option<usize> {
        let at = (part.as_ptr() as usize).checked_sub(self.base.as_ptr() as usize)?;
        (at + part.len() <= self.base.len()).then_some(at)
    }

    /// Replaces `part`, a slice of the base.
    pub fn replace(&mut self, part: &str, with: impl Into<Cow<'a, str>>) {
        if let Some(at) = self.at(part) {
            self.edits.push((at, at + part.len(), with.into()));
        }
    }

    /// Inserts members (`"a":1,"b":2`) at the front of `object`, a slice of the base that begins
    /// with `{`.
    pub fn insert(&mut self, object: &str, members: &str) {
        if let (Some(at), false) = (self.at(object), members.is_empty()) {
            let comma = if object[1..].trim_start().starts_with('}') {
                ""
            } else {
                ","
            };
            self.edits
                .push((at + 1, at + 1, format!("{members}{comma}").into()));
        }
    }

    /// The edited text, without line breaks (see [`crate::protocol::json::one_line`]).
    #[must_use]
    pub fn finish(self) -> Bytes {
        crate::protocol::json::one_line(self.finish_text().into())
    }

    /// The edited text, its white space as it was.
    #[must_use]
    pub fn finish_text(mut self) -> String {
        self.edits.sort_by_key(|(start, end, _)| (*start, *end));
        let grown: usize = self.edits.iter().map(|(_, _, with)| with.len()).sum();
        let mut out = String::with_capacity(self.base.len() + grown);
        let mut from = 0;
        for (start, end, with) in &self.edits {
            if *start >= from {
                out.push_str(&self.base[from..*start]);
                out.push_str(with);
                from = *end;
            }
        }
        out.push_str(&self.base[from..]);
        out
    }
}

/// An object without some of its members and with others added at its end. Values stay as they are;
/// text that is no object is returned as it is.
#[must_use]
pub fn rebuild(object: &str, keep: impl Fn(&str) -> bool, add: &[(&str, &str)]) -> String {
    let Some(members) = crate::protocol::json::members(object) else {
        return object.to_owned();
    };
    let mut out = String::with_capacity(
        object.len()
            + add
                .iter()
                .map(|(key, value)| key.len() + value.len() + 4)
                .sum::<usize>(),
    );
    let kept = members
        .iter()
        .filter(|(key, _)| keep(key))
        .map(|(key, value)| (&**key, *value));
    for (key, value) in kept.chain(add.iter().copied()) {
        out.push(if out.is_empty() { '{' } else { ',' });
        out.push_str(&crate::protocol::json::quote(key));
        out.push(':');
        out.push_str(value);
    }
    out.push_str(if out.is_empty() { "{}" } else { "}" });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_apply_in_place() {
        let base = "{\"id\": 1,\n \"params\": {}, \"x\": {\"y\":1.0}}";
        let [id, params, x] = crate::protocol::json::pick(base, ["id", "params", "x"])
            .expect("object")
            .map(|part| part.expect("there"));
        let mut splice = Splice::new(base);
        splice.insert(x, "\"a\":2");
        splice.replace(id, "\"seven\"");
        splice.insert(params, "\"b\":3");
        assert_eq!(
            splice.finish(),
            "{\"id\": \"seven\",  \"params\": {\"b\":3}, \"x\": {\"a\":2,\"y\":1.0}}"
        );
    }

    #[test]
    fn foreign_slices_are_ignored() {
        let mut splice = Splice::new("{}");
        splice.replace("elsewhere", "x");
        assert_eq!(splice.finish(), "{}");
    }

    #[test]
    fn objects_lose_and_gain_members() {
        assert_eq!(
            rebuild(r#"{"a":1.0,"b":2}"#, |key| key != "b", &[("c", "[]")]),
            r#"{"a":1.0,"c":[]}"#
        );
        assert_eq!(rebuild(r#"{"a":1}"#, |_| false, &[]), "{}");
    }
}
