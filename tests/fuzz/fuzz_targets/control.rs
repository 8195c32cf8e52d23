//! Whatever comes at the control socket: however it is cut into pieces, the same messages come out,
//! within the limit; each is a call, or gets an error of the protocol; a call is read as it was written.
#![no_main]

use ggen_wire::control::Call;
use ggen_wire::varlink::{Request, Splitter, encode};
use libfuzzer_sys::fuzz_target;

const LIMIT: usize = 4 << 10;

/// The messages, and whether the stream ended in an error.
fn split(data: &[u8], step: usize) -> (Vec<Vec<u8>>, bool) {
    let (mut splitter, mut messages) = (Splitter::new(LIMIT), Vec::new());
    for piece in data.chunks(step) {
        splitter.push(piece);
        loop {
            match splitter.next() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(_) => return (messages, true),
            }
        }
        assert!(splitter.len() <= LIMIT);
    }
    (messages, false)
}

fuzz_target!(|data: &[u8]| {
    let whole = split(data, data.len().max(1));
    for step in [1, 7] {
        assert_eq!(split(data, step), whole);
    }
    for message in whole.0 {
        let Ok(request) = serde_json::from_slice::<Request>(&message) else { continue };
        match request.call::<Call>() {
            Ok(call) => {
                let again = Request::new(&call, request.more).expect("a call can be written");
                let bytes = encode(&again).expect("a request can be written");
                assert_eq!(bytes.last(), Some(&0));
                let read: Request = serde_json::from_slice(&bytes[..bytes.len() - 1]).expect("and read");
                let known = read.call::<Call>().expect("as a call");
                assert_eq!(known.name(), call.name());
            }
            Err(reply) => assert!(reply.error.is_some()),
        }
    }
});
