#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use super::*;
use crate::{
    config::Loaded,
    ipc::messages::UpstreamReport,
    supervisor::{channels::Channels, event::Owner, testing::loaded},
};
use ggen_wire::{log::LogLine, status::UpstreamState};
use tokio::sync::mpsc;

/// The gateway worker.
const GATEWAY: ProcId = ProcId(7);
/// The shims' process id: nobody has it.
const NOBODY: u32 = 0x7fff_ffff;

struct Nowhere;

impl Sink for Nowhere {
    fn take(&self, _: LogLine) {}
}

/// The room with what it has to know of others.
struct Bench {
    upstreams: Upstreams,
    loaded: Loaded,
    now: Duration,
    gateway_drains: bool,
    stopping: bool,
    channels: Channels,
}

impl Bench {
    fn new(text: &str) -> Self {
        let mut bench = Self {
            upstreams: Upstreams {
                all: Vec::new(),
                draining: Vec::new(),
                leases: Leases::default(),
                shims: Shims::for_test(Arc::new(Nowhere), |_| Ok(NOBODY)),
            },
            loaded: loaded(text),
            now: Duration::from_secs(100),
            gateway_drains: false,
            stopping: false,
            channels: Channels::new(mpsc::channel(64).0),
        };
        assert!(bench.tell(Upstreams::lay_out).is_empty());
        bench
    }

    /// Tells the room something, and returns what it wants, as words.
    fn tell(
        &mut self,
        input: impl FnOnce(&mut Upstreams, &mut Context<'_>) -> Vec<Effect>,
    ) -> Vec<String> {
        let channels = &mut self.channels;
        let mut context = Context {
            now: self.now,
            jitter: || 0.0,
            loaded: &self.loaded,
            gateway: Some(GATEWAY),
            gateway_drains: self.gateway_drains,
            stopping: self.stopping,
            reader: &mut |shim| channels.reader(Owner::Shim(shim)),
        };
        let effects = input(&mut self.upstreams, &mut context);
        effects.into_iter().map(words).collect()
    }

    fn reload(&mut self, text: &str) -> Vec<String> {
        self.loaded = loaded(text);
        self.tell(Upstreams::lay_out)
    }

    fn want(&mut self, name: &str) -> Vec<String> {
        self.tell(|upstreams, context| upstreams.want(name, context))
    }

    fn lease(&mut self, owner: ProcId, lease: u32) -> Vec<String> {
        self.tell(|upstreams, context| upstreams.lease(owner, "a", LeaseId(lease), context))
    }

    /// The server of a shim runs.
    fn runs(&mut self, shim: ShimId) -> Vec<String> {
        let started = FromShim::Started { pid: NOBODY };
        self.tell(|upstreams, context| upstreams.shim_says(shim, started, context))
    }

    fn report(&mut self, name: &str, state: UpstreamState) -> Vec<String> {
        let incarnation = self.upstreams.get(name).unwrap().incarnation;
        let report = UpstreamReport {
            upstream: name.to_owned(),
            incarnation,
            state,
            era: None,
            protocol: None,
            server: None,
            tools: 3,
            prompts: 0,
            resources: 0,
            code: None,
            detail: None,
            handoff: None,
        };
        self.tell(|upstreams, context| upstreams.report(report, context))
    }

    /// The server of a shim exits with a status, and the shim with it.
    fn exits(&mut self, shim: ShimId, status: i32) -> Vec<String> {
        let exited = FromShim::Exited {
            reason: format!("exit status {status}"),
            status: Some(status),
            swept: 0,
        };
        let said = self.tell(|upstreams, context| upstreams.shim_says(shim, exited, context));
        assert!(said.is_empty());
        self.closes(shim)
    }

    fn closes(&mut self, shim: ShimId) -> Vec<String> {
        self.tell(|upstreams, context| upstreams.shim_closed(shim, "last words", context))
    }

    fn state(&self, name: &str) -> UpstreamState {
        self.upstreams.get(name).unwrap().state(self.now)
    }
}

fn words(effect: Effect) -> String {
    match effect {
        Effect::Tell(worker, ToWorker::Child(child), pipes) => {
            // Of the shared child, the note of torn messages comes along.
            assert_eq!(pipes.len(), if child.lease == 0 { 3 } else { 2 });
            format!("child {}.{} to {worker}", child.upstream, child.lease)
        }
        Effect::Tell(worker, ToWorker::ChildGone(gone), _) => {
            let wait = gone
                .next_start_ms
                .map_or("never".to_owned(), |ms| ms.to_string());
            format!("gone {}.{} to {worker}: {wait}", gone.upstream, gone.lease)
        }
        Effect::Tell(_, other, _) => panic!("{other:?}"),
        Effect::Spawned(shim, _) => format!("spawned {shim}"),
        Effect::KillShim(_) => "kill".to_owned(),
        Effect::FindLeftovers => "leftovers".to_owned(),
        Effect::Exited(name, _) => format!("exited {name}"),
        Effect::CpuOfSharedChild(name, _) | Effect::CpuOfLeasedChild(name, _) => {
            format!("cpu {name}")
        }
        Effect::Changed => "changed".to_owned(),
    }
}

const TWO: &str =
    r#"{"mcpServers":{"a":{"command":"a"},"b":{"command":"b"}},"server":{"start_concurrency":1}}"#;
const ONE: &str = r#"{"mcpServers":{"a":{"command":"a"}},"server":{"connection_pool":1}}"#;
const OTHER: &str = r#"{"mcpServers":{"a":{"command":"other"}},"server":{"connection_pool":1}}"#;
const NONE: &str = r#"{"mcpServers":{}}"#;

#[tokio::test]
async fn servers_start_in_turn_and_their_pipes_go_to_the_gateway_once_they_run() {
    let mut bench = Bench::new(TWO);
    assert_eq!(bench.want("a"), ["spawned 1"]);
    assert!(bench.want("b").is_empty(), "one starts at a time");
    assert_eq!(bench.runs(ShimId(1)), ["child a.0 to 7"]);
    assert!(bench.want("a").is_empty(), "it has the pipes");
    assert_eq!(
        bench.report("a", UpstreamState::Ready),
        ["spawned 2", "changed"]
    );
    assert_eq!(bench.state("a"), UpstreamState::Ready);
    // A start-up that takes too long makes room, and two readers never share a pipe.
    bench.gateway_drains = true;
    assert!(bench.runs(ShimId(2)).is_empty());
    bench.gateway_drains = false;
    assert_eq!(bench.tell(Upstreams::deliver), ["child b.0 to 7"]);
    bench.upstreams.gateway_replaced();
    assert_eq!(bench.want("b"), ["child b.0 to 7"]);
}

#[tokio::test]
async fn a_server_that_dies_is_started_again_later_each_time() {
    let mut bench = Bench::new(ONE);
    bench.want("a");
    assert_eq!(
        bench.exits(ShimId(1), 1),
        ["exited a", "gone a.0 to 7: 100", "changed"]
    );
    assert_eq!(bench.state("a"), UpstreamState::Degraded);
    let upstream = bench.upstreams.get("a").unwrap();
    assert_eq!(
        upstream.last_exit.as_deref(),
        Some("exit status 1: last words")
    );
    assert!(bench.tell(Upstreams::on_time).is_empty());
    assert_eq!(
        bench.upstreams.deadline(),
        Some(bench.now + Duration::from_millis(100))
    );
    bench.now += Duration::from_millis(100);
    assert_eq!(bench.tell(Upstreams::on_time), ["spawned 2"]);
    assert_eq!(
        bench.exits(ShimId(2), 1),
        ["exited a", "gone a.0 to 7: 200", "changed"]
    );
    // A configuration error is not tried again before a reload.
    bench.now += Duration::from_millis(200);
    assert_eq!(bench.tell(Upstreams::on_time), ["spawned 3"]);
    assert_eq!(
        bench.exits(ShimId(3), 78),
        ["exited a", "gone a.0 to 7: never", "changed"]
    );
    assert_eq!(bench.state("a"), UpstreamState::Stopped);
    assert_eq!(bench.tell(Upstreams::revive), ["spawned 4"]);
}

#[tokio::test]
async fn what_a_killed_shim_left_is_looked_for_after_everything_else() {
    let mut bench = Bench::new(TWO);
    bench.want("a");
    bench.want("b");
    let effects = bench.closes(ShimId(1));
    assert_eq!(
        effects,
        [
            "kill",
            "exited a",
            "gone a.0 to 7: 100",
            "spawned 2",
            "changed",
            "leftovers"
        ]
    );
}

#[tokio::test]
async fn a_changed_entry_restarts_its_server_when_its_calls_are_over() {
    let mut bench = Bench::new(ONE);
    bench.want("a");
    bench.runs(ShimId(1));
    bench.report("a", UpstreamState::Ready);
    assert!(bench.reload(OTHER).is_empty());
    assert_eq!(bench.upstreams.draining_names(), ["a"]);
    assert_eq!(bench.upstreams.outcome_of("a", bench.now), None);
    assert!(
        bench
            .tell(|upstreams, context| upstreams.released("a", context))
            .is_empty()
    );
    assert_eq!(
        bench.exits(ShimId(1), 0),
        ["exited a", "gone a.0 to 7: 0", "changed"]
    );
    assert_eq!(bench.tell(Upstreams::on_time), ["spawned 2"]);
    // One that is not configured any more ends when the drain's time is up.
    bench.runs(ShimId(2));
    assert!(bench.reload(NONE).is_empty());
    assert_eq!(bench.upstreams.draining_names(), ["a"]);
    bench.now = bench.upstreams.deadline().unwrap();
    assert!(bench.tell(Upstreams::on_time).is_empty());
    assert!(bench.upstreams.draining_names().is_empty());
    assert_eq!(bench.exits(ShimId(2), 0), ["changed"]);
    assert_eq!(bench.upstreams.running(), 0);
}

#[tokio::test]
async fn leased_children_are_bounded_and_end_with_their_owner() {
    let mut bench = Bench::new(ONE);
    assert_eq!(bench.lease(GATEWAY, 1), ["spawned 1"]);
    assert!(bench.lease(GATEWAY, 2).is_empty(), "the pool is full");
    assert_eq!(bench.runs(ShimId(1)), ["child a.1 to 7"]);
    assert_eq!(bench.upstreams.leased_of("a").0, 1);
    // The one that ended makes room for the one that waits.
    assert_eq!(
        bench.exits(ShimId(1), 1),
        ["cpu a", "exited a", "gone a.1 to 7: never", "spawned 2"]
    );
    bench.runs(ShimId(2));
    assert!(
        bench
            .tell(|upstreams, context| upstreams.owner_gone(GATEWAY, context))
            .is_empty()
    );
    assert_eq!(bench.exits(ShimId(2), 0), ["cpu a"]);
    assert_eq!(bench.lease(GATEWAY, 3), ["spawned 3"]);
    bench.runs(ShimId(3));
    assert_eq!(bench.reload(OTHER), ["gone a.3 to 7: never"]);
    assert_eq!(bench.exits(ShimId(3), 0), ["cpu a"]);
    bench.stopping = true;
    assert_eq!(bench.lease(GATEWAY, 4), ["gone a.4 to 7: never"]);
}

#[tokio::test]
async fn the_next_binary_has_the_same_servers() {
    let mut bench = Bench::new(ONE);
    bench.want("a");
    bench.runs(ShimId(1));
    bench.lease(GATEWAY, 1);
    bench.reload(OTHER);
    let mut fds = Vec::new();
    let saved = bench.upstreams.saved(&mut |fd: &OwnedFd| {
        fds.push(Arc::new(fd.try_clone().unwrap()));
        fds.len() - 1
    });
    let text = serde_json::to_string(&saved).unwrap();
    let mut next = Bench::new(NONE);
    let saved = serde_json::from_str(&text).unwrap();
    next.upstreams
        .restore(saved, &|place| fds.get(place).cloned());
    assert_eq!(next.upstreams.running(), 2);
    assert_eq!(next.upstreams.draining_names(), ["a"]);
    assert!(next.upstreams.get("a").unwrap().pipes.is_some());
    assert_eq!(next.upstreams.shims.next_id(), ShimId(3));
    let again = next.upstreams.saved(&mut |_| 0);
    assert_eq!(again.upstreams.len(), 1);
    assert_eq!(again.leases.len(), 1);
}

const CRASHES: &str = r#"{"mcpServers":{"a":{"command":"a"},"b":{"command":"b"},"c":{"command":"c"}},"server":{"start_concurrency":1}}"#;

#[tokio::test]
async fn a_slow_start_makes_room_and_is_shown_as_starting_all_the_time() {
    let mut bench = Bench::new(TWO);
    bench.want("a");
    bench.want("b");
    bench.runs(ShimId(1));
    bench.now += Duration::from_secs(4);
    assert!(bench.tell(Upstreams::on_time).is_empty());
    bench.now += Duration::from_secs(1);
    assert_eq!(bench.upstreams.deadline(), Some(bench.now));
    assert_eq!(bench.tell(Upstreams::on_time), ["spawned 2"]);
    for later in [5, 50] {
        bench.now += Duration::from_secs(later);
        assert_eq!(bench.upstreams.deadline(), Some(bench.now));
        assert!(bench.tell(Upstreams::on_time).is_empty());
    }
    bench.now += Duration::from_secs(30);
    let row = bench
        .upstreams
        .rows(bench.now, |_| 0, |_| false)
        .swap_remove(0);
    assert_eq!(
        (row.state_text().as_str(), row.starting_ms),
        ("starting 90 s", Some(90_000))
    );
    bench.report("a", UpstreamState::Ready);
    let row = bench
        .upstreams
        .rows(bench.now, |_| 0, |_| false)
        .swap_remove(0);
    assert_eq!(
        (row.state_text().as_str(), row.starting_ms),
        ("ready", None)
    );
}

#[tokio::test]
async fn one_that_crashes_waits_until_nobody_else_does() {
    let mut bench = Bench::new(CRASHES);
    for name in ["a", "b", "c"] {
        bench.want(name);
    }
    // The next first start takes the slot, and when the backoff of `a` is over, `c` goes first.
    let next = bench.exits(ShimId(1), 1);
    assert_eq!(
        next,
        ["exited a", "gone a.0 to 7: 100", "spawned 2", "changed"]
    );
    bench.now += Duration::from_secs(1);
    assert!(bench.tell(Upstreams::on_time).is_empty());
    assert_eq!(
        bench.report("b", UpstreamState::Ready),
        ["spawned 3", "changed"]
    );
    assert_eq!(
        bench.report("c", UpstreamState::Ready),
        ["spawned 4", "changed"]
    );
    // While `a` holds the slot, one that had served is started again beside it.
    assert_eq!(
        bench.exits(ShimId(2), 1),
        ["exited b", "gone b.0 to 7: 0", "changed"]
    );
    assert_eq!(bench.tell(Upstreams::on_time), ["spawned 5"]);
}

#[tokio::test]
async fn one_that_ends_at_the_probe_is_started_again_at_once_and_counted_the_second_time() {
    let mut bench = Bench::new(CRASHES);
    for name in ["a", "b"] {
        bench.want(name);
    }
    bench.runs(ShimId(1));
    bench.upstreams.probe("a", 1, true);
    assert_eq!(
        bench.exits(ShimId(1), 1),
        ["gone a.0 to 7: 0", "spawned 2", "changed"]
    );
    assert_eq!(bench.state("a"), UpstreamState::Starting);
    bench.runs(ShimId(2));
    bench.upstreams.probe("a", 2, true);
    let next = bench.exits(ShimId(2), 1);
    assert_eq!(
        next,
        ["exited a", "gone a.0 to 7: 100", "spawned 3", "changed"]
    );
    // What is said of an earlier life, or taken back, does not count.
    bench.runs(ShimId(3));
    bench.upstreams.probe("b", 7, true);
    bench.upstreams.probe("b", 1, true);
    bench.upstreams.probe("b", 1, false);
    assert_eq!(
        bench.exits(ShimId(3), 1),
        ["exited b", "gone b.0 to 7: 100", "changed"]
    );
}

#[tokio::test]
async fn a_restart_on_request_says_why_it_cannot_be() {
    let text = r#"{"mcpServers":{"a":{"command":"a"},"r":{"url":"http://127.0.0.1:1/"},"d":{"command":"d","enabled":false}}}"#;
    let mut bench = Bench::new(text);
    let mut restart = |name: &str| {
        let mut outcome = Ok(());
        let effects = bench.tell(|upstreams, context| {
            upstreams.restart(name, context).unwrap_or_else(|why| {
                outcome = Err(why);
                Vec::new()
            })
        });
        outcome.map(|()| effects)
    };
    assert_eq!(restart("x"), Err(NoRestart::Unknown));
    assert_eq!(restart("r"), Err(NoRestart::Remote));
    assert_eq!(restart("d"), Err(NoRestart::Disabled));
    assert_eq!(restart("a"), Ok(Vec::new()));
    bench.want("a");
    assert!(bench.want("d") == ["gone d.0 to 7: never"]);
}
