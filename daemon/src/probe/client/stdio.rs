//! Starts a stdio server as the daemon would (through a shim, in the daemon's environment), makes
//! the handshake in the eras that its entry allows, lists its tools, and leaves no process behind.

use crate::{
    config::EraChoice,
    ipc::{
        channel::Blocking,
        launch::{FromShim, Launch, ToShim},
    },
    platform,
    supervisor::processes::environment,
};
use ggen_wire::VERSION;
use ggen_wire::text;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    fs::File,
    io::{self, BufRead, BufReader, Read, Write},
    os::{fd::AsFd, unix::net::UnixStream},
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::{Duration, Instant},
};

/// Silence after `server/discover` before `initialize` is tried too.
const SILENCE: Duration = Duration::from_secs(2);
/// Between SIGTERM and SIGKILL of a server that was tried.
const GRACE: u64 = 500;
/// How long the shim may take to clean up.
const CLEANING: Duration = Duration::from_secs(3);
/// How long the rest of its standard error may take to arrive once all its processes have ended.
const LISTENING: Duration = Duration::from_millis(500);
/// Longest line that is taken as a whole.
const LINE: u64 = 4 << 20;
/// Lines of standard error that are kept.
const LAST_WORDS: usize = 3;

/// What a trial showed.
#[derive(Debug)]
pub(crate) struct Trial {
    /// How it ended.
    pub(crate) verdict: Verdict,
    /// What took how long, in order.
    pub(crate) steps: Vec<(String, Duration)>,
    /// The last lines of its standard error, oldest first.
    pub(crate) stderr: Vec<String>,
    /// The first line on standard output that is no message.
    pub(crate) garbage: Option<String>,
}

/// How a trial ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It answers; so many tools.
    Serves(usize),
    /// It could not be started.
    Missing(String),
    /// It ended.
    Exited(String),
    /// It runs and has not answered in time.
    Silent,
    /// It answered with an error.
    Refused(String),
    /// Our own machinery failed.
    Untried(String),
}

enum Event {
    Line(Vec<u8>),
    Ended,
    Shim(FromShim),
    ShimGone,
}

/// Tries a server for at most `limit`; cleaning up may take some seconds more.
pub(crate) fn attempt(launch: Launch, era: EraChoice, limit: Duration) -> Trial {
    let stderr = Arc::new(Mutex::new(VecDeque::new()));
    let mut trial = Trial {
        verdict: Verdict::Silent,
        steps: Vec::new(),
        stderr: Vec::new(),
        garbage: None,
    };
    match start(launch, &stderr) {
        Ok((mut server, shim, silence)) => {
            server.talk(era, Instant::now() + limit, &mut trial);
            server.end(shim);
            // Its sender is dropped when the pipe has been read to its end.
            let _ = silence.recv_timeout(LISTENING);
        }
        Err(error) => trial.verdict = Verdict::Untried(error.to_string()),
    }
    trial.stderr = stderr
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .drain(..)
        .collect();
    trial
}

struct Server {
    stdin: Option<File>,
    channel: Blocking,
    events: mpsc::Receiver<Event>,
    began: Instant,
}

fn start(
    launch: Launch,
    stderr: &Arc<Mutex<VecDeque<String>>>,
) -> io::Result<(Server, u32, mpsc::Receiver<()>)> {
    let (stdin_theirs, stdin) = platform::pipe()?;
    let (stdout, stdout_theirs) = platform::pipe()?;
    let (errors, errors_theirs) = platform::pipe()?;
    let (ours, theirs) = platform::socket_pair()?;
    let mut channel = Blocking::new(ours.try_clone()?)?;
    let began = Instant::now();
    let shim = platform::spawn_self(&["shim"], theirs, environment::of_worker())?;
    let (sender, events) = mpsc::sync_channel(64);
    let lines = sender.clone();
    thread("stdout", move || {
        read_lines(
            stdout.into(),
            &mut |line| lines.send(Event::Line(line)).is_ok(),
            &|| drop(lines.send(Event::Ended)),
        )
    })?;
    let silence = keep_last_lines(errors.into(), Arc::clone(stderr))?;
    let mut messages = Blocking::new(UnixStream::from(ours).into())?;
    thread("shim", move || {
        while let Ok(Some((message, _))) = messages.receive::<FromShim>() {
            if sender.send(Event::Shim(message)).is_err() {
                return;
            }
        }
        drop(sender.send(Event::ShimGone));
    })?;
    channel.send(
        &ToShim::Launch(launch),
        &[
            stdin_theirs.as_fd(),
            stdout_theirs.as_fd(),
            errors_theirs.as_fd(),
        ],
    )?;
    Ok((
        Server {
            stdin: Some(stdin.into()),
            channel,
            events,
            began,
        },
        shim,
        silence,
    ))
}

fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map(drop)
}

/// Keeps the last lines of standard error. What is returned is closed when the pipe has been read to
/// its end.
fn keep_last_lines(
    errors: File,
    kept: Arc<Mutex<VecDeque<String>>>,
) -> io::Result<mpsc::Receiver<()>> {
    let mut keep = move |line: Vec<u8>| {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        let line = text::line(&String::from_utf8_lossy(&line));
        if !line.is_empty() {
            kept.push_back(line);
        }
        while kept.len() > LAST_WORDS {
            kept.pop_front();
        }
        true
    };
    let (speaking, silence) = mpsc::sync_channel::<()>(1);
    thread("stderr", move || {
        read_lines(errors, &mut keep, &|| ());
        drop(speaking);
    })?;
    Ok(silence)
}

fn read_lines(from: File, each: &mut dyn FnMut(Vec<u8>) -> bool, end: &dyn Fn()) {
    let mut reader = BufReader::new(from);
    loop {
        let mut line = Vec::new();
        match reader.by_ref().take(LINE).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return end(),
            Ok(_) if !each(line) => return,
            Ok(_) => {}
        }
    }
}

/// The requests that are open, and when the next one is due.
struct Dialogue {
    era: EraChoice,
    /// When `initialize` is sent, if it is still to be.
    initialize_at: Option<Instant>,
    /// Why `initialize` was refused.
    refused: String,
    /// When the last request was sent.
    asked: Instant,
}

impl Server {
    /// Makes the handshake and lists the tools.
    fn talk(&mut self, era: EraChoice, deadline: Instant, trial: &mut Trial) {
        // Modern servers are asked first, as the gateway does; `initialize` follows on an error or
        // on silence.
        if era != EraChoice::Legacy {
            self.send(&modern(1, "server/discover"));
        }
        let mut dialogue = Dialogue {
            era,
            initialize_at: match era {
                EraChoice::Legacy => Some(Instant::now()),
                EraChoice::Auto => Some(Instant::now() + SILENCE),
                EraChoice::Modern => None,
            },
            refused: String::new(),
            asked: Instant::now(),
        };
        trial.verdict = loop {
            let now = Instant::now();
            if dialogue.initialize_at.is_some_and(|at| now >= at) {
                self.initialize(&mut dialogue);
            }
            if now >= deadline {
                break if dialogue.refused.is_empty() {
                    Verdict::Silent
                } else {
                    Verdict::Refused(dialogue.refused)
                };
            }
            let until = dialogue.initialize_at.unwrap_or(deadline).min(deadline);
            let event = match self
                .events
                .recv_timeout(until.saturating_duration_since(now))
            {
                Ok(event) => event,
                Err(mpsc::RecvTimeoutError::Timeout) => continue,
                Err(mpsc::RecvTimeoutError::Disconnected) => Event::ShimGone,
            };
            let message = match self.message(event, trial) {
                Ok(Some(message)) => message,
                Ok(None) => continue,
                Err(verdict) => break verdict,
            };
            if let Some(verdict) = self.answered(&mut dialogue, &message, deadline, trial) {
                break verdict;
            }
        };
    }

    fn initialize(&mut self, dialogue: &mut Dialogue) {
        dialogue.initialize_at = None;
        dialogue.asked = Instant::now();
        let client = json!({ "name": "ggen", "version": VERSION });
        let params =
            json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client });
        self.send(&json!({ "jsonrpc": "2.0", "id": 2, "method": "initialize", "params": params }));
    }

    /// The message that an event brings, if any; `Err`: the server will not send another one.
    fn message(&self, event: Event, trial: &mut Trial) -> Result<Option<Value>, Verdict> {
        match event {
            Event::Shim(FromShim::Started { .. }) => {
                trial
                    .steps
                    .insert(0, ("started".to_owned(), self.began.elapsed()));
                Ok(None)
            }
            Event::Line(line) => match serde_json::from_slice::<Value>(&line) {
                Ok(message) if message.is_object() => Ok(Some(message)),
                _ => {
                    let line = text::line(&String::from_utf8_lossy(&line));
                    trial.garbage = trial.garbage.take().or((!line.is_empty()).then_some(line));
                    Ok(None)
                }
            },
            // Its exit follows, with the reason.
            Event::Ended => Ok(None),
            Event::Shim(FromShim::SpawnFailed { reason, .. }) => Err(Verdict::Missing(reason)),
            Event::Shim(FromShim::Exited { reason, .. }) => Err(Verdict::Exited(reason)),
            Event::ShimGone => Err(Verdict::Exited("its shim ended".to_owned())),
        }
    }

    /// Takes a message of the server and sends what follows it; gives the verdict once there is one.
    fn answered(
        &mut self,
        dialogue: &mut Dialogue,
        message: &Value,
        deadline: Instant,
        trial: &mut Trial,
    ) -> Option<Verdict> {
        let error = || {
            let error = &message["error"];
            let what = error["message"].as_str().unwrap_or_default();
            text::line(&format!("{} {what}", error["code"]))
        };
        let good = message.get("result").is_some();
        let mut step = |name: &str, asked: &mut Instant| {
            trial.steps.push((name.to_owned(), asked.elapsed()));
            *asked = Instant::now();
        };
        match (message["id"].as_u64(), message.get("method")) {
            (_, Some(method)) => self.oblige(method, message),
            (Some(1), None) if good => {
                step("server/discover", &mut dialogue.asked);
                dialogue.initialize_at = None;
                self.send(&modern(3, "tools/list"));
            }
            (Some(1), None) if dialogue.era == EraChoice::Modern => {
                return Some(Verdict::Refused(format!("server/discover: {}", error())));
            }
            (Some(1), None) => {
                dialogue.initialize_at = dialogue.initialize_at.map(|_| Instant::now());
            }
            (Some(2), None) if good => {
                step("initialize", &mut dialogue.asked);
                self.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
                self.send(
                    &json!({ "jsonrpc": "2.0", "id": 3, "method": "tools/list", "params": {} }),
                );
            }
            (Some(2), None) => {
                // A modern server may refuse this and still answer the first request.
                dialogue.refused = format!("initialize: {}", error());
                if dialogue.era == EraChoice::Legacy {
                    return Some(Verdict::Refused(std::mem::take(&mut dialogue.refused)));
                }
            }
            (Some(3), None) => {
                step("tools/list", &mut dialogue.asked);
                self.hear_of_its_start(deadline, trial);
                // A server without tools refuses the list; that is no fault.
                let tools = message["result"]["tools"].as_array().map_or(0, Vec::len);
                return Some(Verdict::Serves(tools));
            }
            _ => {}
        }
        None
    }

    /// What a server says may overtake the shim's word that it runs.
    fn hear_of_its_start(&self, deadline: Instant, trial: &mut Trial) {
        while trial
            .steps
            .first()
            .is_none_or(|(name, _)| name != "started")
        {
            match self
                .events
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(Event::Shim(FromShim::Started { .. })) => trial
                    .steps
                    .insert(0, ("started".to_owned(), self.began.elapsed())),
                Ok(Event::ShimGone) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }

    /// A question of the server's: pings are answered, nothing else is offered.
    fn oblige(&mut self, method: &Value, message: &Value) {
        if let Some(id) = message.get("id") {
            let answer = if method == "ping" {
                json!({ "jsonrpc": "2.0", "id": id, "result": {} })
            } else {
                json!({ "jsonrpc": "2.0", "id": id, "error": { "code": -32601, "message": "Method not found" } })
            };
            self.send(&answer);
        }
    }

    fn send(&mut self, message: &Value) {
        // A pipe that is broken shows as the server's exit.
        if let Some(stdin) = &mut self.stdin {
            drop(stdin.write_all(format!("{message}\n").as_bytes()));
        }
    }

    /// Ends the server and everything below it, and waits for that.
    fn end(mut self, shim: u32) {
        self.stdin = None;
        drop(self.channel.send(&ToShim::Stop { grace_ms: GRACE }, &[]));
        let deadline = Instant::now() + CLEANING;
        while let Ok(event) = self
            .events
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            if matches!(event, Event::ShimGone) {
                break;
            }
        }
        drop(self);
        if !platform::reap_one(
            shim,
            deadline
                .saturating_duration_since(Instant::now())
                .max(Duration::from_millis(200)),
        ) {
            platform::signal_process(shim, Signal::SIGKILL);
            // What cannot be reaped now ends with this process's parent.
            let _ = platform::reap_one(shim, Duration::from_secs(1));
        }
    }
}

fn modern(id: u64, method: &str) -> Value {
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": { "name": "ggen", "version": VERSION },
    });
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": { "_meta": meta } })
}
