//! Runs the table of checks: one thread for each, all at once, none waited for beyond the deadline
//! of the run.

use super::{
    checks::{self, Check},
    context::Context,
    report::finding::Finding,
};
use ggen_wire::Code;
use std::{
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

/// What the checks get beyond the context's deadline, to say what they have seen so far.
const GRACE: Duration = Duration::from_millis(500);

/// What one check gave.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    /// The check's name.
    pub(super) name: &'static str,
    /// What it found, notes included.
    pub(super) findings: Vec<Finding>,
    /// How long it took; `None`: it did not end.
    pub(super) took: Option<Duration>,
}

/// Runs all checks; the results are in the order of the table.
pub(super) fn examine(context: Context) -> (Arc<Context>, Vec<Outcome>) {
    let context = Arc::new(context);
    let results = run(&context, checks::ALL, context.deadline + GRACE);
    (context, results)
}

fn run(context: &Arc<Context>, table: &[Check], deadline: Instant) -> Vec<Outcome> {
    let (sender, receiver) = mpsc::sync_channel(table.len());
    for (at, check) in table.iter().enumerate() {
        let (check, context, sender) = (*check, Arc::clone(context), sender.clone());
        let work = move || {
            let began = Instant::now();
            let findings = (check.run)(&context);
            // Nobody listens any more when the run is over.
            drop(sender.send((at, findings, began.elapsed())));
        };
        // What cannot be started is reported as what did not end.
        drop(
            std::thread::Builder::new()
                .name(check.name.to_owned())
                .spawn(work),
        );
    }
    drop(sender);
    let mut outcomes: Vec<Outcome> = table
        .iter()
        .map(|check| Outcome {
            name: check.name,
            findings: Vec::new(),
            took: None,
        })
        .collect();
    // Ends early when the last sender is gone, be it by a panic.
    while let Ok((at, findings, took)) =
        receiver.recv_timeout(deadline.saturating_duration_since(Instant::now()))
    {
        outcomes[at] = Outcome {
            name: table[at].name,
            findings,
            took: Some(took),
        };
    }
    for outcome in outcomes.iter_mut().filter(|outcome| outcome.took.is_none()) {
        outcome.findings.push(
            Finding::warning(
                Code::CheckUnfinished,
                format!("the check {} did not finish", outcome.name),
            )
            .seen("its time is over")
            .help("ggen mcp doctor --verbose"),
        );
    }
    outcomes
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::config::LoadOptions;
    use std::collections::HashSet;

    fn stuck(_: &Context) -> Vec<Finding> {
        std::thread::park_timeout(Duration::from_secs(60));
        Vec::new()
    }

    fn broken(_: &Context) -> Vec<Finding> {
        panic!("a fault in a check")
    }

    fn well(_: &Context) -> Vec<Finding> {
        vec![Finding::note("well")]
    }

    #[test]
    fn a_check_that_hangs_or_breaks_costs_only_itself() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("none.sock");
        let context = Arc::new(Context::gather(
            LoadOptions {
                cwd: directory.path().into(),
                ..LoadOptions::default()
            },
            Some(&socket),
            None,
        ));
        let table = [
            Check {
                name: "stuck",
                run: stuck,
            },
            Check {
                name: "broken",
                run: broken,
            },
            Check {
                name: "well",
                run: well,
            },
        ];
        let outcomes = run(
            &context,
            &table,
            Instant::now() + Duration::from_millis(300),
        );
        let codes: Vec<_> = outcomes
            .iter()
            .map(|outcome| outcome.findings[0].code)
            .collect();
        assert_eq!(
            codes,
            [
                Some(Code::CheckUnfinished),
                Some(Code::CheckUnfinished),
                None
            ]
        );
    }

    #[test]
    fn names_are_unique_and_in_kebab_case() {
        let names: HashSet<_> = checks::ALL.iter().map(|check| check.name).collect();
        assert!(names.len() == checks::ALL.len() && names.len() >= 20);
        assert!(names.iter().all(|name| {
            name.bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'-')
        }));
    }
}
