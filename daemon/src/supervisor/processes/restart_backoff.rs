//! When a process that died is started again. Pure: the time (since the supervisor's start) and the
//! jitter are arguments.

use std::{collections::VecDeque, time::Duration};

/// A life of so long after Ready counts as healthy.
pub(crate) const HEALTHY: Duration = Duration::from_secs(10);
/// The first delay.
const FIRST: Duration = Duration::from_millis(100);
/// The longest delay, before jitter.
const LONGEST: Duration = Duration::from_secs(30);
/// Jitter, as a share of the delay to either side.
const JITTER: f64 = 0.2;
/// So many quick deaths …
const MANY: usize = 5;
/// … within so long make it unwell.
const WINDOW: Duration = Duration::from_secs(60);
/// EX_CONFIG of `sysexits.h`: starting it again will not help.
pub(crate) const EX_CONFIG: i32 = 78;

/// What happens after a death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Start again at once.
    Now,
    /// Start again after so long.
    After(Duration),
    /// Do not start again until the configuration is read again.
    AtReload,
}

/// The record of one process's lives.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Life {
    /// Quick deaths in a row.
    quick: u32,
    /// Those of them that were followed by a delay.
    delayed: u32,
    ready_at: Option<Duration>,
    deaths: VecDeque<Duration>,
    unwell: bool,
}

impl Life {
    /// It was started.
    pub(crate) fn started(&mut self) {
        self.ready_at = None;
    }

    /// It serves.
    pub(crate) fn ready(&mut self, now: Duration) {
        self.ready_at.get_or_insert(now);
    }

    /// It died. `jitter` is in -1..=1.
    pub(crate) fn died(&mut self, now: Duration, status: Option<i32>, jitter: f64) -> Next {
        let ready_at = self.ready_at.take();
        if status == Some(EX_CONFIG) {
            return Next::AtReload;
        }
        if ready_at.is_some_and(|at| now.saturating_sub(at) >= HEALTHY) {
            *self = Self::default();
            return Next::Now;
        }
        self.quick = self.quick.saturating_add(1);
        self.deaths.push_back(now);
        while self
            .deaths
            .front()
            .is_some_and(|death| now.saturating_sub(*death) > WINDOW)
            || self.deaths.len() > MANY
        {
            self.deaths.pop_front();
        }
        self.unwell |= self.deaths.len() >= MANY;
        // One death of a worker that served is an accident; successors of accidents are wanted
        // within milliseconds.
        if ready_at.is_some() && self.quick == 1 {
            return Next::Now;
        }
        let delay = FIRST.saturating_mul(1 << self.delayed.min(16)).min(LONGEST);
        self.delayed = self.delayed.saturating_add(1);
        Next::After(delay.mul_f64(1.0 + JITTER * jitter.clamp(-1.0, 1.0)))
    }

    /// Whether it has died so often of late that this has to be said; over once it has been
    /// healthy.
    pub(crate) fn is_unwell(&self, now: Duration) -> bool {
        self.unwell && !self.is_healthy(now)
    }

    /// Whether this life has been a healthy one so far.
    pub(crate) fn is_healthy(&self, now: Duration) -> bool {
        self.ready_at
            .is_some_and(|at| now.saturating_sub(at) >= HEALTHY)
    }

    /// How many lives in a row failed, so that the next start had to wait.
    pub(crate) const fn failures(&self) -> u32 {
        self.delayed
    }

    /// Quick deaths in a row.
    pub(crate) const fn quick(&self) -> u32 {
        self.quick
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_first_death_of_one_that_served_is_answered_at_once_and_the_next_with_delay() {
        let mut life = Life::default();
        life.started();
        life.ready(s(1));
        assert_eq!(life.died(s(2), None, 0.0), Next::Now);
        life.started();
        life.ready(s(2));
        assert_eq!(
            life.died(s(3), None, 0.0),
            Next::After(Duration::from_millis(100))
        );
        assert_eq!(
            life.died(s(4), None, 0.0),
            Next::After(Duration::from_millis(200))
        );
    }

    #[test]
    fn one_that_never_served_waits_from_the_first_death_on_and_is_unwell_after_five() {
        let mut life = Life::default();
        for (index, ms) in [100, 200, 400, 800, 1600].into_iter().enumerate() {
            assert!(!life.is_unwell(s(1)), "after {index} deaths");
            assert_eq!(
                life.died(s(1), Some(1), 0.0),
                Next::After(Duration::from_millis(ms))
            );
        }
        assert!(life.is_unwell(s(1)));
        life.started();
        life.ready(s(2));
        assert!(life.is_unwell(s(11)));
        assert!(!life.is_unwell(s(12)));
        assert_eq!(life.died(s(12), Some(1), 0.0), Next::Now);
        assert!(!life.is_unwell(s(12)));
    }

    #[test]
    fn a_wrong_configuration_is_not_tried_again() {
        assert_eq!(
            Life::default().died(s(1), Some(EX_CONFIG), 0.0),
            Next::AtReload
        );
    }

    proptest! {
        #[test]
        fn delays_never_shrink_before_a_healthy_life_and_never_exceed_the_cap(
            lives in prop::collection::vec((0u64..9_999, any::<bool>()), 1..60),
        ) {
            let mut life = Life::default();
            let (mut now, mut last) = (Duration::ZERO, Duration::ZERO);
            for (lived_ms, served) in lives {
                life.started();
                if served {
                    life.ready(now);
                }
                now += Duration::from_millis(lived_ms);
                match life.died(now, Some(1), 0.0) {
                    Next::Now => prop_assert!(served && life.quick() == 1),
                    Next::After(delay) => {
                        prop_assert!(delay >= last && delay >= FIRST && delay <= LONGEST);
                        last = delay;
                        now += delay;
                    }
                    Next::AtReload => prop_assert!(false),
                }
            }
        }

        #[test]
        fn a_healthy_life_forgives_everything(deaths in 0u32..40, jitter in -1.0f64..1.0) {
            let mut life = Life::default();
            let mut now = Duration::ZERO;
            for _ in 0..deaths {
                if let Next::After(delay) = life.died(now, None, jitter) {
                    prop_assert!(delay <= LONGEST.mul_f64(1.0 + JITTER));
                    now += delay;
                }
            }
            life.started();
            life.ready(now);
            prop_assert_eq!(life.died(now + HEALTHY, None, jitter), Next::Now);
            prop_assert_eq!(life.quick(), 0);
            life.started();
            life.ready(now);
            prop_assert_eq!(life.died(now + Duration::from_millis(1), None, jitter), Next::Now);
        }
    }
}
