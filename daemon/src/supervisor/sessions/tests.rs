#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use super::{records::SPARE, *};
use std::sync::mpsc::Receiver;

/// The gateway worker.
const GATEWAY: ProcId = ProcId(5);
/// Its successor.
const SUCCESSOR: ProcId = ProcId(6);

fn config(command: &str) -> Config {
    serde_json::from_value(serde_json::json!({
        "mcpServers": { "s": { "command": command, "env": { "TOKEN": "secret" } } }
    }))
    .unwrap()
}

fn session(digest: &str, ticket: Option<u64>) -> Keep {
    Keep::Session {
        digest: digest.to_owned(),
        record: "{}".to_owned(),
        ticket,
    }
}

fn catalogue(text: &str) -> Keep {
    Keep::Catalogue {
        upstream: "s".to_owned(),
        text: text.to_owned(),
    }
}

/// One whose thread is the test.
fn store() -> (SessionStore, Receiver<Batch>) {
    let mut store = SessionStore::of(Stored {
        salt: vec![1; 32],
        ..Stored::default()
    });
    let (writer, batches) = Writer::for_test();
    store.writer = Some(writer);
    (store, batches)
}

/// The tickets that workers are told of.
fn tickets(effects: Vec<Effect>) -> Vec<(ProcId, Vec<u64>)> {
    let ticket = |Effect::Tell(worker, message)| match message {
        ToWorker::Kept { tickets } => Some((worker, tickets)),
        _ => None,
    };
    effects.into_iter().filter_map(ticket).collect()
}

impl SessionStore {
    /// Keeps what the gateway worker gives, and returns the tickets that are settled by it.
    fn given(&mut self, keep: Keep, config: &Config, now: u64) -> Vec<(ProcId, Vec<u64>)> {
        tickets(self.keep(GATEWAY, keep, Some(GATEWAY), config, now))
    }
}

#[test]
fn one_batch_at_a_time_takes_all_that_has_come_together() {
    let (mut store, batches) = store();
    let config = config("a");
    assert!(store.given(session("1", Some(10)), &config, 100).is_empty());
    for (digest, ticket) in [("2", 11), ("3", 12)] {
        let settled = store.given(session(digest, Some(ticket)), &config, 101);
        assert!(settled.is_empty());
    }
    let digest = "2".to_owned();
    store.given(Keep::Ended { digest }, &config, 102);
    assert_eq!(
        batches.try_recv().unwrap().sessions,
        [("1".to_owned(), Some(("{}".to_owned(), 100)))]
    );
    assert!(batches.try_recv().is_err());
    let settled = store.outcome(Outcome::Written(Ok(())));
    assert_eq!(tickets(settled), [(GATEWAY, vec![10])]);
    assert_eq!(
        batches.try_recv().unwrap().sessions,
        [
            ("2".to_owned(), None),
            ("3".to_owned(), Some(("{}".to_owned(), 101)))
        ]
    );
    let settled = store.outcome(Outcome::Written(Ok(())));
    assert_eq!(tickets(settled), [(GATEWAY, vec![11, 12])]);
    // What is written already keeps nobody waiting.
    store.waiting.push((GATEWAY, 13));
    assert_eq!(store.write(), [(GATEWAY, 13)]);
    assert!(batches.try_recv().is_err());
    let told: usize = store
        .recall(GATEWAY, &config, 110)
        .0
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
    let (mut store, batches) = store();
    let config = config("a");
    store.given(session("1", Some(1)), &config, 100);
    store.given(session("2", Some(2)), &config, 100);
    let settled = store.outcome(Outcome::Written(Err("full".to_owned())));
    assert_eq!(tickets(settled), [(GATEWAY, vec![1, 2])]);
    assert_eq!(store.issue().unwrap().code, Code::StateUnusable);
    let settled = store.given(session("3", Some(3)), &config, 100);
    assert_eq!(settled, [(GATEWAY, vec![3])]);
    batches.try_recv().unwrap();
    assert!(batches.try_recv().is_err());
    store.outcome(Outcome::Usable);
    let batch = batches.try_recv().unwrap();
    assert!(batch.whole && batch.sessions.len() == 3 && batch.salt.len() == 32);
    assert!(store.issue().is_none());
}

#[test]
fn another_entry_drops_what_the_old_one_gave() {
    let (mut store, batches) = store();
    store.given(catalogue("lists"), &config("a"), 100);
    let batch = batches.try_recv().unwrap();
    let (entry, text) = batch.catalogue[0].1.clone().unwrap();
    assert!(entry.len() == 64 && text == "lists");
    store.outcome(Outcome::Written(Ok(())));
    // The same once more is not written again.
    store.given(catalogue("lists"), &config("a"), 101);
    assert!(batches.try_recv().is_err());
    assert_eq!(store.recall(GATEWAY, &config("a"), 102).0.len(), 1);
    assert_eq!(store.recall(GATEWAY, &config("b"), 102).0.len(), 0);
    assert_eq!(
        batches.try_recv().unwrap().catalogue,
        [("s".to_owned(), None)]
    );
}

#[test]
fn what_is_held_is_bounded() {
    let (mut store, _batches) = store();
    let mut config = config("a");
    config.rate_limit.max_sessions = 1;
    for number in 0..2000_u64 {
        store.given(session(&number.to_string(), None), &config, number);
    }
    assert_eq!(store.records.count(), SPARE + 1);
    assert!(store.records.has_session("1999") && !store.records.has_session("0"));
}

#[test]
fn the_successor_is_told_of_sessions_that_its_predecessor_still_begins() {
    let (mut store, _batches) = store();
    let config = config("a");
    store.recall(GATEWAY, &config, 100);
    store.recall(SUCCESSOR, &config, 100);
    let effects = store.keep(GATEWAY, session("1", None), Some(SUCCESSOR), &config, 101);
    let told = effects.iter().any(|Effect::Tell(worker, message)| {
        *worker == SUCCESSOR
            && matches!(message, ToWorker::Restore { sessions } if sessions[0].digest == "1")
    });
    assert!(told);
    assert!(store.trusts(GATEWAY) && store.trusts(SUCCESSOR) && !store.trusts(ProcId(7)));
}

#[test]
fn the_next_binary_holds_the_same_and_writes_it_whole() {
    let (mut store, _batches) = store();
    let config = config("a");
    store.recall(GATEWAY, &config, 100);
    store.given(session("1", None), &config, 100);
    let text = serde_json::to_string(&store.carried()).unwrap();
    let place = tempfile::tempdir().unwrap();
    let carried = serde_json::from_str(&text).unwrap();
    let next = SessionStore::start(place.path().into(), Some(carried), |_| true);
    assert!(next.trusts(GATEWAY) && next.records.has_session("1"));
    assert_eq!(serde_json::to_string(&next.carried()).unwrap(), text);
}
