//! A seeded simulation of the whole relay: servers and clients of every kind, well-behaved and not,
//! on a virtual clock. After every event the model checks that each request is answered once, to
//! whom it belongs and with its own content, that what a guest may not see never leaks, that no
//! session is lost that its client was told of, and in the end that nothing is left in any table.
//!
//! What happens: calls wait for input and come back over the same link or another one, late, twice,
//! with states that were changed or belong to somebody else, without answers, or not at all;
//! servers and leased children die under calls, those that wait for input included; links are lost, streams are
//! resumed, sessions expire, are ended, and are tried by others, by id and by what is stored of
//! them; tasks with ids that anybody can guess are asked for by their owners and by others, listed,
//! and told of; the relay is replaced, and its successor goes on with what was kept.
//!
//! `SIM_SEEDS=20000` runs more seeds, `SIM_EVENTS` sets their length, `SIM_SEED=17` runs one; a
//! failure prints its seed and the last 40 (`SIM_LAST`) events.
// Test code: what is not as it should be is to stop the run.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    missing_docs,
    unreachable_pub
)]

mod client;
mod guest;
mod model;
mod rng;
mod server;
mod world;

use std::collections::VecDeque;
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicU64, Ordering};
use world::{Stats, TRACE, World};

fn run(seed: u64, events: u64) -> Stats {
    let mut world = World::new(seed);
    while world.stats.inputs < events {
        world.step();
    }
    world.settle();
    assert!(
        world.looks < 100 || world.found > 0,
        "the guest was never answered"
    );
    world.stats
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn every_request_is_answered_once_and_to_whom_it_belongs() {
    let (only, events) = (setting("SIM_SEED"), setting("SIM_EVENTS").unwrap_or(1000));
    let (first, last) = only.map_or((0, setting("SIM_SEEDS").unwrap_or(1000)), |seed| {
        (seed, seed + 1)
    });
    let (next, failed) = (AtomicU64::new(first), AtomicU64::new(u64::MAX));
    let threads = std::thread::available_parallelism()
        .map_or(2, usize::from)
        .min(8);
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let work = || {
        let mut sum = Stats::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= last || failed.load(Ordering::Relaxed) != u64::MAX {
                return sum;
            }
            match catch_unwind(|| run(seed, events)) {
                Ok(stats) => {
                    sum.inputs += stats.inputs;
                    sum.requests += stats.requests;
                    sum.answers += stats.answers;
                    sum.children += stats.children;
                    sum.questions += stats.questions;
                    sum.restored += stats.restored;
                    sum.thefts += stats.thefts;
                    sum.tasks
                        .iter_mut()
                        .zip(stats.tasks)
                        .for_each(|(sum, of)| *sum += of);
                }
                Err(_) => drop(failed.fetch_min(seed, Ordering::Relaxed)),
            }
        }
    };
    let sums: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("the simulation's thread"))
            .collect()
    });
    std::panic::set_hook(quiet);
    let failed = failed.into_inner();
    if failed != u64::MAX {
        world::LAST.store(
            setting("SIM_LAST").unwrap_or(40) as usize,
            Ordering::Relaxed,
        );
        TRACE.set(Some(VecDeque::new()));
        let again = catch_unwind(|| run(failed, events));
        let lines = TRACE.take().unwrap_or_default();
        for line in lines {
            println!("{line}");
        }
        let why = match again {
            Ok(_) => "but not the second time".to_owned(),
            Err(why) => why
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| why.downcast_ref::<&str>().map(|why| (*why).to_owned()))
                .unwrap_or_default(),
        };
        panic!("seed {failed} failed: {why}; replay with SIM_SEED={failed}");
    }
    let total = |of: fn(&Stats) -> u64| sums.iter().map(of).sum::<u64>();
    println!(
        "{} seeds, {} events, {} requests, {} answers, {} of them questions, {} leased children, {} sessions restored, {} thefts refused, {} tasks, {} answers about them, {} of those questions, {} news of them, {} refused to others",
        last - first,
        total(|stats| stats.inputs),
        total(|stats| stats.requests),
        total(|stats| stats.answers),
        total(|stats| stats.questions),
        total(|stats| stats.children),
        total(|stats| stats.restored),
        total(|stats| stats.thefts),
        total(|stats| stats.tasks[0]),
        total(|stats| stats.tasks[1]),
        total(|stats| stats.tasks[4]),
        total(|stats| stats.tasks[3]),
        total(|stats| stats.tasks[2])
    );
}

#[test]
fn a_seed_gives_the_same_run() {
    for seed in 0..12 {
        let (one, two) = (run(seed, 1000), run(seed, 1000));
        assert_eq!(
            (one.inputs, one.requests, one.answers),
            (two.inputs, two.requests, two.answers),
            "seed {seed}"
        );
    }
}
