//! `ggend config import`: the servers of other MCP clients, merged into our file. Without `--yes`
//! it shows what would happen.

use super::{
    Answer, BAD, CONFIG, Refusal, change,
    secrets_of::{self, Moved},
    short, target,
};
use crate::config::{
    LoadOptions, Severity,
    clients::{
        self, Client,
        formats::Format,
        translate::{self, Found},
    },
    files::{
        position::Node,
        read::{File, MAX_FILE},
    },
    load::load,
    schema::{self, key_path::Key},
    servers::{self, Around, selfref::Own},
};
use ggen_wire::Code;
use serde_json::{Map, Value, json};
use std::{
    fmt::Write as _,
    io::Read as _,
    path::{Path, PathBuf},
};

/// What is to be imported, and how.
#[derive(Debug)]
pub(super) struct Import<'a> {
    /// A file or a client's name; none: all files of all clients.
    pub what: Option<&'a str>,
    /// Write it.
    pub yes: bool,
    /// Also where there is another server of that name.
    pub replace: bool,
}

/// A file that servers come from.
struct Source {
    client: &'static Client,
    path: PathBuf,
    servers: Vec<Planned>,
}

/// A server, and what becomes of it.
struct Planned {
    found: Found,
    action: Action,
    moved: Vec<Moved>,
}

#[derive(Clone, Debug, PartialEq)]
enum Action {
    Add,
    Replace,
    Same,
    Exists,
    LeftOut(String),
}

/// `config import`
pub(super) fn import(
    options: &LoadOptions,
    import: &Import<'_>,
    running: &dyn Fn() -> bool,
) -> Result<Answer, Refusal> {
    let target = target(options);
    let mut sources = Vec::new();
    for (path, client) in files(options, import.what)? {
        if !crate::config::load::same(&path, &target) {
            sources.push(read(options, &path, client)?);
        } else if import.what.is_some() {
            return Err(Refusal::usage(format!(
                "{} is the file that is imported into",
                path.display()
            ))
            .help("ggen mcp config validate"));
        }
    }
    let open = change::Open::new(target)?;
    plan(options, &open, &mut sources, import.replace);
    let writes = sources
        .iter()
        .flat_map(|source| &source.servers)
        .any(|server| matches!(server.action, Action::Add | Action::Replace));
    let answer = if import.yes && writes {
        Some(write(options, &open, &sources, running)?)
    } else {
        None
    };
    Ok(shown(
        options,
        import,
        &open,
        &sources,
        writes,
        answer.as_ref(),
    ))
}

/// The files that are meant, each with its client if that is known.
fn files(
    options: &LoadOptions,
    what: Option<&str>,
) -> Result<Vec<(PathBuf, Option<&'static Client>)>, Refusal> {
    let of_client = |client: &'static Client| {
        let places = client.files.iter().map(|file| place(options, file));
        places
            .filter(|path| path.is_file())
            .map(move |path| (path, Some(client)))
    };
    match what {
        None => Ok(clients::CLIENTS.iter().flat_map(of_client).collect()),
        Some(what) => match clients::by_id(what).filter(|client| !client.files.is_empty()) {
            Some(client) => {
                let found: Vec<_> = of_client(client).collect();
                if found.is_empty() {
                    return Err(Refusal::new(
                        CONFIG,
                        Code::ConfigUnreadable,
                        format!(
                            "{} has no file here: {} are not there",
                            client.title,
                            client.files.join(", ")
                        ),
                    )
                    .help("ggen mcp import FILE"));
                }
                Ok(found)
            }
            None => Ok(vec![(options.cwd.join(what), None)]),
        },
    }
}

/// A file of the table of clients.
pub(super) fn place(options: &LoadOptions, file: &str) -> PathBuf {
    match (file.strip_prefix("~/"), file.strip_prefix("./")) {
        (Some(below), _) => options.home.clone().unwrap_or_default().join(below),
        (_, Some(below)) => options.cwd.join(below),
        _ => options.cwd.join(file),
    }
}

/// The text of a client's file.
pub(super) fn text_of(path: &Path) -> Result<String, Refusal> {
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_FILE).read_to_string(&mut text))
        .map_err(|error| Refusal::io(path, &error))?;
    Ok(text)
}

fn read(
    options: &LoadOptions,
    path: &Path,
    client: Option<&'static Client>,
) -> Result<Source, Refusal> {
    let name = path.display().to_string();
    let format = client.map_or_else(|| Format::of_file(&name), |client| client.format);
    let root: Node = format.read(&text_of(path)?).map_err(|(at, what)| {
        Refusal::new(
            CONFIG,
            Code::ConfigSyntax,
            format!("{name}:{}:{}: {what}", at.line, at.column),
        )
    })?;
    let client = client.unwrap_or_else(|| clients::of_file(&name, &root));
    let found = translate::all(client, path, &root, &options.cwd).unwrap_or_default();
    let servers = found.into_iter().map(|found| Planned {
        found,
        action: Action::Add,
        moved: Vec::new(),
    });
    Ok(Source {
        client,
        path: path.to_owned(),
        servers: servers.collect(),
    })
}

/// Decides what becomes of each server.
fn plan(options: &LoadOptions, open: &change::Open, sources: &mut [Source], replace: bool) {
    let config = load(options)
        .map(|loaded| loaded.config)
        .unwrap_or_default();
    let own = Own::of(&config);
    let mut names: Vec<String> = Vec::new();
    for source in sources {
        for server in &mut source.servers {
            let Planned {
                found,
                action,
                moved,
            } = server;
            let entry = match &mut found.entry {
                Ok(entry) => entry,
                Err(why) => {
                    *action = Action::LeftOut(why.clone());
                    continue;
                }
            };
            *moved = secrets_of::take(options, open.path(), &found.name, entry, &mut found.notes);
            *action = match judge(
                options,
                &own,
                &source.path,
                &found.name,
                entry,
                &mut found.notes,
            ) {
                Some(why) => Action::LeftOut(why),
                None if names.contains(&found.name) => {
                    Action::LeftOut("another file has a server of that name".to_owned())
                }
                None => match open.value(&key(&found.name)) {
                    None => Action::Add,
                    Some(before) if before == Value::Object(entry.clone()) => Action::Same,
                    Some(_) if replace => Action::Replace,
                    Some(_) => Action::Exists,
                },
            };
            names.push(found.name.clone());
        }
    }
}

fn key(name: &str) -> Key {
    Key(vec![schema::SERVERS[0].to_owned(), name.to_owned()])
}

/// Why the daemon would not serve an entry, by its own reader. What the environment lacks is a note.
fn judge(
    options: &LoadOptions,
    own: &Own<'_>,
    path: &Path,
    name: &str,
    entry: &Map<String, Value>,
    notes: &mut Vec<String>,
) -> Option<String> {
    let text = json!({ schema::SERVERS[0]: { name: entry } }).to_string();
    let mut problems = Vec::new();
    let file = File::of(path, text.as_bytes(), 0o600, &mut problems).ok()?;
    let around = Around {
        env: &options.env,
        home: options.home.as_deref(),
        own,
    };
    let read = servers::entries(&[file], &around, &mut problems);
    for problem in read.iter().flat_map(|entry| &entry.problems) {
        if problem.code == Code::ConfigVariable {
            if !problem.what.contains("credential") {
                notes.push(problem.text());
            }
        } else if problem.severity == Severity::Entry || problem.code == Code::ConfigSelfReference {
            return Some(problem.text());
        } else {
            notes.push(problem.text());
        }
    }
    None
}

fn write(
    options: &LoadOptions,
    open: &change::Open,
    sources: &[Source],
    running: &dyn Fn() -> bool,
) -> Result<Answer, Refusal> {
    let mut text = open.text().unwrap_or(change::EMPTY).to_owned();
    let mut changes = Vec::new();
    let mut moved: Vec<&Moved> = Vec::new();
    let all = sources.iter().flat_map(|source| &source.servers);
    for server in all.filter(|server| matches!(server.action, Action::Add | Action::Replace)) {
        let Ok(entry) = &server.found.entry else {
            continue;
        };
        let layout = secrets_of::laid_out(entry, &text);
        changes.push(open.set(
            &mut text,
            key(&server.found.name),
            Value::Object(entry.clone()),
            &layout,
            options,
        )?);
        moved.extend(&server.moved);
    }
    let written = secrets_of::write(&moved).map_err(|(path, error)| Refusal::io(&path, &error))?;
    let mut options = options.clone();
    options.env.extend(
        moved
            .iter()
            .map(|moved| (moved.variable(), moved.value.clone())),
    );
    change::finish(&options, open, &text, &changes, running).inspect_err(|_| {
        // Nothing was imported: no secret stays behind either.
        for path in &written {
            let _ = std::fs::remove_file(path);
        }
    })
}

fn shown(
    options: &LoadOptions,
    import: &Import<'_>,
    open: &change::Open,
    sources: &[Source],
    writes: bool,
    answer: Option<&Answer>,
) -> Answer {
    let file = short(options, &open.path().display().to_string());
    let mut text = format!("Importing into {file}\n");
    let mut list = Vec::new();
    let mut left_out = false;
    for source in sources {
        let from = short(options, &source.path.display().to_string());
        let _ = writeln!(text, "\n{}: {from}", source.client.title);
        if source.servers.is_empty() {
            text.push_str("  no servers\n");
        }
        let servers: Vec<Value> = source
            .servers
            .iter()
            .map(|server| one(server, &mut text))
            .collect();
        left_out |= source
            .servers
            .iter()
            .any(|server| matches!(server.action, Action::LeftOut(_)));
        list.push(json!({"client": source.client.id, "file": source.path, "servers": servers}));
    }
    if sources.is_empty() {
        text.push_str("\nNo client program has a configuration here\n");
    }
    text.push('\n');
    match answer {
        Some(answer) => {
            let last = answer
                .text
                .lines()
                .filter(|line| line.contains("mcp server"));
            let _ = writeln!(text, "Updated {file}");
            last.for_each(|line| {
                let _ = writeln!(text, "{line}");
            });
        }
        None if writes => {
            let command = match import.what {
                Some(what) => format!("ggen mcp import {what} --yes"),
                None => "ggen mcp import --yes".to_owned(),
            };
            let _ = writeln!(text, "Nothing is written yet: {command}");
        }
        None => text.push_str("Nothing to do\n"),
    }
    let json = json!({"file": open.path(), "sources": list, "written": answer.is_some()});
    Answer {
        text,
        json,
        exit: if left_out { BAD } else { 0 },
        bare: false,
    }
}

fn one(server: &Planned, text: &mut String) -> Value {
    let (sign, action, reason) = match &server.action {
        Action::Add => ("+", "add", None),
        Action::Replace => ("~", "replace", None),
        Action::Same => ("=", "same", None),
        Action::Exists => (
            "!",
            "exists",
            Some("there is another server of that name; --replace replaces it".to_owned()),
        ),
        Action::LeftOut(why) => ("✗", "left-out", Some(format!("left out: {why}"))),
    };
    let name = &server.found.name;
    let about = reason
        .clone()
        .unwrap_or_else(|| summary(server.found.entry.as_ref().ok()));
    let _ = writeln!(text, "  {sign} {name}: {about}");
    for moved in &server.moved {
        let _ = writeln!(
            text,
            "      secret {} goes to {}",
            moved.key,
            moved.path.display()
        );
    }
    for note in &server.found.notes {
        let _ = writeln!(text, "      {note}");
    }
    let moved: Vec<Value> = server
        .moved
        .iter()
        .map(|moved| json!({"key": moved.key, "file": moved.path}))
        .collect();
    let at = server.found.at;
    json!({"name": name, "line": at.line, "column": at.column, "action": action, "reason": reason, "notes": server.found.notes, "secrets": moved})
}

/// What is run or called, without secrets.
fn summary(entry: Option<&Map<String, Value>>) -> String {
    let Some(entry) = entry else {
        return String::new();
    };
    let shown = crate::config::secrets::redact::entry(&Value::Object(entry.clone()));
    let words = |value: &Value| match value {
        Value::Array(items) => items.iter().map(super::plain).collect::<Vec<_>>().join(" "),
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    let url = words(&shown["url"]);
    let line = if url.is_empty() {
        format!("{} {}", words(&shown["command"]), words(&shown["args"]))
    } else {
        url
    };
    line.trim().to_owned()
}
