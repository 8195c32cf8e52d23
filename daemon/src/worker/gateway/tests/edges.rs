//! Edge links.

use super::{Seen, beside, stdio, world};
use bytes::{Bytes, BytesMut};
use ggen_mcp::api::{Input, Output};
use ggen_mcp::edge::frame::Frame;
use ggen_mcp::edge::{Reply, Request, Verb, frame};
use std::{cell::Cell, collections::BTreeSet, rc::Rc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::unix::OwnedReadHalf,
};

fn open(stream: u32, body: usize) -> BytesMut {
    let request = Request {
        verb: Verb::Post,
        accept_json: true,
        accept_sse: true,
        view: "".into(),
        principal: "anonymous".into(),
        headers: Vec::new(),
        body: vec![b'x'; body].into(),
    };
    let mut bytes = BytesMut::new();
    frame::encode(stream, &Frame::Open(request), &mut bytes);
    bytes
}

/// Answers every request with so many bytes.
fn answering(body: usize) -> impl FnMut(&Input, &mut Vec<Output>) {
    let body = Bytes::from(vec![b'y'; body]);
    move |input, out| {
        if let Input::Open(key, _) = input {
            out.push(Output::Reply(
                *key,
                Reply::Full {
                    status: 200,
                    session: None,
                    retry_after: None,
                    body: body.clone(),
                },
            ));
        }
    }
}

async fn next(reader: &mut OwnedReadHalf, bytes: &mut BytesMut) -> (u32, Frame) {
    loop {
        if let Some(found) = frame::decode(bytes).unwrap() {
            return found;
        }
        assert_ne!(reader.read_buf(bytes).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn every_exchange_of_a_batch_is_answered_on_its_own_stream() {
    let (driver, mut supervisor, _seen) = world(stdio(&[]), answering(300));
    beside(driver, async {
        for edge in [1, 2] {
            let batch: Vec<u8> = (0..1000).flat_map(|stream| open(stream, 100)).collect();
            let (mut reader, mut writer) = supervisor.link(edge).await.into_split();
            let write = async { writer.write_all(&batch).await.unwrap() };
            let read = async {
                let (mut bytes, mut answered) = (BytesMut::new(), BTreeSet::new());
                while answered.len() < 1000 {
                    let (stream, frame) = next(&mut reader, &mut bytes).await;
                    assert!(
                        matches!(frame, Frame::Reply(Reply::Full { body, .. }) if body.len() == 300)
                    );
                    assert!(answered.insert(stream));
                }
            };
            tokio::join!(write, read);
        }
    })
    .await;
}

fn opened(seen: &Seen) -> usize {
    seen.inputs
        .borrow()
        .iter()
        .filter(|(_, input)| matches!(input, Input::Open(..)))
        .count()
}

#[tokio::test]
async fn an_edge_that_does_not_read_is_not_read_from() {
    const REQUESTS: u32 = 1500;
    let (driver, mut supervisor, seen) = world(stdio(&[]), answering(64 << 10));
    beside(driver, async {
        let (mut reader, mut writer) = supervisor.link(1).await.into_split();
        let written = Rc::new(Cell::new(0));
        let write = async {
            for stream in 0..REQUESTS {
                writer.write_all(&open(stream, 16 << 10)).await.unwrap();
                written.set(stream + 1);
            }
        };
        let read = async {
            // Everything runs on this thread: when neither side moves for many turns, both are
            // stuck.
            let (mut last, mut still) = ((0, 0), 0);
            while still < 2000 {
                tokio::task::yield_now().await;
                let now = (written.get(), opened(&seen));
                still = if now == last && now.1 > 0 {
                    still + 1
                } else {
                    0
                };
                last = now;
            }
            // 8 MiB of replies, one turn's requests, and what the socket holds.
            assert!(last.1 < 200, "{} requests were read", last.1);
            let mut bytes = BytesMut::new();
            for _ in 0..REQUESTS {
                next(&mut reader, &mut bytes).await;
            }
        };
        tokio::join!(write, read);
        assert_eq!(opened(&seen), REQUESTS as usize);
    })
    .await;
}

#[tokio::test]
async fn the_end_of_a_link_and_nonsense_on_it_are_told_to_the_relay() {
    let (driver, mut supervisor, seen) = world(stdio(&[]), |_, _| {});
    beside(driver, async {
        let mut one = supervisor.link(1).await;
        one.write_all(&open(1, 1)).await.unwrap();
        drop(one);
        seen.wait(|seen| {
            matches!(seen, [(_, Input::Open(..)), (_, Input::EdgeLost(1))]).then_some(())
        })
        .await;
        let mut two = supervisor.link(2).await;
        two.write_all(&[255; 9]).await.unwrap();
        seen.wait(|seen| matches!(seen.last(), Some((_, Input::EdgeLost(2)))).then_some(()))
            .await;
        assert_eq!(two.read(&mut [0; 8]).await.unwrap_or(0), 0);
    })
    .await;
}
