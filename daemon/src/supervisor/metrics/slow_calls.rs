//! The slowest recent calls. Pure.

use ggen_wire::status::SlowCall;
use std::cmp::Reverse;

/// So many are kept.
const MOST: usize = 10;
/// For so long, in milliseconds.
const KEPT_FOR: u64 = 15 * 60 * 1000;

/// The calls, slowest first.
#[derive(Clone, Debug, Default)]
pub(super) struct SlowCalls(Vec<SlowCall>);

impl SlowCalls {
    pub(super) fn of(calls: Vec<SlowCall>) -> Self {
        Self(calls)
    }

    pub(super) fn all(&self) -> &[SlowCall] {
        &self.0
    }

    pub(super) fn add(&mut self, calls: Vec<SlowCall>) {
        let Some(newest) = calls.iter().map(|call| call.ended_ms).max() else {
            return;
        };
        self.0.extend(calls);
        self.0
            .retain(|call| newest.saturating_sub(call.ended_ms) <= KEPT_FOR);
        self.0.sort_by_key(|call| Reverse(call.duration_ms));
        self.0.truncate(MOST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(ended_ms: u64, duration_ms: u64) -> SlowCall {
        SlowCall {
            what: String::new(),
            upstream: String::new(),
            duration_ms,
            ended_ms,
        }
    }

    #[test]
    fn the_slowest_ones_of_the_last_quarter_of_an_hour_are_kept() {
        let mut slow = SlowCalls::default();
        slow.add((0..20).map(|at| call(at, at)).collect());
        assert_eq!(slow.all().len(), MOST);
        assert_eq!(slow.all()[0].duration_ms, 19);
        slow.add(Vec::new());
        slow.add(vec![call(KEPT_FOR + 15, 1)]);
        let left: Vec<u64> = slow.all().iter().map(|call| call.duration_ms).collect();
        assert_eq!(left, [19, 18, 17, 16, 15, 1]);
    }
}
