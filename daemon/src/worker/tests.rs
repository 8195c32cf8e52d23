//! The frame of a worker, with the test in the supervisor's place.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use super::{Context, Incoming};
use crate::{
    config::Config,
    ipc::{
        channel::{Receiver, Sender, channel},
        messages::{Beat, Question, Role, Start, ToSupervisor, ToWorker},
    },
    platform::socket_pair,
};
use std::{
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

fn start() -> Start {
    Start {
        beat_ms: 50,
        ..Start::to_try(Role::Http, Config::default())
    }
}

fn pair() -> (Sender, Receiver, Context) {
    let (ours, theirs) = socket_pair().unwrap();
    let (sender, receiver) = channel(ours).unwrap();
    (
        sender,
        receiver,
        Context::for_test(start(), Vec::new(), theirs).unwrap(),
    )
}

async fn next(receiver: &mut Receiver) -> ToSupervisor {
    tokio::time::timeout(Duration::from_secs(5), receiver.receive())
        .await
        .unwrap()
        .unwrap()
        .unwrap()
        .0
}

#[tokio::test]
async fn beats_carry_what_the_body_says_and_count_up() {
    let (_sender, mut receiver, context) = pair();
    context.on_beat(|| Beat {
        connections: 7,
        ..Beat::default()
    });
    let mut last = 0;
    for _ in 0..3 {
        if let ToSupervisor::Beat(beat) = next(&mut receiver).await {
            assert_eq!(beat.seq, last + 1);
            assert_eq!(
                beat.metrics.last().unwrap().name,
                "ggend_log_lines_dropped_total"
            );
            assert!(beat.connections == 7 || beat.seq == 1);
            last = beat.seq;
        }
    }
    assert_eq!(last, 3);
}

/// A thousand connections whose tasks are all ready at once are no reason to send no beat.
#[test]
fn beats_do_not_wait_for_all_tasks_that_are_ready() {
    const TASKS: usize = 1000;
    let polls = Arc::new(AtomicUsize::new(0));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let at_beats = runtime.block_on(async {
        let (_supervisor, worker) = socket_pair().unwrap();
        let (context, mut frame) = Context::with_frame(start(), Vec::new(), worker).unwrap();
        let (told, mut beats) = tokio::sync::mpsc::channel(8);
        let counter = Arc::clone(&polls);
        context.on_beat(move || {
            told.try_send(counter.load(Relaxed)).unwrap_or_default();
            Beat::default()
        });
        for _ in 0..TASKS {
            let polls = Arc::clone(&polls);
            tokio::spawn(async move {
                loop {
                    polls.fetch_add(1, Relaxed);
                    let end = Instant::now() + Duration::from_millis(1);
                    while Instant::now() < end {
                        std::hint::spin_loop();
                    }
                    tokio::task::yield_now().await;
                }
            });
        }
        let mut at_beats = Vec::new();
        tokio::select! {
            biased;
            () = frame.beats.as_mut() => {}
            () = async {
                while at_beats.len() < 5 {
                    at_beats.extend(beats.recv().await);
                }
            } => {}
        }
        at_beats
    });
    runtime.shutdown_background();
    let between = at_beats.windows(2).map(|two| two[1] - two[0]).max();
    assert!(
        between.is_some_and(|polls| polls < TASKS / 2),
        "tasks that were polled when each beat was sent: {at_beats:?}"
    );
}

#[tokio::test]
async fn a_question_gets_its_own_answer() {
    let (mut sender, mut receiver, context) = pair();
    let supervisor = async {
        let mut asked = Vec::new();
        while asked.len() < 2 {
            if let ToSupervisor::Ask { id, question } = next(&mut receiver).await {
                asked.push((id, matches!(question, Question::Metrics)));
            }
        }
        for (id, metrics) in asked.into_iter().rev() {
            sender
                .send(
                    &ToWorker::Answer {
                        id,
                        result: Ok(metrics.into()),
                    },
                    &[],
                )
                .await
                .unwrap();
        }
    };
    let outbox = context.outbox();
    let (_, status, metrics) = tokio::join!(
        supervisor,
        outbox.ask(Question::Status),
        outbox.ask(Question::Metrics)
    );
    assert_eq!(
        (status.unwrap(), metrics.unwrap()),
        (false.into(), true.into())
    );
}

#[tokio::test]
async fn a_link_arrives_with_its_socket_and_the_end_of_the_channel_starts_the_drain() {
    let (mut sender, receiver, mut context) = pair();
    let (one, _other) = socket_pair().unwrap();
    sender
        .send(
            &ToWorker::Link {
                edge: 3,
                peer: "gateway-0".to_owned(),
            },
            &[one.as_fd()],
        )
        .await
        .unwrap();
    assert!(matches!(
        context.next().await,
        Some(Incoming::Link { edge: 3, .. })
    ));
    let drain = context.drain();
    assert!(!drain.is_begun());
    drop((sender, receiver));
    tokio::time::timeout(Duration::from_secs(5), drain.begun())
        .await
        .unwrap();
    assert!(context.next().await.is_none());
    tokio::time::timeout(Duration::from_secs(5), drain.expired())
        .await
        .unwrap();
    assert_eq!(
        context
            .outbox()
            .ask(Question::Status)
            .await
            .unwrap_err()
            .code,
        ggen_wire::Code::Internal
    );
}
