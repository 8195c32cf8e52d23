//! `capabilities.extensions`: what clients and servers say that they know beyond the protocol. Values
//! stay as they stand.

use crate::protocol::json;
use crate::protocol::task;
use std::borrow::Cow;

/// Longest extensions of one client that are passed on, in bytes.
const LONGEST: usize = 1 << 10;

/// Extensions by name, but for tasks, which are bridged.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Extensions<'a>(Vec<(Cow<'a, str>, &'a str)>);

impl<'a> Extensions<'a> {
    /// Adds those of a `capabilities` object. Of one that is there already, the first stays.
    pub(crate) fn add(&mut self, capabilities: &'a str) {
        if !capabilities.contains("\"extensions\"") {
            return;
        }
        let [raw] = json::pick(capabilities, ["extensions"]).unwrap_or_default();
        for (name, value) in raw.and_then(json::members).unwrap_or_default() {
            let is_known =
                name == task::EXTENSION || self.0.iter().any(|(known, _)| *known == name);
            if !is_known && value != "null" {
                self.0.push((name, value));
            }
        }
    }

    /// As members of `extensions`; too long ones of a client are nothing.
    pub(crate) fn write(&self) -> String {
        let members = self
            .0
            .iter()
            .map(|(name, value)| format!("{}:{value}", json::quote(name)));
        members.collect::<Vec<_>>().join(",")
    }
}

/// The extensions that a client declares, as members of `extensions`.
pub(crate) fn of_client(capabilities: Option<&str>) -> Box<str> {
    let mut extensions = Extensions::default();
    extensions.add(capabilities.unwrap_or_default());
    let members = extensions.write();
    if members.len() > LONGEST {
        return Box::default();
    }
    // A line break between values would end the line of a pipe.
    members.replace(['\n', '\r'], " ").into()
}

/// Capabilities with these members in their `extensions`.
pub(crate) fn with(capabilities: &str, members: &str) -> String {
    if members.is_empty() {
        return capabilities.to_owned();
    }
    let comma = if capabilities == "{}" { "" } else { "," };
    let rest = capabilities.strip_prefix('{').unwrap_or(capabilities);
    format!("{{\"extensions\":{{{members}}}{comma}{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_are_joined_and_tasks_left_out() {
        let mut all = Extensions::default();
        all.add(r#"{"tools":{},"extensions":{"a/b":{"x": 1},"io.modelcontextprotocol/tasks":{},"n":null}}"#);
        all.add(r#"{"extensions":{"a/b":{},"c":[]}}"#);
        all.add("{}");
        assert_eq!(all.write(), r#""a/b":{"x": 1},"c":[]"#);
        assert_eq!(with("{}", "\"a\":1"), r#"{"extensions":{"a":1}}"#);
        assert_eq!(
            with(r#"{"b":{}}"#, "\"a\":1"),
            r#"{"extensions":{"a":1},"b":{}}"#
        );
        assert_eq!(with("{}", ""), "{}");
        let long = format!(r#"{{"extensions":{{"a":"{}"}}}}"#, "x".repeat(LONGEST));
        assert_eq!(&*of_client(Some(&long)), "");
    }
}
