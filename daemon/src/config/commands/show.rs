//! `ggend config show` and `get`: the configuration in force, each value with its source, secrets
//! hidden. The JSON form is a configuration file itself.

use super::{Answer, Refusal, plain, short, values};
use crate::config::{
    LoadOptions, Loaded,
    load::load,
    schema::{self, key_path::Key},
    secrets::redact,
};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fmt::Write as _};

/// The configuration in the order of the file.
#[derive(Serialize)]
struct Shown<'a> {
    version: Value,
    #[serde(skip_serializing_if = "Value::is_null")]
    description: Value,
    #[serde(skip_serializing_if = "Value::is_null")]
    metadata: Value,
    server: Value,
    transports: Value,
    auth: Value,
    logging: Value,
    metrics: Value,
    tracing: Value,
    #[serde(rename = "mcpServers")]
    servers: Entries,
    /// Each value's source; a key that the loader leaves alone.
    #[serde(rename = "_sources")]
    sources: BTreeMap<&'a str, String>,
}

struct Entries(Vec<(String, Value)>);

impl Serialize for Entries {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, entry)| (name, entry)))
    }
}

fn collect<'a>(options: &LoadOptions, loaded: &'a Loaded, effective: bool) -> Shown<'a> {
    let mut all = redact::redacted(&loaded.config);
    let entries = loaded
        .config
        .order
        .iter()
        .filter_map(|name| Some((name.clone(), entry(loaded, name, &mut all, effective)?)))
        .collect();
    let mut take = |key: &str| all.get_mut(key).map_or(Value::Null, Value::take);
    Shown {
        version: take("version"),
        description: take("description"),
        metadata: take("metadata"),
        server: take("server"),
        transports: take("transports"),
        auth: take("auth"),
        logging: take("logging"),
        metrics: take("metrics"),
        tracing: take("tracing"),
        servers: Entries(entries),
        sources: loaded
            .provenance
            .iter()
            .map(|(key, source)| (key.as_str(), short(options, source)))
            .collect(),
    }
}

/// An entry: as it is written, or as it is run.
fn entry(loaded: &Loaded, name: &str, all: &mut Value, effective: bool) -> Option<Value> {
    if !effective {
        return loaded
            .written
            .get(&format!("{}.{name}", schema::SERVERS[0]))
            .map(redact::entry);
    }
    let mut entry = all.get_mut(schema::SERVERS[0])?.get_mut(name)?.take();
    if let (Some(reason), Value::Object(fields)) = (loaded.blocked.get(name), &mut entry) {
        fields.insert(
            "disabled_because".to_owned(),
            format!("{} [{}]", reason.text(), reason.code).into(),
        );
    }
    Some(entry)
}

fn loaded(options: &LoadOptions) -> Result<Loaded, Refusal> {
    load(options).map_err(|problems| {
        let mut refusal = Refusal::of(problems);
        refusal.help.push("ggen mcp config validate".to_owned());
        refusal
    })
}

/// `config show`; `human` for a terminal.
pub(super) fn show(options: &LoadOptions, effective: bool, human: bool) -> Result<Answer, Refusal> {
    let loaded = loaded(options)?;
    let shown = collect(options, &loaded, effective);
    let json = serde_json::to_value(&shown).unwrap_or_default();
    let text = if human {
        table(options, &loaded, &shown)
    } else {
        ggen_wire::escape::pretty_json(&shown) + "\n"
    };
    Ok(Answer {
        text,
        json,
        exit: 0,
        bare: true,
    })
}

/// Lines of `key = value  source`, in sections.
fn table(options: &LoadOptions, loaded: &Loaded, shown: &Shown<'_>) -> String {
    let files: Vec<String> = loaded
        .files
        .iter()
        .map(|file| short(options, &file.display().to_string()))
        .collect();
    let mut text = format!(
        "MCP configuration: {}\n",
        if files.is_empty() {
            "built-in defaults".to_owned()
        } else {
            files.join(", ")
        }
    );
    let whole = serde_json::to_value(shown).unwrap_or_default();
    section(
        &mut text,
        "",
        &json!({"version": whole["version"], "description": whole["description"]}),
        shown,
    );
    for key in [
        "server",
        "transports",
        "auth",
        "logging",
        "metrics",
        "tracing",
    ] {
        section(&mut text, key, &whole[key], shown);
    }
    for (name, entry) in &shown.servers.0 {
        let key = Key(vec![schema::SERVERS[0].to_owned(), name.clone()]);
        let source = loaded
            .provenance
            .get(&key.0.join("."))
            .map_or_else(String::new, |source| {
                format!("   ({})", short(options, source))
            });
        let _ = writeln!(text, "\n{key}{source}");
        for (field, value) in entry.as_object().into_iter().flatten() {
            let _ = writeln!(text, "  {field} = {value}");
        }
    }
    text
}

fn section(text: &mut String, path: &str, value: &Value, shown: &Shown<'_>) {
    let Value::Object(members) = value else {
        return;
    };
    let leaves: Vec<_> = members
        .iter()
        .filter(|(_, value)| !value.is_object() && !value.is_null())
        .collect();
    if !leaves.is_empty() {
        let _ = writeln!(text, "{}{path}", if path.is_empty() { "" } else { "\n" });
    }
    for (key, value) in leaves {
        let source = shown
            .sources
            .get(schema::join(path, key).as_str())
            .map_or("default", String::as_str);
        let _ = writeln!(text, "  {:<46} {source}", format!("{key} = {value}"));
    }
    for (key, value) in members {
        section(text, &schema::join(path, key), value, shown);
    }
}

/// `config get KEY`
pub(super) fn get(options: &LoadOptions, key: &str) -> Result<Answer, Refusal> {
    let key = Key::parse(key)
        .map_err(|what| Refusal::usage(what).help("ggen mcp config get transports.http.port"))?;
    let loaded = loaded(options)?;
    let key = values::of_entries(key, &loaded.config.order);
    let mut whole = serde_json::to_value(collect(options, &loaded, false)).unwrap_or_default();
    let known = schema::leaves().contains(&key.dotted()) || key.dotted() == schema::METADATA;
    let found = key
        .0
        .iter()
        .try_fold(&mut whole, |inside, part| inside.get_mut(part))
        .map(Value::take);
    let value = match found {
        Some(value) => value,
        None if known => Value::Null,
        None if key.0[0] == schema::SERVERS[0] => {
            return Err(Refusal::new(super::BAD, None, format!("{key} is not set"))
                .help("ggen mcp config show"));
        }
        None => return Err(values::unknown(&key)),
    };
    let text = match &value {
        Value::Object(_) => format!("{value:#}\n"),
        value => plain(value) + "\n",
    };
    let source = (2..=key.0.len())
        .rev()
        .find_map(|end| loaded.provenance.get(&key.0[..end].join(".")))
        .or_else(|| loaded.provenance.get(&key.0[0]));
    let json = json!({"key": key.to_string(), "value": value, "source": source.map(|source| short(options, source))});
    Ok(Answer {
        text,
        json,
        exit: 0,
        bare: true,
    })
}
