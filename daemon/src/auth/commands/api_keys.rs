//! `ggend auth generate-api-key`, `list-api-keys` and `revoke-api-key`.

use super::{Answer, BAD, Environment, Refusal, USAGE, when};
use crate::auth::{
    duration, key,
    store::{KeyRecord, NewKey},
};
use clap::Args;
use ggen_wire::{Code, escape};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Items of a list, at most: they become labels, which are bounded.
const MOST_ITEMS: usize = 64;
/// Bytes of a text, at most.
const MOST_TEXT: usize = 200;

/// What a key is to be.
#[derive(Debug, Args)]
pub(super) struct New {
    /// What it is for.
    #[arg(long, value_name = "TEXT", default_value = "")]
    description: String,
    /// When it ends: 30m, 12h, 90d, …; otherwise never.
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    expires_in: Option<u64>,
    /// The client that it belongs to; rules may name it.
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// Roles that rules may name, separated by commas.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    permissions: Vec<String>,
    /// Globs of tools, separated by commas: only these may be called.
    #[arg(long, value_name = "GLOBS", value_delimiter = ',')]
    tools: Vec<String>,
}

pub(super) fn generate(environment: &Environment<'_>, new: &New) -> Result<Answer, Refusal> {
    let usage = |what: &str| Refusal::new(USAGE, None, what);
    let texts = || {
        new.permissions
            .iter()
            .chain(&new.tools)
            .chain(&new.client_id)
    };
    if new.permissions.len() > MOST_ITEMS || new.tools.len() > MOST_ITEMS {
        return Err(usage("at most 64 permissions and 64 tools"));
    }
    if texts().any(|text| text.trim().is_empty()) {
        return Err(usage(
            "permissions, tools and the client's id must not be empty",
        ));
    }
    if texts()
        .chain([&new.description])
        .any(|text| text.len() > MOST_TEXT || text.contains(char::is_control))
    {
        return Err(usage(
            "texts must be at most 200 bytes, without control characters",
        ));
    }
    let now = environment.seconds();
    let secret = key::generate().map_err(Refusal::random)?;
    let trimmed = |list: &[String]| list.iter().map(|text| text.trim().to_owned()).collect();
    let record = NewKey {
        id: key::id().map_err(Refusal::random)?,
        digest: key::digest(secret.expose()),
        description: new.description.clone(),
        client: new.client_id.clone(),
        permissions: trimmed(&new.permissions),
        tools: trimmed(&new.tools),
        created: now,
        expires: new.expires_in.map(|seconds| now + seconds),
        last_used: None,
        revoked: None,
    };
    let store = environment.store()?;
    store.forget(now)?;
    store.add(&record)?;
    let mut json = shown(&record, now);
    json["key"] = secret.expose().into();
    let text = format!(
        "API key: {}\nID:      {}\nExpires: {}\n\nKeep it now: it is not shown again. Send it as `Authorization: Bearer <KEY>`.\n",
        secret.expose(),
        record.id,
        when(record.expires, now, "never"),
    );
    Ok(Answer {
        text,
        value: format!("{}\n", secret.expose()),
        json,
        exit: 0,
    })
}

pub(super) fn list(environment: &Environment<'_>) -> Result<Answer, Refusal> {
    let now = environment.seconds();
    let keys = environment
        .known_store()?
        .map(|store| store.keys())
        .transpose()?
        .unwrap_or_default();
    if keys.is_empty() {
        let text = "No API keys. Make one: ggen mcp auth generate-api-key\n".to_owned();
        return Ok(Answer {
            text,
            json: json!({"keys": []}),
            ..Answer::default()
        });
    }
    let rows: Vec<[String; 6]> = keys
        .iter()
        .map(|key| {
            let restricted = if key.tools.is_empty() {
                String::new()
            } else {
                format!(" [{}]", key.tools.join(", "))
            };
            [
                key.id.clone(),
                key.status(now).as_str().to_owned(),
                when(Some(key.created), now, ""),
                when(key.expires, now, "never"),
                when(key.last_used, now, "never"),
                escape::shown(&format!("{}{restricted}", key.description)).into_owned(),
            ]
        })
        .collect();
    let text = table(&rows);
    let value = keys.iter().map(|key| format!("{}\n", key.id)).collect();
    Ok(Answer {
        text,
        value,
        json: json!({"keys": keys.iter().map(|key| shown(key, now)).collect::<Vec<_>>()}),
        exit: 0,
    })
}

fn table(rows: &[[String; 6]]) -> String {
    let head = [
        "ID",
        "STATUS",
        "CREATED",
        "EXPIRES",
        "LAST USED",
        "DESCRIPTION",
    ]
    .map(str::to_owned);
    let width = |column: usize| {
        rows.iter()
            .chain([&head])
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let mut text = String::new();
    for row in [&head].into_iter().chain(rows) {
        let cells: Vec<String> = row
            .iter()
            .enumerate()
            .map(|(at, cell)| format!("{cell:<width$}", width = width(at)))
            .collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    text
}

pub(super) fn revoke(environment: &Environment<'_>, id: &str) -> Result<Answer, Refusal> {
    let text = environment.text(id)?;
    let store = environment.known_store()?;
    let keys = store
        .as_ref()
        .map(|store| store.keys())
        .transpose()?
        .unwrap_or_default();
    let digest = key::digest(&text);
    let Some((store, record)) = store.zip(
        keys.into_iter()
            .find(|record| record.id == text || key::same(&record.digest, &digest)),
    ) else {
        // What was typed may be a key: it is not repeated.
        return Err(
            Refusal::new(BAD, Code::InvalidApiKey, "no API key has this id")
                .help("ggen mcp auth list-api-keys"),
        );
    };
    let now = environment.seconds();
    let fresh = store.revoke(&record.id, now)?;
    let text = if fresh {
        format!(
            "Revoked {}. Every worker refuses it within a second.\n",
            record.id
        )
    } else {
        format!("{} was revoked before.\n", record.id)
    };
    let record = store.key(&record.id)?.unwrap_or(record);
    Ok(Answer {
        text,
        json: shown(&record, now),
        ..Answer::default()
    })
}

fn shown(record: &KeyRecord, now: u64) -> Value {
    json!({
        "id": record.id,
        "description": record.description,
        "client_id": record.client,
        "permissions": record.permissions,
        "tools": record.tools,
        "status": record.status(now),
        "created": duration::date(record.created),
        "expires": record.expires.map(duration::date),
        "last_used": record.last_used.map(duration::date),
        "revoked": record.revoked.map(duration::date),
    })
}
