//! Splits a stream of bytes into lines. A line over the limit is skipped to its end and never kept.

use super::buffers::Incoming;
use bytes::{Buf, Bytes, BytesMut};

/// How much of an overlong line is kept as evidence.
const EVIDENCE: usize = 4 << 10;

/// A line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// Without its line break.
    Whole(Bytes),
    /// The first bytes of one over the limit; reported when the limit is passed.
    Overlong(Bytes),
}

/// The splitter. Empty lines are left out.
pub(crate) struct Lines {
    limit: usize,
    scanned: usize,
    skipping: bool,
}

impl Lines {
    /// Lines of at most `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            scanned: 0,
            skipping: false,
        }
    }

    /// The next line; `None` if it has not arrived yet.
    pub(crate) fn next(&mut self, input: &mut Incoming) -> Option<Line> {
        let bytes = &mut input.bytes;
        loop {
            let found = memchr::memchr(b'\n', &bytes[self.scanned..]).map(|at| self.scanned + at);
            if self.skipping {
                bytes.advance(found.map_or(bytes.len(), |at| at + 1));
                self.skipping = found.is_none();
                if self.skipping {
                    return None;
                }
                continue;
            }
            let Some(end) = found else {
                self.scanned = bytes.len();
                if bytes.len() <= self.limit {
                    return None;
                }
                self.skipping = true;
                return Some(self.overlong(bytes));
            };
            if end > self.limit {
                let evidence = Bytes::copy_from_slice(&bytes[..EVIDENCE.min(end)]);
                bytes.advance(end + 1);
                self.scanned = 0;
                return Some(Line::Overlong(evidence));
            }
            self.scanned = 0;
            let mut line = bytes.split_to(end + 1);
            line.truncate(end - usize::from(line[..end].ends_with(b"\r")));
            if !line.is_empty() {
                return Some(Line::Whole(line.freeze()));
            }
        }
    }

    /// What is left at the end of the stream.
    pub(crate) fn rest(&mut self, input: &mut Incoming) -> Option<Line> {
        self.scanned = 0;
        let rest = std::mem::take(&mut input.bytes);
        (!self.skipping && !rest.is_empty()).then(|| Line::Whole(rest.freeze()))
    }

    fn overlong(&mut self, bytes: &mut BytesMut) -> Line {
        let evidence = Bytes::copy_from_slice(&bytes[..EVIDENCE.min(bytes.len())]);
        *bytes = BytesMut::new();
        self.scanned = 0;
        Line::Overlong(evidence)
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        reason = "a test fails by panicking"
    )]

    use super::*;
    use proptest::prelude::*;

    fn split(text: &[u8], cut: usize, limit: usize) -> Vec<Line> {
        let (mut lines, mut input, mut found) =
            (Lines::new(limit), Incoming::new(1024), Vec::new());
        for piece in text.chunks(cut) {
            input.bytes.extend_from_slice(piece);
            while let Some(line) = lines.next(&mut input) {
                found.push(line);
            }
            assert!(input.bytes.len() <= limit.max(cut));
        }
        found.extend(lines.rest(&mut input));
        found
    }

    proptest! {
        #[test]
        fn lines_are_found_however_the_bytes_are_cut(lengths in proptest::collection::vec(0usize..40, 0..20), cut in 1usize..50, crlf: bool) {
            let mut text = Vec::new();
            for (index, length) in lengths.iter().enumerate() {
                text.extend(std::iter::repeat_n(b'a' + u8::try_from(index % 20).unwrap(), *length));
                text.extend_from_slice(if crlf { b"\r\n" } else { b"\n" });
            }
            let limit = 30;
            let found = split(&text, cut, limit);
            let wanted: Vec<usize> = lengths.iter().copied().filter(|length| *length > 0).collect();
            prop_assert_eq!(found.len(), wanted.len());
            for (line, length) in found.iter().zip(wanted) {
                match line {
                    Line::Whole(line) => prop_assert_eq!(line.len(), length),
                    Line::Overlong(_) => prop_assert!(length + usize::from(crlf) > limit),
                }
            }
        }
    }

    #[test]
    fn the_last_line_needs_no_break_and_an_overlong_one_leaves_no_rest() {
        assert_eq!(
            split(b"a\nb", 1, 10),
            [Line::Whole("a".into()), Line::Whole("b".into())]
        );
        assert_eq!(
            split(b"0123456789abc", 4, 10),
            [Line::Overlong("0123456789ab".into())]
        );
    }
}
