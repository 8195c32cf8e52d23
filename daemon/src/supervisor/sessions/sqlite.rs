//! The session store's file: one SQLite database in the state directory, with sessions and what the
//! upstreams listed. A thread opens and writes it (`writer.rs`), because SQLite blocks. This file
//! does not know what the texts mean.
//!
//! WAL with `synchronous=NORMAL`: what was answered survives SIGKILL of every process at any
//! moment, and a loss of power as far as the last flush. A file that is damaged is set aside, and a
//! new one is begun.

use crate::config::state;
use rusqlite::{Connection, ErrorCode, OpenFlags, params};
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

/// Name of the file in the state directory.
pub(crate) const FILE: &str = "state.db";
/// What a damaged file is renamed to, in the place of an earlier one.
const DAMAGED: &str = "state.db.damaged";
/// `user_version` of what is written here.
const FORMAT: i64 = 1;

const SCHEMA: &str = "
CREATE TABLE sessions (digest TEXT PRIMARY KEY, record TEXT NOT NULL, used INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE catalogue (upstream TEXT PRIMARY KEY, entry TEXT NOT NULL, text TEXT NOT NULL) STRICT;
CREATE TABLE salt (salt BLOB NOT NULL) STRICT;
PRAGMA user_version = 1;";

/// Everything that is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Stored {
    /// Digest, record, and when it was last used, in seconds since 1970.
    pub(crate) sessions: Vec<(String, String, u64)>,
    /// Name, digest of its entry in the configuration, text.
    pub(crate) catalogue: Vec<(String, String, String)>,
    /// Goes into the digests of entries, so that they say nothing of what is secret there.
    pub(crate) salt: Vec<u8>,
}

/// What is to be written in one transaction.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// What is stored already is of no interest.
    pub(crate) whole: bool,
    /// By digest; `None`: it is over.
    pub(crate) sessions: Vec<(String, Option<(String, u64)>)>,
    /// By name; `None`: nothing is to be kept.
    pub(crate) catalogue: Vec<(String, Option<(String, String)>)>,
    /// Read back by nobody but [`Store::open`].
    pub(crate) salt: Vec<u8>,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// It cannot be made, or its directory.
    #[error("{0} cannot be used: {1}")]
    File(PathBuf, io::Error),
    /// SQLite's reason.
    #[error("{0}")]
    Sqlite(#[from] rusqlite::Error),
    /// Written by a newer version.
    #[error("it was written by a newer ggend (format {0})")]
    Newer(i64),
}

impl StoreError {
    fn is_damage(&self) -> bool {
        matches!(self, Self::Sqlite(error) if matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
            || matches!(error, rusqlite::Error::InvalidColumnType(..) | rusqlite::Error::IntegralValueOutOfRange(..))
            || matches!(error, rusqlite::Error::SqliteFailure(_, Some(text)) if text.contains("no such table") || text.contains("no such column")))
    }
}

/// What came of an attempt to open it: the file, what was in it, and what had to be set aside.
pub(crate) struct Opened {
    pub(crate) store: Store,
    pub(crate) stored: Stored,
    /// Why an earlier file was set aside.
    pub(crate) damaged: Option<String>,
}

/// The open file.
pub(crate) struct Store(Connection);

impl Store {
    /// Opens the file and reads it, or makes it.
    ///
    /// # Errors
    /// [`StoreError`]; not for a damaged file, which is set aside.
    pub(crate) fn open(directory: &Path) -> Result<Opened, StoreError> {
        match Self::try_open(directory) {
            Ok((store, stored)) => Ok(Opened {
                store,
                stored,
                damaged: None,
            }),
            Err(error) if error.is_damage() => {
                set_aside(directory)
                    .map_err(|cause| StoreError::File(directory.join(FILE), cause))?;
                let (store, stored) = Self::try_open(directory)?;
                Ok(Opened {
                    store,
                    stored,
                    damaged: Some(error.to_string()),
                })
            }
            Err(error) => Err(error),
        }
    }

    fn try_open(directory: &Path) -> Result<(Self, Stored), StoreError> {
        let path = directory.join(FILE);
        state::make(directory)
            .and_then(|()| state::make_file(&path))
            .map_err(|error| StoreError::File(path.clone(), error))?;
        let connection = Connection::open_with_flags(
            &path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        connection.busy_timeout(Duration::from_secs(1))?;
        // For as long as the daemon lives, nobody else may write it; a second daemon of the same
        // directory goes without.
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        // Kibibytes: what is written is small, and read once.
        connection.pragma_update(None, "cache_size", -256)?;
        let format: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        match format {
            FORMAT => {}
            0 => {
                connection.execute_batch(&format!("BEGIN IMMEDIATE; {SCHEMA} COMMIT;"))?;
                let mut salt = vec![0; 32];
                getrandom::fill(&mut salt)
                    .map_err(|error| StoreError::File(path, io::Error::other(error)))?;
                connection.execute("INSERT INTO salt VALUES (?1)", [&salt])?;
            }
            newer => return Err(StoreError::Newer(newer)),
        }
        let stored = read(&connection)?;
        Ok((Self(connection), stored))
    }

    /// Writes a batch, wholly or not at all.
    ///
    /// # Errors
    /// SQLite's.
    pub(crate) fn write(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let transaction = self.0.transaction()?;
        if batch.whole {
            transaction
                .execute_batch("DELETE FROM sessions; DELETE FROM catalogue; DELETE FROM salt;")?;
            transaction.execute("INSERT INTO salt VALUES (?1)", [&batch.salt])?;
        }
        {
            let mut add =
                transaction.prepare("INSERT OR REPLACE INTO sessions VALUES (?1, ?2, ?3)")?;
            let mut remove = transaction.prepare("DELETE FROM sessions WHERE digest = ?1")?;
            for (digest, session) in &batch.sessions {
                match session {
                    Some((record, used)) => add.execute(params![
                        digest,
                        record,
                        i64::try_from(*used).unwrap_or(i64::MAX)
                    ])?,
                    None => remove.execute([digest])?,
                };
            }
            let mut add =
                transaction.prepare("INSERT OR REPLACE INTO catalogue VALUES (?1, ?2, ?3)")?;
            let mut remove = transaction.prepare("DELETE FROM catalogue WHERE upstream = ?1")?;
            for (upstream, kept) in &batch.catalogue {
                match kept {
                    Some((entry, text)) => add.execute([upstream, entry, text])?,
                    None => remove.execute([upstream])?,
                };
            }
        }
        Ok(transaction.commit()?)
    }

    /// Makes durable what was written.
    pub(super) fn flush(&self) -> Result<(), StoreError> {
        Ok(self
            .0
            .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?)
    }
}

fn read(connection: &Connection) -> Result<Stored, StoreError> {
    let mut stored = Stored {
        salt: connection.query_row("SELECT salt FROM salt", [], |row| row.get(0))?,
        ..Stored::default()
    };
    let mut query =
        connection.prepare("SELECT digest, record, used FROM sessions ORDER BY used DESC")?;
    let rows = query.query_map([], |row| {
        Ok((
            row.get(0)?,
            row.get(1)?,
            u64::try_from(row.get::<_, i64>(2)?).unwrap_or(0),
        ))
    })?;
    stored.sessions = rows.collect::<Result<_, _>>()?;
    let mut query =
        connection.prepare("SELECT upstream, entry, text FROM catalogue ORDER BY upstream")?;
    stored.catalogue = query
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<Result<_, _>>()?;
    Ok(stored)
}

/// Renames a damaged file; what SQLite keeps beside it goes with it.
fn set_aside(directory: &Path) -> io::Result<()> {
    fs::rename(directory.join(FILE), directory.join(DAMAGED))?;
    for beside in ["-wal", "-shm"] {
        match fs::remove_file(directory.join(format!("{FILE}{beside}"))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn batch(digest: &str, record: Option<&str>) -> Batch {
        let session = record.map(|record| (record.to_owned(), 7));
        Batch {
            sessions: vec![(digest.to_owned(), session)],
            ..Batch::default()
        }
    }

    #[test]
    fn what_was_written_is_read_and_only_its_owner_can() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("deep/state");
        let mut opened = Store::open(&directory).unwrap();
        assert!(
            opened.stored.sessions.is_empty()
                && opened.stored.salt.len() == 32
                && opened.damaged.is_none()
        );
        opened.store.write(&batch("a", Some("{}"))).unwrap();
        opened.store.write(&batch("b", Some("{\"x\":1}"))).unwrap();
        opened.store.write(&batch("a", None)).unwrap();
        let catalogue = vec![
            ("s".to_owned(), Some(("e".to_owned(), "t".to_owned()))),
            ("gone".to_owned(), None),
        ];
        opened
            .store
            .write(&Batch {
                catalogue,
                ..Batch::default()
            })
            .unwrap();
        // While it is open, nobody else writes it.
        assert!(Store::open(&directory).is_err());
        let salt = opened.stored.salt.clone();
        drop(opened);
        assert_eq!(
            fs::metadata(directory.join(FILE))
                .unwrap()
                .permissions()
                .mode()
                & 0o777,
            0o600
        );
        let mut again = Store::open(&directory).unwrap();
        let expected = Stored {
            sessions: vec![("b".to_owned(), "{\"x\":1}".to_owned(), 7)],
            catalogue: vec![("s".to_owned(), "e".to_owned(), "t".to_owned())],
            salt,
        };
        assert_eq!(again.stored, expected);
        again
            .store
            .write(&Batch {
                whole: true,
                salt: vec![1; 32],
                ..batch("c", Some("{}"))
            })
            .unwrap();
        drop(again);
        let stored = Store::open(&directory).unwrap().stored;
        assert_eq!(
            (stored.sessions.len(), stored.catalogue.len(), stored.salt),
            (1, 0, vec![1; 32])
        );
    }

    #[test]
    fn a_damaged_file_is_set_aside_and_a_newer_one_is_left_alone() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join(FILE);
        for damage in [
            b"no database at all, and long enough to be one, perhaps: ".repeat(100),
            Vec::new(),
        ] {
            fs::write(&file, &damage).unwrap();
            let opened = Store::open(place.path()).unwrap();
            assert_eq!(opened.damaged.is_some(), !damage.is_empty());
            drop(opened);
            fs::remove_file(&file).unwrap();
        }
        // Another program's database, in the right format by its own account.
        Connection::open(&file)
            .unwrap()
            .execute_batch("CREATE TABLE other (x); PRAGMA user_version = 1;")
            .unwrap();
        assert!(Store::open(place.path()).unwrap().damaged.is_some());
        fs::remove_file(&file).unwrap();
        Connection::open(&file)
            .unwrap()
            .execute_batch("CREATE TABLE other (x); PRAGMA user_version = 2;")
            .unwrap();
        assert!(matches!(
            Store::open(place.path()),
            Err(StoreError::Newer(2))
        ));
    }
}
