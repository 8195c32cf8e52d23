//! The address where the running daemon serves MCP. The control socket is asked for it, and asked
//! again after a connection failed.

use ggen_mcp::protocol::refusal::{Refusal, rpc};
use ggen_wire::{
    Code,
    control::{Answer, Body, Call},
    status::Status,
    varlink::{Reply, Request, Splitter, encode},
};
use http::Uri;
use std::{
    cell::RefCell,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::Mutex,
};

/// How long the daemon may take to say where it is.
const PATIENCE: Duration = Duration::from_secs(10);
/// Largest status.
const LIMIT: usize = 16 << 20;

/// The endpoint, once it is known.
pub(super) struct Endpoint {
    socket: PathBuf,
    path: String,
    known: RefCell<Option<Uri>>,
    /// Held by the one request that asks; the daemon refuses many connections at a time.
    asking: Mutex<()>,
}

impl Endpoint {
    /// The endpoint of all servers, or of one.
    pub(super) fn new(socket: PathBuf, server: Option<&str>) -> Self {
        let path = server.map_or_else(|| "/mcp".to_owned(), |server| format!("/mcp/{server}"));
        Self {
            socket,
            path,
            known: RefCell::new(None),
            asking: Mutex::new(()),
        }
    }

    /// The endpoint.
    ///
    /// # Errors
    /// That the daemon is not running, or serves no HTTP.
    pub(super) async fn endpoint(&self) -> Result<Uri, Refusal> {
        if let Some(known) = self.known() {
            return Ok(known);
        }
        let asked = tokio::time::timeout(PATIENCE, async {
            let _one = self.asking.lock().await;
            match self.known() {
                Some(known) => Ok(known),
                None => self.ask().await,
            }
        });
        asked
            .await
            .unwrap_or_else(|_| Err(self.not_running(&io::ErrorKind::TimedOut.into())))
    }

    fn known(&self) -> Option<Uri> {
        self.known.borrow().clone()
    }

    async fn ask(&self) -> Result<Uri, Refusal> {
        let status = status(&self.socket)
            .await
            .map_err(|error| self.not_running(&error))?;
        let listener = status
            .listeners
            .iter()
            .find(|listener| listener.transport == "http");
        let address = listener
            .and_then(|listener| listener.address.parse().ok())
            .map(reachable);
        let address =
            address.ok_or_else(|| refusal(Code::NotRunning, "the daemon serves no http"))?;
        let uri: Uri = format!("http://{address}{}", self.path)
            .parse()
            .map_err(|_| {
                Refusal::new(
                    404,
                    rpc::INVALID_REQUEST,
                    Code::ServerUnknown,
                    self.path.trim_start_matches("/mcp/"),
                )
            })?;
        *self.known.borrow_mut() = Some(uri.clone());
        Ok(uri)
    }

    /// Nobody is there any more.
    pub(super) fn forget(&self) {
        self.known.borrow_mut().take();
    }

    fn not_running(&self, error: &io::Error) -> Refusal {
        refusal(
            Code::NotRunning,
            &format!("{}: {error}", self.socket.display()),
        )
    }
}

/// A refusal of our own, with the command that fixes it.
pub(super) fn refusal(code: Code, detail: &str) -> Refusal {
    let help = if code == Code::NotRunning {
        "ggen mcp server start"
    } else {
        "ggen mcp server status"
    };
    Refusal::new(503, rpc::INTERNAL, code, detail)
        .with("help", &ggen_mcp::protocol::json::quote(help))
}

async fn status(socket: &Path) -> io::Result<Status> {
    let mut stream = UnixStream::connect(socket).await?;
    stream
        .write_all(&encode(&Request::new(&Call::GetStatus {}, false)?)?)
        .await?;
    let (mut splitter, mut chunk) = (Splitter::new(LIMIT), vec![0; 16 << 10]);
    let message = loop {
        let count = stream.read(&mut chunk).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        splitter.push(&chunk[..count]);
        if let Some(message) = splitter.next().map_err(io::Error::other)? {
            break message;
        }
    };
    let reply: Reply = serde_json::from_slice(&message)?;
    match serde_json::from_value::<Answer>(reply.parameters)?.body {
        Body::Status(status) => Ok(*status),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// A listener on every address is reached over loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
