//! The thread that writes the session store's file, because SQLite blocks.

use super::sqlite::{Batch, Store};
use std::{
    io,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    thread,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// Between two times at which what was written is made durable against a loss of power, and two
/// attempts to use a file that could not be used.
const FLUSH: Duration = Duration::from_secs(5);
/// Batches that may wait: the one that is being written, and the last one.
const BATCHES: usize = 2;

/// What the thread reports.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// A batch is written, or is not.
    Written(Result<(), String>),
    /// The file can be used again, and everything is to be written to it.
    Usable,
}

/// Our end of the thread.
pub(super) struct Writer {
    batches: SyncSender<Batch>,
    ended: oneshot::Receiver<()>,
}

impl Writer {
    /// Starts the thread. `store` is the open file, if it could be opened.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(super) fn start(
        directory: PathBuf,
        store: Option<Store>,
        report: impl Fn(Outcome) -> bool + Send + 'static,
    ) -> io::Result<Self> {
        let (sender, batches) = sync_channel(BATCHES);
        let (done, ended) = oneshot::channel();
        let work = move || {
            run(&directory, store, &batches, report);
            done.send(()).unwrap_or_default();
        };
        thread::Builder::new()
            .name("store".to_owned())
            .spawn(work)?;
        Ok(Self {
            batches: sender,
            ended,
        })
    }

    /// One whose thread is the test.
    #[cfg(test)]
    pub(super) fn for_test() -> (Self, Receiver<Batch>) {
        let (batches, receiver) = sync_channel(BATCHES);
        let ended = oneshot::channel().1;
        (Self { batches, ended }, receiver)
    }

    /// Queues a batch. False: there is no room, or the thread is gone.
    pub(super) fn send(&self, batch: Batch) -> bool {
        self.batches.try_send(batch).is_ok()
    }

    /// Has what is queued written, within that time.
    pub(super) async fn finish(self, within: Duration) {
        drop(self.batches);
        tokio::time::timeout(within, self.ended)
            .await
            .map(|_| ())
            .unwrap_or_default();
    }
}

/// Writes batches until there is nobody to send any.
fn run(
    directory: &Path,
    mut store: Option<Store>,
    batches: &Receiver<Batch>,
    report: impl Fn(Outcome) -> bool,
) {
    let (mut unflushed, mut looked) = (false, Instant::now());
    loop {
        match batches.recv_timeout(FLUSH.saturating_sub(looked.elapsed())) {
            Ok(batch) => {
                let written = match &mut store {
                    Some(open) => open.write(&batch).map_err(|error| error.to_string()),
                    None => Err("it is not open".to_owned()),
                };
                unflushed = written.is_ok();
                if written.is_err() {
                    // It is opened anew later; a damaged one is set aside then.
                    store = None;
                }
                if !report(Outcome::Written(written)) {
                    return;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                if let Some(open) = &store {
                    open.flush().unwrap_or_default();
                }
                return;
            }
        }
        if looked.elapsed() < FLUSH {
            continue;
        }
        looked = Instant::now();
        match &store {
            Some(open) if std::mem::take(&mut unflushed) => open.flush().unwrap_or_default(),
            Some(_) => {}
            None => {
                store = Store::open(directory).ok().map(|opened| opened.store);
                if store.is_some() && !report(Outcome::Usable) {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use std::fs;

    fn batch() -> Batch {
        let session = ("a".to_owned(), Some(("{}".to_owned(), 7)));
        Batch {
            sessions: vec![session],
            ..Batch::default()
        }
    }

    #[test]
    fn a_store_that_fails_is_opened_anew() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("state");
        fs::write(&directory, "in the way").unwrap();
        let (sender, batches) = sync_channel(2);
        let (report, outcomes) = sync_channel(8);
        let work = {
            let directory = directory.clone();
            thread::spawn(move || {
                run(&directory, None, &batches, |outcome| {
                    report.send(outcome).is_ok()
                })
            })
        };
        sender.send(batch()).unwrap();
        assert!(matches!(outcomes.recv().unwrap(), Outcome::Written(Err(_))));
        fs::remove_file(&directory).unwrap();
        assert!(matches!(outcomes.recv().unwrap(), Outcome::Usable));
        sender
            .send(Batch {
                whole: true,
                salt: vec![2; 32],
                ..batch()
            })
            .unwrap();
        assert!(matches!(outcomes.recv().unwrap(), Outcome::Written(Ok(()))));
        drop(sender);
        work.join().unwrap();
        assert_eq!(Store::open(&directory).unwrap().stored.sessions.len(), 1);
    }
}
