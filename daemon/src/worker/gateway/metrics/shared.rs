//! What the beat reads of the gateway worker's metrics: shared between the driver and the task that
//! sends beats.

use super::series::{Declare, REQUESTS, SECONDS};
use crate::{
    ipc::messages::Beat,
    log::now_us,
    metrics::{Exemplars, Family, gather},
};
use ggen_mcp::gateway::Counts;
use ggen_wire::status::SlowCall;
use prometheus::{IntGauge, Registry};
use std::sync::{Mutex, PoisonError};

/// Calls that are shown as slow, between two beats.
pub(super) const SLOW: usize = 10;

/// What the beat reads.
pub(crate) struct Shared {
    registry: Registry,
    sessions: IntGauge,
    in_flight: IntGauge,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    counts: Counts,
    /// Calls in flight, by upstream.
    busy: Vec<(String, u32)>,
    slow: Vec<SlowCall>,
    exemplars: Exemplars,
}

impl Shared {
    /// Declares its own metrics; `registry` is that of all.
    pub(super) fn new(
        declare: &Declare<'_>,
        registry: Registry,
    ) -> Result<Self, prometheus::Error> {
        Ok(Self {
            sessions: declare.gauge("ggend_sessions", "Legacy sessions that are open.")?,
            in_flight: declare.gauge("ggend_in_flight_calls", "Calls in flight.")?,
            state: Mutex::default(),
            registry,
        })
    }

    /// What is open now, for the next beat.
    pub(crate) fn set(&self, counts: Counts, busy: Vec<(String, u32)>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.counts = counts;
        state.busy = busy;
    }

    pub(super) fn exemplar(&self, method: &'static str, seconds: f64, trace: String) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state
            .exemplars
            .take(method, seconds, trace, now_us() / 1000, SECONDS);
    }

    pub(super) fn slow(&self, call: SlowCall) {
        let slow = &mut self
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .slow;
        slow.push(call);
        if slow.len() > SLOW {
            slow.sort_by_key(|call| std::cmp::Reverse(call.duration_ms));
            slow.truncate(SLOW);
        }
    }

    /// The worker's part of a beat.
    pub(crate) fn beat(&self) -> Beat {
        let State {
            counts,
            busy,
            slow,
            exemplars,
        } = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            State {
                counts: state.counts,
                busy: state.busy.clone(),
                slow: std::mem::take(&mut state.slow),
                exemplars: state.exemplars.clone(),
            }
        };
        self.sessions
            .set(i64::try_from(counts.sessions).unwrap_or(i64::MAX));
        self.in_flight
            .set(i64::try_from(counts.in_flight).unwrap_or(i64::MAX));
        let mut metrics: Vec<Family> = gather(&self.registry);
        exemplars.show(&mut metrics, REQUESTS, "method");
        let Counts {
            sessions,
            in_flight,
            tools,
        } = counts;
        Beat {
            in_flight,
            sessions,
            tools,
            metrics,
            busy,
            slow,
            ..Beat::default()
        }
    }
}
