//! The MCP server behind both gateways of the benchmark: one tool, either era, over stdio, and as
//! little work as possible, so that what is measured is the gateway. Reads many lines at once,
//! answers them with one write. Not a server to copy: it checks nothing.

use clap::{Parser, ValueEnum};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::AsFd,
};

/// Bytes taken by one read, at most; a pipe holds no more.
const CHUNK: usize = 64 << 10;

#[derive(Parser)]
struct Arguments {
    /// Which revisions to speak.
    #[arg(long, value_enum)]
    era: Era,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Era {
    Legacy,
    Modern,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    method: Option<&'a str>,
    #[serde(borrow)]
    params: Option<Params<'a>>,
}

#[derive(Deserialize)]
struct Params<'a> {
    #[serde(borrow)]
    arguments: Option<Echo<'a>>,
}

#[derive(Deserialize)]
struct Echo<'a> {
    #[serde(borrow)]
    message: &'a RawValue,
}

fn main() -> io::Result<()> {
    let era = Arguments::parse().era;
    let mut input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let (mut buffer, mut held, mut answers) = (vec![0; CHUNK], 0, Vec::with_capacity(CHUNK));
    loop {
        let count = input.read(&mut buffer[held..])?;
        if count == 0 {
            return Ok(());
        }
        let end = held + count;
        let mut from = 0;
        while let Some(length) = memchr::memchr(b'\n', &buffer[from..end]) {
            answer(era, &buffer[from..from + length], &mut answers)?;
            from += length + 1;
        }
        buffer.copy_within(from..end, 0);
        held = end - from;
        if held == buffer.len() {
            buffer.resize(buffer.len() * 2, 0);
        }
        output.write_all(&answers)?;
        answers.clear();
    }
}

fn answer(era: Era, line: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let Ok(message) = serde_json::from_slice::<Message<'_>>(line) else {
        return Ok(());
    };
    let (Some(id), Some(method)) = (message.id, message.method) else {
        return Ok(());
    };
    let modern = era == Era::Modern;
    let kind = if modern {
        r#","resultType":"complete""#
    } else {
        ""
    };
    let lasting = if modern {
        r#","ttlMs":60000,"cacheScope":"public","resultType":"complete""#
    } else {
        ""
    };
    let info = r#"{"name":"echo-server","version":"1"}"#;
    write!(out, r#"{{"jsonrpc":"2.0","id":{id},"#)?;
    match (method, message.params.and_then(|params| params.arguments)) {
        ("tools/call", Some(Echo { message })) => {
            write!(
                out,
                r#""result":{{"content":[{{"type":"text","text":{message}}}]{kind}}}"#
            )?;
        }
        ("tools/list", _) => write!(
            out,
            r#""result":{{"tools":[{{"name":"echo","inputSchema":{{"type":"object","properties":{{"message":{{"type":"string"}}}}}}}}]{lasting}}}"#
        )?,
        ("initialize", _) if !modern => {
            write!(
                out,
                r#""result":{{"protocolVersion":"2025-11-25","capabilities":{{"tools":{{}}}},"serverInfo":{info}}}"#
            )?;
        }
        ("server/discover", _) if modern => write!(
            out,
            r#""result":{{"supportedVersions":["2026-07-28"],"capabilities":{{"tools":{{}}}},"_meta":{{"io.modelcontextprotocol/serverInfo":{info}}}{lasting}}}"#
        )?,
        ("ping", _) if !modern => out.extend_from_slice(br#""result":{}"#),
        _ => out.extend_from_slice(br#""error":{"code":-32601,"message":"Method not found"}"#),
    }
    out.extend_from_slice(b"}\n");
    Ok(())
}
