//! The `text/event-stream` encoding (WHATWG HTML §9.2.5). Pure.

use bytes::{BufMut, Bytes, BytesMut};

/// Events are gathered into one write up to about so many bytes.
pub(super) const BATCH: usize = 16 << 10;
/// A message from this size on is not copied.
pub(super) const LARGE: usize = 32 << 10;
/// A line that clients skip and proxies see.
pub(super) const COMMENT: &[u8] = b":\n\n";

/// Ends an event.
pub(super) const END: &[u8] = b"\n\n";

/// Appends an event to `out`. A large message is given back instead: it has to follow `out`, and
/// [`END`] has to follow it.
pub(super) fn encode(
    id: Option<&str>,
    retry_ms: Option<u32>,
    data: Bytes,
    out: &mut BytesMut,
) -> Option<Bytes> {
    if let Some(id) = id {
        out.put_slice(b"id: ");
        put_line(out, id.as_bytes());
        out.put_u8(b'\n');
    }
    if let Some(milliseconds) = retry_ms {
        out.put_slice(b"retry: ");
        out.put_slice(milliseconds.to_string().as_bytes());
        out.put_u8(b'\n');
    }
    out.put_slice(b"data: ");
    if data.len() >= LARGE && !breaks(&data) {
        return Some(data);
    }
    put_line(out, &data);
    out.put_slice(END);
    None
}

/// Whether a value would end its line. JSON-RPC messages may have line breaks between tokens, never
/// within (RFC 8259 §7).
fn breaks(value: &[u8]) -> bool {
    value.iter().any(|byte| matches!(byte, b'\n' | b'\r'))
}

fn put_line(out: &mut BytesMut, value: &[u8]) {
    let at = out.len();
    out.put_slice(value);
    if breaks(value) {
        out[at..]
            .iter_mut()
            .filter(|byte| matches!(byte, b'\n' | b'\r'))
            .for_each(|byte| *byte = b' ');
    }
}

#[cfg(test)]
mod tests {
    use super::{LARGE, encode};
    use bytes::{Bytes, BytesMut};

    #[test]
    fn events_have_the_fields_that_were_given_and_stay_on_their_lines() {
        let mut out = BytesMut::new();
        assert_eq!(
            encode(None, None, Bytes::from_static(b"{}"), &mut out),
            None
        );
        assert_eq!(encode(Some("1-0"), Some(500), Bytes::new(), &mut out), None);
        assert_eq!(
            encode(Some("a\nb"), None, Bytes::from_static(b"{\r\n}"), &mut out),
            None
        );
        assert_eq!(
            out,
            "data: {}\n\nid: 1-0\nretry: 500\ndata: \n\nid: a b\ndata: {  }\n\n"
        );
    }

    #[test]
    fn a_large_message_is_passed_on_without_a_copy() {
        let (mut out, data) = (BytesMut::new(), Bytes::from(vec![b'x'; LARGE]));
        let same = encode(None, None, data.clone(), &mut out).expect("given back");
        assert_eq!((same.as_ptr(), &out[..]), (data.as_ptr(), &b"data: "[..]));
    }
}
