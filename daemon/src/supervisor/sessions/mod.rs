//! The session store: what the next gateway worker has to know, which is the sessions and what the
//! upstreams listed. It is held in memory, so that the death of a gateway worker loses nothing, and
//! written to a file, so that the death of the daemon does not either. A client hears of its
//! session once it is written; a file that cannot be written keeps nobody waiting.
//!
//! The room knows nothing of other rooms: what workers are to be told comes back as [`Effect`]s.

mod records;
pub(crate) mod sqlite;
mod writer;

use super::event::ProcId;
use crate::{
    config::Config,
    ipc::{
        kept::{Keep, KeptSession},
        messages::ToWorker,
    },
};
use ggen_wire::{Code, status::Issue};
use records::Records;
use serde::{Deserialize, Serialize};
use sqlite::{Batch, Store, Stored};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};
pub(crate) use writer::Outcome;
use writer::Writer;

/// What others have to do.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Send this to a worker.
    Tell(ProcId, ToWorker),
}

/// A gateway worker that waits until something it gave us is stored: its process, and the number
/// that it gave.
type Ticket = (ProcId, u64);

/// The store on its way from one binary to the next.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Carried {
    stored: Stored,
    gateways: BTreeSet<ProcId>,
}

/// The session store.
pub(crate) struct SessionStore {
    records: Records,
    /// Who waits for the next batch.
    waiting: Vec<Ticket>,
    /// Who waits for the batch that is being written; `None` when none is.
    writing: Option<Vec<Ticket>>,
    writer: Option<Writer>,
    /// Why nothing can be written.
    trouble: Option<String>,
    /// Every gateway worker that there ever was. Nobody else may change anything here.
    gateways: BTreeSet<ProcId>,
}

impl SessionStore {
    /// Reads what an earlier life of the daemon wrote, and starts the thread that writes.
    /// `carried` is what the previous binary held. The thread calls `report`, and ends when that
    /// returns false.
    pub(crate) fn start(
        directory: PathBuf,
        carried: Option<Carried>,
        report: impl Fn(Outcome) -> bool + Send + 'static,
    ) -> Self {
        let (file, stored, trouble) = open(&directory);
        let mut store = match carried {
            Some(Carried { stored, gateways }) => {
                let mut store = Self::of(stored);
                store.gateways = gateways;
                // The file may lack what was to be written last.
                store.records.mark_all();
                store
            }
            None => Self::of(stored),
        };
        match Writer::start(directory, file, report) {
            Ok(writer) => store.writer = Some(writer),
            Err(error) => store.fail(error.to_string()),
        }
        if let Some(why) = trouble {
            store.fail(why);
        }
        store
    }

    fn of(stored: Stored) -> Self {
        Self {
            records: Records::of(stored),
            waiting: Vec::new(),
            writing: None,
            writer: None,
            trouble: None,
            gateways: BTreeSet::new(),
        }
    }

    /// What the next binary has to know.
    pub(crate) fn carried(&self) -> Carried {
        Carried {
            stored: self.records.all(),
            gateways: self.gateways.clone(),
        }
    }

    /// Whether a process is or was a gateway worker. Its last words count, too.
    pub(crate) fn trusts(&self, id: ProcId) -> bool {
        self.gateways.contains(&id)
    }

    /// What is wrong, if anything is.
    pub(crate) fn issue(&self) -> Option<Issue> {
        let why = self.trouble.as_ref()?;
        Some(Issue {
            code: Code::StateUnusable,
            message: format!("sessions are kept in memory only: {why}"),
            help: "ggen mcp explain GGEN-E5003".to_owned(),
        })
    }

    /// A gateway worker is being started. Returns what it has to be told first. `now` is in seconds
    /// since 1970, here and below.
    pub(crate) fn recall(
        &mut self,
        id: ProcId,
        config: &Config,
        now: u64,
    ) -> (Vec<ToWorker>, Vec<Effect>) {
        self.gateways.insert(id);
        let messages = self.records.recall(config, now);
        let settled = self.write();
        (messages, told(settled))
    }

    /// A gateway worker gives something to be kept. `serving` is the gateway worker that serves
    /// now.
    pub(crate) fn keep(
        &mut self,
        from: ProcId,
        keep: Keep,
        serving: Option<ProcId>,
        config: &Config,
        now: u64,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        if let Keep::Session {
            digest,
            record,
            ticket,
        } = &keep
        {
            self.waiting.extend(ticket.map(|ticket| (from, ticket)));
            // A worker that is being replaced adds a session that its successor was not told of.
            if let Some(successor) = serving.filter(|serving| *serving != from) {
                let session = KeptSession {
                    digest: digest.clone(),
                    record: record.clone(),
                    idle: 0,
                };
                let sessions = vec![session];
                effects.push(Effect::Tell(successor, ToWorker::Restore { sessions }));
            }
        }
        self.records.keep(keep, config, now);
        effects.extend(told(self.write()));
        effects
    }

    /// The thread reports.
    pub(crate) fn outcome(&mut self, outcome: Outcome) -> Vec<Effect> {
        let mut settled = Vec::new();
        match outcome {
            Outcome::Written(written) => {
                settled = self.writing.take().unwrap_or_default();
                if let Err(why) = written {
                    self.fail(why);
                }
            }
            Outcome::Usable => {
                tracing::info!(target: "mcp_server", "{} can be used again", sqlite::FILE);
                self.trouble = None;
            }
        }
        settled.extend(self.write());
        told(settled)
    }

    /// Whether nothing is written any more.
    pub(crate) const fn is_finished(&self) -> bool {
        self.writer.is_none()
    }

    /// Has the rest written, within that time.
    pub(crate) async fn finish(&mut self, within: Duration) {
        // The loop that would hear of the batch on its way has ended; the thread takes the next one
        // behind it.
        self.writing = None;
        self.write();
        if let Some(writer) = self.writer.take() {
            writer.finish(within).await;
        }
    }

    fn fail(&mut self, why: String) {
        if self.trouble.as_ref() != Some(&why) {
            tracing::error!(target: "mcp_server", code = %Code::StateUnusable, "{} cannot be used, sessions are kept in memory only: {why}", sqlite::FILE);
        }
        self.trouble = Some(why);
        // Everything is written once that is possible again.
        self.records.mark_all();
    }

    /// Sends what has changed to the thread, unless a batch is on its way. Returns the tickets that
    /// nobody has to wait for.
    fn write(&mut self) -> Vec<Ticket> {
        if self.trouble.is_some() {
            return std::mem::take(&mut self.waiting);
        }
        if self.writing.is_some() {
            return Vec::new();
        }
        let Some(batch) = self.records.batch() else {
            return std::mem::take(&mut self.waiting);
        };
        let tickets = std::mem::take(&mut self.waiting);
        if self.send(batch) {
            self.writing = Some(tickets);
            return Vec::new();
        }
        self.fail("the thread that writes it is gone".to_owned());
        tickets
    }

    /// Only one batch is on its way at a time, and one more at the end: there is always room.
    fn send(&self, batch: Batch) -> bool {
        self.writer
            .as_ref()
            .is_some_and(|writer| writer.send(batch))
    }
}

/// Opens the file: the file if it can be used, what is in it, and why it cannot be used.
fn open(directory: &std::path::Path) -> (Option<Store>, Stored, Option<String>) {
    match Store::open(directory) {
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
            let stored = Stored {
                salt,
                ..Stored::default()
            };
            (None, stored, Some(error.to_string()))
        }
    }
}

/// One message to each worker that has waited.
fn told(settled: Vec<Ticket>) -> Vec<Effect> {
    let mut by_worker: BTreeMap<ProcId, Vec<u64>> = BTreeMap::new();
    for (worker, ticket) in settled {
        by_worker.entry(worker).or_default().push(ticket);
    }
    by_worker
        .into_iter()
        .map(|(worker, tickets)| Effect::Tell(worker, ToWorker::Kept { tickets }))
        .collect()
}

#[cfg(test)]
mod tests;
