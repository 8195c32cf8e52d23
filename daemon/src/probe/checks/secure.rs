//! HTTPS as a client sees it: the handshake, and whether the certificate would be believed.

use super::super::{context::Context, finding::Finding, http, mcp};
use crate::tls::{client, files};
use ggen_wire::Code;
use std::{
    io::{Read, Write},
    net::SocketAddr,
    time::{Duration, SystemTime},
};

/// How long the whole visit may take.
const VISIT: Duration = Duration::from_secs(3);
/// Fewer days than that are an error rather than a warning.
const VERY_SOON: i64 = 7;
/// Where systems keep the authorities that they trust.
const SYSTEM: [&str; 3] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

pub(super) fn https(context: &Context) -> Vec<Finding> {
    if context.status().is_none() {
        return vec![Finding::note("not tried: no daemon answers")];
    }
    let Some((_, address)) = context.listeners().into_iter().find(|(name, _)| *name == "https") else {
        return vec![Finding::note("HTTPS is not served")];
    };
    visit(context, address)
}

fn visit(context: &Context, address: SocketAddr) -> Vec<Finding> {
    let target = http::Target::of(address, "/");
    let until = context.within(VISIT);
    let socket = match mcp::connect(&target, &[http::reachable(address)], until) {
        Ok((_, socket)) => socket,
        // The check of listeners says so already.
        Err(_) => return vec![Finding::note("not tried: it takes no connections")],
    };
    socket.set_read_timeout(Some(VISIT)).and_then(|()| socket.set_write_timeout(Some(VISIT))).unwrap_or_default();
    let trusted: Vec<String> = SYSTEM.iter().find_map(|path| std::fs::read_to_string(path).ok()).into_iter().collect();
    let mut secure = match client::connect(socket, "localhost", &trusted) {
        Ok(secure) => secure,
        Err(error) => {
            return vec![
                Finding::error(Code::CertificateVerifyFailed, "the TLS handshake fails")
                    .seen(format!("{address}: {error}"))
                    .mend("ggen mcp server logs --level warn"),
            ];
        }
    };
    let mut found = Vec::new();
    let Some(facts) = secure.facts.take() else { return found };
    let days = files::days_left(&facts, SystemTime::now());
    let dates = "ggen mcp explain GGEN-E4032";
    if days < VERY_SOON {
        let what = if days < 0 {
            format!("the certificate has expired {} days ago", -days)
        } else {
            format!("the certificate expires in {days} days")
        };
        found.push(Finding::error(Code::CertificateExpiring, what).seen(format!("{address} shows {}", facts.name)).mend(dates));
    } else if days < files::SOON {
        let what = format!("the certificate expires in {days} days");
        found.push(Finding::warning(Code::CertificateExpiring, what).seen(format!("{address} shows {}", facts.name)).mend(dates));
    }
    match &secure.refused {
        // It is what the daemon says of itself in its log; a client has to be told anyhow.
        Some(_) if facts.self_issued => found
            .push(Finding::note(format!("{address}: self-signed, for {}; clients have to be told to trust it", facts.hosts.join(", ")))),
        Some(reason) if days >= 0 => found.push(
            Finding::warning(Code::CertificateVerifyFailed, format!("Certificate verify failed: {reason}"))
                .seen(format!("{address} as https://localhost, with the authorities of this system"))
                .mend("ggen mcp explain GGEN-E4030"),
        ),
        _ => {}
    }
    let request = format!("GET /health HTTP/1.1\r\nHost: localhost:{}\r\nConnection: close\r\n\r\n", address.port());
    let mut head = [0; 12];
    match secure.stream.write_all(request.as_bytes()).and_then(|()| secure.stream.read_exact(&mut head)) {
        Ok(()) => found.push(Finding::note(format!(
            "{address}: {}, {days} days left, /health answers {}",
            secure.version,
            String::from_utf8_lossy(&head[9..])
        ))),
        // The handshake was made: where client certificates are required, this is how it is meant.
        Err(error) => found.push(Finding::note(format!("{address}: no answer without a client certificate: {error}"))),
    }
    found
}
