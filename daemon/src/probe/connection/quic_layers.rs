//! The layers of a connection over QUIC and HTTP/3.

use super::Outcome;
use crate::{
    probe::{
        client::{
            credentials::Credentials,
            http::{self, Target},
            http3::Http3Client,
            mcp::{self, Client, Era, Fault, Way},
            quic, stream,
        },
        context::Context,
    },
    tls::client,
};
use ggen_wire::Code;
use ggen_wire::text;
use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

/// HTTP/3 at a URL, or where the daemon serves it.
pub(super) fn run(
    outcome: &mut Outcome,
    context: &Context,
    named: Option<Target>,
    credentials: &Arc<Credentials>,
    limit: Duration,
) {
    let is_named = named.is_some();
    let Some(address) = version(outcome, context, named.as_ref(), limit) else {
        return;
    };
    // The daemon's own listener is asked for by the name of its certificate.
    let target = named.unwrap_or_else(|| Target {
        host: context.quic_name(),
        tls: true,
        credentials: Arc::clone(credentials),
        ..Target::of(address, "/mcp")
    });
    let Some(mut http3) = handshake(outcome, &target, address, limit) else {
        return;
    };
    let asked = if is_named {
        target.clone()
    } else {
        target.at("/health")
    };
    let answered = outcome.run(
        "HTTP/3",
        |status: &u16| format!("status {status} from {}", asked.path),
        || {
            let headers = [("Accept", "application/json, text/event-stream")];
            let answer = http3.exchange(&asked, "GET", &headers, "", Instant::now() + limit);
            answer.map(|answer| answer.status).map_err(|error| Fault {
                layer: "HTTP/3",
                ..mcp::unserved(&asked, &error)
            })
        },
    );
    if answered.is_some() {
        mcp_layers(outcome, &target, &mut http3, limit);
    }
}

/// Whether QUIC is answered, and in which versions; gives the address.
fn version(
    outcome: &mut Outcome,
    context: &Context,
    named: Option<&Target>,
    limit: Duration,
) -> Option<SocketAddr> {
    let own = context.quic().map(http::reachable);
    let show = |(address, versions): &(SocketAddr, Vec<u32>)| {
        let one = if versions.contains(&1) {
            "version 1"
        } else {
            "no version that is known here"
        };
        format!("{address} (UDP) speaks {one}")
    };
    let answered = outcome.run("QUIC", show, || {
        let found = named.map_or(Ok(own), |target| {
            mcp::resolve(target, limit).map(|found| found.first().copied())
        })?;
        let address = found.ok_or_else(|| Fault {
            layer: "QUIC",
            code: Code::ConnectionRefused,
            what: "QUIC is not served".to_owned(),
            seen: "transports.quic is off, or its port is taken".to_owned(),
        })?;
        quic::supported_versions(address, Instant::now() + limit)
            .map(|(versions, _)| (address, versions))
    });
    answered.map(|(address, _)| address)
}

fn handshake(
    outcome: &mut Outcome,
    target: &Target,
    address: SocketAddr,
    limit: Duration,
) -> Option<Http3Client> {
    let made = outcome.run(
        "TLS over QUIC",
        |(_, seen): &(Http3Client, String)| format!("{seen}, h3"),
        || {
            let (http3, shown) =
                Http3Client::open(target, address, Instant::now() + limit, client::system())?;
            let here = target.is_here() || address.ip().to_canonical().is_loopback();
            let verdict = stream::verdict(&shown, target, here).map_err(|fault| Fault {
                layer: "TLS over QUIC",
                ..fault
            })?;
            Ok((http3, verdict))
        },
    );
    made.map(|(http3, _)| http3)
}

fn mcp_layers(outcome: &mut Outcome, target: &Target, http3: &mut Http3Client, limit: Duration) {
    let greeted = outcome.run(
        "MCP over HTTP/3",
        |(_, version): &(Client<'_>, String)| version.clone(),
        || {
            let way = Way::Http3(http3);
            let mut client = Client::new(target, way, Era::Modern, Instant::now() + limit);
            let version = client.handshake().or_else(|modern| {
                // A server need not speak both eras.
                client.speak(Era::Legacy);
                client.handshake().map_err(|_| modern)
            })?;
            Ok((client, version))
        },
    );
    let Some((mut client, _)) = greeted else {
        return;
    };
    outcome.run(
        "tools/list",
        |names: &Vec<String>| text::count(names.len(), "tool"),
        || client.tools(),
    );
    client.close();
}
