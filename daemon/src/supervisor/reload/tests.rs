//! The reload machine, without files, workers and upstreams.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use crate::supervisor::reply::Answer;
use tokio::sync::mpsc;

type Machine = Reload<&'static str>;

const NOW: Duration = Duration::from_secs(100);

fn proposal(slots: &[&str]) -> Input<&'static str> {
    let slots = slots
        .iter()
        .map(|name| ((*name).to_owned(), Role::Http))
        .collect();
    let plan = Plan {
        generation: 1,
        changes: Vec::new(),
    };
    Input::Changed(Box::new(Proposal {
        candidate: "new",
        plan,
        slots,
    }))
}

fn names(effects: &[Effect<&'static str>]) -> Vec<String> {
    let name = |effect: &Effect<&'static str>| match effect {
        Effect::Read(scope) => format!("read {scope:?}"),
        Effect::Complete { asks_tools } => format!("complete {asks_tools}"),
        Effect::Planned(_) => "planned".to_owned(),
        Effect::Progress(to, _) => format!("progress {}", to.len()),
        Effect::StartAdditional(slots) => format!("start {}", slots.len()),
        Effect::DropAdditional => "drop".to_owned(),
        Effect::Switch(candidate) => format!("switch {candidate}"),
        Effect::Drain(id) => format!("drain {id}"),
        Effect::Finish(Ok(text), watchers) => format!("finish {} {text}", watchers.len()),
        Effect::Finish(Err(failure), watchers) => {
            format!("fail {} {}", watchers.len(), failure.message)
        }
    };
    effects.iter().map(name).collect()
}

fn watcher(more: bool) -> (Watcher, mpsc::Receiver<Answer>) {
    let (sender, receiver) = mpsc::channel(8);
    let watcher = Watcher {
        reply: Reply(sender),
        more,
        switch: None,
    };
    (watcher, receiver)
}

fn give(machine: &mut Machine, input: Input<&'static str>) -> Vec<String> {
    names(&machine.input(input, NOW))
}

fn requested(watcher: Option<Watcher>) -> Input<&'static str> {
    Input::Requested(Scope::Files, watcher)
}

fn tools(slots: &[&str]) -> Input<&'static str> {
    Input::Tools(
        Vec::new(),
        slots.iter().map(|name| (*name).to_owned()).collect(),
    )
}

/// A machine whose new configuration asks for `http-0`, with the slots that there are.
fn completed(machine: &mut Machine, there: &[&str]) -> Vec<String> {
    give(machine, requested(None));
    assert_eq!(give(machine, proposal(&["http-0"])), ["complete false"]);
    give(machine, tools(there))
}

#[test]
fn without_additional_workers_it_is_put_in_force_at_once() {
    let mut machine = Machine::new(1);
    let effects = completed(&mut machine, &["http-0"]);
    assert_eq!(effects, ["planned", "progress 0", "switch new"]);
    let told = BTreeMap::from([(ProcId(4), false), (ProcId(5), true)]);
    assert!(give(&mut machine, Input::Switched(told, BTreeSet::new())).is_empty());
    assert_eq!(give(&mut machine, Input::Confirmed(ProcId(5))), ["drain 5"]);
    assert!(give(&mut machine, Input::Confirmed(ProcId(9))).is_empty());
    assert_eq!(
        give(&mut machine, Input::Confirmed(ProcId(4))),
        ["finish 0 generation 2 in force"]
    );
    assert!(machine.is_idle());
}

#[test]
fn additional_workers_have_to_be_ready_first() {
    let mut machine = Machine::new(1);
    let effects = completed(&mut machine, &[]);
    assert_eq!(effects, ["planned", "progress 0", "progress 0", "start 1"]);
    assert_eq!(machine.candidate(), Some(&"new"));
    assert!(give(&mut machine, Input::WorkerReady("http-7".to_owned())).is_empty());
    assert_eq!(
        give(&mut machine, Input::WorkerReady("http-0".to_owned())),
        ["switch new"]
    );
}

#[test]
fn an_additional_worker_that_dies_leaves_everything_as_it_was() {
    let mut machine = Machine::new(3);
    completed(&mut machine, &[]);
    let died = Input::WorkerDied {
        name: "http-0".to_owned(),
        reason: "exit status 1".to_owned(),
    };
    let effects = give(&mut machine, died);
    assert_eq!(
        effects,
        [
            "drop",
            "fail 0 the new http-0 died before it was ready (exit status 1); generation 3 stays in force, nothing has changed"
        ]
    );
    assert!(machine.is_idle() && machine.candidate().is_none());
}

#[test]
fn the_next_one_waits_and_takes_up_everything_that_was_asked_for() {
    let mut machine = Machine::new(1);
    let (first, _first) = watcher(false);
    assert_eq!(give(&mut machine, requested(Some(first))), ["read Files"]);
    let (second, _second) = watcher(false);
    let (third, _third) = watcher(false);
    assert!(
        give(
            &mut machine,
            Input::Requested(Scope::Switches, Some(second))
        )
        .is_empty()
    );
    assert!(give(&mut machine, requested(Some(third))).is_empty());
    let effects = give(&mut machine, Input::Unchanged);
    assert_eq!(
        effects,
        [
            "finish 1 no change, generation 1 stays in force",
            "read Files"
        ]
    );
    let refused = failure(Code::ConfigValue, "wrong", "ggend check");
    assert_eq!(
        give(&mut machine, Input::Refused(refused)),
        ["fail 2 wrong"]
    );
}

#[test]
fn touched_upstreams_are_waited_for_up_to_a_limit() {
    let mut machine = Machine::new(1);
    let (watcher, _answers) = watcher(true);
    give(&mut machine, requested(Some(watcher)));
    give(&mut machine, proposal(&[]));
    give(&mut machine, tools(&[]));
    let touched = ["files", "mail", "bad"].map(str::to_owned).into();
    let effects = give(&mut machine, Input::Switched(BTreeMap::new(), touched));
    assert_eq!(effects, ["progress 1"]);
    assert_eq!(machine.touched().count(), 3);
    let known = |name: &str, is_as_wanted| {
        let text = "how it stands".to_owned();
        vec![(name.to_owned(), Outcome { text, is_as_wanted })]
    };
    assert_eq!(
        give(&mut machine, Input::Outcomes(known("mail", true))),
        ["progress 1"]
    );
    assert_eq!(
        give(&mut machine, Input::Outcomes(known("bad", false))),
        ["progress 1"]
    );
    let until = machine.deadline().unwrap();
    assert_eq!(until, NOW + SETTLING);
    let effects = machine.input(Input::Outcomes(Vec::new()), until);
    assert_eq!(
        names(&effects),
        ["finish 1 generation 2 in force; not ready: bad, files"]
    );
}

#[test]
fn nothing_begins_and_nothing_goes_on_while_the_daemon_stops() {
    let mut machine = Machine::new(1);
    completed(&mut machine, &[]);
    assert!(give(&mut machine, Input::Stop).is_empty());
    assert!(give(&mut machine, Input::WorkerReady("http-0".to_owned())).is_empty());
    assert!(give(&mut machine, requested(None)).is_empty());
}
