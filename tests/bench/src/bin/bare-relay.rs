//! The floor of the benchmark: what any HTTP gateway with a stdio server behind it has to do, and
//! nothing else. A POST's body goes to the child as a line with a number of ours for an id; the
//! child's line with that number goes back under the client's id. No sessions, no checks, no
//! limits.

use bytes::Bytes;
use clap::Parser;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::{
    cell::RefCell,
    collections::HashMap,
    convert::Infallible,
    ffi::OsString,
    io::{self, Write},
    os::fd::OwnedFd,
    process::{Command, Stdio},
    rc::Rc,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, unix::pipe},
    sync::{Notify, oneshot},
};

#[derive(Parser)]
struct Arguments {
    /// The stdio server and its arguments.
    #[arg(required = true, trailing_var_arg = true)]
    command: Vec<OsString>,
}

#[derive(Deserialize)]
struct Id<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
}

/// Where the id stands in a message.
fn id_of(message: &[u8]) -> Option<(usize, usize)> {
    let id = serde_json::from_slice::<Id<'_>>(message).ok()?.id.get();
    let from = (id.as_ptr() as usize).checked_sub(message.as_ptr() as usize)?;
    Some((from, from + id.len()))
}

#[derive(Default)]
struct State {
    last: u64,
    lines: Vec<u8>,
    waiting: HashMap<u64, oneshot::Sender<Vec<u8>>>,
}

#[derive(Default)]
struct Relay {
    state: RefCell<State>,
    written: Notify,
}

impl Relay {
    async fn answer(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let answer = match request.into_body().collect().await {
            Ok(body) => self.call(&body.to_bytes()).await,
            Err(_) => None,
        };
        let mut response = Response::new(Full::default());
        match answer {
            Some(answer) => {
                *response.body_mut() = answer.into();
                response.headers_mut().insert(
                    header::CONTENT_TYPE,
                    HeaderValue::from_static("application/json"),
                );
            }
            None => *response.status_mut() = StatusCode::BAD_GATEWAY,
        }
        Ok(response)
    }

    async fn call(&self, body: &[u8]) -> Option<Vec<u8>> {
        let (from, to) = id_of(body)?;
        let (sender, receiver) = oneshot::channel();
        {
            let State {
                last,
                lines,
                waiting,
            } = &mut *self.state.borrow_mut();
            *last += 1;
            waiting.insert(*last, sender);
            lines.extend_from_slice(&body[..from]);
            write!(lines, "{last}").ok()?;
            lines.extend_from_slice(&body[to..]);
            lines.push(b'\n');
        }
        self.written.notify_one();
        let mut line = receiver.await.ok()?;
        let (start, end) = id_of(&line)?;
        line.splice(start..end, body[from..to].iter().copied());
        Some(line)
    }

    async fn write(&self, mut stdin: pipe::Sender) -> io::Result<()> {
        let mut batch = Vec::new();
        loop {
            self.written.notified().await;
            std::mem::swap(&mut batch, &mut self.state.borrow_mut().lines);
            stdin.write_all(&batch).await?;
            batch.clear();
        }
    }

    async fn read(&self, mut stdout: pipe::Receiver) -> io::Result<()> {
        let mut buffer = Vec::with_capacity(64 << 10);
        loop {
            if stdout.read_buf(&mut buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let mut from = 0;
            while let Some(length) = memchr::memchr(b'\n', &buffer[from..]) {
                let line = &buffer[from..from + length];
                from += length + 1;
                let number = id_of(line)
                    .and_then(|(from, to)| std::str::from_utf8(&line[from..to]).ok()?.parse().ok());
                let waiting =
                    number.and_then(|number| self.state.borrow_mut().waiting.remove(&number));
                if let Some(waiting) = waiting {
                    waiting.send(line.to_vec()).unwrap_or_default();
                }
            }
            buffer.drain(..from);
        }
    }
}

async fn serve(command: &[OsString]) -> io::Result<()> {
    let [program, arguments @ ..] = command else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let (stdin, stdout) = child
        .stdin
        .take()
        .zip(child.stdout.take())
        .ok_or(io::ErrorKind::BrokenPipe)?;
    let stdin = pipe::Sender::from_owned_fd(OwnedFd::from(stdin))?;
    let stdout = pipe::Receiver::from_owned_fd(OwnedFd::from(stdout))?;
    let relay = Rc::new(Relay::default());
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    writeln!(io::stdout(), "listening on {}", listener.local_addr()?)?;
    let accept = async {
        loop {
            let (socket, _) = listener.accept().await?;
            socket.set_nodelay(true)?;
            let relay = Rc::clone(&relay);
            tokio::task::spawn_local(async move {
                let service = service_fn(|request| relay.answer(request));
                http1::Builder::new()
                    .serve_connection(TokioIo::new(socket), service)
                    .await
            });
        }
    };
    let ended: io::Result<()> = tokio::select! {
        ended = accept => ended,
        ended = relay.write(stdin) => ended,
        ended = relay.read(stdout) => ended,
    };
    child.wait()?;
    ended
}

fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    tokio::task::LocalSet::new().block_on(&runtime, serve(&arguments.command))
}
