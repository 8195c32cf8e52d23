//! Messages of JSON-RPC as they come over HTTP: an answer that is still coming, and one with
//! everything that came before it.

use crate::connection::{Connection, Events, Head};
use serde_json::Value;
use std::io;

/// A JSON-RPC message as it came.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its bytes.
    pub raw: String,
    /// Its meaning.
    pub value: Value,
    /// The `id:` of the event that brought it.
    pub event: Option<String>,
}

/// An answer that is still coming.
#[derive(Debug)]
pub struct Exchange {
    /// Status and headers.
    pub head: Head,
    pub(crate) connection: Connection,
    events: Option<Events>,
}

/// An answer with everything that came before it.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Status and headers.
    pub head: Head,
    /// Notifications, and the response at the end.
    pub messages: Vec<Message>,
}

impl Message {
    pub(crate) fn parse(raw: String, event: Option<String>) -> Self {
        let value = serde_json::from_str(&raw)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {raw:.300}"));
        Self { raw, value, event }
    }

    /// The method of a notification or request, or "".
    #[must_use]
    pub fn method(&self) -> &str {
        self.value["method"].as_str().unwrap_or_default()
    }
}

impl Exchange {
    pub(crate) fn begin(mut connection: Connection) -> io::Result<Self> {
        let head = connection.head()?;
        let is_stream = head
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("text/event-stream"));
        Ok(Self {
            head,
            connection,
            events: is_stream.then(Events::default),
        })
    }

    /// The next message; `None` at the end. Events without data are passed over.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn receive(&mut self) -> io::Result<Option<Message>> {
        let Some(events) = &mut self.events else {
            let mut body = Vec::new();
            while let Some(piece) = self.connection.piece()? {
                body.extend_from_slice(&piece);
            }
            return Ok(
                (!body.is_empty()).then(|| Message::parse(String::from_utf8(body).unwrap(), None))
            );
        };
        loop {
            match events.take() {
                Some(event) if event.data.is_empty() => {}
                Some(event) => return Ok(Some(Message::parse(event.data, event.id))),
                None => match self.connection.piece()? {
                    Some(piece) => events.push(&piece),
                    None => return Ok(None),
                },
            }
        }
    }

    /// The connection, with what of the answer has not been read.
    #[must_use]
    pub fn into_connection(self) -> Connection {
        self.connection
    }

    /// The next message, which has to come.
    #[track_caller]
    pub fn message(&mut self) -> Message {
        self.receive()
            .expect("a message in time")
            .expect("a message before the end")
    }

    /// The next message of that method, or the response if `method` is "".
    #[track_caller]
    pub fn until(&mut self, method: &str) -> Message {
        loop {
            let message = self.message();
            if message.method() == method {
                return message;
            }
        }
    }
}

impl Reply {
    /// The response.
    #[must_use]
    #[track_caller]
    pub fn response(&self) -> &Message {
        self.messages
            .last()
            .unwrap_or_else(|| panic!("no body: {:?}", self.head))
    }

    /// The result.
    #[must_use]
    #[track_caller]
    pub fn result(&self) -> &Value {
        let response = self.response();
        assert!(
            response.value.get("result").is_some(),
            "an error: {} {:.600}",
            self.head.status,
            response.raw
        );
        &response.value["result"]
    }

    /// The first text of a tool's result.
    #[must_use]
    #[track_caller]
    pub fn text(&self) -> &str {
        self.result()["content"][0]["text"]
            .as_str()
            .unwrap_or_else(|| panic!("no text: {:.600}", self.response().raw))
    }

    /// JSON-RPC code and our own, of an error.
    #[must_use]
    pub fn error(&self) -> (i64, &str) {
        let error = self
            .messages
            .last()
            .map(|message| &message.value["error"])
            .unwrap_or(&Value::Null);
        (
            error["code"].as_i64().unwrap_or(0),
            error["data"]["code"].as_str().unwrap_or_default(),
        )
    }
}
