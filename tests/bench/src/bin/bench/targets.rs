//! The two that are measured: ggend with both echo servers behind it, and bare relays. Each is
//! started here, on a free port, and ended here.

use super::{
    Failure,
    client::Client,
    era::Era,
    load::Reach,
    processes::{self, Group},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// How long a program may take to serve, or to end.
const PATIENCE: Duration = Duration::from_secs(15);

/// A process that ends with this value: asked first, then forced. Its own children end when it
/// does, and are waited for, too.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) const fn new(child: Child) -> Self {
        Self(child)
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let mut children = processes::children(self.0.id()).unwrap_or_default();
        if let Ok(pid) = i32::try_from(self.0.id()) {
            kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap_or_default();
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            children.retain(|pid| processes::arguments(*pid).is_ok());
            if children.is_empty() && !matches!(self.0.try_wait(), Ok(None)) {
                return;
            }
            if Instant::now() > deadline {
                self.0.kill().unwrap_or_default();
                self.0.wait().map(drop).unwrap_or_default();
                return;
            }
            // The driver is at its end: nothing else waits for this thread.
            #[allow(clippy::disallowed_methods, reason = "no event loop runs here")]
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Starts a program and reads its first line, which ends in the address it serves on.
fn start(
    command: &mut Command,
    address: impl Fn(&str) -> Option<&str>,
) -> Result<(Process, SocketAddr), Failure> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let output = child.stdout.take();
    let process = Process(child);
    let mut line = String::new();
    BufReader::new(output.ok_or("no stdout")?).read_line(&mut line)?;
    let address = address(line.trim())
        .ok_or_else(|| format!("it says {line:?}"))?
        .parse()?;
    Ok((process, address))
}

/// A running ggend.
pub(crate) struct Ggend {
    process: Process,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Ggend {
    /// Starts it with its defaults, but for ports and names, and waits until it serves.
    ///
    /// # Errors
    /// It does not.
    pub(crate) fn start(programs: &Path, workers: u32) -> Result<Self, Failure> {
        let folder = tempfile::tempdir()?;
        let echo = programs.join("echo-server");
        let server = |era: Era| serde_json::json!({"command": echo, "args": ["--era", era.name()]});
        let config = serde_json::json!({
            "version": "1.0",
            "server": {"workers": workers},
            "transports": {"http": {"port": 0}},
            "metrics": {"port": 0},
            "mcpServers": {"legacy": server(Era::Legacy), "modern": server(Era::Modern)},
        });
        let file = folder.path().join("mcp.json");
        std::fs::write(&file, serde_json::to_vec(&config)?)?;
        let mut command = Command::new(programs.join("ggend"));
        command
            .arg("--config")
            .arg(file)
            .current_dir(folder.path())
            .env("HOME", folder.path());
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("GGEN"))
        {
            command.env_remove(name);
        }
        command
            .env("GGEN_RUNTIME_DIR", folder.path().join("run"))
            .env("GGEN_STATE_DIR", folder.path().join("state"))
            .stderr(Stdio::null());
        let (process, address) = start(&mut command, |line| {
            line.split_once("http://")?
                .1
                .split_once("/mcp")
                .map(|(address, _)| address)
        })
        .map_err(|error| format!("ggend does not serve: {error}"))?;
        Ok(Self {
            process,
            address,
            _folder: folder,
        })
    }

    /// Opens a session if the era has any, and waits until the server behind answers a call.
    ///
    /// # Errors
    /// It does not.
    pub(crate) async fn reach(&self, era: Era) -> Result<Reach, Failure> {
        let mut client = Client::connect(self.address).await?;
        let session = match era {
            Era::Legacy => Some(handshake(&mut client).await?),
            Era::Modern => None,
        };
        let headers = era.headers(session.as_deref());
        let (mut body, deadline) = (Vec::new(), Instant::now() + PATIENCE);
        era.call(0, format_args!("ready?"), &mut body);
        loop {
            let (status, _, answer) = client.post(&headers, &body).await?;
            if memchr::memmem::find(answer, b"ready?").is_some() {
                return Ok(Reach {
                    address: self.address,
                    era,
                    headers: headers.into(),
                });
            }
            if Instant::now() > deadline {
                return Err(format!("{status}: {}", String::from_utf8_lossy(answer)).into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Its processes now, those of the servers behind it as `upstream`.
    ///
    /// # Errors
    /// One of them is gone.
    pub(crate) fn processes(&self) -> Result<Group, Failure> {
        let supervisor = self.process.pid();
        let mut group = vec![("supervisor".to_owned(), supervisor)];
        for pid in processes::children(supervisor)? {
            match processes::arguments(pid)?.as_slice() {
                [role, name, ..] if role == "worker" => {
                    let like = group
                        .iter()
                        .filter(|(known, _)| known.starts_with(name.as_str()))
                        .count();
                    group.push((
                        if name == "http" {
                            format!("http-{}", like + 1)
                        } else {
                            name.clone()
                        },
                        pid,
                    ));
                }
                [role, ..] if role == "shim" => {
                    group.push(("shim".to_owned(), pid));
                    group.extend(
                        processes::children(pid)?
                            .into_iter()
                            .map(|pid| ("upstream".to_owned(), pid)),
                    );
                }
                _ => {}
            }
        }
        Ok(Group(group))
    }
}

/// `initialize` and `notifications/initialized`; gives the session's id.
async fn handshake(client: &mut Client) -> Result<String, Failure> {
    let initialize = br#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}}"#;
    let (status, session, body) = client.post(&Era::Legacy.headers(None), initialize).await?;
    let session = session
        .ok_or_else(|| format!("initialize: {status}: {}", String::from_utf8_lossy(body)))?;
    let initialized = br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    let (status, ..) = client
        .post(&Era::Legacy.headers(Some(&session)), initialized)
        .await?;
    if status == 202 {
        Ok(session)
    } else {
        Err(format!("notifications/initialized: {status}").into())
    }
}

/// A running bare relay.
pub(crate) struct Relay {
    process: Process,
    address: SocketAddr,
}

impl Relay {
    /// Starts one with an echo server of the era behind it.
    ///
    /// # Errors
    /// It does not serve.
    pub(crate) fn start(programs: &Path, era: Era) -> Result<Self, Failure> {
        let mut command = Command::new(programs.join("bare-relay"));
        command
            .arg(programs.join("echo-server"))
            .args(["--era", era.name()]);
        let (process, address) = start(&mut command, |line| line.strip_prefix("listening on "))?;
        Ok(Self { process, address })
    }

    /// The same requests as ggend gets: a session is not looked at here.
    pub(crate) fn reach(&self, era: Era) -> Reach {
        let headers = era.headers(Some("0123456789abcdef0123456789abcdef"));
        Reach {
            address: self.address,
            era,
            headers: headers.into(),
        }
    }

    /// The relay's process, and that of the server behind it as `upstream`.
    ///
    /// # Errors
    /// One of them is gone.
    pub(crate) fn processes(&self) -> Result<Group, Failure> {
        let pid = self.process.pid();
        let mut group = vec![("relay".to_owned(), pid)];
        group.extend(
            processes::children(pid)?
                .into_iter()
                .map(|pid| ("upstream".to_owned(), pid)),
        );
        Ok(Group(group))
    }
}
