//! A small MCP client for both eras, written from the specification and without the product's
//! types. Every client numbers its requests from 1, so that answers which cross between clients
//! show.

use crate::{
    connection::Connection,
    exchange::{Exchange, Message, Reply},
};
use serde_json::{Value, json};
use std::{io, net::SocketAddr};

/// The two eras of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    /// 2024-11-05 to 2025-11-25: `initialize`, and a session.
    Legacy,
    /// 2026-07-28: every request stands alone.
    Modern,
}

/// The revision that a modern client speaks.
pub const MODERN: &str = "2026-07-28";
/// The newest revision that a legacy client speaks.
pub const LEGACY: &str = "2025-11-25";

/// A client.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    path: String,
    era: Era,
    /// The session of a legacy client.
    pub session: Option<String>,
    /// The revision.
    pub version: String,
    /// What a client says that it can do.
    pub capabilities: Value,
    /// What `initialize` answered.
    pub server: Value,
    connection: Option<Connection>,
    last_id: u64,
}

impl Client {
    /// A client of either era at `/mcp/<server>`, or `/mcp` if `server` is "". A legacy one opens
    /// its session.
    ///
    /// # Panics
    /// When the session is not given.
    #[must_use]
    #[track_caller]
    pub fn new(address: SocketAddr, server: &str, era: Era) -> Self {
        let mut client = Self::unconnected(address, server, era);
        client.initialize().expect("a session");
        client
    }

    /// A client that has not spoken yet.
    #[must_use]
    pub fn unconnected(address: SocketAddr, server: &str, era: Era) -> Self {
        let path = if server.is_empty() {
            "/mcp".to_owned()
        } else {
            format!("/mcp/{server}")
        };
        let version = if era == Era::Modern { MODERN } else { LEGACY }.to_owned();
        let (capabilities, server) = (json!({}), Value::Null);
        Self {
            address,
            path,
            era,
            session: None,
            version,
            capabilities,
            server,
            connection: None,
            last_id: 0,
        }
    }

    /// Opens a session, if this is a legacy client.
    ///
    /// # Errors
    /// Those of the socket; `Other` when the answer is an error.
    pub fn initialize(&mut self) -> io::Result<()> {
        if self.era == Era::Modern {
            return Ok(());
        }
        self.session = None;
        let params = json!({
            "protocolVersion": self.version, "capabilities": self.capabilities, "clientInfo": { "name": "ggend-tests", "version": "1" },
        });
        let reply = self.try_request("initialize", params)?;
        let session = reply.head.header("mcp-session-id").map(str::to_owned);
        if session.is_none() {
            return Err(io::Error::other(format!(
                "{} {:?}",
                reply.head.status, reply.messages
            )));
        }
        self.session = session;
        self.server = reply.result().clone();
        self.version = self.server["protocolVersion"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        self.notify("notifications/initialized", json!({}))
    }

    /// The headers of a message of this client.
    fn headers(&self, method: &str, params: &Value) -> Vec<(&'static str, String)> {
        let mut headers = vec![
            ("Content-Type", "application/json".to_owned()),
            ("Accept", "application/json, text/event-stream".to_owned()),
        ];
        match (self.era, &self.session) {
            (Era::Modern, _) => {
                headers.extend([
                    ("MCP-Protocol-Version", self.version.clone()),
                    ("Mcp-Method", method.to_owned()),
                ]);
                let member = match method {
                    "tools/call" | "prompts/get" => Some("name"),
                    "resources/read" => Some("uri"),
                    "tasks/get" | "tasks/update" | "tasks/cancel" => Some("taskId"),
                    _ => None,
                };
                if let Some(member) = member {
                    headers.push((
                        "Mcp-Name",
                        params[member].as_str().unwrap_or_default().to_owned(),
                    ));
                }
            }
            (Era::Legacy, Some(session)) => {
                headers.extend([
                    ("MCP-Protocol-Version", self.version.clone()),
                    ("Mcp-Session-Id", session.clone()),
                ]);
            }
            (Era::Legacy, None) => {}
        }
        headers
    }

    fn connection(&mut self) -> io::Result<Connection> {
        match self.connection.take() {
            Some(connection) => Ok(connection),
            None => Connection::open(self.address),
        }
    }

    fn post(&mut self, method: &str, params: &Value, body: &[u8]) -> io::Result<Exchange> {
        let headers = self.headers(method, params);
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let mut connection = self.connection()?;
        connection.request("POST", &self.path, &headers, body)?;
        Exchange::begin(connection)
    }

    /// The id of the latest request.
    #[must_use]
    pub const fn last_id(&self) -> u64 {
        self.last_id
    }

    /// Sends a request and gives the answer as it comes.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn start(&mut self, method: &str, params: Value) -> io::Result<Exchange> {
        let (headers, body) = self.message(method, params);
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let mut connection = self.connection()?;
        connection.request("POST", &self.path, &headers, body.as_bytes())?;
        Exchange::begin(connection)
    }

    /// The next request of this client: headers and body.
    fn message(
        &mut self,
        method: &str,
        mut params: Value,
    ) -> (Vec<(&'static str, String)>, String) {
        self.last_id += 1;
        if self.era == Era::Modern {
            let mut meta = json!({
                "io.modelcontextprotocol/protocolVersion": self.version,
                "io.modelcontextprotocol/clientCapabilities": self.capabilities,
                "io.modelcontextprotocol/clientInfo": { "name": "ggend-tests", "version": "1" },
            });
            for (key, value) in params["_meta"].as_object().cloned().unwrap_or_default() {
                meta[key] = value;
            }
            params["_meta"] = meta;
        }
        let body =
            json!({ "jsonrpc": "2.0", "id": self.last_id, "method": method, "params": params })
                .to_string();
        (self.headers(method, &params), body)
    }

    /// Sends a request on a connection of its own and reads nothing: dropping the connection is
    /// hanging up.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn send_only(&mut self, method: &str, params: Value) -> io::Result<Connection> {
        let (headers, body) = self.message(method, params);
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let mut connection = Connection::open(self.address)?;
        connection.request("POST", &self.path, &headers, body.as_bytes())?;
        Ok(connection)
    }

    /// Calls a tool with arguments as they are written.
    #[track_caller]
    pub fn raw_tool(&mut self, name: &str, arguments: &str) -> Reply {
        let (headers, body) = self.message(
            "tools/call",
            json!({ "name": name, "arguments": "@arguments@" }),
        );
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let mut connection = Connection::open(self.address).unwrap();
        let body = body.replace("\"@arguments@\"", arguments);
        connection
            .request("POST", &self.path, &headers, body.as_bytes())
            .unwrap();
        let mut exchange = Exchange::begin(connection).unwrap();
        let messages = std::iter::from_fn(|| exchange.receive().unwrap()).collect();
        Reply {
            head: exchange.head,
            messages,
        }
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// Those of the socket.
    ///
    /// # Panics
    /// When the answer is not this request's.
    pub fn try_request(&mut self, method: &str, params: Value) -> io::Result<Reply> {
        let mut exchange = self.start(method, params)?;
        let mut messages = Vec::new();
        while let Some(message) = exchange.receive()? {
            messages.push(message);
        }
        if let Some(id) = messages.last().and_then(|message| message.value.get("id")) {
            assert_eq!(
                *id,
                json!(self.last_id),
                "an answer that is not ours: {messages:?}"
            );
        }
        let closes = exchange
            .head
            .header("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"));
        if exchange.connection.is_idle() && !closes {
            self.connection = Some(exchange.connection);
        }
        Ok(Reply {
            head: exchange.head,
            messages,
        })
    }

    /// Sends a request and waits for its answer, which has to come.
    #[track_caller]
    pub fn request(&mut self, method: &str, params: Value) -> Reply {
        match self.try_request(method, params) {
            Ok(reply) => reply,
            Err(error) => panic!("{method}: {error}"),
        }
    }

    /// Forgets the connection, which may be broken; the next request opens another.
    pub fn reconnect(&mut self) {
        self.connection = None;
    }

    /// The daemon is elsewhere now.
    pub fn moved_to(&mut self, address: SocketAddr) {
        (self.address, self.connection) = (address, None);
    }

    /// Calls a tool.
    #[track_caller]
    pub fn tool(&mut self, name: &str, arguments: Value) -> Reply {
        self.request(
            "tools/call",
            json!({ "name": name, "arguments": arguments }),
        )
    }

    /// Sends a notification.
    ///
    /// # Errors
    /// Those of the socket; `Other` when it is not accepted with 202.
    pub fn notify(&mut self, method: &str, params: Value) -> io::Result<()> {
        let body = json!({ "jsonrpc": "2.0", "method": method, "params": params }).to_string();
        let mut exchange = self.post(method, &params, body.as_bytes())?;
        let message = exchange.receive()?;
        if exchange.head.status == 202 {
            Ok(())
        } else {
            Err(io::Error::other(format!(
                "{} {message:?}",
                exchange.head.status
            )))
        }
    }

    /// Answers a request of the server.
    ///
    /// # Errors
    /// Those of the socket; `Other` when it is not accepted with 202.
    pub fn respond(&mut self, question: &Message, result: Value) -> io::Result<()> {
        let body =
            json!({ "jsonrpc": "2.0", "id": question.value["id"], "result": result }).to_string();
        let mut exchange = self.post("", &Value::Null, body.as_bytes())?;
        let message = exchange.receive()?;
        if exchange.head.status == 202 {
            Ok(())
        } else {
            Err(io::Error::other(format!(
                "{} {message:?}",
                exchange.head.status
            )))
        }
    }

    /// A legacy client that can be asked for these things, with its session.
    #[must_use]
    #[track_caller]
    pub fn askable(address: SocketAddr, server: &str, capabilities: Value) -> Self {
        let mut client = Self {
            capabilities,
            ..Self::unconnected(address, server, Era::Legacy)
        };
        client.initialize().expect("a session");
        client
    }

    /// Opens the event stream of a legacy session.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn listen(&mut self, last_event: Option<&str>) -> io::Result<Exchange> {
        let mut headers = self.headers("", &Value::Null);
        headers.extend(last_event.map(|id| ("Last-Event-ID", id.to_owned())));
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let mut connection = Connection::open(self.address)?;
        connection.request("GET", &self.path, &headers, b"")?;
        Exchange::begin(connection)
    }

    /// Ends a legacy session; gives the status.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn delete(&mut self) -> io::Result<u16> {
        let headers = self.headers("", &Value::Null);
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        Ok(
            Connection::once(self.address, "DELETE", &self.path, &headers, b"")?
                .head
                .status,
        )
    }

    /// All names of a list, all pages.
    #[track_caller]
    pub fn names(&mut self, list: &str) -> Vec<String> {
        let (member, key) = match list {
            "resources/list" => ("resources", "uri"),
            "resources/templates/list" => ("resourceTemplates", "uriTemplate"),
            _ => (list.trim_end_matches("/list"), "name"),
        };
        let (mut names, mut params) = (Vec::new(), json!({}));
        loop {
            let reply = self.request(list, params);
            let entries = reply.result()[member]
                .as_array()
                .unwrap_or_else(|| panic!("no {member}: {:.300}", reply.response().raw));
            names.extend(
                entries
                    .iter()
                    .map(|entry| entry[key].as_str().unwrap().to_owned()),
            );
            match reply.result()["nextCursor"].as_str() {
                Some(cursor) => params = json!({ "cursor": cursor }),
                None => return names,
            }
        }
    }
}
