//! The table by itself: order, credit, loss, time.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::{Broken, Input, LinkId, QUIET, StreamId, Table, Tell, Violation};
use bytes::Bytes;
use ggen_mcp::edge::Reply;
use ggen_mcp::edge::frame::WINDOW;
use std::{
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

fn full() -> Reply {
    Reply::Full {
        status: 200,
        session: None,
        retry_after: None,
        body: Bytes::from_static(b"{}"),
    }
}

fn event() -> Reply {
    Reply::Event {
        id: None,
        retry_ms: None,
        data: Bytes::from_static(b"{}"),
    }
}

fn start() -> Reply {
    Reply::Start { session: None }
}

fn poll(table: &mut Table, stream: StreamId, now: Instant) -> (Poll<Result<Input, Broken>>, Tell) {
    table.poll(stream, now, &Context::from_waker(Waker::noop()))
}

fn ready(reply: Reply) -> Poll<Result<Input, Broken>> {
    Poll::Ready(Ok(Input::Reply(reply)))
}

#[test]
fn a_whole_answer_is_given_once_and_the_exchange_forgotten() {
    let (mut table, now) = (Table::default(), Instant::now());
    let stream = table.open(LinkId(1), now, None, false);
    assert_eq!(poll(&mut table, stream, now).0, Poll::Pending);
    table.deliver(LinkId(1), stream, full()).unwrap();
    assert_eq!(
        table.deliver(LinkId(1), stream, full()),
        Err(Violation::Order(stream))
    );
    assert_eq!(poll(&mut table, stream, now).0, ready(full()));
    assert_eq!((table.len(), table.give_up(stream)), (0, None));
    assert_eq!(
        table.deliver(LinkId(1), stream, full()),
        Ok(()),
        "late replies are dropped"
    );
}

#[test]
fn events_are_bounded_by_credit_which_is_granted_as_they_are_taken() {
    let (mut table, now) = (Table::default(), Instant::now());
    let stream = table.open(LinkId(1), now, None, false);
    table.deliver(LinkId(1), stream, start()).unwrap();
    for _ in 0..WINDOW {
        table.deliver(LinkId(1), stream, event()).unwrap();
    }
    assert_eq!(poll(&mut table, stream, now).0, ready(start()));
    let granted: u32 = (0..WINDOW)
        .map(|_| match poll(&mut table, stream, now) {
            (Poll::Ready(Ok(_)), Tell::Credit(events)) => events,
            (Poll::Ready(Ok(_)), _) => 0,
            other => panic!("{other:?}"),
        })
        .sum();
    assert_eq!(granted, WINDOW);
    for _ in 0..WINDOW {
        table.deliver(LinkId(1), stream, event()).unwrap();
    }
    assert_eq!(
        table.deliver(LinkId(1), stream, event()),
        Err(Violation::Credit(stream))
    );
}

#[test]
fn a_lost_link_breaks_what_is_unfinished_and_keeps_what_has_come() {
    let (mut table, now) = (Table::default(), Instant::now());
    let [answered, waiting, streaming, other] =
        [1, 1, 1, 2].map(|link| table.open(LinkId(link), now, None, false));
    table.deliver(LinkId(1), answered, full()).unwrap();
    table.deliver(LinkId(1), streaming, start()).unwrap();
    table.lose(LinkId(1));
    assert_eq!(poll(&mut table, answered, now).0, ready(full()));
    assert_eq!(
        poll(&mut table, waiting, now).0,
        Poll::Ready(Err(Broken::Lost))
    );
    assert_eq!(poll(&mut table, streaming, now).0, ready(start()));
    assert_eq!(
        poll(&mut table, streaming, now).0,
        Poll::Ready(Err(Broken::Lost))
    );
    assert_eq!(poll(&mut table, other, now).0, Poll::Pending);
    assert_eq!(table.give_up(other), Some((LinkId(2), Tell::Gone)));
}

#[test]
fn time_cuts_what_has_not_begun_and_gives_signs_of_life_on_silent_streams() {
    let (mut table, now) = (Table::default(), Instant::now());
    let deadline = Some(now + Duration::from_secs(1));
    let (late, stream) = (
        table.open(LinkId(1), now, deadline, false),
        table.open(LinkId(1), now, deadline, true),
    );
    table.deliver(LinkId(1), stream, start()).unwrap();
    assert_eq!(poll(&mut table, stream, now).0, ready(start()));
    assert_eq!(table.sweep(now + Duration::from_millis(999)), []);
    assert_eq!(
        table.sweep(now + Duration::from_secs(1)),
        [(LinkId(1), late)]
    );
    assert_eq!(
        poll(&mut table, late, now).0,
        Poll::Ready(Err(Broken::TimedOut))
    );
    assert_eq!(table.sweep(now + QUIET), []);
    assert_eq!(
        poll(&mut table, stream, now + QUIET).0,
        Poll::Ready(Ok(Input::Quiet))
    );
    assert_eq!(poll(&mut table, stream, now + QUIET).0, Poll::Pending);
    assert_eq!(table.end_endless(), [(LinkId(1), stream)]);
    assert_eq!(poll(&mut table, stream, now).0, ready(Reply::End));
}

/// xorshift64: the same steps for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % sides
    }
}

#[test]
fn whatever_happens_each_exchange_ends_once_and_the_table_empties() {
    for seed in 1..=500 {
        let (mut dice, mut table, mut now) =
            (Dice(seed * 0x9E37_79B9), Table::default(), Instant::now());
        // What the gateway believes: stream, link, whether it streams, credit; and what the client
        // still waits for.
        let (mut gateway, mut client) = (Vec::new(), Vec::new());
        let mut link = LinkId(1);
        for _ in 0..400 {
            let pick = dice.roll(client.len().max(1));
            match dice.roll(8) {
                0 | 1 => {
                    let deadline = (dice.roll(2) == 0).then(|| now + Duration::from_millis(50));
                    let stream = table.open(link, now, deadline, dice.roll(4) == 0);
                    gateway.push((stream, link, false, WINDOW));
                    client.push(stream);
                }
                2 | 3 if !gateway.is_empty() => {
                    let at = dice.roll(gateway.len());
                    let (stream, of, streams, credit) = gateway[at];
                    let reply = match (streams, dice.roll(4)) {
                        (false, 0) => start(),
                        (false, _) => full(),
                        (true, 1..) if credit > 0 => event(),
                        (true, _) => Reply::End,
                    };
                    match &reply {
                        Reply::Start { .. } => gateway[at].2 = true,
                        Reply::Event { .. } => gateway[at].3 -= 1,
                        _ => drop(gateway.swap_remove(at)),
                    }
                    assert_eq!(table.deliver(of, stream, reply), Ok(()), "seed {seed}");
                }
                4 | 5 if !client.is_empty() => {
                    let (polled, tell) = poll(&mut table, client[pick], now);
                    if let Tell::Credit(events) = tell {
                        gateway
                            .iter_mut()
                            .filter(|known| known.0 == client[pick])
                            .for_each(|known| known.3 += events);
                    }
                    if matches!(
                        polled,
                        Poll::Ready(Err(_) | Ok(Input::Reply(Reply::Full { .. } | Reply::End)))
                    ) {
                        let stream = client.swap_remove(pick);
                        assert_eq!(table.give_up(stream), None, "seed {seed}: ended twice");
                    }
                }
                6 if !client.is_empty() => {
                    let stream = client.swap_remove(pick);
                    if let Some((_, Tell::Gone)) = table.give_up(stream) {
                        gateway.retain(|known| known.0 != stream);
                    }
                }
                7 if dice.roll(10) == 0 => {
                    table.lose(link);
                    gateway.retain(|known| known.1 != link);
                    link.0 += 1;
                }
                _ => {
                    now += Duration::from_millis(u64::try_from(dice.roll(30)).unwrap());
                    for (_, stream) in table.sweep(now) {
                        gateway.retain(|known| known.0 != stream);
                    }
                }
            }
            assert_eq!(table.len(), client.len(), "seed {seed}");
        }
        table.lose(link);
        for stream in client {
            while !matches!(
                poll(&mut table, stream, now).0,
                Poll::Ready(Err(_) | Ok(Input::Reply(Reply::Full { .. } | Reply::End)))
            ) {}
        }
        assert_eq!(table.len(), 0, "seed {seed}");
    }
}
