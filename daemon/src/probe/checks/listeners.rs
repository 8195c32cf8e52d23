//! Checks the listening addresses: reachable while the daemon runs, free while it does not.

use crate::{
    platform,
    probe::{
        client::{http, mcp, quic},
        context::Context,
        report::finding::Finding,
    },
};
use ggen_wire::{Code, status::Phase};
use std::{
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
    time::Duration,
};

/// How long a connection within this host may take.
const CONNECT: Duration = Duration::from_secs(3);

pub(super) fn reachable(context: &Context) -> Vec<Finding> {
    if context.status().is_none() {
        return vec![Finding::note("not tried: no daemon answers")];
    }
    let each = context.listeners().into_iter().map(|(name, address)| {
        let target = http::Target::of(address, "/");
        match mcp::connect(
            &target,
            &[http::reachable(address)],
            context.within(CONNECT),
        ) {
            Ok(_) => Finding::note(format!("{name}: {address} takes connections")),
            Err(fault) => Finding::error(fault.code, fault.what)
                .seen(format!("{name} listener: {}", fault.seen))
                .help("ggen mcp server restart"),
        }
    });
    let quic = context.quic_addresses().into_iter().map(|address| {
        match quic::supported_versions(address, context.within(CONNECT)) {
            Ok(_) => Finding::note(format!("quic: {address} answers (UDP)")),
            Err(fault) => Finding::error(fault.code, fault.what)
                .seen(format!("quic port: {}", fault.seen))
                .help("ggen mcp server restart"),
        }
    });
    let stopped = context
        .status()
        .into_iter()
        .flat_map(|status| &status.transports)
        .filter(|one| one.phase == Phase::Stopped);
    let stopped = stopped.map(|one| {
        Finding::note(format!(
            "{0}: stopped on request; ggen mcp server start --server {0}",
            one.name
        ))
    });
    each.chain(quic).chain(stopped).collect()
}

pub(super) fn free(context: &Context) -> Vec<Finding> {
    if !context.is_down() {
        return vec![Finding::note("not tried: a daemon runs")];
    }
    let tcp = context
        .listeners()
        .into_iter()
        .filter(|(_, address)| address.port() != 0)
        .map(|(name, address)| free_tcp(context, name, address));
    let udp = context
        .quic_addresses()
        .into_iter()
        .filter(|address| address.port() != 0)
        .map(|address| free_udp(context, address));
    tcp.chain(udp).collect()
}

fn free_tcp(context: &Context, name: &str, address: SocketAddr) -> Finding {
    let key = match name {
        "http" => "transports.http",
        "https" => "transports.http.ssl",
        _ => "metrics",
    };
    let error = match TcpListener::bind(address) {
        Ok(_) => return Finding::note(format!("{name}: {address} is free")),
        Err(error) => error,
    };
    if platform::is_absent(&error) && context.may_lack(address) {
        return left_out(name, address);
    }
    if error.kind() == io::ErrorKind::AddrInUse {
        let who = platform::who_listens(address).unwrap_or_else(unseen);
        let other = address.port().checked_add(1).unwrap_or(3001);
        let what = format!("port {} ({name}) is taken by {who}", address.port());
        return Finding::error(Code::PortTaken, what)
            .seen(format!("{address} cannot be bound: {error}"))
            .help(format!("ggen mcp config set {key}.port={other}"));
    }
    let help = if error.kind() == io::ErrorKind::PermissionDenied {
        let port = if name == "http" { 3000 } else { 9464 };
        format!("ggen mcp config set {key}.port={port}")
    } else {
        format!("ggen mcp config set {key}.host=127.0.0.1")
    };
    Finding::error(
        Code::BindFailed,
        format!("{address} ({name}) cannot be bound"),
    )
    .seen(error.to_string())
    .help(help)
}

fn free_udp(context: &Context, address: SocketAddr) -> Finding {
    match UdpSocket::bind(address) {
        Ok(_) => Finding::note(format!("quic: {address} is free (UDP)")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let who = platform::who_holds_udp(address).unwrap_or_else(unseen);
            let other = address.port().checked_add(1).unwrap_or(4433);
            let what = format!("UDP port {} (quic) is taken by {who}", address.port());
            Finding::error(Code::PortTaken, what)
                .seen(format!("{address} cannot be bound: {error}"))
                .help(format!("ggen mcp config set transports.quic.port={other}"))
        }
        Err(error) if platform::is_absent(&error) && context.may_lack(address) => {
            left_out("quic", address)
        }
        Err(error) => Finding::error(
            Code::BindFailed,
            format!("{address} (quic, UDP) cannot be bound"),
        )
        .seen(error.to_string())
        .help("ggen mcp config set transports.quic.host=127.0.0.1"),
    }
}

fn left_out(name: &str, address: SocketAddr) -> Finding {
    Finding::note(format!(
        "{name}: {} is left out, this host does not have it",
        address.ip()
    ))
}

fn unseen() -> String {
    "a process that this user cannot see".to_owned()
}
