//! What a reload changes: one entry for each setting that differs. Shows no secret: of entries of
//! `mcpServers` only the names of keys.

use serde::{Deserialize, Serialize};

/// The difference between the configuration in force and the one in the files.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Plan {
    /// The generation in force now.
    pub generation: u32,
    /// What differs; empty: nothing does.
    pub changes: Vec<Change>,
}

/// One setting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Its path: `transports.http.port`, `mcpServers.github`.
    pub setting: String,
    /// Its value now, as JSON; `None` for upstreams.
    pub from: Option<String>,
    /// Its value then.
    pub to: Option<String>,
    /// What kind of thing happens.
    pub effect: Effect,
    /// What happens, in words.
    pub what: String,
    /// Tools, by their exposed names, that vanish (`removed`) or are away for a moment
    /// (`restarted`, `reconnected`).
    #[serde(default)]
    pub tools: Vec<String>,
}

/// What a change takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Nothing: it is only shown.
    Nothing,
    /// Log filters change.
    Logging,
    /// Running processes take the new value.
    InPlace,
    /// A listener appears, vanishes or moves.
    Listener,
    /// Workers are started or drained.
    Workers,
    /// An upstream appears.
    Added,
    /// An upstream vanishes.
    Removed,
    /// A stdio server is started again.
    Restarted,
    /// The handshake with a remote server is made again.
    Reconnected,
}

/// The outcome of a reload that is in force, as a line. `not_ready`: upstreams that it concerned
/// and that do not serve.
#[must_use]
pub fn in_force(generation: u32, not_ready: &[String]) -> String {
    if not_ready.is_empty() {
        format!("generation {generation} in force")
    } else {
        format!(
            "generation {generation} in force{NOT_READY}{}",
            not_ready.join(", ")
        )
    }
}

/// The upstreams that such a line names.
#[must_use]
pub fn not_ready(outcome: &str) -> Option<&str> {
    outcome.split_once(NOT_READY).map(|(_, names)| names)
}

const NOT_READY: &str = "; not ready: ";

impl Change {
    /// One line for people.
    #[must_use]
    pub fn line(&self) -> String {
        let values = match (&self.from, &self.to) {
            (Some(from), Some(to)) => format!(" {from} -> {to};"),
            _ => String::new(),
        };
        let tools = match (self.tools.len(), self.effect) {
            (0, _) => String::new(),
            (_, Effect::Removed) => format!(" (vanish: {})", self.tools.join(", ")),
            _ => format!(" (away for a moment: {})", self.tools.join(", ")),
        };
        format!("{}:{values} {}{tools}", self.setting, self.what)
    }
}
