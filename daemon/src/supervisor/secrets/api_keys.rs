//! The key store as the daemon sees it: a thread of its own watches the file, because SQLite
//! blocks. What others write is known within [`PERIOD`]; when keys were last used is written back
//! in batches. A store that cannot be read leaves the keys in force that were known.

use crate::auth::{self, Snapshot, Store, StoreError};
use ggen_wire::Code;
use std::{
    collections::BTreeMap,
    error::Error,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    thread,
    time::{Duration, Instant},
};

/// Between two looks at the store.
const PERIOD: Duration = Duration::from_millis(200);
/// Between two writes of when keys were used.
const WRITE: Duration = Duration::from_secs(5);
/// Batches that may wait for the thread; what does not fit is left to the next beat's.
const BATCHES: usize = 64;

/// Ids of keys, and when they were last used, in seconds since 1970.
type Used = Vec<(String, u64)>;

/// The store and its watcher.
pub(crate) struct ApiKeys {
    /// What was last read.
    pub(super) known: Snapshot,
    used: Option<SyncSender<Used>>,
}

impl ApiKeys {
    /// Reads the store, and watches it from now on. `before`: what was known, should it not be
    /// readable now. `report` takes what is read later; `false` from it: nobody listens any more.
    pub(crate) fn start(
        directory: PathBuf,
        before: Snapshot,
        report: impl Fn(Snapshot) -> bool + Send + 'static,
    ) -> Self {
        let mut watch = Watch {
            directory,
            store: None,
            failing: false,
            pending: BTreeMap::new(),
            written: Instant::now(),
        };
        let known = watch.news().unwrap_or(before);
        let (used, batches) = sync_channel(BATCHES);
        let thread = thread::Builder::new()
            .name("keys".to_owned())
            .spawn(move || watch.run(&batches, report));
        if let Err(error) = &thread {
            tracing::error!(target: "auth", %error, code = %Code::KeyStoreUnusable, "the key store is not watched");
        }
        Self {
            known,
            used: thread.is_ok().then_some(used),
        }
    }

    /// Has the thread write what is to be written, and end.
    pub(crate) fn finish(&mut self) {
        self.used = None;
    }

    /// Keys were used.
    pub(crate) fn used(&self, used: Used) {
        if let (Some(sender), false) = (&self.used, used.is_empty()) {
            sender.try_send(used).unwrap_or_default();
        }
    }
}

/// An open file, told from another one at the same place.
type Identity = (u64, u64);

struct Watch {
    directory: PathBuf,
    store: Option<(Store, Identity, i64)>,
    failing: bool,
    pending: BTreeMap<String, u64>,
    written: Instant,
}

impl Watch {
    fn run(mut self, batches: &Receiver<Used>, report: impl Fn(Snapshot) -> bool) {
        loop {
            let went = match batches.recv_timeout(PERIOD) {
                Ok(used) => {
                    for (id, at) in used {
                        let last = self.pending.entry(id).or_default();
                        *last = at.max(*last);
                    }
                    false
                }
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => true,
            };
            if went || self.written.elapsed() >= WRITE {
                self.write();
            }
            if went {
                return;
            }
            if let Some(snapshot) = self.news()
                && !report(snapshot)
            {
                return;
            }
        }
    }

    /// The keys in the store, if they may have changed.
    fn news(&mut self) -> Option<Snapshot> {
        match self.read() {
            Ok(snapshot) => {
                self.failing = false;
                snapshot
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    let cause = error.source().map(ToString::to_string).unwrap_or_default();
                    let code = Code::KeyStoreUnusable;
                    tracing::error!(target: "auth", %code, cause, "{error}; the keys that were known stay in force");
                }
                self.store = None;
                None
            }
        }
    }

    fn read(&mut self) -> Result<Option<Snapshot>, StoreError> {
        let path = self.directory.join(auth::FILE);
        let there = match identity(&path) {
            Ok(there) => there,
            // A store that was removed opens nothing any more.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(self.store.take().map(|_| Snapshot::default()));
            }
            Err(error) => return Err(StoreError::File(path, error)),
        };
        if let Some((store, identity, version)) = &mut self.store
            && *identity == there
        {
            let now = store.version()?;
            if std::mem::replace(version, now) == now {
                return Ok(None);
            }
            return store.snapshot().map(Some);
        }
        let store = Store::open(&self.directory)?;
        let version = store.version()?;
        let snapshot = store.snapshot()?;
        self.store = Some((store, there, version));
        Ok(Some(snapshot))
    }

    fn write(&mut self) {
        self.written = Instant::now();
        let pending = std::mem::take(&mut self.pending);
        if let (Some((store, ..)), false) = (&mut self.store, pending.is_empty())
            && let Err(error) = store.note_used(pending)
        {
            tracing::debug!(target: "auth", %error, "when keys were used is not written");
        }
    }
}

fn identity(path: &Path) -> io::Result<Identity> {
    fs::metadata(path).map(|facts| (facts.dev(), facts.ino()))
}
