//! What a client can be asked for, as capabilities of the client. Values only.

use crate::protocol::method::Legacy;
use crate::protocol::{extensions, json};

/// What a client declares of itself. Servers may behave otherwise for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Declared {
    /// What it can be asked for.
    pub caps: Caps,
    /// Its extensions, as members of `extensions`.
    pub extensions: Box<str>,
}

impl Declared {
    /// Reads a `capabilities` object.
    #[must_use]
    pub fn read(capabilities: Option<&str>) -> Self {
        Self {
            caps: capabilities.map(Caps::read).unwrap_or_default(),
            extensions: extensions::of_client(capabilities),
        }
    }

    /// The same for a client of a legacy revision: without what that revision does not know.
    #[must_use]
    pub fn of_revision(mut self, version: Legacy) -> Self {
        self.caps = self.caps.of_revision(version);
        self
    }

    /// Whether it says nothing of itself.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.caps == Caps::default() && self.extensions.is_empty()
    }

    /// As the `capabilities` of a legacy `initialize`.
    #[must_use]
    pub fn write(&self) -> String {
        extensions::with(&self.caps.write(), &self.extensions)
    }
}

/// What a client can be asked for; legacy servers are told once, at `initialize`, so that
/// connections are kept apart by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "these are the protocol's own flags"
)]
pub struct Caps {
    /// `elicitation` (forms).
    pub form: bool,
    /// `elicitation.url`
    pub url: bool,
    /// `sampling`
    pub sampling: bool,
    /// `sampling.tools`
    pub sampling_tools: bool,
    /// `sampling.context`
    pub sampling_context: bool,
    /// `roots`
    pub roots: bool,
}

impl Caps {
    /// Reads a `capabilities` object.
    #[must_use]
    pub fn read(capabilities: &str) -> Self {
        let [elicitation, sampling, roots] =
            json::pick(capabilities, ["elicitation", "sampling", "roots"]).unwrap_or_default();
        let [form, url] = elicitation
            .and_then(|raw| json::pick(raw, ["form", "url"]))
            .unwrap_or_default();
        let [tools, context] = sampling
            .and_then(|raw| json::pick(raw, ["tools", "context"]))
            .unwrap_or_default();
        Self {
            form: elicitation.is_some() && (form.is_some() || url.is_none()),
            url: url.is_some(),
            sampling: sampling.is_some(),
            sampling_tools: tools.is_some(),
            sampling_context: context.is_some(),
            roots: roots.is_some(),
        }
    }

    /// As the `capabilities` of a legacy `initialize`.
    #[must_use]
    pub fn write(self) -> String {
        let mut parts = Vec::new();
        match (self.form, self.url) {
            (true, true) => parts.push("\"elicitation\":{\"form\":{},\"url\":{}}"),
            (true, false) => parts.push("\"elicitation\":{}"),
            (false, true) => parts.push("\"elicitation\":{\"url\":{}}"),
            (false, false) => {}
        }
        match (self.sampling, self.sampling_tools, self.sampling_context) {
            (true, true, true) => parts.push("\"sampling\":{\"tools\":{},\"context\":{}}"),
            (true, true, false) => parts.push("\"sampling\":{\"tools\":{}}"),
            (true, false, true) => parts.push("\"sampling\":{\"context\":{}}"),
            (true, false, false) => parts.push("\"sampling\":{}"),
            _ => {}
        }
        if self.roots {
            parts.push("\"roots\":{}");
        }
        format!("{{{}}}", parts.join(","))
    }

    /// Whether the client may be sent this request.
    #[must_use]
    pub fn allow(self, method: &str, params: Option<&str>) -> bool {
        let member = |name| params.and_then(|params| json::pick(params, [name])?[0]);
        match method {
            "elicitation/create" if member("mode") == Some("\"url\"") => self.url,
            "elicitation/create" => self.form,
            "sampling/createMessage" => {
                self.sampling && (self.sampling_tools || member("tools").is_none())
            }
            "roots/list" => self.roots,
            _ => false,
        }
    }

    /// The capability that such a request needs, as `requiredCapabilities` of an error.
    #[must_use]
    pub fn needed(method: &str, params: Option<&str>) -> &'static str {
        let member = |name| params.and_then(|params| json::pick(params, [name])?[0]);
        match method {
            "elicitation/create" if member("mode") == Some("\"url\"") => {
                "{\"elicitation\":{\"url\":{}}}"
            }
            "elicitation/create" => "{\"elicitation\":{}}",
            "sampling/createMessage" if member("tools").is_some() => {
                "{\"sampling\":{\"tools\":{}}}"
            }
            "sampling/createMessage" => "{\"sampling\":{}}",
            _ => "{\"roots\":{}}",
        }
    }

    /// What a client of a legacy revision can be asked for: without what that revision does not
    /// know.
    #[must_use]
    pub fn of_revision(mut self, version: Legacy) -> Self {
        if version < Legacy::L2025_11_25 {
            self.url = false;
            self.sampling_tools = false;
        }
        self.form &= version >= Legacy::L2025_06_18;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_read_and_written() {
        for text in [
            "{}",
            r#"{"elicitation":{}}"#,
            r#"{"elicitation":{"form":{},"url":{}},"sampling":{"tools":{}},"roots":{}}"#,
        ] {
            assert_eq!(Caps::read(text).write(), text);
        }
        let form = Caps::read(r#"{"elicitation":{},"sampling":{}}"#);
        assert!(
            form.allow("elicitation/create", Some(r#"{"mode":"form"}"#))
                && form.allow("elicitation/create", None)
        );
        assert!(!form.allow("elicitation/create", Some(r#"{"mode":"url"}"#)));
        assert!(
            form.allow("sampling/createMessage", Some("{}"))
                && !form.allow("sampling/createMessage", Some(r#"{"tools":[]}"#))
        );
        assert!(!Caps::read("{}").allow("roots/list", None));
    }
}
