//! Any text is read as a message or refused; what is picked out of it is a part of it, and an edit
//! of it leaves the rest as it was.
#![no_main]

use ggen_mcp::protocol::{json, splice};
use ggen_mcp::protocol::json::{Envelope, Kind};
use ggen_mcp::protocol::splice::Splice;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = json::deeper_than(data, 8);
    let _ = json::members(text).map(|members| members.len());
    let _ = json::elements(text).map(|list| list.len());
    let _ = json::string(text);
    let _ = splice::rebuild(text, |member| member != "a", &[("b", "1")]);
    let _ = ggen_mcp::protocol::header::declared(text);
    let Ok(envelope) = Envelope::parse(text) else { return };
    let (Kind::Request(id, _) | Kind::Result(id, _) | Kind::Error(Some(id), _)) = envelope.kind else { return };
    let mut splice = Splice::new(text);
    splice.replace(id, "4711");
    let edited = splice.finish();
    let edited = std::str::from_utf8(&edited).expect("UTF-8");
    let again = Envelope::parse(edited).expect("an edited message is a message");
    let (Kind::Request(other, _) | Kind::Result(other, _) | Kind::Error(Some(other), _)) = again.kind else { panic!("another kind: {edited}") };
    assert_eq!(other, "4711");
    assert_eq!(edited.len() + id.len(), text.len() + 4);
});
