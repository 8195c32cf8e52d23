//! Which lists a client sees.

use crate::api::UpId;

/// Which lists a client sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum View {
    /// `/mcp`: all servers and the built-in tools.
    All,
    /// `/mcp/<server>`: one server, names as it gives them.
    One(UpId),
    /// `/mcp/core`: the built-in tools.
    Core,
}
