//! Whose turn it is to start. Pure: it is told how every server stands, and names the next one.
//!
//! A server holds a slot from its start until it is ready or has failed, for [`LONGEST`] at most.
//! One that takes longer than [`PROMPT`] rather waits (for a download, for ever) than works: others
//! start beside it, up to [`MORE`]. Servers whose last life failed use only slots that nobody else waits for, and what they hold does
//! not count against the others: they delay nobody.

use std::time::Duration;

/// A start-up that takes longer gives its slot back. The server goes on starting.
pub(super) const LONGEST: Duration = Duration::from_secs(60);

/// A start-up that takes longer leaves room for others beside it.
pub(in crate::supervisor::upstreams) const PROMPT: Duration = Duration::from_secs(5);
/// How many more may start at once then.
const MORE: usize = 8;

/// In which order servers start; among equals, the order of the configuration counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::supervisor::upstreams) enum Turn {
    /// It held a slot a moment ago and is to start again at once.
    AtOnce,
    /// It has not been started yet.
    First,
    /// It served, or somebody asks for it.
    Again,
    /// Its last life failed. So many did in a row.
    Retry(u32),
}

impl Turn {
    const fn is_retry(self) -> bool {
        matches!(self, Self::Retry(_))
    }
}

/// What a server has to do with slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::supervisor::upstreams) enum Standing {
    /// It waits for a slot.
    Waits(Turn),
    /// It holds one; `slow`: for longer than [`PROMPT`].
    Holds { turn: Turn, slow: bool },
    /// Neither.
    Apart,
}

/// The place of the server that may start now. `slots`: how many may start at once.
pub(super) fn next(servers: impl Iterator<Item = Standing>, slots: usize) -> Option<usize> {
    let (mut held, mut by_retries) = (Held::default(), Held::default());
    let mut first: Option<(Turn, usize)> = None;
    for (at, standing) in servers.enumerate() {
        match standing {
            Standing::Waits(turn) if first.is_none_or(|(best, _)| turn < best) => {
                first = Some((turn, at));
            }
            Standing::Holds { turn, slow } if turn.is_retry() => by_retries.add(slow),
            Standing::Holds { slow, .. } => held.add(slow),
            Standing::Waits(_) | Standing::Apart => {}
        }
    }
    let (turn, at) = first?;
    if turn.is_retry() {
        held.all += by_retries.all;
        held.prompt += by_retries.prompt;
    }
    (held.prompt < slots && held.all < slots + MORE).then_some(at)
}

/// Slots that are held.
#[derive(Default)]
struct Held {
    all: usize,
    /// By servers that are not slow.
    prompt: usize,
}

impl Held {
    fn add(&mut self, slow: bool) {
        self.all += 1;
        self.prompt += usize::from(!slow);
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a handful of servers"
    )]

    use super::*;
    use crate::supervisor::processes::restart_backoff::{Life, Next};

    /// The time for a server's start.
    const STARTUP: Duration = Duration::from_secs(120);
    const STEP: Duration = Duration::from_millis(100);

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Kind {
        /// Needs so many seconds of a processor to be ready.
        Serves(f64),
        /// Exits after so many seconds of a processor.
        Crashes(f64),
        /// Never says anything.
        Hangs,
    }

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Phase {
        Queued,
        Starts { since: Duration, left: f64 },
        Ready,
        Backoff(Duration),
    }

    struct Server {
        kind: Kind,
        life: Life,
        starts: u32,
        phase: Phase,
        ready_at: Option<Duration>,
        killed: u32,
    }

    /// A host with its servers.
    struct Host {
        servers: Vec<Server>,
        slots: usize,
        cores: f64,
        now: Duration,
    }

    impl Host {
        fn new(slots: usize, kinds: impl IntoIterator<Item = Kind>) -> Self {
            let server = |kind| Server {
                kind,
                life: Life::default(),
                starts: 0,
                phase: Phase::Queued,
                ready_at: None,
                killed: 0,
            };
            Self {
                servers: kinds.into_iter().map(server).collect(),
                slots,
                cores: 2.0,
                now: Duration::ZERO,
            }
        }

        fn standing(server: &Server, now: Duration) -> Standing {
            let turn = match server.life.failures() {
                0 if server.starts == 0 => Turn::First,
                0 => Turn::Again,
                failures => Turn::Retry(failures),
            };
            match server.phase {
                Phase::Queued => Standing::Waits(turn),
                Phase::Starts { since, .. } if now < since + LONGEST => Standing::Holds {
                    turn,
                    slow: now >= since + PROMPT,
                },
                _ => Standing::Apart,
            }
        }

        fn step(&mut self) {
            let now = self.now;
            for server in &mut self.servers {
                if matches!(server.phase, Phase::Backoff(until) if until <= now) {
                    server.phase = Phase::Queued;
                }
            }
            while let Some(at) = next(
                self.servers.iter().map(|one| Self::standing(one, now)),
                self.slots,
            ) {
                let server = &mut self.servers[at];
                server.life.started();
                server.starts += 1;
                let left = match server.kind {
                    Kind::Serves(work) | Kind::Crashes(work) => work,
                    Kind::Hangs => f64::INFINITY,
                };
                server.phase = Phase::Starts { since: now, left };
            }
            let works =
                |one: &Server| one.kind != Kind::Hangs && matches!(one.phase, Phase::Starts { .. });
            let working = self.servers.iter().filter(|one| works(one)).count();
            let share = (self.cores / working.max(1) as f64).min(1.0) * STEP.as_secs_f64();
            self.now += STEP;
            for server in &mut self.servers {
                let Phase::Starts { since, left } = server.phase else {
                    continue;
                };
                let left = left - share;
                let is_late = self.now >= since + STARTUP;
                server.phase = match server.kind {
                    Kind::Serves(_) if left <= 0.0 => {
                        server.life.ready(self.now);
                        server.ready_at.get_or_insert(self.now);
                        Phase::Ready
                    }
                    _ if left <= 0.0 || is_late => {
                        server.killed += u32::from(is_late);
                        match server.life.died(self.now, Some(1), 0.0) {
                            Next::After(wait) => Phase::Backoff(self.now + wait),
                            _ => Phase::Queued,
                        }
                    }
                    _ => Phase::Starts { since, left },
                };
            }
        }

        /// Until all servers that can serve do; when the last one did, in seconds.
        fn until_ready(&mut self, within: u64) -> u64 {
            let serves = |one: &&Server| matches!(one.kind, Kind::Serves(_));
            while self
                .servers
                .iter()
                .filter(serves)
                .any(|one| one.ready_at.is_none())
            {
                assert!(self.now.as_secs() < within, "not ready after {within} s");
                self.step();
            }
            self.now.as_secs()
        }

        fn killed(&self) -> u32 {
            self.servers.iter().map(|one| one.killed).sum()
        }
    }

    #[test]
    fn a_hundred_heavy_servers_converge() {
        for slots in [1, 2, 4, 16] {
            let mut host = Host::new(slots, [Kind::Serves(5.0); 100]);
            let took = host.until_ready(600);
            assert!(took <= 260 || slots == 1, "{slots} slots: {took} s");
            assert_eq!(host.killed(), 0, "{slots} slots");
        }
    }

    #[test]
    fn servers_that_crash_do_not_starve_those_below_them() {
        for slots in [1, 2, 4] {
            let crashing = [Kind::Crashes(2.0); 12];
            let mut host = Host::new(slots, crashing.into_iter().chain([Kind::Serves(2.0); 6]));
            let took = host.until_ready(120);
            // Each of them is tried once, as nobody knows yet which ones crash.
            let once = 18.0 * 2.0 / (slots as f64).min(2.0);
            assert!((took as f64) < once + 4.0, "{slots} slots: {took} s");
        }
    }

    #[test]
    fn servers_that_hang_delay_those_below_them_for_seconds() {
        let mut host = Host::new(1, [Kind::Hangs, Kind::Hangs, Kind::Serves(1.0)]);
        assert!((10..13).contains(&host.until_ready(200)));
        // With more of them than may start at once, for a minute.
        let kinds = [Kind::Hangs; 10].into_iter().chain([Kind::Serves(1.0)]);
        let mut host = Host::new(1, kinds);
        assert!(host.until_ready(200) < 90);
        // A server that had served is not delayed by them again.
        while host.now < Duration::from_secs(400) {
            host.step();
        }
        let server = &mut host.servers[10];
        assert_eq!(server.life.died(host.now, Some(1), 0.0), Next::Now);
        (server.phase, server.ready_at) = (Phase::Queued, None);
        let before = host.now.as_secs();
        assert!(host.until_ready(500) - before <= 2);
    }

    #[test]
    fn who_crashed_least_is_tried_first_and_only_when_nobody_else_waits() {
        let waits = |turn| Standing::Waits(turn);
        let holds = |turn| Standing::Holds { turn, slow: false };
        let slow = |turn| Standing::Holds { turn, slow: true };
        let (again, retry) = (Turn::Again, Turn::Retry(1));
        let mut many = vec![slow(again); 1 + MORE];
        many.push(waits(again));
        let cases: [(&[Standing], usize, Option<usize>); 12] = [
            (&[], 1, None),
            (&[waits(Turn::Retry(3)), waits(retry)], 1, Some(1)),
            (
                &[waits(retry), waits(again), waits(Turn::First)],
                1,
                Some(2),
            ),
            (&[waits(Turn::First), waits(Turn::AtOnce)], 1, Some(1)),
            (&[holds(retry), waits(again)], 1, Some(1)),
            (&[holds(retry), waits(retry)], 1, None),
            (&[holds(retry), waits(retry)], 2, Some(1)),
            (&[holds(again), waits(Turn::First), waits(retry)], 1, None),
            (&[Standing::Apart, waits(retry)], 1, Some(1)),
            (&[slow(again), waits(again)], 1, Some(1)),
            (&[slow(again), slow(retry), waits(retry)], 1, Some(2)),
            (&many, 1, None),
        ];
        for (servers, slots, expected) in cases {
            assert_eq!(
                next(servers.iter().copied(), slots),
                expected,
                "{servers:?}"
            );
        }
    }
}
