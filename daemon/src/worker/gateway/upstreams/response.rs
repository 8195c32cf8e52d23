//! The body of a response over Streamable HTTP: one JSON message, messages line by line, or events.
//! What it is shows in its first bytes; servers label it wrongly. May not: know MCP beyond that.

use super::evidence::{self, Evidence};
use super::streamable_http::{Exchange, Failed, LIMIT, broken, is_event_stream};
use crate::worker::gateway::settings::Target;
use bytes::{Buf, Bytes, BytesMut};
use ggen_mcp::api::UpInput;
use ggen_mcp::protocol::sse;
use ggen_wire::Code;
use http::{Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use serde::de::IgnoredAny;

/// What a body is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Events,
    Whole,
}

/// The beginnings of lines of an event stream.
const FIELDS: [&[u8]; 5] = [b":", b"data:", b"event:", b"id:", b"retry:"];

/// What a body is whose first bytes are these; `None`: more of them are needed.
fn form(is_labelled: bool, start: &[u8]) -> Option<Form> {
    let bytes = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start);
    let bytes = bytes.trim_ascii_start();
    let first = bytes.first()?;
    if is_labelled {
        return Some(if matches!(first, b'{' | b'[') {
            Form::Whole
        } else {
            Form::Events
        });
    }
    if FIELDS.iter().any(|field| bytes.starts_with(field)) {
        return Some(Form::Events);
    }
    let may_become = FIELDS.iter().any(|field| field.starts_with(bytes));
    (!may_become).then_some(Form::Whole)
}

/// Whether a body can be a message.
fn is_message(status: StatusCode, data: &[u8]) -> bool {
    let begins = matches!(data.trim_ascii_start().first(), Some(b'{' | b'['));
    let names_protocol = || data.windows(9).any(|part| part == b"\"jsonrpc\"");
    match status.as_u16() {
        200..300 => begins,
        // What these say concerns the whole server.
        401 | 403 | 407 | 429 => false,
        _ => begins && names_protocol(),
    }
}

async fn piece(target: &Target, body: &mut Incoming) -> Result<Option<Bytes>, Failed> {
    while let Some(frame) = body.frame().await {
        if let Ok(piece) = frame.map_err(|error| broken(target, &error))?.into_data() {
            return Ok(Some(piece));
        }
    }
    Ok(None)
}

impl Exchange {
    /// Reads a response, and tells the relay what is in it.
    pub(super) async fn read(
        &mut self,
        target: &Target,
        response: Response<Incoming>,
    ) -> Result<(), Failed> {
        let (status, evidence) = (response.status(), Evidence::of(&response));
        let is_labelled = status == StatusCode::OK && is_event_stream(&response);
        let session = response
            .headers()
            .get("mcp-session-id")
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let wait = evidence::retry_after(response.headers());
        let retry_after = wait.map(|wait| u64::try_from(wait.as_micros()).unwrap_or(u64::MAX));
        let head = |sse| UpInput::Head {
            exchange: self.number,
            status: status.as_u16(),
            session: session.clone(),
            retry_after,
            sse,
        };
        let mut body = response.into_body();
        let is_too_large = body.size_hint().lower() > LIMIT as u64;
        if is_labelled || is_too_large || status != StatusCode::OK {
            self.tell(head(is_labelled)).await;
        }
        if is_too_large {
            let code = Code::UpstreamTooLarge;
            return Err((code, code.title().to_owned()));
        }
        let mut start = BytesMut::new();
        let mut found = None;
        while found.is_none()
            && let Some(piece) = piece(target, &mut body).await?
        {
            self.held.set(start.len() + piece.len())?;
            start.extend_from_slice(&piece);
            found = if status == StatusCode::OK {
                form(is_labelled, &start)
            } else {
                Some(Form::Whole)
            };
        }
        let form = found.unwrap_or(Form::Whole);
        if !is_labelled && status == StatusCode::OK {
            self.tell(head(form == Form::Events)).await;
        }
        match form {
            Form::Events => self.events(target, start, body).await,
            Form::Whole => self.whole(target, &evidence, status, start, body).await,
        }
    }

    /// One message, or one on each line.
    async fn whole(
        &mut self,
        target: &Target,
        evidence: &Evidence,
        status: StatusCode,
        mut data: BytesMut,
        mut body: Incoming,
    ) -> Result<(), Failed> {
        if data.starts_with(b"\xef\xbb\xbf") {
            data.advance(3);
        }
        let mut has_lines = status == StatusCode::OK;
        loop {
            while has_lines && let Some(end) = data.iter().position(|byte| *byte == b'\n') {
                has_lines = is_one_message(&data[..end]);
                if has_lines {
                    let line = data.split_to(end + 1);
                    if !line.trim_ascii().is_empty() {
                        self.message(line.freeze()).await;
                    }
                }
            }
            let Some(piece) = piece(target, &mut body).await? else {
                break;
            };
            self.held.set(data.len() + piece.len())?;
            data.extend_from_slice(&piece);
        }
        if is_message(status, &data) {
            self.message(data.freeze()).await;
        } else if !data.trim_ascii().is_empty() || !status.is_success() {
            return Err(evidence.failed(target, &data));
        }
        Ok(())
    }

    async fn events(
        &mut self,
        target: &Target,
        start: BytesMut,
        mut body: Incoming,
    ) -> Result<(), Failed> {
        let (mut parser, mut events) = (sse::Parser::new(LIMIT), Vec::new());
        let mut next = Some(start.freeze());
        while let Some(bytes) = next {
            parser
                .push(&bytes, &mut events)
                .map_err(|error| (Code::UpstreamTooLarge, error.to_string()))?;
            self.held.set(parser.held())?;
            for event in events.drain(..) {
                // Other events are no messages; their ids count.
                let is_message = matches!(event.kind.as_deref(), None | Some("message"));
                let data = if is_message { event.data } else { Bytes::new() };
                if data.is_empty() && event.id.is_none() && event.retry_ms.is_none() {
                    continue;
                }
                self.tell(UpInput::Message {
                    exchange: self.number,
                    event_id: event.id,
                    retry_ms: event.retry_ms,
                    data,
                })
                .await;
            }
            next = piece(target, &mut body).await?;
        }
        Ok(())
    }

    async fn message(&self, data: Bytes) {
        self.tell(UpInput::Message {
            exchange: self.number,
            event_id: None,
            retry_ms: None,
            data,
        })
        .await;
    }
}

/// Whether a line is a whole message, or empty: then the body has one on each line.
fn is_one_message(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    line.is_empty()
        || line.starts_with(b"{")
            && line.ends_with(b"}")
            && serde_json::from_slice::<IgnoredAny>(line).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_say_what_a_body_is() {
        let events = Some(Form::Events);
        let whole = Some(Form::Whole);
        for (is_labelled, start, expected) in [
            (true, &b""[..], None),
            (true, b" \r\n", None),
            (true, b": hi", events),
            (true, b"x", events),
            (true, b"{\"a\"", whole),
            (true, b"\xef\xbb\xbf[", whole),
            (false, b"", None),
            (false, b"dat", None),
            (false, b"data: {}", events),
            (false, b"\xef\xbb\xbfevent: message", events),
            (false, b":", events),
            (false, b"id:", events),
            (false, b"{", whole),
            (false, b"ident", whole),
            (false, b"<html>", whole),
        ] {
            assert!(form(is_labelled, start) == expected, "{start:?}");
        }
    }
}
