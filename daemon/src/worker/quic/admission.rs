//! Limits new handshakes: those under way, connections, and attempts of each address. Asked only
//! about clients that have not proved their address; one that returns with the token of a Retry is
//! admitted. Pure but for reading a counter.

use s2n_quic::provider::endpoint_limits::{ConnectionAttempt, Limiter, Outcome};
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// From so many handshakes under way on, clients have to prove their address first (RFC 9000
/// §8.1.2).
const RETRY_FROM: usize = 128;
/// More handshakes than this are not begun.
const MAX_HANDSHAKES: usize = 1024;
/// Attempts of one address that go through at once, and how many it gets back a second. Then it has
/// to prove that the address is its own.
const BURST: u32 = 512;
const PER_SECOND: u32 = 128;
/// Addresses that are remembered.
const ADDRESSES: usize = 4096;

/// What happens to an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Allow,
    /// Prove your address and come back.
    Prove,
    /// No answer.
    Drop,
    /// CONNECTION_REFUSED at once.
    Refuse,
}

/// What the worker and its admission share.
#[derive(Debug, Default)]
pub(super) struct Bounds {
    /// Open connections, at most.
    pub(super) connections: AtomicUsize,
    /// Nobody new is let in.
    pub(super) closed: AtomicBool,
}

/// The admission.
#[derive(Debug)]
pub(super) struct Admission {
    bounds: Arc<Bounds>,
    began: Instant,
    buckets: HashMap<IpAddr, Bucket>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: u32,
    since: Duration,
}

impl Bucket {
    const FULL: u32 = BURST;

    fn fill(&mut self, now: Duration) {
        let gained = (now.saturating_sub(self.since).as_millis() * u128::from(PER_SECOND)) / 1000;
        if gained > 0 {
            self.left = self
                .left
                .saturating_add(u32::try_from(gained).unwrap_or(u32::MAX))
                .min(Self::FULL);
            self.since = now;
        }
    }
}

impl Admission {
    /// Open.
    pub(super) fn new(bounds: Arc<Bounds>) -> Self {
        Self {
            bounds,
            began: Instant::now(),
            buckets: HashMap::new(),
        }
    }

    fn judge(
        &mut self,
        from: IpAddr,
        handshakes: usize,
        connections: usize,
        now: Duration,
    ) -> Verdict {
        if self.bounds.closed.load(Relaxed) || connections >= self.bounds.connections.load(Relaxed)
        {
            return Verdict::Refuse;
        }
        if handshakes >= MAX_HANDSHAKES {
            return Verdict::Drop;
        }
        if !self.take(network(from), now) || handshakes >= RETRY_FROM {
            return Verdict::Prove;
        }
        Verdict::Allow
    }

    /// Takes one attempt out of an address's bucket; `false`: it is empty, or there are too many
    /// addresses to remember this one too.
    fn take(&mut self, from: IpAddr, now: Duration) -> bool {
        if self.buckets.len() >= ADDRESSES && !self.buckets.contains_key(&from) {
            self.buckets.retain(|_, bucket| {
                bucket.fill(now);
                bucket.left < Bucket::FULL
            });
            if self.buckets.len() >= ADDRESSES {
                return false;
            }
        }
        let bucket = self.buckets.entry(from).or_insert(Bucket {
            left: Bucket::FULL,
            since: now,
        });
        bucket.fill(now);
        let may = bucket.left > 0;
        bucket.left = bucket.left.saturating_sub(1);
        may
    }
}

/// Whoever has an IPv6 address has 2⁶⁴ of them.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) & !u128::from(u64::MAX)).into()),
        v4 => v4,
    }
}

impl Limiter for Admission {
    fn on_connection_attempt(&mut self, attempt: &ConnectionAttempt<'_>) -> Outcome {
        let now = self.began.elapsed();
        let address = std::net::SocketAddr::from(attempt.remote_address.clone()).ip();
        match self.judge(
            address,
            attempt.inflight_handshakes,
            attempt.connection_count,
            now,
        ) {
            Verdict::Allow => Outcome::allow(),
            Verdict::Prove => Outcome::retry(),
            Verdict::Drop => Outcome::drop(),
            Verdict::Refuse => Outcome::close(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission() -> Admission {
        Admission::new(Arc::new(Bounds {
            connections: 100_000.into(),
            closed: false.into(),
        }))
    }

    #[test]
    fn an_address_that_asks_too_often_has_to_prove_itself_and_others_have_not() {
        let (mut admission, now) = (admission(), Duration::from_secs(1));
        let (one, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        for _ in 0..BURST {
            assert_eq!(admission.judge(one, 0, 0, now), Verdict::Allow);
        }
        assert_eq!(admission.judge(one, 0, 0, now), Verdict::Prove);
        assert_eq!(admission.judge(other, 0, 0, now), Verdict::Allow);
        assert_eq!(
            admission.judge(one, 0, 0, now + Duration::from_millis(100)),
            Verdict::Allow
        );
        // A whole /64 is one client.
        let v6 = |last: u16| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last]);
        assert!((0..BURST).all(|last| admission.judge(
            v6(u16::try_from(last).unwrap_or(0)),
            0,
            0,
            now
        ) == Verdict::Allow));
        assert_eq!(admission.judge(v6(9), 0, 0, now), Verdict::Prove);
    }

    #[test]
    fn load_and_limits_refuse_connections_in_steps() {
        let (mut admission, now, from) = (
            admission(),
            Duration::from_secs(1),
            IpAddr::from([10, 0, 0, 1]),
        );
        assert_eq!(admission.judge(from, RETRY_FROM, 0, now), Verdict::Prove);
        assert_eq!(admission.judge(from, MAX_HANDSHAKES, 0, now), Verdict::Drop);
        assert_eq!(admission.judge(from, 0, 100_000, now), Verdict::Refuse);
        admission.bounds.closed.store(true, Relaxed);
        assert_eq!(admission.judge(from, 0, 0, now), Verdict::Refuse);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut admission, now) = (admission(), Duration::from_secs(1));
        for number in 0..u32::try_from(ADDRESSES * 3).unwrap_or(0) {
            admission.judge(IpAddr::from(number.to_be_bytes()), 0, 0, now);
        }
        assert_eq!(admission.buckets.len(), ADDRESSES);
        assert_eq!(
            admission.judge(IpAddr::from([200, 0, 0, 1]), 0, 0, now),
            Verdict::Prove
        );
        assert_eq!(
            admission.judge(
                IpAddr::from([200, 0, 0, 1]),
                0,
                0,
                now + Duration::from_secs(60)
            ),
            Verdict::Allow
        );
    }
}
