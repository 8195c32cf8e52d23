//! `ggend config install`: ggend's own entry in the file of a client program, and out of it again.
//! The layout of the file stays, a copy of it is kept beside it, and taking the entry out again
//! restores its bytes.

use super::{Answer, CONFIG, Refusal, import, secrets_of::in_lines, short};
use crate::config::{
    Host, LoadOptions,
    clients::{self, Client, Reach, formats::Format},
    files::{edit, jsonc, write::Turn},
    load::load,
};
use ggen_wire::Code;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// The name of ggend's entry.
const NAME: &str = "ggend";

/// What is to be done.
#[derive(Debug)]
pub(super) struct Install<'a> {
    /// The client's name.
    pub client: &'a str,
    /// Its file, instead of the usual one.
    pub file: Option<&'a Path>,
    /// Only print the entry.
    pub print: bool,
    /// Take it out.
    pub remove: bool,
    /// By `ggen mcp server stdio`, whatever the client knows.
    pub stdio: bool,
    /// Another address.
    pub url: Option<&'a str>,
}

/// Members of the entry with their JSON.
type Members = Vec<(String, String)>;

/// `config install`
pub(super) fn install(options: &LoadOptions, wanted: &Install<'_>) -> Result<Answer, Refusal> {
    let client = clients::by_id(wanted.client)
        .filter(|client| !client.files.is_empty())
        .ok_or_else(|| unknown(wanted.client))?;
    let members = entry(options, client, wanted);
    if wanted.print {
        let text = with_entry(client, "", &members)? + "\n";
        return Ok(Answer {
            json: json!({"client": client.id, "entry": text}),
            text: text.trim_start().replace("\n\n", "\n"),
            bare: true,
            ..Answer::default()
        });
    }
    let path = file(options, client, wanted.file);
    let turn = Turn::take(&path).map_err(|error| Refusal::io(&path, &error))?;
    let before = match import::text_of(turn.file()) {
        Ok(text) => Some(text),
        Err(_) if !turn.file().exists() => None,
        Err(refusal) => return Err(refusal),
    };
    let place = Place {
        client,
        turn: &turn,
        path: &path,
        backup: backup_of(turn.file()),
    };
    let (done, hint) = if wanted.remove {
        place.remove(before.as_deref(), &members)?
    } else {
        place.add(before.as_deref(), &members)?
    };
    let shown = short(options, &path.display().to_string());
    Ok(Answer {
        text: format!("{done} {shown}\n{hint}"),
        json: json!({"client": client.id, "file": path, "done": done}),
        ..Answer::default()
    })
}

fn unknown(name: &str) -> Refusal {
    let ids: Vec<&str> = clients::CLIENTS
        .iter()
        .filter(|client| !client.files.is_empty())
        .map(|client| client.id)
        .collect();
    let meant = crate::config::schema::did_you_mean(name, ids.iter().copied());
    let said = meant
        .as_ref()
        .map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"));
    Refusal::usage(format!(
        "{name}: no such client{said} Known are {}",
        ids.join(", ")
    ))
    .help(format!(
        "ggen mcp install {}",
        meant.as_deref().unwrap_or("cursor")
    ))
}

/// The client's file: the named one, else the first that is there, else the first.
fn file(options: &LoadOptions, client: &Client, named: Option<&Path>) -> PathBuf {
    let places: Vec<PathBuf> = client
        .files
        .iter()
        .map(|file| import::place(options, file))
        .collect();
    let mac = cfg!(target_os = "macos");
    let usual = places
        .iter()
        .find(|path| path.to_string_lossy().contains("/Library/") == mac);
    named
        .map(|file| options.cwd.join(file))
        .or_else(|| places.iter().find(|path| path.is_file()).cloned())
        .or_else(|| usual.cloned())
        .or_else(|| places.first().cloned())
        .unwrap_or_default()
}

/// ggend's entry as the client writes it.
fn entry(options: &LoadOptions, client: &Client, wanted: &Install<'_>) -> Members {
    let quoted = |text: &str| Value::from(text).to_string();
    let pair = |key: &str, value: String| (key.to_owned(), value);
    match client.reach {
        Reach::Address { key, before, after } if !wanted.stdio => {
            let url = wanted.url.map_or_else(|| address(options), str::to_owned);
            let mut members: Members = before
                .iter()
                .map(|(key, value)| pair(key, quoted(value)))
                .collect();
            members.push(pair(key, quoted(&url)));
            members.extend(
                after
                    .iter()
                    .map(|(key, value)| pair(key, (*value).to_owned())),
            );
            members
        }
        _ => {
            let ggen = std::env::current_exe()
                .ok()
                .map(|ggend| ggend.with_file_name("ggen"));
            let ggen = ggen
                .filter(|ggen| ggen.is_file())
                .map_or_else(|| "ggen".to_owned(), |ggen| ggen.display().to_string());
            let args = r#"["mcp", "server", "stdio"]"#;
            match client.id {
                "opencode" => vec![
                    pair("type", quoted("local")),
                    pair(
                        "command",
                        format!("[{}, \"mcp\", \"server\", \"stdio\"]", quoted(&ggen)),
                    ),
                ],
                "goose" => vec![
                    pair("name", quoted(NAME)),
                    pair("type", quoted("stdio")),
                    pair("cmd", quoted(&ggen)),
                    pair("args", args.to_owned()),
                    pair("enabled", "true".to_owned()),
                    pair("timeout", "300".to_owned()),
                ],
                _ => vec![
                    pair("command", quoted(&ggen)),
                    pair("args", args.to_owned()),
                ],
            }
        }
    }
}

/// Where the daemon of this configuration serves.
fn address(options: &LoadOptions) -> String {
    let http = load(options)
        .map(|loaded| loaded.config.transports.http)
        .unwrap_or_default();
    let host = match http.host {
        Host::Address(address) if address.is_unspecified() => "127.0.0.1".to_owned(),
        host => host.to_string(),
    };
    let host = if host.contains(':') {
        format!("[{host}]")
    } else {
        host
    };
    format!("http://{host}:{}/mcp", http.port)
}

fn backup_of(file: &Path) -> PathBuf {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    file.with_file_name(format!("{name}.ggen-backup"))
}

/// A client's file that is being changed.
struct Place<'a> {
    client: &'static Client,
    turn: &'a Turn,
    path: &'a Path,
    backup: PathBuf,
}

impl Place<'_> {
    fn add(
        &self,
        before: Option<&str>,
        members: &Members,
    ) -> Result<(&'static str, String), Refusal> {
        let text = before.unwrap_or_default();
        let after = with_entry(self.client, text, members)?;
        if before == Some(&after) {
            return Ok(("Unchanged", String::new()));
        }
        let io = |error: std::io::Error| Refusal::io(self.path, &error);
        // The copy is that of the file without the entry.
        if let Some(before) = before
            && without_entry(self.client, before)?.is_none()
        {
            Turn::write_beside(self.turn, &self.backup, before).map_err(io)?;
        }
        self.turn.write(&after).map_err(io)?;
        let hint = format!(
            "Start {} again, and it has all servers of ggend\n",
            self.client.title
        );
        Ok((
            if before.is_some() {
                "Updated"
            } else {
                "Created"
            },
            hint,
        ))
    }

    fn remove(
        &self,
        before: Option<&str>,
        members: &Members,
    ) -> Result<(&'static str, String), Refusal> {
        let io = |error: std::io::Error| Refusal::io(self.path, &error);
        let Some(text) = before else {
            return Ok(("Unchanged", String::new()));
        };
        let Some(plain) = without_entry(self.client, text)? else {
            return Ok(("Unchanged", String::new()));
        };
        let copy = import::text_of(&self.backup).ok();
        let restored = copy
            .as_deref()
            .filter(|copy| self.leads_to(copy, text, members));
        if restored.is_none() && copy.is_none() && self.leads_to("", text, members) {
            std::fs::remove_file(self.turn.file()).map_err(io)?;
            return Ok(("Removed", String::new()));
        }
        self.turn.write(restored.unwrap_or(&plain)).map_err(io)?;
        if copy.is_some() {
            // The copy has served; without it nothing is lost.
            let _ = std::fs::remove_file(&self.backup);
        }
        Ok(("Restored", String::new()))
    }

    /// Whether a text with the entry is what stands there now.
    fn leads_to(&self, copy: &str, now: &str, members: &Members) -> bool {
        if with_entry(self.client, copy, members).is_ok_and(|text| text == now) {
            return true;
        }
        // The entry may have had another address.
        let path = path(self.client, now);
        let base = if copy.trim().is_empty() { "{}\n" } else { copy };
        self.client.format == Format::Json
            && edit::raw(now, &path)
                .is_some_and(|raw| edit::set(base, &path, raw).is_ok_and(|text| text == now))
    }
}

fn bad(client: &Client, what: impl std::fmt::Display) -> Refusal {
    Refusal::new(
        CONFIG,
        Code::ConfigSyntax,
        format!("the file of {} cannot be changed: {what}", client.title),
    )
    .help(format!("ggen mcp install {} --print", client.id))
}

/// The keys that lead to the entry. OpenCode 2 and VS Code's `settings.json` have others.
fn path(client: &Client, text: &str) -> Vec<String> {
    let owned =
        |keys: &[&str]| -> Vec<String> { keys.iter().map(|key| (*key).to_owned()).collect() };
    let nested = owned(&["mcp", "servers"]);
    let is_nested =
        ["opencode", "vscode"].contains(&client.id) && edit::raw(text, &nested).is_some();
    let mut path = if is_nested {
        nested
    } else {
        owned(client.section)
    };
    path.push(NAME.to_owned());
    path
}

/// The text with the entry.
fn with_entry(client: &Client, text: &str, members: &Members) -> Result<String, Refusal> {
    match client.format {
        Format::Json => {
            let base = if text.trim().is_empty() { "{}\n" } else { text };
            let path = path(client, base);
            let value = in_lines(members, base, path.len());
            let meaning = |text: &str| serde_json::from_str::<Value>(&jsonc::plain(text)).ok();
            if edit::raw(base, &path).is_some_and(|raw| meaning(raw) == meaning(&value)) {
                return Ok(base.to_owned());
            }
            edit::set(base, &path, &value).map_err(|error| bad(client, error))
        }
        Format::Toml => {
            let mut document: toml_edit::DocumentMut =
                text.parse().map_err(|error| bad(client, error))?;
            let mut table = toml_edit::Table::new();
            for (key, value) in members {
                let value: toml_edit::Value = value.parse().map_err(|error| bad(client, error))?;
                table.insert(key, toml_edit::Item::Value(value));
            }
            let section = document.entry(client.section[0]).or_insert_with(|| {
                let mut section = toml_edit::Table::new();
                section.set_implicit(true);
                toml_edit::Item::Table(section)
            });
            let section = section
                .as_table_mut()
                .ok_or_else(|| bad(client, "mcp_servers is no table"))?;
            section.insert(NAME, toml_edit::Item::Table(table));
            Ok(document.to_string())
        }
        Format::Yaml => {
            let plain = without_entry(client, text)?;
            yaml_with(client, plain.as_deref().unwrap_or(text), members)
        }
    }
}

/// The text without the entry; `None`: it has none.
fn without_entry(client: &Client, text: &str) -> Result<Option<String>, Refusal> {
    match client.format {
        Format::Json if text.trim().is_empty() => Ok(None),
        Format::Json => edit::unset(text, &path(client, text)).map_err(|error| bad(client, error)),
        Format::Toml => {
            let mut document: toml_edit::DocumentMut =
                text.parse().map_err(|error| bad(client, error))?;
            let section = document
                .get_mut(client.section[0])
                .and_then(toml_edit::Item::as_table_mut);
            let had = section.and_then(|section| section.remove(NAME)).is_some();
            Ok(had.then(|| document.to_string()))
        }
        Format::Yaml => {
            let root = client
                .format
                .read(text)
                .map_err(|(_, what)| bad(client, what))?;
            let section = root.member(client.section[0]);
            let Some(member) = section.and_then(|section| section.node.member(NAME)) else {
                return Ok(None);
            };
            let lines: Vec<&str> = text.split_inclusive('\n').collect();
            let first = member.at.line - 1;
            let belongs = |line: &&str| {
                let margin = line.len() - line.trim_start_matches(' ').len();
                !line.trim().is_empty() && margin >= member.at.column
            };
            let count = lines
                .iter()
                .skip(first + 1)
                .take_while(|line| belongs(line))
                .count();
            Ok(Some(
                [&lines[..first], &lines[first + 1 + count..]]
                    .concat()
                    .concat(),
            ))
        }
    }
}

/// The entry as the first one below `extensions`.
fn yaml_with(client: &Client, text: &str, members: &Members) -> Result<String, Refusal> {
    let root = client
        .format
        .read(text)
        .map_err(|(_, what)| bad(client, what))?;
    let section = root.member(client.section[0]);
    let margin = section
        .and_then(|section| section.node.members().first())
        .map_or(2, |first| first.at.column.saturating_sub(1));
    let space = " ".repeat(margin);
    let mut block = format!("{space}{NAME}:\n");
    for (key, value) in members {
        block.push_str(&format!("{space}  {key}: {value}\n"));
    }
    let Some(section) = section else {
        let end = if text.is_empty() || text.ends_with('\n') {
            ""
        } else {
            "\n"
        };
        return Ok(format!("{text}{end}{}:\n{block}", client.section[0]));
    };
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let (before, after) = lines.split_at(section.at.line.min(lines.len()));
    let is_open = before.last().is_some_and(|line| {
        line.trim_end()
            .split(" #")
            .next()
            .is_some_and(|line| line.trim_end().ends_with(':'))
    });
    if !is_open || margin == 0 {
        return Err(bad(client, "its servers stand in one line"));
    }
    let changed = format!("{}{block}{}", before.concat(), after.concat());
    client
        .format
        .read(&changed)
        .map_err(|(_, what)| bad(client, what))?;
    Ok(changed)
}
