//! For how long a worker has sent no beat, and when that means that it hangs. Time is an argument,
//! and so is how long the worker has waited for a processor. May not: look at a process, send a
//! signal.

use std::time::Duration;

/// A worker hangs when no beat comes for so long: three missed beats, and a little for the way.
const LIMIT: Duration = Duration::from_millis(3250);
/// Before its first beat, a worker has so long to be loaded.
const LOADING: Duration = Duration::from_secs(10);
/// Time that a worker waits for a processor is no sign that it hangs: everything is slow on a busy
/// machine, and a new worker would be no faster. After so long, it is replaced all the same.
const LONGEST: Duration = Duration::from_secs(30);

/// The silence of one worker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Silence {
    since: Duration,
    loading: bool,
    /// How long the process had waited for a processor when the silence began; `None`: unknown.
    waited_before: Option<Duration>,
    /// How long it has waited since, as far as that is known.
    waited: Duration,
}

impl Silence {
    /// Of a process that has just been started.
    pub(crate) const fn of_new(now: Duration) -> Self {
        Self {
            since: now,
            loading: true,
            waited_before: Some(Duration::ZERO),
            waited: Duration::ZERO,
        }
    }

    /// Of a process that was heard just now, and has waited for so long in its life.
    pub(crate) const fn begin(now: Duration, waited: Option<Duration>) -> Self {
        Self {
            since: now,
            loading: false,
            waited_before: waited,
            waited: Duration::ZERO,
        }
    }

    /// When it was heard last; before the first beat, when it was started.
    pub(crate) const fn since(&self) -> Duration {
        self.since
    }

    /// Nothing could be heard for so long.
    pub(crate) fn excuse(&mut self, late: Duration) {
        self.since += late;
    }

    /// When the silence means that the worker hangs, as far as is known now.
    pub(crate) fn ends(&self) -> Duration {
        let limit = if self.loading { LOADING } else { LIMIT };
        self.since + (limit + self.waited).min(LONGEST)
    }

    /// The process has waited for so long in its life. Returns whether the worker hangs.
    pub(crate) fn judge(&mut self, now: Duration, waited: Option<Duration>) -> bool {
        if let (Some(before), Some(waited)) = (self.waited_before, waited) {
            self.waited = waited.saturating_sub(before);
        }
        self.ends() <= now
    }
}

#[cfg(test)]
mod tests {
    use super::Silence;
    use std::time::Duration;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_worker_that_could_run_hangs_after_three_beats() {
        // Blocked, stopped or spinning: it has waited for a processor for 40 ms.
        let mut silence = Silence::begin(ms(1000), Some(ms(500)));
        assert_eq!(silence.ends(), ms(4250));
        assert!(!silence.judge(ms(4249), Some(ms(540))));
        assert!(silence.judge(ms(4290), Some(ms(540))));
    }

    #[test]
    fn time_without_a_processor_does_not_count() {
        let mut silence = Silence::begin(ms(1000), Some(ms(500)));
        assert!(!silence.judge(ms(4250), Some(ms(500 + 3000))));
        assert_eq!(silence.ends(), ms(7250));
        assert!(!silence.judge(ms(7250), Some(ms(500 + 5000))));
        assert!(silence.judge(ms(9250), Some(ms(500 + 5000))));
    }

    #[test]
    fn without_a_processor_it_is_replaced_in_the_end() {
        let mut silence = Silence::begin(ms(0), Some(ms(0)));
        for second in 1..30 {
            assert!(!silence.judge(ms(second * 1000), Some(ms(second * 1000))));
        }
        assert!(silence.judge(ms(30_000), Some(ms(30_000))));
    }

    #[test]
    fn where_the_system_does_not_tell_all_time_counts() {
        for (before, waited) in [(None, Some(ms(9000))), (Some(ms(0)), None), (None, None)] {
            assert!(Silence::begin(ms(0), before).judge(ms(3250), waited));
        }
    }

    #[test]
    fn a_new_process_has_longer() {
        let mut silence = Silence::of_new(ms(0));
        assert!(!silence.judge(ms(9999), Some(ms(0))));
        assert!(silence.judge(ms(10_000), Some(ms(0))));
        silence.excuse(ms(2000));
        assert_eq!(silence.ends(), ms(12_000));
    }
}
