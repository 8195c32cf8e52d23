//! Rates: GCRA by `governor`, with time as an argument. The state is bounded: over [`KEYS`] keys
//! those at rest are forgotten, and if all are busy, new ones share one state.

use crate::access::rules::Rate;
use crate::api::Micros;
use governor::clock::{Clock, FakeRelativeClock};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

/// Keys that are told apart.
pub const KEYS: usize = 10_000;
/// How often keys at rest are forgotten, at most.
const SWEEP: Micros = 1_000_000;

type Limiter =
    RateLimiter<Arc<str>, HashMapStateStore<Arc<str>>, FakeRelativeClock, NoOpMiddleware<Nanos>>;

/// One rate, for each of many keys.
#[derive(Default)]
pub struct Keyed {
    rate: Rate,
    limiter: Option<Limiter>,
    clock: FakeRelativeClock,
    now: Micros,
    swept: Micros,
}

impl Keyed {
    /// With that rate.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        let mut keyed = Self::default();
        keyed.set(rate);
        keyed
    }

    /// Puts a rate in force. The same one keeps what is remembered; another one begins anew.
    pub fn set(&mut self, rate: Rate) {
        if rate == self.rate {
            return;
        }
        self.rate = rate;
        self.limiter = NonZeroU32::new(rate.per_second).map(|per_second| {
            let quota = Quota::per_second(per_second)
                .allow_burst(NonZeroU32::new(rate.burst).unwrap_or(per_second));
            Limiter::hashmap_with_clock(quota, self.clock.clone())
        });
    }

    /// The rate in force.
    #[must_use]
    pub const fn rate(&self) -> Rate {
        self.rate
    }

    /// One more for a key, now.
    ///
    /// # Errors
    /// Too many: the time until there is room for one.
    pub fn check(&mut self, key: &Arc<str>, now: Micros) -> Result<(), Micros> {
        let Some(limiter) = &self.limiter else {
            return Ok(());
        };
        self.clock
            .advance(Duration::from_micros(now.saturating_sub(self.now)));
        self.now = self.now.max(now);
        if limiter.len() >= KEYS && now >= self.swept.saturating_add(SWEEP) {
            self.swept = now;
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
        let shared = Arc::from("");
        let key = if limiter.len() >= KEYS { &shared } else { key };
        let wait = |until: governor::NotUntil<Nanos>| until.wait_time_from(self.clock.now());
        limiter
            .check_key(key)
            .map_err(|until| u64::try_from(wait(until).as_micros()).unwrap_or(Micros::MAX))
    }

    /// Keys that are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.limiter.as_ref().map_or(0, Limiter::len)
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use proptest::prelude::*;

    fn key(text: &str) -> Arc<str> {
        text.into()
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let mut rate = Keyed::new(Rate {
            per_second: 10,
            burst: 3,
        });
        let now = 1_000_000_000;
        assert_eq!(
            (0..5)
                .filter(|_| rate.check(&key("a"), now).is_ok())
                .count(),
            3
        );
        assert!(
            rate.check(&key("b"), now).is_ok(),
            "others are not concerned"
        );
        let wait = rate.check(&key("a"), now).unwrap_err();
        assert!((90_000..=100_000).contains(&wait), "{wait}");
        assert!(rate.check(&key("a"), now + wait - 1000).is_err());
        assert!(rate.check(&key("a"), now + wait).is_ok());
        assert!(Keyed::default().check(&key("a"), now).is_ok());
        // The same rate again forgets nothing.
        rate.set(Rate {
            per_second: 10,
            burst: 3,
        });
        assert!(rate.check(&key("a"), now + wait).is_err());
    }

    #[test]
    fn keys_are_bounded() {
        let mut rate = Keyed::new(Rate {
            per_second: 1,
            burst: 1,
        });
        for n in 0..3 * KEYS {
            let _ = rate.check(&key(&n.to_string()), 5);
        }
        assert!(rate.len() <= KEYS + 1, "{}", rate.len());
        assert!(
            rate.check(&key("new"), 5).is_err(),
            "those over the bound share one"
        );
        assert!(rate.check(&key("newer"), 10_000_000).is_ok());
        assert!(rate.len() <= 2, "those at rest are forgotten");
    }

    proptest! {
        #[test]
        fn never_more_than_burst_and_rate(steps in proptest::collection::vec(0u64..300_000, 1..200), per_second in 1u32..50, burst in 1u32..20) {
            let mut rate = Keyed::new(Rate { per_second, burst });
            let (mut now, mut passed, began) = (7u64, 0u64, 7u64);
            for step in steps {
                now += step;
                passed += u64::from(rate.check(&key("k"), now).is_ok());
                let most = u64::from(burst) + (now - began) * u64::from(per_second) / 1_000_000 + 1;
                prop_assert!(passed <= most, "{} of {}", passed, most);
            }
        }
    }
}
