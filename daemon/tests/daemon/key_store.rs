//! The key store under the worst that can happen to its writers: SIGKILL at any moment.

use ggend::auth::{KeyRecord, Store, digest};
use std::{
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

const WRITER: &str = "GGEND_TEST_KEY_WRITER";
const KILLS: u64 = 100;

fn key(id: &str) -> KeyRecord {
    KeyRecord {
        id: id.to_owned(),
        digest: digest(id),
        description: "x".repeat(300),
        client: None,
        permissions: vec!["a".to_owned()],
        tools: Vec::new(),
        created: 1,
        expires: None,
        last_used: None,
        revoked: None,
    }
}

/// Not a test by itself: what the parent runs and kills. Says each id when it is stored.
#[test]
fn writer() {
    let Some(place) = std::env::var_os(WRITER) else {
        return;
    };
    let mut store = Store::open(&PathBuf::from(place)).unwrap();
    let mut out = std::io::stdout().lock();
    for number in 0_u64.. {
        let id = format!("{}-{number}", std::process::id());
        store.add(&key(&id)).unwrap();
        writeln!(out, "stored {id}").unwrap();
        out.flush().unwrap();
        store.note_used([(id.clone(), number)]).unwrap();
        if number % 3 == 0 {
            store.revoke(&id, number).unwrap();
        }
    }
}

#[test]
fn a_hundred_killed_writers_lose_nothing_that_was_said_to_be_stored() {
    let place = tempfile::tempdir().unwrap();
    let (mut stored, began) = (Vec::new(), Instant::now());
    for round in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["key_store::writer", "--exact", "--nocapture", "--quiet"])
            .env(WRITER, place.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok);
        // Now and then before its first write, otherwise at another moment of one each time.
        let mut said: Vec<String> = Vec::new();
        if round % 10 != 0 {
            said.extend(lines.by_ref().find(|line| line.starts_with("stored ")));
            let until = Instant::now() + Duration::from_micros(97 * round);
            while Instant::now() < until {
                std::hint::spin_loop();
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        said.extend(lines.filter(|line| line.starts_with("stored ")));
        stored.extend(
            said.iter()
                .filter_map(|line| line.strip_prefix("stored "))
                .map(str::to_owned),
        );
    }
    let store = Store::open(place.path()).unwrap();
    let known: std::collections::HashSet<String> = store
        .keys()
        .unwrap()
        .into_iter()
        .map(|key| key.id)
        .collect();
    let lost: Vec<&String> = stored.iter().filter(|id| !known.contains(*id)).collect();
    assert!(
        lost.is_empty(),
        "{} of {} are lost: {lost:?}",
        lost.len(),
        stored.len()
    );
    assert!(stored.len() >= 90);
    println!(
        "{KILLS} writers killed, {} keys stored, none lost, {:?}",
        stored.len(),
        began.elapsed()
    );
}
