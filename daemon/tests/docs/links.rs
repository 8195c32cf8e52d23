//! Every link between Markdown files leads to a file and a heading that exist, every file that a
//! document names in the source tree does, and configurations in the documents can be read.

use ggend::config::{Config, leaves};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_path_buf()
}

/// Every Markdown file of the project.
fn documents() -> BTreeMap<PathBuf, String> {
    let (mut folders, mut found) = (vec![root()], BTreeMap::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if !name.starts_with('.') && name != "target" && name != "node_modules" {
                    folders.push(path);
                }
            } else if name.ends_with(".md") {
                found.insert(path.clone(), fs::read_to_string(&path).unwrap());
            }
        }
    }
    assert!(found.len() > 60, "only {} documents", found.len());
    found
}

/// The lines that are not in a fenced block.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// The anchors of a document's headings, as GitHub makes them.
fn anchors(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for heading in prose(text).filter(|line| line.starts_with('#')) {
        let words = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = words
            .chars()
            .filter(|c| c.is_alphanumeric() || "-_ ".contains(*c));
        let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        let earlier = found.iter().filter(|one| **one == anchor).count();
        found.push(if earlier > 0 {
            format!("{anchor}-{earlier}")
        } else {
            anchor
        });
    }
    found
}

/// The targets of a document's links: `[text](target)`, but for code.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in prose(text) {
        let code = line.split('`').enumerate();
        let line: String = code
            .map(|(at, part)| if at % 2 == 0 { part } else { "" })
            .collect();
        let targets = line.split("](").skip(1);
        found.extend(targets.filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())));
    }
    found
}

#[test]
fn links_are_found_and_headings_have_anchors() {
    let text = "# The `a` of b: c\n## Two\n## Two\n```\n# no\n[x](no)\n```\nsee [x](y.md#z) and `[x](no)`\n";
    assert_eq!(anchors(text), ["the-a-of-b-c", "two", "two-1"]);
    assert_eq!(links(text), ["y.md#z"]);
}

#[test]
fn every_link_leads_somewhere() {
    let (documents, mut wrong) = (documents(), Vec::new());
    for (path, text) in &documents {
        for link in links(text) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() {
                path.clone()
            } else {
                path.parent().unwrap().join(file)
            };
            let Ok(target) = target.canonicalize() else {
                wrong.push(format!("{}: {link}: no such file", path.display()));
                continue;
            };
            if anchor.is_empty() || target.extension().is_none_or(|kind| kind != "md") {
                continue;
            }
            let target = fs::read_to_string(target).unwrap();
            if !anchors(&target).iter().any(|one| one == anchor) {
                wrong.push(format!("{}: {link}: no such heading", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_page_can_be_reached_from_the_index() {
    let documents = documents();
    let (mut reached, mut next) = (vec![root().join("docs/README.md")], 0);
    while next < reached.len() {
        let page = reached[next].clone();
        next += 1;
        for link in links(documents.get(&page).map_or("", String::as_str)) {
            let file = link.split('#').next().unwrap_or_default();
            let Ok(target) = page.parent().unwrap().join(file).canonicalize() else {
                continue;
            };
            if documents.contains_key(&target) && !reached.contains(&target) {
                reached.push(target);
            }
        }
    }
    for page in documents
        .keys()
        .filter(|page| page.starts_with(root().join("docs")))
    {
        assert!(
            reached.contains(page),
            "docs/README.md leads nobody to {}",
            page.display()
        );
    }
}

/// Whether a key may stand in a configuration: a leaf, or a section of it.
fn known(path: &str) -> bool {
    let free = ["mcpServers", "tools", "policy", "metadata", "description"];
    free.contains(&path)
        || leaves()
            .iter()
            .any(|leaf| leaf == path || leaf.starts_with(&format!("{path}.")))
}

fn keys(value: &Value, path: &str, found: &mut Vec<String>) {
    for (key, member) in value.as_object().into_iter().flatten() {
        let here = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        if !["mcpServers", "tools", "policy", "metadata"].contains(&here.as_str()) {
            keys(member, &here, found);
        }
        found.push(here);
    }
}

#[test]
fn configurations_in_the_documents_can_be_read() {
    let mut seen = 0;
    for (path, text) in documents() {
        let printed = text
            .split("```json\n")
            .skip(1)
            .filter_map(|rest| Some(rest.split_once("\n```")?.0));
        let typed = text
            .split("json <<'END'\n")
            .skip(1)
            .filter_map(|rest| Some(rest.split_once("\nEND")?.0));
        for block in printed.chain(typed).filter(|block| block.starts_with('{')) {
            let value: Value = serde_json::from_str(block)
                .unwrap_or_else(|error| panic!("{}: {error}: {block}", path.display()));
            let mut found = Vec::new();
            keys(&value, "", &mut found);
            for key in found {
                assert!(known(&key), "{}: no key {key}: {block}", path.display());
            }
            let config: Result<Config, _> = serde_json::from_value(value);
            assert!(config.is_ok(), "{}: {block}: {config:?}", path.display());
            seen += 1;
        }
    }
    assert!(seen > 12, "only {seen} configurations");
}

#[test]
fn folders_and_files_that_documents_name_exist() {
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for (path, text) in documents() {
        let name = path.strip_prefix(root()).unwrap();
        if !["ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md"]
            .map(Path::new)
            .contains(&name)
            && !name.starts_with("docs")
        {
            continue;
        }
        for line in prose(&text) {
            for word in line.split('`').skip(1).step_by(2) {
                let word = word.split("::").next().unwrap_or_default();
                let ours = [
                    "wire/",
                    "mcp/",
                    "daemon/",
                    "ctl/",
                    "tests/",
                    "packaging/",
                    ".ci/",
                ];
                let file = word.contains([' ', '*', '{', '<']);
                if file || !ours.iter().any(|folder| word.starts_with(folder)) {
                    continue;
                }
                seen += 1;
                if !root().join(word).exists() {
                    wrong.push(format!("{}: {word}", name.display()));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "named and not there:\n{}",
        wrong.join("\n")
    );
    assert!(seen > 40, "only {seen} files are named");
}
