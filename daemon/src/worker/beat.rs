//! The beat: once a second, liveness, health and metrics in one message; and the measurement of
//! delays of the event loop.

use super::{context::Source, edge::budget, outbox::Outbox};
use crate::{
    ipc::messages::{Beat, ToSupervisor},
    log,
    metrics::{Family, Kind, Sample, Value},
    platform::OwnFiles,
};
use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, MissedTickBehavior};

/// How often the event loop is probed between two beats.
const PROBES: u32 = 5;

/// What fills the beats.
pub(super) type BeatSource = Source;

/// Beats until the supervisor is gone.
pub(super) async fn run(
    period: Duration,
    source: BeatSource,
    outbox: Outbox,
    queue: Arc<log::Queue>,
    mut files: Option<OwnFiles>,
) {
    let step = period / PROBES;
    let mut ticks = tokio::time::interval(step);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut seq, mut lag, mut probes) = (0, Duration::ZERO, 0);
    loop {
        let due = ticks.tick().await;
        lag = lag.max(Instant::now().saturating_duration_since(due));
        if probes == 0 {
            seq += 1;
            let mut beat = source
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .as_mut()
                .map_or_else(Beat::default, |fill| fill());
            beat.seq = seq;
            beat.files = files.as_mut().and_then(OwnFiles::count);
            beat.shed = budget::shed_so_far();
            beat.lag_us = u64::try_from(std::mem::take(&mut lag).as_micros()).unwrap_or(u64::MAX);
            beat.metrics.push(dropped(queue.dropped()));
            outbox.offer(ToSupervisor::Beat(beat));
        }
        probes = (probes + 1) % PROBES;
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "metrics are floating-point numbers"
)]
fn dropped(lines: u64) -> Family {
    Family {
        name: "ggend_log_lines_dropped_total".to_owned(),
        help: "Log lines lost to a full queue.".to_owned(),
        kind: Kind::Counter,
        samples: vec![Sample {
            labels: Vec::new(),
            value: Value::Number(lines as f64),
        }],
    }
}
