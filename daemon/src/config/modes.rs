//! Who else may read or write a configuration file: it names the programs that the daemon runs, and may hold secrets.

use super::{
    expand,
    file::File,
    position::{Node, Position, Tree},
    problem::{Problem, Severity},
    redact, schema,
};
use ggen_wire::Code;
use serde_json::Value;

/// Judges a file's mode; a file that everybody may write is an error for a service.
pub(super) fn check(file: &File, service: bool, problems: &mut Vec<Problem>) {
    let path = file.path.display();
    if file.mode & 0o002 != 0 {
        let severity = if service { Severity::Error } else { Severity::Warning };
        let what = "every user of this host may write it, and so have the daemon run any program";
        let place = super::problem::Place { source: path.to_string(), at: None };
        problems.push(Problem::new(severity, Code::ConfigMode, place, "", what).help(format!("chmod o-w {path}")));
    }
    if file.mode & 0o004 != 0
        && let Some((key, at)) =
            schema::SERVERS.iter().filter_map(|key| file.root.member(key)).find_map(|section| literal_secret(&section.node))
    {
        let what = "holds a secret, and every user of this host may read the file";
        problems.push(Problem::new(Severity::Warning, Code::ConfigMode, file.place(at), key, what).help(format!("chmod o-r {path}")));
    }
}

/// The first value in the entries that is a secret and does not come from a variable.
fn literal_secret(entries: &Node) -> Option<(String, Position)> {
    entries.members().iter().find_map(|entry| {
        let path = schema::join(schema::SERVERS[0], &entry.key);
        let named = ["env", "headers"].iter().find_map(|key| {
            let path = schema::join(&path, key);
            let members = entry.node.member(key)?.node.members();
            members
                .iter()
                .find(|member| text(&member.node).is_some_and(|text| is_secret(&member.key, text)))
                .map(|member| (schema::join(&path, &member.key), member.node.at))
        });
        named
            .or_else(|| {
                let url = entry.node.member("url")?;
                let shown = text(&url.node).filter(|text| !expand::has_variable(text) && redact::text(text) != **text);
                shown.map(|_| (schema::join(&path, "url"), url.node.at))
            })
            .or_else(|| {
                let args = entry.node.member("args")?;
                let Tree::Array(items) = &args.node.tree else { return None };
                let texts: Vec<String> = items.iter().map(|item| text(item).unwrap_or_default().to_owned()).collect();
                let shown = redact::arguments(&texts);
                let index = (0..texts.len()).find(|index| !expand::has_variable(&texts[*index]) && shown[*index] != texts[*index])?;
                Some((format!("{}[{index}]", schema::join(&path, "args")), items[index].at))
            })
    })
}

fn text(node: &Node) -> Option<&str> {
    match &node.tree {
        Tree::Scalar(Value::String(text)) => Some(text),
        _ => None,
    }
}

fn is_secret(name: &str, value: &str) -> bool {
    !value.is_empty() && !expand::has_variable(value) && (redact::secret_name(name) || redact::text(value) != value)
}
