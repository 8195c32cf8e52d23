//! The quic worker behind a real socket, with the test in the places of the supervisor, the gateway
//! worker and the client; the client's QUIC is another implementation than ours.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod abuse;
mod answers;
mod client;
mod lives;

use crate::{
    config::{Config, Transports},
    ipc::{
        channel::{Receiver, Sender, channel},
        messages::{Beat, Bound, Role, Start, ToSupervisor, ToWorker},
        secrets::{Certificate, Secrets, Sensitive, TlsSecrets},
        socket_slot::SocketSlot,
    },
    platform::socket_pair,
    worker::{
        Context,
        edge::testing::{Gateway, PATIENCE, event, full, soon},
    },
};
use std::{
    net::{SocketAddr, UdpSocket},
    os::fd::{AsFd, OwnedFd},
    process::ExitCode,
};
use tokio::task::JoinHandle;

/// A certificate that is its own authority, for these names.
fn certificate(names: &[&str]) -> (Certificate, rustls::pki_types::CertificateDer<'static>) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let key = Sensitive::from(made.signing_key.serialize_pem());
    (
        Certificate {
            chain: made.cert.pem(),
            key,
        },
        made.cert.der().clone(),
    )
}

fn secrets(certificate: Certificate) -> Secrets {
    Secrets {
        tls: TlsSecrets {
            certificates: vec![certificate],
            ..TlsSecrets::default()
        },
        ..Secrets::default()
    }
}

/// A worker under test.
struct Rig {
    address: SocketAddr,
    authority: rustls::pki_types::CertificateDer<'static>,
    sender: Sender,
    receiver: Receiver,
    task: JoinHandle<ExitCode>,
    start: Start,
    links: u32,
}

impl Rig {
    fn new(tune: impl FnOnce(&mut Transports)) -> Self {
        let mut config = Config::default();
        tune(&mut config.transports);
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let start = Start {
            beat_ms: 20,
            listeners: vec![Bound {
                transport: "quic".to_owned(),
                address,
            }],
            socket_slot: Some(SocketSlot {
                index: 5,
                reset_key: [9; 32],
            }),
            ..Start::to_try(Role::Quic, config)
        };
        let (served, authority) = certificate(&["localhost", "other.example"]);
        let (ours, theirs) = socket_pair().unwrap();
        let (sender, receiver) = channel(ours).unwrap();
        let mut context =
            Context::for_test(start.clone(), vec![OwnedFd::from(socket).into()], theirs).unwrap();
        context.secrets = secrets(served);
        Self {
            address,
            authority,
            sender,
            receiver,
            task: tokio::spawn(super::run(context)),
            start,
            links: 0,
        }
    }

    /// A gateway worker starts, and the worker gets a link to it.
    async fn link(&mut self) -> Gateway {
        let (ours, theirs) = socket_pair().unwrap();
        self.links += 1;
        self.sender
            .send(
                &ToWorker::Link {
                    edge: self.links,
                    peer: "gateway-0".to_owned(),
                },
                &[theirs.as_fd()],
            )
            .await
            .unwrap();
        Gateway::new(ours)
    }

    /// A gateway worker that answers each request with its own body.
    async fn echo(&mut self) -> JoinHandle<()> {
        tokio::spawn(self.link().await.echo())
    }

    async fn client(&self) -> client::Client {
        client::Client::connect(self.address, &self.authority, "localhost").await
    }

    async fn beat(&mut self) -> Beat {
        loop {
            let (message, _) = soon(self.receiver.receive::<ToSupervisor>())
                .await
                .unwrap()
                .unwrap();
            if let ToSupervisor::Beat(beat) = message {
                return beat;
            }
        }
    }

    /// The next beat's value of a metric, summed over its labels.
    async fn metric(&mut self, name: &str) -> f64 {
        loop {
            let beat = self.beat().await;
            let Some(family) = beat.metrics.iter().find(|family| family.name == name) else {
                continue;
            };
            let value = |sample: &crate::metrics::Sample| match sample.value {
                crate::metrics::Value::Number(value) => value,
                crate::metrics::Value::Histogram { .. } => 0.0,
            };
            return family.samples.iter().map(value).sum();
        }
    }

    async fn metric_is(&mut self, name: &str, wanted: impl Fn(f64) -> bool) {
        soon(async { while !wanted(self.metric(name).await) {} }).await;
    }

    async fn drain(&mut self) {
        self.sender
            .send(
                &ToWorker::Drain {
                    deadline_ms: 20_000,
                },
                &[],
            )
            .await
            .unwrap();
    }

    /// Waits for the worker to have gone.
    async fn gone(self) -> ExitCode {
        let Self {
            task, mut receiver, ..
        } = self;
        let reading = tokio::spawn(async move {
            while let Ok(Some(_)) = receiver.receive::<ToSupervisor>().await {}
        });
        let code = soon(task).await.unwrap();
        reading.abort();
        code
    }
}
