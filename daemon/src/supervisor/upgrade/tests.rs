#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use crate::supervisor::reply::Answer;
use tokio::sync::mpsc;

const NOBODY: u32 = 0x7fff_ffff;
const NOW: Duration = Duration::from_secs(100);

/// An upgrade whose binary is being tried, and what its caller is told.
fn checking() -> (Upgrade, mpsc::Receiver<Answer>) {
    let (sender, answers) = mpsc::channel(8);
    let mut upgrade = Upgrade::default();
    let trial = Trial {
        binary: Binary::find(Some("/proc/self/exe")).unwrap(),
        files: Vec::new(),
        proof: "proof".to_owned(),
        pid: NOBODY,
    };
    upgrade.begin(trial, Reply(sender), false, NOW);
    (upgrade, answers)
}

fn refusal(answers: &mut mpsc::Receiver<Answer>) -> String {
    match answers.try_recv() {
        Ok(Answer::Last(Err(failure))) => failure.message,
        other => format!("{other:?}"),
    }
}

#[test]
fn a_binary_that_proves_itself_is_due_once_it_has_ended() {
    let (mut upgrade, mut answers) = checking();
    assert_eq!(upgrade.deadline(), Some(NOW + PATIENCE));
    upgrade.said(NOBODY + 1, "1.0 proof".to_owned(), String::new(), None);
    upgrade.said(NOBODY, "1.0 proof".to_owned(), String::new(), None);
    assert!(!upgrade.is_due() && !upgrade.is_idle());
    upgrade.ended(Ended::Exited(0), None);
    assert!(upgrade.is_due());
    let successor = upgrade.begin_handover().unwrap();
    assert_eq!(successor.version, "1.0");
    assert!(upgrade.is_handing() && upgrade.begin_handover().is_none());
    assert!(upgrade.end_handover().is_empty());
    assert!(upgrade.is_idle() && answers.try_recv().is_err());
}

#[test]
fn whatever_else_happens_ends_the_upgrade() {
    let said = |text: &str, ended, busy| {
        let (mut upgrade, mut answers) = checking();
        upgrade.ended(ended, busy);
        upgrade.said(NOBODY, text.to_owned(), "it fails".to_owned(), busy);
        assert!(upgrade.is_idle());
        refusal(&mut answers)
    };
    assert!(
        said("1.0 proof", Ended::Exited(65), None)
            .ends_with("upgrade-check: exit status 65: it fails")
    );
    assert!(said("1.0 other", Ended::Exited(0), None).contains("does not prove"));
    assert!(said("1.0 proof", Ended::Exited(0), Some("a reload")).ends_with(": a reload"));
    let (mut upgrade, mut answers) = checking();
    upgrade.on_time(NOW, false);
    assert!(!upgrade.is_idle());
    upgrade.on_time(NOW + PATIENCE, false);
    assert!(upgrade.is_idle() && refusal(&mut answers).contains("in time"));
    let (mut upgrade, mut answers) = checking();
    upgrade.on_time(NOW, true);
    assert!(upgrade.is_idle() && refusal(&mut answers).contains("stopping"));
}

/// A state as the first version that upgrades in place wrote it, with one of everything.
const FIRST: &str = include_str!("state_of_the_first_version.json");

#[test]
fn the_first_version_reads_what_we_write_and_we_read_what_it_wrote() {
    let state = State::read(FIRST.as_bytes()).unwrap();
    let written = serde_json::to_value(&state).unwrap();
    let first: serde_json::Value = serde_json::from_str(FIRST).unwrap();
    let (written, first) = (members("", &written), members("", &first));
    let missing: Vec<_> = first
        .iter()
        .filter(|member| !written.contains(member))
        .collect();
    let added: Vec<_> = written
        .iter()
        .filter(|member| !first.contains(member))
        .collect();
    assert!(
        missing.is_empty() && added.is_empty(),
        "{missing:#?} {added:#?}"
    );
}

/// Every value with its path.
fn members(path: &str, value: &serde_json::Value) -> Vec<String> {
    use serde_json::Value;
    match value {
        Value::Object(object) => object
            .iter()
            .flat_map(|(name, value)| members(&format!("{path}.{name}"), value))
            .collect(),
        Value::Array(items) if !items.is_empty() => items
            .iter()
            .enumerate()
            .flat_map(|(at, value)| members(&format!("{path}[{at}]"), value))
            .collect(),
        value => vec![format!("{path}: {value}")],
    }
}
