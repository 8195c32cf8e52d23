//! The admin worker behind a real socket, with the test in the supervisor's place.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use crate::{
    config::Config,
    ipc::{
        channel::{Receiver, Sender, channel},
        messages::{Bound, Question, Role, Start, ToSupervisor, ToWorker},
    },
    metrics::{Family, Kind, Sample, Value},
    platform::socket_pair,
    worker::Context,
};
use ggen_wire::status::{Phase, Status};
use std::{net::SocketAddr, process::ExitCode, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};

fn worker() -> (SocketAddr, Sender, Receiver, JoinHandle<ExitCode>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let start = Start {
        listeners: vec![Bound {
            transport: "admin".to_owned(),
            address,
        }],
        ..Start::to_try(Role::Admin, Config::default())
    };
    let (ours, theirs) = socket_pair().unwrap();
    let (sender, receiver) = channel(ours).unwrap();
    let context = Context::for_test(start, vec![listener], theirs).unwrap();
    (address, sender, receiver, tokio::spawn(super::run(context)))
}

async fn get(address: SocketAddr, path: &str, extra: &str) -> String {
    let exchange = async {
        let mut socket = TcpStream::connect(address).await.unwrap();
        let head =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{extra}\r\n");
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        answer
    };
    tokio::time::timeout(Duration::from_secs(10), exchange)
        .await
        .unwrap()
}

/// Answers questions, as long as `answers` lasts.
async fn supervise(sender: &mut Sender, receiver: &mut Receiver, answers: usize, phase: Phase) {
    let mut given = 0;
    while given < answers {
        let Some((ToSupervisor::Ask { id, question }, _)) = receiver.receive().await.unwrap()
        else {
            continue;
        };
        let result = match question {
            Question::Status => serde_json::to_value(Status {
                phase,
                version: "9.9.9".to_owned(),
                ..Status::default()
            }),
            _ => serde_json::to_value([Family {
                name: "ggend_up".to_owned(),
                help: "Up.".to_owned(),
                kind: Kind::Gauge,
                samples: vec![Sample {
                    labels: vec![],
                    value: Value::Number(1.0),
                }],
            }]),
        };
        sender
            .send(
                &ToWorker::Answer {
                    id,
                    result: Ok(result.unwrap()),
                },
                &[],
            )
            .await
            .unwrap();
        given += 1;
    }
}

#[tokio::test]
async fn pages_show_what_the_supervisor_says_and_what_it_said_last() {
    let (address, mut sender, mut receiver, task) = worker();
    assert!(
        get(address, "/livez", "")
            .await
            .starts_with("HTTP/1.1 200 "),
        "answers without the supervisor"
    );

    let (answer, ()) = tokio::join!(
        get(address, "/readyz", ""),
        supervise(&mut sender, &mut receiver, 1, Phase::Starting)
    );
    assert!(
        answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("not ready: starting\n"),
        "{answer}"
    );
    let (answer, ()) = tokio::join!(
        get(address, "/readyz/", ""),
        supervise(&mut sender, &mut receiver, 1, Phase::Degraded)
    );
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let (answer, ()) = tokio::join!(
        get(address, "/health", ""),
        supervise(&mut sender, &mut receiver, 1, Phase::Running)
    );
    assert!(
        answer.starts_with("HTTP/1.1 200 ")
            && answer.contains(r#""status":"healthy""#)
            && answer.contains("9.9.9"),
        "{answer}"
    );

    let accept =
        "Accept: application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5\r\n";
    let (answer, ()) = tokio::join!(
        get(address, "/metrics", accept),
        supervise(&mut sender, &mut receiver, 1, Phase::Running)
    );
    assert!(
        answer.contains(
            "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"
        ),
        "{answer}"
    );
    assert!(
        answer.contains("# TYPE ggend_up gauge\n# HELP ggend_up Up.\nggend_up 1\n")
            && answer.ends_with("# EOF\n"),
        "{answer}"
    );
    let (answer, ()) = tokio::join!(
        get(address, "/metrics", ""),
        supervise(&mut sender, &mut receiver, 1, Phase::Running)
    );
    assert!(
        answer.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"),
        "{answer}"
    );
    assert!(
        answer.contains("# TYPE ggend_up gauge\nggend_up 1\n"),
        "{answer}"
    );
    // Now the supervisor is too busy to answer.
    let answer = get(address, "/metrics", "").await;
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.contains("\nggend_up 1\n"),
        "{answer}"
    );

    assert!(
        get(address, "/nothing", "")
            .await
            .starts_with("HTTP/1.1 404 ")
    );
    assert!(
        get(address, "/livez", "Origin: http://evil.example\r\n")
            .await
            .starts_with("HTTP/1.1 403 ")
    );
    sender
        .send(&ToWorker::Drain { deadline_ms: 5000 }, &[])
        .await
        .unwrap();
    assert_eq!(
        tokio::time::timeout(Duration::from_secs(10), task)
            .await
            .unwrap()
            .unwrap(),
        ExitCode::SUCCESS
    );
}

#[tokio::test]
async fn probes_are_answered_whatever_host_they_name_and_told_a_word() {
    let (address, mut sender, mut receiver, _task) = worker();
    let ask = |head: &'static str| async move {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        answer
    };
    for head in [
        "GET /livez HTTP/1.1\r\nHost: 10.1.2.3:9464\r\nConnection: close\r\n\r\n",
        "GET /livez HTTP/1.0\r\n\r\n",
    ] {
        let answer = ask(head).await;
        assert!(
            answer.contains(" 200 ") && answer.ends_with("ok\n"),
            "{answer}"
        );
    }
    for head in [
        "GET /health HTTP/1.1\r\nHost: 10.1.2.3:9464\r\nConnection: close\r\n\r\n",
        "GET /health HTTP/1.0\r\n\r\n",
    ] {
        let (answer, ()) = tokio::join!(
            ask(head),
            supervise(&mut sender, &mut receiver, 1, Phase::Degraded)
        );
        assert!(
            answer.contains(" 200 ") && answer.ends_with("\r\n\r\n{\"status\":\"degraded\"}"),
            "{answer}"
        );
    }
    for head in [
        "GET /metrics HTTP/1.1\r\nHost: 10.1.2.3\r\nConnection: close\r\n\r\n",
        "GET /livez HTTP/1.1\r\nHost: evil.example\r\nOrigin: http://evil.example\r\nConnection: close\r\n\r\n",
        "GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n",
    ] {
        let answer = ask(head).await;
        assert!(
            answer.starts_with("HTTP/1.1 403 ") || answer.starts_with("HTTP/1.1 400 "),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn strangers_are_asked_who_they_are_before_they_read_figures() {
    let (address, mut sender, mut receiver, _task) = worker();
    let files = crate::config::AuthFiles {
        api_key: Some(crate::config::Secret::new("the-key".to_owned())),
        ..Default::default()
    };
    let auth = crate::auth::AuthSecrets::of(&Config::default(), &files, &Default::default(), false);
    let secrets = crate::ipc::secrets::Secrets {
        auth,
        ..Default::default()
    };
    sender
        .send(&ToWorker::Secrets(Box::new(secrets)), &[])
        .await
        .unwrap();
    let told = async {
        while !get(address, "/metrics", "X-API-Key: wrong\r\n")
            .await
            .starts_with("HTTP/1.1 401 ")
        {}
    };
    tokio::select! {
        () = told => {}
        () = supervise(&mut sender, &mut receiver, usize::MAX, Phase::Running) => {}
    }
    let refused = get(address, "/health", "").await;
    assert!(
        refused.starts_with("HTTP/1.1 401 ") && refused.contains("www-authenticate: Bearer\r\n"),
        "{refused}"
    );
    assert!(
        get(address, "/livez", "")
            .await
            .starts_with("HTTP/1.1 200 ")
    );
    let (answer, ()) = tokio::join!(
        get(address, "/metrics", "Authorization: Bearer the-key\r\n"),
        supervise(&mut sender, &mut receiver, 1, Phase::Running)
    );
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}
