//! `ggen mcp test-connection`: one connection as a client makes it, layer by layer, each timed; the
//! first layer that fails is named.

use super::{
    Connection, Transport,
    client::{
        http::{self, Target},
        http3::Visit,
        mcp::{self, Client, Era, Fault, Way},
        quic,
        stream::{self, Stream},
        websocket,
    },
    context::Context,
    report::{Paint, finding::Severity, text},
};
use crate::{config, tls::client};
use ggen_wire::Code;
use serde_json::{Value, json};
use std::{
    fmt::Write as _,
    net::{SocketAddr, TcpStream},
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

    fn skip(&mut self, layer: &'static str, why: &str) {
        self.steps.push(Step {
            layer,
            outcome: Ok(why.to_owned()),
            took: Duration::ZERO,
            skipped: true,
        });
    }

    /// For people.
    pub(super) fn human(&self, paint: &Paint) -> String {
        let mut out = format!("Testing MCP connection: {}\n\n", self.url);
        for step in &self.steps {
            let _ = match (&step.outcome, step.skipped) {
                (Ok(seen), false) => writeln!(
                    out,
                    "  {} {}: {seen} ({})",
                    paint.mark(Severity::Note),
                    step.layer,
                    text::took(step.took)
                ),
                (Ok(why), true) => writeln!(out, "  - {}: {why}", step.layer),
                (Err(fault), true) => {
                    writeln!(out, "  - {}: not spoken ({})", step.layer, fault.seen)
                }
                (Err(fault), false) => {
                    let mark = paint.mark(Severity::Error);
                    writeln!(
                        out,
                        "  {mark} {}: {}  [{}] ({})\n    seen: {}",
                        step.layer,
                        fault.what,
                        fault.code,
                        text::took(step.took),
                        fault.seen
                    )
                }
            };
        }
        let _ = match self.failure() {
            None => {
                let all: Duration = self.steps.iter().map(|step| step.took).sum();
                writeln!(out, "\nConnection OK ({})", text::took(all))
            }
            Some((step, fault)) => writeln!(
                out,
                "\nConnection failed at {}\n  help: {}",
                step.layer,
                self.mend(fault)
            ),
        };
        out
    }

    /// The command that mends it, or the next one to look with.
    fn mend(&self, fault: &Fault) -> String {
        let target = Target::parse(&self.url);
        let host = target.as_ref().map_or("", |target| target.host.as_str());
        let port = target.as_ref().map_or(0, |target| target.port);
        let here = target.as_ref().is_some_and(Target::is_here);
        match (fault.layer, fault.code) {
            (_, Code::ToolNotFound) => "ggen mcp list --refresh".to_owned(),
            (_, Code::ConfigUnserved) => "ggen mcp test-connection --transport http".to_owned(),
            (_, Code::ConfigValue) => {
                "ggen mcp test-connection http://127.0.0.1:3000/mcp".to_owned()
            }
            ("TLS over QUIC", Code::CertificateVerifyFailed) if self.own => {
                "ggen mcp explain GGEN-E4030".to_owned()
            }
            ("TLS" | "TLS over QUIC", Code::CertificateVerifyFailed) => {
                format!("openssl s_client -connect {host}:{port} -showcerts")
            }
            (_, Code::CertificateVerifyFailed) => {
                "ggen mcp auth generate-cert --client NAME".to_owned()
            }
            (_, Code::InvalidApiKey | Code::AuthenticationFailed) => {
                "ggen mcp auth generate-api-key".to_owned()
            }
            (_, Code::TokenExpired | Code::InvalidSignature) => {
                "ggen mcp auth generate-token".to_owned()
            }
            (_, Code::RateLimited) => {
                "ggen mcp config set rate_limit.requests_per_second=100 && ggen mcp server reload"
                    .to_owned()
            }
            ("DNS", _) => format!("getent hosts {host}"),
            (
                "QUIC" | "TLS over QUIC" | "HTTP/3",
                Code::ConnectionRefused | Code::ConnectionTimeout | Code::AnswerUnusable,
            ) if self.own => "ggen mcp server restart --server quic".to_owned(),
            ("QUIC", Code::ConnectionTimeout) if !here => {
                format!("sudo iptables -L -n | grep udp | grep {port}")
            }
            (_, Code::ConnectionRefused) if here && self.running => {
                "ggen mcp server status".to_owned()
            }
            (_, Code::ConnectionRefused) if here && fault.layer == "TCP connect" => {
                "ggen mcp server start".to_owned()
            }
            (_, Code::ConnectionRefused) => format!("nc -zv {host} {port}"),
            // What answers on its control socket has workers that do not.
            (_, Code::ConnectionTimeout) if self.own => {
                "ggen mcp server restart --server http".to_owned()
            }
            (_, Code::ConnectionTimeout) if here => "ggen mcp doctor".to_owned(),
            (_, Code::ConnectionTimeout) => format!("sudo iptables -L -n | grep {port}"),
            _ if here => "ggen mcp server logs --tail 20".to_owned(),
            _ => format!("curl -v {}", self.url),
        }
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let step = |step: &Step| {
            let us = u64::try_from(step.took.as_micros()).unwrap_or(u64::MAX);
            let word = match (&step.outcome, step.skipped) {
                (_, true) => "skipped",
                (Ok(_), false) => "ok",
                (Err(_), false) => "failed",
            };
            let (seen, code, message) = match &step.outcome {
                Ok(seen) => (seen, None, None),
                Err(fault) => (&fault.seen, Some(fault.code), Some(&fault.what)),
            };
            json!({ "layer": step.layer, "status": word, "duration_us": us, "seen": seen, "code": code, "message": message })
        };
        let failure = self.failure();
        json!({
            "url": self.url,
            "ok": failure.is_none(),
            "failed_layer": failure.map(|(step, _)| step.layer),
            "code": failure.map(|(_, fault)| fault.code),
            "message": failure.map(|(_, fault)| &fault.what),
            "help": failure.map(|(_, fault)| self.mend(fault)),
            "steps": self.steps.iter().map(step).collect::<Vec<_>>(),
        })
    }
}

/// Walks through the layers until one fails.
pub(super) fn walk(context: &Context, options: &Connection) -> Outcome {
    let limit = Duration::from_millis(options.timeout_ms);
    let own = |scheme: &str, target: Option<Target>| {
        target.map(|target| format!("{scheme}://{}{}", target.authority(), target.path))
    };
    let websocket = options.transport == Transport::Websocket
        || options
            .url
            .as_deref()
            .is_some_and(|url| url.starts_with("ws:"));
    let given = options.url.clone().or_else(|| match options.transport {
        _ if websocket => own("ws", context.websocket()),
        Transport::Https => own("https", context.secure_front()),
        Transport::Quic => context
            .quic()
            .map(|address| format!("https://{}/mcp", http::reachable(address))),
        _ => own("http", context.front()),
    });
    let running = context.status().is_some();
    let own = running && options.url.is_none();
    let mut outcome = Outcome {
        url: given
            .as_deref()
            .map_or_else(|| "none".to_owned(), config::redacted_text),
        running,
        own,
        steps: Vec::new(),
    };
    let fault = |layer, code, what: &str, seen: &str| Fault {
        layer,
        code,
        what: what.to_owned(),
        seen: seen.to_owned(),
    };
    if options.transport == Transport::Quic {
        quic_steps(&mut outcome, context, options.url.as_deref(), limit);
        return outcome;
    }
    let target = given.as_deref().and_then(Target::parse);
    let Some(target) = target else {
        let seen = if given.is_some() {
            "expected http://HOST[:PORT]/PATH or https://…"
        } else {
            "it is not served, or the configuration cannot be read"
        };
        let fault = fault(
            "URL",
            Code::ConfigValue,
            "there is no URL to connect to",
            seen,
        );
        outcome.run("URL", |(): &()| String::new(), || Err(fault));
        return outcome;
    };
    if websocket {
        socket_layers(&mut outcome, &target, limit);
        return outcome;
    }
    layers(&mut outcome, &target, limit, options.tool.as_deref());
    if options.transport == Transport::All && options.url.is_none() {
        match context.secure_front() {
            Some(target) if outcome.is_good() => {
                let until = Instant::now() + limit;
                let shaken = || {
                    mcp::connect(&target, &mcp::resolve(&target, limit)?, until)
                        .and_then(|(_, socket)| shake(socket, &target, until))
                };
                outcome.run(
                    "HTTPS",
                    |(_, seen): &(_, String)| format!("{}, {seen}", target.authority()),
                    shaken,
                );
            }
            Some(_) => outcome.skip("HTTPS", "not tried"),
            None => outcome.skip("HTTPS", "not served"),
        }
    }
    if options.transport == Transport::All {
        match context.websocket() {
            Some(target) if options.url.is_none() && outcome.is_good() => {
                socket_steps(&mut outcome, &target, limit)
            }
            None if options.url.is_none() => outcome.skip("WebSocket", "not served"),
            _ => outcome.skip(
                "WebSocket",
                "not tried; test-connection ws://HOST:PORT/ws tries it",
            ),
        }
        match context.quic() {
            Some(_) if options.url.is_none() => quic_steps(&mut outcome, context, None, limit),
            None if options.url.is_none() => outcome.skip("QUIC", "not served"),
            _ => outcome.skip(
                "QUIC",
                "not tried; test-connection --transport quic tries it",
            ),
        }
    }
    outcome
}

/// A handshake, and what a client would make of the certificate.
fn shake(socket: TcpStream, target: &Target, deadline: Instant) -> Result<(Stream, String), Fault> {
    let secure = stream::secure(socket, target, deadline, &client::system())?;
    let seen = stream::verdict(&secure.shown, target, target.is_here())?;
    Ok((Stream::Secure(Box::new(secure)), seen))
}

/// A WebSocket alone.
fn socket_layers(outcome: &mut Outcome, target: &Target, limit: Duration) {
    let show = |found: &Vec<SocketAddr>| {
        found
            .iter()
            .map(|one| one.ip().to_string())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let Some(addresses) = outcome.run("DNS", show, || mcp::resolve(target, limit)) else {
        return;
    };
    let connected = outcome.run(
        "TCP connect",
        |(address, _): &(_, _)| format!("{address}"),
        || mcp::connect(target, &addresses, Instant::now() + limit),
    );
    if connected.is_some() {
        socket_steps(outcome, target, limit);
    }
}

/// What is above the connection.
fn socket_steps(outcome: &mut Outcome, target: &Target, limit: Duration) {
    let path = target.path.clone();
    let opened = outcome.run(
        "WebSocket",
        |_: &websocket::Client| format!("opened at {path}, subprotocol mcp"),
        || {
            let (address, _) = mcp::connect(
                target,
                &mcp::resolve(target, limit)?,
                Instant::now() + limit,
            )?;
            websocket::Client::open(target, address, Instant::now() + limit)
        },
    );
    let Some(mut client) = opened else { return };
    if outcome
        .run(
            "MCP over WebSocket",
            |version: &String| version.clone(),
            || client.greet(),
        )
        .is_some()
    {
        outcome.run(
            "tools/list",
            |count: &usize| text::count(*count, "tool"),
            || client.tools(),
        );
    }
    client.leave();
}

/// HTTP/3: at a URL, or where the daemon serves it.
fn quic_steps(outcome: &mut Outcome, context: &Context, url: Option<&str>, limit: Duration) {
    let (named, own) = (
        url.and_then(Target::parse),
        context.quic().map(http::reachable),
    );
    let show = |(address, versions): &(SocketAddr, Vec<u32>)| {
        let one = if versions.contains(&1) {
            "version 1"
        } else {
            "no version that is known here"
        };
        format!("{address} (UDP) speaks {one}")
    };
    let greeted = outcome.run("QUIC", show, || {
        let found = named.as_ref().map_or(Ok(own), |target| {
            mcp::resolve(target, limit).map(|found| found.first().copied())
        })?;
        let (what, seen) = (
            "QUIC is not served".to_owned(),
            "transports.quic is off, or its port is taken".to_owned(),
        );
        let address = found.ok_or(Fault {
            layer: "QUIC",
            code: Code::ConnectionRefused,
            what,
            seen,
        })?;
        quic::greet(address, Instant::now() + limit).map(|(versions, _)| (address, versions))
    });
    let Some((address, _)) = greeted else { return };
    // Ours is asked for by the name that it is made for.
    let target = named.unwrap_or_else(|| Target {
        host: context.quic_name(),
        port: address.port(),
        path: "/mcp".to_owned(),
        tls: true,
    });
    let made = outcome.run(
        "TLS over QUIC",
        |(_, seen): &(Visit, String)| format!("{seen}, h3"),
        || {
            let (visit, shown) =
                Visit::open(&target, address, Instant::now() + limit, client::system())?;
            let here = target.is_here() || address.ip().to_canonical().is_loopback();
            let fault = |fault| Fault {
                layer: "TLS over QUIC",
                ..fault
            };
            Ok((
                visit,
                stream::verdict(&shown, &target, here).map_err(fault)?,
            ))
        },
    );
    let Some((mut visit, _)) = made else { return };
    let place = if url.is_some() {
        target.clone()
    } else {
        target.at("/health")
    };
    let answered = outcome.run(
        "HTTP/3",
        |status: &u16| format!("status {status} from {}", place.path),
        || {
            let headers = [("Accept", "application/json, text/event-stream")];
            let answer = visit.exchange(&place, "GET", &headers, "", Instant::now() + limit);
            answer.map(|answer| answer.status).map_err(|error| Fault {
                layer: "HTTP/3",
                ..mcp::unserved(&place, &error)
            })
        },
    );
    if answered.is_none() {
        return;
    }
    let greeted = outcome.run(
        "MCP over HTTP/3",
        |(_, version): &(Client<'_>, String)| version.clone(),
        || {
            let mut client = Client::new(
                &target,
                Way::Visit(&mut visit),
                Era::Modern,
                Instant::now() + limit,
            );
            let version = client.greet().or_else(|modern| {
                // A server need not speak both eras.
                client.speak(Era::Legacy);
                client.greet().map_err(|_| modern)
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
    client.leave();
}

fn layers(outcome: &mut Outcome, target: &Target, limit: Duration, tool: Option<&str>) {
    let show = |found: &Vec<SocketAddr>| {
        found
            .iter()
            .map(|one| one.ip().to_string())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let Some(addresses) = outcome.run("DNS", show, || mcp::resolve(target, limit)) else {
        return;
    };
    let deadline = || Instant::now() + limit;
    let connected = outcome.run(
        "TCP connect",
        |(address, _): &(_, _)| format!("{address}"),
        || mcp::connect(target, &addresses, deadline()),
    );
    let Some((address, stream)) = connected else {
        return;
    };
    let stream = if target.tls {
        let shaken = outcome.run(
            "TLS",
            |(_, seen): &(_, String)| seen.clone(),
            || shake(stream, target, deadline()),
        );
        let Some((stream, _)) = shaken else { return };
        stream
    } else {
        outcome.skip("TLS", "not used");
        Stream::Plain(stream)
    };
    let http = outcome.run(
        "HTTP",
        |status: &u16| format!("status {status} from {}", target.path),
        || {
            // What a plain GET is answered with differs between servers; that it is answered at all
            // is this layer's question.
            let headers = [("Accept", "application/json, text/event-stream")];
            http::exchange(stream, target, "GET", &headers, b"", deadline(), &|_| true)
                .map(|answer| answer.status)
                .map_err(|error| mcp::unserved(target, &error))
        },
    );
    if http.is_none() {
        return;
    }
    let mut tools = None;
    let mut spoken = false;
    for (layer, era) in [
        ("MCP discover", Era::Modern),
        ("MCP initialize", Era::Legacy),
    ] {
        let mut client = Client::new(target, Way::Socket(address), era, deadline());
        let mut server = String::new();
        let greeted = outcome.run(
            layer,
            |text: &String| text.clone(),
            || {
                let version = client.greet()?;
                server.clone_from(&client.server);
                Ok(if server.is_empty() {
                    version
                } else {
                    format!("{version}, {server}")
                })
            },
        );
        if greeted.is_some() {
            spoken = true;
            let found = outcome.run(
                "tools/list",
                |names: &Vec<String>| text::count(names.len(), "tool"),
                || client.tools(),
            );
            tools = tools.or(found);
        }
        client.leave();
    }
    // A server need not speak both eras; one of them is enough.
    if spoken {
        let silent = |step: &&mut Step| step.layer.starts_with("MCP ") && step.outcome.is_err();
        outcome
            .steps
            .iter_mut()
            .filter(silent)
            .for_each(|step| step.skipped = true);
    }
    if let (Some(tool), Some(tools)) = (tool, tools) {
        outcome.run(
            "Tool",
            |name: &String| format!("{name} is there"),
            || {
                let near = tools
                    .iter()
                    .min_by_key(|known| strsim::levenshtein(known, tool));
                let seen = near.map_or_else(
                    || "no tools are listed".to_owned(),
                    |near| format!("{} tools are listed, the closest is {near}", tools.len()),
                );
                let fault = Fault {
                    layer: "Tool",
                    code: Code::ToolNotFound,
                    what: format!("Tool not found: {tool}"),
                    seen,
                };
                if tools.iter().any(|known| known == tool) {
                    Ok(tool.to_owned())
                } else {
                    Err(fault)
                }
            },
        );
    }
}
