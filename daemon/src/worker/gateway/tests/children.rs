//! Stdio servers, played by the test at the other end of real pipes.

use super::{Seen, beside, stdio, until, world};
use crate::ipc::messages::{ChildGone, ToSupervisor, ToWorker};
use bytes::Bytes;
use ggen_mcp::api::{Input, Output, UpId, UpInput};
use ggen_wire::{Code, status::UpstreamState};
use std::{
    cell::Cell,
    fs::File,
    io::{BufRead, BufReader, Read, Write},
    os::{fd::AsFd, unix::fs::FileExt},
    rc::Rc,
};

fn line(input: &Input) -> Option<(u32, &[u8])> {
    match input {
        Input::Up(up, UpInput::Line(line)) => Some((up.0, line)),
        _ => None,
    }
}

fn lines(seen: &Seen, up: u32) -> usize {
    seen.inputs
        .borrow()
        .iter()
        .filter(|(_, input)| line(input).is_some_and(|(of, _)| of == up))
        .count()
}

/// Writes on a thread of its own, as a server would.
fn server(
    mut stdout: File,
    write: impl FnOnce(&mut File) -> std::io::Result<()> + Send + 'static,
) -> std::thread::JoinHandle<File> {
    std::thread::spawn(move || {
        // The reader may go away first; that is not the server's fault.
        write(&mut stdout).ok();
        stdout
    })
}

fn gone(upstream: &str) -> ToWorker {
    ToWorker::ChildGone(ChildGone {
        upstream: upstream.to_owned(),
        lease: 0,
        incarnation: 1,
        state: UpstreamState::Degraded,
        code: Code::UpstreamExited,
        reason: "exit status 3".to_owned(),
        next_start_ms: Some(100),
    })
}

#[tokio::test]
async fn lines_go_both_ways_and_a_successor_writes_whole_messages_only() {
    let (driver, mut supervisor, seen) = world(stdio(&["a"]), |input, out| {
        if let Some((up, line)) = line(input) {
            out.push(Output::Write(UpId(up), 0, Bytes::copy_from_slice(line)));
        }
    });
    beside(driver, async {
        let (stdin, mut stdout) = supervisor.child("a", Some("legacy")).await;
        stdout.write_all(b"{\"a\":1}\r\n\n{\"b\"").unwrap();
        seen.wait(|seen| seen.iter().find_map(|(_, input)| line(input)).map(|_| ())).await;
        stdout.write_all(b":2}\n\xff\n").unwrap();
        seen.wait(|seen| (seen.len() == 4).then_some(())).await;
        let reader = tokio::task::spawn_blocking(move || BufReader::new(stdin).lines().take(2).map(Result::unwrap).collect::<Vec<_>>());
        assert_eq!(reader.await.unwrap(), ["{\"a\":1}", "{\"b\":2}"]);
        let inputs = seen.inputs.borrow();
        assert!(matches!(&inputs[0].1, Input::Up(_, UpInput::Connected { incarnation: 1, handoff: Some(handoff) }) if handoff == "legacy"));
        assert_eq!(line(&inputs[3].1), Some((0, &b"\xff"[..])));
    })
    .await;
}

#[tokio::test]
async fn a_server_that_got_a_part_of_a_message_is_replaced_by_the_next_worker() {
    let long = "x".repeat(1 << 20);
    let echo = long.clone();
    let (driver, mut supervisor, _) = world(stdio(&["a"]), move |input, out| {
        if let Some((up, line)) = line(input) {
            let text = if line == b"long" {
                echo.as_bytes()
            } else {
                line
            };
            out.push(Output::Write(UpId(up), 0, Bytes::copy_from_slice(text)));
        }
    });
    let torn = File::from(crate::platform::memory_file().unwrap());
    let note = || {
        let mut note = [0];
        torn.read_at(&mut note, 0).unwrap();
        note[0]
    };
    let stdin = beside(driver, async {
        let (stdin, mut stdout) = supervisor.child_with("a", None, torn.as_fd()).await;
        stdout.write_all(b"short\nlong\n").unwrap();
        until(|| note() == 1).await;
        // When the server reads on, the message becomes whole.
        let reader = tokio::task::spawn_blocking(move || {
            let mut reader = BufReader::new(stdin);
            let lines: Vec<_> = (0..2)
                .map(|_| {
                    let mut line = String::new();
                    reader.read_line(&mut line).unwrap();
                    line
                })
                .collect();
            (reader, lines)
        });
        let (reader, lines) = reader.await.unwrap();
        assert_eq!(lines, ["short\n".to_owned(), format!("{long}\n")]);
        until(|| note() == 0).await;
        stdout.write_all(b"long\n").unwrap();
        until(|| note() == 1).await;
        reader
    })
    .await;
    let (driver, mut supervisor, seen) = world(stdio(&["a"]), |_, _| {});
    beside(driver, async {
        let _pipes = supervisor.child_with("a", Some("legacy"), torn.as_fd()).await;
        let said = supervisor.next().await;
        assert!(matches!(&said, ToSupervisor::Recycle { detail, .. } if detail.contains("in the middle of a message")), "{said:?}");
        assert_eq!(seen.len(), 0);
    })
    .await;
    drop(stdin);
}

#[tokio::test]
async fn a_hundred_megabytes_without_a_line_break_are_skipped_and_the_next_line_is_read() {
    let (driver, mut supervisor, seen) = world(stdio(&["a"]), |_, _| {});
    beside(driver, async {
        let (_stdin, stdout) = supervisor.child("a", None).await;
        let server = server(stdout, |stdout| {
            let piece = vec![b'x'; 1 << 20];
            (0..100).try_for_each(|_| stdout.write_all(&piece))?;
            stdout.write_all(b"\nnext\n")
        });
        seen.wait(|seen| (seen.len() == 3).then_some(())).await;
        let inputs = seen.inputs.borrow();
        assert!(matches!(&inputs[1].1, Input::Up(UpId(0), UpInput::Overlong(evidence)) if evidence.len() == 4096));
        assert_eq!(line(&inputs[2].1), Some((0, &b"next"[..])));
        server.join().unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_flooding_server_does_not_hold_up_its_neighbour() {
    let flood = Rc::new(Cell::new(0usize));
    let counted = Rc::clone(&flood);
    let (driver, mut supervisor, seen) = world(stdio(&["a", "b"]), move |input, out| {
        if let Some((up, _)) = line(input) {
            counted.set(counted.get() + usize::from(up == 0));
            out.push(Output::Write(UpId(up), 0, Bytes::from_static(b"answer")));
        }
    });
    beside(driver, async {
        let (drained, stdout) = supervisor.child("a", None).await;
        let (answers, mut neighbour) = supervisor.child("b", None).await;
        // The flood ends when the pipe does.
        let server = server(stdout, |stdout| {
            loop {
                stdout.write_all(&b"noise\n".repeat(10_000))?;
            }
        });
        let sink =
            std::thread::spawn(move || std::io::copy(&mut { drained }, &mut std::io::sink()));
        seen.wait(|_| (flood.get() > 10_000).then_some(())).await;
        let mut answers = BufReader::new(answers);
        for round in 1..=20 {
            let before = flood.get();
            neighbour.write_all(b"request\n").unwrap();
            seen.wait(|_| (lines(&seen, 1) == round).then_some(()))
                .await;
            // A turn of the flood is 512 lines. Some turns may pass until the machine has let the
            // neighbour's line through, not more.
            assert!(
                flood.get() - before < 20 * 512,
                "{} lines came first",
                flood.get() - before
            );
            let mut answer = String::new();
            let read = tokio::task::spawn_blocking(move || {
                answers.read_line(&mut answer).unwrap();
                (answers, answer)
            });
            let (back, answer) = read.await.unwrap();
            answers = back;
            assert_eq!(answer, "answer\n");
            seen.inputs
                .borrow_mut()
                .retain(|(_, input)| line(input).is_none_or(|(up, _)| up == 1));
        }
        (server, sink)
    })
    .await;
}

#[tokio::test]
async fn a_pause_stops_the_reading_for_its_time() {
    let (driver, mut supervisor, seen) = world(stdio(&["a"]), |input, out| {
        if line(input).is_some_and(|(_, line)| line == b"pause") {
            out.push(Output::Pause(UpId(0), 0, 300_000));
        }
    });
    beside(driver, async {
        let (_stdin, mut stdout) = supervisor.child("a", None).await;
        stdout.write_all(b"pause\n").unwrap();
        seen.wait(|_| (lines(&seen, 0) == 1).then_some(())).await;
        stdout.write_all(b"later\n").unwrap();
        seen.wait(|_| (lines(&seen, 0) == 2).then_some(())).await;
        let inputs = seen.inputs.borrow();
        let times: Vec<_> = inputs
            .iter()
            .filter(|(_, input)| line(input).is_some())
            .map(|(at, _)| *at)
            .collect();
        assert!(
            (300_000..2_000_000).contains(&(times[1] - times[0])),
            "{times:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_server_that_never_reads_is_replaced_when_too_much_waits() {
    let piece = Bytes::from(vec![b'x'; 1 << 20]);
    let (driver, mut supervisor, seen) = world(stdio(&["a"]), move |input, out| {
        if line(input).is_some() {
            out.extend((0..200).map(|_| Output::Write(UpId(0), 0, piece.clone())));
        }
    });
    beside(driver, async {
        let (stdin, mut stdout) = supervisor.child("a", None).await;
        stdout.write_all(b"go\n").unwrap();
        let ToSupervisor::Recycle {
            upstream,
            incarnation,
            code,
            ..
        } = supervisor.next().await
        else {
            panic!("a recycle")
        };
        assert_eq!(
            (upstream.as_str(), incarnation, code),
            ("a", 1, Code::UpstreamBusy)
        );
        // Said once, though more is written; the next message is another one.
        stdout.write_all(b"again\n").unwrap();
        seen.wait(|_| (lines(&seen, 0) == 2).then_some(())).await;
        supervisor
            .sender
            .send(
                &ToWorker::Ask {
                    id: 1,
                    question: crate::ipc::messages::Question::Config,
                },
                &[],
            )
            .await
            .unwrap();
        assert!(matches!(
            supervisor.next().await,
            ToSupervisor::Answer {
                id: 1,
                result: Err(_)
            }
        ));
        drop(stdin);
    })
    .await;
}

#[tokio::test]
async fn what_a_server_said_before_its_death_is_heard_before_the_death() {
    let (driver, mut supervisor, seen) = world(stdio(&["a"]), |_, _| {});
    beside(driver, async {
        let (_stdin, mut stdout) = supervisor.child("a", None).await;
        let last: Vec<u8> = (0..5000)
            .flat_map(|number| format!("{number}\n").into_bytes())
            .chain(*b"torn")
            .collect();
        stdout.write_all(&last).unwrap();
        drop(stdout);
        supervisor.sender.send(&gone("a"), &[]).await.unwrap();
        seen.wait(|seen| {
            matches!(seen.last(), Some((_, Input::Up(_, UpInput::Lost { .. })))).then_some(())
        })
        .await;
        let inputs = seen.inputs.borrow();
        assert_eq!(inputs.len(), 1 + 5001 + 1);
        assert_eq!(line(&inputs[5001].1), Some((0, &b"torn"[..])));
        let Input::Up(
            _,
            UpInput::Lost {
                code, next_start, ..
            },
        ) = &inputs[5002].1
        else {
            panic!("lost")
        };
        assert_eq!((*code, *next_start), (Code::UpstreamExited, Some(100_000)));
    })
    .await;
}

#[cfg(target_os = "linux")] // the CPU time of a thread
#[tokio::test]
async fn a_server_that_lives_on_with_a_closed_stdout_is_replaced_without_busy_waiting() {
    let (driver, mut supervisor, seen) = world(stdio(&["a"]), |_, _| {});
    beside(driver, async {
        let (_stdin, stdout) = supervisor.child("a", None).await;
        drop(stdout);
        let cpu = || {
            let used =
                nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_THREAD).unwrap();
            let (user, system) = (used.user_time(), used.system_time());
            (user.tv_sec() + system.tv_sec()) * 1000 + (user.tv_usec() + system.tv_usec()) / 1000
        };
        let before = cpu();
        let ToSupervisor::Recycle { code, detail, .. } = supervisor.next().await else {
            panic!("a recycle")
        };
        let spent_ms = cpu() - before;
        assert_eq!(
            (code, detail.contains("stdout")),
            (Code::UpstreamSilent, true)
        );
        assert!(spent_ms < 300, "{spent_ms} ms of CPU while it waited");
        assert_eq!(seen.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_large_line_reaches_a_slow_reader_whole() {
    let big = Bytes::from(vec![b'z'; 8 << 20]);
    let expected = big.len();
    let (driver, mut supervisor, _seen) = world(stdio(&["a"]), move |input, out| {
        if matches!(input, Input::Up(_, UpInput::Connected { .. })) {
            out.push(Output::Write(UpId(0), 0, big.clone()));
        }
    });
    beside(driver, async {
        let (mut stdin, _stdout) = supervisor.child("a", None).await;
        let reader = tokio::task::spawn_blocking(move || {
            let mut bytes = vec![0; expected + 1];
            stdin.read_exact(&mut bytes).unwrap();
            bytes
        });
        assert_eq!(
            reader.await.unwrap().iter().position(|byte| *byte == b'\n'),
            Some(expected)
        );
    })
    .await;
}
