//! A WebSocket client over tungstenite, blocking, plain or over TLS.

#![allow(dead_code, reason = "each test file uses its part")]

use rustls::{ClientConfig, ClientConnection, StreamOwned, pki_types::ServerName};
use serde_json::{Value, json};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};
use tungstenite::{Error, Message, WebSocket, client::IntoClientRequest, http::Response};

pub(crate) const MODERN: &str = "2026-07-28";

/// What a WebSocket runs over.
pub(crate) trait Duplex: Read + Write + Send {}
impl<T: Read + Write + Send> Duplex for T {}

/// A client's end of a socket.
pub(crate) struct Socket {
    pub(crate) ws: WebSocket<Box<dyn Duplex>>,
    /// The connection below, for its time-outs.
    pub(crate) tcp: TcpStream,
    next: u64,
}

pub(crate) type Opened =
    Result<(Socket, Response<Option<Vec<u8>>>), Box<Response<Option<Vec<u8>>>>>;

impl Socket {
    pub(crate) fn try_open(
        address: SocketAddr,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Opened {
        let tcp = connect(address);
        let stream = Box::new(tcp.try_clone().unwrap());
        Self::shake(tcp, stream, &format!("ws://{address}{path}"), headers)
    }

    /// Over TLS, to `localhost`.
    pub(crate) fn try_open_tls(
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

    pub(crate) fn open_tls(address: SocketAddr, path: &str, tls: &Arc<ClientConfig>) -> Self {
        match Self::try_open_tls(address, path, tls, &[("sec-websocket-protocol", "mcp")]) {
            Ok((socket, _)) => socket,
            Err(response) => panic!("{path}: {response:?}"),
        }
    }

    pub(crate) fn shake(
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

    pub(crate) fn open(address: SocketAddr, path: &str) -> Self {
        match Self::try_open(address, path, &[("sec-websocket-protocol", "mcp")]) {
            Ok((socket, _)) => socket,
            Err(response) => panic!("{path}: {response:?}"),
        }
    }

    /// With a legacy session.
    pub(crate) fn legacy(address: SocketAddr, path: &str, capabilities: Value) -> Self {
        Self::open(address, path).greeted(capabilities)
    }

    /// Begins a legacy session.
    pub(crate) fn greeted(mut self, capabilities: Value) -> Self {
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

    pub(crate) fn say(&mut self, message: &Value) {
        self.ws.send(Message::text(message.to_string())).unwrap();
    }

    /// The next text message, or the close code.
    pub(crate) fn hear(&mut self) -> Result<Value, u16> {
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

    pub(crate) fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(crate) fn start(&mut self, method: &str, params: Value) -> u64 {
        let id = self.id();
        self.say(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        id
    }

    /// The answer to a request, and what came before it.
    pub(crate) fn answer(&mut self, id: u64) -> (Value, Vec<Value>) {
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

    pub(crate) fn request(&mut self, method: &str, params: Value) -> (Value, Vec<Value>) {
        let id = self.start(method, params);
        self.answer(id)
    }

    /// A notification or question of that method.
    pub(crate) fn until(&mut self, method: &str) -> Value {
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
    pub(crate) fn close_code(&mut self) -> u16 {
        loop {
            if let Err(code) = self.hear() {
                return code;
            }
        }
    }
}

pub(crate) fn modern(mut params: Value) -> Value {
    params["_meta"]["io.modelcontextprotocol/protocolVersion"] = MODERN.into();
    params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
    params["_meta"]["io.modelcontextprotocol/clientInfo"] = json!({ "name": "t", "version": "1" });
    params
}

pub(crate) fn tool(name: &str, arguments: Value) -> Value {
    json!({ "name": name, "arguments": arguments })
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    stream
}
