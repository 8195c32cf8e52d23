//! Checks HTTPS and HTTP/3 as a client: the handshake, the certificate, an answer.

use crate::{
    probe::{
        client::{
            http::{self, Target, Unserved},
            http3::Http3Client,
            mcp::{self, Fault},
            quic,
        },
        context::Context,
        report::finding::Finding,
    },
    tls::{
        client::{self, Shown},
        files,
    },
};
use ggen_wire::Code;
use std::{
    io::{Read, Write},
    net::SocketAddr,
    time::{Duration, SystemTime},
};

/// How long one step of a check of HTTPS or HTTP/3 may take.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Fewer days than that are an error rather than a warning.
const VERY_SOON: i64 = 7;

pub(super) fn https(context: &Context) -> Vec<Finding> {
    if context.status().is_none() {
        return vec![Finding::note("not tried: no daemon answers")];
    }
    let Some((_, address)) = context
        .listeners()
        .into_iter()
        .find(|(name, _)| *name == "https")
    else {
        return vec![Finding::note("HTTPS is not served")];
    };
    http3(context, address)
}

fn http3(context: &Context, address: SocketAddr) -> Vec<Finding> {
    let target = http::Target::of(address, "/");
    let until = context.within(TIMEOUT);
    let socket = match mcp::connect(&target, &[http::reachable(address)], until) {
        Ok((_, socket)) => socket,
        // The check of listeners says so already.
        Err(_) => return vec![Finding::note("not tried: it takes no connections")],
    };
    socket
        .set_read_timeout(Some(TIMEOUT))
        .and_then(|()| socket.set_write_timeout(Some(TIMEOUT)))
        .unwrap_or_default();
    let mut secure = match client::connect(socket, "localhost", &client::system(), None) {
        Ok(secure) => secure,
        Err(error) => {
            return vec![
                Finding::error(Code::CertificateVerifyFailed, "the TLS handshake fails")
                    .seen(format!("{address}: {error}"))
                    .help("ggen mcp server logs --level warn"),
            ];
        }
    };
    let (mut found, days) = judge(&secure.shown, "localhost", address);
    let request = format!(
        "GET /health HTTP/1.1\r\nHost: localhost:{}\r\nConnection: close\r\n\r\n",
        address.port()
    );
    let mut head = [0; 12];
    match secure
        .stream
        .write_all(request.as_bytes())
        .and_then(|()| secure.stream.read_exact(&mut head))
    {
        Ok(()) => found.push(Finding::note(format!(
            "{address}: {}, {days} days left, /health answers {}",
            secure.shown.version,
            String::from_utf8_lossy(&head[9..])
        ))),
        // The handshake was made: where client certificates are required, this is how it is meant.
        Err(error) => found.push(Finding::note(format!(
            "{address}: no answer without a client certificate: {error}"
        ))),
    }
    found
}

/// What the certificate is worth, and how many days are left of it.
fn judge(shown: &Shown, name: &str, address: SocketAddr) -> (Vec<Finding>, i64) {
    let mut found = Vec::new();
    let Some(facts) = &shown.facts else {
        return (found, 0);
    };
    let days = files::days_left(facts, SystemTime::now());
    let dates = "ggen mcp explain GGEN-E4032";
    if days < VERY_SOON {
        let what = if days < 0 {
            format!("the certificate has expired {} days ago", -days)
        } else {
            format!("the certificate expires in {days} days")
        };
        found.push(
            Finding::error(Code::CertificateExpiring, what)
                .seen(format!("{address} shows {}", facts.name))
                .help(dates),
        );
    } else if days < files::SOON {
        let what = format!("the certificate expires in {days} days");
        found.push(
            Finding::warning(Code::CertificateExpiring, what)
                .seen(format!("{address} shows {}", facts.name))
                .help(dates),
        );
    }
    match &shown.refused {
        // It is what the daemon says of itself in its log; a client has to be told anyhow.
        Some(_) if facts.self_issued => found.push(Finding::note(format!(
            "{address}: self-signed, for {}; clients have to be told to trust it",
            facts.hosts.join(", ")
        ))),
        Some(reason) if days >= 0 => found.push(
            Finding::warning(
                Code::CertificateVerifyFailed,
                format!("Certificate verify failed: {reason}"),
            )
            .seen(format!(
                "{address} as https://{name}, with the authorities of this system"
            ))
            .help("ggen mcp explain GGEN-E4030"),
        ),
        _ => {}
    }
    (found, days)
}

pub(super) fn quic(context: &Context) -> Vec<Finding> {
    let Some(address) = context
        .status()
        .and_then(|_| context.quic())
        .map(http::reachable)
    else {
        return vec![Finding::note(
            "not tried: no daemon answers, or it serves no HTTP/3",
        )];
    };
    // Each step has its own time: what a slow step before it took says nothing about it.
    let until = || context.within(TIMEOUT);
    // The check of listeners says so already.
    if quic::supported_versions(address, until()).is_err() {
        return vec![Finding::note("not tried: QUIC is not answered")];
    }
    let wrong = |fault: Fault| {
        let found =
            Finding::error(fault.code, fault.what).seen(format!("{}: {}", fault.layer, fault.seen));
        found.help("ggen mcp server restart --server quic")
    };
    let name = context.quic_name();
    let target = Target {
        host: name.clone(),
        tls: true,
        ..Target::of(address, "/health")
    };
    let (mut http3, shown) = match Http3Client::open(&target, address, until(), client::system()) {
        Ok(made) => made,
        Err(fault) => return vec![wrong(fault)],
    };
    let (mut found, days) = judge(&shown, &name, address);
    found.push(
        match http3.exchange(&target, "GET", &[("Accept", "*/*")], "", until()) {
            Ok(answer) if answer.status < 500 && answer.status != 421 => Finding::note(format!(
                "{address}: h3, {}, {days} days left, /health answers {}",
                shown.version, answer.status
            )),
            Ok(answer) => wrong(Fault {
                layer: "HTTP/3",
                ..mcp::unwanted("HTTP/3", &target, &answer)
            }),
            // The handshake was made: where client certificates are required, this is how it is
            // meant.
            Err(Unserved::Certificate) => {
                Finding::note(format!("{address}: no answer without a client certificate"))
            }
            Err(error) => wrong(Fault {
                layer: "HTTP/3",
                ..mcp::unserved(&target, &error)
            }),
        },
    );
    found
}
