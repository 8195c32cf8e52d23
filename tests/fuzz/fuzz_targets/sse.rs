//! The event-stream parser gives the same events however its input is cut, and holds no more than
//! its limit.
#![no_main]

use ggen_mcp::protocol::sse::{Event, Parser};
use libfuzzer_sys::fuzz_target;

const LIMIT: usize = 256;

fn parse<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Event>, bool) {
    let (mut parser, mut events) = (Parser::new(LIMIT), Vec::new());
    for piece in pieces {
        let taken = parser.push(piece, &mut events);
        assert!(parser.held() <= LIMIT + 1);
        if taken.is_err() {
            return (events, true);
        }
    }
    (events, false)
}

fuzz_target!(|data: &[u8]| {
    let Some((cut, data)) = data.split_first() else { return };
    let whole = parse(std::iter::once(data));
    let pieces = parse(data.chunks(usize::from(*cut % 16) + 1));
    // A line over the limit may be noticed earlier when it comes in one piece.
    if !whole.1 && !pieces.1 {
        assert_eq!(whole.0, pieces.0);
    }
});
