//! `ggend config set` and `unset`: reads the file, changes its text, checks the whole configuration
//! as it would be, and writes all changes or none.

use super::{Answer, BAD, CONFIG, Refusal, plain, short, target, values};
use crate::config::{
    LoadOptions, Problem,
    files::{
        edit::{self, EditError},
        jsonc,
        read::MAX_FILE,
        write::Turn,
    },
    load::{self, load},
    schema::{self, key_path::Key},
};
use ggen_wire::Code;
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fmt::Write as _,
    io::Read as _,
    path::{Path, PathBuf},
};

/// A new file begins so.
pub(super) const EMPTY: &str = "{\n  \"version\": \"1.0\"\n}\n";

/// A file whose turn it is to be changed.
pub(super) struct Open {
    /// As the loader knows it.
    path: PathBuf,
    turn: Turn,
    /// `None`: there is no file yet.
    text: Option<String>,
}

impl Open {
    pub(super) fn new(path: PathBuf) -> Result<Self, Refusal> {
        let failed = |error| Refusal::io(&path, &error);
        let turn = Turn::take(&path).map_err(failed)?;
        let text = match std::fs::File::open(turn.file()) {
            Ok(file) => {
                let mut text = String::new();
                file.take(MAX_FILE)
                    .read_to_string(&mut text)
                    .map_err(failed)?;
                Some(text)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(error)),
        };
        Ok(Self { path, turn, text })
    }

    /// The key as this file spells it: below `servers` or `mcp_servers` if it has that and no
    /// `mcpServers`, or if the entry stands there.
    fn spelt(&self, key: &Key) -> Vec<String> {
        let mut parts = key.0.clone();
        let has = |path: &[String]| {
            self.text
                .as_ref()
                .is_some_and(|text| edit::raw(text, path).is_some())
        };
        if parts[0] != schema::SERVERS[0] {
            return parts;
        }
        let sections = || schema::SERVERS.map(str::to_owned).into_iter();
        let entry = parts.get(1).cloned();
        let of_entry = entry
            .and_then(|entry| sections().find(|section| has(&[section.clone(), entry.clone()])));
        if let Some(section) =
            of_entry.or_else(|| sections().find(|section| has(std::slice::from_ref(section))))
        {
            parts[0] = section;
        }
        parts
    }

    /// The file's path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What is in it.
    pub(super) fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }

    /// The value at a key.
    pub(super) fn value(&self, key: &Key) -> Option<Value> {
        let raw = edit::raw(self.text.as_ref()?, &self.spelt(key))?;
        serde_json::from_str(&jsonc::plain(raw)).ok()
    }

    /// Puts a value into a text of this file.
    pub(super) fn set(
        &self,
        text: &mut String,
        key: Key,
        value: Value,
        json: &str,
        options: &LoadOptions,
    ) -> Result<Change, Refusal> {
        let before = self.value(&key);
        *text = edit::set(text, &self.spelt(&key), json)
            .map_err(|error| uneditable(options, self, &key, &error))?;
        Ok(Change {
            key,
            before,
            after: Some(value),
        })
    }

    fn names(&self) -> Vec<String> {
        let value: Option<Value> = self.text.as_ref().and_then(|text| {
            serde_json::from_str(&jsonc::plain(text.trim_start_matches('\u{feff}'))).ok()
        });
        let sections = schema::SERVERS
            .iter()
            .filter_map(|key| value.as_ref()?.get(key)?.as_object());
        sections
            .flat_map(|entries| entries.keys().cloned())
            .collect()
    }
}

pub(super) struct Change {
    key: Key,
    before: Option<Value>,
    after: Option<Value>,
}

/// `config set`
pub(super) fn set(
    options: &LoadOptions,
    assignments: &[String],
    running: &dyn Fn() -> bool,
) -> Result<Answer, Refusal> {
    let open = Open::new(target(options))?;
    let names = open.names();
    let mut text = open.text.clone().unwrap_or_else(|| EMPTY.to_owned());
    let mut changes: Vec<Change> = Vec::new();
    for argument in assignments {
        let values::Assignment {
            key,
            value,
            text: json,
        } = values::read(argument, &names)?;
        if let Some(other) = changes.iter().find(|change| change.key.touches(&key)) {
            return Err(Refusal::usage(format!(
                "{key} and {} are given together",
                other.key
            )));
        }
        let path = open.spelt(&key);
        let before =
            edit::raw(&text, &path).and_then(|raw| serde_json::from_str(&jsonc::plain(raw)).ok());
        if before.as_ref() != Some(&value) {
            text = edit::set(&text, &path, &json)
                .map_err(|error| uneditable(options, &open, &key, &error))?;
        }
        changes.push(Change {
            key,
            before,
            after: Some(value),
        });
    }
    finish(options, &open, &text, &changes, running)
}

/// `config unset`
pub(super) fn unset(
    options: &LoadOptions,
    keys: &[String],
    running: &dyn Fn() -> bool,
) -> Result<Answer, Refusal> {
    let usage =
        |what: String| Refusal::usage(what).help("ggen mcp config unset transports.http.port");
    let parsed: Vec<Key> = keys
        .iter()
        .map(|key| Key::parse(key).map_err(usage))
        .collect::<Result<_, _>>()?;
    // The highest file that has the first key, unless a file is named.
    let has = |place: &PathBuf| Open::new(place.clone()).is_ok_and(|open| holds(&open, &parsed[0]));
    let places = if options.named_file().is_some() {
        Vec::new()
    } else {
        load::places(options)
    };
    let path = places
        .into_iter()
        .filter(|place| place.exists())
        .find(has)
        .unwrap_or_else(|| target(options));
    let open = Open::new(path)?;
    let names = open.names();
    let Some(mut text) = open.text.clone() else {
        return Err(Refusal::new(
            CONFIG,
            Code::ConfigUnreadable,
            format!("{}: no such file", open.path.display()),
        )
        .help("ggen mcp config path"));
    };
    let mut changes = Vec::new();
    for key in parsed {
        let key = values::of_entries(key, &names);
        let path = open.spelt(&key);
        let before =
            edit::raw(&text, &path).and_then(|raw| serde_json::from_str(&jsonc::plain(raw)).ok());
        text = match edit::unset(&text, &path)
            .map_err(|error| uneditable(options, &open, &key, &error))?
        {
            Some(text) => text,
            None => text,
        };
        changes.push(Change {
            key,
            before,
            after: None,
        });
    }
    finish(options, &open, &text, &changes, running)
}

fn holds(open: &Open, key: &Key) -> bool {
    let key = values::of_entries(key.clone(), &open.names());
    open.text
        .as_ref()
        .is_some_and(|text| edit::raw(text, &open.spelt(&key)).is_some())
}

/// A text that cannot be changed: the loader says best what is wrong with it.
fn uneditable(options: &LoadOptions, open: &Open, key: &Key, error: &EditError) -> Refusal {
    match error {
        EditError::NotAnObject(depth) => {
            let above = Key(key.0[..*depth].to_vec());
            Refusal::new(
                CONFIG,
                Code::ConfigType,
                format!("{above} is not an object, so nothing can stand below it"),
            )
            .help(format!("ggen mcp config unset {above}"))
        }
        EditError::NotJson => {
            let problems = load(options).err().unwrap_or_default();
            let of_file = problems
                .into_iter()
                .find(|problem| Path::new(&problem.place.source) == open.path);
            of_file.map_or_else(
                || {
                    Refusal::new(
                        CONFIG,
                        Code::ConfigSyntax,
                        format!("{}: {error}", open.path.display()),
                    )
                },
                |one| Refusal::of([one]),
            )
        }
    }
}

/// All problems of a configuration, whether it loads or not.
fn problems(options: &LoadOptions) -> Vec<Problem> {
    load(options).map_or_else(|problems| problems, |loaded| loaded.warnings)
}

/// Judges the text, writes it, and says what has changed.
pub(super) fn finish(
    options: &LoadOptions,
    open: &Open,
    text: &str,
    changes: &[Change],
    running: &dyn Fn() -> bool,
) -> Result<Answer, Refusal> {
    let changed = open.text.as_deref() != Some(text)
        && changes.iter().any(|change| change.before != change.after);
    let identity = |problem: &Problem| {
        (
            problem.code.as_str(),
            problem.path.clone(),
            problem.what.clone(),
        )
    };
    let future = LoadOptions {
        instead: vec![(open.path.clone(), text.to_owned())],
        ..options.clone()
    };
    let after = problems(&future);
    let known: BTreeSet<_> = if after.iter().any(Problem::is_error) {
        problems(options).iter().map(identity).collect()
    } else {
        BTreeSet::new()
    };
    // A mistake that was there before does not hinder mending another one; a variable may be set
    // where the daemon runs.
    let about = |problem: &Problem| {
        Key::parse(&problem.path)
            .is_ok_and(|path| changes.iter().any(|change| change.key.touches(&path)))
    };
    let refused = |problem: &Problem| {
        let set = about(problem) && changes.iter().any(|change| change.after.is_some());
        problem.is_error()
            && problem.code != Code::ConfigVariable
            && (set || !known.contains(&identity(problem)))
    };
    let (bad, rest): (Vec<Problem>, Vec<Problem>) = after.into_iter().partition(refused);
    if !bad.is_empty() {
        return Err(Refusal::of(
            bad.into_iter()
                .map(|problem| unwritten(problem, open, changes)),
        ));
    }
    if changed {
        open.turn
            .write(text)
            .map_err(|error| Refusal::io(&open.path, &error))?;
    }
    Ok(answer(
        options, &future, open, changes, changed, &rest, running,
    ))
}

/// The problem of a text that was not written: it has no place, and what was not written need not
/// be taken back.
fn unwritten(mut problem: Problem, open: &Open, changes: &[Change]) -> Problem {
    if Path::new(&problem.place.source) == open.path {
        problem.place = crate::config::Location::default();
    }
    let back = |command: &String| {
        let key = command
            .strip_prefix("ggen mcp config unset ")
            .and_then(|key| Key::parse(key).ok());
        key.is_some_and(|key| changes.iter().any(|change| change.key.touches(&key)))
    };
    problem.help.retain(|command| !back(command));
    if let (Code::ConfigUnknownKey, Some(meant), Ok(key)) =
        (problem.code, &problem.suggestion, Key::parse(&problem.path))
    {
        let meant = if meant.contains('.') {
            meant.clone()
        } else {
            Key([&key.0[..key.0.len() - 1], std::slice::from_ref(meant)].concat()).to_string()
        };
        let value = changes
            .iter()
            .find(|change| change.key == key)
            .and_then(|change| Some(plain(change.after.as_ref()?)));
        problem.help.insert(
            0,
            format!(
                "ggen mcp config set {meant}={}",
                value.unwrap_or_else(|| "…".to_owned())
            ),
        );
    }
    problem
}

/// One change: a line or two for people, and its JSON.
fn change_shown(
    options: &LoadOptions,
    change: &Change,
    covered: Option<&str>,
    text: &mut String,
) -> Value {
    let Change { key, before, after } = change;
    let show = |value: &Option<Value>| value.as_ref().map(|value| values::shown(key, value));
    let (before, after) = (show(before), show(after));
    let _ = match (&before, &after) {
        (None, Some(after)) => writeln!(text, "  {key} = {after}"),
        (Some(before), Some(after)) if before == after => {
            writeln!(text, "  {key} = {after} (as before)")
        }
        (Some(before), Some(after)) => writeln!(text, "  {key} = {after} (was {before})"),
        (Some(before), None) => writeln!(text, "  {key} taken out (was {before})"),
        (None, None) => writeln!(text, "  {key} is not set in this file"),
    };
    if let Some(source) = covered {
        let verb = if after.is_some() {
            "covers it"
        } else {
            "still sets it"
        };
        let _ = writeln!(text, "  ! {} {verb}", short(options, source));
    }
    json!({"key": key.to_string(), "before": before, "after": after, "covered_by": covered})
}

fn answer(
    options: &LoadOptions,
    future: &LoadOptions,
    open: &Open,
    changes: &[Change],
    changed: bool,
    rest: &[Problem],
    running: &dyn Fn() -> bool,
) -> Answer {
    let file = short(options, &open.path.display().to_string());
    let done = match (changed, open.text.is_some()) {
        (false, _) => "Unchanged",
        (true, true) => "Updated",
        (true, false) => "Created",
    };
    let mut text = format!("{done} {file}\n");
    let provenance = load(future)
        .map(|loaded| loaded.provenance)
        .unwrap_or_default();
    let list: Vec<Value> = changes
        .iter()
        .map(|change| {
            // A value that a higher layer covers has been written, and does nothing.
            let covered = provenance.get(&change.key.dotted()).filter(|source| {
                *source != "default" && !source.starts_with(&*open.path.to_string_lossy())
            });
            change_shown(options, change, covered.map(String::as_str), &mut text)
        })
        .collect();
    for problem in rest {
        let word = if problem.is_error() {
            "✗"
        } else {
            "! Warning:"
        };
        let _ = writeln!(text, "  {word} {}  [{}]", problem.text(), problem.code);
    }
    let running = changed && running();
    if changed {
        text.push_str(if running {
            "Reload to apply: ggen mcp server reload\n"
        } else {
            "It applies at the next start: ggen mcp server start\n"
        });
    }
    let errors = rest
        .iter()
        .any(|problem| problem.is_error() && problem.code != Code::ConfigVariable);
    let json = json!({
        "file": open.path, "created": changed && open.text.is_none(), "changed": changed, "changes": list, "reload_needed": running, "problems": rest,
    });
    Answer {
        text,
        json,
        exit: if errors { BAD } else { 0 },
        bare: false,
    }
}
