//! What is to outlive a life of the relay: sessions, whose the tasks are, and what the upstreams
//! gave. The relay says it with [`Keep`], whoever runs the relay stores it and gives it to the next
//! life. Both are texts that nobody but the relay reads.

use crate::api::{Micros, UpId};
use crate::protocol::capabilities::Caps;
use crate::protocol::excerpt::{self, cut};
use crate::protocol::json;
use crate::protocol::method::{Legacy, LogLevel};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Something to be stored, or not to be stored any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keep {
    /// A session as it stands now, in the place of what was stored of it; or a task of a client,
    /// which lies among the sessions.
    Session {
        /// What it is stored under: [`digest`] of its id, so that what is stored opens no session.
        digest: Box<str>,
        /// What to give to [`crate::api::Input::Restore`]; at most [`LONGEST`] bytes.
        record: String,
        /// To be confirmed with [`crate::api::Input::Kept`] once it is stored: its client is not
        /// told of the session before that.
        ticket: Option<u64>,
    },
    /// A session is over.
    Ended(Box<str>),
    /// Sessions were used just now.
    Used(Vec<Box<str>>),
    /// What an upstream gave, in the place of what was stored of it; empty: nothing.
    Catalogue(UpId, String),
}

/// A session of an earlier life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptSession {
    /// What it was stored under.
    pub digest: Box<str>,
    /// What was stored.
    pub record: String,
    /// For how long nobody has used it.
    pub idle: Micros,
}

/// Longest record of a session, in bytes.
pub const LONGEST: usize = 64 << 10;
/// Longest parameters of `initialize` that are kept as they stand. Of longer ones, only what the
/// client can be asked for is.
pub const LONGEST_PARAMS: usize = 16 << 10;
/// Longest `clientInfo` that is kept as it stands, in bytes.
const LONGEST_CLIENT: usize = 4 << 10;
/// Longest catalogue of an upstream that is kept, in bytes.
pub const LONGEST_CATALOGUE: usize = 4 << 20;

/// What a session is stored under: SHA-256 of its id, in hexadecimal digits.
#[must_use]
pub fn digest(id: &str) -> Box<str> {
    Sha256::digest(id)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<String>()
        .into()
}

/// What is stored of a session.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Record {
    pub(crate) version: Legacy,
    /// As in a path: empty, or the server's name.
    pub(crate) view: String,
    pub(crate) principal: String,
    pub(crate) labels: Vec<String>,
    /// The parameters of `initialize`, as they stand.
    pub(crate) params: String,
    pub(crate) level: Option<LogLevel>,
    pub(crate) socket: bool,
    /// Exposed URIs that it is subscribed to.
    pub(crate) uris: Vec<String>,
}

impl Record {
    /// As text. Subscriptions that would make it too long are left out; `None`: it is too long
    /// without any.
    pub(crate) fn write(&self) -> Option<String> {
        let labels = self
            .labels
            .iter()
            .map(|label| json::quote(label))
            .collect::<Vec<_>>()
            .join(",");
        let mut text = format!(
            "{{\"version\":\"{}\",\"view\":{},\"principal\":{},\"labels\":[{labels}],\"level\":{},\"socket\":{},\"params\":{},\"uris\":[",
            self.version.as_str(),
            json::quote(&self.view),
            json::quote(&self.principal),
            self.level
                .map_or_else(|| "null".to_owned(), |level| json::quote(level.as_str())),
            self.socket,
            self.params,
        );
        for (at, uri) in self.uris.iter().enumerate() {
            let uri = json::quote(uri);
            if text.len() + uri.len() + 3 > LONGEST {
                break;
            }
            if at > 0 {
                text.push(',');
            }
            text.push_str(&uri);
        }
        text.push_str("]}");
        (text.len() <= LONGEST).then_some(text)
    }

    /// Reads a record. `None`: it is none of ours.
    pub(crate) fn read(record: &str) -> Option<Self> {
        let [
            version,
            view,
            principal,
            labels,
            level,
            socket,
            params,
            uris,
        ] = json::pick(
            record,
            [
                "version",
                "view",
                "principal",
                "labels",
                "level",
                "socket",
                "params",
                "uris",
            ],
        )?;
        let text = |raw: Option<&str>| raw.and_then(json::string).map(std::borrow::Cow::into_owned);
        let texts = |raw: &str| {
            json::elements(raw)?
                .into_iter()
                .map(|item| text(Some(item)))
                .collect::<Option<Vec<_>>>()
        };
        Some(Self {
            version: Legacy::parse(&text(version)?)?,
            view: text(view)?,
            principal: text(principal)?,
            labels: texts(labels?)?,
            params: params.filter(|params| params.starts_with('{'))?.to_owned(),
            level: text(level).and_then(|level| LogLevel::parse(&level)),
            socket: socket? == "true",
            uris: texts(uris?)?,
        })
    }
}

/// What is stored of a task, in the place of a session: whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeptTask {
    pub(crate) server: String,
    pub(crate) id: String,
    pub(crate) owner: String,
    pub(crate) tool: Option<String>,
    /// For how long it is kept, in microseconds.
    pub(crate) left: Micros,
}

impl KeptTask {
    /// As text.
    pub(crate) fn write(&self) -> String {
        let tool = self
            .tool
            .as_deref()
            .map_or_else(|| "null".to_owned(), json::quote);
        let [server, id, owner] =
            [&self.server, &self.id, &self.owner].map(|text| json::quote(text));
        format!(
            "{{\"task\":{id},\"server\":{server},\"owner\":{owner},\"tool\":{tool},\"left\":{}}}",
            self.left
        )
    }

    /// Reads a record. `None`: it is none of a task.
    pub(crate) fn read(record: &str) -> Option<Self> {
        let [id, server, owner, tool, left] =
            json::pick(record, ["task", "server", "owner", "tool", "left"])?;
        let text = |raw: Option<&str>| raw.and_then(json::string).map(std::borrow::Cow::into_owned);
        Some(Self {
            id: text(id)?,
            server: text(server)?,
            owner: text(owner)?,
            tool: text(tool),
            left: left?.parse().ok()?,
        })
    }
}

/// `clientInfo` as it is kept for a session: as it stands unless it is too long, else with the
/// beginning of its name and version.
pub(crate) fn client_info(raw: &str) -> Arc<str> {
    if raw.len() <= LONGEST_CLIENT {
        return raw.into();
    }
    let text = |member: Option<&str>, or: &str| {
        let text = member.and_then(json::string);
        json::quote(&cut(text.as_deref().unwrap_or(or), excerpt::LONGEST))
    };
    let [name, version] = json::pick(raw, ["name", "version"]).unwrap_or_default();
    let (name, version) = (text(name, "unknown"), text(version, "0"));
    format!("{{\"name\":{name},\"version\":{version}}}").into()
}

/// The parameters of `initialize` as they are kept: as they stand unless they are too long, else
/// what the client can be asked for.
pub(crate) fn params(raw: Option<&str>, caps: Caps) -> Box<str> {
    match raw {
        Some(raw) if raw.len() <= LONGEST_PARAMS => raw.into(),
        _ => format!("{{\"capabilities\":{}}}", caps.write()).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            version: Legacy::L2025_06_18,
            view: "a server".to_owned(),
            principal: "jwt:https://i|\"me\"".to_owned(),
            labels: vec!["scope:x".to_owned(), "claim:n=\u{1}".to_owned()],
            params: r#"{"protocolVersion":"2025-06-18","capabilities":{"roots":{"x":1.0}},"clientInfo":{"name":"n"}}"#.to_owned(),
            level: Some(LogLevel::Debug),
            socket: true,
            uris: vec!["test://a\"b".to_owned(), "test://ü".to_owned()],
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let text = record().write().expect("it is short");
        assert_eq!(Record::read(&text), Some(record()));
        assert_eq!(
            (Record::read("{}"), Record::read(""), Record::read("[]")),
            (None, None, None)
        );
    }

    #[test]
    fn a_task_is_read_as_it_was_written() {
        for tool in [None, Some("t".to_owned())] {
            let task = KeptTask {
                server: "s \"1\"".into(),
                id: "ü".into(),
                owner: "session ab".into(),
                tool,
                left: 7,
            };
            assert_eq!(
                (KeptTask::read(&task.write()), Record::read(&task.write())),
                (Some(task), None)
            );
        }
        assert_eq!(
            KeptTask::read(&record().write().expect("it is short")),
            None
        );
    }

    #[test]
    fn a_record_stays_short() {
        let mut long = record();
        long.uris = (0..1000)
            .map(|n| format!("test://{n}/{}", "x".repeat(1000)))
            .collect();
        let text = long.write().expect("subscriptions are left out");
        assert!(
            text.len() <= LONGEST && Record::read(&text).is_some_and(|read| read.uris.len() > 50)
        );
        long.labels = long.uris;
        long.uris = Vec::new();
        assert_eq!(long.write(), None);
        assert_eq!(
            &*params(
                Some(&"x".repeat(LONGEST_PARAMS + 1)),
                Caps::read(r#"{"roots":{}}"#)
            ),
            r#"{"capabilities":{"roots":{}}}"#
        );
    }
}
