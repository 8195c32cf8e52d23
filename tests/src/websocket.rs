//! A WebSocket client over tungstenite, blocking, plain or over TLS.

use rustls::{ClientConfig, ClientConnection, StreamOwned, pki_types::ServerName};
use serde_json::{Value, json};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};
use tungstenite::{Error, Message, WebSocket, client::IntoClientRequest, http::Response};

/// The newest revision.
pub const MODERN: &str = "2026-07-28";

/// What a WebSocket runs over.
pub trait Duplex: Read + Write + Send {}
impl<T: Read + Write + Send> Duplex for T {}

/// A client's end of a socket.
pub struct Socket {
    /// The frames.
    pub ws: WebSocket<Box<dyn Duplex>>,
    /// The connection below, for its time-outs.
    pub tcp: TcpStream,
    next: u64,
}

/// A socket with the answer to its handshake, or the refusal.
pub type Opened = Result<(Socket, Response<Option<Vec<u8>>>), Box<Response<Option<Vec<u8>>>>>;

impl Socket {
    /// Over TCP, with these header fields.
    ///
    /// # Errors
    /// The refusal.
    pub fn try_open(address: SocketAddr, path: &str, headers: &[(&'static str, &str)]) -> Opened {
        let tcp = connect(address);
        let stream = Box::new(tcp.try_clone().unwrap());
        Self::shake(tcp, stream, &format!("ws://{address}{path}"), headers)
    }

    /// Over TLS, to `localhost`.
    ///
    /// # Errors
    /// The refusal.
    pub fn try_open_tls(
        address: SocketAddr,
        path: &str,
        tls: &Arc<ClientConfig>,
        headers: &[(&'static str, &str)],
    ) -> Opened {
        let tcp = connect(address);
        let connection =
            ClientConnection::new(Arc::clone(tls), ServerName::try_from("localhost").unwrap())
                .unwrap();
        let stream = Box::new(StreamOwned::new(connection, tcp.try_clone().unwrap()));
        Self::shake(
            tcp,
            stream,
            &format!("ws://localhost:{}{path}", address.port()),
            headers,
        )
    }

    /// Over TLS, with the subprotocol of MCP.
    #[must_use]
    pub fn open_tls(address: SocketAddr, path: &str, tls: &Arc<ClientConfig>) -> Self {
        match Self::try_open_tls(address, path, tls, &[("sec-websocket-protocol", "mcp")]) {
            Ok((socket, _)) => socket,
            Err(response) => panic!("{path}: {response:?}"),
        }
    }

    /// The handshake over a stream that is there.
    ///
    /// # Errors
    /// The refusal.
    pub fn shake(
        tcp: TcpStream,
        stream: Box<dyn Duplex>,
        url: &str,
        headers: &[(&'static str, &str)],
    ) -> Opened {
        let mut request = url.into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        match tungstenite::client(request, stream) {
            Ok((ws, response)) => Ok((Self { ws, tcp, next: 0 }, response)),
            Err(tungstenite::HandshakeError::Failure(Error::Http(response))) => Err(response),
            Err(other) => panic!("{url}: {other}"),
        }
    }

    /// Over TCP, with the subprotocol of MCP.
    #[must_use]
    pub fn open(address: SocketAddr, path: &str) -> Self {
        match Self::try_open(address, path, &[("sec-websocket-protocol", "mcp")]) {
            Ok((socket, _)) => socket,
            Err(response) => panic!("{path}: {response:?}"),
        }
    }

    /// With a legacy session.
    #[must_use]
    pub fn legacy(address: SocketAddr, path: &str, capabilities: Value) -> Self {
        Self::open(address, path).greeted(capabilities)
    }

    /// Begins a legacy session.
    #[must_use]
    pub fn greeted(mut self, capabilities: Value) -> Self {
        let client = json!({ "name": "t", "version": "1" });
        let params = json!({ "protocolVersion": "2025-11-25", "capabilities": capabilities, "clientInfo": client });
        let (answer, _) = self.request("initialize", params);
        assert_eq!(
            answer["result"]["protocolVersion"], "2025-11-25",
            "{answer}"
        );
        self.say(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        self
    }

    /// Sends a message.
    pub fn say(&mut self, message: &Value) {
        self.ws.send(Message::text(message.to_string())).unwrap();
    }

    /// The next text message, or the close code.
    ///
    /// # Errors
    /// The close code.
    pub fn hear(&mut self) -> Result<Value, u16> {
        loop {
            match self.ws.read() {
                Ok(Message::Text(text)) => return Ok(serde_json::from_str(&text).unwrap()),
                Ok(Message::Close(frame)) => {
                    return Err(frame.map_or(1005, |frame| frame.code.into()));
                }
                Ok(_) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// The next id.
    pub fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Sends a request; its id.
    pub fn start(&mut self, method: &str, params: Value) -> u64 {
        let id = self.id();
        self.say(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        id
    }

    /// The answer to a request, and what came before it.
    pub fn answer(&mut self, id: u64) -> (Value, Vec<Value>) {
        let mut before = Vec::new();
        loop {
            let message = self
                .hear()
                .unwrap_or_else(|code| panic!("closed with {code} before the answer"));
            if message["id"] == id && message.get("method").is_none() {
                return (message, before);
            }
            before.push(message);
        }
    }

    /// A request and its answer, and what came before it.
    pub fn request(&mut self, method: &str, params: Value) -> (Value, Vec<Value>) {
        let id = self.start(method, params);
        self.answer(id)
    }

    /// A notification or question of that method.
    pub fn until(&mut self, method: &str) -> Value {
        loop {
            let message = self
                .hear()
                .unwrap_or_else(|code| panic!("closed with {code} before {method}"));
            if message["method"] == method {
                return message;
            }
        }
    }

    /// The close code, whatever comes before it.
    pub fn close_code(&mut self) -> u16 {
        loop {
            if let Err(code) = self.hear() {
                return code;
            }
        }
    }
}

/// Parameters with the `_meta` of the newest revision.
#[must_use]
pub fn modern(mut params: Value) -> Value {
    params["_meta"]["io.modelcontextprotocol/protocolVersion"] = MODERN.into();
    params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
    params["_meta"]["io.modelcontextprotocol/clientInfo"] = json!({ "name": "t", "version": "1" });
    params
}

/// Parameters of a tool call.
#[must_use]
pub fn tool(name: &str, arguments: Value) -> Value {
    json!({ "name": name, "arguments": arguments })
}

/// A TCP connection that is read from for at most 30 seconds.
#[must_use]
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    stream
}
