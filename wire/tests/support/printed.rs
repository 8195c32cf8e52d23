//! Commands in texts: finds what a program prints, or its documentation names, as `ggen …` or
//! `ggend …`. Tests of both programs include this file and parse the commands with their real
//! definitions.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A command as it stands in a source file.
#[derive(Debug)]
pub(crate) struct Printed {
    pub(crate) file: PathBuf,
    /// The words behind the program's name; placeholders have become values.
    pub(crate) words: Vec<String>,
    /// It may be the beginning of a command only: `ggen mcp auth …`, a part of a text that is put
    /// together, or a name in a comment.
    pub(crate) beginning: bool,
}

/// Words that go on with a sentence behind a command: "`ggen mcp list` shows them".
const PROSE: [&str; 6] = ["makes", "shows", "says", "comes", "does", "is"];
/// What ends a command.
const ENDS: [char; 11] = ['"', '`', '\n', ';', '|', '&', ')', ',', '…', '\\', ':'];

/// Every command of `program` in the sources of all crates, tests left out.
pub(crate) fn commands(program: &str) -> Vec<Printed> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found = Vec::new();
    for room in ["wire/src", "mcp/src", "daemon/src", "ctl/src"] {
        collect(&root.join(room), program, &mut found);
    }
    assert!(found.len() > 20, "only {} commands", found.len());
    found
}

fn collect(path: &Path, program: &str, found: &mut Vec<Printed>) {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if path.is_dir() && name != "tests" {
        let mut entries: Vec<PathBuf> = fs::read_dir(path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect();
        entries.sort();
        for entry in entries {
            collect(&entry, program, found);
        }
    } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
        let text = fs::read_to_string(path).unwrap_or_default();
        let code = text
            .split("#[cfg(test)]\nmod tests {")
            .next()
            .unwrap_or_default();
        code.lines()
            .for_each(|line| in_line(path, line, program, found));
    }
}

fn in_line(file: &Path, line: &str, program: &str, found: &mut Vec<Printed>) {
    let start = format!("{program} ");
    let comment = line.trim_start().starts_with("//");
    for (at, _) in line.match_indices(&start) {
        let before = line[..at].chars().next_back();
        // In a comment, only what is marked as code; elsewhere not the end of another word.
        let marked = before == Some('`');
        // `cargo build -p ggend --features …` is another program's.
        let package = line[..at].ends_with("-p ");
        if package
            || comment && !marked
            || before.is_some_and(|c| c.is_alphanumeric() || "-/_".contains(c))
        {
            continue;
        }
        let rest = &line[at + start.len()..];
        let end = rest.find(ENDS).unwrap_or(rest.len());
        let more = rest[end..].starts_with('…');
        let words: Vec<String> = rest[..end]
            .split_whitespace()
            .take_while(|word| !PROSE.contains(word) && !word.starts_with(['(', '[']))
            .map(value)
            .collect();
        found.push(Printed {
            file: file.to_path_buf(),
            words,
            // A literal that ends with a space is put together with something else.
            beginning: comment || more || rest[..end].ends_with(' '),
        });
    }
}

/// A word with values in the places of placeholders: `{name}`, `<NAME>`, `N`.
fn value(word: &str) -> String {
    let word = word.trim_matches('\'').trim_end_matches(['.', '?']);
    match word {
        "N" => return "1".to_owned(),
        "SHELL" => return "bash".to_owned(),
        "TIME" => return "10m".to_owned(),
        _ => {}
    }
    let mut out = String::new();
    let mut rest = word;
    while let Some(open) = rest.find(['{', '<']) {
        out.push_str(&rest[..open]);
        out.push('1');
        rest = rest[open..]
            .find(['}', '>'])
            .map_or("", |close| &rest[open + close + 1..]);
    }
    out + rest
}
