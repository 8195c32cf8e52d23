//! Clients that ask for too much.

use super::{Rig, client, full, soon};
use client::Client;
use ggen_mcp::edge::frame::Frame;
use h3_quinn::quinn;

/// QUIC with an open control stream, and nothing of h3 in the way.
async fn raw(rig: &Rig) -> (quinn::Endpoint, quinn::Connection, quinn::SendStream) {
    let (endpoint, quic) = client::quic(rig.address, &rig.authority, "localhost").await;
    let mut control = quic.open_uni().await.unwrap();
    // Its type, and empty SETTINGS.
    control.write_all(&[0, 4, 0]).await.unwrap();
    (endpoint, quic, control)
}

#[tokio::test]
async fn a_giant_head_is_refused_before_it_is_collected() {
    let mut rig = Rig::new(|_| {});
    rig.echo().await;
    let (_endpoint, quic, _control) = raw(&rig).await;
    let (mut send, mut receive) = quic.open_bi().await.unwrap();
    // HEADERS of 2^30 - 1 bytes.
    send.write_all(&[1, 0xbf, 0xff, 0xff, 0xff]).await.unwrap();
    let piece = vec![0; 64 << 10];
    let mut taken = 0;
    let stopped = soon(async {
        loop {
            match send.write_all(&piece).await {
                Ok(()) => taken += piece.len(),
                Err(error) => return error,
            }
        }
    })
    .await;
    assert!(
        matches!(stopped, quinn::WriteError::Stopped(code) if code.into_inner() == 0x107),
        "{stopped:?}"
    );
    assert!(taken <= 4 << 20, "{taken}");
    assert!(soon(receive.read_to_end(100)).await.is_err());
    // The connection is still good.
    let (mut send, _receive) = quic.open_bi().await.unwrap();
    send.write_all(&[0x21, 0]).await.unwrap();
    assert!(quic.close_reason().is_none());
}

#[tokio::test]
async fn a_giant_control_frame_ends_the_connection() {
    let mut rig = Rig::new(|_| {});
    rig.echo().await;
    let (_endpoint, quic) = client::quic(rig.address, &rig.authority, "localhost").await;
    let mut control = quic.open_uni().await.unwrap();
    control
        .write_all(&[0, 4, 0xbf, 0xff, 0xff, 0xff])
        .await
        .unwrap();
    soon(quic.closed()).await;
}

#[tokio::test]
async fn a_head_that_is_somewhat_too_large_is_answered_431() {
    let mut rig = Rig::new(|_| {});
    rig.echo().await;
    let mut client = rig.client().await;
    let request = client::post().header("x-large", "x".repeat(70 << 10));
    assert_eq!(client.answer(request, "{}").await.status, 431);
    assert_eq!(client.post("{}").await.status, 200);
}

#[tokio::test]
async fn more_requests_than_allowed_wait_and_those_that_are_reset_are_forgotten() {
    let mut rig = Rig::new(|transports| transports.quic.max_concurrent_streams = 10);
    let mut gateway = rig.link().await;
    let mut client = rig.client().await;
    let mut streams = Vec::new();
    for _ in 0..10 {
        let mut stream = client.begin(client::post(), "{\"id\":1}").await.unwrap();
        stream.finish().await.unwrap();
        streams.push(stream);
    }
    let mut more = client.send.clone();
    let mut eleventh = Box::pin(async move {
        let mut stream = more
            .send_request(client::post().body(()).unwrap())
            .await
            .unwrap();
        stream.send_data("{}".into()).await.unwrap();
        stream.finish().await.unwrap();
        stream.recv_response().await.unwrap().status()
    });
    let mut open = Vec::new();
    for _ in 0..10 {
        open.push(gateway.open().await.0);
    }
    assert!(
        tokio::time::timeout(std::time::Duration::from_millis(100), &mut eleventh)
            .await
            .is_err()
    );
    for mut stream in streams {
        stream.stop_sending(h3::error::Code::H3_REQUEST_CANCELLED);
    }
    let asking = tokio::spawn(eleventh);
    let mut gone = 0;
    let mut eleventh = None;
    while gone < 10 || eleventh.is_none() {
        match gateway.next().await {
            (stream, Frame::Gone) => {
                assert!(open.contains(&stream));
                gone += 1;
            }
            (stream, Frame::Open(_)) => eleventh = Some(stream),
            other => panic!("{other:?}"),
        }
    }
    gateway.reply(eleventh.unwrap(), full(200, "{}")).await;
    assert_eq!(soon(asking).await.unwrap(), 200);
}

#[tokio::test]
async fn streams_without_a_request_end_the_connection_at_some_point() {
    let mut rig = Rig::new(|_| {});
    rig.echo().await;
    let (_endpoint, quic, _control) = raw(&rig).await;
    let flood = async {
        loop {
            let Ok((mut send, _receive)) = quic.open_bi().await else {
                return;
            };
            send.finish().unwrap();
        }
    };
    soon(flood).await;
    let reason = quic.close_reason();
    assert!(
        matches!(&reason, Some(quinn::ConnectionError::ApplicationClosed(close)) if close.error_code.into_inner() == 0x107),
        "{reason:?}"
    );
}

#[tokio::test]
async fn who_opens_no_window_loses_the_connection() {
    let mut rig = Rig::new(|transports| transports.http.send_timeout_ms = 500);
    rig.echo().await;
    let mut narrow = quinn::TransportConfig::default();
    narrow.stream_receive_window(2_000_u32.into());
    let address = (rig.address, &rig.authority);
    let over = client::quic_with(address.0, address.1, "localhost", narrow).await;
    let mut silent = Client::over(over).await;
    let body = vec![b' '; 20_000];
    let _unread = soon(silent.ask(client::post(), body)).await.unwrap();
    let why = soon(silent.quic.closed()).await;
    assert!(
        matches!(&why, quinn::ConnectionError::ApplicationClosed(close) if close.error_code.into_inner() == 0x107),
        "{why:?}"
    );
    // Somebody who reads is served meanwhile.
    let mut good = rig.client().await;
    assert_eq!(good.post("x").await.status, 200);
}
