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

mod check;
mod clients;
pub mod commands;
mod files;
mod layers;
mod load;
mod model;
mod problem;
mod schema;
mod secrets;
mod servers;
pub mod state;
mod switched_off;
#[cfg(test)]
mod tests;

pub use check::check;
pub use files::position::Position;
pub(crate) use files::trust::somebody_else;
pub use layers::{Flag, variable};
pub use load::{LoadOptions, Loaded, load};
pub use model::*;
pub use problem::{Location, Problem, Severity};
pub use schema::{CATEGORIES, describe::json_schema, leaves};
pub use secrets::{
    auth_files::{AuthFiles, KEY_STORE},
    collector_headers::header_pairs,
    redact::{HIDDEN, arguments as redacted_arguments, redacted, text as redacted_text},
    secret::{Secret, exposed},
};
pub use servers::command::find_command;
pub use switched_off::{TRANSPORTS, is_on};
