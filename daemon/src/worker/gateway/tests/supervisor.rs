//! Questions, reports, ticks, drain.

use super::{beside, stdio, to_the_end, world};
use crate::ipc::messages::{Question, ToSupervisor, ToWorker};
use bytes::BytesMut;
use ggen_mcp::api;
use ggen_mcp::api::{Input, Output, Report, UpId};
use ggen_mcp::edge::frame::Frame;
use ggen_mcp::edge::{Reply, Request, Verb, frame};
use ggen_mcp::gateway::Counts;
use ggen_wire::{Code, status::UpstreamState};
use serde_json::json;
use std::process::ExitCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn questions_are_answered_in_both_directions() {
    let (driver, mut supervisor, seen) = world(stdio(&["a"]), |input, out| match input {
        Input::Open(key, request) if &*request.view == "/catalogue" => {
            out.push(Output::Reply(
                *key,
                Reply::Full {
                    status: 200,
                    session: None,
                    retry_after: None,
                    body: "[]".into(),
                },
            ));
            out.push(Output::Ask(9, api::Question::Config));
        }
        _ => {}
    });
    beside(driver, async {
        supervisor
            .sender
            .send(
                &ToWorker::Ask {
                    id: 5,
                    question: Question::Tools,
                },
                &[],
            )
            .await
            .unwrap();
        let mut answered = false;
        loop {
            match supervisor.next().await {
                ToSupervisor::Answer { id: 5, result } => {
                    assert_eq!(result.unwrap(), json!([]));
                    answered = true;
                }
                ToSupervisor::Ask {
                    id,
                    question: Question::Config,
                } => {
                    supervisor
                        .sender
                        .send(
                            &ToWorker::Answer {
                                id,
                                result: Ok(json!({"a": 1})),
                            },
                            &[],
                        )
                        .await
                        .unwrap();
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        let answer = seen.wait(|seen| {
            seen.iter().find_map(|(_, input)| match input {
                Input::Answer(9, answer) => Some(answer.clone()),
                _ => None,
            })
        });
        assert_eq!(answer.await.unwrap(), "{\"a\":1}");
        assert!(answered);
    })
    .await;
}

#[tokio::test]
async fn wants_reports_and_recycles_reach_the_supervisor_in_order() {
    let mut first = true;
    let (driver, mut supervisor, _seen) = world(stdio(&["a", "b"]), move |_, out| {
        if std::mem::take(&mut first) {
            out.push(Output::Want(UpId(1)));
            let report = Report {
                state: UpstreamState::Ready,
                tools: 3,
                handoff: Some("x".to_owned()),
                ..Report::default()
            };
            out.push(Output::Report(UpId(1), report));
            out.push(Output::Recycle {
                up: UpId(0),
                incarnation: 4,
                code: Code::UpstreamGarbage,
                detail: "hello".to_owned(),
            });
        }
    });
    beside(driver, async {
        assert!(matches!(supervisor.next().await, ToSupervisor::Want { upstream, lease: 0 } if upstream == "b"));
        assert!(matches!(supervisor.next().await, ToSupervisor::Upstream(report) if report.tools == 3 && report.upstream == "b"));
        assert!(matches!(supervisor.next().await, ToSupervisor::Recycle { incarnation: 4, .. }));
    })
    .await;
}

#[tokio::test]
async fn ticks_are_dense_while_something_is_in_flight() {
    let (driver, mut supervisor, seen) = world(stdio(&[]), |_, _| {});
    beside(driver, async {
        let wait = async |count: usize| {
            loop {
                let changed = seen.changed.notified();
                if seen.ticks.borrow().len() >= count {
                    return;
                }
                changed.await;
            }
        };
        wait(2).await;
        let mut link = supervisor.link(1).await;
        *seen.counts.borrow_mut() = Counts {
            in_flight: 1,
            ..Counts::default()
        };
        link.write_all(&open(1)).await.unwrap();
        seen.wait(|seen| (!seen.is_empty()).then_some(())).await;
        let from = seen.ticks.borrow().len();
        wait(from + 5).await;
        let began = seen.inputs.borrow()[0].0;
        let ticks = seen.ticks.borrow();
        // Five ticks of 250 ms, the first counted from the request; idle ones would take five
        // seconds.
        assert!(ticks[from + 4] - began < 2_500_000, "{began} {ticks:?}");
    })
    .await;
}

fn open(stream: u32) -> BytesMut {
    let request = Request {
        verb: Verb::Post,
        accept_json: true,
        accept_sse: false,
        view: "".into(),
        principal: "anonymous".into(),
        headers: Vec::new(),
        body: "{}".into(),
    };
    let mut bytes = BytesMut::new();
    frame::encode(stream, &Frame::Open(request), &mut bytes);
    bytes
}

#[tokio::test]
async fn a_drain_refuses_what_is_new_and_waits_for_what_is_in_flight() {
    let (driver, mut supervisor, seen) = world(stdio(&[]), |_, _| {});
    seen.counts.borrow_mut().in_flight = 1;
    let steps = async {
        let mut link = supervisor.link(1).await;
        supervisor
            .sender
            .send(
                &ToWorker::Drain {
                    deadline_ms: 20_000,
                },
                &[],
            )
            .await
            .unwrap();
        // The drain signal takes its own way; what arrives after it is refused.
        let mut bytes = BytesMut::new();
        let refused = loop {
            link.write_all(&open(7)).await.unwrap();
            let turn = async {
                loop {
                    if let Some(found) = frame::decode(&mut bytes).unwrap() {
                        return found;
                    }
                    assert_ne!(link.read_buf(&mut bytes).await.unwrap(), 0);
                }
            };
            if let Ok(found) =
                tokio::time::timeout(std::time::Duration::from_millis(50), turn).await
            {
                break found;
            }
        };
        let (
            7,
            Frame::Reply(Reply::Full {
                status: 503,
                retry_after: Some(1),
                body,
                ..
            }),
        ) = refused
        else {
            panic!("{refused:?}")
        };
        assert!(String::from_utf8_lossy(&body).contains("GGEN-E5002"));
        seen.counts.borrow_mut().in_flight = 0;
        while link.read(&mut [0; 1024]).await.unwrap_or(0) > 0 {}
    };
    assert_eq!(to_the_end(driver, steps).await.0, ExitCode::SUCCESS);
}

#[tokio::test]
async fn the_end_of_the_control_channel_ends_an_idle_worker() {
    let (driver, supervisor, _seen) = world(stdio(&[]), |_, _| {});
    assert_eq!(
        to_the_end(driver, async move { drop(supervisor) }).await.0,
        ExitCode::SUCCESS
    );
}
