//! The command lines of `ggen mcp import` and `ggen mcp install`. Definitions only.

use clap::Args as Group;
use std::path::PathBuf;

/// `ggen mcp import`
#[derive(Debug, Group)]
pub(crate) struct Import {
    /// A file, or a client: claude-desktop, claude-code, vscode, cursor, windsurf, zed, gemini,
    /// codex, goose, opencode, copilot, cline, lmstudio, jetbrains; without it, all of them
    #[arg(value_name = "FILE|CLIENT")]
    pub(crate) what: Option<String>,
    /// Write it
    #[arg(long)]
    pub(crate) yes: bool,
    /// Only show what would happen
    #[arg(long, conflicts_with = "yes")]
    pub(crate) dry_run: bool,
    /// Also replace servers of the same name
    #[arg(long)]
    pub(crate) replace: bool,
}

/// `ggen mcp install`
#[derive(Debug, Group)]
pub(crate) struct Install {
    /// claude-desktop, claude-code, vscode, cursor, windsurf, zed, gemini, codex, goose, opencode,
    /// copilot, cline, lmstudio or jetbrains
    pub(crate) client: String,
    /// Only print the entry
    #[arg(long, conflicts_with = "remove")]
    pub(crate) print: bool,
    /// Take the entry out again
    #[arg(long)]
    pub(crate) remove: bool,
    /// By the command `ggen mcp server stdio`, not by address
    #[arg(long)]
    pub(crate) stdio: bool,
    /// Another address than that of the configuration
    #[arg(long, value_name = "URL", conflicts_with = "stdio")]
    pub(crate) url: Option<String>,
    /// Another file than the client's usual one
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}
