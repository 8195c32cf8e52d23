//! Varlink framing: one JSON object, then a NUL byte (<https://varlink.org/Method-Call>), and the
//! objects that the specification names. Knows nothing of methods or sockets: [`write_message`] and
//! [`read_message`] block on whatever they are given, with its own time-out; [`Splitter`] is the
//! same framing without I/O, for an event loop.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use std::io::{self, BufRead, Write};

/// Largest message that either side accepts, in bytes, without its NUL.
pub const MAX_MESSAGE: usize = 16 << 20;

/// Varlink's own errors that we send and understand.
pub mod errors {
    /// No such interface; parameter `interface`.
    pub const INTERFACE_NOT_FOUND: &str = "org.varlink.service.InterfaceNotFound";
    /// No such method; parameter `method`.
    pub const METHOD_NOT_FOUND: &str = "org.varlink.service.MethodNotFound";
    /// A parameter is missing or of the wrong type; parameter `parameter`.
    pub const INVALID_PARAMETER: &str = "org.varlink.service.InvalidParameter";
}

/// A call as it travels. [`Request::call`] makes it typed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// `<interface>.<Method>`
    pub method: String,
    /// May be absent, which means empty.
    #[serde(default)]
    pub parameters: Map<String, Value>,
    /// The caller takes several replies.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
    /// The caller wants no reply.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub oneway: bool,
}

/// A reply as it travels.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// The method's result, or the error's parameters.
    #[serde(default)]
    pub parameters: Value,
    /// Another reply to the same call follows; only where the call said `more`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub continues: bool,
    /// The error's full name, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Request {
    /// A request for a typed call, such as [`crate::control::Call`].
    ///
    /// # Errors
    /// When `call` is not an object of `method` and `parameters`.
    pub fn new(call: &impl Serialize, more: bool) -> Result<Self, serde_json::Error> {
        let request: Self = serde_json::from_value(serde_json::to_value(call)?)?;
        Ok(Self { more, ..request })
    }

    /// The typed call.
    ///
    /// # Errors
    /// The varlink error to send back: the method is unknown, or its parameters do not fit.
    pub fn call<C: DeserializeOwned>(&self) -> Result<C, Reply> {
        let object = serde_json::json!({ "method": self.method, "parameters": self.parameters });
        serde_json::from_value(object).map_err(|error| {
            let text = error.to_string();
            if text.starts_with("unknown variant") {
                Reply::error(
                    errors::METHOD_NOT_FOUND,
                    serde_json::json!({ "method": self.method }),
                )
            } else {
                Reply::error(
                    errors::INVALID_PARAMETER,
                    serde_json::json!({ "parameter": text }),
                )
            }
        })
    }
}

impl Reply {
    /// A reply with a result. `continues` says that another one follows.
    ///
    /// # Errors
    /// When `result` cannot be written as JSON.
    pub fn ok(result: &impl Serialize, continues: bool) -> Result<Self, serde_json::Error> {
        Ok(Self {
            parameters: serde_json::to_value(result)?,
            continues,
            error: None,
        })
    }

    /// An error reply.
    #[must_use]
    pub fn error(name: &str, parameters: Value) -> Self {
        Self {
            parameters,
            continues: false,
            error: Some(name.to_owned()),
        }
    }
}

/// Why no message came.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The peer closed between two messages.
    #[error("the peer closed the connection")]
    Closed,
    /// The peer closed in the middle of a message.
    #[error("the peer closed the connection in the middle of a message ({0} bytes of it had come)")]
    Cut(usize),
    /// The message is longer than the limit.
    #[error("the message is longer than {0} bytes")]
    TooLarge(usize),
    /// The message is not the JSON that was expected.
    #[error("the message is not valid")]
    Garbage(#[source] serde_json::Error),
    /// The socket failed, or its time-out passed (`WouldBlock` or `TimedOut`).
    #[error("the socket failed")]
    Io(#[source] io::Error),
}

impl ReadError {
    /// Whether the socket's read time-out passed.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Io(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut))
    }
}

/// The bytes of one message, with its NUL.
///
/// # Errors
/// When `message` cannot be written as JSON.
pub fn encode(message: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    // JSON escapes control characters, so that no NUL can stand inside.
    let mut bytes = serde_json::to_vec(message)?;
    bytes.push(0);
    Ok(bytes)
}

/// Writes one message and flushes.
///
/// # Errors
/// Those of the writer, its time-out among them; `InvalidData` when `message` cannot be written as
/// JSON.
pub fn write_message(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    to.write_all(&encode(message).map_err(io::Error::from)?)?;
    to.flush()
}

/// Reads one message of at most [`MAX_MESSAGE`] bytes.
///
/// # Errors
/// See [`ReadError`]. After any of them but [`ReadError::Garbage`] the connection is of no further
/// use.
pub fn read_message<M: DeserializeOwned>(from: &mut impl BufRead) -> Result<M, ReadError> {
    let mut splitter = Splitter::new(MAX_MESSAGE);
    loop {
        let chunk = match from.fill_buf() {
            Ok(chunk) => chunk,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(ReadError::Io(error)),
        };
        if chunk.is_empty() {
            return Err(if splitter.is_empty() {
                ReadError::Closed
            } else {
                ReadError::Cut(splitter.len())
            });
        }
        // Nothing after the NUL is taken: it belongs to the next message.
        let taken = chunk
            .iter()
            .position(|byte| *byte == 0)
            .map_or(chunk.len(), |end| end + 1);
        splitter.push(&chunk[..taken]);
        from.consume(taken);
        if let Some(message) = splitter.next()? {
            return serde_json::from_slice(&message).map_err(ReadError::Garbage);
        }
    }
}

/// Cuts a stream of bytes into messages. Holds at most its limit, and what one [`push`](Self::push)
/// brought.
#[derive(Debug)]
pub struct Splitter {
    buffer: Vec<u8>,
    // Bytes of the buffer that are known to hold no NUL.
    scanned: usize,
    limit: usize,
}

impl Splitter {
    /// A splitter for messages of at most `limit` bytes.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self {
            buffer: Vec::new(),
            scanned: 0,
            limit,
        }
    }

    /// Takes bytes as they came. Call [`next`](Self::next) until it gives `None` before the next
    /// push.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message without its NUL, or `None` when more bytes are needed.
    ///
    /// # Errors
    /// [`ReadError::TooLarge`] when a message, whole or not, is over the limit. The stream cannot
    /// be read further.
    #[allow(
        clippy::should_implement_trait,
        reason = "an iterator could not be pushed to"
    )]
    pub fn next(&mut self) -> Result<Option<Vec<u8>>, ReadError> {
        let end = self.buffer[self.scanned..]
            .iter()
            .position(|byte| *byte == 0)
            .map(|at| self.scanned + at);
        if end.unwrap_or(self.buffer.len()) > self.limit {
            return Err(ReadError::TooLarge(self.limit));
        }
        let Some(end) = end else {
            self.scanned = self.buffer.len();
            return Ok(None);
        };
        let rest = self.buffer.split_off(end + 1);
        let mut message = std::mem::replace(&mut self.buffer, rest);
        message.pop();
        self.scanned = 0;
        Ok(Some(message))
    }

    /// Bytes of a message that is not whole yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Whether no message has begun.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }
}

#[cfg(test)]
#[path = "varlink_tests.rs"]
mod tests;
