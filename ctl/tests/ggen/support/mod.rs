//! A daemon that only replays: a thread on a Unix socket that gives each request the bytes it was
//! told to give.

use ggen_wire::varlink::{Request, read_message};
use std::{
    ffi::OsStr,
    io::{BufReader, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// What the daemon does with a request.
pub(crate) enum Play {
    /// Sends these bytes and keeps the connection.
    Send(Vec<u8>),
    /// Sends these bytes and closes.
    SendAndClose(Vec<u8>),
    /// Reads on and never answers.
    Silence,
}

/// A sandbox: a runtime directory, and what `ggen` is told about it.
pub(crate) struct Sandbox {
    pub(crate) directory: tempfile::TempDir,
}

/// A daemon that replays.
pub(crate) struct Fake {
    pub(crate) sandbox: Sandbox,
    pub(crate) requests: Arc<Mutex<Vec<Request>>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("ggend.sock")
    }

    /// `ggen`, knowing this sandbox only.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ggen"));
        command
            .args(line.split_whitespace())
            .env_clear()
            .env("GGEN_RUNTIME_DIR", self.directory.path())
            .env("HOME", self.directory.path());
        command.env("GGEN_STATE_DIR", self.directory.path().join("state"));
        command
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn ggen(&self, line: &str) -> Ran {
        Ran::of(self, &mut self.command(line))
    }
}

impl Fake {
    /// Listens in a new sandbox.
    pub(crate) fn new(play: impl FnMut(&Request) -> Play + Send + 'static) -> Self {
        let sandbox = Sandbox::new();
        let listener = UnixListener::bind(sandbox.socket()).unwrap();
        Self::on(sandbox, listener, play)
    }

    /// Replays one reply to every request.
    pub(crate) fn always(reply: &'static str) -> Self {
        Self::new(move |_| Play::Send(message(reply)))
    }

    /// Replays the recorded reply of each method: `tests/replies/<method><suffix>.json`.
    pub(crate) fn recorded(suffix: &'static str) -> Self {
        Self::new(move |request| Play::Send(message(&reply(request, suffix))))
    }

    pub(crate) fn on(
        sandbox: Sandbox,
        listener: UnixListener,
        mut play: impl FnMut(&Request) -> Play + Send + 'static,
    ) -> Self {
        let (requests, ended) = (
            Arc::new(Mutex::new(Vec::new())),
            Arc::new(AtomicBool::new(false)),
        );
        let (seen, stop) = (Arc::clone(&requests), Arc::clone(&ended));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                serve(stream, &seen, &mut play);
            }
        });
        Self {
            sandbox,
            requests,
            ended,
            thread: Some(thread),
        }
    }

    pub(crate) fn ggen(&self, line: &str) -> Ran {
        self.sandbox.ggen(line)
    }

    /// The methods that were called, without the interface.
    pub(crate) fn methods(&self) -> Vec<String> {
        self.requests
            .lock()
            .unwrap()
            .iter()
            .map(|request| request.method.rsplit('.').next().unwrap().to_owned())
            .collect()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        let woken = UnixStream::connect(self.sandbox.socket()).is_ok();
        if let Some(thread) = self.thread.take().filter(|_| woken) {
            thread.join().unwrap();
        }
    }
}

fn serve(
    stream: UnixStream,
    seen: &Mutex<Vec<Request>>,
    play: &mut (impl FnMut(&Request) -> Play + Send),
) {
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let mut reader = BufReader::new(stream);
    while let Ok(request) = read_message::<Request>(&mut reader) {
        let action = play(&request);
        seen.lock().unwrap().push(request);
        // The client may have gone; that is what some tests are about.
        match action {
            Play::Send(bytes) => drop(writer.write_all(&bytes)),
            Play::SendAndClose(bytes) => {
                let _ = writer.write_all(&bytes);
                return;
            }
            Play::Silence => {}
        }
    }
}

/// A text with its NUL; several messages are separated by a line of `---`, and `@VERSION@` is that
/// of this workspace.
pub(crate) fn message(text: &str) -> Vec<u8> {
    let text = text.replace("@VERSION@", env!("CARGO_PKG_VERSION"));
    text.split("\n---\n")
        .flat_map(|part| part.trim().bytes().chain([0]))
        .collect()
}

pub(crate) fn reply(request: &Request, suffix: &str) -> String {
    let method = request.method.rsplit('.').next().unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/replies");
    let text = [format!("{method}{suffix}.json"), format!("{method}.json")]
        .iter()
        .find_map(|name| std::fs::read_to_string(folder.join(name)).ok());
    text.unwrap_or_else(|| panic!("no reply is recorded for {method}"))
}

/// A finished `ggen`.
pub(crate) struct Ran {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) code: i32,
}

impl Ran {
    pub(crate) fn of(sandbox: &Sandbox, command: &mut Command) -> Self {
        Self::from(sandbox, command.output().unwrap())
    }

    fn from(sandbox: &Sandbox, output: Output) -> Self {
        let text = |bytes: Vec<u8>| {
            String::from_utf8(bytes)
                .unwrap()
                .replace(sandbox.directory.path().to_str().unwrap(), "{dir}")
        };
        let text = |bytes| {
            text(bytes).replace(
                concat!("ggen ", env!("CARGO_PKG_VERSION")),
                "ggen @VERSION@",
            )
        };
        let ran = Self {
            stdout: text(output.stdout),
            stderr: text(output.stderr),
            code: output.status.code().unwrap(),
        };
        assert!(
            !ran.stdout.contains('\u{1b}') && !ran.stderr.contains('\u{1b}'),
            "escape codes on a pipe:\n{}{}",
            ran.stdout,
            ran.stderr
        );
        ran
    }

    /// Compares with `tests/golden/<name>`; with `UPDATE_GOLDEN` set, writes it.
    #[track_caller]
    pub(crate) fn golden(&self, name: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/golden")
            .join(name);
        let stdout = self.stdout.replace(env!("CARGO_PKG_VERSION"), "@VERSION@");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &stdout).unwrap();
        }
        let expected = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(stdout, expected, "{name} differs (stderr: {})", self.stderr);
    }

    /// Exit code, and standard error as a whole.
    #[track_caller]
    pub(crate) fn fails(&self, code: i32, stderr: &str) {
        assert_eq!(
            (self.code, self.stderr.trim_end()),
            (code, stderr),
            "stdout: {}",
            self.stdout
        );
    }
}

/// Says that a test is skipped: on standard error itself, past the capture of the test runner.
pub(crate) fn skipped(reason: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {reason}");
}

/// Waits until something is so.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(
            began.elapsed() < DEADLINE,
            "{what} did not happen within {DEADLINE:?}"
        );
        std::thread::yield_now();
    }
}

/// A script that stands in for `ggend`.
pub(crate) fn script(name: &str) -> impl AsRef<OsStr> {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fake")
        .join(name)
}
