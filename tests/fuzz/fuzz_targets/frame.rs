//! The frame codec takes any bytes without a panic, and what it reads is written back as it was
//! understood.
#![no_main]

use bytes::BytesMut;
use ggen_mcp::edge::frame;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut input = BytesMut::from(data);
    loop {
        match frame::decode(&mut input) {
            Ok(Some((stream, read))) => {
                let mut out = BytesMut::new();
                frame::encode(stream, &read, &mut out);
                assert_eq!(frame::decode(&mut out), Ok(Some((stream, read))));
                assert!(out.is_empty());
            }
            Ok(None) => {
                // A length that a peer claims must not make us reserve what it has not sent.
                assert!(input.capacity() <= 2 * data.len() + (128 << 10), "{} bytes reserved for {}", input.capacity(), data.len());
                return;
            }
            Err(_) => return,
        }
    }
});
