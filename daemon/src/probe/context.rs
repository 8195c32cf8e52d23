//! What every check is given, gathered once before they run. The daemon is asked first, because
//! whether it runs decides in whose environment the configuration is read.

use super::client::{
    control::{self, Daemon},
    http::Target,
};
use crate::{
    config::{self, Host as Listens, LoadOptions, Loaded, Problem},
    platform,
};
use ggen_wire::{Code, paths::Host, status::Status};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::OnceLock,
    time::{Duration, Instant},
};

/// How long the daemon may take to answer one question.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// How long all checks together may take.
pub(super) const WHOLE: Duration = Duration::from_secs(9);

/// The surroundings of a run.
pub struct Context {
    /// How the configuration is read: in the daemon's environment where that is known, else in
    /// ours.
    pub load: LoadOptions,
    /// Whether `load.env` is that of the running daemon.
    pub daemon_env: bool,
    /// The configuration, or what is wrong with it.
    pub config: Result<Loaded, Vec<Problem>>,
    /// The daemon reads a file that we may not read.
    pub hidden: bool,
    /// The control socket.
    pub socket: PathBuf,
    /// How the daemon behaves.
    pub daemon: Daemon,
    /// The version of the `ggen` that asks, if it said so.
    pub client: Option<String>,
    /// When the checks have to be done.
    pub deadline: Instant,
    /// What the summary shows of the checks: HTTP, and the number of tools.
    pub(super) http: OnceLock<Result<(), String>>,
    pub(super) tools: OnceLock<usize>,
    pub(super) websocket: OnceLock<Result<(), String>>,
}

impl Context {
    /// Looks around.
    #[must_use]
    pub fn gather(mut load: LoadOptions, socket: Option<&Path>, client: Option<String>) -> Self {
        let deadline = Instant::now() + WHOLE;
        let env = |name: &str| std::env::var_os(name);
        let host = Host {
            env: &env,
            root: platform::own_uid() == 0,
        };
        let socket = host.client_socket(socket, &|path| path.exists());
        let daemon = control::find_daemon(&socket, PATIENCE);
        let daemon_env = status_of(&daemon).is_some_and(|status| as_the_daemon(&mut load, status));
        let config = config::load(&load);
        let denied = |problem: &Problem| {
            problem.code == Code::ConfigUnreadable && problem.what == "permission denied"
        };
        let hidden = status_of(&daemon).is_some()
            && config
                .as_ref()
                .is_err_and(|problems| problems.iter().any(denied));
        let (http, tools, websocket) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        Self {
            load,
            daemon_env,
            config,
            hidden,
            socket,
            daemon,
            client,
            deadline,
            http,
            tools,
            websocket,
        }
    }

    /// The status of a daemon that answers.
    #[must_use]
    pub fn status(&self) -> Option<&Status> {
        status_of(&self.daemon)
    }

    /// Whether it is known that no daemon runs.
    #[must_use]
    pub fn is_down(&self) -> bool {
        matches!(self.daemon, Daemon::Absent | Daemon::Deserted)
    }

    /// The listeners: of the running daemon, else those that the configuration asks for.
    #[must_use]
    pub fn listeners(&self) -> Vec<(&'static str, SocketAddr)> {
        let name = |transport: &str| match transport {
            "admin" => "admin",
            "websocket" => "websocket",
            "https" => "https",
            _ => "http",
        };
        if let Some(status) = self.status() {
            return status
                .listeners
                .iter()
                .filter(|one| one.transport != "quic")
                .filter_map(|one| Some((name(&one.transport), one.address.parse().ok()?)))
                .collect();
        }
        let Ok(loaded) = &self.config else {
            return Vec::new();
        };
        let (http, metrics) = (&loaded.config.transports.http, &loaded.config.metrics);
        let websocket = &loaded.config.transports.websocket;
        let own = websocket.port.filter(|_| websocket.enabled);
        let all = [
            ("http", http.enabled, http.host, http.port),
            (
                "https",
                http.enabled && http.ssl.enabled,
                http.host,
                http.ssl.port,
            ),
            (
                "websocket",
                own.is_some(),
                http.host,
                own.unwrap_or_default(),
            ),
            ("admin", metrics.enabled, metrics.host, metrics.port),
        ];
        all.into_iter()
            .filter(|(_, enabled, ..)| *enabled)
            .flat_map(|(name, _, host, port)| {
                let addresses = host.at(port).into_iter();
                addresses.map(move |address| (name, address))
            })
            .collect()
    }

    /// Whether the daemon would do without an address that this host does not have.
    #[must_use]
    pub fn may_lack(&self, address: SocketAddr) -> bool {
        let hosts = self.config.as_ref().ok().map(|loaded| {
            let (transports, metrics) = (&loaded.config.transports, &loaded.config.metrics);
            [transports.http.host, transports.quic.host, metrics.host]
        });
        let of = |host: &Listens| {
            *host == Listens::Localhost && host.at(address.port()).contains(&address)
        };
        hosts.is_some_and(|hosts| hosts.iter().any(of))
    }

    /// The first address where QUIC is served, or would be.
    #[must_use]
    pub fn quic(&self) -> Option<SocketAddr> {
        self.quic_addresses().first().copied()
    }

    /// Where QUIC is served, or would be.
    #[must_use]
    pub fn quic_addresses(&self) -> Vec<SocketAddr> {
        if let Some(status) = self.status() {
            return status
                .listeners
                .iter()
                .filter(|one| one.transport == "quic")
                .filter_map(|one| one.address.parse().ok())
                .collect();
        }
        match &self.config {
            Ok(loaded) if loaded.config.transports.quic.enabled => {
                let quic = &loaded.config.transports.quic;
                quic.host.at(quic.port)
            }
            _ => Vec::new(),
        }
    }

    /// The name that its clients ask for.
    #[must_use]
    pub fn quic_name(&self) -> String {
        self.config.as_ref().map_or_else(
            |_| "localhost".to_owned(),
            |loaded| loaded.config.transports.quic.server_name.clone(),
        )
    }

    /// Where MCP is served.
    #[must_use]
    pub fn front(&self) -> Option<Target> {
        self.listeners()
            .iter()
            .find(|(name, _)| *name == "http")
            .map(|(_, address)| Target::of(*address, "/mcp"))
    }

    /// Where MCP is served over TLS.
    #[must_use]
    pub fn secure_front(&self) -> Option<Target> {
        let found = self
            .listeners()
            .into_iter()
            .find(|(name, _)| *name == "https");
        found.map(|(_, address)| Target {
            tls: true,
            ..Target::of(address, "/mcp")
        })
    }

    /// Where WebSockets begin: on the port of HTTP, else on their own.
    #[must_use]
    pub fn websocket(&self) -> Option<Target> {
        let config = self
            .config
            .as_ref()
            .ok()
            .map(|loaded| &loaded.config.transports.websocket);
        let enabled = match self.status() {
            Some(status) => status
                .workers
                .iter()
                .any(|worker| worker.role == "websocket"),
            None => config.is_some_and(|config| config.enabled),
        };
        let path = config.map_or("/ws", |config| config.path.as_str());
        let listeners = self.listeners();
        let of = |wanted: &str| {
            listeners
                .iter()
                .find(|(name, _)| *name == wanted)
                .map(|(_, address)| Target::of(*address, path))
        };
        of("http").or_else(|| of("websocket")).filter(|_| enabled)
    }

    /// A time-out from now on, within the whole run's.
    pub(super) fn within(&self, limit: Duration) -> Instant {
        (Instant::now() + limit).min(self.deadline)
    }
}

fn status_of(daemon: &Daemon) -> Option<&Status> {
    if let Daemon::Answers(status) = daemon {
        Some(status)
    } else {
        None
    }
}

/// Reads the configuration as the running daemon does: its file, its environment, its directory.
/// `false`: its environment is closed to us.
fn as_the_daemon(load: &mut LoadOptions, status: &Status) -> bool {
    if load.config_path.is_none() {
        match &status.config_file {
            Some(file) => load.config_path = Some(file.into()),
            // It found none: what lies in our own directory is not its business.
            None => load.user_mode = false,
        }
    }
    let process = PathBuf::from(format!("/proc/{}", status.pid));
    let Ok(bytes) = std::fs::read(process.join("environ")) else {
        return false;
    };
    let pairs = bytes
        .split(|byte| *byte == 0)
        .filter_map(|pair| std::str::from_utf8(pair).ok()?.split_once('='));
    load.env = pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    // Modes are judged more strictly for a service.
    load.user_mode &= !load.env.contains_key("NOTIFY_SOCKET");
    load.home = load
        .env
        .get("HOME")
        .filter(|home| home.starts_with('/'))
        .map(PathBuf::from);
    if let Ok(cwd) = std::fs::read_link(process.join("cwd")) {
        load.cwd = cwd;
    }
    !load.env.is_empty()
}
