//! Configuration: the layers, their provenance, the check. Nobody else opens a configuration file.
//!
//! Decisions: the layers **merge** (flags › `GGEN_MCP_*` › `--config`/`GGEN_MCP_CONFIG`, else
//! `./.mcp.json` › `~/.ggen/mcp/config.json` › `/etc/ggen/mcp.json` › defaults): each value comes
//! from the highest layer that has it, lists are replaced, and entries of `mcpServers` are taken
//! whole by name. An error outside `mcpServers` refuses the configuration; one within an entry (an
//! unset `${VAR}`, a wrong type) disables that entry and leaves the others, while `ggend check`
//! counts both as errors. Settings that protect something and that this version does not enforce
//! are refused, never ignored. `timeout` of an entry is in milliseconds; a relative `cwd` is meant
//! from the folder of its file.

mod auth_files;
mod collector;
mod command;
pub mod commands;
mod credentials;
mod describe;
mod edit;
mod entry;
mod expand;
mod file;
mod key;
mod layers;
mod load;
mod model;
mod modes;
mod position;
mod problem;
mod ranges;
mod redact;
mod sandbox;
mod schema;
mod secret;
mod selfref;
mod servers;
pub mod state;
mod stopped;
mod store;
#[cfg(test)]
mod tests;

pub use auth_files::{AuthFiles, KEY_STORE};
pub use collector::header_pairs;
pub use command::find_command;
pub use describe::json_schema;
pub use layers::{Flag, variable};
pub use load::{LoadOptions, Loaded, load};
pub use model::*;
pub use position::Position;
pub use problem::{Place, Problem, Severity};
pub use ranges::check;
pub use redact::{HIDDEN, arguments as redacted_arguments, redacted, text as redacted_text};
pub use schema::{CATEGORIES, leaves};
pub use secret::{Secret, exposed};
pub use stopped::{TRANSPORTS, is_on};
