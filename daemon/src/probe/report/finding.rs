//! The result of a check: one structure for people, programs and the exit code. May not: examine
//! anything.

use ggen_wire::Code;
use serde::{Serialize, ser::SerializeStruct};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// No issue: what was seen while all was well, or why a check was left out. Shown with
    /// `--verbose`.
    Note,
    /// It works, and will not for long, or not as it was meant.
    Warning,
    /// Something does not work.
    Error,
}

/// Names in it may be those of servers and of other people's files.
fn shown(text: impl Into<String>) -> String {
    ggen_wire::escape::shown(&text.into()).into_owned()
}

/// One finding.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The stable code; notes have none.
    pub code: Option<Code>,
    /// What is wrong, one line.
    pub what: String,
    /// What was seen that says so; may be empty.
    pub evidence: String,
    /// The command that fixes it, or the next one that tells more.
    pub help: String,
}

impl Finding {
    /// Something that does not work.
    #[must_use]
    pub fn error(code: Code, what: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code: Some(code),
            what: shown(what),
            evidence: String::new(),
            help: String::new(),
        }
    }

    /// Something that is not as it was meant.
    #[must_use]
    pub fn warning(code: Code, what: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(code, what)
        }
    }

    /// No issue.
    #[must_use]
    pub fn note(what: impl Into<String>) -> Self {
        Self {
            severity: Severity::Note,
            code: None,
            what: shown(what),
            evidence: String::new(),
            help: String::new(),
        }
    }

    /// The same with what was seen. Line breaks become spaces, control characters vanish: these
    /// words may come from any program.
    #[must_use]
    pub fn seen(mut self, evidence: impl AsRef<str>) -> Self {
        self.evidence = ggen_wire::text::line(evidence.as_ref());
        self
    }

    /// The same with the command that fixes it.
    #[must_use]
    pub fn help(mut self, command: impl Into<String>) -> Self {
        self.help = shown(command);
        self
    }

    /// Whether it is an issue.
    #[must_use]
    pub fn is_issue(&self) -> bool {
        self.severity != Severity::Note
    }
}

impl Serialize for Finding {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Finding", 5)?;
        fields.serialize_field("severity", &self.severity)?;
        fields.serialize_field("code", &self.code)?;
        fields.serialize_field("what", &self.what)?;
        fields.serialize_field("evidence", &self.evidence)?;
        fields.serialize_field("help", &self.help)?;
        fields.end()
    }
}
