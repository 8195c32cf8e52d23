//! Clients that call without a pause, and a ledger of what became of every single call.

use crate::mcp::{Client, Era};
use serde_json::json;
use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// What became of a call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// The right answer.
    Answered,
    /// An error with that HTTP status and code of ours.
    Error(u16, String),
    /// The connection broke before the answer.
    Cut,
    /// Nobody listened. Must never be.
    Refused,
    /// No answer in time. Must never be.
    Silent,
    /// Somebody else's answer, or none of ours. Must never be.
    Wrong(String),
}

/// A call in the ledger.
#[derive(Clone, Debug)]
pub struct Entry {
    /// When it began, since the traffic did.
    pub at: Duration,
    /// How long it took.
    pub took: Duration,
    /// What became of it.
    pub outcome: Outcome,
}

/// All calls.
#[derive(Clone, Debug, Default)]
pub struct Ledger(pub Vec<Entry>);

/// Running clients.
#[derive(Debug)]
pub struct Traffic {
    ended: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    began: Instant,
    clients: Vec<JoinHandle<Vec<Entry>>>,
}

impl Ledger {
    /// How often each outcome was.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<Outcome, usize> {
        let mut counts = BTreeMap::new();
        for entry in &self.0 {
            *counts.entry(entry.outcome.clone()).or_insert(0) += 1;
        }
        counts
    }

    /// How many calls had an outcome.
    #[must_use]
    pub fn count(&self, wanted: impl Fn(&Outcome) -> bool) -> usize {
        self.0.iter().filter(|entry| wanted(&entry.outcome)).count()
    }

    /// The time that the given part (0 to 1) of the answered calls did not exceed.
    #[must_use]
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a rank"
    )]
    pub fn quantile(&self, part: f64) -> Duration {
        let mut times: Vec<_> = self
            .0
            .iter()
            .filter(|entry| entry.outcome == Outcome::Answered)
            .map(|entry| entry.took)
            .collect();
        times.sort();
        let at = ((times.len() as f64 * part) as usize).min(times.len().saturating_sub(1));
        times.get(at).copied().unwrap_or_default()
    }
}

impl Traffic {
    /// `count` clients of each given era call `echo` (and every eighth time `slow` for 20 ms) at
    /// `/mcp/<server>`.
    #[must_use]
    pub fn start(address: SocketAddr, server: &str, eras: &[Era], count: usize) -> Self {
        let (ended, answered, began) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
            Instant::now(),
        );
        let clients = eras
            .iter()
            .flat_map(|era| (0..count).map(move |number| (*era, number)))
            .map(|(era, number)| {
                let (server, ended, answered) =
                    (server.to_owned(), Arc::clone(&ended), Arc::clone(&answered));
                std::thread::spawn(move || {
                    let mut entries = Vec::new();
                    let mut client = Client::unconnected(address, &server, era);
                    let mut ready = era == Era::Modern;
                    while !ended.load(Ordering::Relaxed) {
                        let start = Instant::now();
                        let outcome = if ready {
                            call(
                                &mut client,
                                &format!("{era:?}-{number}-{}", entries.len()),
                                entries.len() % 8 == 7,
                            )
                        } else {
                            client
                                .initialize()
                                .map_or_else(|error| of_error(&error), |()| Outcome::Answered)
                        };
                        // A session that its gateway took with it is opened anew, as the
                        // specification says.
                        ready = match &outcome {
                            Outcome::Error(404, _) => era == Era::Modern,
                            Outcome::Answered => true,
                            _ => ready,
                        };
                        if outcome == Outcome::Answered {
                            answered.fetch_add(1, Ordering::Relaxed);
                        }
                        entries.push(Entry {
                            at: start - began,
                            took: start.elapsed(),
                            outcome,
                        });
                    }
                    entries
                })
            });
        let clients = clients.collect();
        Self {
            ended,
            answered,
            began,
            clients,
        }
    }

    /// Calls answered so far.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Waits until `more` further calls have been answered.
    #[track_caller]
    pub fn until_answered(&self, more: u64) {
        let goal = self.answered() + more;
        crate::until("calls are answered", || {
            (self.answered() >= goal).then_some(())
        });
    }

    /// Ends the clients, each after its present call.
    ///
    /// # Panics
    /// When a client did.
    #[must_use]
    pub fn finish(mut self) -> Ledger {
        self.ended.store(true, Ordering::Relaxed);
        Ledger(
            std::mem::take(&mut self.clients)
                .into_iter()
                .flat_map(|client| client.join().expect("a client that did not panic"))
                .collect(),
        )
    }
}

/// Clients of a test that failed end, too.
impl Drop for Traffic {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

fn call(client: &mut Client, text: &str, slow: bool) -> Outcome {
    let params = if slow {
        json!({ "name": "slow", "arguments": { "ms": 20 } })
    } else {
        json!({ "name": "echo", "arguments": { "message": text } })
    };
    let expected = if slow { "Slept 20 ms" } else { text };
    match client.try_request("tools/call", params) {
        Err(error) => of_error(&error),
        Ok(reply) => {
            let message = reply.messages.last().map(|message| &message.value);
            match message {
                Some(value) if value["result"]["content"][0]["text"] == expected => {
                    Outcome::Answered
                }
                Some(value) if value.get("error").is_some() => {
                    Outcome::Error(reply.head.status, reply.error().1.to_owned())
                }
                other => Outcome::Wrong(format!("{} {other:?}", reply.head.status)),
            }
        }
    }
}

fn of_error(error: &io::Error) -> Outcome {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Outcome::Refused,
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Outcome::Silent,
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::UnexpectedEof
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionAborted => Outcome::Cut,
        _ => Outcome::Wrong(error.to_string()),
    }
}
