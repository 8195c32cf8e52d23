//! Metrics of the gateway worker: bounds, slow calls, labels.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use super::{shared::SLOW, *};
use crate::ipc::messages::Beat;
use crate::metrics::Value;
use ggen_mcp::{api::DropReason, gateway::Counts};

fn call(tool: &str, duration: Micros) -> Observation {
    Observation::Call {
        up: UpId(0),
        tool: Some(tool.into()),
        outcome: CallOutcome::Ok,
        duration,
    }
}

fn samples(beat: &Beat, name: &str) -> Vec<(Vec<String>, Value)> {
    let family = beat
        .metrics
        .iter()
        .find(|family| family.name == name)
        .unwrap();
    let label = |(_, value): &(String, String)| value.clone();
    family
        .samples
        .iter()
        .map(|sample| {
            (
                sample.labels.iter().map(label).collect(),
                sample.value.clone(),
            )
        })
        .collect()
}

#[test]
fn tools_are_counted_by_name_up_to_the_bound() {
    let mut observer = Observer::new(vec!["up".into()]).unwrap();
    for number in 0..TOOLS + 20 {
        observer.observe(call(&format!("tool{number}"), 10));
        observer.observe(call("tool0", 10));
    }
    let beat = observer.shared().beat();
    let tools = samples(&beat, "ggend_tool_calls_total");
    assert_eq!(tools.len(), TOOLS + 1);
    let count = |name: &str| {
        tools
            .iter()
            .find(|(labels, _)| labels.contains(&name.to_owned()))
            .unwrap()
            .1
            .clone()
    };
    assert_eq!(
        (count("tool0"), count("other")),
        (Value::Number(521.0), Value::Number(20.0))
    );
    assert_eq!(
        samples(&beat, "ggend_upstream_calls_total"),
        [(
            vec!["ok".to_owned(), "up".to_owned()],
            Value::Number(1040.0)
        )]
    );
}

#[test]
fn the_slowest_calls_stay_until_the_beat() {
    let mut observer = Observer::new(vec!["up".into()]).unwrap();
    (0..20).for_each(|number| observer.observe(call("slow", SLOW_FROM + number * 1000)));
    observer.observe(call("quick", SLOW_FROM - 1));
    observer.shared().set(
        Counts {
            sessions: 3,
            in_flight: 2,
            tools: 7,
        },
        vec![("one".to_owned(), 2)],
    );
    let beat = observer.shared().beat();
    assert_eq!(
        (
            beat.slow.len(),
            beat.slow.iter().map(|call| call.duration_ms).min()
        ),
        (SLOW, Some(1010))
    );
    assert_eq!((beat.sessions, beat.in_flight, beat.tools), (3, 2, 7));
    assert_eq!(
        samples(&beat, "ggend_sessions"),
        [(Vec::new(), Value::Number(3.0))]
    );
    assert!(observer.shared().beat().slow.is_empty());
}

#[test]
fn requests_are_counted_by_method_era_and_outcome() {
    let mut observer = Observer::new(Vec::new()).unwrap();
    for (era, outcome) in [
        ("legacy", CallOutcome::Ok),
        ("modern", CallOutcome::Ok),
        ("modern", CallOutcome::Error),
        ("modern", CallOutcome::Ok),
    ] {
        observer.observe(Observation::Request {
            method: "tools/list",
            era,
            outcome,
            duration: 1500,
            trace: None,
        });
    }
    observer.observe(Observation::Dropped {
        up: None,
        reason: DropReason::LateResponse,
    });
    let beat = observer.shared().beat();
    assert_eq!(samples(&beat, "ggend_requests_total").len(), 3);
    let Value::Histogram { count, .. } = samples(&beat, "ggend_request_duration_seconds")[0].1
    else {
        panic!("a histogram")
    };
    assert_eq!(count, 4);
    assert_eq!(samples(&beat, "ggend_dropped_total").len(), 1);
}
