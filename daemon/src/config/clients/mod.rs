//! The configuration files of MCP client programs: where each keeps its servers, in which format,
//! and how an entry becomes one of ours. May not: open files, write anything.

pub(super) mod formats;
mod registry;
pub(super) mod translate;
mod variables;

use super::files::position::{Node, Tree};
use formats::Format;

/// A client program.
#[derive(Debug)]
pub(crate) struct Client {
    /// As it is named on the command line.
    pub id: &'static str,
    /// As people call it.
    pub title: &'static str,
    /// Its files, `~/` below the home directory, `./` below the working directory; macOS and Linux.
    pub files: &'static [&'static str],
    /// The format of all of them.
    pub format: Format,
    /// The keys that lead to its servers.
    pub section: &'static [&'static str],
    /// How ggend's entry looks there.
    pub reach: Reach,
    /// Where file and shape are documented.
    #[allow(dead_code, reason = "for readers of the table")]
    pub documented: &'static str,
}

/// How a client program reaches ggend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// By a command alone: `ggen mcp server stdio`.
    Command,
    /// By its address, in this key; with further members in front of it and behind it.
    Address {
        /// The key of the address.
        key: &'static str,
        /// Members with text values in front of it.
        before: &'static [(&'static str, &'static str)],
        /// JSON of members behind it.
        after: &'static [(&'static str, &'static str)],
    },
}

const fn address(key: &'static str) -> Reach {
    Reach::Address {
        key,
        before: &[],
        after: &[],
    }
}

const HTTP: Reach = Reach::Address {
    key: "url",
    before: &[("type", "http")],
    after: &[],
};

/// Every client program that is known, and the registry's `server.json`.
pub(crate) const CLIENTS: [Client; 15] = [
    Client {
        id: "claude-desktop",
        title: "Claude Desktop",
        files: &[
            "~/.config/Claude/claude_desktop_config.json",
            "~/Library/Application Support/Claude/claude_desktop_config.json",
        ],
        format: Format::Json,
        section: &["mcpServers"],
        reach: Reach::Command,
        documented: "https://modelcontextprotocol.io/docs/develop/connect-local-servers",
    },
    Client {
        id: "claude-code",
        title: "Claude Code",
        files: &["~/.claude.json"],
        format: Format::Json,
        section: &["mcpServers"],
        reach: HTTP,
        documented: "https://code.claude.com/docs/en/mcp",
    },
    Client {
        id: "vscode",
        title: "VS Code",
        files: &[
            "~/.config/Code/User/mcp.json",
            "~/Library/Application Support/Code/User/mcp.json",
            "./.vscode/mcp.json",
        ],
        format: Format::Json,
        section: &["servers"],
        reach: HTTP,
        documented: "https://code.visualstudio.com/docs/copilot/reference/mcp-configuration",
    },
    Client {
        id: "cursor",
        title: "Cursor",
        files: &["~/.cursor/mcp.json", "./.cursor/mcp.json"],
        format: Format::Json,
        section: &["mcpServers"],
        reach: address("url"),
        documented: "https://cursor.com/docs/context/mcp",
    },
    Client {
        id: "windsurf",
        title: "Windsurf",
        files: &["~/.codeium/windsurf/mcp_config.json"],
        format: Format::Json,
        section: &["mcpServers"],
        reach: address("serverUrl"),
        documented: "https://docs.windsurf.com/windsurf/cascade/mcp",
    },
    Client {
        id: "zed",
        title: "Zed",
        files: &["~/.config/zed/settings.json", "./.zed/settings.json"],
        format: Format::Json,
        section: &["context_servers"],
        reach: address("url"),
        documented: "https://zed.dev/docs/ai/mcp",
    },
    Client {
        id: "gemini",
        title: "Gemini CLI",
        files: &["~/.gemini/settings.json", "./.gemini/settings.json"],
        format: Format::Json,
        section: &["mcpServers"],
        reach: address("httpUrl"),
        documented: "https://geminicli.com/docs/tools/mcp-server",
    },
    Client {
        id: "codex",
        title: "Codex",
        files: &["~/.codex/config.toml", "./.codex/config.toml"],
        format: Format::Toml,
        section: &["mcp_servers"],
        reach: address("url"),
        documented: "https://developers.openai.com/codex/mcp",
    },
    Client {
        id: "goose",
        title: "Goose",
        files: &["~/.config/goose/config.yaml"],
        format: Format::Yaml,
        section: &["extensions"],
        reach: Reach::Address {
            key: "uri",
            before: &[("name", "ggend"), ("type", "streamable_http")],
            after: &[("enabled", "true"), ("timeout", "300")],
        },
        documented: "https://block.github.io/goose/docs/guides/config-files",
    },
    Client {
        // Version 1 keeps servers below `mcp`, version 2 below `mcp.servers`.
        id: "opencode",
        title: "OpenCode",
        files: &[
            "~/.config/opencode/opencode.json",
            "~/.config/opencode/opencode.jsonc",
            "./opencode.json",
            "./opencode.jsonc",
        ],
        format: Format::Json,
        section: &["mcp"],
        reach: Reach::Address {
            key: "url",
            before: &[("type", "remote")],
            after: &[],
        },
        documented: "https://opencode.ai/docs/mcp-servers",
    },
    Client {
        id: "copilot",
        title: "Copilot CLI",
        files: &["~/.copilot/mcp-config.json"],
        format: Format::Json,
        section: &["mcpServers"],
        reach: Reach::Address {
            key: "url",
            before: &[("type", "http")],
            after: &[("tools", "[\"*\"]")],
        },
        documented: "https://docs.github.com/copilot/how-tos/use-copilot-agents/use-copilot-cli",
    },
    Client {
        id: "cline",
        title: "Cline",
        files: &[
            "~/.config/Code/User/globalStorage/saoudrizwan.claude-dev/settings/cline_mcp_settings.json",
            "~/Library/Application Support/Code/User/globalStorage/saoudrizwan.claude-dev/settings/cline_mcp_settings.json",
        ],
        format: Format::Json,
        section: &["mcpServers"],
        reach: Reach::Address {
            key: "url",
            before: &[("type", "streamableHttp")],
            after: &[],
        },
        documented: "https://docs.cline.bot/mcp/configuring-mcp-servers",
    },
    Client {
        id: "lmstudio",
        title: "LM Studio",
        files: &["~/.lmstudio/mcp.json"],
        format: Format::Json,
        section: &["mcpServers"],
        reach: address("url"),
        documented: "https://lmstudio.ai/docs/app/mcp",
    },
    Client {
        // Junie; the AI Assistant keeps its servers in the settings of the IDE.
        id: "jetbrains",
        title: "JetBrains",
        files: &["~/.junie/mcp/mcp.json", "./.junie/mcp/mcp.json"],
        format: Format::Json,
        section: &["mcpServers"],
        reach: Reach::Command,
        documented: "https://www.jetbrains.com/help/junie/model-context-protocol-mcp.html",
    },
    Client {
        id: "registry",
        title: "MCP registry",
        files: &[],
        format: Format::Json,
        section: &[],
        reach: Reach::Command,
        documented: "https://github.com/modelcontextprotocol/registry/blob/main/docs/reference/server-json/generic-server-json.md",
    },
];

/// The client of that name.
pub(crate) fn by_id(id: &str) -> Option<&'static Client> {
    CLIENTS.iter().find(|client| client.id == id)
}

/// Whose a file most likely is: by its name, then by what is in it.
pub(crate) fn of_file(path: &str, root: &Node) -> &'static Client {
    let has = |key: &str| root.member(key).is_some();
    let by_name = [
        (".toml", "codex"),
        (".yaml", "goose"),
        (".yml", "goose"),
        ("gemini", "gemini"),
        ("windsurf", "windsurf"),
        ("codeium", "windsurf"),
        ("copilot", "copilot"),
        ("cline", "cline"),
        ("junie", "jetbrains"),
        ("lmstudio", "lmstudio"),
        ("opencode", "opencode"),
        ("claude_desktop", "claude-desktop"),
    ];
    let id = if has("packages") || has("remotes") || has("server") {
        "registry"
    } else if has("context_servers") {
        "zed"
    } else if let Some((_, id)) = by_name.iter().find(|(part, _)| path.contains(part)) {
        id
    } else if has("mcp") && !has("mcpServers") {
        "opencode"
    } else if has("servers") {
        "vscode"
    } else {
        "claude-code"
    };
    by_id(id).unwrap_or(&CLIENTS[1])
}

/// The object that holds the servers of a file, and the keys that lead to it.
pub(crate) fn servers<'n>(
    client: &Client,
    root: &'n Node,
) -> Option<(&'n Node, Vec<&'static str>)> {
    let at = |path: &[&str]| {
        path.iter()
            .try_fold(root, |node, key| Some(&node.member(key)?.node))
    };
    // OpenCode 2, and VS Code's `settings.json`.
    let nested: &[&'static str] = &["mcp", "servers"];
    let paths: [&[&'static str]; 4] = match client.id {
        "opencode" => [nested, client.section, &[], &[]],
        "vscode" => [client.section, nested, &["mcpServers"], &[]],
        _ => [
            client.section,
            &["mcpServers"],
            &["servers"],
            &["mcp_servers"],
        ],
    };
    paths
        .into_iter()
        .filter(|path| !path.is_empty())
        .find_map(|path| {
            let node = at(path).filter(|node| matches!(node.tree, Tree::Object(_)))?;
            Some((node, path.to_vec()))
        })
}
