//! The key store: one SQLite file in the state directory, shared by the daemon and the commands. It
//! blocks: never on an event loop.
//!
//! WAL with `synchronous=FULL`: what was answered is on the disk, and a process that is killed at
//! any moment leaves nothing half done. Keys are stored as digests; the file (0600) grants no access.

use super::key::{Digest, hex};
use crate::config::state;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// Name of the file in the state directory.
pub use crate::config::KEY_STORE as FILE;

/// How long to wait for another process's write.
const BUSY: Duration = Duration::from_secs(5);
/// `user_version` of what is written here.
const FORMAT: i64 = 1;
/// What was revoked or has expired is forgotten after this time, in seconds: until then it can be
/// listed.
const MEMORY: u64 = 90 * 86_400;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS api_keys (
    id TEXT PRIMARY KEY, digest TEXT NOT NULL UNIQUE, description TEXT NOT NULL, client TEXT, permissions TEXT NOT NULL, tools TEXT NOT NULL,
    created INTEGER NOT NULL, expires INTEGER, last_used INTEGER, revoked INTEGER) STRICT;
CREATE TABLE IF NOT EXISTS revoked_tokens (jti TEXT PRIMARY KEY, revoked INTEGER NOT NULL, expires INTEGER) STRICT;
PRAGMA user_version = 1;";

/// An API key as it is stored. Times are seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// Its public name.
    pub id: String,
    /// What it is found by.
    #[serde(with = "hex")]
    pub digest: Digest,
    /// What it is for.
    pub description: String,
    /// The client that it belongs to.
    pub client: Option<String>,
    /// Roles that rules may name.
    pub permissions: Vec<String>,
    /// Globs of tools; if there are any, only these may be called.
    pub tools: Vec<String>,
    /// When it was made.
    pub created: u64,
    /// When it ends.
    pub expires: Option<u64>,
    /// When it was last used, to within some seconds.
    pub last_used: Option<u64>,
    /// When it was revoked.
    pub revoked: Option<u64>,
}

/// How a key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say it")]
pub enum KeyStatus {
    Active,
    Expired,
    Revoked,
}

impl KeyStatus {
    /// As it is shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

impl KeyRecord {
    /// How it stands at that time.
    #[must_use]
    pub fn status(&self, now: u64) -> KeyStatus {
        match self {
            Self {
                revoked: Some(_), ..
            } => KeyStatus::Revoked,
            Self {
                expires: Some(expires),
                ..
            } if *expires <= now => KeyStatus::Expired,
            _ => KeyStatus::Active,
        }
    }
}

/// A key to be stored.
pub type NewKey = KeyRecord;

/// A token that is not to be taken any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoked {
    /// Its `jti`.
    pub jti: String,
    /// When.
    pub revoked: u64,
    /// When it would have ended by itself.
    pub expires: Option<u64>,
}

/// All that a daemon needs of the store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Every key, revoked and expired ones included: whoever presents one is told in the log why it
    /// does not open.
    pub keys: Vec<KeyRecord>,
    /// Every revoked token.
    pub revoked: Vec<String>,
}

/// Why the store could not be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be made or opened.
    #[error("{0} cannot be opened")]
    File(PathBuf, #[source] std::io::Error),
    /// SQLite's reason.
    #[error("the key store fails")]
    Sqlite(#[from] rusqlite::Error),
    /// Written by a newer version.
    #[error("the key store was written by a newer ggend (format {0})")]
    Newer(i64),
}

/// An open store.
#[derive(Debug)]
pub struct Store(Connection);

impl Store {
    /// Opens the store in a directory that exists, and makes it if it is not there.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join(FILE);
        state::make_file(&path).map_err(|error| StoreError::File(path.clone(), error))?;
        let connection = Connection::open_with_flags(
            &path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        connection.busy_timeout(BUSY)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        let format: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        match format {
            FORMAT => {}
            0 => connection.execute_batch(&format!("BEGIN IMMEDIATE; {SCHEMA} COMMIT;"))?,
            newer => return Err(StoreError::Newer(newer)),
        }
        Ok(Self(connection))
    }

    /// Changes whenever another process has written; for this connection only.
    ///
    /// # Errors
    /// SQLite's.
    pub fn version(&self) -> Result<i64, StoreError> {
        Ok(self
            .0
            .pragma_query_value(None, "data_version", |row| row.get(0))?)
    }

    /// Stores a key.
    ///
    /// # Errors
    /// SQLite's.
    pub fn add(&self, key: &NewKey) -> Result<(), StoreError> {
        self.0
            .prepare("INSERT INTO api_keys VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)")?
            .execute(params![
                key.id,
                hex::encode(&key.digest),
                key.description,
                key.client,
                list(&key.permissions),
                list(&key.tools),
                stored(key.created),
                key.expires.map(stored),
                key.last_used.map(stored),
                key.revoked.map(stored),
            ])?;
        Ok(())
    }

    /// Every key, the oldest first.
    ///
    /// # Errors
    /// SQLite's.
    pub fn keys(&self) -> Result<Vec<KeyRecord>, StoreError> {
        let mut query = self
            .0
            .prepare("SELECT * FROM api_keys ORDER BY created, id")?;
        Ok(query.query_map([], record)?.collect::<Result<_, _>>()?)
    }

    /// A key by its id.
    ///
    /// # Errors
    /// SQLite's.
    pub fn key(&self, id: &str) -> Result<Option<KeyRecord>, StoreError> {
        Ok(self
            .0
            .prepare("SELECT * FROM api_keys WHERE id = ?1")?
            .query_row([id], record)
            .optional()?)
    }

    /// Revokes a key; `false` if it was revoked before, or is none.
    ///
    /// # Errors
    /// SQLite's.
    pub fn revoke(&self, id: &str, now: u64) -> Result<bool, StoreError> {
        let changed = self.0.execute(
            "UPDATE api_keys SET revoked = ?2 WHERE id = ?1 AND revoked IS NULL",
            params![id, stored(now)],
        )?;
        Ok(changed > 0)
    }

    /// Revokes a token; `false` if it was revoked before.
    ///
    /// # Errors
    /// SQLite's.
    pub fn revoke_token(&self, token: &Revoked) -> Result<bool, StoreError> {
        let changed = self.0.execute(
            "INSERT INTO revoked_tokens VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
            params![token.jti, stored(token.revoked), token.expires.map(stored)],
        )?;
        Ok(changed > 0)
    }

    /// What a daemon needs.
    ///
    /// # Errors
    /// SQLite's.
    pub fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let mut query = self
            .0
            .prepare("SELECT jti FROM revoked_tokens ORDER BY jti")?;
        let revoked = query
            .query_map([], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        Ok(Snapshot {
            keys: self.keys()?,
            revoked,
        })
    }

    /// Notes when keys were last used, all in one transaction.
    ///
    /// # Errors
    /// SQLite's; nothing is noted then.
    pub fn note_used(
        &mut self,
        used: impl IntoIterator<Item = (String, u64)>,
    ) -> Result<(), StoreError> {
        let transaction = self.0.transaction()?;
        {
            let mut update = transaction.prepare(
                "UPDATE api_keys SET last_used = max(coalesce(last_used, 0), ?2) WHERE id = ?1",
            )?;
            for (id, at) in used {
                update.execute(params![id, stored(at)])?;
            }
        }
        Ok(transaction.commit()?)
    }

    /// Forgets what has been over for three months.
    ///
    /// # Errors
    /// SQLite's.
    pub fn forget(&self, now: u64) -> Result<(), StoreError> {
        let before = stored(now.saturating_sub(MEMORY));
        self.0
            .execute("DELETE FROM revoked_tokens WHERE expires < ?1", [before])?;
        self.0.execute(
            "DELETE FROM api_keys WHERE coalesce(revoked, expires) < ?1",
            [before],
        )?;
        Ok(())
    }
}

fn record(row: &Row<'_>) -> rusqlite::Result<KeyRecord> {
    let time = |at: usize| {
        row.get::<_, Option<i64>>(at)
            .map(|time| time.map(|time| u64::try_from(time).unwrap_or(0)))
    };
    let digest: String = row.get(1)?;
    Ok(KeyRecord {
        id: row.get(0)?,
        // A digest that is none matches no key.
        digest: hex::decode(&digest).unwrap_or([0; 32]),
        description: row.get(2)?,
        client: row.get(3)?,
        permissions: unlist(&row.get::<_, String>(4)?),
        tools: unlist(&row.get::<_, String>(5)?),
        created: time(6)?.unwrap_or(0),
        expires: time(7)?,
        last_used: time(8)?,
        revoked: time(9)?,
    })
}

fn stored(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

fn list(items: &[String]) -> String {
    serde_json::to_string(items).unwrap_or_default()
}

/// What cannot be read must not widen a key: it becomes a glob that matches nothing.
fn unlist(text: &str) -> Vec<String> {
    serde_json::from_str(text).unwrap_or_else(|_| vec![String::new()])
}
