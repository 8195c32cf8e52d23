//! What the gateway worker's successor has to know: sessions and what the upstreams gave. Held in
//! memory, so that the death of a gateway worker loses nothing, and written by a thread
//! (`sqlite.rs`), so that the death of the daemon does not either. A client hears of its session
//! when it is written; a file that cannot be written keeps nobody waiting.

pub(in crate::supervisor) mod sqlite;

use crate::{
    auth::{hex, seconds},
    config::{Config, Upstream},
    ipc::{
        kept::{Keep, KeptCatalogue, KeptSession, pieces},
        messages::ToWorker,
    },
    supervisor::{
        Supervisor,
        event::{Event, ProcId},
        sessions::sqlite::{Batch, Outcome, Store, Stored},
    },
};
use ggen_wire::{Code, status::Issue};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::mpsc::{SyncSender, sync_channel},
    thread,
    time::{Duration, SystemTime},
};
use tokio::sync::{mpsc, oneshot};

/// Beyond the configured number of sessions, so many are held that may be over without anybody
/// having said so.
const SPARE: usize = 1000;
/// Bytes of sessions that are held, and of catalogues.
const BYTES: usize = 128 << 20;

struct Session {
    record: String,
    /// In seconds since 1970.
    used: u64,
}

/// All of it, on its way from one binary to the next.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Carried {
    stored: Stored,
    gateways: BTreeSet<ProcId>,
}

/// All of it.
pub(crate) struct SessionStore {
    sessions: BTreeMap<String, Session>,
    bytes: usize,
    /// The digest of the entry, and the text, by upstream.
    catalogue: BTreeMap<String, (String, String)>,
    salt: Vec<u8>,
    /// What is not written yet.
    changed: BTreeSet<String>,
    relisted: BTreeSet<String>,
    whole: bool,
    tickets: Vec<(ProcId, u64)>,
    /// Who waits for the batch that is being written; `None`: none is.
    writing: Option<Vec<(ProcId, u64)>>,
    thread: Option<(SyncSender<Batch>, oneshot::Receiver<()>)>,
    /// Why nothing can be written.
    trouble: Option<String>,
    /// Every gateway worker that there ever was.
    gateways: BTreeSet<ProcId>,
}

impl SessionStore {
    /// Reads what an earlier life of the daemon wrote, and starts the thread that writes.
    /// `carried`: what the binary before us held, and its gateway workers.
    pub(crate) fn start(
        directory: PathBuf,
        events: mpsc::Sender<Event>,
        carried: Option<Carried>,
    ) -> Self {
        let (store, stored, trouble) = match Store::open(&directory) {
            Ok(opened) => {
                if let Some(why) = opened.damaged {
                    tracing::error!(target: "mcp_server", code = %Code::StateUnusable, "{} was damaged ({why}) and is set aside: sessions begin anew", sqlite::FILE);
                }
                (Some(opened.store), opened.stored, None)
            }
            Err(error) => {
                let salt = crate::ipc::seal::SealKey::random()
                    .map(|key| key.0.to_vec())
                    .unwrap_or_default();
                (
                    None,
                    Stored {
                        salt,
                        ..Stored::default()
                    },
                    Some(error.to_string()),
                )
            }
        };
        let mut memory = match carried {
            // Whatever the file holds: what was to be written last may not have been.
            Some(Carried {
                stored: held,
                gateways,
            }) => Self {
                gateways,
                whole: true,
                ..Self::of(held)
            },
            None => Self::of(stored),
        };
        let (sender, batches) = sync_channel(2);
        let (done, ended) = oneshot::channel();
        let work = move || {
            sqlite::run(&directory, store, &batches, |outcome| {
                events.blocking_send(Event::Store(outcome)).is_ok()
            });
            done.send(()).unwrap_or_default();
        };
        match thread::Builder::new().name("store".to_owned()).spawn(work) {
            Ok(_) => memory.thread = Some((sender, ended)),
            Err(error) => memory.fails(error.to_string()),
        }
        trouble.into_iter().for_each(|why| memory.fails(why));
        memory
    }

    /// What the next binary has to know.
    pub(crate) fn carried(&self) -> Carried {
        let session = |(digest, session): (&String, &Session)| {
            (digest.clone(), session.record.clone(), session.used)
        };
        let catalogue = |(upstream, (entry, text)): (&String, &(String, String))| {
            (upstream.clone(), entry.clone(), text.clone())
        };
        let stored = Stored {
            sessions: self.sessions.iter().map(session).collect(),
            catalogue: self.catalogue.iter().map(catalogue).collect(),
            salt: self.salt.clone(),
        };
        Carried {
            stored,
            gateways: self.gateways.clone(),
        }
    }

    fn of(stored: Stored) -> Self {
        let sessions: BTreeMap<_, _> = stored
            .sessions
            .into_iter()
            .map(|(digest, record, used)| (digest, Session { record, used }))
            .collect();
        Self {
            bytes: sessions.values().map(|session| session.record.len()).sum(),
            sessions,
            catalogue: stored
                .catalogue
                .into_iter()
                .map(|(upstream, entry, text)| (upstream, (entry, text)))
                .collect(),
            salt: stored.salt,
            changed: BTreeSet::new(),
            relisted: BTreeSet::new(),
            whole: false,
            tickets: Vec::new(),
            writing: None,
            thread: None,
            trouble: None,
            gateways: BTreeSet::new(),
        }
    }

    /// Whether that was a gateway worker, dead or alive: nobody else has a say here.
    pub(crate) fn trusts(&self, id: ProcId) -> bool {
        self.gateways.contains(&id)
    }

    /// What is wrong, if anything is.
    pub(crate) fn issue(&self) -> Option<Issue> {
        let why = self.trouble.as_ref()?;
        let message = format!("sessions are kept in memory only: {why}");
        Some(Issue {
            code: Code::StateUnusable,
            message,
            help: "ggen mcp explain GGEN-E5003".to_owned(),
        })
    }

    fn fails(&mut self, why: String) {
        if self.trouble.as_ref() != Some(&why) {
            tracing::error!(target: "mcp_server", code = %Code::StateUnusable, "{} cannot be used, sessions are kept in memory only: {why}", sqlite::FILE);
        }
        self.trouble = Some(why);
        // Everything is written once that is possible again.
        self.whole = true;
        (self.changed, self.relisted) = (BTreeSet::new(), BTreeSet::new());
    }

    /// What the thread has to say; returns the tickets that are settled.
    fn outcome(&mut self, outcome: Outcome) -> Vec<(ProcId, u64)> {
        let settled = match outcome {
            Outcome::Written(Ok(())) => self.writing.take().unwrap_or_default(),
            Outcome::Written(Err(why)) => {
                let settled = self.writing.take().unwrap_or_default();
                self.fails(why);
                settled
            }
            Outcome::Usable => {
                tracing::info!(target: "mcp_server", "{} can be used again", sqlite::FILE);
                self.trouble = None;
                Vec::new()
            }
        };
        settled.into_iter().chain(self.write()).collect()
    }

    /// Has written what is not, unless a batch is on its way; returns the tickets that nobody has
    /// to wait for.
    fn write(&mut self) -> Vec<(ProcId, u64)> {
        if self.trouble.is_some() {
            return std::mem::take(&mut self.tickets);
        }
        let idle = !self.whole && self.changed.is_empty() && self.relisted.is_empty();
        if self.writing.is_some() || idle && self.tickets.is_empty() {
            return Vec::new();
        }
        if idle {
            return std::mem::take(&mut self.tickets);
        }
        let whole = std::mem::take(&mut self.whole);
        if whole {
            self.changed = self.sessions.keys().cloned().collect();
            self.relisted = self.catalogue.keys().cloned().collect();
        }
        let session = |digest: String| {
            let kept = self
                .sessions
                .get(&digest)
                .map(|session| (session.record.clone(), session.used));
            (digest, kept)
        };
        let sessions = std::mem::take(&mut self.changed)
            .into_iter()
            .map(session)
            .collect();
        let upstream = |name: String| {
            let kept = self.catalogue.get(&name).cloned();
            (name, kept)
        };
        let catalogue = std::mem::take(&mut self.relisted)
            .into_iter()
            .map(upstream)
            .collect();
        let batch = Batch {
            whole,
            sessions,
            catalogue,
            salt: if whole { self.salt.clone() } else { Vec::new() },
        };
        let tickets = std::mem::take(&mut self.tickets);
        // Only one batch is on its way at a time, and one more at the end: there is always room.
        match self
            .thread
            .as_ref()
            .map(|(sender, _)| sender.try_send(batch))
        {
            Some(Ok(())) => {
                self.writing = Some(tickets);
                Vec::new()
            }
            _ => {
                self.fails("the thread that writes it is gone".to_owned());
                tickets
            }
        }
    }

    /// Takes over what a gateway worker says.
    fn take(&mut self, keep: Keep, from: ProcId, config: &Config, now: u64) {
        match keep {
            Keep::Session {
                digest,
                record,
                ticket,
            } => {
                self.changed.insert(digest.clone());
                self.tickets.extend(ticket.map(|ticket| (from, ticket)));
                self.bytes += record.len();
                if let Some(before) = self.sessions.insert(digest, Session { record, used: now }) {
                    self.bytes -= before.record.len();
                }
                let most = usize::try_from(config.rate_limit.max_sessions)
                    .unwrap_or(usize::MAX)
                    .saturating_add(SPARE);
                while self.sessions.len() > most || self.bytes > BYTES {
                    let Some(oldest) = self
                        .sessions
                        .iter()
                        .min_by_key(|(_, session)| session.used)
                        .map(|(digest, _)| digest.clone())
                    else {
                        break;
                    };
                    self.end(oldest);
                }
            }
            Keep::Ended { digest } => self.end(digest),
            Keep::Used { digests } => {
                for digest in digests {
                    if let Some(session) = self.sessions.get_mut(&digest) {
                        session.used = now;
                        self.changed.insert(digest);
                    }
                }
            }
            Keep::Catalogue { upstream, text } => {
                let room =
                    BYTES.saturating_sub(self.catalogue.values().map(|(_, text)| text.len()).sum());
                match config
                    .mcp_servers
                    .get(&upstream)
                    .filter(|_| !text.is_empty() && text.len() <= room)
                {
                    Some(entry) => {
                        let kept = (self.digest_of(entry), text);
                        if self.catalogue.get(&upstream) == Some(&kept) {
                            return;
                        }
                        self.catalogue.insert(upstream.clone(), kept);
                    }
                    None => drop(self.catalogue.remove(&upstream)),
                }
                self.relisted.insert(upstream);
            }
        }
    }

    fn end(&mut self, digest: String) {
        let Some(session) = self.sessions.remove(&digest) else {
            return;
        };
        self.bytes -= session.record.len();
        self.changed.insert(digest);
    }

    /// What an entry of the configuration says of which server it is. Salted: it may hold secrets.
    fn digest_of(&self, entry: &Upstream) -> String {
        let text = serde_json::to_vec(&(&entry.transport, &entry.era)).unwrap_or_default();
        let digest = Sha256::new()
            .chain_update(&self.salt)
            .chain_update(text)
            .finalize();
        hex::encode(&digest.into())
    }

    /// What a new gateway worker is told: of upstreams only what their present entries gave.
    fn remembered(&mut self, config: &Config, now: u64) -> Vec<ToWorker> {
        let valid = |name: &String, entry: &String| {
            config
                .mcp_servers
                .get(name)
                .is_some_and(|now| self.digest_of(now) == *entry)
        };
        let stale: Vec<_> = self
            .catalogue
            .iter()
            .filter(|(name, (entry, _))| !valid(name, entry))
            .map(|(name, _)| name.clone())
            .collect();
        for name in stale {
            self.catalogue.remove(&name);
            self.relisted.insert(name);
        }
        let kept = self
            .catalogue
            .iter()
            .map(|(name, (_, text))| KeptCatalogue {
                upstream: name.clone(),
                text: text.clone(),
            });
        let catalogue = pieces(kept.collect(), |kept| kept.text.len());
        let mut sessions: Vec<_> = self.sessions.iter().collect();
        sessions.sort_by_key(|(_, session)| std::cmp::Reverse(session.used));
        let kept = |(digest, session): (&String, &Session)| KeptSession {
            digest: digest.clone(),
            record: session.record.clone(),
            idle: now.saturating_sub(session.used),
        };
        let sessions = pieces(sessions.into_iter().map(kept).collect(), |kept| {
            kept.record.len()
        });
        let catalogue = catalogue
            .into_iter()
            .map(|catalogue| ToWorker::Recall { catalogue });
        catalogue
            .chain(
                sessions
                    .into_iter()
                    .map(|sessions| ToWorker::Restore { sessions }),
            )
            .collect()
    }

    /// Whether nothing is written any more.
    pub(crate) const fn is_finished(&self) -> bool {
        self.thread.is_none()
    }

    /// Has the rest written, within that time.
    pub(crate) async fn finish(&mut self, within: Duration) {
        // The loop that would hear of the batch on its way has ended; the thread takes the next one
        // behind it.
        self.writing = None;
        self.write();
        if let Some((sender, ended)) = self.thread.take() {
            drop(sender);
            tokio::time::timeout(within, ended)
                .await
                .map(|_| ())
                .unwrap_or_default();
        }
    }
}

impl Supervisor {
    /// What a gateway worker that is being started has to know.
    pub(crate) fn remembered(&mut self, id: ProcId) -> Vec<ToWorker> {
        self.memory.gateways.insert(id);
        let messages = self
            .memory
            .remembered(&self.loaded.config, seconds(SystemTime::now()));
        self.settle(None);
        messages
    }

    /// A gateway worker has something to be kept.
    pub(crate) fn keep(&mut self, id: ProcId, keep: Keep) {
        let successor = self.workers.gateway().filter(|gateway| *gateway != id);
        if let (Some(successor), Keep::Session { digest, record, .. }) = (successor, &keep) {
            // What the one says that is being replaced, the next one was not told at its start.
            let session = KeptSession {
                digest: digest.clone(),
                record: record.clone(),
                idle: 0,
            };
            self.tell(
                successor,
                ToWorker::Restore {
                    sessions: vec![session],
                },
                Vec::new(),
            );
        }
        self.memory
            .take(keep, id, &self.loaded.config, seconds(SystemTime::now()));
        self.settle(None);
    }

    /// The thread that writes has something to say.
    pub(crate) fn stored(&mut self, outcome: Outcome) {
        self.settle(Some(outcome));
    }

    /// Writes what is to be written, and tells the gateway workers what is settled.
    fn settle(&mut self, outcome: Option<Outcome>) {
        let settled = match outcome {
            Some(outcome) => self.memory.outcome(outcome),
            None => self.memory.write(),
        };
        let mut by_worker: BTreeMap<ProcId, Vec<u64>> = BTreeMap::new();
        settled
            .into_iter()
            .for_each(|(worker, ticket)| by_worker.entry(worker).or_default().push(ticket));
        for (worker, tickets) in by_worker {
            self.tell(worker, ToWorker::Kept { tickets }, Vec::new());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::panic,
        reason = "a test fails by panicking"
    )]

    use super::*;

    fn config(command: &str) -> Config {
        serde_json::from_value(serde_json::json!({ "mcpServers": { "s": { "command": command, "env": { "TOKEN": "secret" } } } })).unwrap()
    }

    fn session(digest: &str, ticket: Option<u64>) -> Keep {
        Keep::Session {
            digest: digest.to_owned(),
            record: "{}".to_owned(),
            ticket,
        }
    }

    /// One whose thread is the test.
    fn memory() -> (SessionStore, std::sync::mpsc::Receiver<Batch>) {
        let mut memory = SessionStore::of(Stored {
            salt: vec![1; 32],
            ..Stored::default()
        });
        let (sender, batches) = sync_channel(2);
        memory.thread = Some((sender, oneshot::channel().1));
        (memory, batches)
    }

    #[test]
    fn one_batch_at_a_time_takes_all_that_has_come_together() {
        let (mut memory, batches) = memory();
        let config = config("a");
        memory.take(session("1", Some(10)), 5, &config, 100);
        assert!(memory.write().is_empty());
        for (digest, ticket) in [("2", 11), ("3", 12)] {
            memory.take(session(digest, Some(ticket)), 5, &config, 101);
            assert!(memory.write().is_empty());
        }
        memory.take(
            Keep::Ended {
                digest: "2".to_owned(),
            },
            5,
            &config,
            102,
        );
        assert_eq!(
            batches.try_recv().unwrap().sessions,
            [("1".to_owned(), Some(("{}".to_owned(), 100)))]
        );
        assert!(batches.try_recv().is_err());
        assert_eq!(memory.outcome(Outcome::Written(Ok(()))), [(5, 10)]);
        assert_eq!(
            batches.try_recv().unwrap().sessions,
            [
                ("2".to_owned(), None),
                ("3".to_owned(), Some(("{}".to_owned(), 101)))
            ]
        );
        assert_eq!(memory.outcome(Outcome::Written(Ok(()))), [(5, 11), (5, 12)]);
        // What is written already keeps nobody waiting.
        memory.tickets.push((5, 13));
        assert_eq!(memory.write(), [(5, 13)]);
        assert!(batches.try_recv().is_err());
        let told: usize = memory
            .remembered(&config, 110)
            .iter()
            .map(|message| match message {
                ToWorker::Restore { sessions } => sessions.len(),
                _ => 0,
            })
            .sum();
        assert_eq!(told, 2);
    }

    #[test]
    fn a_file_that_fails_keeps_nobody_waiting_and_is_written_whole_later() {
        let (mut memory, batches) = memory();
        let config = config("a");
        memory.take(session("1", Some(1)), 5, &config, 100);
        memory.write();
        memory.take(session("2", Some(2)), 5, &config, 100);
        assert_eq!(
            memory.outcome(Outcome::Written(Err("full".to_owned()))),
            [(5, 1), (5, 2)]
        );
        assert_eq!(memory.issue().unwrap().code, Code::StateUnusable);
        memory.take(session("3", Some(3)), 5, &config, 100);
        assert_eq!(memory.write(), [(5, 3)]);
        batches.try_recv().unwrap();
        assert!(batches.try_recv().is_err());
        memory.outcome(Outcome::Usable);
        let batch = batches.try_recv().unwrap();
        assert!(
            batch.whole
                && batch.sessions.len() == 3
                && batch.salt.len() == 32
                && memory.issue().is_none()
        );
    }

    #[test]
    fn another_entry_drops_what_the_old_one_gave() {
        let (mut memory, batches) = memory();
        memory.take(
            Keep::Catalogue {
                upstream: "s".to_owned(),
                text: "lists".to_owned(),
            },
            5,
            &config("a"),
            100,
        );
        memory.write();
        let batch = batches.try_recv().unwrap();
        let (entry, text) = batch.catalogue[0].1.clone().unwrap();
        assert!(entry.len() == 64 && text == "lists");
        memory.outcome(Outcome::Written(Ok(())));
        // The same once more is not written again.
        memory.take(
            Keep::Catalogue {
                upstream: "s".to_owned(),
                text: "lists".to_owned(),
            },
            5,
            &config("a"),
            101,
        );
        memory.write();
        assert!(batches.try_recv().is_err());
        assert_eq!(memory.remembered(&config("a"), 102).len(), 1);
        assert_eq!(memory.remembered(&config("b"), 102).len(), 0);
        memory.write();
        assert_eq!(
            batches.try_recv().unwrap().catalogue,
            [("s".to_owned(), None)]
        );
    }

    #[test]
    fn what_is_held_is_bounded() {
        let (mut memory, _batches) = memory();
        let mut config = config("a");
        config.rate_limit.max_sessions = 1;
        for number in 0..2000_u64 {
            memory.take(session(&number.to_string(), None), 5, &config, number);
        }
        assert_eq!(memory.sessions.len(), SPARE + 1);
        assert!(memory.sessions.contains_key("1999") && !memory.sessions.contains_key("0"));
    }
}
