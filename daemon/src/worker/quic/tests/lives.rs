//! A worker's changes: configuration, certificates, drain.

use super::{
    Rig, certificate,
    client::{self, post},
    event, full, secrets, soon,
};
use crate::ipc::messages::{ToSupervisor, ToWorker};
use ggen_mcp::edge::Reply;
use std::{process::ExitCode, time::Duration};

#[tokio::test]
async fn a_drain_finishes_what_is_in_flight_and_takes_nothing_new() {
    let mut rig = Rig::new(|_| {});
    let mut gateway = rig.link().await;
    let mut client = rig.client().await;
    let asking =
        tokio::spawn(async move { (client.ask(post(), "{\"id\":1}").await.unwrap(), client) });
    let (stream, _) = gateway.open().await;
    gateway.reply(stream, Reply::Start { session: None }).await;
    let ((_, mut body), mut client) = soon(asking).await.unwrap();
    rig.drain().await;
    // GOAWAY reaches the client, which says so itself, or the request is refused.
    soon(async {
        while let Ok(mut stream) = client.begin(post(), "{}").await {
            let answered = async {
                stream.finish().await?;
                stream.recv_response().await
            };
            if answered.await.is_err() {
                break;
            }
        }
    })
    .await;
    gateway.reply(stream, event("{}")).await;
    assert_eq!(client::piece(&mut body).await.unwrap(), "data: {}\n\n");
    // Much, and the end right behind it: all of it has to be taken before the connection closes.
    gateway.reply(stream, event("x".repeat(1 << 20))).await;
    gateway.reply(stream, Reply::End).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(
        soon(client::rest(&mut body)).await.unwrap().len(),
        (1 << 20) + 8
    );
    assert_eq!(rig.gone().await, ExitCode::SUCCESS);
    let closed = soon(client.quic.closed()).await;
    assert!(
        matches!(&closed, h3_quinn::quinn::ConnectionError::ApplicationClosed(close) if close.error_code.into_inner() == 0x100),
        "{closed:?}"
    );
    soon(client.driver).await.unwrap();
}

#[tokio::test]
async fn an_idle_worker_goes_at_once() {
    let mut rig = Rig::new(|_| {});
    let client = rig.client().await;
    rig.metric_is("ggend_quic_connections", |open| open == 1.0)
        .await;
    rig.drain().await;
    assert_eq!(rig.gone().await, ExitCode::SUCCESS);
    soon(client.quic.closed()).await;
}

#[tokio::test]
async fn another_certificate_counts_from_the_next_handshake_on() {
    let mut rig = Rig::new(|_| {});
    rig.echo().await;
    let mut before = rig.client().await;
    let (other, authority) = certificate(&["localhost"]);
    rig.sender
        .send(&ToWorker::Secrets(Box::new(secrets(other))), &[])
        .await
        .unwrap();
    rig.authority = authority;
    // The message needs a moment; until then the handshake fails.
    let known = rustls::pki_types::CertificateDer::from(rig.authority.to_vec());
    soon(async {
        loop {
            let (address, known) = (rig.address, known.clone());
            if tokio::spawn(async move { client::quic(address, &known, "localhost").await })
                .await
                .is_ok()
            {
                return;
            }
        }
    })
    .await;
    assert_eq!(rig.client().await.post("{}").await.status, 200);
    assert_eq!(before.post("{}").await.status, 200);
}

#[tokio::test]
async fn silence_ends_a_connection_but_not_while_a_request_is_in_flight() {
    let mut rig = Rig::new(|transports| transports.quic.idle_timeout_ms = 400);
    let mut gateway = rig.link().await;
    let mut client = rig.client().await;
    let asking = tokio::spawn(async move { (client.post("{\"id\":1}").await, client) });
    let (stream, _) = gateway.open().await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    gateway.reply(stream, full(200, "{}")).await;
    let (answer, client) = soon(asking).await.unwrap();
    assert_eq!(answer.status, 200);
    soon(client.quic.closed()).await;
    rig.metric_is("ggend_quic_connections", |open| open == 0.0)
        .await;
}

#[tokio::test]
async fn a_new_configuration_counts_for_requests_at_once() {
    let mut rig = Rig::new(|_| {});
    rig.echo().await;
    let mut client = rig.client().await;
    assert_eq!(client.post(vec![b' '; 3000]).await.status, 200);
    let mut start = rig.start.clone();
    start.generation = 2;
    start.config.transports.http.max_body.0 = 1024;
    rig.sender
        .send(&ToWorker::Reconfigure(Box::new(start)), &[])
        .await
        .unwrap();
    loop {
        if let (ToSupervisor::Reconfigured { generation: 2 }, _) =
            soon(rig.receiver.receive()).await.unwrap().unwrap()
        {
            break;
        }
    }
    assert_eq!(client.post(vec![b' '; 3000]).await.status, 413);
}
