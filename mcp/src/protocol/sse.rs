//! The event-stream format (WHATWG HTML §9.2.6): a parser for what upstreams send, fed in pieces of
//! any size, and the writer for what clients get.

use bytes::{BufMut, Bytes, BytesMut};

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// The `id:` field of this event; `None` if it has none.
    pub id: Option<String>,
    /// The `event:` field; `None` if it has none, which means `message`.
    pub kind: Option<String>,
    /// The `retry:` field, in milliseconds.
    pub retry_ms: Option<u32>,
    /// The `data:` fields, joined by line breaks.
    pub data: Bytes,
}

/// A line or an event is over the limit.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event of more than {0} bytes")]
pub struct TooLarge(pub usize);

/// The parser. Memory is bounded by `limit` (one line plus the event that is being collected).
#[derive(Debug)]
pub struct Parser {
    limit: usize,
    line: BytesMut,
    skip_lf: bool,
    started: bool,
    data: BytesMut,
    has_data: bool,
    id: Option<String>,
    kind: Option<String>,
    retry_ms: Option<u32>,
}

impl Parser {
    /// A parser that refuses events over `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            line: BytesMut::new(),
            skip_lf: false,
            started: false,
            data: BytesMut::new(),
            has_data: false,
            id: None,
            kind: None,
            retry_ms: None,
        }
    }

    /// Takes the next bytes and appends the events that they complete. An event without data counts
    /// only if it has an id or a retry time (a priming event of Streamable HTTP).
    ///
    /// # Errors
    /// [`TooLarge`]; the parser must not be used any more.
    pub fn push(&mut self, mut input: &[u8], events: &mut Vec<Event>) -> Result<(), TooLarge> {
        while !input.is_empty() {
            if self.skip_lf {
                self.skip_lf = false;
                if input[0] == b'\n' {
                    input = &input[1..];
                    continue;
                }
            }
            let end = input.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let piece = &input[..end.unwrap_or(input.len())];
            if self.line.len() + self.data.len() + piece.len() > self.limit {
                return Err(TooLarge(self.limit));
            }
            self.line.extend_from_slice(piece);
            let Some(end) = end else { break };
            self.skip_lf = input[end] == b'\r';
            input = &input[end + 1..];
            self.end_line(events);
        }
        Ok(())
    }

    /// Bytes that are held for the event that is not complete yet.
    #[must_use]
    pub fn held(&self) -> usize {
        self.line.len() + self.data.len()
    }

    fn end_line(&mut self, events: &mut Vec<Event>) {
        let line = self.line.split();
        let mut line = &line[..];
        if !self.started {
            self.started = true;
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        if line.is_empty() {
            return self.dispatch(events);
        }
        let colon = line
            .iter()
            .position(|byte| *byte == b':')
            .unwrap_or(line.len());
        let (field, value) = (&line[..colon], line.get(colon + 1..).unwrap_or_default());
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => {
                if self.has_data {
                    self.data.put_u8(b'\n');
                }
                self.has_data = true;
                self.data.extend_from_slice(value);
            }
            b"id" if !value.contains(&0) => {
                self.id = std::str::from_utf8(value).ok().map(str::to_owned)
            }
            b"event" => self.kind = std::str::from_utf8(value).ok().map(str::to_owned),
            b"retry" => {
                self.retry_ms = std::str::from_utf8(value)
                    .ok()
                    .and_then(|text| text.parse().ok())
            }
            _ => {}
        }
    }

    fn dispatch(&mut self, events: &mut Vec<Event>) {
        let kind = self.kind.take().filter(|kind| !kind.is_empty());
        let event = Event {
            id: self.id.take(),
            kind,
            retry_ms: self.retry_ms.take(),
            data: self.data.split().freeze(),
        };
        if std::mem::take(&mut self.has_data) || event.id.is_some() || event.retry_ms.is_some() {
            events.push(event);
        }
    }
}

/// Appends an event to `out`. `data` must not hold line breaks; JSON never does after
/// [`crate::protocol::json::one_line`].
pub fn write(id: Option<&str>, retry_ms: Option<u32>, data: &[u8], out: &mut BytesMut) {
    if let Some(id) = id {
        out.extend_from_slice(b"id: ");
        out.extend_from_slice(id.as_bytes());
        out.put_u8(b'\n');
    }
    if let Some(retry) = retry_ms {
        out.extend_from_slice(format!("retry: {retry}\n").as_bytes());
    }
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(pieces: &[&[u8]]) -> Vec<Event> {
        let (mut parser, mut events) = (Parser::new(1 << 20), Vec::new());
        for piece in pieces {
            parser.push(piece, &mut events).expect("small");
        }
        events
    }

    #[test]
    fn all_line_ends_comments_and_fields() {
        let events = parse(&[b"\xef\xbb\xbf: hello\r\nid: 7\r\nretry: 100\r\ndata: {\"a\":\r\ndata: 1}\r\rdata\n\nevent: x\n\nid\n\n"]);
        assert_eq!(
            events[0],
            Event {
                id: Some("7".into()),
                kind: None,
                retry_ms: Some(100),
                data: Bytes::from_static(b"{\"a\":\n1}")
            }
        );
        assert_eq!(events[1].data, Bytes::new());
        assert_eq!(events[2].id.as_deref(), Some(""));
        assert_eq!(events.len(), 3);
        // The name of an event without data is not the next one's.
        let events = parse(&[b"event: endpoint\ndata: /m\n\nevent: x\n\ndata: 1\n\n"]);
        assert_eq!(
            events
                .iter()
                .map(|event| event.kind.as_deref())
                .collect::<Vec<_>>(),
            [Some("endpoint"), None]
        );
    }

    #[test]
    fn an_endless_line_is_refused() {
        let (mut parser, mut events) = (Parser::new(64), Vec::new());
        assert_eq!(parser.push(&[b'x'; 65], &mut events), Err(TooLarge(64)));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_however_it_is_cut(
            messages in proptest::collection::vec(("[ -~]{0,40}", proptest::option::of("[a-z0-9-]{1,8}"), proptest::option::of(0u32..9999)), 1..8),
            cut in 1usize..7,
        ) {
            let mut out = BytesMut::new();
            for (data, id, retry) in &messages {
                write(id.as_deref(), *retry, data.as_bytes(), &mut out);
            }
            let pieces: Vec<_> = out.chunks(cut).collect();
            let events = parse(&pieces);
            prop_assert_eq!(events.len(), messages.len());
            for (event, (data, id, retry)) in events.iter().zip(&messages) {
                prop_assert_eq!(&event.data[..], data.as_bytes());
                prop_assert_eq!(&event.id, id);
                prop_assert_eq!(&event.retry_ms, retry);
            }
        }
    }
}
