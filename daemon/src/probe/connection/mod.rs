//! `ggen mcp test-connection`: one connection as a client makes it, layer by layer, each timed. The
//! first layer that fails is named. May not: print, change anything.

mod http_layers;
mod output;
mod quic_layers;
mod websocket_layers;

use super::{
    Connection, Transport,
    client::{
        credentials::Credentials,
        http::{self, Target},
        mcp::{self, Fault},
        stream::{self, Stream},
    },
    context::Context,
};
use crate::{config, tls::client};
use ggen_wire::Code;
use std::{
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

/// One step.
struct Step {
    layer: &'static str,
    /// What was seen, or what went wrong.
    outcome: Result<String, Fault>,
    took: Duration,
    /// It was left out, or failed where that does not matter.
    skipped: bool,
}

/// What came of it.
pub(super) struct Outcome {
    url: String,
    /// A daemon answers at the control socket.
    running: bool,
    /// And the connection is to it.
    own: bool,
    steps: Vec<Step>,
}

impl Outcome {
    pub(super) fn is_good(&self) -> bool {
        self.failure().is_none()
    }

    fn failure(&self) -> Option<(&Step, &Fault)> {
        self.steps
            .iter()
            .filter(|step| !step.skipped)
            .find_map(|step| step.outcome.as_ref().err().map(|fault| (step, fault)))
    }

    fn run<T>(
        &mut self,
        layer: &'static str,
        show: impl FnOnce(&T) -> String,
        work: impl FnOnce() -> Result<T, Fault>,
    ) -> Option<T> {
        let began = Instant::now();
        let result = work();
        let outcome = match &result {
            Ok(value) => Ok(show(value)),
            Err(fault) => Err(fault.clone()),
        };
        self.steps.push(Step {
            layer,
            outcome,
            took: began.elapsed(),
            skipped: false,
        });
        result.ok()
    }

    /// There is nothing to connect to. `given`: there was a URL, and it cannot be read.
    fn no_url(&mut self, given: bool) {
        let seen = if given {
            "expected http://HOST[:PORT]/PATH, https://…, ws://… or wss://…"
        } else {
            "it is not served, or the configuration cannot be read"
        };
        let fault = Fault {
            layer: "URL",
            code: Code::ConfigValue,
            what: "there is no URL to connect to".to_owned(),
            seen: seen.to_owned(),
        };
        self.run("URL", |(): &()| String::new(), || Err(fault));
    }

    fn skip(&mut self, layer: &'static str, why: &str) {
        self.steps.push(Step {
            layer,
            outcome: Ok(why.to_owned()),
            took: Duration::ZERO,
            skipped: true,
        });
    }
}

/// Walks through the layers until one fails.
pub(super) fn walk(context: &Context, options: &Connection) -> Outcome {
    let limit = Duration::from_millis(options.timeout_ms);
    let websocket = options.transport == Transport::Websocket
        || options
            .url
            .as_deref()
            .is_some_and(|url| url.starts_with("ws:") || url.starts_with("wss:"));
    let url = options
        .url
        .clone()
        .or_else(|| own_url(context, options.transport, websocket));
    let running = context.status().is_some();
    let mut outcome = Outcome {
        url: url
            .as_deref()
            .map_or_else(|| "none".to_owned(), config::redacted_text),
        running,
        own: running && options.url.is_none(),
        steps: Vec::new(),
    };
    let credentials = match Credentials::read(options) {
        Ok(credentials) => Arc::new(credentials),
        Err(fault) => {
            outcome.run(fault.layer, |(): &()| String::new(), || Err(fault));
            return outcome;
        }
    };
    let with_credentials = |target: Target| Target {
        credentials: Arc::clone(&credentials),
        ..target
    };
    if options.transport == Transport::Quic {
        let named = options.url.as_deref().and_then(Target::parse);
        let named = named.map(with_credentials);
        quic_layers::run(&mut outcome, context, named, &credentials, limit);
        return outcome;
    }
    let parsed = url.as_deref().and_then(Target::parse);
    let Some(target) = parsed.map(with_credentials) else {
        outcome.no_url(url.is_some());
        return outcome;
    };
    if websocket {
        websocket_layers::run(&mut outcome, &target, limit);
        return outcome;
    }
    http_layers::run(&mut outcome, &target, limit, options.tool.as_deref());
    if options.transport == Transport::All {
        let own = options.url.is_none();
        other_transports(&mut outcome, context, own, &credentials, limit);
    }
    outcome
}

/// Where the daemon serves the transport.
fn own_url(context: &Context, transport: Transport, websocket: bool) -> Option<String> {
    let url = |scheme: &str, target: Option<Target>| {
        target.map(|target| format!("{scheme}://{}{}", target.authority(), target.path))
    };
    match transport {
        _ if websocket => url("ws", context.websocket()),
        Transport::Https => url("https", context.secure_front()),
        Transport::Quic => context
            .quic()
            .map(|address| format!("https://{}/mcp", http::reachable(address))),
        _ => url("http", context.front()),
    }
}

/// After HTTP, the other transports. `own`: no URL was given, so the daemon's are tried.
fn other_transports(
    outcome: &mut Outcome,
    context: &Context,
    own: bool,
    credentials: &Arc<Credentials>,
    limit: Duration,
) {
    let with_credentials = |target: Target| Target {
        credentials: Arc::clone(credentials),
        ..target
    };
    if own {
        match context.secure_front().map(with_credentials) {
            Some(target) if outcome.is_good() => https(outcome, &target, limit),
            Some(_) => outcome.skip("HTTPS", "not tried"),
            None => outcome.skip("HTTPS", "not served"),
        }
    }
    match context.websocket().map(with_credentials) {
        Some(target) if own && outcome.is_good() => {
            websocket_layers::above_connection(outcome, &target, limit)
        }
        None if own => outcome.skip("WebSocket", "not served"),
        _ => outcome.skip(
            "WebSocket",
            "not tried; test-connection ws://HOST:PORT/ws tries it",
        ),
    }
    match context.quic() {
        Some(_) if own => quic_layers::run(outcome, context, None, credentials, limit),
        None if own => outcome.skip("QUIC", "not served"),
        _ => outcome.skip(
            "QUIC",
            "not tried; test-connection --transport quic tries it",
        ),
    }
}

fn https(outcome: &mut Outcome, target: &Target, limit: Duration) {
    let until = Instant::now() + limit;
    outcome.run(
        "HTTPS",
        |(_, seen): &(_, String)| format!("{}, {seen}", target.authority()),
        || {
            mcp::connect(target, &mcp::resolve(target, limit)?, until)
                .and_then(|(_, socket)| tls_handshake(socket, target, until))
        },
    );
}

/// Resolves the name of the target and connects.
fn connect(
    outcome: &mut Outcome,
    target: &Target,
    limit: Duration,
) -> Option<(SocketAddr, TcpStream)> {
    let show = |found: &Vec<SocketAddr>| {
        let addresses: Vec<_> = found.iter().map(|one| one.ip().to_string()).collect();
        addresses.join(", ")
    };
    let addresses = outcome.run("DNS", show, || mcp::resolve(target, limit))?;
    outcome.run(
        "TCP connect",
        |(address, _): &(_, _)| format!("{address}"),
        || mcp::connect(target, &addresses, Instant::now() + limit),
    )
}

/// A TLS handshake, and what a client would make of the certificate.
fn tls_handshake(
    socket: TcpStream,
    target: &Target,
    deadline: Instant,
) -> Result<(Stream, String), Fault> {
    let secure = stream::secure(socket, target, deadline, &client::system())?;
    let seen = stream::verdict(&secure.shown, target, target.is_here())?;
    Ok((Stream::Secure(Box::new(secure)), seen))
}
