//! The same call over HTTP/1.1, HTTP/2, WebSocket and HTTP/3, side by side in short turns, through
//! one ggend. Every answer is checked. HTTP/3 is encrypted, the others are not: what is compared is
//! what each costs as it is used. Exit code 1: an answer was wrong or missing.

use bytes::{Buf, Bytes};
use clap::Parser;
use futures_util::{SinkExt, StreamExt};
use h3_quinn::quinn::{self, crypto::rustls::QuicClientConfig};
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{
    DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use std::{
    error::Error,
    future::poll_fn,
    io::{self, BufRead, BufReader, Write},
    net::{SocketAddr, UdpSocket},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{net::TcpStream, task::JoinSet};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};

type Failure = Box<dyn Error + Send + Sync>;

/// Calls per second and latency of the four.
#[derive(Parser)]
struct Arguments {
    /// The folder of the programs; otherwise the driver's own.
    #[arg(long, value_name = "FOLDER")]
    programs: Option<PathBuf>,
    /// Turns of each.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Length of a turn.
    #[arg(long, default_value_t = 400, value_name = "MS")]
    turn: u64,
    /// Calls in flight; over HTTP/1.1 a connection each, over the others eight to a connection.
    #[arg(long, value_delimiter = ',', default_value = "1,64")]
    concurrency: Vec<usize>,
}

const HEADERS: [(&str, &str); 5] = [
    ("content-type", "application/json"),
    ("accept", "application/json, text/event-stream"),
    ("mcp-protocol-version", "2026-07-28"),
    ("mcp-method", "tools/call"),
    ("mcp-name", "echo"),
];
const NAMES: [&str; 4] = ["HTTP/1.1", "HTTP/2", "WebSocket", "HTTP/3"];
/// Calls in flight on one connection.
const EACH: usize = 8;

fn call(text: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"echo","arguments":{{"message":"{text}"}},"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{{"name":"bench","version":"1"}},"io.modelcontextprotocol/clientCapabilities":{{}}}}}}}}"#
    )
}

type Http = Client<HttpConnector, Full<Bytes>>;
type H3 = h3::client::SendRequest<h3_quinn::OpenStreams, Bytes>;

/// One caller of one kind.
enum Caller {
    Http(Box<Http>, SocketAddr),
    WebSocket(Box<WebSocketStream<TcpStream>>),
    H3(H3),
}

impl Caller {
    async fn call(&mut self, text: &str) -> Result<Vec<u8>, Failure> {
        let body = call(text);
        let request = |authority: String| {
            let mut request = Request::post(format!("{authority}/mcp/echo"));
            for (name, value) in HEADERS {
                request = request.header(name, value);
            }
            request
        };
        match self {
            Self::Http(client, address) => {
                let answer = client
                    .request(
                        request(format!("http://{address}")).body(Full::new(Bytes::from(body)))?,
                    )
                    .await?;
                Ok(answer.into_body().collect().await?.to_bytes().to_vec())
            }
            Self::WebSocket(socket) => {
                socket.send(Message::text(body)).await?;
                match socket.next().await {
                    Some(Ok(Message::Text(text))) => Ok(text.as_bytes().to_vec()),
                    other => Err(format!("{other:?}").into()),
                }
            }
            Self::H3(send) => {
                let mut stream = send
                    .send_request(request("https://localhost".to_owned()).body(())?)
                    .await?;
                stream.send_data(Bytes::from(body)).await?;
                stream.finish().await?;
                stream.recv_response().await?;
                let mut all = Vec::new();
                while let Some(mut data) = stream.recv_data().await? {
                    all.extend_from_slice(&data.copy_to_bytes(data.remaining()));
                }
                Ok(all)
            }
        }
    }
}

/// Without Nagle's algorithm: HTTP/2 sends a request in two writes, and would wait for the
/// acknowledgement of the first.
fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector
}

/// So many callers of a kind, with connections of their own.
async fn callers(
    kind: usize,
    count: usize,
    tcp: SocketAddr,
    udp: SocketAddr,
    endpoint: &quinn::Endpoint,
) -> Result<Vec<Caller>, Failure> {
    let mut all = Vec::with_capacity(count);
    match kind {
        0 => {
            let client: Http = Client::builder(TokioExecutor::new()).build(connector());
            all.extend((0..count).map(|_| Caller::Http(Box::new(client.clone()), tcp)));
        }
        1 => {
            for at in (0..count).step_by(EACH) {
                let client: Http = Client::builder(TokioExecutor::new())
                    .http2_only(true)
                    .build(connector());
                all.extend(
                    (at..count.min(at + EACH)).map(|_| Caller::Http(Box::new(client.clone()), tcp)),
                );
            }
        }
        // One call after the other on each: which answer is whose is not looked for.
        2 => {
            for _ in 0..count {
                let socket = TcpStream::connect(tcp).await?;
                socket.set_nodelay(true)?;
                let (socket, _) = client_async(format!("ws://{tcp}/ws/echo"), socket).await?;
                all.push(Caller::WebSocket(Box::new(socket)));
            }
        }
        _ => {
            for at in (0..count).step_by(EACH) {
                let connection = endpoint.connect(udp, "localhost")?.await?;
                let (mut driver, send) =
                    h3::client::new(h3_quinn::Connection::new(connection)).await?;
                tokio::spawn(async move { poll_fn(|cx| driver.poll_close(cx)).await });
                all.extend((at..count.min(at + EACH)).map(|_| Caller::H3(send.clone())));
            }
        }
    }
    Ok(all)
}

/// One turn: the time of each call in microseconds.
async fn turn(callers: Vec<Caller>, length: Duration) -> Result<(Vec<Caller>, Vec<u64>), Failure> {
    let until = Instant::now() + length;
    let mut running = JoinSet::new();
    for (index, mut caller) in callers.into_iter().enumerate() {
        running.spawn(async move {
            let mut times = Vec::new();
            while Instant::now() < until {
                let (began, text) = (Instant::now(), format!("{index}-{}", times.len()));
                let answer = caller.call(&text).await?;
                times.push(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
                if memchr::memmem::find(&answer, format!("\"{text}\"").as_bytes()).is_none() {
                    return Err(Failure::from(format!(
                        "wrong answer to {text}: {}",
                        String::from_utf8_lossy(&answer)
                    )));
                }
            }
            Ok((caller, times))
        });
    }
    let (mut back, mut times) = (Vec::new(), Vec::new());
    while let Some(done) = running.join_next().await {
        let (caller, more) = done??;
        back.push(caller);
        times.extend(more);
    }
    Ok((back, times))
}

/// A ggend with an echo server, ended when dropped.
struct Ggend(Child);

impl Drop for Ggend {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.0.id()) {
            nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(pid),
                nix::sys::signal::Signal::SIGTERM,
            )
            .unwrap_or_default();
        }
        self.0.wait().map(drop).unwrap_or_default();
    }
}

fn start(
    programs: &std::path::Path,
    folder: &std::path::Path,
) -> Result<(Ggend, SocketAddr, SocketAddr), Failure> {
    let udp = UdpSocket::bind("127.0.0.1:0")?.local_addr()?;
    let config = serde_json::json!({
        "transports": {"http": {"port": 0, "ssl": {"port": 0}, "max_connections_per_address": 0}, "quic": {"port": udp.port()}},
        "metrics": {"port": 0},
        "mcpServers": {"echo": {"command": programs.join("echo-server"), "args": ["--era", "modern"]}},
    });
    let file = folder.join("mcp.json");
    std::fs::write(&file, config.to_string())?;
    let mut command = Command::new(programs.join("ggend"));
    command
        .arg("--config")
        .arg(file)
        .current_dir(folder)
        .env("HOME", folder);
    command
        .env("GGEN_RUNTIME_DIR", folder.join("run"))
        .env("GGEN_STATE_DIR", folder.join("state"));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let output = child.stdout.take();
    let ggend = Ggend(child);
    let mut line = String::new();
    BufReader::new(output.ok_or("no stdout")?).read_line(&mut line)?;
    let address = line
        .split_once("http://")
        .and_then(|(_, rest)| rest.split_once("/mcp"))
        .map(|(address, _)| address);
    let tcp = address
        .ok_or_else(|| format!("it says {line:?}"))?
        .parse()?;
    Ok((ggend, tcp, udp))
}

fn endpoint() -> Result<quinn::Endpoint, Failure> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?;
    let mut tls = builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let mut endpoint = quinn::Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(
        QuicClientConfig::try_from(tls)?,
    )));
    Ok(endpoint)
}

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let programs = match &arguments.programs {
        Some(folder) => folder.clone(),
        None => std::env::current_exe()?.with_file_name(""),
    };
    let folder = tempfile::tempdir()?;
    let (_ggend, tcp, udp) = start(&programs, folder.path())?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(measure(&arguments, tcp, udp))
}

async fn measure(arguments: &Arguments, tcp: SocketAddr, udp: SocketAddr) -> Result<(), Failure> {
    let length = Duration::from_millis(arguments.turn);
    let endpoint = endpoint()?;
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "the same call over each transport, medians of {} turns of {} ms",
        arguments.rounds, arguments.turn
    )?;
    writeln!(
        out,
        "{:<10} {:>9} {:>9} {:>9} {:>9} {:>11}",
        "transport", "in flight", "calls/s", "p50 us", "p99 us", "to HTTP/1.1"
    )?;
    for count in &arguments.concurrency {
        let mut kinds = Vec::new();
        for kind in 0..NAMES.len() {
            // The server behind may not be there yet; the first calls also meet cold caches.
            let deadline = Instant::now() + Duration::from_secs(20);
            let ready = loop {
                let all = callers(kind, *count, tcp, udp, &endpoint).await?;
                match turn(all, length / 4).await {
                    Ok((ready, _)) => break ready,
                    Err(error) if Instant::now() > deadline => return Err(error),
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            };
            kinds.push((ready, Vec::new()));
        }
        for round in 0..arguments.rounds {
            for at in 0..NAMES.len() {
                let (callers, turns) = &mut kinds[(round + at) % NAMES.len()];
                let (back, times) = turn(std::mem::take(callers), length).await?;
                *callers = back;
                turns.push(times);
            }
        }
        let mut base = None;
        for (name, (_, turns)) in NAMES.iter().zip(&kinds) {
            let mut rates: Vec<usize> = turns.iter().map(Vec::len).collect();
            rates.sort_unstable();
            let mut all: Vec<u64> = turns.concat();
            all.sort_unstable();
            let rate = rates[rates.len() / 2] as f64 / length.as_secs_f64();
            let quantile = |part: usize| {
                all.get((all.len() * part / 100).min(all.len().saturating_sub(1)))
                    .copied()
                    .unwrap_or(0)
            };
            let ratio = rate / *base.get_or_insert(rate);
            writeln!(
                out,
                "{name:<10} {count:>9} {rate:>9.0} {:>9} {:>9} {ratio:>10.2}x",
                quantile(50),
                quantile(99)
            )?;
        }
    }
    Ok(())
}

#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
