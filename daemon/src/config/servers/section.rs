//! Where a file keeps its servers: `mcpServers` of most MCP clients, `mcp_servers`, and VS Code's
//! `servers` with `inputs`.

use crate::config::{
    files::{
        position::{Member, Node, Tree},
        read::File,
    },
    layers::variables::Input,
    problem::{Problem, Severity},
    schema,
};
use ggen_wire::Code;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// The entries of all sections of a file, in its order. A name that stands in two sections is taken
/// from the first.
pub(super) fn entries<'f>(file: &'f File, problems: &mut Vec<Problem>) -> Vec<&'f Member> {
    let present: Vec<&Member> = schema::SERVERS
        .iter()
        .filter_map(|key| file.root.member(key))
        .collect();
    let mut found: Vec<&Member> = Vec::new();
    for (index, section) in present.iter().enumerate() {
        if index > 0 && section.key == schema::SERVERS[1] {
            let what = "stands beside `mcpServers`, which means the same; keep one of them";
            problems.push(Problem::new(
                Severity::Error,
                Code::ConfigUnknownKey,
                file.place(section.at),
                section.key.as_str(),
                what,
            ));
            continue;
        }
        if !matches!(section.node.tree, Tree::Object(_)) {
            let what = "expected an object, `{ \"name\": { … } }`";
            problems.push(Problem::new(
                Severity::Error,
                Code::ConfigType,
                file.place(section.node.at),
                section.key.as_str(),
                what,
            ));
            continue;
        }
        let earlier = found.len();
        for member in section.node.members() {
            if let Some(first) = found[..earlier]
                .iter()
                .find(|first| first.key == member.key)
            {
                let what = format!(
                    "not used: a server of that name stands already at {}:{}",
                    first.at.line, first.at.column
                );
                problems.push(
                    Problem::new(
                        Severity::Warning,
                        Code::ConfigUnknownKey,
                        file.place(member.at),
                        schema::join(&section.key, &member.key),
                        what,
                    )
                    .of_server(&member.key),
                );
            } else {
                found.push(member);
            }
        }
    }
    found
}

/// VS Code's `inputs`, by id (<https://code.visualstudio.com/docs/copilot/reference/mcp-configuration>).
pub(crate) fn inputs(root: &Node) -> BTreeMap<String, Input> {
    let Some(Tree::Array(items)) = root.member("inputs").map(|inputs| &inputs.node.tree) else {
        return BTreeMap::new();
    };
    let text = |item: &Node, key: &str| match &item.member(key)?.node.tree {
        Tree::Scalar(Value::String(text)) => Some(text.clone()),
        _ => None,
    };
    let input = |item: &Node| {
        let input = Input {
            default: text(item, "default"),
            is_command: text(item, "type").is_some_and(|kind| kind == "command"),
        };
        Some((text(item, "id")?, input))
    };
    items.iter().filter_map(input).collect()
}

/// `${workspaceFolder}` of a file: its folder, or the one above if that belongs to a client program
/// (`.vscode`, `.cursor`).
pub(crate) fn project_folder(file: &Path) -> Option<PathBuf> {
    let folder = file.parent()?;
    let is_dotted = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with('.');
    let project = match folder.file_name() {
        Some(name) if is_dotted(name) => folder.parent()?,
        _ => folder,
    };
    Some(project.to_owned())
}
