//! The frames between an edge worker and the gateway worker, over a stream socket: many exchanges
//! on one connection, told apart by a stream number that the edge chooses (ascending, never reused
//! on a link). Little-endian:
//!
//! ```text
//! u32 length of what follows   u8 kind   u32 stream   payload
//! ```
//!
//! A decoder never trusts the peer's lengths: a frame over [`MAX_FRAME`] and a payload that does
//! not parse are errors, and the link is closed.

use crate::edge::{Principal, Reply, Request, Verb};
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Largest frame in bytes, header included: the largest message that may pass (64 MiB) and room for
/// its headers.
pub const MAX_FRAME: usize = (64 << 20) + (64 << 10);

const HEADER: usize = 9;
/// Room that is made for a frame that has only begun.
const AHEAD: usize = 64 << 10;

/// A frame in either direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Edge → gateway: an exchange begins.
    Open(Request),
    /// Edge → gateway: the client is gone, or the edge has given the exchange up. Nothing more is
    /// sent for the stream.
    Gone,
    /// Edge → gateway: so many further events may be sent on the stream (it begins with
    /// [`WINDOW`]).
    Credit(u32),
    /// Edge → gateway: it has another link for new exchanges; no `Open` follows on this one. Its
    /// stream number says nothing.
    Moved,
    /// Gateway → edge.
    Reply(Reply),
}

/// Events that may be sent on a stream before the edge grants more. `Full`, `Start` and `End` need
/// no credit.
pub const WINDOW: u32 = 64;

/// What is wrong with the peer's bytes.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length field is over [`MAX_FRAME`] or under the header's own size.
    #[error("frame of {0} bytes")]
    Length(usize),
    /// The kind is not known.
    #[error("unknown frame kind {0}")]
    Kind(u8),
    /// The payload ends early, or text in it is not UTF-8.
    #[error("malformed frame payload")]
    Payload,
}

const OPEN: u8 = 1;
const GONE: u8 = 2;
const CREDIT: u8 = 3;
const MOVED: u8 = 4;
const FULL: u8 = 16;
const START: u8 = 17;
const EVENT: u8 = 18;
const END: u8 = 19;

/// Appends a frame to `out`.
pub fn encode(stream: u32, frame: &Frame, out: &mut BytesMut) {
    let at = out.len();
    out.put_u32_le(0);
    match frame {
        Frame::Open(request) => {
            head(out, OPEN, stream);
            put_request(out, request);
        }
        Frame::Gone => head(out, GONE, stream),
        Frame::Credit(events) => {
            head(out, CREDIT, stream);
            out.put_u32_le(*events);
        }
        Frame::Moved => head(out, MOVED, stream),
        Frame::Reply(reply) => put_reply(out, stream, reply),
    }
    let length = u32::try_from(out.len() - at - 4).unwrap_or(u32::MAX);
    out[at..at + 4].copy_from_slice(&length.to_le_bytes());
}

/// Takes the next whole frame off `input`; `None` if it has not arrived yet. Bodies share `input`'s
/// memory.
///
/// # Errors
/// [`FrameError`]: the link is not usable any more.
pub fn decode(input: &mut BytesMut) -> Result<Option<(u32, Frame)>, FrameError> {
    let Some(length) = input
        .get(..4)
        .and_then(|bytes| bytes.try_into().ok())
        .map(u32::from_le_bytes)
    else {
        return Ok(None);
    };
    let whole = usize::try_from(length).map_or(usize::MAX, |length| length.saturating_add(4));
    if !(HEADER..=MAX_FRAME).contains(&whole) {
        return Err(FrameError::Length(whole));
    }
    if input.len() < whole {
        if input.capacity() < whole && input.len() >= AHEAD {
            // A large frame gets memory of its own and of its size, so that nobody who keeps its
            // body keeps more than that. Pages that nothing is written to cost nothing.
            let mut own = BytesMut::with_capacity(whole);
            own.extend_from_slice(input);
            *input = own;
        } else {
            // What the peer claims is not believed before some of it comes.
            input.reserve((whole - input.len()).min(AHEAD));
        }
        return Ok(None);
    }
    let mut frame = input.split_to(whole).freeze();
    frame.advance(4);
    let (kind, stream) = (frame.get_u8(), frame.get_u32_le());
    let frame = match kind {
        OPEN => Frame::Open(get_request(frame)?),
        GONE => Frame::Gone,
        MOVED => Frame::Moved,
        CREDIT => Frame::Credit(frame.try_get_u32_le().map_err(|_| FrameError::Payload)?),
        FULL | START | EVENT | END => Frame::Reply(get_reply(kind, frame)?),
        kind => return Err(FrameError::Kind(kind)),
    };
    Ok(Some((stream, frame)))
}

fn head(out: &mut BytesMut, kind: u8, stream: u32) {
    out.put_u8(kind);
    out.put_u32_le(stream);
}

fn put_request(out: &mut BytesMut, request: &Request) {
    out.put_u8(match request.verb {
        Verb::Post => 0,
        Verb::Get => 1,
        Verb::Delete => 2,
        Verb::Message => 3,
        Verb::Attach => 4,
    });
    out.put_u8(u8::from(request.accept_json) | u8::from(request.accept_sse) << 1);
    put_short(out, request.view.as_bytes());
    put_short(out, request.principal.id.as_bytes());
    let labels = request.principal.labels.len().min(usize::from(u8::MAX));
    out.put_u8(u8::try_from(labels).unwrap_or(u8::MAX));
    for label in &request.principal.labels[..labels] {
        put_short(out, label.as_bytes());
    }
    let count = request.headers.len().min(usize::from(u8::MAX));
    out.put_u8(u8::try_from(count).unwrap_or(u8::MAX));
    for (name, value) in &request.headers[..count] {
        put_short(out, name.as_bytes());
        put_short(out, value);
    }
    out.put_slice(&request.body);
}

fn get_request(mut bytes: Bytes) -> Result<Request, FrameError> {
    let verb = match bytes.try_get_u8().map_err(|_| FrameError::Payload)? {
        0 => Verb::Post,
        1 => Verb::Get,
        2 => Verb::Delete,
        3 => Verb::Message,
        4 => Verb::Attach,
        _ => return Err(FrameError::Payload),
    };
    let accept = bytes.try_get_u8().map_err(|_| FrameError::Payload)?;
    let view = get_text(&mut bytes)?;
    let principal = get_principal(&mut bytes)?;
    let count = bytes.try_get_u8().map_err(|_| FrameError::Payload)?;
    let headers = (0..count)
        .map(|_| {
            Ok((
                get_text(&mut bytes)?,
                get_short(&mut bytes)?.as_ref().into(),
            ))
        })
        .collect::<Result<Vec<_>, FrameError>>()?;
    Ok(Request {
        verb,
        accept_json: accept & 1 != 0,
        accept_sse: accept & 2 != 0,
        view,
        principal,
        headers,
        body: bytes,
    })
}

fn get_principal(bytes: &mut Bytes) -> Result<Principal, FrameError> {
    let id = get_text(bytes)?;
    let count = bytes.try_get_u8().map_err(|_| FrameError::Payload)?;
    let labels = (0..count)
        .map(|_| get_text(bytes))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Principal {
        id: id.into(),
        labels: labels.into(),
    })
}

fn put_reply(out: &mut BytesMut, stream: u32, reply: &Reply) {
    match reply {
        Reply::Full {
            status,
            session,
            retry_after,
            body,
        } => {
            head(out, FULL, stream);
            out.put_u16_le(*status);
            put_short(out, session.as_deref().unwrap_or_default().as_bytes());
            out.put_u32_le(retry_after.map_or(0, |seconds| seconds.saturating_add(1)));
            out.put_slice(body);
        }
        Reply::Start { session } => {
            head(out, START, stream);
            put_short(out, session.as_deref().unwrap_or_default().as_bytes());
        }
        Reply::Event { id, retry_ms, data } => {
            head(out, EVENT, stream);
            put_short(out, id.as_deref().unwrap_or_default().as_bytes());
            out.put_u32_le(retry_ms.map_or(0, |ms| ms.saturating_add(1)));
            out.put_slice(data);
        }
        Reply::End => head(out, END, stream),
    }
}

fn get_reply(kind: u8, mut bytes: Bytes) -> Result<Reply, FrameError> {
    let optional = |text: Box<str>| (!text.is_empty()).then_some(text);
    Ok(match kind {
        FULL => {
            let status = bytes.try_get_u16_le().map_err(|_| FrameError::Payload)?;
            let session = optional(get_text(&mut bytes)?);
            let retry = bytes.try_get_u32_le().map_err(|_| FrameError::Payload)?;
            Reply::Full {
                status,
                session,
                retry_after: retry.checked_sub(1),
                body: bytes,
            }
        }
        START => Reply::Start {
            session: optional(get_text(&mut bytes)?),
        },
        EVENT => {
            let id = optional(get_text(&mut bytes)?);
            let retry = bytes.try_get_u32_le().map_err(|_| FrameError::Payload)?;
            Reply::Event {
                id,
                retry_ms: retry.checked_sub(1),
                data: bytes,
            }
        }
        _ => Reply::End,
    })
}

/// Text up to 64 KiB; what is longer was refused by the edge's header limit, so cutting never
/// happens.
fn put_short(out: &mut BytesMut, bytes: &[u8]) {
    let length = bytes.len().min(usize::from(u16::MAX));
    out.put_u16_le(u16::try_from(length).unwrap_or(u16::MAX));
    out.put_slice(&bytes[..length]);
}

fn get_short(bytes: &mut Bytes) -> Result<Bytes, FrameError> {
    let length = usize::from(bytes.try_get_u16_le().map_err(|_| FrameError::Payload)?);
    if bytes.len() < length {
        Err(FrameError::Payload)
    } else {
        Ok(bytes.split_to(length))
    }
}

fn get_text(bytes: &mut Bytes) -> Result<Box<str>, FrameError> {
    let text = get_short(bytes)?;
    std::str::from_utf8(&text)
        .map(Into::into)
        .map_err(|_| FrameError::Payload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    fn text(pattern: &'static str) -> impl Strategy<Value = Box<str>> {
        pattern.prop_map(|text: String| text.into())
    }

    fn body() -> impl Strategy<Value = Bytes> {
        vec(any::<u8>(), 0..300).prop_map(Bytes::from)
    }

    fn request() -> impl Strategy<Value = Request> {
        let verb = prop_oneof![
            Just(Verb::Post),
            Just(Verb::Get),
            Just(Verb::Delete),
            Just(Verb::Message),
            Just(Verb::Attach)
        ];
        let header = (
            text("[a-z-]{1,20}"),
            vec(any::<u8>(), 0..40).prop_map(Vec::into_boxed_slice),
        );
        let principal =
            (text("\\PC{0,20}"), vec(text("\\PC{0,20}"), 0..4)).prop_map(|(id, labels)| {
                Principal {
                    id: (&*id).into(),
                    labels: labels.into(),
                }
            });
        (
            verb,
            any::<[bool; 2]>(),
            text("\\PC{0,20}"),
            principal,
            vec(header, 0..12),
            body(),
        )
            .prop_map(
                |(verb, [accept_json, accept_sse], view, principal, headers, body)| Request {
                    verb,
                    accept_json,
                    accept_sse,
                    view,
                    principal,
                    headers,
                    body,
                },
            )
    }

    fn reply() -> impl Strategy<Value = Reply> {
        let session = || option::of(text("[!-~]{1,40}"));
        // The codec keeps zero for absence, so that the largest value does not exist.
        let number = || option::of(0..u32::MAX);
        prop_oneof![
            (any::<u16>(), session(), number(), body()).prop_map(
                |(status, session, retry_after, body)| Reply::Full {
                    status,
                    session,
                    retry_after,
                    body
                }
            ),
            session().prop_map(|session| Reply::Start { session }),
            (session(), number(), body()).prop_map(|(id, retry_ms, data)| Reply::Event {
                id,
                retry_ms,
                data
            }),
            Just(Reply::End),
        ]
    }

    fn frame() -> impl Strategy<Value = Frame> {
        prop_oneof![
            request().prop_map(Frame::Open),
            Just(Frame::Gone),
            Just(Frame::Moved),
            any::<u32>().prop_map(Frame::Credit),
            reply().prop_map(Frame::Reply),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_however_it_is_cut(frames in vec((any::<u32>(), frame()), 1..6), cut in 1usize..400) {
            let mut out = BytesMut::new();
            for (stream, frame) in &frames {
                encode(*stream, frame, &mut out);
            }
            let (mut input, mut read) = (BytesMut::new(), Vec::new());
            for piece in out.chunks(cut) {
                input.extend_from_slice(piece);
                while let Some(frame) = decode(&mut input).expect("own frames") {
                    read.push(frame);
                }
            }
            prop_assert!(input.is_empty());
            prop_assert_eq!(read, frames);
        }

        #[test]
        fn garbage_is_an_error_or_is_waited_for(bytes in vec(any::<u8>(), 0..400), kind in 0u8..24, length in any::<u32>()) {
            for header in [Vec::new(), [&length.to_le_bytes()[..], &[kind]].concat(), [&(bytes.len() as u32 + 1).to_le_bytes()[..], &[kind]].concat()] {
                let mut input = BytesMut::from(&[&header[..], &bytes].concat()[..]);
                let had = input.len();
                while let Ok(Some(_)) = decode(&mut input) {}
                prop_assert!(input.capacity() <= 2 * had + AHEAD, "{} bytes for {}", input.capacity(), had);
            }
        }
    }

    #[test]
    fn lengths_are_bounded() {
        for length in [0, 4, u32::MAX, u32::try_from(MAX_FRAME).expect("small")] {
            let mut input = BytesMut::from(&length.to_le_bytes()[..]);
            assert_eq!(
                decode(&mut input),
                Err(FrameError::Length(length as usize + 4))
            );
        }
        let mut input =
            BytesMut::from(&u32::try_from(MAX_FRAME - 4).expect("small").to_le_bytes()[..]);
        assert_eq!(decode(&mut input), Ok(None));
        assert!(input.capacity() <= 2 * AHEAD);
    }
}
