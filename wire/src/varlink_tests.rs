//! The framing against whole, cut, oversize and senseless input.

use super::*;
use crate::control::{Answer, Body, Call, LogQuery};
use std::{
    io::{BufReader, Cursor, Read},
    os::unix::net::UnixStream,
    time::Duration,
};

fn read(bytes: &[u8]) -> Result<Value, ReadError> {
    read_message(&mut BufReader::new(bytes))
}

#[test]
fn a_call_travels_and_comes_back_typed() {
    let call = Call::GetLogs(LogQuery {
        tail: Some(3),
        grep: Some("nul \u{0} inside".to_owned()),
        ..LogQuery::default()
    });
    let mut wire = Vec::new();
    write_message(&mut wire, &Request::new(&call, true).unwrap()).unwrap();
    assert_eq!(wire.iter().filter(|byte| **byte == 0).count(), 1);
    let request: Request = read_message(&mut Cursor::new(&wire)).unwrap();
    assert!(request.more);
    assert_eq!(request.call::<Call>().unwrap(), call);
}

#[test]
fn parameters_may_be_absent_where_the_method_has_none() {
    let request: Request =
        serde_json::from_str(r#"{"method":"io.ggend.Control.GetStatus"}"#).unwrap();
    assert_eq!(request.call::<Call>().unwrap(), Call::GetStatus {});
}

#[test]
fn an_unknown_method_and_a_bad_parameter_get_varlinks_own_errors() {
    let unknown: Request = serde_json::from_str(r#"{"method":"io.ggend.Control.Fly"}"#).unwrap();
    let reply = unknown.call::<Call>().unwrap_err();
    assert_eq!(reply.error.as_deref(), Some(errors::METHOD_NOT_FOUND));
    assert_eq!(reply.parameters["method"], "io.ggend.Control.Fly");
    let bad: Request = serde_json::from_str(
        r#"{"method":"io.ggend.Control.Wait","parameters":{"timeout_ms":"soon"}}"#,
    )
    .unwrap();
    assert_eq!(
        bad.call::<Call>().unwrap_err().error.as_deref(),
        Some(errors::INVALID_PARAMETER)
    );
}

#[test]
fn an_answer_is_flat_beside_its_version() {
    let answer = Answer {
        version: "0.1.0".to_owned(),
        body: Body::Done("stopped".to_owned()),
    };
    let reply = Reply::ok(&answer, false).unwrap();
    assert_eq!(
        serde_json::to_string(&reply).unwrap(),
        r#"{"parameters":{"done":"stopped","version":"0.1.0"}}"#
    );
    assert_eq!(
        serde_json::from_value::<Answer>(reply.parameters).unwrap(),
        answer
    );
}

#[test]
fn two_messages_in_one_read_are_two() {
    let mut both = BufReader::new(&b"{\"a\":1}\0{\"b\":2}\0"[..]);
    assert_eq!(read_message::<Value>(&mut both).unwrap()["a"], 1);
    assert_eq!(read_message::<Value>(&mut both).unwrap()["b"], 2);
    assert!(matches!(
        read_message::<Value>(&mut both),
        Err(ReadError::Closed)
    ));
}

#[test]
fn a_half_written_message_is_named_so() {
    assert!(matches!(read(b"{\"a\":"), Err(ReadError::Cut(5))));
}

#[test]
fn garbage_is_refused_and_the_next_message_still_comes() {
    let mut input = BufReader::new(&b"HTTP/1.1 400 Bad Request\r\n\0{}\0"[..]);
    assert!(matches!(
        read_message::<Value>(&mut input),
        Err(ReadError::Garbage(_))
    ));
    assert!(read_message::<Value>(&mut input).is_ok());
    assert!(matches!(read(b"\0"), Err(ReadError::Garbage(_))));
    assert!(matches!(read(b"\xff\xfe\0"), Err(ReadError::Garbage(_))));
}

#[test]
fn an_endless_message_is_refused_at_the_limit() {
    let mut endless = BufReader::with_capacity(1 << 16, std::io::repeat(b'x').take(1 << 30));
    assert!(matches!(
        read_message::<Value>(&mut endless),
        Err(ReadError::TooLarge(MAX_MESSAGE))
    ));
    assert!(
        endless.into_inner().limit() > (1 << 30) - (17 << 20),
        "reading went on far beyond the limit"
    );
}

#[test]
fn the_sockets_own_time_out_ends_a_read() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(b"{\"a\"").unwrap();
    ours.set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    assert!(
        read_message::<Value>(&mut BufReader::new(ours))
            .unwrap_err()
            .is_timeout()
    );
}

#[test]
fn the_splitter_cuts_alike_however_the_bytes_come() {
    let stream = b"{\"a\":1}\0\0{\"b\":22}\0{\"c\"";
    for step in 1..=stream.len() {
        let mut splitter = Splitter::new(64);
        let mut messages = Vec::new();
        for chunk in stream.chunks(step) {
            splitter.push(chunk);
            while let Some(message) = splitter.next().unwrap() {
                messages.push(message);
            }
        }
        assert_eq!(
            messages,
            [b"{\"a\":1}".to_vec(), Vec::new(), b"{\"b\":22}".to_vec()]
        );
        assert_eq!(splitter.len(), 4);
    }
}

#[test]
fn the_splitters_limit_counts_the_message_and_not_what_follows() {
    let mut splitter = Splitter::new(4);
    splitter.push(b"1234\x00123\x001");
    assert_eq!(splitter.next().unwrap().unwrap(), b"1234");
    assert_eq!(splitter.next().unwrap().unwrap(), b"123");
    splitter.push(b"2345\0");
    assert!(matches!(splitter.next(), Err(ReadError::TooLarge(4))));
}
