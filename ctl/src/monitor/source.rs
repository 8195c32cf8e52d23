//! Asks the daemon periodically in a thread of its own, so that a slow answer does not delay a key.
//! Both queues are bounded.

use crate::{
    client::{Client, ClientOptions},
    failed::Failed,
    metrics::{self, Family},
};
use ggen_wire::{
    control::{Body, Call, LogQuery},
    log::{Level, LogLine},
    status::Status,
};
use std::{
    path::PathBuf,
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    time::{Duration, Instant},
};

/// Errors that are kept in sight.
const ERRORS: u32 = 20;
/// How long the daemon may take for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the daemon said at one time.
pub(crate) struct Sample {
    /// When.
    pub(crate) at: Instant,
    /// Its status.
    pub(crate) status: Status,
    /// Its metrics.
    pub(crate) families: Vec<Family>,
    /// Its newest errors and warnings, oldest first.
    pub(crate) errors: Vec<LogLine>,
}

/// What the thread says.
pub(crate) enum Update {
    /// A new sample.
    Sample(Box<Sample>),
    /// Nobody answers, and why.
    Lost(Failed),
    /// What became of a restart.
    Restarted(String),
}

/// The way to the thread; it ends when this is dropped.
pub(crate) struct Source {
    /// What it says.
    pub(crate) updates: Receiver<Update>,
    restarts: SyncSender<String>,
}

impl Source {
    /// Starts looking, once every `interval`.
    pub(crate) fn start(
        socket: PathBuf,
        client_options: ClientOptions,
        interval: Duration,
    ) -> Self {
        let (sender, updates) = sync_channel(4);
        let (restarts, wanted) = sync_channel(4);
        std::thread::spawn(move || {
            run(
                &mut Asker {
                    socket,
                    client_options,
                    client: None,
                },
                interval,
                &sender,
                &wanted,
            )
        });
        Self { updates, restarts }
    }

    /// Has one upstream restarted; the outcome comes as an update.
    pub(crate) fn restart(&self, name: &str) {
        // A full queue means that several are under way already.
        let _ = self.restarts.try_send(name.to_owned());
    }
}

fn run(
    asker: &mut Asker,
    interval: Duration,
    updates: &SyncSender<Update>,
    wanted: &Receiver<String>,
) {
    loop {
        let began = Instant::now();
        let said = updates.send(
            asker
                .sample()
                .map_or_else(Update::Lost, |sample| Update::Sample(Box::new(sample))),
        );
        if said.is_err() {
            return;
        }
        match wanted.recv_timeout(interval.saturating_sub(began.elapsed())) {
            Ok(name) => {
                let outcome = asker
                    .restart(name)
                    .unwrap_or_else(|failed| failed.to_string());
                if updates.send(Update::Restarted(outcome)).is_err() {
                    return;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

struct Asker {
    socket: PathBuf,
    client_options: ClientOptions,
    client: Option<Client>,
}

impl Asker {
    fn sample(&mut self) -> Result<Sample, Failed> {
        let looked = self.ask();
        if looked.is_err() {
            self.client = None;
        }
        looked
    }

    fn connected(&mut self) -> Result<&mut Client, Failed> {
        if self.client.is_none() {
            self.client = Some(Client::connect(
                &self.socket,
                PATIENCE,
                self.client_options,
            )?);
        }
        self.client
            .as_mut()
            .ok_or_else(|| Failed::plain(crate::failed::Exit::Bad, "no connection", ""))
    }

    fn ask(&mut self) -> Result<Sample, Failed> {
        let client = self.connected()?;
        let at = Instant::now();
        let status = client.status()?;
        let families = match client.call(&Call::GetMetrics {})? {
            Body::Text(text) => metrics::parse(&text),
            other => return Err(client.unexpected(&other)),
        };
        let query = LogQuery {
            tail: Some(ERRORS),
            level: Some(Level::Warn),
            ..LogQuery::default()
        };
        let errors = match client.call(&Call::GetLogs(query))? {
            Body::Lines(lines) => lines,
            other => return Err(client.unexpected(&other)),
        };
        Ok(Sample {
            at,
            status,
            families,
            errors,
        })
    }

    /// On a connection of its own, which is not used again: more of its answer may come.
    fn restart(&mut self, name: String) -> Result<String, Failed> {
        self.client = None;
        let mut client = Client::connect(&self.socket, PATIENCE, self.client_options)?;
        match client.call(&Call::Restart { target: Some(name) })? {
            Body::Done(outcome) => Ok(outcome),
            other => Err(client.unexpected(&other)),
        }
    }
}
