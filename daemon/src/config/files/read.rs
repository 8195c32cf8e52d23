//! Reads one configuration file, JSON or JSONC: its text, its positions, its mode, its syntax errors. May not:
//! know what the keys mean.

use super::{
    jsonc,
    position::{Node, Position, Tree, locate},
};
use crate::config::problem::{Location, Problem, Severity};
use ggen_wire::Code;
use std::{
    collections::HashMap,
    io::{ErrorKind, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Larger files are refused: a configuration is written by people.
pub(crate) const MAX_FILE: u64 = 4 << 20;

/// A file that is JSON and whose top level is an object.
#[derive(Clone, Debug)]
pub(crate) struct File {
    /// Its path, as it is shown.
    pub path: PathBuf,
    /// Its content with positions.
    pub root: Node,
    /// Permission bits.
    pub mode: u32,
}

impl File {
    /// A place in this file.
    #[must_use]
    pub(crate) fn place(&self, at: Position) -> Location {
        Location {
            source: self.path.display().to_string(),
            at: Some(at),
        }
    }

    /// Reads and parses; duplicate keys are added to `problems`, and the file is used all the same
    /// so that its other problems show too.
    ///
    /// # Errors
    /// What hinders reading or parsing. A missing file is `Missing`, so that the caller decides
    /// whether it matters.
    pub(crate) fn read(path: &Path, problems: &mut Vec<Problem>) -> Result<Self, Unread> {
        let place = || Location {
            source: path.display().to_string(),
            at: None,
        };
        let unreadable =
            |what: String| Problem::new(Severity::Error, Code::ConfigUnreadable, place(), "", what);
        let failed = |error: &std::io::Error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => Unread::Missing,
            ErrorKind::PermissionDenied => Unread::Denied(Box::new(
                unreadable("permission denied".to_owned())
                    .help(format!("ls -l {}", path.display())),
            )),
            _ => Unread::Bad(Box::new(unreadable(error.to_string()))),
        };
        let facts = std::fs::metadata(path).map_err(|error| failed(&error))?;
        if !facts.is_file() {
            return Err(Unread::Bad(Box::new(unreadable(
                "not a regular file".to_owned(),
            ))));
        }
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path).map_err(|error| failed(&error))?;
        file.take(MAX_FILE + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| failed(&error))?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(Unread::Bad(Box::new(unreadable(format!(
                "larger than {} MB",
                MAX_FILE >> 20
            )))));
        }
        Self::of(path, &bytes, facts.mode(), problems)
    }

    /// As if that were the content and mode of a file.
    ///
    /// # Errors
    /// What hinders parsing.
    pub(crate) fn of(
        path: &Path,
        bytes: &[u8],
        mode: u32,
        problems: &mut Vec<Problem>,
    ) -> Result<Self, Unread> {
        let place = Location {
            source: path.display().to_string(),
            at: None,
        };
        let root = parse(bytes).map_err(|(at, what)| {
            let place = Location {
                at: Some(at),
                ..place
            };
            Unread::Bad(Box::new(Problem::new(
                Severity::Error,
                Code::ConfigSyntax,
                place,
                "",
                what,
            )))
        })?;
        let file = Self {
            path: path.to_owned(),
            root,
            mode,
        };
        if !matches!(file.root.tree, Tree::Object(_)) {
            let problem = Problem::new(
                Severity::Error,
                Code::ConfigType,
                file.place(file.root.at),
                "",
                "the file must hold one JSON object, `{ … }`",
            );
            return Err(Unread::Bad(Box::new(problem)));
        }
        duplicates(&file, &file.root, "", problems);
        Ok(file)
    }
}

/// Why there is no file.
#[derive(Debug)]
pub(crate) enum Unread {
    /// It does not exist.
    Missing,
    /// It may not be read.
    Denied(Box<Problem>),
    /// Anything else.
    Bad(Box<Problem>),
}

fn parse(bytes: &[u8]) -> Result<Node, (Position, String)> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]).into_owned();
        (end_of(&before), "not UTF-8".to_owned())
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let start = Position { line: 1, column: 1 };
    if text.trim().is_empty() {
        return Err((start, "the file is empty".to_owned()));
    }
    let plain = jsonc::plain(text);
    if let Err(error) = serde_json::from_str::<serde_json::Value>(&plain) {
        return Err(syntax(text, &error));
    }
    locate(&plain, text).ok_or_else(|| (start, "the file cannot be read".to_owned()))
}

/// `serde_json` counts columns in bytes, and says `at line 1 column 2` in the text; both are put
/// right here.
fn syntax(text: &str, error: &serde_json::Error) -> (Position, String) {
    let what = error.to_string();
    let what = what
        .rsplit_once(" at line ")
        .map_or(what.as_str(), |(what, _)| what)
        .to_owned();
    let line = text
        .split('\n')
        .nth(error.line().saturating_sub(1))
        .unwrap_or_default();
    let before = line
        .as_bytes()
        .get(..error.column().saturating_sub(1))
        .map_or_else(
            || line.to_owned(),
            |part| String::from_utf8_lossy(part).into_owned(),
        );
    let at = Position {
        line: error.line().max(1),
        column: before.chars().count() + 1,
    };
    let rest: String = line.chars().skip(at.column - 1).take(2).collect();
    let hint = if rest.starts_with('\'') {
        "; JSON texts stand in double quotes"
    } else {
        ""
    };
    (at, format!("{what}{hint}"))
}

fn end_of(text: &str) -> Position {
    let last = text.rsplit('\n').next().unwrap_or_default();
    Position {
        line: text.matches('\n').count() + 1,
        column: last.chars().count() + 1,
    }
}

fn duplicates(file: &File, node: &Node, path: &str, problems: &mut Vec<Problem>) {
    match &node.tree {
        Tree::Object(members) => {
            let mut seen: HashMap<&str, Position> = HashMap::new();
            for member in members {
                let path = crate::config::schema::join(path, &member.key);
                if let Some(first) = seen.get(member.key.as_str()) {
                    let what = format!(
                        "duplicate key; it stands already at {}:{}",
                        first.line, first.column
                    );
                    problems.push(Problem::new(
                        Severity::Error,
                        Code::ConfigSyntax,
                        file.place(member.at),
                        path.clone(),
                        what,
                    ));
                }
                seen.entry(&member.key).or_insert(member.at);
                duplicates(file, &member.node, &path, problems);
            }
        }
        Tree::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                duplicates(file, item, &format!("{path}[{index}]"), problems);
            }
        }
        Tree::Scalar(_) => {}
    }
}
